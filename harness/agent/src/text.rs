//! Texts on their way between Windows and the line.

use alloc::string::String;
use alloc::vec::Vec;

use channel::MAX_OUTPUT;

/// A text as Windows' functions take it, with its terminator.
pub(crate) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// What follows `step` on the command line, if that is what it says. The program's own name comes first, with or without quotation marks.
pub(crate) fn step_of(command_line: &str) -> Option<&str> {
    let rest = match command_line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?.1,
        None => command_line.split_once(' ')?.1,
    };
    let name = rest.trim().strip_prefix("step")?.strip_prefix(' ')?.trim();
    (!name.is_empty()).then_some(name)
}

/// Makes lines of what a command writes, in whatever code page: everything beyond ASCII becomes a question mark.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: String,
}

impl Lines {
    /// Takes output; every whole line goes to `give`.
    pub(crate) fn take(&mut self, bytes: &[u8], mut give: impl FnMut(&str)) {
        for byte in bytes {
            match byte {
                b'\n' => self.end(&mut give),
                // A line is also ended by its length.
                _ if self.partial.len() == MAX_OUTPUT => {
                    self.end(&mut give);
                    self.partial.push(char::from(*byte));
                }
                b'\t' | b' '..=b'~' => self.partial.push(char::from(*byte)),
                b'\r' | 0 => {}
                _ => self.partial.push('?'),
            }
        }
    }

    /// Gives the line that has no end yet.
    pub(crate) fn end(&mut self, mut give: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            give(&self.partial);
            self.partial.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_what_follows_the_word() {
        assert_eq!(step_of(r#""C:\rig\agent.exe" step first logon"#), Some("first logon"));
        assert_eq!(step_of(r"D:\rig\agent.exe step specialize "), Some("specialize"));
        for other in [r"C:\rig\agent.exe", r#""C:\rig\agent.exe""#, r"agent.exe step", r"agent.exe steps a", ""] {
            assert_eq!(step_of(other), None, "{other}");
        }
    }

    #[test]
    fn output_becomes_lines_of_a_bounded_length() {
        let (mut lines, mut given) = (Lines::default(), Vec::new());
        lines.take(b"one\r\ntw", |line| given.push(String::from(line)));
        lines.take(b"o\n\n\x84\n", |line| given.push(String::from(line)));
        lines.take(&[b'x'; MAX_OUTPUT + 1], |line| given.push(String::from(line)));
        lines.end(|line| given.push(String::from(line)));
        assert_eq!(given[..3], ["one", "two", "?"]);
        assert_eq!((given[3].len(), given[4].as_str()), (MAX_OUTPUT, "x"));
    }
}
