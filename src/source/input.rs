//! From a file's bytes to its text: told by the first bytes, decompressed, counted.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::item_sender::Position;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTANDARD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Skippable frames, which some tools write first, have 0x50 to 0x5f before these bytes.
const ZSTANDARD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
const PARQUET: &[u8] = b"PAR1";
/// The most bytes that tell one from another.
const MAGIC_BYTES: u64 = 4;

/// Read ahead, before and after decompression. Small, so that little is lost where an archive breaks off.
const BUFFER_BYTES: usize = 64 << 10;

/// Text as it comes out of decompression.
pub(super) type TextReader = BufReader<Box<dyn Read>>;

/// What a source holds.
pub(super) enum Content {
    /// JSON Lines or an array, decompressed.
    Json {
        /// From its beginning.
        text: TextReader,
        /// Whether its bytes are not those of the file.
        is_compressed: bool,
    },
    /// Parquet, which is read from its end.
    Parquet,
}

/// Reads the first bytes and sets up what they ask for. `position` follows the bytes read of `raw`.
pub(super) fn open(mut raw: impl Read + 'static, position: Position) -> io::Result<Content> {
    let mut head = Vec::new();
    raw.by_ref().take(MAGIC_BYTES).read_to_end(&mut head)?;
    if head == PARQUET {
        return Ok(Content::Parquet);
    }
    let (gzip, zstandard) = (head.starts_with(GZIP), is_zstandard(&head));
    let whole = CountingReader { inner: Cursor::new(head).chain(raw), position };
    let decoded: Box<dyn Read> = match (gzip, zstandard) {
        (true, _) => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, whole))),
        (_, true) => Box::new(zstd::Decoder::with_buffer(BufReader::with_capacity(BUFFER_BYTES, whole))?),
        _ => Box::new(whole),
    };
    let text = BufReader::with_capacity(BUFFER_BYTES, decoded);
    Ok(Content::Json { text, is_compressed: gzip || zstandard })
}

/// The text of a file that is not compressed, from where `raw` stands.
pub(super) fn go_on(raw: impl Read + 'static, position: Position) -> TextReader {
    BufReader::with_capacity(BUFFER_BYTES, Box::new(CountingReader { inner: raw, position }))
}

fn is_zstandard(head: &[u8]) -> bool {
    head.starts_with(ZSTANDARD)
        || head.first().is_some_and(|first| first & 0xf0 == 0x50) && head[1..] == *ZSTANDARD_SKIPPABLE
}

/// Counts what passes.
struct CountingReader<R> {
    inner: R,
    position: Position,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.position.set(self.position.get() + count as u64);
        Ok(count)
    }
}

/// The buffered bytes, filled if there are none; empty at the end. An interrupted read is made again.
pub(super) fn fill(input: &mut impl BufRead) -> io::Result<&[u8]> {
    while let Err(error) = input.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    input.fill_buf()
}
