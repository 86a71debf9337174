//! `rig test`: the host tests of every crate, format and lints, then a run. What CI calls.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::{PollFd, PollFlags};

use super::options::Ground;
use super::run;
use crate::child::{Child, Waited, describe};
use crate::console::{Step, note, say};
use crate::error::{Exit, Outcome, Problem};
use crate::interrupt::{Interrupt, poll_until};
use crate::places::Places;
use crate::run::record::Counts;
use crate::setup::toolchain::{SOURCE_VARIABLE, StdSource, Toolchain, cargo};
use crate::setup::{firmware, qemu, tools};
use crate::tool::Tool;

/// Longest time for the host tests, their build included.
const HOST_TESTS: Duration = Duration::from_secs(30 * 60);
const LINTS: Duration = Duration::from_secs(15 * 60);
/// Numbers of processors that the guest is run with, and how its device is then reached.
const GROUNDS: [(&str, &str); 3] = [("2", "vfio-user"), ("1", "vhost-user"), ("4", "vfio-user")];
/// Longest line of a test's output that is looked at.
const LONGEST_LINE: usize = 64 << 10;

/// Options of `rig test`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// What runs the guest.
    #[command(flatten)]
    pub ground: Ground,
}

/// Does it.
///
/// # Errors
/// What keeps a part from beginning. A failed test is no error but an exit status.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    let places = Places::find(arguments.ground.setup_dir.clone());
    let qemu = qemu::find_or_fetch(arguments.ground.qemu.as_deref(), &places, interrupt)?;
    let source = Toolchain::find(&places, interrupt)?.fetch_std_source(&places, interrupt)?;
    let tools = tools::for_tests(&places, interrupt)?;
    firmware::find_or_fetch(&places, interrupt)?;
    let (mut counts, mut exit) = host_tests(&places, &qemu, &source, &tools, interrupt)?;
    for (name, component, words) in [
        ("format", "fmt", vec!["fmt", "--all", "--check"]),
        ("lints", "clippy", vec!["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ] {
        let (part, of_part) = check(name, component, &words, &places, interrupt)?;
        counts = counts + part;
        exit = exit.worst(of_part);
    }
    let mut first = None;
    for (name, words) in in_the_guest(&places) {
        let (part, of_part, folder) = run_in_guest(&words, arguments, interrupt);
        say(format!("in the guest, {name}: {part}"));
        counts = counts + part;
        exit = exit.worst(of_part);
        first = first.or(folder);
        interrupt.check()?;
    }
    if let Some(folder) = first {
        let (part, of_part) = check_contract(&folder, &places, interrupt)?;
        counts = counts + part;
        exit = exit.worst(of_part);
    }
    say(counts.to_string());
    Ok(exit)
}

/// The runs in the guest: everything with different numbers of processors, on both transports; then our own package and model as if they were somebody
/// else's. What each is called, and the options of `rig run` that it takes.
fn in_the_guest(places: &Places) -> Vec<(String, Vec<String>)> {
    let mut runs: Vec<(String, Vec<String>)> = GROUNDS.iter().map(|&(count, transport)| whole_run(count, transport)).collect();
    // Both are there: the runs before this one have built them.
    let package = places.package().join("relay.inf").display().to_string();
    let model = places.target.join("debug/device-model").display().to_string();
    let serve = format!("'{model}' serve relay --transport vfio-user --socket {}", crate::device::PATH);
    runs.push(("as a stranger's".to_owned(), ["--package", &package, "--device", &serve].map(str::to_owned).to_vec()));
    runs
}

/// A run of everything.
fn whole_run(processors: &str, transport: &str) -> (String, Vec<String>) {
    let words = ["--vcpus", processors, "--transport", transport].map(str::to_owned).to_vec();
    (format!("processors: {processors}, {transport}"), words)
}

/// One run, and its folder. What keeps it from beginning counts as a failed test.
fn run_in_guest(words: &[String], arguments: &Arguments, interrupt: &Interrupt) -> (Counts, Exit, Option<PathBuf>) {
    use clap::Parser as _;
    let typed = ["rig", "run", "--keep-going", "--timings"].into_iter().chain(words.iter().map(String::as_str));
    let finished = match super::Command::try_parse_from(typed) {
        Ok(super::Command::Run(run)) => {
            let run = run::Arguments { ground: arguments.ground.clone(), ..*run };
            run::perform_these(&run, run::Chosen::default(), interrupt, &|_| ())
        }
        _ => Err(Problem::failed(format!("`rig run` does not take {}", words.join(" ")))),
    };
    match finished {
        Ok(ended) => (ended.record.counts, ended.exit, Some(ended.folder)),
        Err(problem) => {
            note(problem.to_string());
            (Counts { failed: 1, ..Counts::default() }, problem.exit(), None)
        }
    }
}

/// Whether `docs/contract.md` has the results of the run in `folder`; counts as one test. The program was built beside the host tests.
fn check_contract(folder: &Path, places: &Places, interrupt: &Interrupt) -> Outcome<(Counts, Exit)> {
    let program = places.target.join("debug/examples/contract-results");
    let status =
        Tool::new(program, LINTS).args(["--check".as_ref(), folder.as_os_str()]).pass_through(interrupt).map_err(|error| {
            error.problem("the results in docs/contract.md cannot be checked", "see that the host tests are built")
        })?;
    let (word, counts, exit) = match status.success() {
        true => ("PASS", Counts { passed: 1, ..Counts::default() }, Exit::Passed),
        false => ("FAIL", Counts { failed: 1, ..Counts::default() }, Exit::Failed),
    };
    say(format!("    {word}  results in docs/contract.md"));
    Ok((counts, exit))
}

fn host_tests(
    places: &Places,
    qemu: &qemu::Qemu,
    source: &StdSource,
    tools: &OsStr,
    interrupt: &Interrupt,
) -> Outcome<(Counts, Exit)> {
    let step = Step::begin("host tests of every crate");
    let what = "the host tests cannot be run";
    let (reader, writer) = std::io::pipe().map_err(|error| Problem::environment(what).because(error.to_string()))?;
    let mut tool = Tool::new(cargo(), HOST_TESTS)
        .args(["test", "--workspace", "--no-fail-fast", "--target-dir"])
        .args([&places.target])
        .env(qemu::VARIABLE, &qemu.program)
        .env("RIG_SETUP_DIR", &places.setup)
        .env(test_tools::VARIABLE, tools)
        .without_env("CARGO_TARGET_DIR")
        .inside(&places.root);
    if let StdSource::Setup(library) = source {
        // Tests that build something for a guest need it, too.
        tool = tool.env(SOURCE_VARIABLE, library);
    }
    let remedy = "try `cargo test --workspace` yourself";
    let mut child = tool.start(Stdio::from(writer)).map_err(|error| error.problem(what, remedy))?;
    let mut tally = Tally::default();
    listen(File::from(std::os::fd::OwnedFd::from(reader)), &mut child, &mut tally, interrupt)?;
    let (counts, exit) = match child.wait(Instant::now() + Duration::from_secs(5), interrupt) {
        Waited::Ended(status) if status.success() => (tally.counts, Exit::Passed),
        Waited::Ended(status) => {
            // Something that does not compile, or a test program that died, has no line of its own to count.
            let mut counts = tally.counts;
            if counts.failed == 0 {
                note(format!("cargo test ended with {}; see above", describe(status)));
                counts.failed = 1;
            }
            (counts, Exit::Failed)
        }
        Waited::Interrupted(signal) => return Err(Problem::interrupted(signal)),
        Waited::Deadline => {
            child.kill();
            note(format!("the host tests did not end within {} minutes", HOST_TESTS.as_secs() / 60));
            (Counts { failed: tally.counts.failed + 1, ..tally.counts }, Exit::Hang)
        }
    };
    step.done(&counts.to_string());
    Ok((counts, exit))
}

/// Shows what `cargo test` writes and counts results, until it closes its output or the time is over.
fn listen(mut output: File, child: &mut Child, tally: &mut Tally, interrupt: &Interrupt) -> Outcome<()> {
    let deadline = Instant::now() + HOST_TESTS;
    let mut block = [0; 8192];
    loop {
        let mut sources = [PollFd::new(&output, PollFlags::IN), PollFd::new(interrupt, PollFlags::IN)];
        if !poll_until(&mut sources, Some(deadline)) {
            return Ok(());
        }
        if let Err(problem) = interrupt.check() {
            child.kill();
            return Err(problem);
        }
        match output.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(length) => tally.take(&block[..length], |line| say(line)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Problem::environment("the tests' output cannot be read").because(error.to_string())),
        }
    }
}

/// Counts the results of test programs, from the line with which each of them ends.
#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
    line: Vec<u8>,
}

impl Tally {
    /// Takes output; every whole line is given to `show`.
    fn take(&mut self, bytes: &[u8], show: impl Fn(&str)) {
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() < LONGEST_LINE {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).into_owned();
            show(&line);
            if let Some(result) = line.strip_prefix("test result: ") {
                self.counts = self.counts + counts_in(result);
            }
            self.line.clear();
        }
    }
}

/// `ok. 3 passed; 0 failed; 1 ignored; …`
fn counts_in(result: &str) -> Counts {
    let number = |word: &str| {
        let words: Vec<&str> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
    };
    Counts { passed: number("passed"), failed: number("failed"), skipped: number("ignored"), ..Counts::default() }
}

/// Format or lints; counts as one test. A component that the toolchain does not have is told and counts as skipped.
fn check(name: &str, component: &str, words: &[&str], places: &Places, interrupt: &Interrupt) -> Outcome<(Counts, Exit)> {
    let probe = Tool::new(cargo(), LINTS).args([component, "--version"]).inside(&places.root).capture(interrupt);
    interrupt.check()?;
    if !probe.is_ok_and(|finished| finished.status.success()) {
        say(format!("    SKIP  {name}: the toolchain has no cargo {component}; `rustup component add` brings it"));
        return Ok((Counts { skipped: 1, ..Counts::default() }, Exit::Passed));
    }
    let tool = Tool::new(cargo(), LINTS).args(words).without_env("CARGO_TARGET_DIR").inside(&places.root);
    let tool = if component == "fmt" { tool } else { tool.env("CARGO_TARGET_DIR", &places.target) };
    let status =
        tool.pass_through(interrupt).map_err(|error| error.problem(&format!("{name} cannot be checked"), "try it yourself"))?;
    if status.success() {
        say(format!("    PASS  {name}"));
        return Ok((Counts { passed: 1, ..Counts::default() }, Exit::Passed));
    }
    say(format!("    FAIL  {name}: see above; `cargo {component}` shows it again"));
    Ok((Counts { failed: 1, ..Counts::default() }, Exit::Failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_in_the_guest_is_one_that_rig_understands() {
        use clap::Parser as _;
        let places = Places { root: "/a b".into(), target: "/a b/target".into(), setup: "/s".into() };
        for (name, words) in in_the_guest(&places) {
            let typed = ["rig", "run"].map(str::to_owned).into_iter().chain(words);
            assert!(super::super::Command::try_parse_from(typed).is_ok(), "{name}");
        }
    }

    #[test]
    fn results_of_test_programs_are_added_up() {
        let mut tally = Tally::default();
        tally.take(b"running 4 tests\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n", |_| ());
        tally.take(b"test result: FAILED. 1 passed; 2 fai", |_| ());
        tally.take(b"led; 0 ignored; 0 measured; 0 filtered out\n", |_| ());
        assert_eq!(tally.counts.to_string(), "4 passed, 2 failed, 1 skipped");
    }
}
