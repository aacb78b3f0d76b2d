//! Requests on which a server fails each time while it works: they are given up, and an outage is waited out.

use std::pin::pin;

use avr::{
    model::{
        CallError, CallErrorKind, Concerns, ModelOptions, Priority, RewardKind, RewardModel, RewardRequest,
        StopSignal,
    },
    observe::Metrics,
    record::Message,
};
use futures_util::future::join_all;
use serde_json::json;

use super::{
    ask, ask_about, chat_model, options,
    server::{POISON, Reply, Server},
    wrote,
};

/// How often the server failed on a request that was given up while it answered others.
fn failures(error: &CallError) -> Option<u32> {
    match error.kind {
        CallErrorKind::GaveUp { failures, .. } => Some(failures),
        _ => None,
    }
}

#[tokio::test]
async fn a_request_on_which_a_healthy_server_always_fails_is_given_up() {
    let server = Server::start([wrote("ok")]).await;
    let options = ModelOptions { max_retries_while_healthy: 3, ..options(&[&server.url]) };
    let model = chat_model(options);
    let others = async {
        while let Ok(answer) = ask(&model, 0).await {
            assert_eq!(answer.text, "ok");
        }
    };
    let error = tokio::select! {
        result = ask_about(&model, 0, POISON) => result.expect_err("it never succeeds"),
        () = others => panic!("the server answers all others"),
    };
    assert_eq!(failures(&error), Some(3), "{error}");
    assert_eq!(error.concerns(), Some(Concerns::Request));
    assert!(error.to_string().contains("it crashed"), "{error}");
    let poisoned = server.seen().iter().filter(|seen| seen.body.contains(POISON)).count();
    assert_eq!(error.attempts as usize, poisoned);
    assert!(poisoned >= 4, "the first failure says nothing: {poisoned}");
}

/// Nobody else asks, so probes are sent for the sake of their answers.
#[tokio::test]
async fn a_poisonous_request_that_is_the_last_of_all_is_given_up_too() {
    let server = Server::start([wrote("ok")]).await;
    let model = chat_model(ModelOptions { max_retries_while_healthy: 3, ..options(&[&server.url]) });
    let error = ask_about(&model, 0, POISON).await.expect_err("it never succeeds");
    assert_eq!(failures(&error), Some(3), "{error}");
    let (poisoned, probes): (Vec<_>, Vec<_>) =
        server.seen().into_iter().partition(|seen| seen.body.contains(POISON));
    assert_eq!((poisoned.len(), probes.len()), (8 + 3, 3));
    let expected =
        json!({"model": "tiny", "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]});
    for seen in &probes {
        assert_eq!(serde_json::from_str::<serde_json::Value>(&seen.body).expect("JSON"), expected);
        assert!(seen.request_id.starts_with("health-"), "{}", seen.request_id);
    }
    assert_ne!(probes[0].request_id, probes[1].request_id);
    let totals = model.totals();
    assert_eq!((totals.attempts, totals.cut_off), (8 + 3 + 3, 0), "probes are counted, too");
    assert!(totals.prompt_tokens > 0);
}

/// For instance a model that takes no `max_tokens`.
#[tokio::test]
async fn a_server_that_refuses_a_probe_works() {
    let server = Server::start([Reply::status(400, "max_tokens is not supported")]).await;
    let model = chat_model(ModelOptions { max_retries_while_healthy: 3, ..options(&[&server.url]) });
    let error = ask_about(&model, 0, POISON).await.expect_err("it never succeeds");
    assert_eq!(failures(&error), Some(3), "{error}");
    assert_eq!(error.attempts, 8 + 3);
}

/// It would have an answer to a probe, but many calls that fail are an outage.
#[tokio::test]
async fn a_server_that_fails_on_all_requests_in_earnest_is_waited_for() {
    const CALLS: usize = 50;
    let server = Server::start_closed([wrote("ok")]).await;
    let model = chat_model(ModelOptions { max_retries_while_healthy: 3, ..options(&[&server.url]) });
    let mut calls = pin!(join_all((0..CALLS).map(|_| ask_about(&model, 0, POISON))));
    let outage = async {
        server.saw(CALLS).await;
        server.open();
        server.saw(CALLS * 15).await;
        assert!(server.seen().iter().all(|seen| seen.body.contains(POISON)), "no probe was sent");
        server.cure();
    };
    tokio::select! {
        results = &mut calls => panic!("calls end in the outage: {:?}", results[0]),
        () = outage => {}
    }
    for answer in calls.await {
        assert_eq!(answer.expect("it was an outage").text, "ok");
    }
}

#[tokio::test]
async fn a_server_that_answers_nothing_at_all_is_waited_for() {
    let outage = (0..40).map(|_| Reply::status(500, "no engine")).chain([wrote("ok")]);
    let server = Server::start(outage.collect::<Vec<_>>()).await;
    let model = chat_model(ModelOptions { max_retries_while_healthy: 1, ..options(&[&server.url]) });
    assert_eq!(ask(&model, 0).await.expect("it is back").text, "ok");
    let probes = server.seen().iter().filter(|seen| seen.body.contains("max_tokens")).count();
    assert!((10..=20).contains(&probes), "{probes} of about 41");
}

#[tokio::test]
async fn a_poisonous_reward_is_given_up_too() {
    let mut script = vec![Reply::status(500, "no"); 8];
    script.extend([Reply::json(&json!({"data": [{"data": [0.5]}]})), Reply::status(500, "no")]);
    let server = Server::start(script).await;
    let options = ModelOptions { max_retries_while_healthy: 1, ..options(&[&server.url]) };
    let model = RewardModel::new(options, RewardKind::Pooling, StopSignal::new(), &Metrics::new());
    let messages = [Message::user("Hi"), Message::assistant("Ho")];
    let request = RewardRequest { id: "r", messages: &messages[..], stage: "score", priority: Priority(3) };
    let asked = model.expect("the options are valid").reward(&request).await;
    let error = asked.expect_err("it never succeeds");
    assert_eq!(failures(&error), Some(1), "{error}");
    let seen = server.seen();
    assert_eq!(seen.len(), 10);
    assert!(seen[8].body.contains("\"role\":\"assistant\"") && seen[8].body.contains("Hello"));
}
