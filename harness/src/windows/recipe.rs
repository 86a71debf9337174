//! Recipes: which Windows, and how it is made. A TOML file each, in vm-images/windows/recipes or wherever the user keeps his own.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::media::Media;
use super::wim::Edition;
use crate::error::{AtPath as _, Outcome, Problem};
use crate::places::Places;

/// Where the repository has its own.
const FOLDER: &str = "vm-images/windows/recipes";
/// Longest computer name that Windows takes.
const LONGEST_NAME: usize = 15;

/// What a recipe says. A field too many or too few is an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// For people.
    pub title: String,
    /// Name of the image inside the media.
    pub edition: String,
    /// Build that the media hold.
    pub build: u32,
    /// Language and country, `en-US`.
    pub locale: String,
    /// Name of the machine.
    pub computer_name: String,
    /// Size of its disk.
    pub disk_gib: u32,
    /// Memory while it is installed.
    pub memory_mib: u32,
    /// Whether Setup is told not to ask for hardware that a test machine need not have.
    pub bypass_hardware_checks: bool,
    /// File names of drivers that Driver Verifier watches with its standard settings.
    pub verified_drivers: Vec<String>,
    /// What the media of `--virtio-iso` call this Windows: the name of a folder in each driver's folder.
    pub virtio_folder: String,
}

impl Recipe {
    /// The recipe in a file, or the repository's of that name.
    ///
    /// # Errors
    /// There is none, or it is not complete.
    pub fn find(name: &str, places: &Places) -> Outcome<Self> {
        let path = Self::path(name, places)?;
        Self::parse(&fs::read_to_string(&path).at("read", &path)?, &path)
    }

    /// The repository's recipes by name.
    ///
    /// # Errors
    /// The disk's.
    pub fn names(places: &Places) -> Outcome<Vec<String>> {
        let folder = places.root.join(FOLDER);
        let entries = fs::read_dir(&folder).at("read", &folder)?.flatten().map(|entry| entry.path());
        let toml = entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
        let mut names: Vec<String> = toml.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
        names.sort();
        Ok(names)
    }

    /// The repository's recipe that fits the media, by the build and the name of an edition.
    ///
    /// # Errors
    /// None fits.
    pub fn for_media(media: &Media, places: &Places) -> Outcome<(String, Self)> {
        for name in Self::names(places)? {
            let recipe = Self::find(&name, places)?;
            let fits = |edition: &&Edition| edition.build == recipe.build && edition.name.eq_ignore_ascii_case(&recipe.edition);
            if media.editions.iter().any(|edition| fits(&edition)) {
                return Ok((name, recipe));
            }
        }
        let held: Vec<String> =
            media.editions.iter().map(|edition| format!("{} (build {})", edition.name, edition.build)).collect();
        Err(Problem::usage(format!("no recipe fits {}", media.path.display()))
            .because(format!("it holds {}", held.join(", ")))
            .so("name one with --recipe and an edition with --edition, or write a recipe and name its file"))
    }

    /// What is to be installed from `media`: `edition`, or the recipe's own.
    ///
    /// # Errors
    /// The media do not hold it, it is of another build, or not for x64.
    pub fn choose<'a>(&self, media: &'a Media, edition: Option<&str>) -> Outcome<&'a Edition> {
        let found = media.edition(edition.unwrap_or(&self.edition))?;
        let wrong = |why: String| {
            Problem::usage(format!("{} does not fit the recipe \"{}\"", media.path.display(), self.title))
                .because(why)
                .so("choose another recipe with --recipe, or other media")
        };
        if !found.is_x64 {
            return Err(wrong(format!("\"{}\" is not for x64", found.name)));
        }
        if found.build != self.build {
            return Err(wrong(format!("\"{}\" is build {}, the recipe is for build {}", found.name, found.build, self.build)));
        }
        Ok(found)
    }

    fn path(name: &str, places: &Places) -> Outcome<PathBuf> {
        let own = Path::new(name);
        if own.is_file() {
            return Ok(own.to_path_buf());
        }
        let names = Self::names(places)?;
        if names.iter().any(|known| known == name) {
            return Ok(places.root.join(FOLDER).join(format!("{name}.toml")));
        }
        Err(Problem::usage(format!("there is no recipe {name}"))
            .because(format!("there are {}", names.join(", ")))
            .so("choose one of them, or name the file of one of your own"))
    }

    fn parse(text: &str, path: &Path) -> Outcome<Self> {
        let wrong = |why: String| {
            Problem::usage(format!("{} is no recipe", path.display()))
                .because(why)
                .so("compare it with those in vm-images/windows/recipes")
        };
        let recipe: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let name = &recipe.computer_name;
        let plain = |character: char| character.is_ascii_alphanumeric() || character == '-';
        let checks = [
            (!recipe.title.is_empty() && !recipe.edition.is_empty(), "title and edition must not be empty"),
            ((20_000..100_000).contains(&recipe.build), "build: no Windows 10 or later has that number"),
            (
                !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(plain),
                "computer_name: 1 to 15 letters, digits or dashes",
            ),
            (recipe.locale.len() == 5 && recipe.locale.as_bytes()[2] == b'-', "locale: a language and a country, as in en-US"),
            ((32..=2048).contains(&recipe.disk_gib), "disk_gib: 32 to 2048"),
            ((2048..=65_536).contains(&recipe.memory_mib), "memory_mib: 2048 to 65536"),
            (
                recipe.verified_drivers.iter().all(|name| is_driver(name)),
                "verified_drivers: file names, each with .sys at its end",
            ),
            (is_file_name(&recipe.virtio_folder), "virtio_folder: letters and digits, as in 2k25"),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err(wrong((*why).to_owned())),
            None => Ok(recipe),
        }
    }
}

/// A name that a command line takes as it is.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_driver(name: &str) -> bool {
    is_file_name(name) && name.to_ascii_lowercase().ends_with(".sys") && name.len() > ".sys".len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "title = \"t\"\nedition = \"e\"\nbuild = 26100\nlocale = \"en-US\"\ncomputer_name = \"RIG\"\ndisk_gib = 40\n\
                        memory_mib = 2048\nbypass_hardware_checks = false\nverified_drivers = [\"a.sys\"]\nvirtio_folder = \"2k25\"\n";

    fn places() -> Places {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        Places { root, target: "/nowhere".into(), setup: "/nowhere".into() }
    }

    #[test]
    fn every_recipe_of_the_repository_is_complete() {
        let names = Recipe::names(&places()).unwrap();
        assert!(names.len() >= 3, "{names:?}");
        for name in names {
            Recipe::find(&name, &places()).unwrap_or_else(|problem| panic!("{problem}"));
        }
    }

    #[test]
    fn a_recipe_with_a_field_too_many_or_too_few_or_an_impossible_value_is_refused() {
        let parse = |text: &str| Recipe::parse(text, Path::new("r.toml"));
        assert!(parse(GOOD).is_ok());
        assert!(parse(&format!("{GOOD}colour = 1\n")).is_err());
        for (good, bad) in [
            ("26100", "7601"),
            ("RIG", "R I G"),
            ("en-US", "english"),
            ("40", "4"),
            ("2048", "64"),
            ("\"e\"", "\"\""),
            ("a.sys", "a.sys & format c:"),
            ("a.sys", "a.exe"),
            ("2k25", ".. \\\\"),
        ] {
            assert!(parse(&GOOD.replace(good, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_recipe_is_answered_with_those_that_there_are() {
        let problem = Recipe::find("windows-3.11", &places()).unwrap_err();
        assert!(problem.why().contains("server-2025"), "{problem}");
    }
}
