//! Somebody else's driver: his package, his services, his suite and his device model, gathered for a guest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use driver_package::inf::text::Text;

use crate::error::{Outcome, Problem};
use crate::files::sha256;

/// Largest file that goes into a guest.
const LARGEST: u64 = 64 << 20;

/// What the user names.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// The INF of the package.
    pub package: &'a Path,
    /// Drivers without a device, started after the devices.
    pub services: &'a [PathBuf],
    /// The suite's program.
    pub program: Option<&'a Path>,
}

/// What the guest gets.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Files by the names that they have in the guest.
    pub files: Vec<(String, Vec<u8>)>,
    /// PE files by the names that they have in the guest.
    pub modules: Vec<(String, PathBuf)>,
    /// Symbols that lie beside the drivers.
    pub symbols: Vec<PathBuf>,
    /// Services that the INF installs.
    pub services: Vec<String>,
    /// The kernel's command line.
    pub append: String,
    /// Name of the INF.
    pub inf: String,
}

impl Gathered {
    /// Reads everything.
    ///
    /// # Errors
    /// Something is not there, or the INF installs no service: the user's mistake.
    pub fn of(named: Named<'_>) -> Outcome<Self> {
        let mut gathered = Self { inf: name_of(named.package)?, ..Self::default() };
        let inf = read(named.package)?;
        let text = Text::read(&inf);
        gathered.services = services(&text);
        if gathered.services.is_empty() {
            return Err(Problem::usage(format!("{} is no driver package", named.package.display()))
                .because("its INF adds no service (AddService)")
                .so("name the INF of a driver; `cargo rig package verify` explains what one needs"));
        }
        gathered.files.push((gathered.inf.clone(), inf));
        let folder = named.package.parent().unwrap_or(Path::new("."));
        for file in drivers(&text) {
            gathered.driver(&find(folder, &file, named.package)?)?;
        }
        let mut words = Vec::new();
        let mut names = Vec::new();
        for service in named.services {
            names.push(gathered.driver(service)?);
        }
        if let Some(program) = named.program {
            words.push(format!("suite={}", gathered.driver(program)?));
        }
        if !names.is_empty() {
            words.push(format!("services={}", names.join(",")));
        }
        gathered.append = words.join(" ");
        Ok(gathered)
    }

    /// Reads the drivers that are to run instead of our framework.
    ///
    /// # Errors
    /// One is not there: the user's mistake.
    pub fn framework(drivers: &[PathBuf]) -> Outcome<Self> {
        let mut gathered = Self::default();
        let names = drivers.iter().map(|driver| gathered.driver(driver)).collect::<Outcome<Vec<_>>>()?;
        if !names.is_empty() {
            gathered.append = format!("framework={}", names.join(","));
        }
        Ok(gathered)
    }

    /// SHA-256 of each file.
    #[must_use]
    pub fn hashes(&self) -> BTreeMap<String, String> {
        self.files.iter().map(|(name, content)| (name.clone(), sha256(content))).collect()
    }

    /// Adds a PE file and the symbols beside it. Returns its name in the guest.
    fn driver(&mut self, path: &Path) -> Outcome<String> {
        let name = name_of(path)?;
        if self.files.iter().all(|(known, _)| !known.eq_ignore_ascii_case(&name)) {
            self.files.push((name.clone(), read(path)?));
            self.modules.push((name.clone(), path.to_path_buf()));
            self.symbols.extend(Some(path.with_extension("pdb")).filter(|symbols| symbols.is_file()));
        }
        Ok(name)
    }
}

/// Names of the services that any section adds.
fn services(text: &Text) -> Vec<String> {
    let lines = text.sections.values().flat_map(|section| section.with("AddService"));
    let mut names: Vec<String> = lines.map(|line| line.value(0).to_owned()).filter(|name| !name.is_empty()).collect();
    names.sort();
    names.dedup();
    names
}

/// File names of the drivers that services run.
fn drivers(text: &Text) -> Vec<String> {
    let binaries = text.sections.values().flat_map(|section| section.with("ServiceBinary"));
    let mut names: Vec<String> = binaries
        .filter_map(|line| line.value(0).rsplit(['\\', '%']).next().map(str::to_owned))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The file in the package's folder or one folder below it, whatever the case of its letters.
fn find(folder: &Path, name: &str, inf: &Path) -> Outcome<PathBuf> {
    let entries =
        |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let is_it = |path: &PathBuf| path.file_name().is_some_and(|own| own.eq_ignore_ascii_case(name)) && path.is_file();
    let here = entries(folder);
    let below = || here.iter().filter(|path| path.is_dir()).flat_map(|path| entries(path));
    here.iter().find(|path| is_it(path)).cloned().or_else(|| below().find(is_it)).ok_or_else(|| {
        Problem::usage(format!("{} is not complete", inf.display()))
            .because(format!("it installs {name}, which is not beside it"))
            .so("build the driver first, and name the INF of the folder where the package was put together")
    })
}

/// The name that a file has in the guest. The kernel's command line is a list of words, so that some characters cannot be in it.
fn name_of(path: &Path) -> Outcome<String> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() && c != ',' && c != '=') && name.len() < 100 {
        return Ok(name);
    }
    Err(Problem::usage(format!("{} cannot go into a guest", path.display()))
        .because(
            "its name is empty, longer than 99 characters, or has a blank, a comma, an equals sign or a letter outside ASCII",
        )
        .so("give the file a plain name"))
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    let mistake = |why: String| {
        Problem::usage(format!("{} cannot go into a guest", path.display())).because(why).so("name a file that is there")
    };
    let size = std::fs::metadata(path).map_err(|error| mistake(error.to_string()))?.len();
    if size > LARGEST {
        return Err(mistake(format!("it has {} MiB, more than {}", size >> 20, LARGEST >> 20)));
    }
    std::fs::read(path).map_err(|error| mistake(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const INF: &str = "[Version]\nSignature=\"$Windows NT$\"\n[My.NT.Services]\nAddService = MyDriver, 2, My.Service\n\
                       [My.Service]\nServiceBinary = %13%\\My.sys\n";

    fn package(inf: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.inf");
        fs::write(&path, inf).unwrap();
        (folder, path)
    }

    fn named(package: &Path) -> Named<'_> {
        Named { package, services: &[], program: None }
    }

    #[test]
    fn a_package_brings_its_driver_its_symbols_and_its_service() {
        let (folder, inf) = package(INF);
        fs::write(folder.path().join("my.sys"), "MZ").unwrap();
        fs::write(folder.path().join("my.pdb"), "").unwrap();
        let extra = [folder.path().join("helper.sys")];
        fs::write(&extra[0], "MZ").unwrap();

        let gathered = Gathered::of(Named { services: &extra, program: Some(&extra[0]), ..named(&inf) }).unwrap();

        let names: Vec<&str> = gathered.files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["my.inf", "my.sys", "helper.sys"]);
        assert_eq!(gathered.append, "suite=helper.sys services=helper.sys");
        assert_eq!((gathered.services.as_slice(), gathered.symbols.len()), (&["MyDriver".to_owned()][..], 1));
    }

    #[test]
    fn what_is_missing_or_no_package_is_the_users_mistake() {
        let (_folder, inf) = package(INF);
        assert!(Gathered::of(named(&inf)).unwrap_err().to_string().contains("installs My.sys, which is not beside it"));
        let (_folder, empty) = package("[Version]\n");
        assert!(Gathered::of(named(&empty)).unwrap_err().to_string().contains("adds no service"));
        assert!(Gathered::of(named(Path::new("/nowhere/x.inf"))).is_err());
        assert!(Gathered::of(named(Path::new("/nowhere/a b.inf"))).unwrap_err().to_string().contains("a blank"));
    }
}
