//! kill -9, again and again, at different moments.

use serde_json::Value;

use crate::support::{
    Bench, Cluster, Output, Process,
    calls::{self, Life, Snapshot},
    log_state::reached,
};

const PROMPTS: usize = 80;

/// The moments to kill at.
enum Moment {
    /// The cluster has given this many answers, over all runs.
    Answers(u64),
    /// This many threads have ended.
    Outcomes(usize),
}

const ONE_ROUND: [Moment; 6] = [
    Moment::Answers(1),
    Moment::Answers(100),
    Moment::Outcomes(1),
    Moment::Answers(450),
    Moment::Outcomes(30),
    Moment::Outcomes(60),
];

/// Among them some at which threads of every round are on their way.
const SEVERAL_ROUNDS: [Moment; 5] = [
    Moment::Answers(100),
    Moment::Answers(900),
    Moment::Outcomes(20),
    Moment::Answers(1500),
    Moment::Outcomes(60),
];

/// What came of the runs: what was true right after each kill, and the rounds of each thread.
struct Kills {
    kills: Vec<Snapshot>,
    rounds: Vec<u64>,
}

/// Waits until the moment has come.
fn wait_for(moment: &Moment, process: &mut Process, cluster: &Cluster, output: &Output) {
    process.until("the moment to kill has come", || {
        let has_come = match moment {
            Moment::Answers(answers) => cluster.answered() >= *answers,
            Moment::Outcomes(outcomes) => output.threads_so_far().len() >= *outcomes,
        };
        has_come.then_some(())
    });
}

/// Nothing is lost, nothing doubled and nothing torn; and calls are sent again as [`calls::check`] allows.
///
/// Which steps are committed is read from the log and the files that the killed process left. The cluster fails no
/// request, so every second send is the work of a kill.
fn check(arguments: &[&str], moments: &[Moment]) -> Kills {
    let undisturbed = Bench::with_prompts(PROMPTS);
    let expected = undisturbed.run(&Cluster::start(&[]), arguments).expect_code(0).summary();

    let (bench, cluster) = (Bench::with_prompts(PROMPTS), Cluster::slow());
    let (mut kills, mut lives) = (Vec::new(), Vec::new());
    for moment in moments {
        let mut process = bench.start(&cluster, arguments);
        wait_for(moment, &mut process, &cluster, &bench.output());
        let mut life = Life { process: process.id(), ..Life::default() };
        if process.kill() {
            let reached = reached(&bench.output());
            kills.push(Snapshot::of(&reached, cluster.counts()));
            life.killed = Some(reached);
        }
        lives.push(life);
    }
    let last = bench.start(&cluster, arguments);
    lives.push(Life { process: last.id(), ..Life::default() });
    let resumed = last.finish().expect_code(0).summary();

    assert_eq!(bench.output().threads().len(), PROMPTS);
    assert_eq!(bench.output().contents(), undisturbed.output().contents());
    assert_eq!(totals(resumed), totals(expected), "a resumed run's totals are of the state");
    calls::check(&kills, &lives, &cluster.counts(), &cluster.senders());
    assert!(kills.iter().any(Snapshot::is_in_the_middle), "some kill came in the middle of the work");
    Kills {
        kills,
        rounds: bench.output().outcomes().iter().map(|one| one["rounds"].as_u64().expect("one")).collect(),
    }
}

#[test]
fn a_killed_run_ends_as_an_undisturbed_one_and_asks_again_only_what_was_not_committed() {
    check(&["prompts.jsonl"], &ONE_ROUND);
}

/// The same where threads go round: what is committed of one round is not asked again although the next is under way.
#[test]
fn a_killed_run_of_several_rounds_does_so_too() {
    let stage2 = ["--recipe", "stage2", "--set", "recipes.stage2.answer=draft", "prompts.jsonl"];
    let Kills { kills, rounds } = check(&stage2, &SEVERAL_ROUNDS);
    assert!(rounds.contains(&1) && rounds.iter().any(|rounds| *rounds >= 3), "{rounds:?}");
    let in_a_later_round = |kill: &Snapshot| kill.open.iter().any(|id| id.contains("-critique-1-"));
    assert!(kills.iter().any(in_a_later_round), "some kill came in the middle of a second round");
}

/// The totals of a state. A sum depends a little on the order of its terms, which is the order of the file.
fn totals(mut summary: Value) -> Value {
    let sum = summary["state"]["gains"]["sum"].as_f64().expect("a number");
    summary["state"]["gains"]["sum"] = format!("{sum:.9}").into();
    summary["state"].take()
}
