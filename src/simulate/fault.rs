//! What goes wrong with a request, decided by its whole `X-Request-Id` and by nothing else.

use serde::Serialize;

use super::{draw::Fingerprint, options::FaultOptions};

/// A failure of the server or of the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InjectedFault {
    /// 500.
    Error,
    /// 429 with `Retry-After`.
    TooMany,
    /// No answer, and the connection stays open.
    Hang,
    /// The connection is closed without an answer.
    Cut,
    /// The connection is closed in the middle of the answer's body.
    CutInBody,
    /// 200 with JSON that ends too early.
    MalformedJson,
}

impl FaultOptions {
    /// The fault that hits a request, if one does.
    pub(super) fn draw(&self, seed: u64, request_id: &[u8]) -> Option<InjectedFault> {
        let mut share = Fingerprint::new(seed).with(b"fault").with(request_id).draws().share();
        for (fault, rate) in self.rates() {
            if share < rate {
                return Some(fault);
            }
            share -= rate;
        }
        None
    }

    fn rates(&self) -> [(InjectedFault, f64); 6] {
        [
            (InjectedFault::Error, self.error_rate),
            (InjectedFault::TooMany, self.too_many_rate),
            (InjectedFault::Hang, self.hang_rate),
            (InjectedFault::Cut, self.cut_rate),
            (InjectedFault::CutInBody, self.cut_in_body_rate),
            (InjectedFault::MalformedJson, self.malformed_json_rate),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Options;

    #[test]
    fn faults_come_as_often_as_asked_and_repeat() {
        let mut faults = Options::default().faults;
        assert_eq!(faults.draw(0, b"x.0"), None);
        (faults.error_rate, faults.hang_rate) = (0.2, 0.1);
        let drawn: Vec<_> =
            (0..5000).map(|attempt| faults.draw(0, format!("x.{attempt}").as_bytes())).collect();
        let again: Vec<_> =
            (0..5000).map(|attempt| faults.draw(0, format!("x.{attempt}").as_bytes())).collect();
        assert_eq!(drawn, again);
        let share = |fault| drawn.iter().filter(|drawn| **drawn == Some(fault)).count() as f64 / 5000.0;
        assert!((0.18..0.22).contains(&share(InjectedFault::Error)), "{}", share(InjectedFault::Error));
        assert!((0.08..0.12).contains(&share(InjectedFault::Hang)), "{}", share(InjectedFault::Hang));
        assert_eq!(share(InjectedFault::Cut), 0.0);
    }
}
