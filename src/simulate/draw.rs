//! Chance that repeats: every draw is a function of what was asked, and of nothing else.

use super::protocol::WireMessage;

/// A hash of everything that an answer may depend on, from which its draws come.
#[derive(Clone)]
pub(super) struct Fingerprint(blake3::Hasher);

impl Fingerprint {
    /// Begins with the cluster's own seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        Self(hasher)
    }

    /// Adds bytes; the length goes with them, so that neighbours cannot be confused.
    pub(super) fn with(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a conversation.
    pub(super) fn with_turns(self, turns: &[WireMessage<'_>]) -> Self {
        turns.iter().fold(self, |all, turn| all.with(turn.role.as_bytes()).with(turn.content.as_bytes()))
    }

    /// The draws of this fingerprint.
    pub(super) fn draws(&self) -> Draws {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.finalize().as_bytes()[..8]);
        Draws(fastrand::Rng::with_seed(u64::from_le_bytes(first)))
    }
}

/// A stream of draws.
pub(super) struct Draws(fastrand::Rng);

impl Draws {
    /// Uniform from 0 up to but without 1.
    pub(super) fn share(&mut self) -> f64 {
        self.0.f64()
    }

    /// True in this share of cases.
    pub(super) fn happens(&mut self, rate: f64) -> bool {
        self.share() < rate
    }

    /// Uniform below `bound`, which must not be 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }
}
