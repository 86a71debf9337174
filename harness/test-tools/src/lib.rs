//! Tests that hold our work against other people's tools: where such a tool is.
//!
//! `cargo rig test` fetches them and names their folders in [`VARIABLE`]. Plain `cargo test` fetches nothing: a test takes what is on
//! PATH or was fetched before, or says that it is skipped.

use std::env::{split_paths, var_os};
use std::io::Write as _;
use std::path::PathBuf;

/// The environment variable with the folders of the tools, written as PATH is. A tool that is in none of them is on PATH.
pub const VARIABLE: &str = "RIG_TOOLS";
/// How the folders of fetched tools begin, in the set-up folder.
pub const FOLDER: &str = "tools-";
/// Where set-up puts them unless it is told otherwise.
const SETUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/rig/setup");

/// The program of a tool (`osslsigncode`, `clang`, `ld.lld`, `lld-link`, `lldb`, `mtools`, `wimlib-imagex`, `genisoimage`, `chromium`, `wine`, `wineserver`). Without one the
/// reason is printed and the test should return.
///
/// # Panics
/// In `cargo rig test`, which has fetched every tool: there a missing one is a failure.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let named = var_os(VARIABLE);
    let fetched: Vec<PathBuf> = named.as_ref().map_or_else(fetched_before, |folders| split_paths(folders).collect());
    let path = var_os("PATH").unwrap_or_default();
    let found = first(name, fetched.into_iter().chain(split_paths(&path)));
    assert!(found.is_some() || named.is_none(), "{name} is neither in {VARIABLE} nor on PATH, but `rig test` provides it");
    if found.is_none() {
        // Not through `println!`, which the test runner keeps to itself when a test passes.
        let _ = writeln!(std::io::stderr(), "SKIP: {name} is not on PATH and was not fetched; `cargo rig doctor --fetch` does");
    }
    found
}

fn first(name: &str, folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn fetched_before() -> Vec<PathBuf> {
    let setup = var_os("RIG_SETUP_DIR").map_or_else(|| PathBuf::from(SETUP), PathBuf::from);
    let entries = std::fs::read_dir(setup).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(FOLDER)).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::first;

    #[test]
    fn the_first_folder_that_has_the_tool_wins() {
        let folders = || ["relative", "/nowhere", "/usr/bin", "/bin"].map(Into::into).into_iter();
        assert_eq!(first("sh", folders()), Some("/usr/bin/sh".into()));
        assert_eq!(first("no-such-tool", folders()), None);
    }
}
