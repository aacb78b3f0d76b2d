//! How long to wait after failures in a row: a pure rule, without a clock.

use std::time::Duration;

/// Exponential back-off with jitter: after the *n*-th failure in a row between one half and the whole of
/// `first × 2ⁿ⁻¹`, never more than `most`.
///
/// The half that is random keeps callers that failed together from coming back together; the half that is
/// not keeps any of them from coming back at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after a first failure.
    pub first: Duration,
    /// The longest wait of all.
    pub most: Duration,
}

impl Backoff {
    /// The wait after `failures` (from 1) in a row; `jitter` in `0.0..1.0` chooses within the range.
    pub fn wait(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.most);
        let half = whole / 2;
        half + half.mul_f64(jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stays_in_its_range(first in 0u64..100_000, most in 0u64..100_000, failures: u32, jitter in 0.0..1.0) {
            let backoff = Backoff { first: Duration::from_millis(first), most: Duration::from_millis(most) };
            let wait = backoff.wait(failures, jitter);
            let (least, whole) = (backoff.wait(failures, 0.0), backoff.wait(failures, 1.0));
            prop_assert!(least <= wait && wait <= whole);
            prop_assert!(whole <= backoff.most && whole.as_millis().div_ceil(2) >= least.as_millis());
            prop_assert!(whole <= backoff.wait(failures.saturating_add(1), 1.0));
        }
    }

    #[test]
    fn doubles_until_the_most() {
        let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_millis(500) };
        let waits: Vec<_> = (1..6).map(|failures| backoff.wait(failures, 1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 500, 500]);
        assert_eq!(backoff.wait(u32::MAX, 0.0).as_millis(), 250);
    }
}
