//! Knows where a JSON value ends, byte by byte.

/// Sees commas and brackets outside of strings and inner brackets. Whether what lies between them is JSON is for the
/// parser to say.
#[derive(Default)]
pub(super) struct Scanner {
    depth: u64,
    in_string: bool,
    escaped: bool,
}

impl Scanner {
    /// Takes the next byte; gives it back where it ends the value.
    pub(super) fn step(&mut self, byte: u8) -> Option<u8> {
        if self.in_string {
            self.step_in_string(byte);
            return None;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b',' | b']' | b'}' if self.depth == 0 => return Some(byte),
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        None
    }

    /// Whether the last byte was within a string.
    pub(super) fn in_string(&self) -> bool {
        self.in_string
    }

    fn step_in_string(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_string = false,
            _ => {}
        }
    }
}
