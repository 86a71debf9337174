//! QEMU's monitor: commands as JSON lines over a socket, each answered within a deadline. What the user of a real machine does by hand:
//! the device is taken out and put in, a key is pressed, the machine is woken.
//!
//! The peer is QEMU, which may be dying: a closed or silent monitor is an error, never a wait without end, and no line may be longer
//! than `LONGEST_LINE`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest line that QEMU may send.
const LONGEST_LINE: usize = 1 << 20;
/// Most events that are kept until somebody asks for them.
const MOST_EVENTS: usize = 1000;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The line to QEMU is broken, or silent for too long.
    #[error("QEMU's monitor does not answer: {0}")]
    Line(#[from] io::Error),
    /// What came is no monitor's answer.
    #[error("QEMU's monitor said something that is no answer: {0}")]
    Nonsense(String),
    /// QEMU refused.
    #[error("QEMU refuses {command}: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words.
        reason: String,
    },
}

/// A monitor's line.
#[derive(Debug)]
pub struct Qmp {
    line: UnixStream,
    partial: Vec<u8>,
    events: VecDeque<Value>,
    is_greeted: bool,
}

impl Qmp {
    /// The harness's end of a monitor. Nothing is read yet: QEMU greets when it is ready.
    #[must_use]
    pub fn new(line: UnixStream) -> Self {
        Self { line, partial: Vec::new(), events: VecDeque::new(), is_greeted: false }
    }

    /// Carries out a command and returns what QEMU returns.
    ///
    /// # Errors
    /// QEMU refuses, or does not answer.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        let deadline = Instant::now() + PATIENCE;
        if !self.is_greeted {
            self.command("qmp_capabilities", &json!({}), deadline)?;
            self.is_greeted = true;
        }
        self.command(command, arguments, deadline)
    }

    /// Waits until QEMU has reported an event of this name, and returns its data. Events that came before are not forgotten.
    ///
    /// # Errors
    /// The deadline passes, or the line breaks.
    pub fn wait_for(&mut self, name: &str, deadline: Instant) -> Result<Value, QmpError> {
        loop {
            if let Some(at) = self.events.iter().position(|event| event["event"] == name) {
                return Ok(self.events.remove(at).map(|mut event| event["data"].take()).unwrap_or_default());
            }
            let message = self.receive(deadline)?;
            self.keep(message);
        }
    }

    fn command(&mut self, command: &str, arguments: &Value, deadline: Instant) -> Result<Value, QmpError> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.line.set_write_timeout(Some(PATIENCE))?;
        self.line.write_all(line.as_bytes())?;
        loop {
            let mut message = self.receive(deadline)?;
            if let Some(error) = message.get("error") {
                let reason = error["desc"].as_str().unwrap_or("no reason given").to_owned();
                return Err(QmpError::Refused { command: command.to_owned(), reason });
            }
            match message.get_mut("return") {
                Some(value) => return Ok(value.take()),
                None => self.keep(message),
            }
        }
    }

    fn keep(&mut self, message: Value) {
        if message.get("event").is_some() && self.events.len() < MOST_EVENTS {
            self.events.push_back(message);
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Value, QmpError> {
        loop {
            if let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|error| QmpError::Nonsense(error.to_string()));
            }
            if self.partial.len() > LONGEST_LINE {
                return Err(QmpError::Nonsense("a line without end".to_owned()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(ErrorKind::TimedOut).into());
            }
            self.line.set_read_timeout(Some(left))?;
            let mut block = [0; 4096];
            match self.line.read(&mut block) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(length) => self.partial.extend_from_slice(&block[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};

    /// A monitor that greets, and answers each command with the next of `answers`.
    fn monitor(answers: &'static [&'static str]) -> Qmp {
        let (near, far) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut writer = far.try_clone().unwrap();
            let _ = writer.write_all(b"{\"QMP\": {\"version\": {}}}\n");
            let mut answers = answers.iter();
            for _ in BufReader::new(far).lines() {
                match answers.next() {
                    Some(answer) => drop(writer.write_all(answer.as_bytes())),
                    None => break,
                }
            }
        });
        Qmp::new(near)
    }

    #[test]
    fn a_command_is_answered_and_events_on_the_way_are_kept() {
        let mut qmp = monitor(&["{\"return\": {}}\n", "{\"event\": \"WAKEUP\", \"data\": {\"a\": 1}}\n{\"return\": 7}\n"]);
        assert_eq!(qmp.execute("system_wakeup", &json!({})).unwrap(), json!(7));
        assert_eq!(qmp.wait_for("WAKEUP", Instant::now()).unwrap(), json!({"a": 1}));
    }

    #[test]
    fn a_refusal_names_the_command_and_qemus_reason() {
        let mut qmp = monitor(&["{\"return\": {}}\n", "{\"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"no slot\"}}\n"]);
        let refused = qmp.execute("device_del", &json!({"id": "x"})).unwrap_err();
        assert_eq!(refused.to_string(), "QEMU refuses device_del: no slot");
    }

    #[test]
    fn a_monitor_that_closes_or_talks_nonsense_is_an_error() {
        assert!(matches!(monitor(&[]).execute("quit", &json!({})), Err(QmpError::Line(_))));
        assert!(matches!(monitor(&["what?\n"]).execute("quit", &json!({})), Err(QmpError::Nonsense(_))));
    }

    #[test]
    fn waiting_for_an_event_ends_at_its_deadline() {
        let mut qmp = monitor(&["{\"return\": {}}\n", "{\"return\": {}}\n"]);
        qmp.execute("stop", &json!({})).unwrap();
        assert!(matches!(qmp.wait_for("WAKEUP", Instant::now()), Err(QmpError::Line(_))));
    }
}
