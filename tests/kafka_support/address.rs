//! Where the tests' cluster is.

use std::io::Write as _;

/// The cluster's address. None where there is none: then it is said where nobody can overlook it that the tests did not
/// run, and where `AVR_REQUIRE_KAFKA` is set that is a failure.
pub(crate) fn address() -> Option<String> {
    let address = std::env::var("AVR_TEST_KAFKA").ok().filter(|address| !address.is_empty());
    if address.is_none() {
        let text =
            "NOT RUN: a test over Kafka. There is no cluster in AVR_TEST_KAFKA; scripts/test starts one\n";
        assert!(std::env::var_os("AVR_REQUIRE_KAFKA").is_none(), "{text}");
        // Not by a macro: what macros print is shown for tests that fail only.
        std::io::stderr().write_all(text.as_bytes()).expect("stderr can be written");
    }
    address
}
