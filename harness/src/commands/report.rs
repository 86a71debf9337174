//! `rig report`: the reports of one run again, or of several runs as one.

use std::path::{Path, PathBuf};

use chrono::Utc;
use clap::Args;

use crate::console::{note, say};
use crate::error::{AtPath as _, Exit, Outcome};
use crate::files::open_file;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::report::folder::{GUEST_LOG, REPORT, RunFolder};
use crate::report::{self, github, merge, read};
use crate::run::record::RunRecord;

/// Options of `rig report`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Folders of runs, such as the shards of one run. No test may be in two of them.
    #[arg(required = true, value_name = "FOLDER")]
    pub folders: Vec<PathBuf>,
    /// Where the report goes. Default: a new folder beside those of runs.
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

/// Logs of a run that are not there any more, or not whole: what the report cannot show.
fn lost(folder: &Path, record: &RunRecord) -> Vec<String> {
    let end_of =
        |boot: usize| record.tests.iter().filter(|test| test.boot == boot).map(|test| test.guest_log.1).max().unwrap_or(0);
    let why = |number: usize, path: &Path| match open_file(path).and_then(|file| file.metadata()) {
        Ok(file) if file.len() < end_of(number) => Some("it is shorter than it was".to_owned()),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    };
    let paths = record.boots.iter().map(|boot| folder.join(&boot.folder).join(GUEST_LOG));
    let lost = (1..).zip(paths).filter_map(|(number, path)| why(number, &path).map(|why| (path, why)));
    lost.map(|(path, why)| format!("lines of tests are missing: {}: {why}", path.display())).collect()
}

/// Does it. The exit status is that of the runs together.
///
/// # Errors
/// A folder is no run's or is damaged; two runs share a test; the disk's.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    let mut parts = Vec::new();
    for folder in &arguments.folders {
        interrupt.check()?;
        // A link such as `latest` may point elsewhere tomorrow.
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let record = read::record(&folder)?;
        parts.push((folder, record));
    }
    // What can be refused is refused before a folder is made.
    merge::merge(&parts, &PathBuf::from("/"))?;
    let folder = match &arguments.output {
        Some(path) => {
            std::fs::create_dir_all(path).at("create", path)?;
            RunFolder { path: path.canonicalize().at("find", path)? }
        }
        None => RunFolder::create(&Places::find(None), "merged", Utc::now())?,
    };
    let merged = merge::merge(&parts, &folder.path)?;
    for line in merge::odd_ones(&parts).into_iter().chain(parts.iter().flat_map(|(path, part)| lost(path, part))) {
        note(format!("[rig] {line}"));
    }
    report::write(&folder, &merged)?;
    if let Some(trouble) = &merged.trouble {
        trouble.lines.iter().for_each(note);
    }
    if github::listens() {
        github::annotations(&merged).iter().for_each(say);
    }
    note(format!("[rig] report: {}", folder.path.join(REPORT).display()));
    say(merged.counts.to_string());
    Ok(Exit::of_code(merged.exit))
}
