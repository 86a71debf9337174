//! `rig triage`: what a crash dump says, in ten lines.

use std::path::PathBuf;

use clap::Args;

use crate::build::Artifacts;
use crate::console::say;
use crate::dump::triage::Case;
use crate::error::{Exit, Outcome};
use crate::places::Places;
use crate::symbols::Symbols;

/// Options of `rig triage`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// A crash dump, or the folder of a run that has one.
    #[arg(value_name = "DUMP|FOLDER", default_value = "target/rig/runs/latest")]
    pub what: PathBuf,
    /// Files that name functions of modules (PDB or ELF). Default: those of the last build.
    #[arg(long, value_name = "FILE")]
    pub symbols: Vec<PathBuf>,
}

/// Does it.
///
/// # Errors
/// There is no dump, or none that can be read.
pub fn perform(arguments: &Arguments) -> Outcome<Exit> {
    let case = Case::open(&arguments.what)?;
    let mut files = arguments.symbols.clone();
    files.extend(Artifacts::built(&Places::find(None)).symbols());
    case.lines(&Symbols::new(files)).iter().for_each(say);
    Ok(Exit::Passed)
}
