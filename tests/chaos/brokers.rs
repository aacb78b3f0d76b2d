//! The cluster that the environment names, and `scripts/kafka`, which kills and restarts its brokers.

use std::{path::Path, process::Command};

/// A running cluster of three brokers.
pub(crate) struct Brokers {
    pub(crate) bootstrap: String,
}

impl Brokers {
    /// The cluster of the environment; none where there is none, which is said, or is a failure where
    /// `AVR_REQUIRE_KAFKA` says so.
    pub(crate) fn find() -> Option<Self> {
        match std::env::var("AVR_TEST_KAFKA") {
            Ok(bootstrap) => Some(Self { bootstrap }),
            Err(_) if std::env::var_os("AVR_REQUIRE_KAFKA").is_some() => {
                panic!("AVR_TEST_KAFKA names no cluster, and AVR_REQUIRE_KAFKA wants one")
            }
            Err(_) => {
                eprintln!("NOT RUN: no Kafka; AVR_TEST_KAFKA=host:port names a cluster, see scripts/test");
                None
            }
        }
    }

    pub(crate) fn kill(&self, broker: u32) {
        script(&["kill", &broker.to_string()]);
    }

    pub(crate) fn restart(&self, broker: u32) {
        script(&["restart", &broker.to_string()]);
    }
}

fn script(arguments: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka");
    let output = Command::new(path).args(arguments).output().expect("scripts/kafka starts");
    assert!(
        output.status.success(),
        "scripts/kafka {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
