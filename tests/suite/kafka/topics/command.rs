//! `avr topics` as a shell sees it.

use std::process::{Command, Output};

use super::pipeline::Pipeline;

/// Runs `avr topics` away from any configuration of this machine's.
fn avr_topics(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_avr"));
    command.current_dir(folder.path()).env_remove("AVR_CONFIG").arg("topics").args(arguments);
    command.output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn without_a_cluster_it_says_what_to_say() {
    for action in ["diff", "apply"] {
        let output = avr_topics(&[action]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains("say --kafka host:port"), "{output:?}");
    }
    let output = avr_topics(&["list"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = avr_topics(&["schema", "scored"]);
    assert!(text(&output.stdout).contains("\"title\": \"Thread\""), "{output:?}");
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn exit_codes_tell_a_script_what_is_so() {
    let pipeline = Pipeline::new("command");
    let with = |action: &'static str, more: &[&str]| {
        let arguments: Vec<String> = pipeline.arguments();
        let arguments = [action].into_iter().chain(arguments.iter().map(String::as_str));
        avr_topics(&arguments.chain(more.iter().copied()).collect::<Vec<_>>())
    };
    let before = with("diff", &[]);
    assert_eq!(before.status.code(), Some(1), "{before:?}");
    assert!(text(&before.stdout).contains("To set it right: avr topics apply --kafka "), "{before:?}");
    let dry = with("apply", &["--dry-run"]);
    assert_eq!((dry.status.code(), &dry.stdout), (Some(1), &before.stdout), "it only shows");
    let applied = with("apply", &[]);
    assert_eq!(applied.status.code(), Some(0), "{applied:?}");
    let after = with("diff", &[]);
    assert_eq!(after.status.code(), Some(0), "{after:?}");
    assert_eq!(text(&after.stdout), "All 11 topics are as they should be.\n");
    pipeline.end().await;
}
