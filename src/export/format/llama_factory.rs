//! LLaMA-Factory: `formatting: sharegpt` with the tags of OpenAI's messages.
//!
//! Rules read in its own loader (`data/parser.py`, `data/converter.py` of version 0.9.5):
//! - naming one tag resets all others, so all are named;
//! - `ranking` data sets want `chosen` and `rejected` as objects, not lists;
//! - `formatting: openai` adds a system text of its own, `sharegpt` does not;
//! - a data set that is listed must have rows: the JSON loader fails on an empty file.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Conversation, Format, Layout, Manifest, write_line};
use crate::{
    export::{RawRecord, RawText, RawTurn},
    record::RecordKind,
};

/// Where the data sets of LLaMA-Factory are described.
const INFO_PATH: &str = "llamafactory/dataset_info.json";
/// The data files. Kinds that are trained on together share one, and the column `kind` tells them apart; what a long
/// answer teaches is another stage of training.
const FILES: [&str; 6] = [
    "llamafactory/avr_sft.jsonl",
    "llamafactory/avr_pairs.jsonl",
    "llamafactory/avr_long_sft.jsonl",
    "llamafactory/avr_long_pairs.jsonl",
    "llamafactory/avr_kto.jsonl",
    "llamafactory/avr_reward_pairs.jsonl",
];

/// The writer for LLaMA-Factory: `dataset_dir` is the folder `llamafactory`, the data sets are named
/// after the files.
#[derive(Clone, Copy, Debug)]
pub struct LlamaFactory;

impl Format for LlamaFactory {
    fn files(&self) -> &'static [&'static str] {
        &FILES
    }

    fn file_of(&self, kind: RecordKind) -> usize {
        match kind {
            RecordKind::Sft => 0,
            RecordKind::ResponsePair
            | RecordKind::CritiquePair
            | RecordKind::ImprovementPair
            | RecordKind::FusionPair => 1,
            RecordKind::LongSft => 2,
            RecordKind::LongPair => 3,
            RecordKind::Kto => 4,
            RecordKind::RewardPair => 5,
        }
    }

    fn write_row(&self, record: &RawRecord<'_>, buffer: &mut Vec<u8>) {
        let RawRecord { id, kind, label, ref prompt, ref rewards, .. } = *record;
        let (chosen, rejected) = (record.chosen.first(), record.rejected.first());
        match kind {
            RecordKind::Kto => {
                write_line(
                    &LabelledRow { id, kind, messages: Conversation::of(record), kto_tag: label },
                    buffer,
                );
            }
            RecordKind::RewardPair => {
                let pair = PairRow { id, kind, messages: prompt, chosen, rejected };
                write_line(&RewardRow { pair, margin: rewards.margin() }, buffer);
            }
            kind if kind.is_pair() => {
                write_line(&PairRow { id, kind, messages: prompt, chosen, rejected }, buffer);
            }
            _ => write_line(&SftRow { id, kind, messages: Conversation::of(record) }, buffer),
        }
    }

    fn manifest(&self, layout: Layout, has_rows: &dyn Fn(usize) -> bool) -> Option<Manifest> {
        let listed = RecordKind::all().filter(|kind| has_rows(self.file_of(*kind)));
        let data_set = |kind| data_set(layout.place(FILES[self.file_of(kind)]), kind);
        let info: BTreeMap<_, _> = listed.map(data_set).collect();
        let text = serde_json::to_string_pretty(&info).expect("the description has string keys") + "\n";
        Some(Manifest { path: INFO_PATH, text })
    }
}

#[derive(Serialize)]
struct SftRow<'a> {
    id: RawText<'a>,
    kind: RecordKind,
    messages: Conversation<'a>,
}

#[derive(Serialize)]
struct PairRow<'a> {
    id: RawText<'a>,
    kind: RecordKind,
    messages: &'a [RawTurn<'a>],
    chosen: Option<&'a RawTurn<'a>>,
    rejected: Option<&'a RawTurn<'a>>,
}

#[derive(Serialize)]
struct LabelledRow<'a> {
    id: RawText<'a>,
    kind: RecordKind,
    messages: Conversation<'a>,
    kto_tag: Option<bool>,
}

#[derive(Serialize)]
struct RewardRow<'a> {
    #[serde(flatten)]
    pair: PairRow<'a>,
    margin: Option<f64>,
}

/// One entry of `dataset_info.json`.
#[derive(Serialize)]
struct DataSet<'a> {
    file_name: &'a str,
    formatting: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranking: Option<bool>,
    columns: BTreeMap<&'static str, &'static str>,
    tags: BTreeMap<&'static str, &'static str>,
}

/// The name and the description of the data set in the file or folder `path`, which has records of `kind`.
fn data_set(path: &str, kind: RecordKind) -> (&str, DataSet<'_>) {
    let file_name = path.rsplit('/').next().unwrap_or(path);
    let tags = [
        ("role_tag", "role"),
        ("content_tag", "content"),
        ("user_tag", "user"),
        ("assistant_tag", "assistant"),
        ("system_tag", "system"),
    ];
    let columns: &[&str] = match kind {
        RecordKind::Kto => &["messages", "kto_tag"],
        kind if kind.is_pair() => &["messages", "chosen", "rejected"],
        _ => &["messages"],
    };
    let set = DataSet {
        file_name,
        formatting: "sharegpt",
        ranking: kind.is_pair().then_some(true),
        columns: columns.iter().map(|name| (*name, *name)).collect(),
        tags: tags.into(),
    };
    (file_name.trim_end_matches(".jsonl"), set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::format::tests::{self, row};

    #[test]
    fn an_sft_row_is_the_whole_conversation() {
        let expected = concat!(
            r#"{"id":"s:1/sft","kind":"sft","messages":[{"role":"system","content":"be\nkind"},"#,
            r#"{"role":"user","content":"x"},{"role":"assistant","content":"y"},"#,
            r#"{"role":"user","content":"criticise"},{"role":"assistant","content":"c \"q\""}]}"#,
            "\n"
        );
        assert_eq!(row(&LlamaFactory, tests::SFT), expected);
    }

    #[test]
    fn the_sides_of_a_pair_are_objects() {
        let expected = concat!(
            r#"{"id":"s:1/response_pair","kind":"response_pair","messages":[{"role":"user","content":"x"}],"#,
            r#""chosen":{"role":"assistant","content":"good"},"#,
            r#""rejected":{"role":"assistant","content":"bad"}}"#,
            "\n"
        );
        assert_eq!(row(&LlamaFactory, tests::PAIR), expected);
    }

    #[test]
    fn only_data_sets_with_rows_are_listed() {
        let text = |sft, pairs| {
            LlamaFactory
                .manifest(Layout::Files, &|file| [sft, pairs, false, false, false, false][file])
                .unwrap()
                .text
        };
        assert_eq!(text(false, false), "{}\n");
        assert!(!text(true, false).contains("avr_pairs"));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text(false, true)).unwrap(),
            serde_json::json!({"avr_pairs": {
                "file_name": "avr_pairs.jsonl",
                "formatting": "sharegpt",
                "ranking": true,
                "columns": {"messages": "messages", "chosen": "chosen", "rejected": "rejected"},
                "tags": {
                    "role_tag": "role", "content_tag": "content", "user_tag": "user",
                    "assistant_tag": "assistant", "system_tag": "system",
                },
            }})
        );
    }

    #[test]
    fn a_labelled_answer_has_its_tag_and_its_column() {
        let expected = concat!(
            r#"{"id":"s:1/kto/0.0.0","kind":"kto","messages":[{"role":"user","content":"x"},"#,
            r#"{"role":"assistant","content":"y"}],"kto_tag":false}"#,
            "\n"
        );
        assert_eq!(row(&LlamaFactory, tests::KTO), expected);
        let info = LlamaFactory.manifest(Layout::Files, &|file| file == 4).unwrap().text;
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        let columns = serde_json::json!({"messages": "messages", "kto_tag": "kto_tag"});
        assert_eq!(info["avr_kto"]["columns"], columns);
        assert_eq!(info["avr_kto"]["ranking"], serde_json::Value::Null);
    }

    #[test]
    fn a_pair_for_a_reward_model_has_its_margin() {
        let expected = concat!(
            r#"{"id":"s:1/reward_pair","kind":"reward_pair","messages":[{"role":"user","content":"x"}],"#,
            r#""chosen":{"role":"assistant","content":"good"},"rejected":{"role":"assistant","content":"bad"},"#,
            r#""margin":0.75}"#,
            "\n"
        );
        assert_eq!(row(&LlamaFactory, tests::REWARD), expected);
    }
}
