//! Where things live: the workspace, its target folder, and what `rig` keeps there.

use std::path::{Path, PathBuf};

/// The folders of one checkout.
#[derive(Clone, Debug)]
pub struct Places {
    /// Root of the workspace.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// What set-up fetched.
    pub setup: PathBuf,
}

impl Places {
    /// The folders of the checkout that this binary was built from; `setup` overrides where fetched things go.
    #[must_use]
    pub fn find(setup: Option<PathBuf>) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf();
        let target = target_of_this_binary().unwrap_or_else(|| root.join("target"));
        let setup = setup
            .map(|folder| std::path::absolute(&folder).unwrap_or(folder))
            .unwrap_or_else(|| target.join("rig").join("setup"));
        Self { root, target, setup }
    }

    /// What `rig` makes, apart from what cargo makes.
    #[must_use]
    pub fn rig(&self) -> PathBuf {
        self.target.join("rig")
    }

    /// One folder a run.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.rig().join("runs")
    }

    /// The driver package.
    #[must_use]
    pub fn package(&self) -> PathBuf {
        self.rig().join("package")
    }

    /// Target folder of everything that runs inside a guest.
    #[must_use]
    pub fn guest_target(&self) -> PathBuf {
        self.target.join("guest")
    }
}

/// `<target>/<profile>/rig` -> `<target>`, if the folder carries cargo's mark.
fn target_of_this_binary() -> Option<PathBuf> {
    let binary = std::env::current_exe().ok()?;
    let target = binary.parent()?.parent()?;
    target.join("CACHEDIR.TAG").is_file().then(|| target.to_path_buf())
}
