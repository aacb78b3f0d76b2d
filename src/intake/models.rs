//! One log, one sort of models: whether what is in it comes from simulated models, and who may add to it.
//!
//! Over the embedded log the recipe's definition says so. Over a cluster the models are the workers', and who submits
//! does not know them; so the first worker that asks any says it in the index, and later ones are held to it.

use super::{IntakeError, batch::index_output, index::MODELS, recipe::claims};
use crate::{
    log::{Log, StandaloneCommit, StandaloneCommitter},
    record::IndexEntry,
};

/// The name under which it is said. Of two workers that start at once the later fences the earlier, so that one of them
/// speaks first.
pub const MODELS_COMMITTER: &str = "models";

/// A log was begun with models of the other sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pipeline was begun with {} models, and this worker asks {} ones: records of both must not be mixed. Give this \
     worker a pipeline of its own (another kafka.prefix), or models of that sort (whose names begin with \"simulated-\" \
     where they are simulated)",
    sort(!.simulated), sort(*.simulated)
)]
pub struct OtherModels {
    /// Whether the worker's are simulated.
    pub simulated: bool,
}

fn sort(simulated: bool) -> &'static str {
    if simulated { "simulated" } else { "real" }
}

/// Says in a log that all models behind it are of one sort, now and later, unless it says so.
///
/// # Errors
/// It was begun with models of the other sort. The log fails.
pub async fn claim_models<L: Log>(log: &L, simulated: bool) -> Result<(), IntakeError> {
    let mut committer = StandaloneCommitter::start(log.clone(), MODELS_COMMITTER).await?;
    while !check_models(claims(log, None).await?.simulated(), simulated)? {
        let output = index_output(MODELS.to_owned(), &IndexEntry::Models { simulated });
        if committer.commit(vec![output]).await? == StandaloneCommit::Committed {
            break;
        }
    }
    Ok(())
}

/// Whether it was claimed that the models are of this sort; nothing was where it is not.
///
/// # Errors
/// It was claimed that they are of the other.
pub fn check_models(claimed: Option<bool>, simulated: bool) -> Result<bool, IntakeError> {
    match claimed {
        Some(claimed) if claimed != simulated => Err(OtherModels { simulated }.into()),
        claimed => Ok(claimed.is_some()),
    }
}
