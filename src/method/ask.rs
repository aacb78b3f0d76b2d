//! What is said to a model in each call, borrowed from the thread wherever it can be.

use std::borrow::Cow;

use serde::Serialize;

use super::{
    recipe::Shape,
    template::{TemplateError, Templates},
    template_form::{Shown, Values},
};
use crate::record::{Extra, Message, Role};

/// One turn of a request, in the shape of the chat completions API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChatTurn<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Cow<'a, str>,
}

impl<'a> ChatTurn<'a> {
    /// A turn that borrows its text.
    pub fn borrowed(role: Role, content: &'a str) -> Self {
        Self { role, content: Cow::Borrowed(content) }
    }

    fn owned(role: Role, content: String) -> Self {
        Self { role, content: Cow::Owned(content) }
    }
}

impl From<ChatTurn<'_>> for Message {
    fn from(turn: ChatTurn<'_>) -> Self {
        Self { role: turn.role, content: turn.content.into_owned(), extra: Extra::new() }
    }
}

/// Asks for `y0`: the conversation as it is.
pub fn draft(prompt: &[Message]) -> Vec<ChatTurn<'_>> {
    conversation(prompt)
}

/// Asks for `c_i`.
///
/// # Errors
/// In the single-turn shape, when the transcript's template fails on this conversation.
pub fn critique<'a>(
    templates: &'a Templates,
    shape: Shape,
    prompt: &'a [Message],
    answer: &'a str,
) -> Result<Vec<ChatTurn<'a>>, TemplateError> {
    match shape {
        Shape::MultiTurn => Ok(multi_turn_critique(templates, prompt, answer)),
        Shape::SingleTurn => {
            let values = Values { answer: Some(answer), ..Values::default() };
            let names = ("single_turn_critique_system", "single_turn_critique_user");
            single_turn(templates, names, &Shown { messages: prompt, values })
        }
    }
}

/// Asks for `y_ij`.
///
/// # Errors
/// In the single-turn shape, when the transcript's template fails on this conversation.
pub fn improve<'a>(
    templates: &'a Templates,
    shape: Shape,
    prompt: &'a [Message],
    answer: &'a str,
    critique: &'a str,
) -> Result<Vec<ChatTurn<'a>>, TemplateError> {
    match shape {
        Shape::MultiTurn => Ok(multi_turn_improve(templates, prompt, answer, critique)),
        Shape::SingleTurn => {
            let values = Values { answer: Some(answer), critique: Some(critique), ..Values::default() };
            let names = ("single_turn_improve_system", "single_turn_improve_user");
            single_turn(templates, names, &Shown { messages: prompt, values })
        }
    }
}

/// Asks for `r(y)`: the conversation and the answer to be scored.
pub fn reward<'a>(prompt: &'a [Message], answer: &'a str) -> Vec<ChatTurn<'a>> {
    answered(prompt, answer)
}

/// Asks for a long answer: the system message, if there is one, and the first message of the user. Models
/// trained on long records know no later turns.
pub fn long_answer(prompt: &[Message]) -> Vec<ChatTurn<'_>> {
    let system = prompt.iter().take_while(|message| message.role == Role::System).take(1);
    let first = prompt.iter().filter(|message| message.role == Role::User).take(1);
    system.chain(first).map(|message| ChatTurn::borrowed(message.role, &message.content)).collect()
}

/// Asks which of two answers is better.
///
/// # Errors
/// When the transcript's template fails on this conversation.
pub fn pairwise<'a>(
    templates: &'a Templates,
    prompt: &[Message],
    first: &str,
    second: &str,
) -> Result<Vec<ChatTurn<'a>>, TemplateError> {
    let values = Values { first: Some(first), second: Some(second), ..Values::default() };
    single_turn(templates, ("pairwise_system", "pairwise_user"), &Shown { messages: prompt, values })
}

/// Asks for one answer out of two and the text that compared them.
///
/// # Errors
/// When the transcript's template fails on this conversation.
pub fn fusion<'a>(
    templates: &'a Templates,
    prompt: &[Message],
    first: &str,
    second: &str,
    verdict: &str,
) -> Result<Vec<ChatTurn<'a>>, TemplateError> {
    let values =
        Values { first: Some(first), second: Some(second), verdict: Some(verdict), ..Values::default() };
    single_turn(templates, ("fusion_system", "fusion_user"), &Shown { messages: prompt, values })
}

/// The most turns that are ever added to a prompt.
const MOST_TURNS_ADDED: usize = 4;

fn conversation(prompt: &[Message]) -> Vec<ChatTurn<'_>> {
    let mut turns = Vec::with_capacity(prompt.len() + MOST_TURNS_ADDED);
    turns.extend(prompt.iter().map(|message| ChatTurn::borrowed(message.role, &message.content)));
    turns
}

fn answered<'a>(prompt: &'a [Message], answer: &'a str) -> Vec<ChatTurn<'a>> {
    let mut turns = conversation(prompt);
    turns.push(ChatTurn::borrowed(Role::Assistant, answer));
    turns
}

pub(super) fn multi_turn_critique<'a>(
    templates: &'a Templates,
    prompt: &'a [Message],
    answer: &'a str,
) -> Vec<ChatTurn<'a>> {
    let mut turns = answered(prompt, answer);
    turns.push(ChatTurn::borrowed(Role::User, templates.critique_instruction()));
    turns
}

pub(super) fn multi_turn_improve<'a>(
    templates: &'a Templates,
    prompt: &'a [Message],
    answer: &'a str,
    critique: &'a str,
) -> Vec<ChatTurn<'a>> {
    let mut turns = multi_turn_critique(templates, prompt, answer);
    turns.push(ChatTurn::borrowed(Role::Assistant, critique));
    turns.push(ChatTurn::borrowed(Role::User, templates.improve_instruction()));
    turns
}

fn single_turn<'a>(
    templates: &'a Templates,
    (system, user): (&'static str, &'static str),
    shown: &Shown<'_>,
) -> Result<Vec<ChatTurn<'a>>, TemplateError> {
    let transcript = templates.transcript(user, shown)?;
    Ok(vec![
        ChatTurn::borrowed(Role::System, templates.text(system)),
        ChatTurn::owned(Role::User, transcript),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt() -> Vec<Message> {
        vec![
            Message::system("be brief"),
            Message::user("one?"),
            Message::assistant("1"),
            Message::user("{{ two }} {% if %} [[3]]?"),
        ]
    }

    fn shown(turns: &[ChatTurn<'_>], templates: &Templates) -> String {
        let name = |content: &str| match content {
            text if text == templates.critique_instruction() => "CRITIQUE".to_owned(),
            text if text == templates.improve_instruction() => "IMPROVE".to_owned(),
            text => text.to_owned(),
        };
        let turns = turns.iter().map(|turn| format!("{:?}: {}", turn.role, name(&turn.content)));
        turns.collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn multi_turn_requests_go_on_with_the_conversation() {
        let (templates, prompt) = (Templates::builtin(), prompt());
        let start = "System: be brief | User: one? | Assistant: 1 | User: {{ two }} {% if %} [[3]]?";
        assert_eq!(shown(&draft(&prompt), &templates), start);
        assert_eq!(shown(&reward(&prompt, "y"), &templates), format!("{start} | Assistant: y"));
        let asked = critique(&templates, Shape::MultiTurn, &prompt, "y").expect("no template in it");
        assert_eq!(shown(&asked, &templates), format!("{start} | Assistant: y | User: CRITIQUE"));
        let asked = improve(&templates, Shape::MultiTurn, &prompt, "y", "c").expect("no template in it");
        let expected = format!("{start} | Assistant: y | User: CRITIQUE | Assistant: c | User: IMPROVE");
        assert_eq!(shown(&asked, &templates), expected);
        assert!(asked.iter().all(|turn| matches!(turn.content, Cow::Borrowed(_))));
    }

    #[test]
    fn single_turn_requests_show_everything_in_order_and_as_it_is() {
        let (templates, prompt) = (Templates::builtin(), prompt());
        let answer = "{{ answer }} <b>&</b>";
        let asked = improve(&templates, Shape::SingleTurn, &prompt, answer, "{% raw %}c").expect("renders");
        assert_eq!(asked.iter().map(|turn| turn.role).collect::<Vec<_>>(), [Role::System, Role::User]);
        let mut rest = &*asked[1].content;
        for part in ["be brief", "one?", "1", "{{ two }} {% if %} [[3]]?", answer, "{% raw %}c"] {
            (_, rest) = rest.split_once(part).expect(part);
        }
        let asked = critique(&templates, Shape::SingleTurn, &prompt, answer).expect("renders");
        assert!(asked[0].content.contains("[[") && asked[1].content.contains(answer));
    }

    #[test]
    fn a_long_answer_is_asked_for_with_the_first_message_only() {
        let prompt = prompt();
        let turns: Vec<_> = long_answer(&prompt).into_iter().map(Message::from).collect();
        assert_eq!(turns, prompt[..2]);
        assert_eq!(long_answer(&prompt[1..]).len(), 1);
    }

    #[test]
    fn a_turn_has_the_shape_of_the_api() {
        let turn = ChatTurn::borrowed(Role::User, "hi");
        assert_eq!(serde_json::to_string(&turn).expect("serialises"), r#"{"role":"user","content":"hi"}"#);
    }

    #[test]
    fn two_answers_are_compared_and_fused_in_the_order_given() {
        let (templates, prompt) = (Templates::builtin(), prompt());
        let compared = pairwise(&templates, &prompt, "ONE", "TWO").expect("renders");
        let fused = fusion(&templates, &prompt, "ONE", "TWO", "THREE").expect("renders");
        let places = |text: &str, words: &[&str]| words.iter().map(|w| text.find(w)).collect::<Vec<_>>();
        assert!(places(&compared[1].content, &["ONE", "TWO"]).is_sorted());
        let found = places(&fused[1].content, &["ONE", "TWO", "THREE"]);
        assert!(found.iter().all(Option::is_some) && found.is_sorted());
    }
}
