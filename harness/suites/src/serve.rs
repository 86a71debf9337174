//! The conversation with the harness: list the tests, run the one asked for, say how it went.

use alloc::format;
use alloc::string::String;

use channel::{FromGuest, LogLevel, Outcome, PROTOCOL_VERSION, ToGuest};

use crate::bench::{Bench, Failure, Test};
use crate::link::Link;
use crate::nt::{self, NTSTATUS};

/// Longest text put into one message; the rest of a frame is for names and framing.
const LONGEST_TEXT: usize = 1024;

/// Answers the harness until it says goodbye.
///
/// # Errors
/// The status with which COM2 could not be opened, read or written.
pub fn serve() -> Result<(), NTSTATUS> {
    let mut link = Link::open()?;
    loop {
        match link.receive(Order::new)? {
            Order::Greet => link.send(&FromGuest::Hello { protocol: PROTOCOL_VERSION, system: &nt::system_name() })?,
            Order::List => list(&mut link)?,
            Order::Run { test, seed } => run(&mut link, test, seed)?,
            Order::Refuse { name } => refuse(&mut link, &name)?,
            Order::Ignore => {}
            Order::Leave => return link.send(&FromGuest::Goodbye),
        }
    }
}

/// What the harness wants, free of the line it came in on.
enum Order {
    Greet,
    List,
    Run { test: &'static Test, seed: u64 },
    Refuse { name: String },
    Ignore,
    Leave,
}

impl Order {
    fn new(message: ToGuest<'_>) -> Self {
        match message {
            ToGuest::Hello { .. } => Self::Greet,
            ToGuest::List => Self::List,
            ToGuest::Run { test: name, seed } => match crate::all().find(|test| test.name == name) {
                Some(test) => Self::Run { test, seed },
                None => Self::Refuse { name: shorten(name).into() },
            },
            // An answer to nobody: the test that asked has gone on.
            ToGuest::Answer { .. } => Self::Ignore,
            ToGuest::Goodbye => Self::Leave,
        }
    }
}

fn list(link: &mut Link) -> Result<(), NTSTATUS> {
    for test in crate::all() {
        link.send(&FromGuest::Test { name: test.name, purpose: test.purpose, needs: test.needs, expects: test.expects })?;
    }
    link.send(&FromGuest::EndOfList)
}

fn run(link: &mut Link, test: &Test, seed: u64) -> Result<(), NTSTATUS> {
    link.send(&FromGuest::Started { test: test.name })?;
    let start = nt::interrupt_time();
    let result = (test.run)(&mut Bench::new(seed));
    let duration = nt::interrupt_time().saturating_sub(start);
    let outcome = match &result {
        Ok(()) => Outcome::Passed,
        Err(Failure::Expectation { place, reason }) => {
            Outcome::Failed { file: place.file(), line: place.line(), reason: shorten(reason) }
        }
        Err(Failure::Skipped { reason }) => Outcome::Skipped { reason: shorten(reason) },
    };
    link.send(&FromGuest::Finished { test: test.name, outcome, duration })
}

fn refuse(link: &mut Link, name: &str) -> Result<(), NTSTATUS> {
    let text = format!("no test is called {name}");
    link.send(&FromGuest::Log { level: LogLevel::Warning, text: &text })?;
    let outcome = Outcome::Failed { file: file!(), line: line!(), reason: &text };
    link.send(&FromGuest::Finished { test: name, outcome, duration: 0 })
}

/// The start of a text that fits into a message.
fn shorten(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

/// Says over a link of its own that the suite itself is broken, and ends the process.
pub fn report_panic(info: &core::panic::PanicInfo<'_>) -> ! {
    if let Ok(mut link) = Link::open() {
        let text = format!("suite.exe is broken: {info}");
        // The process ends either way; the harness sees the end even when it does not see the reason.
        let _ = link.send(&FromGuest::Log { level: LogLevel::Warning, text: shorten(&text) });
    }
    nt::exit_process(NTSTATUS::UNHANDLED_EXCEPTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = "ä".repeat(LONGEST_TEXT);
        assert_eq!(shorten(&text).len(), LONGEST_TEXT);
        assert_eq!(shorten(&text[..3 * 2]), "äää");
    }

    #[test]
    fn every_test_has_a_name_of_its_own_and_a_purpose() {
        let mut names: Vec<_> = crate::all().map(|test| test.name).collect();
        assert!(crate::all().all(|test| !test.purpose.is_empty() && test.name.contains("::")));
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
