//! The text that the engine commits with an offset: the completed set beyond the prefix, and a checkpoint.
//!
//! The log keeps one string for each partition of a group, [`MAX_PROGRESS_TEXT`] long at most. It is
//!
//! ```text
//!   avr1:<form><payload>:<check>:<checkpoint>
//! ```
//!
//! - *form* is `r` for run lengths or `b` for a bit map, in capitals where the payload is compressed: the shortest
//!   of the four is taken. *payload* is base64 (URL alphabet, no padding); empty for an empty set.
//! - *check* is a hash over offset, form, payload and checkpoint. Text that some other program wrote is `Foreign`, text
//!   of a later version of avr is `Newer`, a bad check is `Corrupt`; none of them is ever misread.
//! - *checkpoint* is free text of the stage that wrote it (the exporter keeps the lengths of its files there).
//!
//! The set is bounded before it is written: [`has_room`] says whether one more step may start without any
//! order of completion making the text too long. How far steps may get beyond one that is stuck depends on what is
//! done of them:
//!
//! | done beyond the stuck one | steps started | of them done |
//! |---|---|---|
//! | at worst: half of them, at random | 24,480 | 12,219 |
//! | the same beside the longest checkpoint | 4,680 | 2,328 |
//! | all but one in a thousand (256 in flight) | 253,002 | 252,748 |
//! | all but one in ten thousand (256 in flight) | more than 500,000 | |

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::Completed;
use crate::log::{MAX_PROGRESS_TEXT, Progress};

const HEADER: &str = "avr1:";
const FAMILY: &str = "avr";
/// Header, form, two colons and the check.
const OVERHEAD: usize = HEADER.len() + 1 + 1 + CHECK_LENGTH + 1;
const CHECK_LENGTH: usize = 8;
/// What a checkpoint may take of the text; the rest is the set's.
pub const MAX_CHECKPOINT: usize = 3300;
/// Compressing less than this never pays.
const WORTH_COMPRESSING: usize = 48;
/// No honest payload is larger when decompressed: bounds what a hostile text can make us allocate.
const MAX_PAYLOAD: usize = 1 << 20;

/// Why a progress text cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgressTextError {
    /// Another program wrote it.
    #[error("the progress was written by another program (it begins {0:?})")]
    Foreign(String),
    /// A newer version of avr wrote it.
    #[error("the progress was written by a newer version of avr ({0:?}); use that version")]
    Newer(String),
    /// It was damaged.
    #[error("the progress is damaged: {0}")]
    Corrupt(&'static str),
}

/// What a partition's progress says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// What is done.
    pub completed: Completed,
    /// The stage's checkpoint; empty where it never wrote one.
    pub checkpoint: String,
}

/// Writes a completed set and a checkpoint as the progress to commit.
pub fn encode(completed: &Completed, checkpoint: &str) -> Progress {
    let (form, payload) = shortest(completed);
    let payload = URL_SAFE_NO_PAD.encode(payload);
    let check = check(completed.prefix(), form, &payload, checkpoint);
    let text = format!("{HEADER}{form}{payload}:{check}:{checkpoint}");
    debug_assert!(
        text.len() <= MAX_PROGRESS_TEXT || checkpoint.len() > MAX_CHECKPOINT,
        "has_room keeps it short"
    );
    Progress { offset: completed.prefix(), text }
}

/// Reads what was committed. An empty text is a prefix and nothing beyond it.
pub fn decode(progress: &Progress) -> Result<Decoded, ProgressTextError> {
    let text = progress.text.as_str();
    if text.is_empty() {
        return Ok(Decoded { completed: Completed::up_to(progress.offset), checkpoint: String::new() });
    }
    let body = text.strip_prefix(HEADER).ok_or_else(|| not_ours(text))?;
    let mut parts = body.splitn(3, ':');
    let (Some(set), Some(found), Some(checkpoint)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(ProgressTextError::Corrupt("it is cut short"));
    };
    let form = set.chars().next().ok_or(ProgressTextError::Corrupt("the set is missing"))?;
    let payload = &set[form.len_utf8()..];
    if found != check(progress.offset, form, payload, checkpoint) {
        return Err(ProgressTextError::Corrupt("its check does not fit its offset and content"));
    }
    let bytes =
        URL_SAFE_NO_PAD.decode(payload).map_err(|_| ProgressTextError::Corrupt("it is not base64"))?;
    let completed = read_set(progress.offset, form, bytes)?;
    Ok(Decoded { completed, checkpoint: checkpoint.to_owned() })
}

/// Whether `offset` may start while `in_flight` steps are unfinished, so that whatever finishes first, the text
/// still fits beside a checkpoint of `checkpoint_length`.
pub fn has_room(completed: &Completed, in_flight: usize, offset: i64, checkpoint_length: usize) -> bool {
    let span = usize::try_from(offset - completed.prefix() + 1).unwrap_or(0);
    let as_bits = span.div_ceil(8);
    let most_runs = completed.run_count() + in_flight + 1;
    let as_runs = most_runs * 2 * varint_length(span as u64);
    let payload = as_bits.min(as_runs).div_ceil(3) * 4;
    OVERHEAD + payload + checkpoint_length <= MAX_PROGRESS_TEXT
}

fn not_ours(text: &str) -> ProgressTextError {
    let start: String = text.chars().take(12).collect();
    let family = text.strip_prefix(FAMILY).and_then(|rest| rest.split_once(':'));
    match family {
        Some((version, _)) if !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) => {
            ProgressTextError::Newer(start)
        }
        _ => ProgressTextError::Foreign(start),
    }
}

fn check(offset: i64, form: char, payload: &str, checkpoint: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    for part in [form.encode_utf8(&mut [0; 4]) as &str, payload, checkpoint] {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    URL_SAFE_NO_PAD.encode(&hasher.finalize().as_bytes()[..CHECK_LENGTH * 3 / 4])
}

fn shortest(completed: &Completed) -> (char, Vec<u8>) {
    let runs = write_runs(completed);
    let best = match write_bits(completed, runs.len()) {
        Some(bits) => ('b', bits),
        None => ('r', runs),
    };
    match compress(&best.1) {
        Some(smaller) => (best.0.to_ascii_uppercase(), smaller),
        None => best,
    }
}

fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() < WORTH_COMPRESSING {
        return None;
    }
    zstd::bulk::compress(bytes, 3).ok().filter(|compressed| compressed.len() < bytes.len())
}

/// Lengths, in turn, of what is missing and what is done, from the prefix on.
fn write_runs(completed: &Completed) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(completed.run_count() * 3);
    let mut at = completed.prefix();
    for (start, end) in completed.runs() {
        write_varint(&mut bytes, start - at);
        write_varint(&mut bytes, end - start);
        at = end;
    }
    bytes
}

/// One bit for each offset from the prefix on, the lowest first; none where it would not be below `limit` bytes.
fn write_bits(completed: &Completed, limit: usize) -> Option<Vec<u8>> {
    let (_, last_end) = completed.runs().last()?;
    let length = usize::try_from(last_end - completed.prefix()).ok()?.div_ceil(8);
    if length >= limit {
        return None;
    }
    let mut bytes = vec![0_u8; length];
    for (start, end) in completed.runs() {
        for bit in start - completed.prefix()..end - completed.prefix() {
            bytes[usize::try_from(bit / 8).ok()?] |= 1 << (bit % 8);
        }
    }
    Some(bytes)
}

fn read_set(prefix: i64, form: char, bytes: Vec<u8>) -> Result<Completed, ProgressTextError> {
    let bytes = if form.is_ascii_uppercase() {
        zstd::bulk::decompress(&bytes, MAX_PAYLOAD)
            .map_err(|_| ProgressTextError::Corrupt("it does not decompress"))?
    } else {
        bytes
    };
    match form.to_ascii_lowercase() {
        'r' => read_runs(prefix, &bytes),
        'b' => Ok(read_bits(prefix, &bytes)),
        _ => Err(ProgressTextError::Corrupt("the set has an unknown form")),
    }
}

fn read_runs(prefix: i64, mut bytes: &[u8]) -> Result<Completed, ProgressTextError> {
    let mut completed = Completed::up_to(prefix);
    let mut at = prefix;
    while !bytes.is_empty() {
        let missing = read_varint(&mut bytes)?;
        let done = read_varint(&mut bytes)?;
        let start = at.checked_add(missing).ok_or(ProgressTextError::Corrupt("a run overflows"))?;
        at = start.checked_add(done).ok_or(ProgressTextError::Corrupt("a run overflows"))?;
        completed.insert_run(start, at);
    }
    Ok(completed)
}

fn read_bits(prefix: i64, bytes: &[u8]) -> Completed {
    let mut completed = Completed::up_to(prefix);
    for (at, byte) in bytes.iter().enumerate() {
        for bit in (0..8).filter(|bit| byte >> bit & 1 == 1) {
            completed.insert(prefix + at as i64 * 8 + bit);
        }
    }
    completed
}

fn write_varint(bytes: &mut Vec<u8>, value: i64) {
    let mut value = value.cast_unsigned();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Result<i64, ProgressTextError> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(ProgressTextError::Corrupt("a run is cut short"))?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value.cast_signed());
        }
    }
    Err(ProgressTextError::Corrupt("a run is too long"))
}

fn varint_length(value: u64) -> usize {
    (64 - value.max(1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set_of(prefix: i64, offsets: impl IntoIterator<Item = i64>) -> Completed {
        let mut completed = Completed::up_to(prefix);
        offsets.into_iter().for_each(|offset| completed.insert(offset));
        completed
    }

    #[test]
    fn the_shortest_form_is_taken() {
        let form = |completed: &Completed| encode(completed, "").text.as_bytes()[HEADER.len()];
        assert_eq!(form(&set_of(5, [])), b'r', "nothing beyond the prefix");
        assert_eq!(form(&set_of(5, 100..190)), b'r', "one run");
        assert_eq!(form(&set_of(0, (1..160).filter(|n| n % 3 != 0 && n % 7 != 0))), b'b', "scattered");
        assert_eq!(form(&set_of(0, (1..4000).filter(|n| n % 2 == 0))), b'B', "scattered, with a pattern");
    }

    #[test]
    fn text_of_others_is_told_apart() {
        let read = |text: &str| decode(&Progress { offset: 4, text: text.to_owned() });
        assert!(matches!(read("some-connector:17"), Err(ProgressTextError::Foreign(_))));
        assert!(matches!(read("avr2:x"), Err(ProgressTextError::Newer(_))));
        assert!(matches!(read("avro:x"), Err(ProgressTextError::Foreign(_))));
        assert!(matches!(read("avr1:r"), Err(ProgressTextError::Corrupt(_))));
        assert_eq!(read("").expect("a bare offset").completed, Completed::up_to(4));
    }

    /// However 20,000 steps end around one that is stuck, dispatch stops before the text is too long.
    #[test]
    fn dispatch_waits_before_the_text_could_outgrow_the_limit() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut completed = Completed::up_to(0);
        let mut next = 1;
        while has_room(&completed, 1, next, 0) {
            if random.bool() {
                completed.insert(next);
            }
            next += 1;
            if next % 100 == 0 || next > 22_000 {
                assert!(encode(&completed, "").text.len() <= MAX_PROGRESS_TEXT);
            }
        }
        assert!(next > 20_000, "a stuck step stops dispatch after {next} offsets already");
    }

    /// Starts one step after the other while there is room, of which those end that `ends` says; tells how many
    /// offsets were started and how many of them ended.
    fn started_and_ended(
        in_flight: usize,
        checkpoint: usize,
        most: i64,
        mut ends: impl FnMut(i64) -> bool,
    ) -> (i64, i64) {
        let (mut completed, mut next) = (Completed::up_to(0), 1);
        while next < most && has_room(&completed, in_flight, next, checkpoint) {
            if ends(next) {
                completed.insert(next);
            }
            next += 1;
        }
        let text = encode(&completed, &"n".repeat(checkpoint)).text;
        assert!(text.len() <= MAX_PROGRESS_TEXT);
        (next, completed.beyond())
    }

    /// The figures in the module's documentation.
    #[test]
    fn how_much_the_text_holds() {
        let mut random = fastrand::Rng::with_seed(3);
        let (started, ended) = started_and_ended(1, 0, i64::MAX, |_| random.bool());
        assert!(started >= 24_000 && ended >= 12_000, "half done: {started} {ended}");
        let (started, ended) = started_and_ended(1, MAX_CHECKPOINT, i64::MAX, |_| random.bool());
        assert!(
            started >= 4_600 && ended >= 2_300,
            "half done beside the longest checkpoint: {started} {ended}"
        );
        let (started, _) = started_and_ended(256, 0, i64::MAX, |at| at % 1000 != 0);
        assert!(started >= 250_000, "one in a thousand is stuck: {started}");
        let (started, _) = started_and_ended(256, 0, 500_000, |at| at % 10_000 != 0);
        assert_eq!(started, 500_000, "one in ten thousand is stuck");
    }

    #[test]
    fn one_stuck_step_and_a_long_run_cost_almost_nothing() {
        let mut completed = Completed::up_to(0);
        completed.insert_run(1, 5_000_000);
        assert!(has_room(&completed, 300, 5_000_000, 0));
        assert!(encode(&completed, "").text.len() < 40);
    }

    proptest! {
        #[test]
        fn any_set_and_checkpoint_come_back(
            prefix in 0_i64..1 << 40,
            offsets in proptest::collection::vec(0_i64..3000, 0..400),
            checkpoint in "[ -~]{0,40}|\\{\"a\":[0-9]{1,9},\"ü:\":\"→\"\\}",
        ) {
            let completed = set_of(prefix, offsets.into_iter().map(|offset| prefix + offset));
            let decoded = decode(&encode(&completed, &checkpoint)).expect("what was written can be read");
            prop_assert_eq!(decoded, Decoded { completed, checkpoint });
        }

        #[test]
        fn damage_is_seen(
            offsets in proptest::collection::vec(1_i64..300, 1..60),
            at in any::<prop::sample::Index>(),
            replacement in "[A-Za-z0-9]",
        ) {
            let mut progress = encode(&set_of(0, offsets), "checkpoint");
            let at = HEADER.len() + at.index(progress.text.len() - HEADER.len());
            prop_assume!(progress.text[at..=at] != replacement);
            progress.text.replace_range(at..=at, &replacement);
            prop_assert!(decode(&progress).is_err());
        }

        #[test]
        fn arbitrary_text_never_panics(offset in any::<i64>(), text in "(avr1:)?[rRbB]?.{0,80}") {
            let _ = decode(&Progress { offset, text });
        }

        #[test]
        fn a_text_moved_to_another_offset_is_refused(offset in 1_i64..1000) {
            let mut progress = encode(&set_of(0, [3, 4]), "");
            progress.offset = offset;
            prop_assert!(decode(&progress).is_err());
        }
    }
}
