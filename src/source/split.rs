//! Splits text into the lines of JSON Lines, or the elements of a JSON array, without holding more than one.

use std::io::{self, BufRead};

use super::{
    input::{TextReader, fill},
    item_sender::{InputEnd, ItemSender, ReadEnd},
    scanner::Scanner,
};

/// A buffer that grew beyond this for one long line is given back.
const KEPT_BYTES: usize = 1 << 20;
/// The mark that some editors put at the beginning of a file.
const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// Where JSON Lines ended of which more may be written.
pub(super) struct OpenEnd {
    /// The last line that ended.
    pub(super) line: u64,
    /// Bytes behind it.
    pub(super) unfinished: u64,
}

/// Reads a whole text into `items`.
pub(super) fn read(mut text: TextReader, items: &mut ItemSender) -> Result<Option<OpenEnd>, ReadEnd> {
    match skip_blanks(&mut text) {
        Ok((_, Some(b'['))) => read_array(&mut text, items).map(|()| None),
        Ok((lines, Some(_))) => read_lines(text, lines, items),
        Ok((_, None)) => Ok(None),
        Err(error) => items.broken_off(1, error).map(|()| None),
    }
}

/// Passes over white space and the byte order mark, whose bytes begin no JSON; gives the lines that ended and
/// the byte that comes next.
fn skip_blanks(input: &mut impl BufRead) -> io::Result<(u64, Option<u8>)> {
    let mut lines = 0;
    loop {
        let available = fill(input)?;
        let is_blank = |byte: &&u8| byte.is_ascii_whitespace() || BYTE_ORDER_MARK.contains(byte);
        let blank = available.iter().take_while(is_blank).count();
        lines += available[..blank].iter().filter(|byte| **byte == b'\n').count() as u64;
        let (next, at_end) = (available.get(blank).copied(), available.is_empty());
        input.consume(blank);
        if next.is_some() || at_end {
            return Ok((lines, next));
        }
    }
}

/// Reads the lines behind number `line`. Before a read that may have to wait, for someone typing for instance, what is
/// there is handed over.
pub(super) fn read_lines(
    mut text: TextReader,
    mut line: u64,
    items: &mut ItemSender,
) -> Result<Option<OpenEnd>, ReadEnd> {
    let mut buffer = LineBuffer::new(items.limit());
    loop {
        if !text.buffer().contains(&b'\n') {
            items.flush()?;
        }
        line += 1;
        match next_line(&mut text, &mut buffer) {
            Ok(LineEnd::LineFeed) => buffer.hand_over(line, items)?,
            Ok(LineEnd::Input) if items.end() == InputEnd::Open => {
                return Ok(Some(OpenEnd { line: line - 1, unfinished: buffer.length }));
            }
            Ok(LineEnd::Input) => return buffer.hand_over(line, items).map(|()| None),
            Err(error) => return items.broken_off(line, error).map(|()| None),
        }
    }
}

/// What stood after a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    LineFeed,
    Input,
}

/// Reads up to the next line feed or the end.
fn next_line(input: &mut impl BufRead, buffer: &mut LineBuffer) -> io::Result<LineEnd> {
    buffer.clear();
    loop {
        let available = fill(input)?;
        if available.is_empty() {
            return Ok(LineEnd::Input);
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(available.len(), |end| end + 1);
        buffer.push(&available[..end.unwrap_or(taken)]);
        input.consume(taken);
        if end.is_some() {
            return Ok(LineEnd::LineFeed);
        }
    }
}

fn read_array(text: &mut TextReader, items: &mut ItemSender) -> Result<(), ReadEnd> {
    text.consume(1);
    let mut buffer = LineBuffer::new(items.limit());
    let mut element = 0;
    loop {
        let end = match next_element(text, &mut buffer) {
            Ok(end) => end,
            Err(error) => return items.broken_off(element + 1, error),
        };
        if !buffer.is_blank() {
            element += 1;
            buffer.hand_over(element, items)?;
        }
        if end == ElementEnd::Array {
            return check_tail(text, element, items);
        }
    }
}

/// What stood after an element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ElementEnd {
    Comma,
    Array,
}

fn next_element(input: &mut impl BufRead, buffer: &mut LineBuffer) -> io::Result<ElementEnd> {
    buffer.clear();
    let mut scanner = Scanner::default();
    loop {
        let available = fill(input)?;
        if available.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the array is not closed"));
        }
        let end = |byte| match scanner.step(byte)? {
            b',' => Some(ElementEnd::Comma),
            b']' => Some(ElementEnd::Array),
            _ => None,
        };
        let found = available.iter().copied().map(end).enumerate().find_map(|(at, end)| Some((at, end?)));
        let taken = found.map_or(available.len(), |(at, _)| at + 1);
        buffer.push(&available[..found.map_or(taken, |(at, _)| at)]);
        input.consume(taken);
        if let Some((_, end)) = found {
            return Ok(end);
        }
    }
}

/// Only blanks may follow the array.
fn check_tail(text: &mut TextReader, element: u64, items: &mut ItemSender) -> Result<(), ReadEnd> {
    match skip_blanks(text) {
        Ok((_, None)) => Ok(()),
        Ok((_, Some(_))) => items.corrupt(element + 1, "something follows the end of the array"),
        Err(error) => items.broken_off(element + 1, error),
    }
}

/// One line or element: its bytes up to the limit, and its whole length.
struct LineBuffer {
    bytes: Vec<u8>,
    length: u64,
    limit: usize,
}

impl LineBuffer {
    fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), length: 0, limit }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.length = 0;
    }

    fn push(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(self.limit - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..kept]);
        self.length += bytes.len() as u64;
    }

    fn is_blank(&self) -> bool {
        self.length == self.bytes.len() as u64 && self.bytes.trim_ascii().is_empty()
    }

    /// Hands over what is not blank, without the white space around it (a carriage return, for instance).
    fn hand_over(&self, number: u64, items: &mut ItemSender) -> Result<(), ReadEnd> {
        if self.is_blank() {
            return Ok(());
        }
        items.take(number, self.bytes.trim_ascii(), self.length)
    }
}
