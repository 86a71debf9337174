//! Finished images: a folder each, with a sealed disk, the firmware and what it remembers, and a manifest that says what all of it was
//! made of. A sealed image is never written again; each boot writes into an overlay of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{AtPath as _, Outcome, Problem};
use crate::files::{sha256_of, write_whole};
use crate::places::Places;

/// Layout of an image's folder.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// The firmware's code in an image's folder, and what it remembers.
pub const FIRMWARE: &str = "firmware.fd";
/// See [`FIRMWARE`].
pub const VARIABLES: &str = "variables.fd";
/// Longest name of an image.
const LONGEST_NAME: usize = 60;

/// What an image is and was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout of the folder.
    pub format: u32,
    /// What is installed.
    pub edition: String,
    /// Its build.
    pub build: u32,
    /// What the agent says of the system.
    pub system: String,
    /// Memory it was installed with, in MiB; it runs with as much.
    pub memory_mib: u32,
    /// When it was sealed, in UTC.
    pub sealed: String,
    /// SHA-256 of what it was made of, by name: media, recipe, answer file, agent, tools.
    pub made_of: BTreeMap<String, String>,
    /// Versions of the tools.
    pub tools: BTreeMap<String, String>,
    /// The file that is the disk; those behind it are named in it.
    pub disk: String,
    /// SHA-256 of the sealed files, by name.
    pub files: BTreeMap<String, String>,
    /// Seconds that each step of the installation took.
    pub steps: Vec<(String, u64)>,
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What it is.
    pub manifest: Manifest,
}

/// Where images are kept.
#[must_use]
pub fn folder(places: &Places) -> PathBuf {
    places.rig().join("images")
}

/// The folder of an image of this name, finished or not.
///
/// # Errors
/// It is no name.
pub fn folder_of(name: &str, places: &Places) -> Outcome<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > LONGEST_NAME || name.starts_with('.') || !name.chars().all(plain) {
        return Err(Problem::usage(format!("an image cannot be called {name:?}"))
            .because("a name has letters, digits, dashes, dots and underscores")
            .so("choose another one"));
    }
    Ok(folder(places).join(name))
}

impl Image {
    /// The finished image of this name.
    ///
    /// # Errors
    /// There is none, or it is not finished; names those that there are.
    pub fn find(name: &str, places: &Places) -> Outcome<Self> {
        let folder = folder_of(name, places)?;
        if let Some(manifest) = read(&folder)? {
            return Ok(Self { name: name.to_owned(), folder, manifest });
        }
        let names: Vec<String> = list(places)?.into_iter().map(|image| image.name).collect();
        let why = match (folder.exists(), names.is_empty()) {
            (true, _) => "its installation has not come to its end".to_owned(),
            (_, true) => "there are no images yet".to_owned(),
            _ => format!("there are {}", names.join(", ")),
        };
        Err(Problem::usage(format!("there is no Windows image {name}"))
            .because(why)
            .so("build it: cargo rig image build --iso FILE --name NAME; `cargo rig image list` shows what there is"))
    }

    /// A file of it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Compares the sealed files with the manifest.
    ///
    /// # Errors
    /// One is missing or differs.
    pub fn verify(&self) -> Outcome<()> {
        for (name, wanted) in &self.manifest.files {
            let path = self.file(name);
            let found = sha256_of(&path).at("read", &path)?;
            if found != *wanted {
                return Err(Problem::environment(format!("image {} is not what was sealed", self.name))
                    .because(format!("{name} has the SHA-256 {found}, the manifest says {wanted}"))
                    .so(format!("remove it and build it again: cargo rig image remove {}", self.name)));
            }
        }
        Ok(())
    }
}

/// Seals files that lie in `folder`: takes the right to write from them, and writes the manifest last.
///
/// # Errors
/// The disk's.
pub fn seal(folder: &Path, mut manifest: Manifest, files: &[String]) -> Outcome<()> {
    for name in files {
        let path = folder.join(name);
        let mut permissions = fs::metadata(&path).at("look at", &path)?.permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).at("seal", &path)?;
        manifest.files.insert(name.clone(), sha256_of(&path).at("read", &path)?);
    }
    manifest.format = FORMAT;
    let text = serde_json::to_vec_pretty(&manifest).map_err(std::io::Error::from);
    let path = folder.join(MANIFEST);
    write_whole(&path, &text.at("write", &path)?).at("write", &path)
}

/// The finished images, by name.
///
/// # Errors
/// The disk's; a manifest that is none.
pub fn list(places: &Places) -> Outcome<Vec<Image>> {
    let mut images = Vec::new();
    for entry in fs::read_dir(folder(places)).into_iter().flatten().flatten() {
        if let Some(manifest) = read(&entry.path())? {
            let name = entry.file_name().to_string_lossy().into_owned();
            images.push(Image { name, folder: entry.path(), manifest });
        }
    }
    images.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(images)
}

/// Removes an image, finished or not.
///
/// # Errors
/// There is none; the disk's.
pub fn remove(name: &str, places: &Places) -> Outcome<()> {
    let folder = folder_of(name, places)?;
    if !folder.is_dir() {
        return Err(Problem::usage(format!("there is no Windows image {name}")).so("`cargo rig image list` shows what there is"));
    }
    // The manifest first: what is left after a kill is an image that is not finished.
    let manifest = folder.join(MANIFEST);
    if manifest.exists() {
        fs::remove_file(&manifest).at("remove", &manifest)?;
    }
    fs::remove_dir_all(&folder).at("remove", &folder)
}

/// The manifest in a folder; `None`: it has none.
fn read(folder: &Path) -> Outcome<Option<Manifest>> {
    let path = folder.join(MANIFEST);
    if !path.is_file() {
        return Ok(None);
    }
    let damaged = |why: String| {
        Problem::environment(format!("{} is no image's manifest", path.display()))
            .because(why)
            .so("remove the folder, build the image again")
    };
    let manifest: Manifest =
        serde_json::from_slice(&fs::read(&path).at("read", &path)?).map_err(|error| damaged(error.to_string()))?;
    if manifest.format == FORMAT { Ok(Some(manifest)) } else { Err(damaged(format!("its format is {}", manifest.format))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: &str = "disk-2.qcow2";

    fn places(folder: &Path) -> Places {
        Places { root: folder.into(), target: folder.into(), setup: folder.into() }
    }

    fn image(places: &Places, name: &str) -> Image {
        let folder = folder_of(name, places).unwrap();
        fs::create_dir_all(&folder).unwrap();
        let sealed = [DISK, FIRMWARE, VARIABLES].map(str::to_owned);
        for file in &sealed {
            fs::write(folder.join(file), file).unwrap();
        }
        let (made_of, tools, files) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let manifest = Manifest {
            format: 0,
            edition: "e".to_owned(),
            build: 1,
            system: "s".to_owned(),
            memory_mib: 2048,
            sealed: "now".to_owned(),
            made_of,
            tools,
            disk: DISK.to_owned(),
            files,
            steps: Vec::new(),
        };
        seal(&folder, manifest, &sealed).unwrap();
        Image::find(name, places).unwrap()
    }

    #[test]
    fn a_sealed_image_is_found_verified_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let image = image(&places, "w");
        image.verify().unwrap();
        assert!(fs::metadata(image.file(DISK)).unwrap().permissions().readonly());
        assert_eq!(list(&places).unwrap().len(), 1);
        remove("w", &places).unwrap();
        assert!(list(&places).unwrap().is_empty() && remove("w", &places).is_err());
    }

    #[test]
    fn a_changed_disk_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let image = image(&places(folder.path()), "w");
        fs::remove_file(image.file(DISK)).unwrap();
        fs::write(image.file(DISK), "changed").unwrap();
        assert!(image.verify().unwrap_err().why().contains(DISK));
    }

    #[test]
    fn an_unfinished_image_and_a_name_that_leads_elsewhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        fs::create_dir_all(folder_of("half", &places).unwrap()).unwrap();
        assert!(Image::find("half", &places).unwrap_err().why().contains("not come to its end"));
        for name in ["", "..", "../x", "a/b", ".hidden", "a b"] {
            assert!(folder_of(name, &places).is_err(), "{name}");
        }
    }
}
