//! Configuration: every mistake at once, what is in force, and the models that do not fit.

use crate::support::{Bench, Cluster, Finished, Process};

/// `avr config` with this avr.toml, these arguments and this environment.
fn config(toml: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let bench = Bench::new();
    bench.write("avr.toml", toml);
    let mut command = bench.avr(&["config"]);
    Process::start(command.args(arguments).envs(environment.iter().copied())).finish()
}

const MISTAKEN: &str = r#"
recipe = "stage9"
[intake]
folow = true
max_open_threads = "many"
[models.generator]
urls = ["ftp://models.example:8000"]
model = "m"
api_key = "sk-hidden"
timeout_s = -1
[models.reward]
urls = ["http://models.example:8001"]
[recipes.stage1]
shape = "single-turn"
answer = "draft"
temperatures = [0.7, 9.0]
[engine]
max_bytes = 1048576
[modles]
x = 1
"#;

#[test]
fn all_mistakes_are_reported_at_once_with_file_key_and_what_would_be_right() {
    let finished = config(MISTAKEN, &["--set", "stages.draft=0"], &[("AVR__OBSERVE__LISTEN", "nowhere")]);
    let finished = finished.expect_code(2);
    finished.expect_error(&[
        "avr.toml: recipe: \"stage9\" is not known; did you mean \"stage1\"?",
        "avr.toml: intake.folow: unknown key; did you mean \"follow\"?",
        "avr.toml: intake.max_open_threads: must be a whole number",
        "avr.toml: models.generator.urls: \"ftp://models.example:8000\" is not an http or https URL",
        "avr.toml: models.generator.api_key: keys do not belong in files; name a variable with api_key_env",
        "avr.toml: models.generator.timeout_s: -1 is out of range; from 0 to 86400",
        "avr.toml: models.reward.model: is missing while models.reward.urls is given",
        "avr.toml: recipes.stage1.answer: must be \"given\" where shape is \"single-turn\"",
        "avr.toml: recipes.stage1.temperatures: 9 is out of range; from 0 to 2",
        "avr.toml: engine.max_bytes: must be at least log.max_record_bytes",
        "avr.toml: modles: unknown key; did you mean \"models\"?",
        "the command line: stages.draft: 0 is out of range; from 1 to 1048576",
        "the environment: observe.listen: \"nowhere\" is not an address with a port",
        "the configuration has 13 mistakes:",
    ]);
    assert!(!finished.stderr.contains("sk-hidden"), "{}", finished.stderr);
}

#[test]
fn what_is_in_force_is_shown_with_its_origin_and_without_secrets() {
    let toml = "out = \"data\"\n[models.generator]\nurls = [\"http://me:secret@gpu1:8000\", \"http://gpu2:8000\"]\n\
                model = \"m\"\napi_key_env = \"KEY\"\ntimeout_s = 5\n";
    let environment =
        [("AVR__MODELS__GENERATOR__TIMEOUT_S", "7.5"), ("AVR__STAGES__DRAFT", "3"), ("KEY", "sk-hidden")];
    let arguments = ["--set", "stages.draft=4", "--follow", "--recipe", "stage1"];
    let finished = config(toml, &arguments, &environment).expect_code(0);
    for line in [
        "out = \"data\"  # avr.toml",
        "models.generator.urls = [\"http://me:***@gpu1:8000/\", \"http://gpu2:8000\"]  # avr.toml",
        "models.generator.api_key_env = \"KEY\"  # avr.toml",
        "models.generator.timeout_s = 7.5  # the environment",
        "stages.draft = 4  # the command line",
        "intake.follow = true  # the command line",
        "stages.critique = 1024  # default",
    ] {
        assert!(finished.stdout.lines().any(|shown| shown == line), "{line}\n{}", finished.stdout);
    }
    assert!(!finished.stdout.contains("secret") && !finished.stdout.contains("sk-hidden"));
}

#[test]
fn a_file_that_is_named_must_be_there_and_be_toml() {
    config("", &["--config", "other.toml"], &[]).expect_code(2).expect_error(&["other.toml: no such file"]);
    config("[engine\n", &[], &[]).expect_code(2).expect_error(&["avr.toml"]);
    config("", &["--set", "engine"], &[]).expect_code(2).expect_error(&["write KEY=VALUE"]);
}

#[test]
fn a_run_without_models_says_how_to_name_them() {
    let bench = Bench::with_prompts(1);
    let finished = Process::start(&mut bench.avr(&["run", "prompts.jsonl"])).finish().expect_code(2);
    finished.expect_error(&["no generator is configured", "--generator URL", "--simulate"]);
    assert!(!bench.path("out").exists());
}

/// A run that ends because of the models, and goes through on the same state once they are right.
#[track_caller]
fn check_corrected(cluster: &Cluster, wrong: &[&str], parts: &[&str], right: &[&str]) {
    let bench = Bench::with_prompts(8);
    let run = |arguments: &[&str]| {
        let mut command = bench.command(cluster, arguments);
        Process::start(command.arg("prompts.jsonl").env("GOOD", "open").env("BAD", "closed")).finish()
    };
    run(wrong).expect_code(1).expect_error(parts);
    run(right).expect_code(0);
    assert_eq!(bench.output().threads().len(), 8);
}

#[test]
fn a_wrong_key_stops_the_run_and_the_right_one_carries_on() {
    let cluster = Cluster::start(&["--api-key", "open"]);
    let (generator, reward) = ("models.generator.api_key_env", "models.reward.api_key_env");
    let keys = |of_generator: &str, of_reward: &str| {
        [format!("{generator}={of_generator}"), format!("{reward}={of_reward}")]
    };
    let refused = ["stage draft", "access was refused with status 401", "check the API key"];
    let [good, good_reward] = &keys("GOOD", "GOOD");
    let [bad, bad_reward] = &keys("BAD", "BAD");
    let right = ["--set", good, "--set", good_reward];
    check_corrected(&cluster, &["--set", bad], &refused, &right);
    check_corrected(&cluster, &[], &refused, &right);
    let refused = ["stage score", "access was refused with status 401"];
    check_corrected(&cluster, &["--set", good, "--set", bad_reward], &refused, &right);
}

#[test]
fn an_unknown_model_stops_the_run_and_the_right_name_carries_on() {
    let cluster = Cluster::start(&[]);
    let wrong = ["--set", "models.generator.model=other"];
    check_corrected(&cluster, &wrong, &["does not have the model", "the server has: simulated-chat"], &[]);
    let wrong = ["--set", "models.reward.path=/score"];
    check_corrected(&cluster, &wrong, &["nothing answers at /score", "check the URL"], &[]);
}

#[test]
fn fields_that_avr_sets_itself_are_told_without_a_run() {
    let toml = "[models.generator]\nextra = { seed = 1, top_k = 5, n = 2 }\n[models.reward]\nextra = { model = \"m\" }\n\
                [models.long]\nsamples_per_request = 5\n[recipes.long-pairs]\ndraft_temperature = 0.0\n";
    config(toml, &["--recipe", "long-pairs"], &[]).expect_code(2).expect_error(&[
        "models.generator.extra: the field \"seed\" is set by avr itself; remove it",
        "models.generator.extra: the field \"n\" is set by avr itself; remove it",
        "models.reward.extra: the field \"model\" is set by avr itself; remove it",
        "models.long.samples_per_request: must be 1 where draft_temperature is 0",
    ]);
}

#[test]
fn variables_that_are_passed_over_are_told() {
    let finished =
        config("", &[], &[("AVR_STAGES_DRAFT", "3"), ("AVR__STAGES__IMPROVE", "4")]).expect_code(0);
    finished.expect_error(&["AVR_STAGES_DRAFT is not read", "AVR__STAGES__DRAFT"]);
    assert!(!finished.stderr.contains("IMPROVE"), "{}", finished.stderr);
}
