//! One request over HTTP: bytes out, bytes in, and every failure of the way sorted.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method, Request, Response, StatusCode,
    header::{HeaderName, HeaderValue, RETRY_AFTER},
};

use super::{
    endpoint::Endpoint,
    failure::{AttemptFailure, FailureKind, chain},
    retry_after,
};

/// The header that names a request, in the server's log as in ours.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Posts `body` and returns the body of a 200.
pub(super) async fn post(
    endpoint: &Endpoint,
    id: HeaderValue,
    body: Bytes,
    max_answer_bytes: usize,
) -> Result<Bytes, AttemptFailure> {
    let mut request = Request::new(Method::POST, endpoint.call_url.clone());
    request.headers_mut().clone_from(&endpoint.headers);
    request.headers_mut().insert(REQUEST_ID, id);
    *request.body_mut() = Some(body.into());
    let response = endpoint.client.execute(request).await.map_err(|error| failure_of(&error))?;
    let status = response.status();
    let wait = retry_after_of(&response);
    let answer = read(response, max_answer_bytes).await?;
    if status == StatusCode::OK {
        Ok(answer)
    } else {
        Err(AttemptFailure::of_status(status.as_u16(), &answer, wait))
    }
}

/// The name of one attempt of a request: the id and the attempt's number after a dot. Every byte of the id
/// that a header cannot carry, and the dot, is escaped, so that two ids never become one.
pub(super) fn request_id(id: &str, attempt: u32) -> HeaderValue {
    let mut text = String::with_capacity(id.len() + 4);
    for byte in id.bytes() {
        match byte {
            b'.' | b'%' => text.push_str(&format!("%{byte:02X}")),
            _ if byte.is_ascii_graphic() => text.push(byte.into()),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text.push('.');
    text.push_str(&attempt.to_string());
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("graphic ASCII can stand in a header")
}

fn retry_after_of(response: &Response) -> Option<std::time::Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    retry_after::parse(value, SystemTime::now())
}

/// Reads a body of at most `max_bytes`. Nearly all come in one piece, which is not copied.
pub(super) async fn read(mut response: Response, max_bytes: usize) -> Result<Bytes, AttemptFailure> {
    let Some(first) = chunk(&mut response).await? else { return Ok(Bytes::new()) };
    let Some(second) = chunk(&mut response).await? else { return within(first, max_bytes) };
    let mut whole = BytesMut::from(first);
    whole.extend_from_slice(&second);
    while whole.len() <= max_bytes
        && let Some(next) = chunk(&mut response).await?
    {
        whole.extend_from_slice(&next);
    }
    within(whole.freeze(), max_bytes)
}

async fn chunk(response: &mut Response) -> Result<Option<Bytes>, AttemptFailure> {
    response.chunk().await.map_err(|error| failure_of(&error))
}

fn within(body: Bytes, max_bytes: usize) -> Result<Bytes, AttemptFailure> {
    if body.len() <= max_bytes {
        return Ok(body);
    }
    let message = format!("it has more than {max_bytes} bytes; raise `max_answer_bytes` if that is right");
    Err(AttemptFailure::new(FailureKind::Unusable, message))
}

/// Sorts an error of the way to the server and back.
pub(super) fn failure_of(error: &reqwest::Error) -> AttemptFailure {
    let kind = if error.is_connect() {
        FailureKind::Connect
    } else if error.is_timeout() {
        FailureKind::Timeout
    } else {
        FailureKind::Cut
    };
    AttemptFailure::new(kind, chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_have_one_dot_and_stay_apart() {
        for (id, attempt, expected) in [
            ("stage1:a/critique/0", 1, "stage1:a/critique/0.1"),
            ("a.b", 12, "a%2Eb.12"),
            ("a%2Eb", 1, "a%252Eb.1"),
            ("é\n ", 1, "%C3%A9%0A%20.1"),
        ] {
            assert_eq!(request_id(id, attempt), expected, "{id:?}");
        }
    }
}
