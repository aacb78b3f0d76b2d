//! Why a call gave no answer, and what that ends.

/// A call without an answer. Failures that may pass are not among them: they are repeated until the run stops.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server refused this request for good; the same request need not be sent again. Uses a try.
    #[error("{model} at {endpoint} refused the request with status {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's own words.
        message: String,
        /// How often it was sent, those before that failed in a way that may pass among them.
        sends: u32,
        /// The model asked.
        model: String,
        /// The server asked.
        endpoint: String,
    },
    /// An answer came that holds nothing usable. Uses a try: another seed may do better.
    #[error("the answer of {model} at {endpoint} cannot be used: {message}")]
    Malformed {
        /// What is wrong with it.
        message: String,
        /// How often it was sent, those before that failed in a way that may pass among them.
        sends: u32,
        /// The model asked.
        model: String,
        /// The server asked.
        endpoint: String,
    },
    /// The server failed on this request again and again while it answered others. Uses a try.
    #[error(
        "{model} at {endpoint} failed on the request {failures} times while it answered others, the last time so: \
         {message} (models.*.max_repeats_while_healthy)"
    )]
    Hopeless {
        /// How often it failed while the server answered others.
        failures: u32,
        /// What came the last time.
        message: String,
        /// How often it was sent, also while the server answered no other.
        sends: u32,
        /// The model asked.
        model: String,
        /// The server asked.
        endpoint: String,
    },
    /// No call of this kind will ever succeed as things are set up: the run has to end.
    #[error("{model} at {endpoint}: {problem}; {advice}")]
    Run {
        /// What the server said.
        problem: String,
        /// What to do about it.
        advice: String,
        /// The model asked.
        model: String,
        /// The server asked.
        endpoint: String,
    },
    /// The request could not be written, so it was never sent.
    #[error("the request cannot be written as JSON: {0}")]
    Unwritable(#[from] serde_json::Error),
    /// The run stops; the call was not finished, and is made again by the next run.
    #[error("the run is stopping")]
    Stopped,
}

/// How much a failed call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This try; the next try of the same call may succeed.
    Try,
    /// The whole run.
    Run,
    /// Nothing but this process's work on it: the run was told to stop.
    Stop,
}

impl CallError {
    /// How much the error ends.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Refused { .. } | Self::Malformed { .. } | Self::Hopeless { .. } | Self::Unwritable(_) => {
                Scope::Try
            }
            Self::Run { .. } => Scope::Run,
            Self::Stopped => Scope::Stop,
        }
    }

    /// How often the request was sent; 0 where that says nothing of it.
    pub fn sends(&self) -> u32 {
        match self {
            Self::Refused { sends, .. } | Self::Malformed { sends, .. } | Self::Hopeless { sends, .. } => {
                *sends
            }
            Self::Run { .. } | Self::Unwritable(_) | Self::Stopped => 0,
        }
    }

    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}
