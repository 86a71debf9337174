//! A project: a driver, a device model and a suite that are not this repository's own. `project.toml` says what belongs together; `rig new`
//! writes one.

use std::fs;
use std::path::{Path, PathBuf};

use driver_package::inf::{Class, Inf, Model};
use serde::Deserialize;

use crate::error::{AtPath as _, Outcome, Problem};

/// The file that makes a folder a project.
pub const FILE: &str = "project.toml";
const REMEDY: &str = "compare with a project.toml that `cargo rig new NAME` writes";

/// What `project.toml` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    driver: Driver,
    model: Part,
    suite: Part,
}

/// The driver, and what its INF says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Driver {
    #[serde(rename = "crate")]
    name: String,
    service: String,
    description: String,
    provider: String,
    hardware_id: String,
    device: String,
    #[serde(default)]
    messages: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    #[serde(rename = "crate")]
    name: String,
}

/// A folder with a `project.toml`.
#[derive(Debug)]
pub struct Project {
    /// Its root: where cargo works.
    pub root: PathBuf,
    description: Description,
}

impl Project {
    /// The project that `folder` is in, if it is in one.
    ///
    /// # Errors
    /// Its `project.toml` is none.
    pub fn around(folder: &Path) -> Outcome<Option<Self>> {
        folder.ancestors().find(|folder| folder.join(FILE).is_file()).map(Self::open).transpose()
    }

    /// The project that the working directory is in, if it is in one.
    ///
    /// # Errors
    /// As [`around`](Self::around).
    pub fn here() -> Outcome<Option<Self>> {
        std::env::current_dir().map_or(Ok(None), |folder| Self::around(&folder))
    }

    fn open(root: &Path) -> Outcome<Self> {
        let path = root.join(FILE);
        let text = fs::read_to_string(&path).at("read", &path)?;
        let wrong = |why: String| Problem::usage(format!("{} describes no project", path.display())).because(why).so(REMEDY);
        let description: Description = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let service = &description.driver.service;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if service.is_empty() || service.len() > 32 || !service.chars().all(is_plain) {
            return Err(wrong(format!("driver.service is {service:?}: letters, digits, _ and -, up to 32 of them")));
        }
        Ok(Self { root: root.to_path_buf(), description })
    }

    /// The crate that is the driver. Its library is named like the service.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.description.driver.name
    }

    /// The service, after which driver file, INF and package are named.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.description.driver.service
    }

    /// The crate whose program serves the device.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.description.model.name
    }

    /// The crate whose program runs in the guest.
    #[must_use]
    pub fn suite(&self) -> &str {
        &self.description.suite.name
    }

    /// The INF of a package of `date`.
    #[must_use]
    pub fn inf(&self, date: i64) -> Inf {
        let driver = &self.description.driver;
        Inf {
            provider: driver.provider.clone(),
            class: Class::SYSTEM,
            models: vec![Model { hardware_id: driver.hardware_id.clone(), description: driver.device.clone() }],
            service: driver.service.clone(),
            service_description: driver.description.clone(),
            upper_filter: None,
            framework: (1, 15),
            messages: driver.messages,
            date,
            version: [0, 1, 0, 0],
            catalogue: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[driver]\ncrate = 'a-driver'\nservice = 'a'\ndescription = 'A'\nprovider = 'B'\nhardware-id = 'PCI\\VEN_1234'\n\
                        device = 'C'\n[model]\ncrate = 'a-model'\n[suite]\ncrate = 'a-suite'\n";

    fn with(text: &str) -> (tempfile::TempDir, Outcome<Option<Project>>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), text).unwrap();
        let below = folder.path().join("driver/src");
        fs::create_dir_all(&below).unwrap();
        let found = Project::around(&below);
        (folder, found)
    }

    #[test]
    fn a_project_is_found_from_any_folder_in_it() {
        let (folder, found) = with(GOOD);
        let project = found.unwrap().unwrap();
        assert_eq!(project.root, folder.path());
        assert_eq!(
            (project.driver(), project.service(), project.model(), project.suite()),
            ("a-driver", "a", "a-model", "a-suite")
        );
        assert_eq!(project.inf(0).messages, None);
    }

    #[test]
    fn a_description_that_is_wrong_says_where() {
        for (from, to, reason) in
            [("[model]", "[mode]", "mode"), ("service = 'a'", "service = '../a'", "driver.service"), ("crate", "krate", "krate")]
        {
            let (_folder, found) = with(&GOOD.replacen(from, to, 1));
            let problem = found.unwrap_err();
            assert_eq!(problem.exit().code(), 2);
            assert!(problem.why().contains(reason), "{problem}");
        }
    }
}
