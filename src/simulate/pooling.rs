//! `POST /pooling`: the reward of one conversation.

use tokio::time::sleep;

use super::{
    chat::{conversation, prompt_tokens},
    protocol::{ErrorReply, WirePooling, WirePoolingEntry, WirePoolingRequest, WireUsage, to_json},
    reward::{reward, sigmoid},
    state::{PreparedAnswer, Replica},
};

/// Answers a request whose body is `body`.
pub(super) async fn answer(
    replica: &Replica,
    request_id: Option<&str>,
    body: &[u8],
) -> Result<PreparedAnswer, ErrorReply> {
    let ready = score(replica, request_id, body)?;
    let latency = replica.shared.options.timing.reward_latency();
    if !latency.is_zero() {
        sleep(latency).await;
    }
    Ok(ready)
}

fn score(replica: &Replica, request_id: Option<&str>, body: &[u8]) -> Result<PreparedAnswer, ErrorReply> {
    let options = &replica.shared.options;
    let request: WirePoolingRequest<'_> =
        serde_json::from_slice(body).map_err(|error| ErrorReply::schema(&error))?;
    let model = request.model.as_deref().unwrap_or(replica.model());
    if model != replica.model() {
        return Err(ErrorReply::unknown_model(model, replica.model()));
    }
    let turns = conversation(request.messages.as_deref())?;
    let prompt_tokens = prompt_tokens(turns);
    if prompt_tokens > options.max_model_len {
        return Err(ErrorReply::too_long(options.max_model_len));
    }
    let reward = reward(options, turns);
    let reward = if request.use_activation == Some(false) { reward } else { sigmoid(reward) };
    let answer = WirePooling {
        id: &format!("pooling-{}", request_id.unwrap_or("simulated")),
        object: "list",
        created: replica.shared.created,
        model,
        data: [WirePoolingEntry { index: 0, object: "pooling", data: [reward] }],
        usage: WireUsage::new(prompt_tokens, 0),
    };
    Ok(PreparedAnswer { body: to_json(&answer), prompt_tokens, completion_tokens: 0, cut_off: false })
}
