//! Prompts in, from real files: compression, arrays, Parquet, standard input, damage, and limits.

use std::{
    collections::HashSet,
    fs,
    io::{self, BufReader, Cursor, Read, Write},
    process::{Command, Stdio},
    sync::{Arc, mpsc},
};

use avr::source::{AnswerUse, Item, PromptSource, SourceError, open_all};
use flate2::{Compression, write::GzEncoder};
use parquet::{
    data_type::{ByteArray, ByteArrayType},
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::parser::parse_message_type,
};
use proptest::prelude::*;

/// Reads a source to its end.
fn try_items(mut source: PromptSource) -> (Vec<Item>, Option<SourceError>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut items = Vec::new();
    loop {
        match runtime.block_on(source.next_batch()) {
            Ok(Some(batch)) => items.extend(batch),
            Ok(None) => return (items, None),
            Err(error) => return (items, Some(error)),
        }
    }
}

fn items(source: PromptSource) -> Vec<Item> {
    let (items, error) = try_items(source);
    assert!(error.is_none(), "{error:?}");
    items
}

/// `number text` of a prompt's last turn, `=> answer`; `number reason` of a reject.
fn shown(items: &[Item]) -> Vec<String> {
    let show = |item: &Item| match &item.result {
        Ok(prompt) => {
            let answer = prompt.answer.as_ref().map_or(String::new(), |answer| format!(" => {answer}"));
            format!("{} {}{answer}", item.line, prompt.messages.last().expect("a turn").content)
        }
        Err(reject) => format!("{} {}", item.line, reject.reason.as_str()),
    };
    items.iter().map(show).collect()
}

/// What the bytes give, as a stream and as a file that is called something else.
fn read(bytes: &[u8]) -> Vec<String> {
    let stream = shown(&items(PromptSource::from_reader("test", Cursor::new(bytes.to_vec()))));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data.txt");
    fs::write(&path, bytes).expect("written");
    let source = PromptSource::open(path.to_str().expect("text")).expect("opened");
    assert_eq!(source.total_bytes(), Some(bytes.len() as u64));
    let from_file = items(source);
    assert!(from_file.iter().all(|item| item.bytes <= bytes.len() as u64));
    if !bytes.starts_with(b"PAR1") {
        assert_eq!(shown(&from_file), stream);
    }
    shown(&from_file)
}

/// What a file gives of which more may be written.
fn read_open_end(bytes: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("grows.jsonl");
    fs::write(&path, bytes).expect("written");
    let source = PromptSource::open(path.to_str().expect("text")).expect("opened");
    shown(&items(source.with_open_end(true)))
}

#[test]
fn an_unfinished_end_is_left_alone_while_more_may_come() {
    let lines = b"{\"prompt\": \"one\"}\n\n{\"prompt\": \"two\"}\n{\"prompt\": \"thr";
    assert_eq!(read_open_end(lines), ["1 one", "3 two"]);
    assert_eq!(read(lines), ["1 one", "3 two", "4 not_json"]);
    assert_eq!(read_open_end(b"{\"prompt\": \"whole\"}"), Vec::<String>::new());
    assert_eq!(read_open_end(b"[{\"prompt\": \"one\"}, {\"prompt\""), ["1 one"]);
    let archive = gzip(lines);
    assert_eq!(read_open_end(&archive[..archive.len() - 4]), ["1 one", "3 two"]);
    let stream = PromptSource::from_reader("test", Cursor::new(b"{\"prompt\": \"last\"}".to_vec()));
    assert_eq!(shown(&items(stream.with_open_end(true))), ["1 last"], "a stream that has ended stays ended");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.include_checksum(true).expect("settable");
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

/// Lines that compress badly, so that a cut leaves some of them whole.
fn numbered_lines(count: u32) -> Vec<u8> {
    let line = |n: u32| format!("{{\"prompt\":\"{n} {}\"}}\n", blake3::hash(&n.to_le_bytes()));
    (1..=count).map(line).collect::<String>().into_bytes()
}

#[test]
fn lines_are_read_however_they_end() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n", &["1 a", "2 b"]),
        (b"{\"prompt\":\"a\"}\r\n\r\n{\"prompt\":\"b\"}", &["1 a", "3 b"]),
        (b"\xef\xbb\xbf{\"prompt\":\"a\"}\n", &["1 a"]),
        (b"\n  \n\t{\"prompt\":\"a\"}\n\n", &["3 a"]),
        (b"{\"prompt\":\"a\"}\nnonsense\n{\"prompt\":\"\"}\n", &["1 a", "2 not_json", "3 empty_prompt"]),
        (b"{\"prompt\":\"\xff\"}\n{\"prompt\":\"b\"}\n", &["1 invalid_utf8", "2 b"]),
        (b"\xff\xfe{\x00\n", &["1 invalid_utf8"]),
        (b"\n\n", &[]),
        (b"", &[]),
        (b"{", &["1 not_json"]),
    ];
    for (bytes, expected) in cases {
        assert_eq!(read(bytes), *expected, "{}", bytes.escape_ascii());
        assert_eq!(read(&gzip(bytes)), *expected, "gzip of {}", bytes.escape_ascii());
        assert_eq!(read(&zstandard(bytes)), *expected, "zstandard of {}", bytes.escape_ascii());
    }
}

#[test]
fn arrays_are_read_element_by_element() {
    let cases: &[(&str, &[&str])] = &[
        (r#"[{"instruction":"a","output":"b"},{"instruction":"c"}]"#, &["1 a => b", "2 c"]),
        (
            "\u{feff}\n[\n  {\"prompt\": \"a ] , } \\\" \\\\\"}\n,\n{\"prompt\":\"b\"}\n]\n",
            &["1 a ] , } \" \\", "2 b"],
        ),
        ("[]", &[]),
        ("[1, [2, 3], {\"prompt\":\"b\"},]", &["1 not_an_object", "2 not_an_object", "3 b"]),
        ("[{\"prompt\":\"a\"} {\"prompt\":\"b\"}]", &["1 not_json"]),
        ("[{\"prompt\":\"a\"}, {\"prompt\":\"b\"}", &["1 a", "2 corrupt_input"]),
        ("[{\"prompt\":\"a\"}] {\"prompt\":\"b\"}", &["1 a", "2 corrupt_input"]),
        ("[}, {\"prompt\":\"b\"}]", &["1 not_json", "2 b"]),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text.as_bytes()), *expected, "{text}");
    }
}

#[test]
fn archives_of_several_parts_are_read_through() {
    let (one, two) = (b"{\"prompt\":\"a\"}\n{\"pro", b"mpt\":\"b\"}\n");
    assert_eq!(read(&[gzip(one), gzip(b""), gzip(two)].concat()), ["1 a", "2 b"]);
    assert_eq!(read(&[zstandard(one), zstandard(two)].concat()), ["1 a", "2 b"]);
    let skippable = b"\x53\x2a\x4d\x18\x03\x00\x00\x00abc".to_vec();
    assert_eq!(read(&[skippable, zstandard(one), zstandard(two)].concat()), ["1 a", "2 b"]);
}

#[test]
fn a_broken_archive_gives_what_is_good_and_says_where_it_broke() {
    let lines = numbered_lines(3000);
    for archive in [gzip(&lines), zstandard(&lines)] {
        let whole = read(&archive);
        assert_eq!(whole.len(), 3000);
        let cut = read(&archive[..archive.len() - 9]);
        let (last, good) = cut.split_last().expect("items");
        assert!(good.len() > 1500 && good == &whole[..good.len()], "{} good lines", good.len());
        assert_eq!(*last, format!("{} corrupt_input", good.len() + 1));

        let mut damaged = archive.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 64].fill(0xff);
        let found = read(&damaged);
        assert!(found.last().is_some_and(|last| last.ends_with(" corrupt_input")), "{:?}", found.last());
        assert!(read(&[archive, b"tail".to_vec()].concat()).ends_with(&["3001 corrupt_input".to_owned()]));
    }
}

/// Gives `prefix`, then `count` times the letter x, then `suffix`, without holding them.
fn long_line(prefix: &'static str, count: u64, suffix: &'static str) -> impl Read + Send {
    Cursor::new(prefix).chain(io::repeat(b'x').take(count)).chain(Cursor::new(suffix))
}

#[test]
fn a_line_of_50_mib_is_rejected_and_the_run_goes_on() {
    let line = || long_line("{\"prompt\":\"a\"}\n{\"prompt\":\"", 50 << 20, "\"}\n{\"prompt\":\"b\"}\n");
    let found = items(PromptSource::from_reader("test", line()));
    assert_eq!(shown(&found), ["1 a", "2 too_large", "3 b"]);
    let reject = found[1].result.as_ref().expect_err("too large");
    assert!(reject.excerpt.starts_with("{\"prompt\":\"xxx") && reject.excerpt.len() < 200);
    assert_eq!(reject.reason.to_string(), "larger than 16777216 bytes; shorten it or raise the limit");

    let array = long_line("[{\"prompt\":\"", 50 << 20, "\"}, {\"prompt\":\"b\"}]");
    assert_eq!(shown(&items(PromptSource::from_reader("test", array))), ["1 too_large", "2 b"]);
}

#[test]
fn the_limit_is_exact_and_can_be_set() {
    let bytes = b"{\"prompt\":\"abc\"}\n";
    for (limit, expected) in [(16, "1 abc"), (15, "1 too_large"), (0, "1 too_large")] {
        let source = PromptSource::from_reader("test", Cursor::new(bytes)).with_max_line_bytes(limit);
        assert_eq!(shown(&items(source)), [expected], "{limit}");
    }
}

/// UltraFeedback's columns; `text` is how the columns of text are marked.
fn ultrafeedback(text: &str) -> String {
    format!(
        "message schema {{
            optional binary prompt_id {text};
            optional binary prompt {text};
            optional group chosen (LIST) {{ repeated group list {{ optional group element {{
                optional binary content {text}; optional binary role {text}; }} }} }}
            optional binary all_generated_responses {text};
        }}"
    )
}

fn writer(schema: &str) -> SerializedFileWriter<Vec<u8>> {
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let properties = Arc::new(WriterProperties::builder().set_dictionary_enabled(false).build());
    SerializedFileWriter::new(Vec::new(), schema, properties).expect("a writer")
}

/// The next column of a group: its values, and for each the level down to which it is there; values for which
/// `again` is 1 belong to the list of the one before.
fn write_column(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[&str],
    levels: &[i16],
    again: Option<&[i16]>,
) {
    let values: Vec<_> = values.iter().map(|value| ByteArray::from(*value)).collect();
    let levels = (!levels.is_empty()).then_some(levels);
    let mut column = group.next_column().expect("written").expect("a column");
    column.typed::<ByteArrayType>().write_batch(&values, levels, again).expect("written");
    column.close().expect("closed");
}

/// A file of groups of two rows, of which the first has an answer.
fn parquet(groups: usize, text: &str) -> Vec<u8> {
    let mut writer = writer(&ultrafeedback(text));
    for first in (0..groups).map(|group| 2 * group + 1) {
        let (one, two, answer) = (format!("q{first}"), format!("q{}", first + 1), format!("a{first}"));
        let mut group = writer.next_row_group().expect("a group");
        write_column(&mut group, &["id"], &[1, 0], None);
        write_column(&mut group, &[&one, &two], &[1, 1], None);
        write_column(&mut group, &[&one, &answer], &[4, 4, 0], Some(&[0, 1, 0]));
        write_column(&mut group, &["user", "assistant"], &[4, 4, 0], Some(&[0, 1, 0]));
        write_column(&mut group, &["not read", "not read"], &[1, 1], None);
        group.close().expect("closed");
    }
    writer.into_inner().expect("finished")
}

#[test]
fn parquet_is_read_row_by_row() {
    for text in ["(UTF8)", ""] {
        assert_eq!(read(&parquet(2, text)), ["1 q1 => a1", "2 q2", "3 q3 => a3", "4 q4"], "{text}");
    }
    let found = items(PromptSource::from_reader("test", Cursor::new(parquet(1, "(UTF8)"))));
    assert_eq!(shown(&found), ["1 corrupt_input"], "a stream cannot be read from its end");
}

#[test]
fn a_broken_parquet_file_gives_its_good_rows() {
    let file = parquet(2, "(UTF8)");
    assert_eq!(read(&file[..file.len() - 1]), ["1 corrupt_input"]);
    assert_eq!(read(b"PAR1"), ["1 corrupt_input"]);
    let mut damaged = file.clone();
    let place = file.windows(2).position(|bytes| bytes == b"q3").expect("a value of the second group");
    damaged[place - 24..place].fill(0xff);
    assert_eq!(read(&damaged), ["1 q1 => a1", "2 q2", "3 corrupt_input"]);
}

#[test]
fn a_schema_that_the_library_asserts_against_is_a_damaged_file() {
    let mut writer =
        writer("message schema { required group chosen (LIST) { required binary a; required binary b; } }");
    let mut group = writer.next_row_group().expect("a group");
    write_column(&mut group, &["x"], &[], None);
    write_column(&mut group, &["x"], &[], None);
    group.close().expect("closed");
    assert_eq!(read(&writer.into_inner().expect("finished")), ["1 corrupt_input"]);
}

#[test]
fn no_changed_byte_of_a_parquet_file_breaks_the_reader() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data.parquet");
    let file = parquet(1, "(UTF8)");
    for place in 4..file.len() {
        let mut damaged = file.clone();
        damaged[place] ^= 0x15;
        fs::write(&path, damaged).expect("written");
        let (_, error) = try_items(PromptSource::open(path.to_str().expect("text")).expect("opened"));
        assert!(error.is_none(), "byte {place}: {error:?}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named_all_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = folder.path().to_str().expect("text").to_owned();
    let good = format!("{name}/good.jsonl");
    fs::write(&good, "{\"prompt\":\"a\"}").expect("written");
    let paths = [good.clone(), name.clone(), format!("{name}/none.jsonl"), good];
    let errors = open_all(&paths).err().expect("two of them cannot be read");
    let messages: Vec<_> = errors.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            format!("{name}: is a folder; name its files, {name}/*.jsonl for instance"),
            format!("{name}/none.jsonl: no such file; check the path, or name - for standard input"),
        ]
    );
    let names: Vec<_> =
        open_all(&paths[3..]).expect("readable").iter().map(|s| s.name().to_owned()).collect();
    assert_eq!(names, paths[3..]);
}

#[test]
fn a_second_pass_gives_the_same_identities() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data.jsonl");
    fs::write(&path, "{\"prompt\":\"a\"}\nx\nx\n{\"prompt\":\"\"}\n").expect("written");
    let pass = |path: &str| {
        let source = PromptSource::open(path).expect("opened");
        let identity = source.identity().to_owned();
        let id = |item: &Item| match &item.result {
            Ok(prompt) => prompt.content_hash(AnswerUse::Used).to_string(),
            Err(reject) => reject.id(&identity),
        };
        items(source).iter().map(id).collect::<Vec<_>>()
    };
    let first = pass(path.to_str().expect("text"));
    assert_eq!(
        first.iter().collect::<HashSet<_>>().len(),
        4,
        "equal lines in other places are other rejects"
    );
    let detour = format!("{}/./data.jsonl", folder.path().display());
    assert_eq!(pass(&detour), first);
}

/// Fails as a disk does.
struct FailingDisk;

impl Read for FailingDisk {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(5))
    }
}

#[test]
fn a_failing_disk_is_an_error_and_no_reject() {
    let reader = Cursor::new("{\"prompt\":\"a\"}\n{\"prom").chain(FailingDisk);
    let (found, error) = try_items(PromptSource::from_reader("disk", reader));
    assert_eq!(shown(&found), ["1 a"]);
    assert!(error.expect("an error").to_string().starts_with("disk: "));
}

/// Gives what is sent, as a person types.
struct Typed(mpsc::Receiver<&'static str>);

impl Read for Typed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let text = self.0.recv().unwrap_or_default();
        buffer[..text.len()].copy_from_slice(text.as_bytes());
        Ok(text.len())
    }
}

#[tokio::test]
async fn a_line_is_handed_over_before_the_next_one_comes() {
    let (keyboard, typed) = mpsc::channel();
    let mut source = PromptSource::from_reader("-", BufReader::new(Typed(typed)));
    for (sent, expected) in [("{}\n{\"pr", "1 no_known_columns"), ("ompt\":\"b\"}\n", "2 b")] {
        keyboard.send(sent).expect("somebody reads");
        let batch = source.next_batch().await.expect("readable").expect("a batch");
        assert_eq!(shown(&batch), [expected]);
    }
    drop(keyboard);
    assert!(source.next_batch().await.expect("readable").is_none());
    assert!(source.next_batch().await.expect("readable").is_none(), "the end stays the end");
}

#[tokio::test]
async fn a_reader_that_nobody_waits_for_any_more_ends() {
    let (sign, gone) = mpsc::channel::<()>();
    let endless = numbered_lines(1000).into_iter().cycle();
    let mut source = PromptSource::from_reader("endless", Endless { bytes: Box::new(endless), _sign: sign });
    assert!(source.next_batch().await.expect("readable").is_some());
    drop(source);
    assert!(gone.recv().is_err(), "the reader was dropped with its thread");
}

/// Never ends; its sign disappears with it.
struct Endless {
    bytes: Box<dyn Iterator<Item = u8> + Send>,
    _sign: mpsc::Sender<()>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let places = buffer.iter_mut().zip(&mut self.bytes);
        Ok(places.map(|(place, byte)| *place = byte).count())
    }
}

#[test]
fn standard_input_is_a_dash() {
    // This program is started once more for this test, with an input.
    const IS_CHILD: &str = "AVR_TEST_STANDARD_INPUT";
    if std::env::var_os(IS_CHILD).is_some() {
        let source = PromptSource::open("-").expect("always there");
        assert_eq!((source.identity(), source.total_bytes()), ("-", None));
        assert_eq!(shown(&items(source)), ["1 a", "2 b"]);
        return;
    }
    let this = std::env::current_exe().expect("a path");
    let mut child = Command::new(this)
        .args(["--exact", "source::standard_input_is_a_dash"])
        .env(IS_CHILD, "yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(&gzip(b"{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}")).expect("written");
    drop(input);
    let ended = child.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn the_examples_are_all_usable_and_all_different() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/prompts.jsonl");
    let found = items(PromptSource::open(examples).expect("opened"));
    let prompts: Vec<_> = found.iter().map(|item| item.result.as_ref().expect("usable")).collect();
    assert!(prompts.len() >= 80);
    let ids: HashSet<_> = prompts.iter().map(|prompt| prompt.id.as_ref().expect("an id")).collect();
    let contents: HashSet<_> = prompts.iter().map(|prompt| prompt.content_hash(AnswerUse::Used)).collect();
    assert_eq!((ids.len(), contents.len()), (prompts.len(), prompts.len()));
}

/// First bytes of everything that is told by them.
const BEGINNINGS: &[&[u8]] = &[b"", b"[", b"{", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PAR1"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_to_their_end(
        head in prop::sample::select(BEGINNINGS),
        tail in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (_, error) = try_items(PromptSource::from_reader("any", Cursor::new([head, &tail].concat())));
        prop_assert!(error.is_none());
    }

    #[test]
    fn every_line_is_one_item_whatever_the_size_of_reads(size in 1_usize..40, count in 1_u32..50) {
        let reader = Slow { bytes: Cursor::new(numbered_lines(count)), size };
        let found = items(PromptSource::from_reader("slow", reader));
        let lines: Vec<_> = found.iter().map(|item| item.line).collect();
        prop_assert_eq!(lines, (1..=u64::from(count)).collect::<Vec<_>>());
        prop_assert!(found.iter().all(|item| item.result.is_ok()));
    }
}

/// Gives a few bytes at a time.
struct Slow {
    bytes: Cursor<Vec<u8>>,
    size: usize,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.size.min(buffer.len());
        self.bytes.read(&mut buffer[..size])
    }
}
