//! The intake with a committer of its own: whatever becomes of its commits and its processes, each prompt is in the log
//! once, with its index entry. Time is paused; each seed is one run.

use std::{collections::BTreeMap, time::Duration};

use avr::{
    intake::{Intake, IntakeOptions, IntakeProgress, read_index},
    log::StandaloneCommitter,
    observe::Metrics,
    pipeline::claims::{ClaimError, claim_recipe},
    record::{Extra, RecipeRef},
    source::{AnswerUse, Columns, DEFAULT_MAX_LINE_BYTES},
    topic::{INDEX, PROMPTS, REJECTS, TopicName},
};
use tempfile::TempDir;

use crate::memory_log::{Faults, MemoryLog, MemoryProcess, Options};

const SEEDS: u64 = 60;
/// Files, each a commit of its own, and the prompts in each; one line of each cannot be used.
const FILES: usize = 8;
const PROMPTS_EACH: usize = 5;
/// A scenario that takes longer, in real time, is stuck.
const STUCK: Duration = Duration::from_secs(60);

struct Input {
    _folder: TempDir,
    files: Vec<String>,
}

impl Input {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |file: usize| {
            let lines =
                (0..PROMPTS_EACH).map(|n| format!("{{\"id\": \"{file}-{n}\", \"prompt\": \"Say {n}.\"}}\n"));
            let path = folder.path().join(format!("{file}.jsonl"));
            std::fs::write(&path, lines.collect::<String>() + "no JSON\n").expect("writable");
            path.display().to_string()
        };
        let files = (0..FILES).map(file).collect();
        Self { _folder: folder, files }
    }
}

fn log(options: Options) -> MemoryLog {
    MemoryLog::new(&[(PROMPTS.name, 2), (INDEX.name, 1), (REJECTS.name, 1)], options)
}

async fn submit(process: MemoryProcess, files: &[String]) -> Result<IntakeProgress, ClaimError> {
    let writer = StandaloneCommitter::start(process.clone(), "submit").await?;
    let index = read_index(&process).await?;
    let recipe = RecipeRef { name: "recipe".to_owned(), hash: "hash".to_owned(), extra: Extra::new() };
    let options = IntakeOptions {
        strict: false,
        follow: false,
        max_open_threads: 1,
        max_line_bytes: DEFAULT_MAX_LINE_BYTES,
        answer: AnswerUse::Ignored,
        columns: Columns::default(),
    };
    let (mut intake, progress) = Intake::new(process, writer, recipe, options, index, Metrics::new());
    claim_recipe(&mut intake, &serde_json::json!({"name": "recipe"})).await?;
    intake.run(files).await?;
    Ok(*progress.borrow())
}

/// Every prompt and every reject once, and the index agrees.
fn assert_once(seed: u64, log: &MemoryLog) {
    let count = |topic: TopicName| {
        let mut counts: BTreeMap<_, u32> = BTreeMap::new();
        log.records(topic).into_iter().for_each(|record| *counts.entry(record.key).or_default() += 1);
        counts
    };
    let (prompts, rejects, index) = (count(PROMPTS.name), count(REJECTS.name), count(INDEX.name));
    assert_eq!((prompts.len(), rejects.len()), (FILES * PROMPTS_EACH, FILES), "seed {seed}");
    assert_eq!(index.len(), FILES * (PROMPTS_EACH + 1) + 1, "seed {seed}: and the recipe");
    for counts in [&prompts, &rejects, &index] {
        assert!(counts.values().all(|&count| count == 1), "seed {seed}: {counts:?}");
    }
    assert!(prompts.keys().chain(rejects.keys()).all(|key| index.contains_key(key)), "seed {seed}");
}

/// Runs a scenario with paused time. A submit reads its files on a thread that virtual time does not wait for, so what
/// tells one that is stuck is a real clock.
fn run<F: Future<Output = ()>>(seed: u64, scenario: impl FnOnce(u64) -> F + Send + 'static) {
    let (done, ended) = std::sync::mpsc::channel();
    let running = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(scenario(seed));
        done.send(()).expect("the test waits");
    });
    if ended.recv_timeout(STUCK) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        panic!("seed {seed}: stuck");
    }
    running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn a_submit_that_dies_and_comes_again_makes_nothing_twice() {
    for seed in 0..SEEDS {
        run(seed, |seed| async move {
            let (input, mut random) = (Input::new(), fastrand::Rng::with_seed(seed));
            let log = log(Options { faults: Faults { lost: 0.0, ..Faults::STORM }, ..Options::stormy(seed) });
            for _ in 0..random.u64(1..5) {
                let process = log.process("submit");
                process.kill_after(random.u64(1..60));
                tokio::select! {
                    biased;
                    () = process.killed() => {}
                    ended = submit(process.clone(), &input.files) => drop(ended),
                }
                process.kill();
            }
            log.set_faults(Faults::NONE);
            submit(log.process("submit"), &input.files).await.expect("the last is undisturbed");
            assert_once(seed, &log);
        });
    }
}

#[test]
fn commits_in_doubt_are_settled_and_counted_as_ours() {
    for seed in 0..SEEDS {
        run(seed, |seed| async move {
            let input = Input::new();
            let faults = Faults { doubtful: 0.4, retriable: 0.2, ..Faults::NONE };
            let log = log(Options { faults, ..Options::stormy(seed) });
            let progress = submit(log.process("submit"), &input.files).await.expect("it gets through");
            assert_once(seed, &log);
            let expected = ((FILES * PROMPTS_EACH) as u64, 0, FILES as u64);
            assert_eq!((progress.new, progress.known, progress.rejected), expected, "seed {seed}");
        });
    }
}

#[test]
fn two_submits_at_once_both_end_and_double_nothing() {
    for seed in 0..SEEDS {
        run(seed, |seed| async move {
            let input = Input::new();
            let faults = Faults { yields: 0.5, sleeps: 0.5, ..Faults::NONE };
            let log = log(Options { faults, ..Options::stormy(seed) });
            let (first, second) = (log.process("a"), log.process("b"));
            let (first, second) = tokio::join!(submit(first, &input.files), submit(second, &input.files));
            let [first, second] = [first, second].map(|ended| ended.expect("both end"));
            assert_once(seed, &log);
            let all = (FILES * PROMPTS_EACH) as u64;
            assert_eq!(first.new + second.new, all, "seed {seed}: {first:?} {second:?}");
            assert_eq!((first.threads, second.threads), (all, all), "seed {seed}: both know of all");
        });
    }
}

#[test]
fn another_definition_of_the_recipe_is_refused() {
    run(1, |_| async move {
        let (input, log) = (Input::new(), log(Options::calm(1)));
        submit(log.process("a"), &input.files).await.expect("the first claims");
        let process = log.process("b");
        let writer = StandaloneCommitter::start(process.clone(), "submit").await.expect("calm");
        let index = read_index(&process).await.expect("calm");
        let recipe = RecipeRef { name: "recipe".to_owned(), hash: "another".to_owned(), extra: Extra::new() };
        let options = IntakeOptions {
            strict: false,
            follow: false,
            max_open_threads: 1,
            max_line_bytes: 1024,
            answer: AnswerUse::Ignored,
            columns: Columns::default(),
        };
        let (mut intake, _) = Intake::new(process, writer, recipe, options, index, Metrics::new());
        let claimed = claim_recipe(&mut intake, &serde_json::json!({"name": "recipe", "rounds": 2})).await;
        let Err(ClaimError::RecipeChanged(changed)) = claimed else { panic!("{claimed:?}") };
        assert_eq!(changed.difference, "rounds: absent before, 2 now");
    });
}
