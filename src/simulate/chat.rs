//! `POST /v1/chat/completions`.

use super::{
    answer::{GeneratedText, TextRequest, fingerprint, write},
    prose::token_count,
    protocol::{
        ErrorReply, WireAnswer, WireChatCompletion, WireChatRequest, WireChoice, WireMessage, WireUsage,
        to_json,
    },
    state::{PreparedAnswer, Replica},
};

/// Choices of one request at most.
const MAX_CHOICES: i64 = 1024;

/// Tokens that a template adds to each turn.
const TOKENS_PER_TURN: u64 = 4;

/// Answers a request whose body is `body`.
pub(super) async fn answer(
    replica: &Replica,
    request_id: Option<&str>,
    body: &[u8],
) -> Result<PreparedAnswer, ErrorReply> {
    let (ready, lengths) = write_answer(replica, request_id, body)?;
    if let Some(batcher) = &replica.batcher {
        batcher.generate(lengths, ready.prompt_tokens).await;
    }
    Ok(ready)
}

/// The answer as it will go out, and the length of each choice.
fn write_answer(
    replica: &Replica,
    request_id: Option<&str>,
    body: &[u8],
) -> Result<(PreparedAnswer, Vec<u64>), ErrorReply> {
    let options = &replica.shared.options;
    let request: WireChatRequest<'_> =
        serde_json::from_slice(body).map_err(|error| ErrorReply::schema(&error))?;
    let model = served_model(replica, request.model.as_deref())?;
    let turns = conversation(request.messages.as_deref())?;
    let choices = check_sampling(&request)?.min(u64::from(options.most_choices));
    let prompt_tokens = prompt_tokens(turns);
    let limit_tokens = limit(&request, prompt_tokens, options.max_model_len)?;
    let (temperature, seed) = (request.temperature.unwrap_or(1.0), request.seed.unwrap_or(0));
    let question = TextRequest { model, turns, temperature, seed, limit_tokens };
    let fingerprint = fingerprint(options, &question);
    let written: Vec<_> =
        (0..choices).map(|choice| write(&options.text, &question, &fingerprint, choice)).collect();
    let lengths: Vec<_> = written.iter().map(|written| written.tokens).collect();
    let usage = WireUsage::new(prompt_tokens, lengths.iter().sum());
    let ready = PreparedAnswer {
        body: encode(request_id, replica.shared.created, model, &written, usage),
        prompt_tokens,
        completion_tokens: usage.completion_tokens,
        cut_off: written.iter().any(|written| written.cut_off),
    };
    Ok((ready, lengths))
}

fn encode(
    request_id: Option<&str>,
    created: u64,
    model: &str,
    written: &[GeneratedText],
    usage: WireUsage,
) -> Vec<u8> {
    let id = format!("chatcmpl-{}", request_id.unwrap_or("simulated"));
    let choices = written.iter().enumerate().map(|(index, written)| WireChoice {
        index,
        message: WireAnswer { role: "assistant", content: &written.text, refusal: None, reasoning: None },
        logprobs: None,
        finish_reason: if written.cut_off { "length" } else { "stop" },
        stop_reason: None,
    });
    let choices = choices.collect();
    to_json(&WireChatCompletion { id: &id, object: "chat.completion", created, model, choices, usage })
}

/// The model asked for, if it is served here.
fn served_model<'a>(replica: &'a Replica, asked: Option<&'a str>) -> Result<&'a str, ErrorReply> {
    let served = replica.model();
    match asked {
        None => Ok(served),
        Some(asked) if asked.strip_suffix("-long").unwrap_or(asked) == served || asked == served => Ok(asked),
        Some(asked) => Err(ErrorReply::unknown_model(asked, served)),
    }
}

/// A conversation that has at least one turn.
pub(super) fn conversation<'a>(
    turns: Option<&'a [WireMessage<'a>]>,
) -> Result<&'a [WireMessage<'a>], ErrorReply> {
    match turns {
        None => Err(ErrorReply::validation("body.messages", "missing", "Field required")),
        Some([]) => Err(ErrorReply::bad_request(
            None,
            "Cannot apply chat template to an empty conversation. Provide at least one message.",
        )),
        Some(turns) => Ok(turns),
    }
}

/// How many tokens a conversation counts as.
pub(super) fn prompt_tokens(turns: &[WireMessage<'_>]) -> u64 {
    turns.iter().map(|turn| TOKENS_PER_TURN + token_count(&turn.content)).sum()
}

/// The number of choices, if the sampling asked for makes sense.
fn check_sampling(request: &WireChatRequest<'_>) -> Result<u64, ErrorReply> {
    let temperature = request.temperature.unwrap_or(1.0);
    let top_p = request.top_p.unwrap_or(1.0);
    let choices = request.n.unwrap_or(1);
    let bad = |parameter, message: String| Err(ErrorReply::bad_request(parameter, message));
    if request.seed.is_some_and(|seed| seed > i128::from(i64::MAX)) {
        let message = "Input should be less than or equal to 9223372036854775807";
        return Err(ErrorReply::validation("body.seed", "less_than_equal", message));
    }
    if !(0.0..=2.0).contains(&temperature) {
        return bad(Some("temperature"), format!("temperature must be in [0, 2], got {temperature:?}."));
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        return bad(Some("top_p"), format!("top_p must be in (0, 1], got {top_p:?}."));
    }
    if request.stream == Some(true) {
        return bad(Some("stream"), "simulated models do not stream; ask without stream".to_owned());
    }
    match choices {
        ..=0 => bad(None, format!("n must be at least 1, got {choices}.")),
        2.. if temperature == 0.0 => {
            bad(None, format!("n must be 1 when using greedy sampling, got {choices}."))
        }
        _ if choices > MAX_CHOICES => bad(None, format!("n must be at most {MAX_CHOICES}, got {choices}.")),
        _ => Ok(choices.unsigned_abs()),
    }
}

/// How long the answer may be: what is left of the context, or less if the request says so.
fn limit(request: &WireChatRequest<'_>, prompt_tokens: u64, max_model_len: u64) -> Result<u64, ErrorReply> {
    let Some(left) = max_model_len.checked_sub(prompt_tokens).filter(|left| *left > 0) else {
        return Err(ErrorReply::too_long(max_model_len));
    };
    let Some(asked) = request.max_completion_tokens.or(request.max_tokens) else { return Ok(left) };
    let message = match u64::try_from(asked) {
        Ok(tokens) if (1..=max_model_len).contains(&tokens) => return Ok(left.min(tokens)),
        Ok(0) | Err(_) => format!("max_tokens must be at least 1, got {asked}."),
        Ok(_) => format!(
            "max_tokens={asked} cannot be greater than max_model_len={max_model_len}. Please request fewer \
             output tokens."
        ),
    };
    let message = format!("{message} (parameter=max_tokens, value={asked})");
    Err(ErrorReply::bad_request(Some("max_tokens"), message))
}
