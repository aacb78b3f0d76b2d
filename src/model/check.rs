//! How servers are: asked at the start, for readiness, and when one does not know the model.

use std::time::Duration;

use reqwest::{Method, Request, StatusCode, Url};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::{caller::Caller, endpoint::Endpoint, failure::Failure, transport::failure_of};

/// How long a server may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);

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
pub(super) async fn all(caller: &Caller) -> Vec<EndpointStatus> {
    let mut asked = JoinSet::new();
    for index in 0..caller.pool.len() {
        let (pool, model) = (caller.pool.clone(), caller.options.model.clone());
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
        Err(Failure::UnknownRoute { .. }) => match get(endpoint, &endpoint.health_url).await {
            Ok(_) | Err(Failure::UnknownRoute { .. }) => EndpointState::Ready,
            Err(failure) => state_of_failure(failure),
        },
        Err(failure) => state_of_failure(failure),
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

fn state_of_failure(failure: Failure) -> EndpointState {
    match failure {
        Failure::Transient { message, .. } => EndpointState::NotYet(message),
        Failure::Unauthorised { status, message } | Failure::Refused { status, message } => {
            EndpointState::Refused(format!("status {status}: {message}"))
        }
        _ => EndpointState::Ready,
    }
}

/// What to do about a model that the server does not know.
pub(super) async fn advice_on_models(endpoint: &Endpoint) -> String {
    let names = get(endpoint, &endpoint.models_url).await.map(|body| names(&body)).unwrap_or_default();
    if names.is_empty() {
        return "correct the model's name, or the URL".to_owned();
    }
    format!("correct the model's name; the server has: {}", names.join(", "))
}

fn names(body: &[u8]) -> Vec<String> {
    let list: Option<ModelList> = serde_json::from_slice(body).ok();
    list.into_iter().flat_map(|list| list.data).map(|model| model.id).take(MAX_NAMES).collect()
}

async fn get(endpoint: &Endpoint, url: &Url) -> Result<Vec<u8>, Failure> {
    let mut request = Request::new(Method::GET, url.clone());
    request.headers_mut().clone_from(&endpoint.headers);
    *request.timeout_mut() = Some(PATIENCE);
    let response = endpoint.client.execute(request).await.map_err(|error| failure_of(&error))?;
    let status = response.status();
    let body = super::transport::read(response, MAX_LIST_BYTES).await?;
    if status == StatusCode::OK {
        Ok(body.into())
    } else {
        Err(Failure::of_status(status.as_u16(), &body, None))
    }
}

/// The largest list of models that is read, in bytes.
const MAX_LIST_BYTES: usize = 4 << 20;
