//! What a generator writes: a pure function of the cluster's seed, the request, and the number of the choice.
//!
//! A request shows what it wants by its shape alone, so that replaced templates work as well as ours:
//!
//! | shape | answer |
//! |---|---|
//! | `[[` in the instruction (the system message, or the last user turn unless that is a transcript) | a critique that ends with `Rating: [[n]]`; with `[[A]]`, a verdict |
//! | a rating before the instruction | an improvement, marked as revision *n* so that rewards can tell |
//! | a model whose name ends in `-long`, or `--long-answers` | a long answer with `Final answer:` |
//! | anything else | an answer |
//!
//! At temperature 0 the seed has no effect, as on a real server.

use super::{
    draw::{Draws, Fingerprint},
    options::{Options, TextOptions},
    prose::{revision_of, revision_within, token_count, write_repetition, write_revision, write_sentences},
    protocol::WireMessage,
};

/// What stands between a text and its end, in a request for a rating and in a rating.
const MARKER: &str = "[[";

/// Plain answers' lengths before the final answer of a long one: answer, critique, improvement, critique.
const PARTS_OF_LONG_ANSWER: u64 = 4;

/// What a request asks for, as far as the text depends on it.
pub(super) struct TextRequest<'a> {
    /// The model's name as served.
    pub(super) model: &'a str,
    /// The conversation.
    pub(super) turns: &'a [WireMessage<'a>],
    /// Sampling temperature.
    pub(super) temperature: f64,
    /// The request's seed; 0 when it has none.
    pub(super) seed: i128,
    /// Tokens that the answer may have.
    pub(super) limit_tokens: u64,
}

/// One text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GeneratedText {
    /// The text.
    pub(super) text: String,
    /// Its length.
    pub(super) tokens: u64,
    /// Whether it ends because of a limit.
    pub(super) cut_off: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum TextForm {
    Answer,
    LongAnswer,
    Critique,
    Verdict,
    Improvement { revision: u32 },
}

/// The fingerprint of a question, to which [`write()`] adds the choice.
pub(super) fn fingerprint(options: &Options, question: &TextRequest<'_>) -> Fingerprint {
    let seed = if question.temperature == 0.0 { 0 } else { question.seed };
    Fingerprint::new(options.seed)
        .with(question.model.as_bytes())
        .with(&question.temperature.to_le_bytes())
        .with(&seed.to_le_bytes())
        .with_turns(question.turns)
}

/// Writes one choice.
pub(super) fn write(
    options: &TextOptions,
    question: &TextRequest<'_>,
    fingerprint: &Fingerprint,
    choice: u64,
) -> GeneratedText {
    let mut draws = fingerprint.clone().with(&choice.to_le_bytes()).draws();
    let long = options.long_answers || question.model.ends_with("-long");
    let tokens = length(options, &mut draws);
    let mishap = draws.share();
    if mishap < options.empty_rate {
        return GeneratedText { text: String::new(), tokens: 1, cut_off: false };
    }
    let mut text = String::with_capacity(tokens as usize * 5);
    write_form(&mut text, form_of(question.turns, long), tokens, options.malformed_rating_rate, &mut draws);
    let mishap = mishap - options.empty_rate;
    if mishap < options.redundant_rate {
        write_repetition(&mut text, &mut draws);
    }
    let chance_of_cut = options.redundant_rate..options.redundant_rate + options.cut_off_rate;
    let limit = if chance_of_cut.contains(&mishap) { token_count(&text) / 2 } else { question.limit_tokens };
    cut(text, limit.min(question.limit_tokens))
}

/// Log-normal, with the mean that the options ask for; within 1/16 and 8 times of it.
fn length(options: &TextOptions, draws: &mut Draws) -> u64 {
    let exponent = options.spread * draws.normal() - options.spread * options.spread / 2.0;
    let tokens = options.mean_tokens * exponent.exp().clamp(1.0 / 16.0, 8.0);
    (tokens.round() as u64).max(1)
}

fn form_of(turns: &[WireMessage<'_>], long: bool) -> TextForm {
    let instruction = turns.iter().rposition(|turn| turn.role == "user");
    let earlier = &turns[..instruction.unwrap_or(0)];
    let system = turns.iter().find(|turn| turn.role == "system").map_or("", |turn| &turn.content);
    let last_user = instruction.map_or("", |index| &turns[index].content);
    // Without an earlier answer, a user turn under a system message is the transcript of a conversation.
    let transcript = !system.is_empty() && !earlier.iter().any(|turn| turn.role == "assistant");
    let asks = |text: &str| text.contains(MARKER);
    if asks(system) || (asks(last_user) && !transcript) {
        let verdict = system.contains("[[A]]") || (last_user.contains("[[A]]") && !transcript);
        return if verdict { TextForm::Verdict } else { TextForm::Critique };
    }
    if transcript && asks(last_user) {
        return TextForm::Improvement { revision: revision_within(last_user) + 1 };
    }
    let mut answers = earlier.iter().rev().filter(|turn| turn.role == "assistant");
    match answers.next() {
        Some(critique) if asks(&critique.content) => {
            let revision = answers.next().map_or(0, |answer| revision_of(&answer.content));
            TextForm::Improvement { revision: revision + 1 }
        }
        _ if long => TextForm::LongAnswer,
        _ => TextForm::Answer,
    }
}

fn write_form(text: &mut String, form: TextForm, tokens: u64, malformed_rate: f64, draws: &mut Draws) {
    let malformed = draws.happens(malformed_rate);
    if let TextForm::Improvement { revision } = form {
        write_revision(text, revision);
    }
    let parts = if form == TextForm::LongAnswer { PARTS_OF_LONG_ANSWER } else { 1 };
    write_sentences(text, tokens * parts, draws);
    match form {
        TextForm::Answer | TextForm::Improvement { .. } => {}
        TextForm::LongAnswer => write_final_answer(text, tokens, malformed, draws),
        TextForm::Critique => write_rating(text, malformed, draws),
        TextForm::Verdict if malformed => text.push_str("\n\nBoth are as good as each other."),
        TextForm::Verdict => text.push_str(if draws.happens(0.5) { "\n\n[[A]]" } else { "\n\n[[B]]" }),
    }
}

fn write_rating(text: &mut String, malformed: bool, draws: &mut Draws) {
    if malformed {
        let unreadable = ["Rating: 7", "Rating: [[seven]]", "Rating: [[0]]", "Rating: [[11]]", "Rating: [8]"];
        text.push_str("\n\n");
        text.push_str(unreadable[draws.below(unreadable.len())]);
    } else {
        let rating = (6.0 + 2.0 * draws.normal()).round().clamp(1.0, 10.0);
        text.push_str(&format!("\n\nRating: [[{rating}]]"));
    }
}

fn write_final_answer(text: &mut String, tokens: u64, malformed: bool, draws: &mut Draws) {
    text.push_str(if malformed { "\n\nIn the end:\n\n" } else { "\n\nFinal answer:\n\n" });
    write_revision(text, 1);
    write_sentences(text, tokens, draws);
}

/// Cuts a text to a limit of tokens. The text is ASCII, so that any byte ends it well.
fn cut(mut text: String, limit_tokens: u64) -> GeneratedText {
    let tokens = token_count(&text);
    let cut_off = tokens > limit_tokens;
    if cut_off {
        let bytes = limit_tokens.saturating_mul(super::prose::BYTES_PER_TOKEN);
        text.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    GeneratedText { tokens: tokens.min(limit_tokens), text, cut_off }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATED: &str = "Good, but short.\n\nRating: [[6]]";

    fn turns<'a>(texts: &[(&'a str, &'a str)]) -> Vec<WireMessage<'a>> {
        texts
            .iter()
            .map(|(role, content)| WireMessage { role: (*role).into(), content: (*content).into() })
            .collect()
    }

    /// A name, a conversation, whether the model gives long answers, and the form expected.
    type ShapeCase<'a> = (&'a str, &'a [(&'a str, &'a str)], bool, TextForm);

    #[test]
    fn the_shape_of_a_request_tells_what_it_wants() {
        let first = ("user", "Why is the sky blue?");
        let answer = ("assistant", "Because.");
        let revised = ("assistant", "Revision 2. Because of light.");
        let ask = ("user", "Criticise the answer and end with Rating: [[n]].");
        let improve = ("user", "Now improve the answer.");
        let rated = ("assistant", RATED);
        let transcript = ("user", "Answer: Revision 1. So. Critique: Rating: [[6]]");
        let cases: &[ShapeCase<'_>] = &[
            ("draft", &[first], false, TextForm::Answer),
            ("draft under a system message", &[("system", "Be brief."), first], false, TextForm::Answer),
            ("second turn", &[first, answer, first], false, TextForm::Answer),
            ("long", &[first], true, TextForm::LongAnswer),
            ("critique", &[first, answer, ask], false, TextForm::Critique),
            ("critique asked of a long model", &[first, answer, ask], true, TextForm::Critique),
            ("improve", &[first, answer, ask, rated, improve], false, TextForm::Improvement { revision: 1 }),
            (
                "improve again",
                &[first, revised, ask, rated, improve],
                false,
                TextForm::Improvement { revision: 3 },
            ),
            ("single-turn critique", &[("system", "Rate: [[n]]"), transcript], false, TextForm::Critique),
            (
                "single-turn improve",
                &[("system", "Improve."), transcript],
                false,
                TextForm::Improvement { revision: 2 },
            ),
            ("pairwise", &[("user", "Say [[A]] or [[B]].")], false, TextForm::Verdict),
            ("nothing", &[], false, TextForm::Answer),
        ];
        for (name, texts, long, expected) in cases {
            assert_eq!(form_of(&turns(texts), *long), *expected, "{name}");
        }
    }

    fn written(options: &Options, seed: i128, choice: u64, limit_tokens: u64) -> GeneratedText {
        let turns = turns(&[("user", "Hi"), ("assistant", "Hello"), ("user", "Rating: [[n]]")]);
        let question = TextRequest { model: "m", turns: &turns, temperature: 0.7, seed, limit_tokens };
        write(&options.text, &question, &fingerprint(options, &question), choice)
    }

    #[test]
    fn answers_are_a_function_of_the_request() {
        let options = Options::default();
        let first = written(&options, 1, 0, 10_000);
        assert_eq!(first, written(&options, 1, 0, 10_000));
        assert_ne!(first, written(&options, 2, 0, 10_000));
        assert_ne!(first, written(&options, 1, 1, 10_000));
        assert_ne!(written(&options, 2, 0, 10_000), written(&options, 1, 1, 10_000));
        let other_cluster = Options { seed: 9, ..options };
        assert_ne!(first, written(&other_cluster, 1, 0, 10_000));
    }

    #[test]
    fn a_limit_cuts() {
        let cut = written(&Options::default(), 1, 0, 5);
        assert_eq!((cut.tokens, cut.text.len(), cut.cut_off), (5, 20, true));
    }

    #[test]
    fn mishaps_come_as_often_as_asked() {
        let options = Options::default();
        let all: Vec<_> = (0..4000).map(|seed| written(&options, seed, 0, 100_000)).collect();
        let share = |count: usize| count as f64 / all.len() as f64;
        let mean = all.iter().map(|written| written.tokens).sum::<u64>() as f64 / all.len() as f64;
        let unrated = all.iter().filter(|written| !written.text.contains("Rating: [[")).count();
        let empty = all.iter().filter(|written| written.text.is_empty()).count();
        let cut_off = all.iter().filter(|written| written.cut_off).count();
        assert!((260.0..310.0).contains(&mean), "mean length {mean}");
        assert!((0.01..0.06).contains(&share(unrated)), "unrated {unrated}");
        assert!((0.0005..0.006).contains(&share(empty)), "empty {empty}");
        assert!((0.002..0.01).contains(&share(cut_off)), "cut off {cut_off}");
    }
}
