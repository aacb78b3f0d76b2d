//! How servers are: asked at the start, for readiness, and when one does not know the model.

use std::time::Duration;

use reqwest::{Method, Request, StatusCode, Url};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::{
    endpoint::Endpoint,
    failure::{AttemptFailure, FailureKind},
    pool::Pool,
    transport::failure_of,
};

/// How long a server may take to say how it is.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Names of models that a message lists, at most.
const MAX_NAMES: usize = 20;

/// How one server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    /// The server, by host, port and path.
    pub endpoint: String,
    /// How it is.
    pub state: EndpointState,
}

/// States of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// It answers, and has the model as far as it tells.
    Ready,
    /// It answers, but lists other models. Some servers take any name, so calls may still succeed.
    OtherModels(Vec<String>),
    /// It does not answer, or says that it cannot yet; it may be loading its model.
    NotYet(String),
    /// It does not want us.
    Refused(String),
}

impl EndpointStatus {
    /// Whether calls can be sent there.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, EndpointState::Ready | EndpointState::OtherModels(_))
    }
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ListedModel>,
}

#[derive(Deserialize)]
struct ListedModel {
    id: String,
}

/// The statuses of all servers, in the order of the options, asked at the same time.
pub(super) async fn all(pool: &Pool, model: &str) -> Vec<EndpointStatus> {
    let mut asked = JoinSet::new();
    for index in 0..pool.len() {
        let (pool, model) = (pool.clone(), model.to_owned());
        asked.spawn(async move { (index, status(pool.endpoint(index), &model).await) });
    }
    let mut statuses = asked.join_all().await;
    statuses.sort_by_key(|(index, _)| *index);
    statuses.into_iter().map(|(_, status)| status).collect()
}

async fn status(endpoint: &Endpoint, model: &str) -> EndpointStatus {
    let state = match get(endpoint, &endpoint.models_url).await {
        Ok(body) => state_of_list(&body, model),
        // Servers of rewards need not list models.
        Err(failure) if failure.kind == FailureKind::UnknownRoute => {
            let health = get(endpoint, &endpoint.health_url).await;
            health.map_or_else(|failure| state_of_failure(&failure), |_| EndpointState::Ready)
        }
        Err(failure) => state_of_failure(&failure),
    };
    EndpointStatus { endpoint: endpoint.name.clone(), state }
}

fn state_of_list(body: &[u8], model: &str) -> EndpointState {
    let names = names(body);
    if names.is_empty() || names.iter().any(|name| name == model) {
        EndpointState::Ready
    } else {
        EndpointState::OtherModels(names)
    }
}

/// A server that has not even the page for it may still work.
fn state_of_failure(failure: &AttemptFailure) -> EndpointState {
    match failure.kind {
        kind if kind.is_transient() => EndpointState::NotYet(failure.words()),
        FailureKind::Unauthorised | FailureKind::Refused => {
            EndpointState::Refused(format!("status {}: {}", failure.status.unwrap_or(200), failure.message))
        }
        _ => EndpointState::Ready,
    }
}

/// The models that a server lists; none where it does not.
pub(super) async fn models(endpoint: &Endpoint) -> Vec<String> {
    get(endpoint, &endpoint.models_url).await.map(|body| names(&body)).unwrap_or_default()
}

fn names(body: &[u8]) -> Vec<String> {
    let list: Option<ModelList> = serde_json::from_slice(body).ok();
    list.into_iter().flat_map(|list| list.data).map(|model| model.id).take(MAX_NAMES).collect()
}

async fn get(endpoint: &Endpoint, url: &Url) -> Result<Vec<u8>, AttemptFailure> {
    let mut request = Request::new(Method::GET, url.clone());
    request.headers_mut().clone_from(&endpoint.headers);
    *request.timeout_mut() = Some(TIMEOUT);
    let response = endpoint.client.execute(request).await.map_err(|error| failure_of(&error))?;
    let status = response.status();
    let body = super::transport::read(response, MAX_LIST_BYTES).await?;
    if status == StatusCode::OK {
        Ok(body.into())
    } else {
        Err(AttemptFailure::of_status(status.as_u16(), &body, None))
    }
}

/// The largest list of models that is read, in bytes.
const MAX_LIST_BYTES: usize = 4 << 20;
