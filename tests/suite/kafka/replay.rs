//! `avr replay` over the finished threads of a cluster.

use std::{fs, process::Command};

use avr::{
    log::{Committer as _, Log as _, Output, kafka::GroupProtocol},
    method::{Recipe, Templates},
    record::{Extra, IndexEntry, Origin, RecipeRef},
    topic::{INDEX, SCORED, TopicName},
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::cluster::{self, Pipeline};

const THREADS: usize = 30;

fn output(topic: TopicName, key: &str, value: &impl serde::Serialize) -> Output {
    let value = serde_json::to_vec(value).expect("JSON").into();
    Output { topic, key: Some(Bytes::from(key.to_owned())), value: Some(value), headers: vec![] }
}

/// A thread of stage1 whose improvements gained one and two.
fn thread(id: &str, recipe: &RecipeRef) -> Value {
    let call = json!({
        "model": "m", "seed": 7, "temperature": 0.7, "tries": 1, "finish_reason": "stop",
        "prompt_tokens": 1, "completion_tokens": 1, "failure": null,
    });
    let improvement = |text: &str, reward: f64| json!({"text": text, "reward": reward, "call": call});
    let critique = |text: &str, improvements: Value| json!({"text": text, "rating": 7, "call": call, "improvements": improvements});
    json!({
        "version": 1, "id": id, "recipe": recipe, "origin": {"source": "-", "line": 1},
        "prompt": [{"role": "user", "content": id}], "given_answer": null,
        "answer": {"text": "y0", "reward": 0.0, "call": call}, "reward_model": "r",
        "rounds": [{"critiques": [
            critique("a", json!([improvement("p", 2.0), improvement("q", 1.0)])),
            critique("b", json!([improvement("r", 0.5)])),
        ]}],
    })
}

/// What a run leaves in its cluster: the index, and all threads but the last finished.
async fn leave_threads(pipeline: &Pipeline) {
    let (recipe, templates) = (Recipe::stage1(), Templates::builtin());
    let reference = recipe.reference(&templates);
    let mut definition = serde_json::to_value(&recipe).expect("JSON");
    definition["simulated"] = true.into();
    definition["templates"] = serde_json::to_value(templates.hashes()).expect("JSON");
    let entry = IndexEntry::Recipe { hash: reference.hash.clone(), definition };
    let mut outputs = vec![output(INDEX.name, "recipe:stage1", &entry)];
    for number in 0..THREADS {
        let id = format!("stage1:{number}");
        let origin = Origin { source: "-".to_owned(), line: number as u64, extra: Extra::new() };
        outputs.push(output(INDEX.name, &id, &IndexEntry::Thread { content: id.clone(), origin }));
        if number + 1 < THREADS {
            outputs.push(output(SCORED.name, &id, &thread(&id, &reference)));
        }
    }
    let log = pipeline.process(pipeline.options(GroupProtocol::Classic)).await;
    log.committer("test").await.expect("a committer").commit(outputs, vec![]).await.expect("committed");
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn the_threads_of_a_cluster_are_selected_from_again() {
    let cluster = cluster::shared();
    let pipeline = cluster.fresh(&[(INDEX.name, 1), (SCORED.name, 3)]).await;
    leave_threads(&pipeline).await;
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = format!("kafka.prefix={}", pipeline.prefix);
    let replay = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_avr"));
        command.current_dir(folder.path()).args(["replay", "--json", "--progress", "none", "--out", "again"]);
        command.args(["--kafka", &cluster.bootstrap, "--set", &prefix]).args(more);
        command.output().expect("avr runs")
    };
    let ended = replay(&["--set", "recipes.stage1.records=response_pair,kto"]);
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    let summary: Value = serde_json::from_slice(&ended.stdout).expect("a summary");
    let source = &summary["ending"]["replayed"]["source"];
    let expected = [json!(THREADS), json!(THREADS - 1), Value::Null];
    assert_eq!([&source["taken_in"], &source["kept"], &source["outcomes"]], expected.each_ref());
    assert_eq!(summary["state"]["records"], json!({"response_pair": THREADS - 1, "kto": 3 * (THREADS - 1)}));
    let rows = fs::read_to_string(folder.path().join("again/llamafactory/avr_kto.jsonl")).expect("rows");
    assert_eq!(rows.lines().count(), 3 * (THREADS - 1));
    let refused = replay(&["--set", "recipes.stage1.critique_tries=2"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("critique_tries: 5 before, 2 now"), "{told}");
    let refused = replay(&["--set", "kafka.keep_for_replay=false"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    let expected = format!(
        "kafka.keep_for_replay is false, so workers delete finished threads from topic {}scored",
        pipeline.prefix
    );
    assert!(told.contains(&expected), "{told}");
}
