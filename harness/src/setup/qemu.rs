//! QEMU: the one the user names, the one on PATH, or the distribution's newer package set, unpacked and run through its own
//! loader.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Workshop;
use super::apt::{Apt, Suites, digests};
use crate::console::Step;
use crate::error::{AtPath as _, Exit, Outcome, Problem};
use crate::files::write_whole;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::tool::{Tool, ToolError, complaint};

/// The oldest version that will do: `vfio-user-pci` is settled, and `vhost-user-test-device-pci` can be created by users.
pub const OLDEST: Version = Version(10, 2);
/// The environment variable that names a QEMU, like `--qemu`.
pub const VARIABLE: &str = "RIG_QEMU";
/// The program looked for on PATH.
const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// Folder in the set-up folder.
const FOLDER: &str = "qemu";
const MANIFEST: &str = "manifest.json";
const ANSWER: Duration = Duration::from_secs(20);

/// Major and minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Where a QEMU comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--qemu` or the environment variable.
    Named,
    /// On PATH.
    Path,
    /// Fetched into the set-up folder.
    Setup,
}

impl Origin {
    /// In words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Named => "named by --qemu or RIG_QEMU",
            Self::Path => "found on PATH",
            Self::Setup => "fetched into the set-up folder",
        }
    }
}

/// A QEMU that is new enough.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// The program.
    pub program: PathBuf,
    /// What it says of itself, `11.1.3 (…)`.
    pub version: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl Qemu {
    /// Whether the program is a script that may start QEMU as its child instead of becoming it.
    #[must_use]
    pub fn is_foreign_script(&self) -> bool {
        let begins_with = |mark: &[u8]| {
            use std::io::Read as _;
            let mut start = [0; 2];
            fs::File::open(&self.program).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == mark
        };
        self.origin != Origin::Setup && begins_with(b"#!")
    }
}

/// What was fetched.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: String,
    packages: Vec<(String, String)>,
}

/// Finds a QEMU without fetching anything. `Ok(None)`: there is none, and none was named.
///
/// # Errors
/// The named one is missing (the user's mistake), gives no answer or is too old.
pub fn find(named: Option<&Path>, places: &Places, interrupt: &Interrupt) -> Outcome<Option<Qemu>> {
    if let Some(program) = named {
        return named_one(program, interrupt).map(Some);
    }
    if let Some(program) = on_path(PROGRAM)
        && let Ok((version, text)) = ask_version(&program, interrupt)
        && version >= OLDEST
    {
        return Ok(Some(Qemu { program, version: text, origin: Origin::Path }));
    }
    Ok(fetched(places))
}

/// Finds a QEMU or fetches one.
///
/// # Errors
/// As [`find`]; a broken environment when it cannot be fetched.
pub fn find_or_fetch(named: Option<&Path>, places: &Places, interrupt: &Interrupt) -> Outcome<Qemu> {
    if let Some(qemu) = find(named, places, interrupt)? {
        return Ok(qemu);
    }
    let workshop = Workshop::enter(places, interrupt)?;
    if let Some(qemu) = fetched(places) {
        return Ok(qemu);
    }
    fetch(&workshop, interrupt).map_err(|problem| {
        if problem.exit() != Exit::Environment {
            return problem;
        }
        Problem::environment(format!("no QEMU of version {OLDEST} or newer, and none can be fetched"))
            .because(format!("{}: {}", problem.what(), problem.why()))
            .so(format!("install QEMU {OLDEST} or newer, or name one with --qemu PATH or {VARIABLE}=PATH"))
    })?;
    fetched(places)
        .ok_or_else(|| Problem::environment("the fetched QEMU is not complete").so("remove the set-up folder, start again"))
}

/// The one on PATH, even when it is too old; for `rig doctor`.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

/// Whether `file` is a program.
pub(super) fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn named_one(program: &Path, interrupt: &Interrupt) -> Outcome<Qemu> {
    let remedy =
        format!("name a QEMU {OLDEST} or newer with --qemu PATH or {VARIABLE}=PATH, or leave both out to have one fetched");
    if !is_program(program) {
        let why = if program.exists() { "it is not an executable file" } else { "there is no such file" };
        return Err(Problem::usage(format!("{} is no QEMU", program.display())).because(why).so(remedy));
    }
    let program = std::path::absolute(program).at("find", program)?;
    let (version, text) = ask_version(&program, interrupt).map_err(|reason| match reason {
        Unanswered::Interrupted(signal) => Problem::interrupted(signal),
        Unanswered::Because(why) => Problem::usage(format!("{} is no QEMU", program.display())).because(why).so(&remedy),
    })?;
    if version < OLDEST {
        return Err(Problem::environment(format!("{} is too old", program.display()))
            .because(format!("it is QEMU {text}; vfio-user needs {OLDEST} or newer"))
            .so(remedy));
    }
    Ok(Qemu { program, version: text, origin: Origin::Named })
}

/// Why a program did not tell its version.
#[derive(Debug)]
pub enum Unanswered {
    /// A signal came first.
    Interrupted(u8),
    /// It said something else, or nothing.
    Because(String),
}

/// Asks a program for its QEMU version.
///
/// # Errors
/// It gives no answer, or one that QEMU would not give.
pub fn ask_version(program: &Path, interrupt: &Interrupt) -> Result<(Version, String), Unanswered> {
    let finished = match Tool::new(program, ANSWER).args(["--version"]).capture(interrupt) {
        Ok(finished) if finished.status.success() => finished,
        Ok(finished) => return Err(Unanswered::Because(format!("`--version` failed: {}", complaint(&finished)))),
        Err(ToolError::Interrupted(signal)) => return Err(Unanswered::Interrupted(signal)),
        Err(error) => return Err(Unanswered::Because(error.to_string())),
    };
    parse_version(&finished.stdout).ok_or_else(|| {
        let answer = finished.stdout.lines().next().unwrap_or("nothing");
        Unanswered::Because(format!("`--version` does not answer as QEMU does, but: {}", crate::console::printable(answer)))
    })
}

fn parse_version(answer: &str) -> Option<(Version, String)> {
    let text = answer.lines().next()?.strip_prefix("QEMU emulator version ")?.trim();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some((Version(numbers.next()??, numbers.next()??), text.to_owned()))
}

/// The one in the set-up folder, if it is complete.
fn fetched(places: &Places) -> Option<Qemu> {
    let folder = places.setup.join(FOLDER);
    let manifest: Manifest = serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()?;
    let program = folder.join(PROGRAM);
    is_program(&program).then_some(Qemu { program, version: manifest.version, origin: Origin::Setup })
}

fn fetch(workshop: &Workshop<'_>, interrupt: &Interrupt) -> Outcome<()> {
    let step = Step::begin("reading the distribution's package archive");
    let unfinished = workshop.begin(FOLDER)?;
    let apt = Apt::prepare(&unfinished.join("apt"), Suites::WithBackports, interrupt)?;
    step.done("signature good");

    let step = Step::begin("downloading QEMU and what it needs (about 40 MB)");
    let packages = apt.download_all(&[PACKAGE], interrupt)?;
    let digests = digests(&packages)?;
    step.done(&format!("{} packages, checksums good", packages.len()));

    let step = Step::begin("unpacking QEMU");
    let root = unfinished.join("root");
    for package in &packages {
        apt.unpack(package, &root, interrupt)?;
    }
    for needless in ["root/usr/share/doc", "root/usr/share/man", "root/usr/share/locale", "root/var", "root/etc", "apt"] {
        let path = unfinished.join(needless);
        if path.exists() {
            fs::remove_dir_all(&path).at("remove", &path)?;
        }
    }
    let program = unfinished.join(PROGRAM);
    fs::write(&program, LAUNCHER).at("write", &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).at("make executable", &program)?;

    let explain = |why: String| Problem::environment("the fetched QEMU does not run here").because(why).so("use --qemu PATH");
    let (version, text) = ask_version(&program, interrupt).map_err(|reason| match reason {
        Unanswered::Interrupted(signal) => Problem::interrupted(signal),
        Unanswered::Because(why) => explain(why),
    })?;
    if version < OLDEST {
        return Err(explain(format!("the archive has QEMU {text} only")));
    }
    let manifest = Manifest { version: text, packages: digests };
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(|error| explain(error.to_string()))?;
    let path = unfinished.join(MANIFEST);
    write_whole(&path, &manifest).at("write", &path)?;
    let place = workshop.finish(FOLDER)?;
    step.done(&format!("QEMU {version} in {}", place.display()));
    Ok(())
}

/// Starts the unpacked QEMU with the libraries it was built for, whatever this machine's are. It becomes QEMU by `exec`, so
/// that the process that the harness started is QEMU itself.
const LAUNCHER: &str = r#"#!/bin/sh
root=${0%/*}/root
libraries=$root/usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR="$libraries/qemu"
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries:$libraries/qemu" \
    "$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_qemus_own_words() {
        let (version, text) = parse_version("QEMU emulator version 11.1.3 (Debian 1:11.1.3)\nCopyright").unwrap();
        assert_eq!((version, text.as_str()), (Version(11, 1), "11.1.3 (Debian 1:11.1.3)"));
        assert!(Version(10, 0) < OLDEST && Version(10, 2) >= OLDEST && Version(9, 9) < OLDEST);
    }

    #[test]
    fn another_programs_words_are_no_version() {
        assert!(parse_version("GNU bash, version 5.2.15").is_none());
        assert!(parse_version("QEMU emulator version eleven").is_none());
        assert!(parse_version("").is_none());
    }

    #[test]
    fn an_unfinished_folder_is_no_qemu() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places { root: "/".into(), target: "/".into(), setup: folder.path().into() };
        let qemu = folder.path().join(FOLDER);
        fs::create_dir_all(&qemu).unwrap();
        fs::write(qemu.join(PROGRAM), LAUNCHER).unwrap();
        assert!(fetched(&places).is_none());
    }
}
