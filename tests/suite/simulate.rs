//! The simulated cluster over real HTTP, as a client sees it.

use avr::simulate::{Cluster, IdCount, Latency, Options, RequestCounts};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::use_ring;

/// A cluster and somebody to ask it.
struct Bench {
    cluster: Cluster,
    client: Client,
}

impl Bench {
    async fn start(change: impl FnOnce(&mut Options)) -> Self {
        use_ring();
        let mut options = Options::default();
        options.text.mean_tokens = 40.0;
        change(&mut options);
        Self { cluster: Cluster::start(options).await.expect("free ports"), client: Client::new() }
    }

    async fn post(&self, url: &str, id: &str, body: &Value) -> Result<Response, reqwest::Error> {
        let request = self.client.post(url).header("content-type", "application/json");
        request.header("x-request-id", id).body(body.to_string()).send().await
    }

    async fn chat(&self, id: &str, body: &Value) -> Result<Response, reqwest::Error> {
        self.post(&format!("{}/v1/chat/completions", self.cluster.generator_urls()[0]), id, body).await
    }

    async fn pooling(&self, id: &str, body: &Value) -> Result<Response, reqwest::Error> {
        self.post(&format!("{}/pooling", self.cluster.reward_urls()[0]), id, body).await
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self.client.get(format!("{}{path}", self.cluster.generator_urls()[0])).send().await;
        let response = response.expect("the replica answers");
        (response.status(), response.text().await.expect("a body"))
    }
}

async fn json_of(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let body = response.bytes().await.expect("a whole body");
    (status, serde_json::from_slice(&body).expect("JSON"))
}

fn question(seed: u64) -> Value {
    json!({
        "model": "simulated-chat", "temperature": 0.7, "top_p": 0.8, "seed": seed,
        "messages": [{"role": "user", "content": "Why is the sky blue?\nBriefly."}],
    })
}

fn judged() -> Value {
    json!({
        "model": "simulated-reward", "use_activation": false,
        "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}],
    })
}

#[tokio::test]
async fn every_replica_gives_the_same_answer() {
    let bench = Bench::start(|options| (options.generators, options.rewards) = (2, 2)).await;
    let mut answers = Vec::new();
    for url in bench.cluster.generator_urls() {
        let url = format!("{url}/v1/chat/completions");
        let response = bench.post(&url, "a.0", &question(1)).await.expect("an answer");
        answers.push(json_of(response).await);
    }
    assert_eq!(answers[0], answers[1]);
    let (status, answer) = &answers[0];
    assert_eq!((*status, &answer["id"]), (StatusCode::OK, &json!("chatcmpl-a.0")));
    let usage = &answer["usage"];
    let content = answer["choices"][0]["message"]["content"].as_str().expect("a text");
    assert_eq!(usage["completion_tokens"], content.len().div_ceil(4));
    assert!(usage["prompt_tokens"].as_u64() > Some(0));
    let (_, other) = json_of(bench.chat("a.1", &question(2)).await.expect("an answer")).await;
    assert_ne!(other["choices"], answer["choices"]);
}

#[tokio::test]
async fn several_choices_differ() {
    let bench = Bench::start(|options| options.text.empty_rate = 0.0).await;
    let mut body = question(1);
    body["n"] = json!(3);
    let (_, answer) = json_of(bench.chat("a.0", &body).await.expect("an answer")).await;
    let texts: Vec<_> = (0..3).map(|index| &answer["choices"][index]["message"]["content"]).collect();
    assert!(texts.iter().all(|text| text.is_string()), "{answer}");
    assert!(texts[0] != texts[1] && texts[1] != texts[2], "{answer}");
}

#[tokio::test]
async fn a_reward_is_one_number_and_activation_squeezes_it() {
    let bench = Bench::start(|_| ()).await;
    let mut body = judged();
    let (_, plain) = json_of(bench.pooling("r.0", &body).await.expect("an answer")).await;
    body["use_activation"] = Value::Null;
    let (_, squeezed) = json_of(bench.pooling("r.1", &body).await.expect("an answer")).await;
    let score = |answer: &Value| answer["data"][0]["data"][0].as_f64().expect("a number");
    assert!((score(&squeezed) - 1.0 / (1.0 + (-score(&plain)).exp())).abs() < 1e-12);
}

#[tokio::test]
async fn mistakes_are_refused_as_vllm_refuses_them() {
    let bench = Bench::start(|options| options.max_model_len = 100).await;
    let cases = [
        ("model", json!("nope"), 404, "NotFoundError", json!("model")),
        ("seed", json!(1_u64 << 63), 400, "Bad Request", json!("body.seed")),
        ("seed", json!("x"), 400, "Bad Request", Value::Null),
        ("temperature", json!(-1), 400, "BadRequestError", json!("temperature")),
        ("max_tokens", json!(0), 400, "BadRequestError", json!("max_tokens")),
        ("max_tokens", json!(101), 400, "BadRequestError", json!("max_tokens")),
        ("n", json!(0), 400, "BadRequestError", Value::Null),
        ("messages", json!([]), 400, "BadRequestError", Value::Null),
        ("messages", Value::Null, 400, "Bad Request", json!("body.messages")),
        (
            "messages",
            json!([{"role": "user", "content": "word ".repeat(100)}]),
            400,
            "BadRequestError",
            json!("input_tokens"),
        ),
    ];
    for (field, value, status, kind, parameter) in cases {
        let mut body = question(1);
        body[field] = value.clone();
        let (got, answer) = json_of(bench.chat("x.0", &body).await.expect("an answer")).await;
        let error = &answer["error"];
        assert_eq!(got, status, "{field} {value}: {answer}");
        assert_eq!(
            (&error["type"], &error["param"]),
            (&json!(kind), &parameter),
            "{field} {value}: {answer}"
        );
        assert_eq!(error["code"], status, "{field} {value}: {answer}");
    }
    let stats = bench.cluster.stats();
    assert_eq!((stats.refused, stats.answered), (10, 0));
}

#[tokio::test]
async fn a_limit_of_tokens_ends_an_answer() {
    let bench = Bench::start(|options| options.text.empty_rate = 0.0).await;
    let mut body = question(1);
    body["max_tokens"] = json!(2);
    let (_, answer) = json_of(bench.chat("a.0", &body).await.expect("an answer")).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn counts_are_exact_and_can_be_reset() {
    let bench = Bench::start(|_| ()).await;
    for id in ["a.0", "a.1", "b.0"] {
        let _answer = json_of(bench.chat(id, &question(1)).await.expect("an answer")).await;
    }
    let _answer = json_of(bench.pooling("r.0", &judged()).await.expect("an answer")).await;
    let (_, text) = bench.get("/simulate/counts").await;
    let counts: RequestCounts = serde_json::from_str(&text).expect("counts");
    assert_eq!(counts, bench.cluster.counts());
    assert_eq!((counts.requests, counts.by_id.len()), (4, 3));
    assert_eq!(counts.by_id["a"], IdCount { attempts: 2, answered: 2 });
    let (_, metrics) = bench.get("/metrics").await;
    assert!(metrics.contains("vllm:num_requests_running{"), "{metrics}");
    assert!(metrics.contains("vllm:generation_tokens_total{"), "{metrics}");
    let reset = format!("{}/simulate/reset", bench.cluster.generator_urls()[0]);
    bench.client.post(reset).send().await.expect("an answer");
    assert_eq!(bench.cluster.counts(), RequestCounts::default());
}

/// A fault, how to have it always, and the status that a client sees (`None`: no answer).
type Fault = (&'static str, fn(&mut Options), Option<u16>);

const FAULTS: [Fault; 3] = [
    ("error", |options| options.faults.error_rate = 1.0, Some(500)),
    ("too many", |options| options.faults.too_many_rate = 1.0, Some(429)),
    ("cut", |options| options.faults.cut_rate = 1.0, None),
];

#[tokio::test]
async fn faults_are_what_they_say_and_are_not_answers() {
    for (name, change, expected) in FAULTS {
        let bench = Bench::start(change).await;
        let response = bench.chat("a.0", &question(1)).await.ok();
        assert_eq!(response.as_ref().map(|response| response.status().as_u16()), expected, "{name}");
        let retry_after = response.and_then(|response| response.headers().get("retry-after").cloned());
        assert_eq!(retry_after.is_some_and(|seconds| seconds == "1"), expected == Some(429), "{name}");
        let counts = bench.cluster.stop().await;
        assert_eq!(counts.by_id["a"], IdCount { attempts: 1, answered: 0 }, "{name}");
    }
}

#[tokio::test]
async fn a_hanging_request_ends_with_the_cluster() {
    let Bench { cluster, client } = Bench::start(|options| options.faults.hang_rate = 1.0).await;
    let request = client.post(format!("{}/v1/chat/completions", cluster.generator_urls()[0]));
    let asked = tokio::spawn(request.header("x-request-id", "a.0").body(question(1).to_string()).send());
    while cluster.counts().requests == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!asked.is_finished());
    let counts = cluster.stop().await;
    assert!(asked.await.expect("no panic").is_err());
    assert_eq!(counts.by_id["a"], IdCount { attempts: 1, answered: 0 });
}

#[tokio::test]
async fn broken_bodies_are_not_answers() {
    let bench = Bench::start(|options| options.faults.cut_in_body_rate = 1.0).await;
    let response = bench.chat("a.0", &question(1)).await.expect("a head");
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.bytes().await.is_err());
    assert_eq!(bench.cluster.counts().by_id["a"].answered, 0);

    let bench = Bench::start(|options| options.faults.malformed_json_rate = 1.0).await;
    let body = bench.chat("a.0", &question(1)).await.expect("a head").bytes().await.expect("a whole body");
    assert!(serde_json::from_slice::<Value>(&body).is_err());
    assert_eq!(bench.cluster.counts().by_id["a"].answered, 0);
}

#[tokio::test]
async fn keys_loading_and_unknown_paths() {
    let bench = Bench::start(|options| options.api_key = Some("open".to_owned())).await;
    let (status, _) = json_of(bench.chat("a.0", &question(1)).await.expect("an answer")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let url = format!("{}/v1/models", bench.cluster.generator_urls()[0]);
    let models = bench.client.get(url).bearer_auth("open").send().await.expect("an answer");
    assert_eq!(json_of(models).await.1["data"][1]["id"], "simulated-chat-long");
    assert_eq!(bench.get("/nope").await, (StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#.to_owned()));
    assert_eq!(bench.get("/v1/chat/completions").await.0, StatusCode::METHOD_NOT_ALLOWED);

    let bench = Bench::start(|options| options.loading_ms = 3_600_000).await;
    assert_eq!(bench.get("/health").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let (status, _) = json_of(bench.chat("a.0", &question(1)).await.expect("an answer")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn batching_uses_slots_and_stops_with_requests_under_way() {
    let bench = Bench::start(|options| {
        options.timing.latency = Latency::Batching;
        (options.timing.step_ms, options.timing.slots) = (0.1, 4);
    })
    .await;
    let (status, _) = json_of(bench.chat("a.0", &question(1)).await.expect("an answer")).await;
    assert_eq!(status, StatusCode::OK);
    let stats = bench.cluster.stats();
    assert_eq!(stats.slots, 4);
    assert!(stats.busy_slot_seconds > 0.0 && stats.slot_utilisation > 0.0, "{stats:?}");
    assert!(stats.slot_utilisation <= 0.25, "one request cannot hold more than one slot: {stats:?}");
    assert_eq!(bench.cluster.stop().await.by_id["a"], IdCount { attempts: 1, answered: 1 });
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_says_so() {
    let bench = Bench::start(|_| ()).await;
    let port = bench.cluster.generator_urls()[0].rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let options = Options { port: port.expect("a port"), ..Options::default() };
    let error = Cluster::start(options).await.expect_err("the port is taken");
    assert!(error.to_string().contains("choose another --port"), "{error}");
}
