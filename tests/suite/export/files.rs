//! The output files over many lives of a process: every committed line once, nothing else.

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use avr::{
    export::{
        Entry, ExportError, ExportOptions, Files, FormatName, KTO_RECORDS_PATH, MAX_CHECKPOINT,
        OUTCOMES_PATH, PAIR_RECORDS_PATH, REJECTS_PATH, RawSelectionResult, SFT_RECORDS_PATH,
    },
    record::{
        Extra, Message, Origin, Outcome, OutcomeReason, RecipeRef, RecordKind, Reject, Rewards,
        SelectionResult, SourceModels, ThreadId, TrainingRecord,
    },
};
use proptest::prelude::*;
use tempfile::TempDir;

const SFT_PATH: &str = "llamafactory/avr_sft.jsonl";
const PAIRS_PATH: &str = "llamafactory/avr_pairs.jsonl";
const LONG_SFT_PATH: &str = "llamafactory/avr_long_sft.jsonl";
const LONG_PAIRS_PATH: &str = "llamafactory/avr_long_pairs.jsonl";
const KTO_PATH: &str = "llamafactory/avr_kto.jsonl";
const REWARD_PAIRS_PATH: &str = "llamafactory/avr_reward_pairs.jsonl";
const INFO_PATH: &str = "llamafactory/dataset_info.json";
const PATHS: [&str; 11] = [
    OUTCOMES_PATH,
    REJECTS_PATH,
    SFT_RECORDS_PATH,
    PAIR_RECORDS_PATH,
    KTO_RECORDS_PATH,
    SFT_PATH,
    PAIRS_PATH,
    LONG_SFT_PATH,
    LONG_PAIRS_PATH,
    KTO_PATH,
    REWARD_PAIRS_PATH,
];
/// The data sets and their files.
const DATA_SETS: [(&str, &str); 6] = [
    ("avr_sft", SFT_PATH),
    ("avr_pairs", PAIRS_PATH),
    ("avr_long_sft", LONG_SFT_PATH),
    ("avr_long_pairs", LONG_PAIRS_PATH),
    ("avr_kto", KTO_PATH),
    ("avr_reward_pairs", REWARD_PAIRS_PATH),
];

/// What a test gives the sink; numbered when it is given, so that no two are equal.
#[derive(Clone, Debug)]
enum Item {
    Selected(Vec<RecordKind>, String, f64),
    DeadLetter,
    Reject(String),
}

/// What becomes of a batch.
#[derive(Clone, Debug)]
enum Fate {
    Committed,
    Refused,
    Killed,
    KilledAfterCommit,
    /// The process died in the middle of a write to one of the files.
    Torn(usize, Vec<u8>),
}

/// A folder, the log's last committed checkpoint, and the lines that ought to be there.
struct World {
    folder: TempDir,
    files: Option<Files>,
    committed_checkpoint: Option<String>,
    expected: BTreeMap<&'static str, Vec<String>>,
    given: usize,
}

fn options(folder: &Path) -> ExportOptions {
    ExportOptions { sync: false, ..ExportOptions::new(folder) }
}

fn outcome(number: usize, reason: OutcomeReason, gain: Option<f64>) -> Outcome {
    Outcome {
        thread: ThreadId::new("stage1", &number.to_string()),
        recipe: RecipeRef { name: "stage1".into(), hash: "00ff".into(), extra: Extra::new() },
        origin: Origin { source: "prompts.jsonl".into(), line: number as u64 + 1, extra: Extra::new() },
        reason,
        records: Vec::new(),
        withheld: BTreeMap::from([(RecordKind::Sft, OutcomeReason::TooLong)]),
        rounds: 0,
        answer_reward: gain,
        best_reward: gain,
        gain,
        cut_off: 1,
        retried: 0,
        error: None,
    }
}

fn record(number: usize, kind: RecordKind, text: &str, reward: f64) -> TrainingRecord {
    let side = |side: &str| vec![Message::assistant(format!("{side} {text}"))];
    TrainingRecord {
        id: format!("stage1:{number}/{}", kind.as_str()),
        kind,
        prompt: vec![Message::system("Be brief."), Message::user(text)],
        chosen: side("better"),
        rejected: if kind.is_pair() { side("worse") } else { Vec::new() },
        rewards: Rewards { answer: reward, chosen: reward, rejected: kind.is_pair().then_some(reward) },
        gain: reward,
        label: (kind == RecordKind::Kto).then_some(reward > 0.0),
        provenance: format!("{{\"thread\":\"stage1:{number}\"}}"),
    }
}

fn selection_result(number: usize, kinds: &[RecordKind], text: &str, reward: f64) -> SelectionResult {
    let records = kinds.iter().map(|kind| record(number, *kind, text, reward)).collect();
    SelectionResult {
        outcome: outcome(number, OutcomeReason::Selected, Some(reward)),
        records,
        models: SourceModels::default(),
        output: None,
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

/// What tells a line from others: itself, or of a trainer's row its id.
fn identity(path: &str, line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    if path.starts_with("llamafactory/") { value["id"].to_string() } else { line.to_owned() }
}

fn lines(folder: &Path, path: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(path)).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{path} ends in the middle of a line");
    text.lines().map(|line| identity(path, line)).collect()
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let expected = PATHS.map(|path| (path, Vec::new())).into();
        let mut world = Self { folder, files: None, committed_checkpoint: None, expected, given: 0 };
        world.restart();
        world
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn files(&mut self) -> &mut Files {
        self.files.as_mut().unwrap()
    }

    fn reopen(&mut self) -> Result<Files, ExportError> {
        self.files = None;
        Files::open(options(self.folder.path()), self.committed_checkpoint.as_deref())
    }

    fn restart(&mut self) {
        let mut files = self.reopen().unwrap();
        if self.committed_checkpoint.is_none() {
            self.committed_checkpoint = Some(files.append(&[]).unwrap());
            files.committed();
        }
        self.files = Some(files);
        self.check();
    }

    /// Gives a batch; returns its checkpoint and the lines that it adds.
    fn append(&mut self, items: &[Item]) -> (Result<String, ExportError>, Vec<(&'static str, String)>) {
        let first = self.given;
        self.given += items.len();
        let payloads: Vec<_> =
            items.iter().zip(first..).map(|(item, number)| payload(item, number)).collect();
        let added = payloads.iter().flat_map(expected_lines).collect();
        let batch: Vec<_> = payloads.iter().map(entry).collect();
        (self.files().append(&batch), added)
    }

    fn step(&mut self, items: &[Item], fate: &Fate) {
        let (checkpoint, added) = self.append(items);
        let checkpoint = checkpoint.unwrap();
        assert!(checkpoint.len() <= MAX_CHECKPOINT);
        match fate {
            Fate::Committed => self.commit(checkpoint, added, true),
            Fate::KilledAfterCommit => self.commit(checkpoint, added, false),
            Fate::Refused => self.files().rollback().unwrap(),
            Fate::Killed => self.restart(),
            Fate::Torn(file, tail) => {
                let place = self.path(PATHS[*file]);
                fs::OpenOptions::new().append(true).open(place).unwrap().write_all(tail).unwrap();
                self.restart();
            }
        }
        self.check();
    }

    fn commit(&mut self, checkpoint: String, added: Vec<(&'static str, String)>, lives: bool) {
        self.committed_checkpoint = Some(checkpoint);
        for (path, line) in added {
            self.expected.get_mut(path).unwrap().push(line);
        }
        if lives {
            self.files().committed();
        } else {
            self.restart();
        }
    }

    fn check(&mut self) {
        for path in PATHS {
            assert_eq!(lines(self.folder.path(), path), self.expected[path], "{path}");
        }
        let info: serde_json::Value =
            serde_json::from_slice(&fs::read(self.path(INFO_PATH)).unwrap()).unwrap();
        for (name, path) in DATA_SETS {
            assert_eq!(info.get(name).is_some(), !self.expected[path].is_empty(), "{name}");
        }
        let in_folder = fs::read_dir(self.path("llamafactory")).unwrap().count();
        assert_eq!(in_folder, DATA_SETS.len() + 1, "nothing but data and description may lie there");
        let expected = |path| self.expected[path].len() as u64;
        let totals = self.files.as_ref().unwrap().totals();
        assert_eq!(totals.threads(), expected(OUTCOMES_PATH));
        let canonical = [SFT_RECORDS_PATH, PAIR_RECORDS_PATH, KTO_RECORDS_PATH];
        assert_eq!(totals.all_records(), canonical.into_iter().map(expected).sum::<u64>());
        assert_eq!(totals.all_rejects(), expected(REJECTS_PATH));
    }
}

/// A numbered item in the shape in which it comes.
enum Payload {
    Selected(String, Box<SelectionResult>),
    DeadLetter(Box<Outcome>),
    Reject(Reject),
}

fn payload(item: &Item, number: usize) -> Payload {
    match item {
        Item::Selected(kinds, text, reward) => {
            let result = selection_result(number, kinds, text, *reward);
            Payload::Selected(json(&result), Box::new(result))
        }
        Item::DeadLetter => Payload::DeadLetter(Box::new(outcome(number, OutcomeReason::DeadLetter, None))),
        Item::Reject(reason) => Payload::Reject(Reject {
            source: "-".into(),
            line: number as u64,
            reason: reason.clone(),
            message: "Give the prompt a text.".into(),
        }),
    }
}

fn entry(payload: &Payload) -> Entry<'_> {
    match payload {
        Payload::Selected(text, _) => Entry::Selected(RawSelectionResult::parse(text.as_bytes()).unwrap()),
        Payload::DeadLetter(outcome) => Entry::DeadLetter(Outcome::clone(outcome)),
        Payload::Reject(line) => Entry::Reject(line.clone()),
    }
}

fn expected_lines(payload: &Payload) -> Vec<(&'static str, String)> {
    match payload {
        Payload::Selected(_, result) => {
            let mut lines = vec![(OUTCOMES_PATH, json(&result.outcome))];
            for record in &result.records {
                let (canonical, path) = match record.kind {
                    RecordKind::Sft => (SFT_RECORDS_PATH, SFT_PATH),
                    RecordKind::LongSft => (SFT_RECORDS_PATH, LONG_SFT_PATH),
                    RecordKind::LongPair => (PAIR_RECORDS_PATH, LONG_PAIRS_PATH),
                    RecordKind::ResponsePair
                    | RecordKind::CritiquePair
                    | RecordKind::ImprovementPair
                    | RecordKind::FusionPair => (PAIR_RECORDS_PATH, PAIRS_PATH),
                    RecordKind::RewardPair => (PAIR_RECORDS_PATH, REWARD_PAIRS_PATH),
                    RecordKind::Kto => (KTO_RECORDS_PATH, KTO_PATH),
                };
                let line = if record.kind == RecordKind::Kto { labelled(record) } else { json(record) };
                lines.extend([(canonical, line), (path, json(&record.id))]);
            }
            lines
        }
        Payload::DeadLetter(outcome) => vec![(OUTCOMES_PATH, json(outcome))],
        Payload::Reject(line) => vec![(REJECTS_PATH, json(line))],
    }
}

/// The canonical line of a labelled answer.
fn labelled(record: &TrainingRecord) -> String {
    let TrainingRecord { id, kind, prompt, chosen, rewards, gain, label, provenance, .. } = record;
    let fields = [
        ("id", json(id)),
        ("kind", json(kind)),
        ("prompt", json(prompt)),
        ("completion", json(chosen)),
        ("label", json(label)),
        (
            "rewards",
            format!("{{\"answer\":{},\"completion\":{}}}", json(&rewards.answer), json(&rewards.chosen)),
        ),
        ("gain", json(gain)),
        ("provenance", json(provenance)),
    ];
    format!("{{{}}}", fields.map(|(name, value)| format!("\"{name}\":{value}")).join(","))
}

fn any_item() -> impl Strategy<Value = Item> {
    let kinds =
        proptest::sample::subsequence(RecordKind::all().collect::<Vec<_>>(), 0..=RecordKind::all().count());
    let reward = any::<f64>().prop_filter("JSON has no other", |reward| reward.is_finite());
    prop_oneof![
        6 => (kinds, any::<String>(), reward).prop_map(|(kinds, text, gain)| Item::Selected(kinds, text, gain)),
        1 => Just(Item::DeadLetter),
        1 => "[a-z_]{1,40}".prop_map(Item::Reject),
    ]
}

fn any_fate() -> impl Strategy<Value = Fate> {
    let tail = proptest::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        4 => Just(Fate::Committed),
        1 => Just(Fate::Refused),
        1 => Just(Fate::Killed),
        1 => Just(Fate::KilledAfterCommit),
        1 => (0..PATHS.len(), tail).prop_map(|(file, tail)| Fate::Torn(file, tail)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn committed_lines_are_there_once(
        life in proptest::collection::vec((proptest::collection::vec(any_item(), 0..5), any_fate()), 0..8)
    ) {
        let mut world = World::new();
        for (items, fate) in &life {
            world.step(items, fate);
        }
        world.restart();
    }

    #[test]
    fn canonical_records_come_back_bit_for_bit(text: String, bits: u64) {
        let reward = f64::from_bits(bits);
        prop_assume!(reward.is_finite());
        let mut world = World::new();
        world.step(&[Item::Selected(vec![RecordKind::CritiquePair], text.clone(), reward)], &Fate::Committed);
        let line = fs::read_to_string(world.path(PAIR_RECORDS_PATH)).unwrap();
        let back: TrainingRecord = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(back.gain.to_bits(), bits);
        prop_assert_eq!(back, record(0, RecordKind::CritiquePair, &text, reward));
    }
}

fn sft() -> Item {
    Item::Selected(vec![RecordKind::Sft], "text".into(), 0.5)
}

/// What opening again reports after `change` was made to a folder with one committed record.
fn refusal(change: impl FnOnce(&mut World)) -> String {
    let mut world = World::new();
    world.step(&[sft()], &Fate::Committed);
    change(&mut world);
    let before = fs::read(world.path(SFT_PATH)).unwrap();
    let refusal = world.reopen().err().expect("the folder must be refused").to_string();
    assert_eq!(fs::read(world.path(SFT_PATH)).unwrap(), before, "a refusal must change nothing");
    refusal
}

#[test]
fn a_changed_folder_is_refused() {
    let shorter = refusal(|world| fs::write(world.path(OUTCOMES_PATH), "{}\n").unwrap());
    assert!(shorter.contains("outcomes.jsonl was changed by somebody else"), "{shorter}");
    assert!(
        shorter
            .ends_with("put the file back as it was, or start afresh with another --out and another state")
    );
    let gone = refusal(|world| fs::remove_file(world.path(SFT_RECORDS_PATH)).unwrap());
    assert!(gone.contains("and it is gone"), "{gone}");
    let other = refusal(|world| fs::write(world.path(SFT_RECORDS_PATH), "x".repeat(10_000)).unwrap());
    assert!(other.contains("do not end with a line any more"), "{other}");
}

#[test]
fn what_no_checkpoint_accounts_for_is_refused() {
    let state_lost = refusal(|world| world.committed_checkpoint = None);
    assert!(state_lost.contains("choose another folder with --out"), "{state_lost}");
    for path in [REJECTS_PATH, INFO_PATH] {
        let folder = TempDir::new().unwrap();
        fs::create_dir_all(folder.path().join("llamafactory")).unwrap();
        fs::write(folder.path().join(path), "mine").unwrap();
        assert!(matches!(Files::open(options(folder.path()), None), Err(ExportError::Foreign(_))), "{path}");
        assert_eq!(fs::read_to_string(folder.path().join(path)).unwrap(), "mine");
    }
}

#[test]
fn other_formats_are_refused() {
    let mut world = World::new();
    world.files = None;
    let mut options = options(world.folder.path());
    for formats in [vec![], vec![FormatName::LlamaFactory, FormatName::Trl]] {
        options.formats = formats;
        let opened = Files::open(options.clone(), world.committed_checkpoint.as_deref());
        assert!(matches!(opened, Err(ExportError::OtherFormats { .. })));
    }
}

#[test]
fn a_folder_of_an_earlier_version_goes_on() {
    let mut world = World::new();
    world.step(&[sft()], &Fate::Committed);
    let checkpoint = world.committed_checkpoint.take().unwrap();
    let before = checkpoint.replace("\"llamafactory/avr_long_sft.jsonl\":0,", "");
    assert_ne!(checkpoint, before);
    world.committed_checkpoint = Some(before);
    world.files = None;
    fs::remove_file(world.path(LONG_SFT_PATH)).unwrap();
    world.restart();
    world.step(&[Item::Selected(vec![RecordKind::LongSft], "text".into(), 0.5)], &Fate::Committed);
}

#[test]
fn a_second_process_is_refused() {
    let world = World::new();
    let second = Files::open(options(world.folder.path()), world.committed_checkpoint.as_deref());
    assert!(matches!(second, Err(ExportError::Locked(_))));
}

#[test]
fn a_process_that_died_before_its_first_commit_leaves_a_usable_folder() {
    let folder = TempDir::new().unwrap();
    let mut files = Files::open(options(folder.path()), None).unwrap();
    let letter = Entry::DeadLetter(outcome(0, OutcomeReason::DeadLetter, None));
    assert!(
        matches!(files.append(&[letter]), Err(ExportError::Undecided)),
        "a checkpoint comes before the lines"
    );
    files.append(&[]).unwrap();
    files.rollback().unwrap();
    drop(files);
    assert!(Files::open(options(folder.path()), None).is_ok());
}

#[test]
fn one_batch_is_decided_before_the_next() {
    let mut world = World::new();
    world.append(&[sft()]).0.unwrap();
    assert!(matches!(world.append(&[sft()]).0, Err(ExportError::Undecided)));
    world.files().rollback().unwrap();
    world.step(&[sft()], &Fate::Committed);
}

#[test]
fn a_batch_that_fails_is_cut_back_and_can_be_given_again() {
    let mut world = World::new();
    // The last thing that a batch writes is the description: a folder in its draft's place fails it.
    fs::create_dir(world.path(".manifest.new")).unwrap();
    assert!(matches!(world.append(&[sft(), Item::DeadLetter]).0, Err(ExportError::Io { .. })));
    world.check();
    fs::remove_dir(world.path(".manifest.new")).unwrap();
    world.step(&[sft(), Item::DeadLetter], &Fate::Committed);
    world.restart();
}

#[test]
fn every_format_asked_for_is_written_and_synced() {
    let folder = TempDir::new().unwrap();
    let formats = vec![FormatName::Trl, FormatName::LlamaFactory, FormatName::Trl];
    let mut files =
        Files::open(ExportOptions { formats, ..ExportOptions::new(folder.path()) }, None).unwrap();
    files.committed();
    let payload = json(&selection_result(7, &RecordKind::all().collect::<Vec<_>>(), "text", 1.0));
    files.append(&[Entry::Selected(RawSelectionResult::parse(payload.as_bytes()).unwrap())]).unwrap();
    let counts = [
        ("trl/avr_sft.jsonl", 1),
        ("trl/avr_dpo.jsonl", 4),
        ("trl/avr_kto.jsonl", 1),
        (SFT_PATH, 1),
        (PAIRS_PATH, 4),
        (REWARD_PAIRS_PATH, 1),
    ];
    for (path, count) in counts {
        assert_eq!(fs::read_to_string(folder.path().join(path)).unwrap().lines().count(), count, "{path}");
    }
}
