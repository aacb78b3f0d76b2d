//! Selections as rows of training data: what comes before, what is to be learned, what is to be avoided.
//!
//! Rows are multi-turn whichever shape asked, so that a model trained on them can carry on a conversation.

use super::{
    ask,
    pairs::Sides,
    select::{Judged, Scored, Selection},
    template::Templates,
};
use crate::record::{Message, TrainingRecord};

/// The conversation part of a training record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The conversation up to where the sides begin; ends with a user turn.
    pub prompt: Vec<Message>,
    /// The turns to learn.
    pub chosen: Vec<Message>,
    /// The turns to avoid; empty where there are none.
    pub rejected: Vec<Message>,
}

impl Row {
    /// A preference between two answers to one conversation.
    pub fn pair(prompt: Vec<Message>, chosen: &str, rejected: &str) -> Self {
        Self {
            prompt,
            chosen: vec![Message::assistant(chosen)],
            rejected: vec![Message::assistant(rejected)],
        }
    }

    /// The whole conversation that ends with the chosen side.
    pub fn messages(&self) -> Vec<Message> {
        self.prompt.iter().chain(&self.chosen).cloned().collect()
    }
}

impl From<TrainingRecord> for Row {
    fn from(record: TrainingRecord) -> Self {
        Self { prompt: record.prompt, chosen: record.chosen, rejected: record.rejected }
    }
}

/// Makes the rows of one prompt.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// `x`.
    pub prompt: &'a [Message],
    /// The instructions between the turns.
    pub templates: &'a Templates,
}

impl Rows<'_> {
    /// Answer, critique and improvement in one conversation. All that follows the prompt is `chosen`; the first
    /// of it is `y0`.
    pub fn sft(&self, selection: &Selection<'_>) -> Row {
        let mut chosen = self.before_improvement(selection.answer, selection.best.critique);
        chosen.push(Message::assistant(selection.best.text));
        Row {
            prompt: self.prompt.to_vec(),
            chosen: chosen.split_off(self.prompt.len()),
            rejected: Vec::new(),
        }
    }

    /// The best improvement over the answer.
    pub fn response(&self, selection: &Selection<'_>, best: &Scored<'_>) -> Row {
        Row::pair(self.prompt.to_vec(), best.text, selection.answer)
    }

    /// The best critique over the worst.
    pub fn critique(&self, selection: &Selection<'_>, sides: &Sides<&Judged<'_>>) -> Row {
        Row::pair(self.before_critique(selection.answer), sides.chosen.text, sides.rejected.text)
    }

    /// Of one critique's improvements, the better over the worse.
    pub fn improvement(&self, selection: &Selection<'_>, sides: &Sides<&Scored<'_>>) -> Row {
        let prompt = self.before_improvement(selection.answer, sides.chosen.critique);
        Row::pair(prompt, sides.chosen.text, sides.rejected.text)
    }

    fn before_critique(&self, answer: &str) -> Vec<Message> {
        owned(ask::multi_turn_critique(self.templates, self.prompt, answer))
    }

    fn before_improvement(&self, answer: &str, critique: &str) -> Vec<Message> {
        owned(ask::multi_turn_improve(self.templates, self.prompt, answer, critique))
    }
}

fn owned(turns: Vec<ask::Turn<'_>>) -> Vec<Message> {
    turns.into_iter().map(Message::from).collect()
}
