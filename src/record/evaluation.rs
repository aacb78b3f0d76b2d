//! An answer to an instruction of a test, in the shape that AlpacaEval reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One element of `model_outputs.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelOutput {
    /// The instruction, as the test has it.
    pub instruction: String,
    /// The answer: of a long one the final answer.
    pub output: String,
    /// The model's name.
    pub generator: String,
    /// The test set that the instruction is from.
    pub dataset: String,
    /// Always `eval`.
    pub datasplit: String,
}
