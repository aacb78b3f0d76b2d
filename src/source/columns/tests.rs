use proptest::prelude::*;

use super::*;
use crate::source::json_value::MAX_ELEMENTS;

/// A prompt as `role: text` lines, the answer after `=>`, the id before `#`.
fn shown(line: &str) -> String {
    shown_with(&Columns::default(), line)
}

fn shown_with(columns: &Columns, line: &str) -> String {
    match parse(line.as_bytes(), columns) {
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

/// The shapes of data sets that many people have, with what each must give.
#[test]
fn popular_data_sets_are_read_as_published() {
    let cases = [
        // Alpaca with LLaMA-Factory's columns.
        (
            r#"{"id":"a","system":"Answer in French.","instruction":"Say hello","input":"","output":"Bonjour"}"#,
            "a# System: Answer in French. | User: Say hello => Bonjour",
        ),
        (
            r#"{"instruction":"And its capital?","input":"","output":"Vienna","history":[["Name a country","Austria"]]}"#,
            "User: Name a country | Assistant: Austria | User: And its capital? => Vienna",
        ),
        (r#"{"instruction":"","input":"q","output":"a"}"#, "User: q => a"),
        // ShareGPT, OpenHermes.
        (r#"{"system":"s","conversations":[{"from":"human","value":"q"}]}"#, "System: s | User: q"),
        (
            r#"{"id":"","system_prompt":null,"conversations":[{"from":"system","value":"s"},{"from":"human","value":"q","weight":null},{"from":"gpt","value":"a"}]}"#,
            "System: s | User: q => a",
        ),
        (
            r#"{"conversations":[{"from":"human","value":"q"}],"chosen":{"from":"gpt","value":"a"},"rejected":{"from":"gpt","value":"b"}}"#,
            "User: q => a",
        ),
        (
            r#"{"conversations":[{"from":"User","value":"q"},{"from":"chatgpt","value":"a"},{"from":"HUMAN","value":"r"},{"from":"bot","value":"b"}]}"#,
            "User: q | Assistant: a | User: r => b",
        ),
        // TRL.
        (r#"{"prompt":"q","completion":"a"}"#, "User: q => a"),
        (
            r#"{"prompt":[{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}],"label":false}"#,
            "User: q => a",
        ),
        // OpenOrca, Intel's DPO pairs, distilabel's.
        (r#"{"id":"niv.1","system_prompt":"","question":"q","response":"a"}"#, "niv.1# User: q => a"),
        (r#"{"system":"s","question":"q","chosen":"a","rejected":"b"}"#, "System: s | User: q => a"),
        (r#"{"system":"s","input":"q","chosen":"a","rejected":"b"}"#, "System: s | User: q => a"),
        // Dolly, SQuAD, GSM8K, MetaMath, NuminaMath, FLAN, HelpSteer.
        (r#"{"instruction":"q","context":"c","response":"a","category":"closed_qa"}"#, "User: q\n\nc => a"),
        (
            r#"{"id":"5","title":"t","context":"c","question":"q","answers":{"text":["a","b"],"answer_start":[1,2]}}"#,
            "5# User: c\n\nq => a",
        ),
        (r#"{"question":"q","answer":"a #### 4"}"#, "User: q => a #### 4"),
        (r#"{"problem":"q","answer":204}"#, "User: q => 204"),
        (r#"{"query":"q","response":"a","type":"GSM_SV","original_question":"o"}"#, "User: q => a"),
        (r#"{"inputs":"q","targets":"a"}"#, "User: q => a"),
        (r#"{"prompt":"q","response":"a","helpfulness":3}"#, "User: q => a"),
        (r#"{"context":[{"role":"user","content":"q"}],"response1":"a","response2":"b"}"#, "User: q"),
        // hh-rlhf as published, and with the prompt apart; Nectar; Guanaco.
        (
            r#"{"chosen":"\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: b","rejected":"c"}"#,
            "User: q | Assistant: a | User: r => b",
        ),
        (r#"{"prompt":"\n\nHuman: q\n\nAssistant:","chosen":"a","rejected":"c"}"#, "User: q => a"),
        (
            r#"{"prompt":"\n\nHuman: q\n\nAssistant: ","answers":[{"answer":"b","model":"m","rank":2.0},{"answer":"a","model":"n","rank":1.0}],"turns":1}"#,
            "User: q => a",
        ),
        (r####"{"text":"### Human: q### Assistant: a"}"####, "User: q => a"),
        // LIMA, Tulu, LMSYS and WildChat, Capybara, MT-Bench, Arena-Hard.
        (r#"{"conversations":["q","a","r"],"source":"s"}"#, "User: q | Assistant: a | User: r"),
        (
            r#"{"id":"t","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#,
            "t# User: q => a",
        ),
        (
            r#"{"conversation":[{"content":"q","role":"user","toxic":false,"state":NaN},{"content":"a","role":"assistant"}],"turn":1}"#,
            "User: q => a",
        ),
        (
            r#"{"conversation":[{"input":"q","output":"a"},{"input":"r","output":""}]}"#,
            "User: q | Assistant: a | User: r",
        ),
        (r#"{"question_id":81,"turns":["q"]}"#, "User: q"),
        (r#"{"turns":[{"content":"q"}]}"#, "User: q"),
        // Gemini's and OpenAI's roles.
        (
            r#"{"messages":[{"role":"developer","content":"s"},{"role":"user","content":"q"},{"role":"model","content":"a"}],"tools":[]}"#,
            "System: s | User: q => a",
        ),
        // OASST: a tree, and a row of one.
        (r#"{"prompt":{"text":"q","role":"prompter","replies":[{"text":"a"}]}}"#, "User: q"),
        (r#"{"message_id":"m","parent_id":null,"text":"q","role":"prompter"}"#, "User: q"),
        // UltraFeedback as it was first published, and mixes of preferences.
        (r#"{"instruction":"q","completions":[{"response":"a"}],"models":["m"]}"#, "User: q"),
        (
            r#"{"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"rejected":[],"prompt":"q","question":"q"}"#,
            "User: q => a",
        ),
        (
            r#"{"prompt":[{"role":"system","content":"s"},{"role":"user","content":"q"}],"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#,
            "System: s | User: q => a",
        ),
        (
            r#"{"prompt":[{"role":"user","content":"q"},{"role":"assistant","content":"a"},{"role":"user","content":"r"}],"chosen":[{"role":"user","content":"r"},{"role":"assistant","content":"b"}]}"#,
            "User: q | Assistant: a | User: r => b",
        ),
        // SHP; a table's lists; JSON within a text.
        (r#"{"history":"q","human_ref_A":"a","labels":1}"#, "User: q"),
        (r#"{"messages":{"role":["user","assistant"],"content":["q","a"]}}"#, "User: q => a"),
        (r#"{"messages":"[{\"role\":\"user\",\"content\":\"q\"}]"}"#, "User: q"),
    ];
    for (line, expected) in cases {
        assert_eq!(shown(line), expected, "{line}");
    }
}

#[test]
fn other_columns_can_be_named() {
    let names = [
        (ColumnUse::Prompt, "task"),
        (ColumnUse::Answer, "best.text"),
        (ColumnUse::Id, "key"),
        (ColumnUse::System, "sys"),
    ];
    let columns = Columns::named(names.map(|(of, name)| (of, name.to_owned())));
    let line =
        r#"{"task":"q","best":{"text":"a"},"key":1.5,"sys":"s","prompt":"other","messages":3,"chosen":"c"}"#;
    assert_eq!(shown_with(&columns, line), "1.5# System: s | User: q => a");
    let found = shown_with(&columns, r#"{"prompt":"q"}"#);
    assert!(found.starts_with("no_known_columns: no known columns among: prompt;"), "{found}");
    let none = Columns::named([(ColumnUse::Answer, String::new())]);
    assert_eq!(shown_with(&none, r#"{"prompt":"q","chosen":"a"}"#), "User: q");
}

#[test]
fn columns_that_nobody_reads_are_not_judged() {
    for unread in
        [r#""score":NaN"#, r#""score":-Infinity"#, r#""note":"broken \ud83d""#, r#""x":{"y":[nan, 1e999]}"#]
    {
        assert_eq!(shown(&format!(r#"{{"prompt":"q",{unread},"id":NaN}}"#)), "User: q", "{unread}");
    }
    let found = parse(b"{\"note\":\"\xff\",\"prompt\":\"q\"}", &Columns::default());
    assert_eq!(found.map(|prompt| prompt.messages), Ok(vec![Message::user("q")]));
    let found = shown(r#"{"prompt":"broken \ud83d emoji"}"#);
    assert!(found.starts_with("not_json: not JSON (column prompt: "), "{found}");
}

#[test]
fn ids_of_every_simple_type_are_texts() {
    let cases = [
        (r#""a b""#, "a b# User: q"),
        ("12345678901234567890", "12345678901234567890# User: q"),
        ("-3", "-3# User: q"),
        ("1.0", "1.0# User: q"),
        ("1e3", "1e3# User: q"),
        ("true", "true# User: q"),
        ("null", "User: q"),
        ("NaN", "User: q"),
        (r#"" ""#, "User: q"),
    ];
    for (id, expected) in cases {
        assert_eq!(shown(&format!(r#"{{"prompt":"q","id":{id}}}"#)), expected, "{id}");
    }
    assert_eq!(shown(r#"{"prompt":"q","id":"b","prompt_id":"a"}"#), "a# User: q");
    let long = format!(r#""{}""#, "x".repeat(MAX_ID_BYTES + 1));
    for id in ["[1]", "{}", r#""a\nb""#, long.as_str()] {
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
        (r#"{"page":"q","reply":"a"}"#, "no_known_columns: no known columns among: page, reply;"),
        (r#"{"output":"a","score":1}"#, "no_known_columns: no known columns among: output, score;"),
        (r#"{"text":"Once upon a time"}"#, "no_known_columns: no known columns among: text;"),
        (r#"{"prompt":"q","images":["a.png"]}"#, "bad_column: column images: only text is read"),
        (r#"{"messages":[{"role":"user","content":"q"}],"tools":"[{}]"}"#, "bad_column: column tools: "),
        (
            r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{}]}]}"#,
            "content_not_text: content of turn 2 is a call of a tool",
        ),
        (
            r#"{"system":"t","messages":[{"role":"system","content":"s"},{"role":"user","content":"q"}]}"#,
            "bad_column: column system: another text than",
        ),
        (r#"{"turns":["q","r"]}"#, "bad_column: column turns: several questions"),
        (r#"{"parent_id":"m","text":"a","role":"assistant"}"#, "bad_column: column parent_id: a reply"),
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
        (r#"{"messages":[3]}"#, "bad_column: column messages: turn 1 is a number, not an object"),
        (r#"{"messages":[["q"]]}"#, "bad_column: column messages: turn 1 is a list, not an object"),
        (r#"{"instruction":"do","output":{"a":1}}"#, "bad_column: column output: an object"),
    ];
    for (line, expected) in cases {
        let found = shown(line);
        assert!(found.starts_with(expected), "{line}\n  gives {found}");
    }
}

#[test]
fn text_that_is_not_unicode_is_refused_with_its_place() {
    assert_eq!(
        parse(b"{\"prompt\":\"a\xff\"}", &Columns::default()),
        Err(RejectReason::InvalidUtf8 { at: 12 })
    );
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
    let known =
        [&CONVERSATION[..], &PROMPT, &ANSWER, &SYSTEM, &ID, &NOT_TEXT, &["context", "history"]].concat();
    for column in known {
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
        if let Err(reason) = parse(&line, &Columns::default()) {
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
        match parse(line.as_bytes(), &Columns::default()) {
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
