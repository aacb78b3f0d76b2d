//! The models of a process, and which of them each stage asks.

use std::sync::Arc;

use crate::model::{ChatModel, RewardModel};

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Role {
    /// Drafts, criticises and improves.
    Generator,
    /// Gives long answers; the generator, where no other is configured.
    Long,
    /// Scores.
    Reward,
}

impl Role {
    /// The name in the configuration, in metrics and in messages.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A stage asks a model that the process does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stage {stage} asks the {role} model, and this process has none")]
pub struct MissingModel {
    /// The stage.
    pub stage: &'static str,
    /// The role.
    pub role: Role,
}

/// The models of a process: those that its stages ask.
#[derive(Clone, Default)]
pub struct Models {
    /// The generator.
    pub generator: Option<Arc<ChatModel>>,
    /// The model of long answers: one trained on long records.
    pub long: Option<Arc<ChatModel>>,
    /// The reward model.
    pub reward: Option<Arc<RewardModel>>,
}

impl Models {
    /// The generator, for a stage that cannot be without.
    pub(super) fn generator(&self, stage: &'static str) -> Result<Arc<ChatModel>, MissingModel> {
        found(self.generator.as_ref(), stage, Role::Generator)
    }

    /// The model of long answers, for a stage that cannot be without.
    pub(super) fn long(&self, stage: &'static str) -> Result<Arc<ChatModel>, MissingModel> {
        found(self.long.as_ref(), stage, Role::Long)
    }

    /// The reward model, for a stage that cannot be without.
    pub(super) fn reward(&self, stage: &'static str) -> Result<Arc<RewardModel>, MissingModel> {
        found(self.reward.as_ref(), stage, Role::Reward)
    }
}

fn found<M>(model: Option<&Arc<M>>, stage: &'static str, role: Role) -> Result<Arc<M>, MissingModel> {
    model.map(Arc::clone).ok_or(MissingModel { stage, role })
}
