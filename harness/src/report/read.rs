//! Reading what a run has left: somebody else's file, perhaps half of it, perhaps of another version.

use std::io::{ErrorKind, Read as _};
use std::path::{Component, Path};

use serde::Deserialize;

use super::folder::RECORD;
use crate::error::{AtPath as _, Outcome, Problem};
use crate::files::open_file;
use crate::run::record::{FORMAT, RunRecord};

/// Largest record that is read.
const MOST: u64 = 256 << 20;

/// What every version of a record has.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// The record of the run in `folder`.
///
/// # Errors
/// It is no run's folder, its record is damaged or of another version, or the disk's error.
pub fn record(folder: &Path) -> Outcome<RunRecord> {
    let path = folder.join(RECORD);
    let file = open_file(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Problem::usage(format!("{} is no run's folder", folder.display()))
            .because(format!("it has no {RECORD}"))
            .so("name a folder below target/rig/runs, such as target/rig/runs/latest"),
        _ => Problem::environment(format!("cannot read {}", path.display()))
            .because(error.to_string())
            .so("see that it is a file that you may read"),
    })?;
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes).at("read", &path)?;
    let damaged = |why: String| {
        Problem::environment(format!("{} is damaged", path.display()))
            .because(why)
            .so("take another run's folder: this one cannot be read or repeated")
    };
    if bytes.len() as u64 > MOST {
        return Err(damaged(format!("it is larger than {} MiB", MOST >> 20)));
    }
    let version: Version = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if version.format != FORMAT {
        return Err(Problem::usage(format!("{} was left by another version of rig", folder.display()))
            .because(format!("its record has format {}, this rig reads format {FORMAT}", version.format))
            .so("use the rig that made it, or run again"));
    }
    let record: RunRecord = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    let is_inside =
        |folder: &str| Path::new(folder).components().all(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    match record.boots.iter().find(|boot| !is_inside(&boot.folder)) {
        Some(boot) => Err(damaged(format!("it names {} as the folder of a boot", boot.folder))),
        None => Ok(record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;
    use crate::report::tests::sample;

    fn reading(content: &str) -> Problem {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(RECORD), content).unwrap();
        record(folder.path()).unwrap_err()
    }

    #[test]
    fn a_half_record_is_damaged() {
        let text = serde_json::to_string(&sample()).unwrap();
        for content in ["", "{", "[]", "\0\0\0", &text[..text.len() / 2], "{\"format\": 2}"] {
            let problem = reading(content);
            assert!(problem.exit() == Exit::Environment && problem.what().contains("is damaged"), "{content:?}: {problem}");
        }
    }

    #[test]
    fn a_record_of_another_version_is_named_with_both_versions() {
        let problem = reading("{\"format\": 1, \"rig\": 7}");
        assert_eq!(problem.exit(), Exit::Usage);
        assert_eq!(problem.why(), "its record has format 1, this rig reads format 2");
    }

    #[test]
    fn a_folder_without_a_record_is_no_runs() {
        assert_eq!(record(Path::new("/nowhere")).unwrap_err().exit(), Exit::Usage);
        assert_eq!(record(Path::new("/dev/null")).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn a_record_cannot_lead_to_any_file_of_the_machine() {
        let mut hostile = sample();
        hostile.boots[0].folder = "/etc".into();
        assert!(reading(&serde_json::to_string(&hostile).unwrap()).why().contains("/etc"));
    }
}
