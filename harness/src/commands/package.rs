//! `rig package`: the signed driver package, in a folder; and `rig package verify`: what is wrong with a package.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use driver_package::finding::Severity;
use driver_package::verify;

use crate::build;
use crate::console::{printable, say};
use crate::error::{AtPath as _, Exit, Outcome, Problem};
use crate::files::write_whole;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::project::Project;

/// Options of `rig package`.
#[derive(Clone, Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "The same sources and key make the same bytes. The package is dated by SOURCE_DATE_EPOCH, else 2026-01-01."
)]
pub struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Folder for the package. Default: target/rig/package.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Where fetched things and the signing key are kept. Default: target/rig/setup.
    #[arg(long, value_name = "FOLDER", env = "RIG_SETUP_DIR")]
    setup_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Checks a driver package, ours or anybody's, and explains each finding. Ends with 1 when there is an error.
    Verify {
        /// The folder with the .inf, .sys, .cat and .cer files.
        folder: PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// The driver does not build; the folder cannot be read or written; an interrupt.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    match &arguments.what {
        Some(What::Verify { folder }) => check(folder),
        None => make(arguments, interrupt),
    }
}

fn make(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    let places = Places::find(arguments.setup_dir.clone());
    let (files, _lock) = match Project::here()? {
        Some(project) => build::project_package(&project, &places, interrupt)?,
        None => build::driver_package(&places, interrupt)?,
    };
    if let Some(out) = &arguments.out {
        fs::create_dir_all(out).at("create", out)?;
    }
    for made in files {
        let mut path = made.clone();
        if let (Some(out), Some(name)) = (&arguments.out, made.file_name()) {
            path = out.join(name);
            write_whole(&path, &build::read(&made)?).at("write", &path)?;
        }
        say(path.display().to_string());
    }
    Ok(Exit::Passed)
}

fn check(folder: &Path) -> Outcome<Exit> {
    let report = verify::folder(folder).map_err(|error| {
        Problem::usage(format!("{} is no folder that can be checked", folder.display()))
            .because(error.to_string())
            .so("name the folder that holds the .inf")
    })?;
    let show = |text: &str| text.lines().for_each(|line| say(printable(line)));
    report.facts.iter().for_each(|fact| show(fact));
    report.findings.all().iter().for_each(|finding| show(&finding.to_string()));
    let [errors, warnings] = [Severity::Error, Severity::Warning].map(|severity| report.findings.count(severity));
    if report.findings.left_out() != 0 {
        say(format!("{} more findings are not shown", report.findings.left_out()));
    }
    say(format!("{errors} errors, {warnings} warnings"));
    Ok(if errors == 0 { Exit::Passed } else { Exit::Failed })
}
