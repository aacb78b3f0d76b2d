//! TRL: conversations for `SFTTrainer`, pairs with an explicit prompt for `DPOTrainer`.
//!
//! Both sides of a pair are lists. SFT rows have `messages`, not `prompt` and `completion`: a completion of several
//! turns would teach the instructions between them, too; with `assistant_only_loss` messages do not.

use serde::Serialize;

use super::{Conversation, Format, Layout, Manifest, write_line};
use crate::{
    export::{RawRecord, RawText, RawTurn},
    record::Kind,
};

/// The writer for TRL; not written unless asked for.
#[derive(Clone, Copy, Debug)]
pub struct Trl;

impl Format for Trl {
    fn files(&self) -> &'static [&'static str] {
        &["trl/avr_sft.jsonl", "trl/avr_dpo.jsonl", "trl/avr_long_sft.jsonl", "trl/avr_long_dpo.jsonl"]
    }

    fn file_of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Sft => 0,
            Kind::ResponsePair | Kind::CritiquePair | Kind::ImprovementPair => 1,
            Kind::LongSft => 2,
            Kind::LongPair => 3,
        }
    }

    fn write_row(&self, record: &RawRecord<'_>, buffer: &mut Vec<u8>) {
        let RawRecord { id, kind, ref prompt, ref chosen, ref rejected, .. } = *record;
        if kind.is_pair() {
            write_line(&PairRow { id, kind, prompt, chosen, rejected }, buffer);
        } else {
            write_line(&SftRow { id, kind, messages: Conversation::of(record) }, buffer);
        }
    }

    fn manifest(&self, _layout: Layout, _has_rows: &dyn Fn(usize) -> bool) -> Option<Manifest> {
        None
    }
}

#[derive(Serialize)]
struct SftRow<'a> {
    id: RawText<'a>,
    kind: Kind,
    messages: Conversation<'a>,
}

#[derive(Serialize)]
struct PairRow<'a> {
    id: RawText<'a>,
    kind: Kind,
    prompt: &'a [RawTurn<'a>],
    chosen: &'a [RawTurn<'a>],
    rejected: &'a [RawTurn<'a>],
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
}
