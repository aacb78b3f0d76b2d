//! The body of a response: whole, or cut in the middle; it says when it was handed to the connection.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// The connection is to be closed on purpose.
#[derive(Debug)]
pub(super) struct CutOff;

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated server cuts this connection")
    }
}

impl std::error::Error for CutOff {}

/// What to do when the body is handed over.
type Delivered = Box<dyn FnOnce() + Send>;

/// The body of a response.
pub(super) struct AnswerBody {
    data: Option<Bytes>,
    ending: BodyEnding,
    delivered: Option<Delivered>,
}

enum BodyEnding {
    Whole,
    /// The first half was sent; the rest of the length promised never comes.
    Cut {
        rest: u64,
        flushed: bool,
    },
}

impl AnswerBody {
    /// All of `data`.
    pub(super) fn whole(data: impl Into<Bytes>) -> Self {
        Self { data: Some(data.into()), ending: BodyEnding::Whole, delivered: None }
    }

    /// All of `data`; calls `delivered` when the connection takes it.
    pub(super) fn counted(data: impl Into<Bytes>, delivered: impl FnOnce() + Send + 'static) -> Self {
        Self { delivered: Some(Box::new(delivered)), ..Self::whole(data) }
    }

    /// The first half of `data` under the length of all of it, then the end of the connection.
    pub(super) fn cut(data: impl Into<Bytes>) -> Self {
        let mut data = data.into();
        let rest = data.split_off(data.len() / 2).len() as u64;
        Self { data: Some(data), ending: BodyEnding::Cut { rest, flushed: false }, delivered: None }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if let Some(data) = self.data.take() {
            if let Some(delivered) = self.delivered.take() {
                delivered();
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match &mut self.ending {
            BodyEnding::Whole => Poll::Ready(None),
            BodyEnding::Cut { flushed: true, .. } => Poll::Ready(Some(Err(CutOff))),
            BodyEnding::Cut { flushed, .. } => {
                // One more turn, so that the first half leaves before the connection ends.
                *flushed = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.ending, BodyEnding::Whole) && self.data.as_ref().is_none_or(|data| data.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let rest = if let BodyEnding::Cut { rest, .. } = self.ending { rest } else { 0 };
        SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64 + rest)
    }
}
