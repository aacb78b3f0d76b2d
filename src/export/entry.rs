//! What is to be written, read from payloads without touching their texts.
//!
//! A selection result is mostly text: prompts, answers, critiques. Each text goes into several files, and every one of
//! them is JSON, so it is kept as the JSON string that came ([`RawText`]) and copied. Everything else is
//! read into its type, so that a payload of another shape is refused before a byte of it is written.

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::value::RawValue;

use crate::record::{ModelOutput, Outcome, RecordKind, Reject, Rewards, Role, SourceModels};

/// One thing to be written.
#[derive(Debug)]
pub enum Entry<'a> {
    /// How a thread ended and the records it gave.
    Selected(RawSelectionResult<'a>),
    /// How a thread ended that a stage could not handle.
    DeadLetter(Outcome),
    /// A line of input that could not be used.
    Reject(Reject),
    /// A thread that had ended as a dead letter was sent back and will end again.
    Retried,
}

/// A payload of the records topic ([`SelectionResult`](crate::record::SelectionResult)) with its texts left as they are.
#[derive(Debug, Deserialize)]
pub struct RawSelectionResult<'a> {
    /// How the thread ended.
    pub outcome: Outcome,
    /// The records it gave.
    #[serde(borrow)]
    pub records: Vec<RawRecord<'a>>,
    /// The models behind the records.
    #[serde(default)]
    pub models: SourceModels,
    /// Its answer to an instruction of a test.
    #[serde(default)]
    pub output: Option<ModelOutput>,
}

/// A [`TrainingRecord`](crate::record::TrainingRecord) with its texts left as they are. Its serialisation is the
/// canonical line: the same fields in the same order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RawRecord<'a> {
    /// Unique: the thread's id, a slash, the kind.
    #[serde(borrow)]
    pub id: RawText<'a>,
    /// What it teaches.
    pub kind: RecordKind,
    /// The conversation up to where the sides begin.
    #[serde(borrow)]
    pub prompt: Vec<RawTurn<'a>>,
    /// The turns to learn.
    #[serde(borrow)]
    pub chosen: Vec<RawTurn<'a>>,
    /// The turns to avoid; empty where there are none.
    #[serde(borrow)]
    pub rejected: Vec<RawTurn<'a>>,
    /// The rewards behind the choice.
    pub rewards: Rewards,
    /// What the chosen side gained over the answer it started from.
    pub gain: f64,
    /// Whether a labelled answer is to be learned; absent in every other kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<bool>,
    /// Where it came from: a JSON string that itself holds JSON.
    #[serde(borrow)]
    pub provenance: RawText<'a>,
}

/// The canonical line of a labelled answer: what may be unwanted is not called chosen there.
#[derive(Debug, Serialize)]
pub(super) struct Labelled<'a> {
    id: RawText<'a>,
    kind: RecordKind,
    prompt: &'a [RawTurn<'a>],
    completion: &'a [RawTurn<'a>],
    label: Option<bool>,
    rewards: LabelledRewards,
    gain: f64,
    provenance: RawText<'a>,
}

#[derive(Debug, Serialize)]
struct LabelledRewards {
    answer: f64,
    completion: f64,
}

impl<'a> Labelled<'a> {
    pub(super) fn of(record: &'a RawRecord<'a>) -> Self {
        let RawRecord { id, kind, label, rewards, gain, provenance, .. } = *record;
        let rewards = LabelledRewards { answer: rewards.answer, completion: rewards.chosen };
        let (prompt, completion) = (&record.prompt[..], &record.chosen[..]);
        Self { id, kind, prompt, completion, label, rewards, gain, provenance }
    }
}

/// One turn, its text left as it is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RawTurn<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    #[serde(borrow)]
    pub content: RawText<'a>,
}

/// A JSON string as it was written, quotes and escapes included.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub struct RawText<'a>(&'a RawValue);

impl<'de: 'a, 'a> Deserialize<'de> for RawText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        // Skipping over a string does not look whether `\u` escapes form whole characters; they are rare.
        if !text.starts_with('"') || text.contains("\\u") {
            serde_json::from_str::<String>(text).map_err(D::Error::custom)?;
        }
        Ok(Self(raw))
    }
}

impl<'a> RawSelectionResult<'a> {
    /// Reads a payload of the records topic.
    ///
    /// # Errors
    /// The payload is not a selection result, or a record in it breaks a rule that trainers rely on. It belongs among the
    /// dead letters: nothing of it can be written.
    pub fn parse(payload: &'a [u8]) -> Result<Self, BadSelectionResult> {
        let result: Self = serde_json::from_slice(payload)?;
        for record in &result.records {
            record
                .check()
                .map_err(|fault| BadSelectionResult::Record { id: record.id.0.to_string(), fault })?;
        }
        Ok(result)
    }
}

impl RawRecord<'_> {
    /// Holds what every trainer's format needs: turns in order, and sides that fit the kind.
    fn check(&self) -> Result<(), Fault> {
        if !alternates(&self.prompt, &self.chosen) {
            return Err(Fault::Turns);
        }
        let is_answer = |side: &[RawTurn<'_>]| matches!(side, [turn] if turn.role == Role::Assistant);
        if (self.kind == RecordKind::Kto) != self.label.is_some() {
            return Err(Fault::Label);
        }
        match self.kind.is_pair() {
            true if !is_answer(&self.chosen) || !is_answer(&self.rejected) => Err(Fault::Sides),
            false if !self.rejected.is_empty() => Err(Fault::Sides),
            _ => Ok(()),
        }
    }
}

/// Whether, after a system turn or none, `prompt` and then `chosen` take turns, the user first, the prompt
/// ending with the user and the whole with the assistant.
fn alternates(prompt: &[RawTurn<'_>], chosen: &[RawTurn<'_>]) -> bool {
    let prompt = match prompt {
        [first, rest @ ..] if first.role == Role::System => rest,
        all => all,
    };
    let roles = prompt.iter().chain(chosen).map(|turn| turn.role);
    let expected = [Role::User, Role::Assistant].into_iter().cycle();
    prompt.len() % 2 == 1 && chosen.len() % 2 == 1 && roles.zip(expected).all(|(role, want)| role == want)
}

/// A payload that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum BadSelectionResult {
    /// It is not a selection result.
    #[error("not a payload of the records topic: {0}; its writer is another version or another program")]
    Json(#[from] serde_json::Error),
    /// It is, but a record of it is not sound.
    #[error("record {id} cannot be written: {fault}")]
    Record {
        /// The record's id, as JSON.
        id: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Trainers skip such records with a warning, which is to lose them.
    #[error("after a system turn or none, user and assistant must take turns, and the assistant must end")]
    Turns,
    /// One answer a side is all that preference formats can say.
    #[error(
        "a pair needs one assistant turn on either side, a record of another kind must have no rejected side"
    )]
    Sides,
    /// Without it nobody knows what the answer is to teach.
    #[error("a labelled answer needs its label, a record of another kind must have none")]
    Label,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Message, TrainingRecord};

    fn record(kind: RecordKind, prompt: &[Message], chosen: &[Message], rejected: &[Message]) -> String {
        let rewards = Rewards { answer: 0.1, chosen: 0.30000000000000004, rejected: None };
        let record = TrainingRecord {
            id: "stage1:1/sft".into(),
            kind,
            prompt: prompt.to_vec(),
            chosen: chosen.to_vec(),
            rejected: rejected.to_vec(),
            rewards,
            gain: 5e-324,
            label: (kind == RecordKind::Kto).then_some(false),
            provenance: r#"{"thread":"stage1:1"}"#.into(),
        };
        serde_json::to_string(&record).unwrap()
    }

    fn fault(record: &str) -> Option<Fault> {
        serde_json::from_str::<RawRecord<'_>>(record).unwrap().check().err()
    }

    #[test]
    fn the_canonical_line_is_the_payload_s() {
        let text = Message::user("\u{1}\"\n\t\\ ä \u{2028} 😀 /");
        let line = record(RecordKind::Sft, &[text], &[Message::assistant("")], &[]);
        let raw: RawRecord<'_> = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json::to_string(&raw).unwrap(), line);
    }

    #[test]
    fn white_space_between_fields_goes() {
        let line = record(RecordKind::Sft, &[Message::user("a\nb")], &[Message::assistant("c")], &[]);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let raw: RawRecord<'_> = serde_json::from_str(&pretty).unwrap();
        assert_eq!(serde_json::to_string(&raw).unwrap(), line);
    }

    #[test]
    fn unsound_records_are_refused() {
        let (system, user, assistant) = (Message::system("s"), Message::user("u"), Message::assistant("a"));
        let one = std::slice::from_ref(&assistant);
        let asked = std::slice::from_ref(&user);
        let cases = [
            (record(RecordKind::Sft, asked, one, &[]), None),
            (record(RecordKind::Sft, &[system.clone(), user.clone()], one, &[]), None),
            (record(RecordKind::ResponsePair, asked, one, one), None),
            (record(RecordKind::Sft, &[], one, &[]), Some(Fault::Turns)),
            (record(RecordKind::Sft, &[user.clone(), user.clone()], one, &[]), Some(Fault::Turns)),
            (record(RecordKind::Sft, &[user.clone(), system, user.clone()], one, &[]), Some(Fault::Turns)),
            (record(RecordKind::Sft, one, one, &[]), Some(Fault::Turns)),
            (record(RecordKind::Sft, asked, &[], &[]), Some(Fault::Turns)),
            (record(RecordKind::Sft, asked, one, one), Some(Fault::Sides)),
            (record(RecordKind::CritiquePair, asked, one, &[]), Some(Fault::Sides)),
            (record(RecordKind::CritiquePair, asked, one, asked), Some(Fault::Sides)),
            (record(RecordKind::Kto, asked, one, &[]), None),
            (record(RecordKind::Kto, asked, one, &[]).replace("\"label\":false,", ""), Some(Fault::Label)),
            (
                record(RecordKind::Sft, asked, one, &[]).replace("\"gain\"", "\"label\":true,\"gain\""),
                Some(Fault::Label),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(fault(&line), expected, "{line}");
        }
    }

    #[test]
    fn texts_must_be_whole_strings() {
        for bad in ["1", "null", "[\"a\"]", r#""\ud800""#] {
            assert!(serde_json::from_str::<RawText<'_>>(bad).is_err(), "{bad}");
        }
        for good in [r#""""#, r#""\ud83d\ude00""#, r#""\u0001\n""#] {
            assert_eq!(serde_json::from_str::<RawText<'_>>(good).unwrap().0.get(), good);
        }
    }

    #[test]
    fn other_payloads_are_refused() {
        for payload in [&b"{}"[..], b"", b"[1", b"\xff", br#"{"outcome":{},"records":[]}"#] {
            assert!(matches!(RawSelectionResult::parse(payload), Err(BadSelectionResult::Json(_))));
        }
    }
}
