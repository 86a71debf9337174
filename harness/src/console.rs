//! What the user reads: results on standard output, progress on standard error, one line each.
//!
//! A closed pipe (`rig run | head`) is no reason to stop a run, so errors of writing are ignored here and nowhere else.

use std::io::Write as _;
use std::time::Instant;

/// Prints one line of results.
pub fn say(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout().lock(), "{}", line.as_ref());
}

/// Prints one line of progress or explanation.
pub fn note(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", line.as_ref());
}

/// A step of set-up or build that is under way; tells how long it took when it is done.
#[derive(Debug)]
pub struct Step {
    name: String,
    began: Instant,
}

impl Step {
    /// Announces the step.
    pub fn begin(name: impl Into<String>) -> Self {
        let step = Self { name: name.into(), began: Instant::now() };
        note(format!("[rig] {} ...", step.name));
        step
    }

    /// Tells that it is done; `detail` may say what came out.
    pub fn done(self, detail: &str) {
        let separator = if detail.is_empty() { "" } else { ": " };
        note(format!("[rig] {} done in {:.1} s{separator}{detail}", self.name, self.began.elapsed().as_secs_f64()));
    }
}

/// Text from a guest or a tool, made safe for a terminal: control characters become visible, nothing moves the cursor.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\u{9b}c\td\r"), "a\u{fffd}[2Jb\u{fffd}c\td\u{fffd}");
    }
}
