//! TRL: conversations for `SFTTrainer`, pairs with an explicit prompt for `DPOTrainer`, labelled answers for `KTOTrainer`,
//! pairs of whole conversations for `RewardTrainer`.
//!
//! Both sides of a pair are lists. SFT rows have `messages`, not `prompt` and `completion`: a completion of several
//! turns would teach the instructions between them, too; with `assistant_only_loss` messages do not.

use serde::Serialize;

use super::{Conversation, Format, Layout, Manifest, write_line};
use crate::{
    export::{RawRecord, RawText, RawTurn},
    record::RecordKind,
};

/// The writer for TRL; not written unless asked for.
#[derive(Clone, Copy, Debug)]
pub struct Trl;

impl Format for Trl {
    fn files(&self) -> &'static [&'static str] {
        &[
            "trl/avr_sft.jsonl",
            "trl/avr_dpo.jsonl",
            "trl/avr_long_sft.jsonl",
            "trl/avr_long_dpo.jsonl",
            "trl/avr_kto.jsonl",
            "trl/avr_reward.jsonl",
        ]
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
        let RawRecord { id, kind, label, ref prompt, ref chosen, ref rejected, ref rewards, .. } = *record;
        match kind {
            RecordKind::Kto => {
                write_line(&TrlLabelledRow { id, kind, prompt, completion: chosen, label }, buffer)
            }
            RecordKind::RewardPair => {
                let (chosen, rejected) =
                    (Conversation::of(record), Conversation { prompt, chosen: rejected });
                write_line(&TrlRewardRow { id, kind, chosen, rejected, margin: rewards.margin() }, buffer);
            }
            kind if kind.is_pair() => write_line(&TrlPairRow { id, kind, prompt, chosen, rejected }, buffer),
            _ => write_line(&TrlSftRow { id, kind, messages: Conversation::of(record) }, buffer),
        }
    }

    fn manifest(&self, _layout: Layout, _has_rows: &dyn Fn(usize) -> bool) -> Option<Manifest> {
        None
    }
}

#[derive(Serialize)]
struct TrlSftRow<'a> {
    id: RawText<'a>,
    kind: RecordKind,
    messages: Conversation<'a>,
}

#[derive(Serialize)]
struct TrlPairRow<'a> {
    id: RawText<'a>,
    kind: RecordKind,
    prompt: &'a [RawTurn<'a>],
    chosen: &'a [RawTurn<'a>],
    rejected: &'a [RawTurn<'a>],
}

#[derive(Serialize)]
struct TrlLabelledRow<'a> {
    id: RawText<'a>,
    kind: RecordKind,
    prompt: &'a [RawTurn<'a>],
    completion: &'a [RawTurn<'a>],
    label: Option<bool>,
}

/// Both sides are whole conversations; the trainer wants the difference of their scores to be at least the margin.
#[derive(Serialize)]
struct TrlRewardRow<'a> {
    id: RawText<'a>,
    kind: RecordKind,
    chosen: Conversation<'a>,
    rejected: Conversation<'a>,
    margin: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::format::tests::{self, row};

    #[test]
    fn the_sides_of_a_pair_are_lists() {
        let expected = concat!(
            r#"{"id":"s:1/response_pair","kind":"response_pair","prompt":[{"role":"user","content":"x"}],"#,
            r#""chosen":[{"role":"assistant","content":"good"}],"#,
            r#""rejected":[{"role":"assistant","content":"bad"}]}"#,
            "\n"
        );
        assert_eq!(row(&Trl, tests::PAIR), expected);
    }

    #[test]
    fn a_labelled_answer_is_a_completion() {
        let expected = concat!(
            r#"{"id":"s:1/kto/0.0.0","kind":"kto","prompt":[{"role":"user","content":"x"}],"#,
            r#""completion":[{"role":"assistant","content":"y"}],"label":false}"#,
            "\n"
        );
        assert_eq!(row(&Trl, tests::KTO), expected);
    }

    #[test]
    fn a_pair_for_a_reward_model_is_two_whole_conversations() {
        let expected = concat!(
            r#"{"id":"s:1/reward_pair","kind":"reward_pair","#,
            r#""chosen":[{"role":"user","content":"x"},{"role":"assistant","content":"good"}],"#,
            r#""rejected":[{"role":"user","content":"x"},{"role":"assistant","content":"bad"}],"margin":0.75}"#,
            "\n"
        );
        assert_eq!(row(&Trl, tests::REWARD), expected);
    }
}
