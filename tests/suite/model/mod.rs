//! The clients of model servers, over real HTTP on loopback.
//!
//! A server here gives the replies of its script, one a request and the last again and again, and writes down
//! what it was asked. `tests/fixtures/vllm` holds replies of vLLM 0.32.0 as they were recorded.

mod given_up;
mod server;

use std::time::Duration;

use avr::{
    model::{
        Backoff, CallError, CallErrorKind, ChatAnswer, ChatModel, ChatRequest, Concerns, EndpointState,
        ModelOptions, ModelTotals, Priority, RewardKind, RewardModel, RewardRequest, Secret, StopSignal,
    },
    observe::Metrics,
    record::Message,
};
use server::{Reply, Server};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Options with waits too short to notice.
fn options(urls: &[&str]) -> ModelOptions {
    let quick = Backoff { first: MILLISECOND, most: MILLISECOND };
    ModelOptions { retry_backoff: quick, cooldown: quick, ..ModelOptions::new("generator", urls, "tiny") }
}

fn chat_model(options: ModelOptions) -> ChatModel {
    ChatModel::new(options, StopSignal::new(), &Metrics::new()).expect("the options are valid")
}

async fn ask(model: &ChatModel, priority: u8) -> Result<ChatAnswer, CallError> {
    let messages = [Message::user("Hi")];
    model.chat(&request(&messages, priority)).await
}

async fn ask_about(model: &ChatModel, priority: u8, text: &str) -> Result<ChatAnswer, CallError> {
    let messages = [Message::user(text)];
    model.chat(&request(&messages, priority)).await
}

fn request(messages: &[Message], priority: u8) -> ChatRequest<'_, [Message]> {
    ChatRequest {
        id: "thread/draft/0/0/1",
        seed: 7,
        temperature: 0.7,
        top_p: 0.8,
        messages,
        stage: "draft",
        priority: Priority(priority),
    }
}

async fn ask_several(model: &ChatModel, count: u32) -> Result<Vec<Option<ChatAnswer>>, CallError> {
    let messages = [Message::user("Hi")];
    model.chat_several(&request(&messages, 0), count).await
}

async fn ask_reward(server: &Server, kind: RewardKind) -> Result<f64, CallError> {
    let model = RewardModel::new(options(&[&server.url]), kind, StopSignal::new(), &Metrics::new());
    let messages = [Message::user("2+2?"), Message::assistant("4")];
    let request = RewardRequest { id: "r", messages: &messages, stage: "score", priority: Priority(0) };
    model.expect("the options are valid").reward(&request).await.map(|answer| answer.reward)
}

/// The reply of a server that wrote `text`.
fn wrote(text: &str) -> Reply {
    Reply::json(&serde_json::json!({
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    }))
}

#[tokio::test]
async fn a_call_says_what_the_method_needs_and_nothing_else() {
    let server = Server::start([wrote("Hello")]).await;
    let mut options = options(&[&server.url]);
    options.api_key = Some(Secret::new("hush"));
    options.agent = "avr/9 (wörker, process 7)".to_owned();
    let model = chat_model(options);
    let answer = ask(&model, 0).await.expect("the server answers");
    let expected = ChatAnswer {
        text: "Hello".to_owned(),
        finish_reason: Some("length".to_owned()),
        prompt_tokens: 5,
        completion_tokens: 3,
        attempts: 1,
    };
    assert_eq!(answer, expected);
    let [seen] = &server.seen()[..] else { panic!("one request is sent") };
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.authorization, "Bearer hush");
    assert_eq!(seen.request_id, "thread/draft/0/0/1.1");
    assert_eq!(seen.user_agent, "avr/9 (w?rker, process 7)", "what no header can carry is replaced");
    assert_eq!(
        seen.body,
        r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"temperature":0.7,"top_p":0.8,"seed":7}"#
    );
    let totals = ModelTotals {
        calls: 1,
        attempts: 1,
        cut_off: 1,
        prompt_tokens: 5,
        completion_tokens: 3,
        ..ModelTotals::default()
    };
    assert_eq!(model.totals(), totals);
}

#[tokio::test]
async fn a_reward_is_asked_for_without_activation() {
    let server = Server::start([Reply::json(&serde_json::json!({"data": [{"data": [0.5]}]}))]).await;
    assert_eq!(ask_reward(&server, RewardKind::Pooling).await.expect("the server answers"), 0.5);
    let [seen] = &server.seen()[..] else { panic!("one request is sent") };
    assert_eq!(seen.path, "/pooling");
    assert!(seen.body.ends_with(r#""use_activation":false}"#), "{}", seen.body);
}

#[tokio::test]
async fn what_vllm_said_is_understood() {
    for line in include_str!("../../fixtures/vllm/chat.jsonl").lines() {
        let recorded: serde_json::Value = serde_json::from_str(line).expect("the fixture is JSON");
        let server = Server::start([Reply::recorded(&recorded)]).await;
        let result = ask(&chat_model(options(&[&server.url])), 0).await.map(|answer| answer.text);
        let expected = &recorded["response"]["choices"][0]["message"]["content"];
        check_recorded(&recorded, expected, result.map(Into::into));
    }
}

/// Every recorded reply, as one to a request for three: what has fewer choices gives fewer answers.
#[tokio::test]
async fn what_vllm_said_to_a_request_for_several_is_understood() {
    let mut most = 0;
    for line in include_str!("../../fixtures/vllm/chat.jsonl").lines() {
        let recorded: serde_json::Value = serde_json::from_str(line).expect("the fixture is JSON");
        let server = Server::start([Reply::recorded(&recorded)]).await;
        let result = ask_several(&chat_model(options(&[&server.url])), 3).await;
        let Some(choices) = recorded["response"]["choices"].as_array() else {
            assert!(result.is_err(), "{}", recorded["name"]);
            continue;
        };
        let answers: Vec<ChatAnswer> = result.expect("choices").into_iter().flatten().collect();
        let texts: Vec<_> = choices.iter().map(|choice| &choice["message"]["content"]).collect();
        assert_eq!(
            answers
                .iter()
                .map(|answer| answer.text.as_str().into())
                .collect::<Vec<serde_json::Value>>()
                .iter()
                .collect::<Vec<_>>(),
            texts
        );
        let tokens: u32 = answers.iter().map(|answer| answer.completion_tokens).sum();
        assert_eq!(recorded["response"]["usage"]["completion_tokens"], tokens, "of all choices, once");
        most = most.max(answers.len());
        let body: serde_json::Value = serde_json::from_str(&server.seen()[0].body).expect("JSON");
        assert_eq!(body["n"], 3);
    }
    assert_eq!(most, 3, "some reply has three choices");
}

#[tokio::test]
async fn what_vllm_scored_is_understood() {
    for line in include_str!("../../fixtures/vllm/reward.jsonl").lines() {
        let recorded: serde_json::Value = serde_json::from_str(line).expect("the fixture is JSON");
        let server = Server::start([Reply::recorded(&recorded)]).await;
        let score = &recorded["response"]["data"][0];
        let (kind, expected) = match recorded["path"].as_str() {
            Some("/classify") => (RewardKind::Classify, &score["probs"][0]),
            _ => (RewardKind::Pooling, &score["data"][0]),
        };
        check_recorded(&recorded, expected, ask_reward(&server, kind).await.map(Into::into));
    }
}

fn check_recorded(
    recorded: &serde_json::Value,
    expected: &serde_json::Value,
    got: Result<serde_json::Value, CallError>,
) {
    let name = &recorded["name"];
    let message = recorded["response"]["error"]["message"].as_str().unwrap_or("Not Found");
    match (recorded["status"].as_u64(), got) {
        (Some(200), Ok(got)) => assert_eq!(got, *expected, "{name}"),
        // One recorded answer is in base64, which is no number.
        (Some(200), Err(error)) => {
            assert!(expected.is_null() && error.concerns() == Some(Concerns::Endpoint), "{name}: {error}")
        }
        (Some(404), Err(error)) => {
            assert_eq!(error.concerns(), Some(Concerns::Endpoint), "{name}");
            assert!(error.to_string().contains(message), "{name}: {error}");
        }
        (_, Err(CallError { kind: CallErrorKind::Refused(refusal), .. })) => {
            assert_eq!((refusal.concerns, refusal.status), (Concerns::Request, Some(400)), "{name}");
            assert_eq!(refusal.message, message, "{name}");
        }
        (_, got) => panic!("{name}: {got:?}"),
    }
}

#[tokio::test]
async fn what_may_pass_is_retried_as_the_same_request() {
    let server = Server::start([
        Reply::status(500, ""),
        Reply::status(429, "slow down").with_header("retry-after", "0"),
        Reply::status(503, r#"{"error":{"message":"Loading model"}}"#),
        Reply::status(200, "<html>"),
        wrote("at last"),
    ])
    .await;
    let model = chat_model(options(&[&server.url]));
    assert_eq!(ask(&model, 0).await.expect("it answers in the end").attempts, 5);
    let seen = server.seen();
    assert!(seen.iter().all(|request| request.body == seen[0].body));
    let ids: Vec<_> = seen.iter().map(|request| request.request_id.as_str()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5].map(|attempt| format!("thread/draft/0/0/1.{attempt}")));
    let ModelTotals { calls, attempts, retries, tries_used, .. } = model.totals();
    assert_eq!((calls, attempts, retries, tries_used), (1, 5, 4, 0));
}

#[tokio::test]
async fn a_connection_that_is_cut_is_retried() {
    let server = Server::start_after_cutting(3, [wrote("ok")]).await;
    let answer = ask(&chat_model(options(&[&server.url])), 0).await.expect("it answers in the end");
    assert_eq!((answer.text.as_str(), answer.attempts), ("ok", 4));
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_asked_for_again() {
    let server = Server::start([Reply::never(), wrote("ok")]).await;
    let mut options = options(&[&server.url]);
    options.timeout = 100 * MILLISECOND;
    let answer = ask(&chat_model(options), 0).await.expect("it answers in the end");
    assert!(answer.attempts >= 2);
}

#[tokio::test]
async fn a_server_that_is_not_there_takes_no_work_from_others() {
    let server = Server::start([wrote("ok")]).await;
    let model = chat_model(options(&["http://127.0.0.1:1", &server.url]));
    for _ in 0..5 {
        ask(&model, 0).await.expect("the other server answers");
    }
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn every_error_says_whom_it_concerns_and_what_to_do() {
    let models = Reply::json(&serde_json::json!({"data": [{"id": "other"}]}));
    let no_text = r#"{"choices":[{"message":{"content":null},"finish_reason":"length"}]}"#;
    let cases = [
        (
            Reply::status(400, r#"{"error":{"message":"too long"}}"#),
            Concerns::Request,
            "refused the request with status 400: too long",
        ),
        (Reply::status(200, no_text), Concerns::Request, "it has no text (finish reason: length)"),
        (
            Reply::status(200, &"x".repeat(5000)),
            Concerns::Request,
            "it has more than 4096 bytes; raise `max_answer_bytes`",
        ),
        (Reply::status(401, r#"{"error":"Unauthorized"}"#), Concerns::Key, "check the API key"),
        (
            Reply::status(404, r#"{"detail":"Not Found"}"#),
            Concerns::Endpoint,
            "nothing answers at /v1/chat/completions",
        ),
        (Reply::status(307, ""), Concerns::Endpoint, "check the URL"),
        (
            Reply::status(404, r#"{"error":{"message":"The model `tiny` does not exist."}}"#),
            Concerns::Endpoint,
            "correct the model's name; the server has: other",
        ),
    ];
    for (reply, concerns, message) in cases {
        let server = Server::start([reply, models.clone()]).await;
        let model = chat_model(ModelOptions { max_answer_bytes: 4096, ..options(&[&server.url]) });
        let error = ask(&model, 0).await.expect_err("the call fails");
        assert_eq!(error.concerns(), Some(concerns), "{error}");
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(model.totals().tries_used, u64::from(concerns == Concerns::Request), "{error}");
    }
}

#[tokio::test]
async fn a_page_instead_of_json_ends_the_request_after_five() {
    let server = Server::start([Reply::status(200, "<html>")]).await;
    let error = ask(&chat_model(options(&[&server.url])), 0).await.expect_err("the call fails");
    assert!(matches!(error, CallError { kind: CallErrorKind::Unusable { .. }, attempts: 5, .. }), "{error}");
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn a_refusal_says_how_often_the_request_was_sent() {
    let server =
        Server::start([Reply::status(500, ""), Reply::status(503, ""), Reply::status(400, "no")]).await;
    let error = ask(&chat_model(options(&[&server.url])), 0).await.expect_err("it is refused");
    assert_eq!((error.concerns(), error.status(), error.attempts), (Some(Concerns::Request), Some(400), 3));
}

#[tokio::test]
async fn a_server_that_refuses_all_from_the_start_stops_the_run() {
    let server =
        Server::start([Reply::status(400, "no"), Reply::status(400, "no"), Reply::status(400, "no")]).await;
    let model = chat_model(ModelOptions { stop_after_refusals: 3, ..options(&[&server.url]) });
    let concerns = [ask(&model, 0).await, ask(&model, 0).await, ask(&model, 0).await]
        .map(|result| result.expect_err("it is refused").concerns());
    assert_eq!(concerns, [Concerns::Request, Concerns::Request, Concerns::Everybody].map(Some));

    let server = Server::start([wrote("ok"), Reply::status(400, "no")]).await;
    let model = chat_model(ModelOptions { stop_after_refusals: 1, ..options(&[&server.url]) });
    ask(&model, 0).await.expect("the first is answered");
    for _ in 0..5 {
        let error = ask(&model, 0).await.expect_err("it is refused");
        assert_eq!(error.concerns(), Some(Concerns::Request), "it answers others: {error}");
    }
}

/// A call that was sent and waits for its answer goes on, one that only waits to be retried does not.
#[tokio::test]
async fn calls_that_fail_give_up_while_the_process_drains() {
    let answering = Server::start_closed([wrote("ok")]).await;
    let (stop, metrics) = (StopSignal::new(), Metrics::new());
    let model = ChatModel::new(options(&[&answering.url]), stop.clone(), &metrics).expect("valid");
    let failing = Server::start([Reply::status(500, "")]).await;
    let long = Backoff { first: Duration::from_secs(3600), most: Duration::from_secs(3600) };
    let options = ModelOptions { retry_backoff: long, ..options(&[&failing.url]) };
    let lost = ChatModel::new(options, stop.clone(), &metrics).expect("valid");
    let gauge = "avr_model_failing_calls{role=\"generator\",stage=\"draft\"}";
    let has = |value: u8| metrics.encode().contains(&format!("{gauge} {value}\n"));
    let draining = async {
        answering.saw(1).await;
        while !has(1) {
            tokio::task::yield_now().await;
        }
        stop.drain();
    };
    let waiting = async {
        let lost = ask(&lost, 0).await;
        answering.open();
        lost
    };
    let (answered, lost, ()) = tokio::join!(ask(&model, 0), waiting, draining);
    assert_eq!(answered.expect("it was sent").text, "ok");
    assert!(matches!(lost, Err(CallError { kind: CallErrorKind::Stopped, .. })), "{lost:?}");
    assert!(has(0), "{}", metrics.encode());
}

#[tokio::test]
async fn calls_spread_and_no_server_is_overrun() {
    let servers = [Server::start_closed([wrote("ok")]).await, Server::start_closed([wrote("ok")]).await];
    let options = ModelOptions { max_in_flight: 2, ..options(&[&servers[0].url, &servers[1].url]) };
    let model = std::sync::Arc::new(chat_model(options));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let model = std::sync::Arc::clone(&model);
        calls.spawn(async move { ask(&model, 0).await.map(|answer| answer.attempts) });
    }
    for server in &servers {
        server.saw(2).await;
        server.open();
    }
    let answers = calls.join_all().await;
    assert!(answers.into_iter().all(|attempts| attempts.is_ok_and(|attempts| attempts == 1)));
    assert_eq!(servers.iter().map(|server| server.seen().len()).sum::<usize>(), 12);
    assert!(servers.iter().all(|server| server.most_at_once() == 2));
}

#[tokio::test]
async fn a_stop_ends_waits_but_not_requests() {
    let server = Server::start_closed([wrote("ok")]).await;
    let stop = StopSignal::new();
    let options = ModelOptions { max_in_flight: 1, ..options(&[&server.url]) };
    let model = ChatModel::new(options, stop.clone(), &Metrics::new()).expect("the options are valid");
    let stopping = async {
        server.saw(1).await;
        stop.stop();
    };
    let opening = async {
        let waiting = ask(&model, 9).await;
        server.open();
        waiting
    };
    let (sent, waiting, ()) = tokio::join!(ask(&model, 0), opening, stopping);
    assert_eq!(sent.expect("the request was sent").text, "ok");
    assert!(matches!(waiting, Err(CallError { kind: CallErrorKind::Stopped, .. })));
    assert!(matches!(ask(&model, 0).await, Err(CallError { kind: CallErrorKind::Stopped, .. })));
    assert_eq!((server.seen().len(), model.totals().calls), (1, 1));
}

#[tokio::test]
async fn a_stop_ends_the_wait_before_a_retry() {
    let server = Server::start([Reply::status(500, "")]).await;
    let stop = StopSignal::new();
    let long = Backoff { first: Duration::from_secs(3600), most: Duration::from_secs(3600) };
    let options = ModelOptions { retry_backoff: long, ..options(&[&server.url]) };
    let model = ChatModel::new(options, stop.clone(), &Metrics::new()).expect("the options are valid");
    let stopping = async {
        server.saw(1).await;
        stop.stop();
    };
    let (result, ()) = tokio::join!(ask(&model, 0), stopping);
    assert!(matches!(result, Err(CallError { kind: CallErrorKind::Stopped, .. })));
}

#[tokio::test]
async fn servers_tell_how_they_are() {
    let list = |name: &str| Reply::json(&serde_json::json!({"object": "list", "data": [{"id": name}]}));
    let cases = [
        (list("tiny"), EndpointState::Ready),
        (list("other"), EndpointState::OtherModels(vec!["other".to_owned()])),
        (Reply::status(404, r#"{"detail":"Not Found"}"#), EndpointState::Ready),
        (Reply::status(503, "Loading model"), EndpointState::NotYet("status 503: Loading model".to_owned())),
        (Reply::status(401, "who?"), EndpointState::Refused("status 401: who?".to_owned())),
    ];
    for (reply, expected) in cases {
        let server = Server::start([reply]).await;
        let statuses = chat_model(options(&[&server.url])).check().await;
        assert_eq!(statuses.into_iter().map(|status| status.state).collect::<Vec<_>>(), [expected]);
    }
    let statuses = chat_model(options(&["http://127.0.0.1:1"])).check().await;
    assert!(matches!(&statuses[..], [status] if !status.is_ready() && status.endpoint == "127.0.0.1:1"));
}

#[tokio::test]
async fn calls_are_counted_by_endpoint_and_stage() {
    let server = Server::start([Reply::status(500, ""), wrote("ok")]).await;
    let metrics = Metrics::new();
    let model =
        ChatModel::new(options(&[&server.url]), StopSignal::new(), &metrics).expect("the options are valid");
    ask(&model, 0).await.expect("it answers in the end");
    model.count_used_try("draft");
    let text = metrics.encode().replace(server.url.trim_start_matches("http://"), "HOST");
    for line in [
        r#"avr_model_attempts_total{endpoint="HOST",model="tiny",result="answered",role="generator",stage="draft"} 1"#,
        r#"avr_model_attempts_total{endpoint="HOST",model="tiny",result="transient",role="generator",stage="draft"} 1"#,
        r#"avr_model_retries_total{class="server_error",endpoint="HOST",model="tiny",role="generator",stage="draft"} 1"#,
        r#"avr_model_tries_used_total{model="tiny",role="generator",stage="draft"} 1"#,
        r#"avr_model_in_flight{endpoint="HOST",role="generator"} 0"#,
        r#"avr_model_endpoint_up{endpoint="HOST",role="generator"} 1"#,
        r#"avr_model_answers_cut_off_total{model="tiny",stage="draft"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

/// A change of options.
type Change = fn(&mut ModelOptions);

#[test]
fn options_that_cannot_work_are_refused_with_advice() {
    let refused = |change: Change| {
        let mut options = options(&["http://127.0.0.1:1"]);
        change(&mut options);
        let result = ChatModel::new(options, StopSignal::new(), &Metrics::new());
        result.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let cases: [(Change, &str); 5] = [
        (|options| options.urls.clear(), "the generator has no URL; name at least one server"),
        (|options| options.max_in_flight = 0, "let it have at least one"),
        (|options| options.api_key = Some(Secret::new("hu\nsh")), "check its source"),
        (
            |options| drop(options.extra.insert("seed".to_owned(), 1.into())),
            "`seed` is set by avr itself; remove it",
        ),
        (|options| options.urls.push("host:80".to_owned()), "write it like http://host:port"),
    ];
    for (change, message) in cases {
        assert!(refused(change).contains(message), "{}", refused(change));
    }
}

#[test]
fn keys_do_not_show() {
    let mut options = options(&["http://127.0.0.1:1"]);
    options.api_key = Some(Secret::new("hush"));
    assert!(!format!("{options:?}").contains("hush"));
}
