//! Further drivers for the guest: the ISO file with the virtio drivers for Windows, as their publisher lays it out. A folder for each driver, in
//! it one for each Windows, in that one for each processor.

use std::path::{Path, PathBuf};

use super::media;
use super::recipe::Recipe;
use crate::error::{Outcome, Problem};

/// A disc with drivers.
#[derive(Clone, Debug)]
pub struct Drivers {
    /// The file, by an absolute path.
    pub path: PathBuf,
    /// What it calls this Windows.
    pub folder: String,
}

impl Drivers {
    /// Looks into an ISO file.
    ///
    /// # Errors
    /// It holds no drivers for the recipe's Windows.
    pub fn inspect(path: &Path, recipe: &Recipe) -> Outcome<Self> {
        let wanted = format!("NetKVM/{}/amd64/netkvm.inf", recipe.virtio_folder);
        if !media::has(path, &wanted)? {
            return Err(Problem::environment(format!("{} has no virtio drivers for \"{}\"", path.display(), recipe.title))
                .because(format!("there is no {wanted} on it"))
                .so("name the ISO file with the virtio drivers for Windows, not older than this Windows; the recipe's virtio_folder says what it calls it"));
        }
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Ok(Self { path, folder: recipe.virtio_folder.clone() })
    }
}
