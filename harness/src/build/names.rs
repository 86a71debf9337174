//! Names of source folders in what is built for Windows: the same on every machine, so that the same sources make the same bytes, wherever
//! repository, registry and toolchain lie. Debuggers are told what the names stand for.

use std::path::{Path, PathBuf};

use toml::Value;

use super::WINDOWS;
use crate::error::{AtPath as _, Outcome};
use crate::places::Places;

/// This repository.
pub const REPOSITORY: &str = "/wdfrig";
/// Cargo's home, with the sources of other people's crates.
const CARGO: &str = "/cargo";
/// The standard library.
const LIBRARY: &str = "/rust/library";

/// Folders of this machine and their names. When several hold a file, the last one counts.
#[derive(Clone, Debug)]
pub struct SourceNames(Vec<(PathBuf, String)>);

impl SourceNames {
    /// The names for what this repository builds.
    #[must_use]
    pub fn of(places: &Places) -> Self {
        let mut names = vec![(places.root.clone(), REPOSITORY.to_owned())];
        names.extend(cargo_home().map(|home| (home, CARGO.to_owned())));
        names.push((library(places), LIBRARY.to_owned()));
        Self(names)
    }

    /// As well as a project's own, which is called as its driver is.
    #[must_use]
    pub fn with_project(mut self, root: &Path, driver: &str) -> Self {
        self.0.push((root.to_path_buf(), format!("/{driver}")));
        self
    }

    /// Folders and names.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.0.iter().map(|(folder, name)| (folder.as_path(), name.as_str()))
    }

    /// What cargo is told when it works in the workspace `root`: an option and its value. It calls files below that folder by their paths from
    /// there, so that a folder in it has two names.
    #[must_use]
    pub fn cargo_arguments(&self, root: &Path) -> [String; 2] {
        let mut flags = Vec::new();
        for (folder, name) in self.iter() {
            let below = folder.strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty());
            let remap = |folder: &Path| Value::from(format!("--remap-path-prefix={}={name}", folder.display()));
            flags.extend([Some(folder), below].into_iter().flatten().map(remap));
        }
        ["--config".to_owned(), format!("target.{WINDOWS}.rustflags={}", Value::Array(flags))]
    }

    /// The folder of this machine that bytes name, if they do.
    #[must_use]
    pub fn find_folder(&self, bytes: &[u8]) -> Option<&Path> {
        let is_named = |folder: &&Path| {
            let name = folder.as_os_str().as_encoded_bytes();
            bytes.windows(name.len().max(1)).any(|window| window == name)
        };
        self.iter().map(|(folder, _)| folder).find(is_named)
    }
}

/// The standard library's source as it is built from: a link in the guests' target folder. Cargo's own names for its crates depend on where
/// they lie from here, and that is not to be different from one machine to the next.
#[must_use]
pub fn library(places: &Places) -> PathBuf {
    places.guest_target().join("library")
}

/// Makes [`library`] lead to `source`.
///
/// # Errors
/// The disk's.
pub fn link_library(places: &Places, source: &Path) -> Outcome<PathBuf> {
    let link = library(places);
    if std::fs::read_link(&link).is_ok_and(|present| present == source) {
        return Ok(link);
    }
    std::fs::create_dir_all(places.guest_target()).at("create", &link)?;
    if link.is_symlink() {
        std::fs::remove_file(&link).at("remove", &link)?;
    }
    std::os::unix::fs::symlink(source, &link).at("create", &link)?;
    Ok(link)
}

/// A source file as a reader knows it: below this repository, without the name that stands for it.
#[must_use]
pub fn for_reader(file: &str) -> &str {
    file.strip_prefix(REPOSITORY).and_then(|below| below.strip_prefix('/')).unwrap_or(file)
}

fn cargo_home() -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    named.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> SourceNames {
        SourceNames(vec![("/home/me/a \"clone\"".into(), REPOSITORY.to_owned()), ("/home/me/.cargo".into(), CARGO.to_owned())])
    }

    #[test]
    fn cargo_understands_the_names_whatever_the_folders_are_called() {
        let [option, value] = names().cargo_arguments(Path::new("/home/me"));
        assert_eq!(option, "--config");
        let config: toml::Table = value.parse().unwrap();
        let flags = config["target"][WINDOWS]["rustflags"].as_array().unwrap();
        let flags: Vec<&str> = flags.iter().filter_map(Value::as_str).collect();
        let expected = ["/home/me/a \"clone\"=/wdfrig", "a \"clone\"=/wdfrig", "/home/me/.cargo=/cargo", ".cargo=/cargo"];
        assert_eq!(flags, expected.map(|remap| format!("--remap-path-prefix={remap}")));
    }

    #[test]
    fn a_folder_of_this_machine_is_found_wherever_it_stands() {
        assert_eq!(names().find_folder(b"\0/wdfrig/driver\0/home/me/src"), None);
        assert_eq!(names().find_folder(b"x/home/me/.cargo/registry"), Some(Path::new("/home/me/.cargo")));
    }

    #[test]
    fn a_reader_sees_files_of_the_repository_as_they_lie_in_it() {
        assert_eq!(for_reader("/wdfrig/driver/relay/src/lib.rs"), "driver/relay/src/lib.rs");
        assert_eq!(for_reader("/wdfrigs/lib.rs"), "/wdfrigs/lib.rs");
    }
}
