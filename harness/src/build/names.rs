//! Names of source folders in what is built for Windows: the same on every machine, so that the same sources make the same bytes, wherever
//! repository, registry and toolchain lie. Debuggers are told what the names stand for.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{AtPath as _, Outcome};
use crate::files::write_whole;
use crate::places::Places;

/// This repository.
pub const REPOSITORY: &str = "/wdfrig";
/// Cargo's home, with the sources of other people's crates.
const CARGO: &str = "/cargo";
/// The standard library.
const LIBRARY: &str = "/rust/library";

/// Folders of this machine and their names. When several hold a file, the last one counts.
#[derive(Clone, Debug)]
pub struct SourceNames {
    /// Who builds with them: this repository, or a project.
    whose: String,
    pairs: Vec<(PathBuf, String)>,
}

impl SourceNames {
    /// The names for what this repository builds.
    #[must_use]
    pub fn of(places: &Places) -> Self {
        let mut names = vec![(places.root.clone(), REPOSITORY.to_owned())];
        names.extend(cargo_home().map(|home| (home, CARGO.to_owned())));
        names.push((library(places), LIBRARY.to_owned()));
        Self { whose: "wdfrig".to_owned(), pairs: names }
    }

    /// As well as a project's own, which is called as its driver is.
    #[must_use]
    pub fn with_project(mut self, root: &Path, driver: &str) -> Self {
        self.pairs.push((root.to_path_buf(), format!("/{driver}")));
        driver.clone_into(&mut self.whose);
        self
    }

    /// Folders and names.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.pairs.iter().map(|(folder, name)| (folder.as_path(), name.as_str()))
    }

    /// The compiler as cargo is to call it, see [`write_compiler`](Self::write_compiler).
    #[must_use]
    pub fn compiler(&self, places: &Places) -> PathBuf {
        places.guest_target().join(format!("rustc-of-{}", self.whose))
    }

    /// Writes the [compiler](Self::compiler) for the workspace `root`: a script that calls rustc with names instead of folders. Cargo does not see these
    /// arguments: it would take them for a reason to build everything anew, and to give crates other ids. Its ids depend on where the workspace and
    /// the toolchain lie, and the order of functions in a file depends on the ids; so they too are replaced by what is the same everywhere.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_compiler(&self, places: &Places, root: &Path) -> Outcome<()> {
        let path = self.compiler(places);
        let script = self.script(root);
        if std::fs::read_to_string(&path).is_ok_and(|present| present == script) {
            return Ok(());
        }
        write_whole(&path, script.as_bytes()).at("write", &path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).at("mark as a program", &path)
    }

    fn script(&self, root: &Path) -> String {
        let mut remaps = String::new();
        for (folder, name) in self.iter() {
            // Cargo calls files below the workspace by their paths from there, so that a folder in it has two names.
            let below = folder.strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty());
            for folder in [Some(folder), below].into_iter().flatten() {
                let remap = format!("--remap-path-prefix={}={name}", folder.display());
                remaps += &format!(" {}", shlex::try_quote(&remap).unwrap_or_default());
            }
        }
        format!(
            "#!/bin/sh\n\
             for word do\n    \
                 shift\n    \
                 case $word in metadata=*) word=metadata=$CARGO_PKG_NAME-$CARGO_PKG_VERSION-$CARGO_CRATE_NAME ;; esac\n    \
                 set -- \"$@\" \"$word\"\n\
             done\n\
             exec \"$@\"{remaps}\n"
        )
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

/// The standard library's source as it is built from: a link in the guests' target folder, so that its folder has a name before anybody has asked for
/// the toolchain.
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
        let pairs = vec![("/home/me/a \"clone\"".into(), REPOSITORY.to_owned()), ("/home/me/.cargo".into(), CARGO.to_owned())];
        SourceNames { whose: String::new(), pairs }
    }

    #[test]
    fn the_compiler_is_called_with_names_whatever_the_folders_are_called_and_with_ids_that_are_the_same_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("rustc");
        std::fs::write(&script, names().script(Path::new("/home/me"))).unwrap();
        let mut shell = std::process::Command::new("sh");
        shell.arg(&script).args(["printf", "%s\\n", "-C", "metadata=1234", "a b.rs"]);
        shell.env("CARGO_PKG_NAME", "wdf-sys").env("CARGO_PKG_VERSION", "0.1.0").env("CARGO_CRATE_NAME", "wdf_sys");
        let said = String::from_utf8(shell.output().unwrap().stdout).unwrap();
        let remaps = ["/home/me/a \"clone\"=/wdfrig", "a \"clone\"=/wdfrig", "/home/me/.cargo=/cargo", ".cargo=/cargo"];
        let expected = ["-C", "metadata=wdf-sys-0.1.0-wdf_sys", "a b.rs"].map(str::to_owned).into_iter();
        let expected = expected.chain(remaps.map(|remap| format!("--remap-path-prefix={remap}")));
        assert!(said.lines().eq(expected), "{said}");
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
