//! Putting the driver package together: crate `driver-package` makes it out of what cargo built, with the key that is kept in the
//! set-up folder.

use std::fs;
use std::path::{Path, PathBuf};

use driver_package::inf::{self, Inf};
use driver_package::key::{KeyError, Signer};
use driver_package::package::{self, Driver, Refused};

use super::names::SourceNames;
use crate::console::note;
use crate::error::{AtPath as _, Outcome, Problem};
use crate::files::write_whole;

/// Folder of the private key, below the set-up folder.
pub const KEYS: &str = "keys";

/// The INF of relay.sys and relayflt.sys.
#[must_use]
pub fn relay(date: i64) -> Inf {
    Inf::relay(date).with_upper_filter("relayflt", "Relay upper filter driver")
}

/// Makes the signed package that the INF of a date describes, in `folder`; `linked` is where the linker left drivers and symbols. Each
/// file is replaced whole, and only when it changes, so that the same sources leave the folder as it is. The result names them.
///
/// # Errors
/// The disk's; a driver file that breaks the rules; a key that cannot be used.
pub fn assemble(
    describe: impl FnOnce(i64) -> Inf,
    linked: &Path,
    names: &SourceNames,
    setup: &Path,
    folder: &Path,
) -> Outcome<Vec<PathBuf>> {
    let date = inf::build_time().map_err(|why| {
        Problem::usage("the package cannot be dated").because(why).so("correct SOURCE_DATE_EPOCH, or do without it")
    })?;
    let signer = Signer::of(&setup.join(KEYS)).map_err(|error| no_key(&error))?;
    let inf = describe(date);
    let mut drivers = Vec::new();
    for service in inf.services() {
        let file = |ending| super::read(&linked.join(service).with_extension(ending));
        let driver = Driver { image: file("dll")?, symbols: file("pdb")? };
        if let Some(place) = [&driver.image, &driver.symbols].into_iter().find_map(|bytes| names.find_folder(bytes)) {
            note(format!("[rig] {service}.sys names {}: built from another folder it would have other bytes", place.display()));
        }
        drivers.push(driver);
    }
    let files = package::make_of_several(inf, drivers, &signer).map_err(|refused| explain(&refused, linked))?;
    fs::create_dir_all(folder).at("create", folder)?;
    let mut paths = Vec::new();
    for file in files {
        let path = folder.join(&file.name);
        if !fs::read(&path).is_ok_and(|content| content == file.content) {
            write_whole(&path, &file.content).at("write", &path)?;
        }
        paths.push(path);
    }
    Ok(paths)
}

fn no_key(error: &KeyError) -> Problem {
    let remedy = match error {
        KeyError::Open(path) => format!("chmod 600 {}, or remove it: a new one is made", path.display()),
        KeyError::NotAKey { path, .. } => format!("remove {}: a new one is made", path.display()),
        KeyError::Disk { .. } | KeyError::Crypto(_) => "check that the set-up folder is writable".to_owned(),
    };
    Problem::environment("there is no key to sign the package with").because(error.to_string()).so(remedy)
}

fn explain(refused: &Refused, linked: &Path) -> Problem {
    match refused {
        Refused::Key(error) => no_key(error),
        Refused::Driver(error) => Problem::failed(format!("a driver in {} cannot be signed", linked.display()))
            .because(error.to_string())
            .so("check the linker arguments in harness/src/build/link.rs"),
        Refused::Rules(findings) => Problem::failed("the package breaks the rules for packages")
            .because(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            .so("check the linker arguments in harness/src/build/link.rs, and the INF's description in crate driver-package"),
    }
}
