//! The conversation with the harness: list the tests, run the one asked for, say how it went.

use alloc::format;
use alloc::string::String;

use channel::{FromGuest, LogLevel, Outcome, PROTOCOL_VERSION, Span, ToGuest};

use crate::bench::{Bench, Failure, Test, shorten};
use crate::link::Link;
use crate::nt::{self, NTSTATUS};

/// Answers the harness, for the tests that `all` gives, until it says goodbye.
///
/// # Errors
/// The status with which COM2 could not be opened, read or written.
pub fn serve<T: Iterator<Item = &'static Test>>(all: impl Fn() -> T) -> Result<(), NTSTATUS> {
    let mut bench = Bench::new(Link::open()?);
    loop {
        match bench.link().receive(|message| Order::new(message, all()))? {
            Order::Greet => bench.link().send(&FromGuest::Hello { protocol: PROTOCOL_VERSION, system: &nt::system_name() })?,
            Order::List => list(bench.link(), all())?,
            Order::Run { test, seed, span } => {
                bench.prepare(seed, span);
                run(&mut bench, test)?;
            }
            Order::Refuse { name } => refuse(bench.link(), &name)?,
            Order::Ignore => {}
            Order::Leave => return bench.link().send(&FromGuest::Goodbye),
        }
    }
}

/// What the harness wants, free of the line it came in on.
enum Order {
    Greet,
    List,
    Run { test: &'static Test, seed: u64, span: Span },
    Refuse { name: String },
    Ignore,
    Leave,
}

impl Order {
    fn new(message: ToGuest<'_>, mut all: impl Iterator<Item = &'static Test>) -> Self {
        match message {
            ToGuest::Hello { .. } => Self::Greet,
            ToGuest::List => Self::List,
            ToGuest::Run { test: name, seed, span } => match all.find(|test| test.name == name) {
                Some(test) => Self::Run { test, seed, span },
                None => Self::Refuse { name: shorten(name).into() },
            },
            // An answer to nobody: the test that asked has gone on.
            ToGuest::Answer { .. } => Self::Ignore,
            ToGuest::Goodbye => Self::Leave,
        }
    }
}

fn list(link: &mut Link, all: impl Iterator<Item = &'static Test>) -> Result<(), NTSTATUS> {
    for test in all {
        link.send(&FromGuest::Test { name: test.name, purpose: test.purpose, needs: test.needs, expects: test.expects })?;
    }
    link.send(&FromGuest::EndOfList)
}

fn run(bench: &mut Bench, test: &Test) -> Result<(), NTSTATUS> {
    bench.link().send(&FromGuest::Started { test: test.name })?;
    let start = nt::interrupt_time();
    let result = (test.run)(bench);
    let duration = nt::interrupt_time().saturating_sub(start);
    let outcome = match &result {
        Ok(()) => Outcome::Passed,
        Err(Failure::Expectation { place, reason }) => {
            Outcome::Failed { file: place.file(), line: place.line(), reason: shorten(reason) }
        }
        Err(Failure::Skipped { reason }) => Outcome::Skipped { reason: shorten(reason) },
    };
    bench.link().send(&FromGuest::Finished { test: test.name, outcome, duration })
}

fn refuse(link: &mut Link, name: &str) -> Result<(), NTSTATUS> {
    let text = format!("no test is called {name}");
    link.send(&FromGuest::Log { level: LogLevel::Warning, text: &text })?;
    let outcome = Outcome::Failed { file: file!(), line: line!(), reason: &text };
    link.send(&FromGuest::Finished { test: name, outcome, duration: 0 })
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
