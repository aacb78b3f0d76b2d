//! Selections as rows of training data: what comes before, what is to be learned, what is to be avoided.
//!
//! Rows are multi-turn whichever shape asked, so that a model trained on them can carry on a conversation.

use super::select::{CritiqueGroup, RoundSelection};
use crate::{
    method::{
        ask,
        scored::ScoredImprovement,
        selection::{builder::TrainingRow, rules::Sides},
        template::Templates,
    },
    record::Message,
};

/// Makes the rows of one prompt.
#[derive(Clone, Copy, Debug)]
pub struct RoundRows<'a> {
    /// `x`.
    pub prompt: &'a [Message],
    /// The instructions between the turns.
    pub templates: &'a Templates,
}

impl RoundRows<'_> {
    /// Answer, critique and improvement in one conversation. All that follows the prompt is `chosen`; the first
    /// of it is `y0`.
    pub fn sft(&self, selection: &RoundSelection<'_>) -> TrainingRow {
        let mut chosen = self.before_improvement(selection.answer, selection.best.critique);
        chosen.push(Message::assistant(selection.best.text));
        TrainingRow {
            prompt: self.prompt.to_vec(),
            chosen: chosen.split_off(self.prompt.len()),
            rejected: Vec::new(),
        }
    }

    /// The best improvement over the answer.
    pub fn response(&self, selection: &RoundSelection<'_>, best: &ScoredImprovement<'_>) -> TrainingRow {
        TrainingRow::pair(self.prompt.to_vec(), best.text, selection.answer)
    }

    /// The best critique over the worst.
    pub fn critique(&self, selection: &RoundSelection<'_>, sides: &Sides<&CritiqueGroup<'_>>) -> TrainingRow {
        TrainingRow::pair(self.before_critique(selection.answer), sides.chosen.text, sides.rejected.text)
    }

    /// Of one critique's improvements, the better over the worse.
    pub fn improvement(
        &self,
        selection: &RoundSelection<'_>,
        sides: &Sides<&ScoredImprovement<'_>>,
    ) -> TrainingRow {
        let prompt = self.before_improvement(selection.answer, sides.chosen.critique);
        TrainingRow::pair(prompt, sides.chosen.text, sides.rejected.text)
    }

    fn before_critique(&self, answer: &str) -> Vec<Message> {
        owned(ask::multi_turn_critique(self.templates, self.prompt, answer))
    }

    fn before_improvement(&self, answer: &str, critique: &str) -> Vec<Message> {
        owned(ask::multi_turn_improve(self.templates, self.prompt, answer, critique))
    }
}

fn owned(turns: Vec<ask::ChatTurn<'_>>) -> Vec<Message> {
    turns.into_iter().map(Message::from).collect()
}
