//! What any run stands on: metrics, readiness, its models, the admin server.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::Models;
use crate::{
    command::run::{RunError, RunOptions},
    config::Settings,
    observe::{AdminServer, Condition, Metrics, Readiness},
    stage::Role,
};

/// How the names of simulated models begin.
const SIMULATED: &str = "simulated-";

/// Whether the texts of this process are simulated models': its own cluster's, or those of an `avr simulate` elsewhere,
/// which is known by the models' names.
pub fn simulated(settings: &Settings, simulate: bool) -> bool {
    let models = [&settings.generator, &settings.long, &settings.reward];
    simulate || models.iter().any(|options| is_simulated(&options.model))
}

/// Whether a model of this name is one of `avr simulate`.
pub(crate) fn is_simulated(model: &str) -> bool {
    model.starts_with(SIMULATED)
}

/// What a run stands on.
pub(crate) struct Process {
    pub(crate) metrics: Metrics,
    /// Met once the log can be used.
    pub(crate) log_ready: Condition,
    pub(crate) models: Models,
    introductions: JoinSet<()>,
    admin: Option<AdminServer>,
}

impl Process {
    /// Starts what serves and asks in the background, of the `worker` of this name where it is one. The log is still to
    /// come.
    pub(crate) async fn start(
        settings: &Settings,
        options: &RunOptions,
        roles: &BTreeSet<Role>,
        worker: Option<&str>,
    ) -> Result<Self, RunError> {
        let metrics = Metrics::new();
        let readiness = Readiness::new();
        let log_ready = readiness.condition("log");
        let models = Models::start(settings, roles, options.simulate, &metrics, worker).await?;
        let introductions = models.introduce(&readiness);
        let admin = start_admin(settings, &metrics, readiness).await;
        Ok(Self { metrics, log_ready, models, introductions, admin })
    }

    /// Ends what runs in the background, but for a simulated cluster.
    pub(crate) async fn quiet(&mut self) {
        self.introductions.abort_all();
        self.models.stop.stop();
        if let Some(admin) = self.admin.take() {
            admin.stop().await;
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
