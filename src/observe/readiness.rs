//! Whether the process can do its work now: named conditions, each met or not and why.
//!
//! Every part that others must wait for declares its condition once, before the admin server starts, and
//! keeps the [`Condition`] to report by. `/readyz` answers 200 while all conditions are met.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

/// For every condition: why it is not met, or nothing if it is.
type Conditions = BTreeMap<&'static str, Option<String>>;

/// The conditions of one process. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    conditions: Arc<watch::Sender<Conditions>>,
}

impl Readiness {
    /// No conditions: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares the condition called `name`, not met until its holder says so.
    pub fn condition(&self, name: &'static str) -> Condition {
        let condition = Condition { name, conditions: Arc::clone(&self.conditions) };
        condition.unmet("no answer yet");
        condition
    }

    /// The conditions that are not met, each as `name: reason`; empty when the process is ready.
    pub fn reasons(&self) -> Vec<String> {
        let conditions = self.conditions.borrow();
        let unmet = conditions.iter().filter_map(|(name, reason)| Some((name, reason.as_ref()?)));
        unmet.map(|(name, reason)| format!("{name}: {reason}")).collect()
    }
}

/// One condition, in the hands of the part that knows whether it is met. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Condition {
    name: &'static str,
    conditions: Arc<watch::Sender<Conditions>>,
}

impl Condition {
    /// It is met.
    pub fn met(&self) {
        self.set(None);
    }

    /// It is not met, for `reason`: one line that a person on call can act on.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        self.conditions.send_modify(|conditions| {
            conditions.insert(self.name, reason);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_every_condition_is_met() {
        let readiness = Readiness::new();
        assert!(readiness.reasons().is_empty());
        let log = readiness.condition("log");
        let models = readiness.condition("models");
        assert_eq!(readiness.reasons(), ["log: no answer yet", "models: no answer yet"]);
        log.met();
        models.unmet("no endpoint answers");
        assert_eq!(readiness.reasons(), ["models: no endpoint answers"]);
        models.met();
        assert!(readiness.reasons().is_empty());
    }
}
