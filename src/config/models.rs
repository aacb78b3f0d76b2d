//! The sections `models.generator`, `models.long` and `models.reward`.

use std::{path::Path, time::Duration};

use super::Section;
use crate::model::{ModelOptions, RewardKind, Secret};

const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Reads what all models have in common. URLs and the model's name may be missing here; whether they are needed
/// depends on the command.
///
/// `reserved` are the fields of a request that avr sets itself.
pub(super) fn read(section: &mut Section<'_>, role: &str, reserved: &[&str]) -> ModelOptions {
    let defaults = ModelOptions::new(role, &[], "");
    ModelOptions {
        urls: urls(section),
        model: section.optional_text("model").unwrap_or_default(),
        api_key: api_key(section),
        path: section.optional_text("path"),
        extra: extra(section, reserved),
        max_in_flight: section.count("max_in_flight", defaults.max_in_flight, 1..=65_536),
        timeout: section.seconds("timeout_s", defaults.timeout, LONGEST),
        connect_timeout: section.seconds("connect_timeout_s", defaults.connect_timeout, LONGEST),
        max_retries_while_healthy: limit(
            section,
            "max_retries_while_healthy",
            defaults.max_retries_while_healthy,
            1,
        ),
        stop_after_refusals: limit(section, "stop_after_refusals", defaults.stop_after_refusals, 0),
        max_answer_bytes: section.count("max_answer_bytes", defaults.max_answer_bytes, 1024..=1 << 30),
        ..defaults
    }
}

fn limit(section: &mut Section<'_>, name: &'static str, default: u32, least: u64) -> u32 {
    let number = section.number(name, default.into(), least..=u32::MAX.into());
    u32::try_from(number).unwrap_or(default)
}

/// Reads how many long answers may be asked for in one request.
pub(super) fn samples_per_request(section: &mut Section<'_>) -> u32 {
    u32::try_from(section.number("samples_per_request", 1, 1..=100)).unwrap_or(1)
}

/// Reads which of the reward servers' faces to talk to.
pub(super) fn reward_kind(section: &mut Section<'_>) -> RewardKind {
    section.choice("kind", RewardKind::Pooling)
}

/// The fields to add to each request.
fn extra(section: &mut Section<'_>, reserved: &[&str]) -> serde_json::Map<String, serde_json::Value> {
    let extra = section.free_table("extra");
    for field in reserved.iter().filter(|field| extra.contains_key(**field)) {
        section.mistake("extra", format!("the field {field:?} is set by avr itself; remove it"));
    }
    extra
}

fn urls(section: &mut Section<'_>) -> Vec<String> {
    let urls = section.texts_shown("urls", without_password);
    for url in &urls {
        let is_http = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_http {
            section.mistake(
                "urls",
                format!(
                    "{:?} is not an http or https URL, for instance \"http://127.0.0.1:8000\"",
                    without_password(url)
                ),
            );
        }
    }
    urls
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            // A URL that has a password can have another.
            let _ = parsed.set_password(Some("***"));
            parsed.into()
        }
        _ => url.to_owned(),
    }
}

fn api_key(section: &mut Section<'_>) -> Option<Secret> {
    if section.has("api_key") {
        section.know("api_key");
        section.mistake(
            "api_key",
            "keys do not belong in files; name a variable with api_key_env or a file with api_key_file",
        );
    }
    let (variable, file) = (section.optional_text("api_key_env"), section.optional_text("api_key_file"));
    let (name, read) = match (variable, file) {
        (None, None) => return None,
        (Some(_), Some(_)) => {
            section.mistake("api_key_env", "api_key_file is given too; give one of them");
            return None;
        }
        (Some(variable), None) => ("api_key_env", Secret::from_env(&variable)),
        (None, Some(file)) => ("api_key_file", Secret::from_file(Path::new(&file))),
    };
    read.map_err(|error| section.mistake(name, error.to_string())).ok()
}
