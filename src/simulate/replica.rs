//! One replica: which request goes where, and what goes wrong on the way.
//!
//! ```text
//! arrived whole ─▶ counted ─▶ fault? ─▶ loading? ─▶ key? ─▶ chat or pooling ─▶ answered
//! ```

use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde_json::json;
use tokio::{sync::watch, time::Instant};

use super::{
    body::{AnswerBody, CutOff},
    chat,
    count::ReplicaKind,
    fault::InjectedFault,
    pooling,
    protocol::{ErrorReply, to_json},
    state::{PreparedAnswer, Replica},
};

/// The largest request read.
const MAX_REQUEST_BYTES: usize = 64 << 20;

type HttpResponse = Response<AnswerBody>;

impl Replica {
    /// Answers one request, or has its connection closed.
    pub(super) async fn serve(&self, request: Request<Incoming>) -> Result<HttpResponse, CutOff> {
        let model_path = match self.role {
            ReplicaKind::Generator => "/v1/chat/completions",
            ReplicaKind::Reward => "/pooling",
        };
        if request.uri().path() == model_path {
            return if request.method() == Method::POST {
                self.call(request).await
            } else {
                Ok(detail(StatusCode::METHOD_NOT_ALLOWED))
            };
        }
        Ok(self.inform(request.method(), request.uri().path(), request.headers()))
    }

    /// Everything that is not a call of the model.
    fn inform(&self, method: &Method, path: &str, headers: &HeaderMap) -> HttpResponse {
        let shared = &self.shared;
        match (path, method) {
            ("/health", &Method::GET) if shared.is_loading() => refusal(&loading()),
            ("/health", &Method::GET) => respond(StatusCode::OK, "text/plain", AnswerBody::whole("")),
            ("/v1/models", &Method::GET) if shared.is_loading() => refusal(&loading()),
            ("/v1/models", &Method::GET) if !self.is_authorised(headers) => unauthorised(),
            ("/v1/models", &Method::GET) => json_answer(StatusCode::OK, self.models()),
            ("/metrics", &Method::GET) => respond(StatusCode::OK, "text/plain", self.metrics()),
            ("/simulate/counts", &Method::GET) => {
                json_answer(StatusCode::OK, to_json(&shared.ledger.counts()))
            }
            ("/simulate/senders", &Method::GET) => {
                json_answer(StatusCode::OK, to_json(&shared.ledger.senders()))
            }
            ("/simulate/stats", &Method::GET) => json_answer(StatusCode::OK, to_json(&shared.stats())),
            ("/simulate/reset", &Method::POST) => {
                shared.reset();
                json_answer(StatusCode::OK, to_json(&json!({})))
            }
            (
                "/health" | "/v1/models" | "/metrics" | "/simulate/counts" | "/simulate/stats"
                | "/simulate/senders" | "/simulate/reset",
                _,
            ) => detail(StatusCode::METHOD_NOT_ALLOWED),
            _ => detail(StatusCode::NOT_FOUND),
        }
    }

    /// A call of the model: counted, perhaps hit by a fault, answered.
    async fn call(&self, request: Request<Incoming>) -> Result<HttpResponse, CutOff> {
        let arrived = Instant::now();
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, MAX_REQUEST_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return ErrorReply::unreadable(&*error).map(|why| refusal(&why)).ok_or(CutOff),
        };
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = header("x-request-id");
        let sender = header("user-agent").unwrap_or_default();
        let receipt = self.shared.ledger.arrived(self.role, request_id, sender);
        let fault = self.fault(request_id, &body);
        if let Some(response) = self.fail(fault).await? {
            return Ok(response);
        }
        let ready = match self.answer(&head.headers, request_id, &body).await {
            Ok(ready) => ready,
            Err(response) => {
                self.shared.ledger.refused();
                return Ok(response);
            }
        };
        let PreparedAnswer { body, prompt_tokens, completion_tokens, cut_off } = ready;
        self.metrics.finished(prompt_tokens, completion_tokens, cut_off, arrived.elapsed().as_secs_f64());
        let body = match fault {
            Some(InjectedFault::CutInBody) => AnswerBody::cut(body),
            Some(InjectedFault::MalformedJson) => AnswerBody::whole(body[..body.len() / 2].to_vec()),
            _ => AnswerBody::counted(body, move || receipt.answered(prompt_tokens, completion_tokens)),
        };
        Ok(respond(StatusCode::OK, "application/json", body))
    }

    /// The fault that hits a request. Without an id the body decides.
    fn fault(&self, request_id: Option<&str>, body: &Bytes) -> Option<InjectedFault> {
        let options = &self.shared.options;
        let fault = options.faults.draw(options.seed, request_id.map_or(body, str::as_bytes))?;
        self.shared.ledger.failed(fault);
        Some(fault)
    }

    /// Plays the faults that come instead of an answer.
    async fn fail(&self, fault: Option<InjectedFault>) -> Result<Option<HttpResponse>, CutOff> {
        match fault {
            Some(InjectedFault::Error) => {
                let (status, kind) = (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError");
                Ok(Some(refusal(&ErrorReply::server(status, "a simulated failure", kind))))
            }
            Some(InjectedFault::TooMany) => Ok(Some(self.too_many())),
            Some(InjectedFault::Hang) => {
                stopped(self.stopping.clone()).await;
                Err(CutOff)
            }
            Some(InjectedFault::Cut) => Err(CutOff),
            Some(InjectedFault::CutInBody | InjectedFault::MalformedJson) | None => Ok(None),
        }
    }

    async fn answer(
        &self,
        headers: &HeaderMap,
        request_id: Option<&str>,
        body: &[u8],
    ) -> Result<PreparedAnswer, HttpResponse> {
        if self.shared.is_loading() {
            return Err(refusal(&loading()));
        }
        if !self.is_authorised(headers) {
            return Err(unauthorised());
        }
        match self.role {
            ReplicaKind::Generator => chat::answer(self, request_id, body).await,
            ReplicaKind::Reward => pooling::answer(self, request_id, body).await,
        }
        .map_err(|why| refusal(&why))
    }

    fn is_authorised(&self, headers: &HeaderMap) -> bool {
        let Some(key) = &self.shared.options.api_key else { return true };
        let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        sent.and_then(|value| value.strip_prefix("Bearer ")) == Some(key)
    }

    fn too_many(&self) -> HttpResponse {
        let kind = "TooManyRequests";
        let mut response =
            refusal(&ErrorReply::server(StatusCode::TOO_MANY_REQUESTS, "a simulated overload", kind));
        let seconds = HeaderValue::from(self.shared.options.faults.retry_after_s);
        response.headers_mut().insert(RETRY_AFTER, seconds);
        response
    }

    fn models(&self) -> Vec<u8> {
        let created = self.shared.created;
        let max_model_len = self.shared.options.max_model_len;
        let long = (self.role == ReplicaKind::Generator).then(|| format!("{}-long", self.model()));
        let names = std::iter::once(self.model().to_owned()).chain(long);
        let models: Vec<_> = names
            .map(|id| {
                json!({
                    "id": id, "object": "model", "created": created, "owned_by": "simulation", "root": id,
                    "parent": null, "max_model_len": max_model_len,
                })
            })
            .collect();
        to_json(&json!({ "object": "list", "data": models }))
    }

    fn metrics(&self) -> AnswerBody {
        let (running, waiting) =
            self.batcher.as_ref().map_or((0, 0), |batcher| batcher.running_and_waiting());
        AnswerBody::whole(self.metrics.encode(running, waiting))
    }
}

/// Returns when the cluster stops, or is gone.
pub(super) async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _gone = stopping.wait_for(|stopping| *stopping).await;
}

fn respond(status: StatusCode, content_type: &'static str, body: AnswerBody) -> HttpResponse {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json_answer(status: StatusCode, body: Vec<u8>) -> HttpResponse {
    respond(status, "application/json", AnswerBody::whole(body))
}

fn refusal(why: &ErrorReply) -> HttpResponse {
    json_answer(why.status, why.body())
}

fn loading() -> ErrorReply {
    ErrorReply::server(StatusCode::SERVICE_UNAVAILABLE, "Loading model", "unavailable_error")
}

fn unauthorised() -> HttpResponse {
    json_answer(StatusCode::UNAUTHORIZED, to_json(&json!({ "error": "Unauthorized" })))
}

/// What the web framework below vLLM says of paths and methods.
fn detail(status: StatusCode) -> HttpResponse {
    json_answer(status, to_json(&json!({ "detail": status.canonical_reason() })))
}
