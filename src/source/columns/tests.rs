use proptest::prelude::*;

use super::*;
use crate::source::json_value::MAX_ELEMENTS;

/// A prompt as `role: text` lines, the answer after `=>`, the id before `#`.
fn shown(line: &str) -> String {
    match parse(line.as_bytes()) {
        Ok(prompt) => {
            let id = prompt.id.map_or(String::new(), |id| format!("{id}# "));
            let turn = |turn: &Message| format!("{:?}: {}", turn.role, turn.content);
            let turns: Vec<_> = prompt.messages.iter().map(turn).collect();
            let answer = prompt.answer.map_or(String::new(), |text| format!(" => {text}"));
            format!("{id}{}{answer}", turns.join(" | "))
        }
        Err(reason) => format!("{}: {reason}", reason.as_str()),
    }
}

#[test]
fn every_shape_is_known_by_its_columns() {
    let cases = [
        (r#"{"prompt":"q"}"#, "User: q"),
        (r#" {"prompt":"q","score":[1,{"a":null}]} "#, "User: q"),
        (r#"{"prompt":"q","chosen":null,"messages":null}"#, "User: q"),
        (r#"{"prompt":[{"role":"user","content":"q"}]}"#, "User: q"),
        (r#"{"prompt":"q","chosen":"a","rejected":"b"}"#, "User: q => a"),
        (r#"{"prompt":"q","chosen":[]}"#, "User: q"),
        (
            r#"{"prompt_id":"f0","prompt":"q","chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"source":"s"}"#,
            "f0# User: q => a",
        ),
        (
            r#"{"prompt":"late","chosen":[{"role":"system","content":"s"},{"role":"user","content":"q"}]}"#,
            "System: s | User: q",
        ),
        (
            r#"{"prompt":[{"role":"system","content":"s"},{"role":"user","content":"q"}],"chosen":[{"role":"assistant","content":"a"}]}"#,
            "System: s | User: q => a",
        ),
        (r#"{"chosen":[{"role":"user","content":"q"}]}"#, "User: q"),
        (r#"{"messages":[{"role":"user","content":"q"}],"prompt":"other"}"#, "User: q"),
        (
            r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"},{"role":"user","content":"r"},{"role":"assistant","content":""}]}"#,
            "User: q | Assistant: a | User: r => ",
        ),
        (r#"{"instruction":"do","input":"this","output":"done"}"#, "User: do\n\nthis => done"),
        (r#"{"instruction":"do","input":" ","output":""}"#, "User: do"),
        (r#"{"instruction":"do"}"#, "User: do"),
        (
            r#"{"id":7,"conversations":[{"from":"system","value":"s"},{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}"#,
            "7# System: s | User: q => a",
        ),
        (r#"{"conversations":[{"from":null,"role":"user","content":"q","value":null}]}"#, "User: q"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"one"},{"type":"text","text":"two"}]}]}"#,
            "User: one\ntwo",
        ),
        (r#"{"prompt":"a \u00e9 \ud83d\ude00"}"#, "User: a é 😀"),
    ];
    for (line, expected) in cases {
        assert_eq!(shown(line), expected, "{line}");
    }
}

#[test]
fn ids_are_strings_or_integers() {
    let cases = [
        (r#""a b""#, "a b# User: q"),
        ("12345678901234567890", "12345678901234567890# User: q"),
        ("-3", "-3# User: q"),
        ("null", "User: q"),
    ];
    for (id, expected) in cases {
        assert_eq!(shown(&format!(r#"{{"prompt":"q","id":{id}}}"#)), expected, "{id}");
    }
    assert_eq!(shown(r#"{"prompt":"q","id":"b","prompt_id":"a"}"#), "a# User: q");
    let long = format!(r#""{}""#, "x".repeat(MAX_ID_BYTES + 1));
    for id in [r#""""#, r#"" ""#, "1.0", "1e3", "true", "[1]", "{}", r#""a\nb""#, long.as_str()] {
        let found = shown(&format!(r#"{{"prompt":"q","id":{id}}}"#));
        assert!(found.starts_with("invalid_id: "), "{id}: {found}");
    }
}

#[test]
fn every_reason_has_a_line_and_says_what_to_do() {
    let cases = [
        ("nonsense", "not_json: not JSON (expected ident"),
        (r#"{"prompt":"q""#, "not_json: not JSON (EOF"),
        (r#"{"prompt":"q"} {"prompt":"r"}"#, "not_json: not JSON (trailing"),
        (r#"{"prompt":"\ud800"}"#, "not_json: not JSON ("),
        (r#"{"prompt":"q","prompt":"r"}"#, "not_json: not JSON (duplicate field `prompt`"),
        (r#"["prompt"]"#, "not_an_object: a list where"),
        ("3", "not_an_object: a number where"),
        (r#"{"question":"q","answer":"a"}"#, "no_known_columns: no known columns among: question, answer;"),
        (r#"{"output":"a","input":"q"}"#, "no_known_columns: no known columns among: output, input;"),
        ("{}", "no_known_columns: no known columns among: (none);"),
        (r#"{"prompt":""}"#, "empty_prompt: empty prompt (turn 1)"),
        (r#"{"prompt":" \n\u00a0"}"#, "empty_prompt: "),
        (r#"{"instruction":"","input":""}"#, "empty_prompt: "),
        (r#"{"messages":[]}"#, "no_user_turn: no user turn"),
        (r#"{"messages":[{"role":"system","content":"s"}]}"#, "no_user_turn: "),
        (r#"{"messages":[{"role":"assistant","content":"a"}]}"#, "no_user_turn: "),
        (
            r#"{"messages":[{"role":"user","content":"q"},{"role":"user","content":"r"}]}"#,
            "roles_do_not_alternate: roles do not alternate: turn 2 is user, expected assistant;",
        ),
        (
            r#"{"messages":[{"role":"system","content":"s"},{"role":"system","content":"t"},{"role":"user","content":"q"}]}"#,
            "roles_do_not_alternate: roles do not alternate: turn 2 is system, expected user;",
        ),
        (
            r#"{"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"q"}]}"#,
            "roles_do_not_alternate: roles do not alternate: turn 1 is assistant",
        ),
        (
            r#"{"messages":[{"role":"user","content":"q"},{"role":"tool","content":"t"}]}"#,
            "unknown_role: unknown role \"tool\" (turn 2)",
        ),
        (r#"{"messages":[{"content":"q"}]}"#, "unknown_role: unknown role \"null\""),
        (r#"{"messages":[{"role":"user"}]}"#, "content_not_text: content of turn 1 is missing"),
        (r#"{"messages":[{"role":"user","content":3}]}"#, "content_not_text: content of turn 1 is a number"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}"#,
            "content_not_text: content of turn 1 is a list with a part of type \"image_url\"",
        ),
        (
            r#"{"messages":[{"role":"user","content":["text",["q"]]}]}"#,
            "content_not_text: content of turn 1 is a list of something",
        ),
        (
            r#"{"messages":[{"role":"user","content":[["text","q"]]}]}"#,
            "content_not_text: content of turn 1 is a list of lists",
        ),
        (r#"{"prompt":3}"#, "bad_column: column prompt: a number where a string should be"),
        (r#"{"messages":"q"}"#, "bad_column: column messages: a string where a list should be"),
        (r#"{"messages":["q"]}"#, "bad_column: column messages: turn 1 is a string, not an object"),
        (r#"{"messages":[["user","q"]]}"#, "bad_column: column messages: turn 1 is a list, not an object"),
        (r#"{"instruction":"do","output":1}"#, "bad_column: column output: a number"),
    ];
    for (line, expected) in cases {
        let found = shown(line);
        assert!(found.starts_with(expected), "{line}\n  gives {found}");
    }
}

#[test]
fn text_that_is_not_unicode_is_refused_with_its_place() {
    assert_eq!(parse(b"{\"prompt\":\"a\xff\"}"), Err(RejectReason::InvalidUtf8 { at: 12 }));
}

#[test]
fn a_list_without_end_is_refused_before_it_fills_memory() {
    let line = format!(r#"{{"messages":[{}{{}}]}}"#, "{},".repeat(MAX_ELEMENTS));
    assert!(shown(&line).starts_with("bad_column: column messages: more than 4096 elements"));
    let deep = format!(r#"{{"prompt":{}}}"#, "[".repeat(100_000));
    assert!(shown(&deep).starts_with("not_json: "));
}

#[test]
fn the_known_columns_are_those_that_are_read() {
    let line = |column: &str| format!(r#"{{"{column}":1,"{column}":2}}"#);
    for column in KNOWN_COLUMNS {
        assert!(shown(&line(column)).contains("duplicate field"), "{column}");
    }
    assert!(!shown(&line("rejected")).contains("duplicate field"));
}

/// Bytes that come close to a line: pieces of the grammar in any order, with noise between them.
fn near_lines() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(
            &[
                "{",
                "}",
                "[",
                "]",
                ":",
                ",",
                "\"",
                "\\",
                "null",
                "1",
                "1e999",
                "\"prompt\"",
                "\"messages\"",
                "\"role\"",
                "\"user\"",
                "\"content\"",
                "\"chosen\"",
                "\"id\"",
                "\"type\"",
                "\"text\"",
                "\\ud800",
            ][..]
        )
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn conversations() -> impl Strategy<Value = Vec<(bool, String)>> {
    prop::collection::vec((any::<bool>(), "[a-z ]{0,3}"), 0..6)
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(line in near_lines()) {
        if let Err(reason) = parse(&line) {
            prop_assert!(!reason.to_string().is_empty());
        }
    }

    #[test]
    fn what_is_accepted_alternates_and_ends_with_a_question(turns in conversations()) {
        let turns: Vec<Message> = turns
            .into_iter()
            .map(|(user, text)| if user { Message::user(text) } else { Message::assistant(text) })
            .collect();
        let line = serde_json::json!({ "messages": turns }).to_string();
        let fits = turns.iter().enumerate().all(|(index, turn)| {
            let user = index % 2 == 0;
            (turn.role == Role::User) == user && (!user || !turn.content.trim().is_empty())
        });
        match parse(line.as_bytes()) {
            Ok(prompt) => {
                prop_assert!(fits && !turns.is_empty());
                let mut whole = prompt.messages;
                prop_assert_eq!(whole.last().map(|turn| turn.role), Some(Role::User));
                whole.extend(prompt.answer.map(Message::assistant));
                prop_assert_eq!(whole, turns);
            }
            Err(_) => prop_assert!(!fits || turns.is_empty()),
        }
    }
}
