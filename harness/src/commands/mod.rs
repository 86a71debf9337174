//! What a user can ask for.

pub mod config;
pub mod debug;
pub mod doctor;
mod guest;
pub mod image;
pub mod new;
pub mod options;
pub mod package;
pub mod replay;
pub mod report;
pub mod rerun;
pub mod run;
pub mod serve;
pub mod tap;
pub mod test;
pub mod trace;
mod trace_change;
pub mod triage;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::console::note;
use crate::error::{Exit, Outcome, Problem};
use crate::guard;
use crate::interrupt::Interrupt;

/// Tests Windows KMDF drivers for PCI hardware that is not there.
#[derive(Debug, Parser)]
#[command(name = "rig", bin_name = "cargo rig", version, disable_help_subcommand = true)]
pub enum Command {
    /// Builds driver, suite and guest, boots them, runs the suite.
    Run(Box<run::Arguments>),
    /// Repeats a run with the same tests, seeds and options, and says what is different this time.
    Rerun(rerun::Arguments),
    /// Puts the reports of several runs, such as the shards of one, together.
    Report(report::Arguments),
    /// Runs the host tests of every crate, then a run.
    Test(test::Arguments),
    /// Boots the guest against a recorded device, and tells where the driver does something else than recorded.
    Replay(replay::Arguments),
    /// Looks at traces: what is in them, where two part; makes timelines and waveforms of them; imports logs.
    Trace(trace::Arguments),
    /// Serves the relay hardware to a QEMU of your own.
    Serve(serve::Arguments),
    /// Stands between QEMU and a vfio-user server, and writes a trace of all that they say.
    Tap(tap::Arguments),
    /// Builds and signs the driver package, or checks one.
    Package(package::Arguments),
    /// Windows guests, from install media of your own.
    Image(image::Arguments),
    /// Writes a new driver with its device model and tests, which builds and runs at once.
    New(new::Arguments),
    /// Boots a guest for a debugger, and says how to connect one.
    Debug(debug::Arguments),
    /// Says in ten lines what a crash dump tells.
    Triage(triage::Arguments),
    /// Shows each need, where it was found, and what to do where it is missing.
    Doctor(doctor::Arguments),
}

/// The binary's life: reads the command line, does what it says, explains what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() == Some(guard::COMMAND.as_ref()) {
        return guard::main(arguments).into();
    }
    let words = match config::expand(std::env::args_os().collect(), Path::new("")) {
        Ok(words) => words,
        Err(problem) => {
            note(problem.to_string());
            return problem.exit().into();
        }
    };
    let command = match Command::try_parse_from(words) {
        Ok(command) => command,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Passed }.into();
        }
    };
    match perform(command) {
        Ok(exit) => exit.into(),
        Err(problem) => {
            note(problem.to_string());
            problem.exit().into()
        }
    }
}

fn perform(command: Command) -> Outcome<Exit> {
    let interrupt = Interrupt::install().map_err(|error| {
        Problem::environment("signals cannot be handled").because(error.to_string()).so("start rig from a plain shell")
    })?;
    match command {
        Command::Run(arguments) => run::perform(&arguments, &interrupt),
        Command::Rerun(arguments) => rerun::perform(&arguments, &interrupt),
        Command::Report(arguments) => report::perform(&arguments, &interrupt),
        Command::Test(arguments) => test::perform(&arguments, &interrupt),
        Command::Replay(arguments) => replay::perform(&arguments, &interrupt),
        Command::Trace(arguments) => trace::perform(&arguments, &interrupt),
        Command::Serve(arguments) => serve::perform(&arguments, &interrupt),
        Command::Tap(arguments) => tap::perform(&arguments, &interrupt),
        Command::Package(arguments) => package::perform(&arguments, &interrupt),
        Command::Image(arguments) => image::perform(&arguments, &interrupt),
        Command::New(arguments) => new::perform(&arguments, &interrupt),
        Command::Debug(arguments) => debug::perform(&arguments, &interrupt),
        Command::Triage(arguments) => triage::perform(&arguments),
        Command::Doctor(arguments) => doctor::perform(&arguments, &interrupt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Command::command().debug_assert();
    }
}
