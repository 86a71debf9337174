//! Whether anything that a build reads has changed: names, sizes and times of every source file, and the compiler.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{AtPath as _, Outcome};
use crate::files::{sha256, write_whole};
use crate::places::Places;
use crate::setup::toolchain::cargo;

/// Folders and files that builds read, below the workspace's root.
const SOURCES: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    ".cargo",
    "device-model",
    "driver",
    "harness",
    "vm-images",
    "rustfmt.toml",
];
/// Deepest nesting of source folders that is followed.
const DEPTH: usize = 16;

/// The state of the sources at one moment, and where the state of the last good build is kept.
#[derive(Debug)]
pub struct Stamp {
    inputs: String,
    outputs: Vec<PathBuf>,
    file: PathBuf,
}

impl Stamp {
    /// Looks at the sources now, for the build called `name` which makes `outputs`.
    ///
    /// # Errors
    /// The disk's.
    pub fn of(places: &Places, name: &str, outputs: &[PathBuf]) -> Outcome<Self> {
        let mut text = String::new();
        for source in SOURCES {
            list(&places.root.join(source), DEPTH, &mut text)?;
        }
        let cargo = cargo();
        list(&cargo, 0, &mut text)?;
        list(&cargo.with_file_name("rustc"), 0, &mut text)?;
        // The recipe is part of the inputs: another rig binary may link in another way.
        list(&std::env::current_exe().unwrap_or_default(), 0, &mut text)?;
        let file = places.rig().join(format!("{name}.stamp"));
        Ok(Self { inputs: sha256(text.as_bytes()), outputs: outputs.to_vec(), file })
    }

    /// Whether the last good build saw the same sources and its products are untouched.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let (Ok(recorded), Some(now)) = (fs::read_to_string(&self.file), self.text()) else {
            return false;
        };
        recorded == now
    }

    /// Records a good build.
    ///
    /// # Errors
    /// The disk's.
    pub fn record(&self) -> Outcome<()> {
        self.text().map_or(Ok(()), |text| write_whole(&self.file, text.as_bytes()).at("write", &self.file))
    }

    /// Inputs and products; `None` when a product is missing.
    fn text(&self) -> Option<String> {
        let mut text = format!("{}\n", self.inputs);
        for output in &self.outputs {
            describe(output, &fs::metadata(output).ok()?, &mut text);
        }
        Some(text)
    }
}

/// Adds `path` and what lies below it, in order of names. What is missing adds nothing.
fn list(path: &Path, depth: usize, text: &mut String) -> Outcome<()> {
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(());
    };
    if !metadata.is_dir() {
        describe(path, &metadata, text);
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let mut below: Vec<PathBuf> = fs::read_dir(path).at("read", path)?.flatten().map(|entry| entry.path()).collect();
    below.sort();
    below.iter().try_for_each(|path| list(path, depth - 1, text))
}

fn describe(path: &Path, metadata: &fs::Metadata, text: &mut String) {
    let _ = writeln!(text, "{} {} {} {}", path.display(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> (tempfile::TempDir, Places, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_path_buf();
        fs::create_dir_all(root.join("driver/relay/src")).unwrap();
        fs::create_dir_all(root.join("target/rig")).unwrap();
        fs::write(root.join("driver/relay/src/lib.rs"), "a").unwrap();
        let product = root.join("target/relay.sys");
        fs::write(&product, "MZ").unwrap();
        let places = Places { target: root.join("target"), setup: root.join("setup"), root };
        (folder, places, product)
    }

    fn is_current(places: &Places, product: &Path) -> bool {
        Stamp::of(places, "test", &[product.to_path_buf()]).unwrap().is_current()
    }

    #[test]
    fn a_recorded_build_is_current_until_a_source_changes() {
        let (_folder, places, product) = workspace();
        assert!(!is_current(&places, &product));
        Stamp::of(&places, "test", std::slice::from_ref(&product)).unwrap().record().unwrap();
        assert!(is_current(&places, &product));
        fs::write(places.root.join("driver/relay/src/lib.rs"), "longer").unwrap();
        assert!(!is_current(&places, &product));
    }

    #[test]
    fn a_new_file_or_a_missing_product_calls_for_a_build() {
        let (_folder, places, product) = workspace();
        Stamp::of(&places, "test", std::slice::from_ref(&product)).unwrap().record().unwrap();
        fs::write(places.root.join("driver/relay/src/new.rs"), "").unwrap();
        assert!(!is_current(&places, &product));
        fs::remove_file(places.root.join("driver/relay/src/new.rs")).unwrap();
        assert!(is_current(&places, &product));
        fs::remove_file(&product).unwrap();
        assert!(!is_current(&places, &product));
    }
}
