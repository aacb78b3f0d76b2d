//! What serves a run beside its engine: metrics, readiness, the models, the admin server.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::{ModelClients, ModelSetupError};
use crate::{
    config::Settings,
    observe::{AdminServer, Condition, Metrics, Readiness},
    stage::Role,
};

/// What serves a run beside its engine.
pub(crate) struct Services {
    pub(crate) metrics: Metrics,
    /// Met once the log can be used.
    pub(crate) log_ready: Condition,
    pub(crate) models: ModelClients,
    /// Asks the model servers until they are ready.
    readiness_checks: JoinSet<()>,
    admin: Option<AdminServer>,
}

impl Services {
    /// Starts them in the background, for the `worker` of this name where it is one. The log is still to come.
    pub(crate) async fn start(
        settings: &Settings,
        roles: &BTreeSet<Role>,
        simulate: bool,
        worker: Option<&str>,
    ) -> Result<Self, ModelSetupError> {
        let metrics = Metrics::new();
        let readiness = Readiness::new();
        let log_ready = readiness.condition("log");
        let models = ModelClients::start(settings, roles, simulate, &metrics, worker).await?;
        let readiness_checks = models.await_ready(&readiness);
        let admin = start_admin(settings, &metrics, readiness).await;
        Ok(Self { metrics, log_ready, models, readiness_checks, admin })
    }

    /// Ends them. What the models have counted can still be read.
    pub(crate) async fn shutdown(&mut self) {
        self.readiness_checks.abort_all();
        self.models.stop.stop();
        if let Some(admin) = self.admin.take() {
            admin.stop().await;
        }
        if let Some(cluster) = self.models.cluster.take() {
            cluster.stop().await;
        }
    }
}

/// Metrics are for looking on: a run goes on without them.
async fn start_admin(settings: &Settings, metrics: &Metrics, readiness: Readiness) -> Option<AdminServer> {
    match AdminServer::start(&settings.observe.admin, metrics.clone(), readiness).await {
        Ok(admin) => {
            tracing::info!(address = %admin.address(), "metrics and health are served");
            Some(admin)
        }
        Err(error) => {
            tracing::warn!(%error, "going on without metrics");
            None
        }
    }
}
