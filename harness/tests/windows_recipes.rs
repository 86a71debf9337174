//! The Windows recipes and their answer file: complete, well-formed, and in agreement with each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What a recipe says. A field too many or too few is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    title: String,
    edition: String,
    build: u32,
    locale: String,
    computer_name: String,
    disk_gib: u32,
    memory_mib: u32,
    #[allow(dead_code, reason = "either value is fine")]
    bypass_hardware_checks: bool,
}

/// Values of the answer file that the image builder makes rather than a recipe.
const MADE: [&str; 2] = ["password", "hardware_check_commands"];
/// Values of the answer file that a recipe gives.
const GIVEN: [&str; 3] = ["locale", "edition", "computer_name"];

fn room() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vm-images/windows")
}

#[test]
fn every_recipe_is_complete_and_plausible() {
    let mut recipes = 0;
    for entry in fs::read_dir(room().join("recipes")).unwrap() {
        let file = entry.unwrap().path();
        let recipe: Recipe =
            toml::from_str(&fs::read_to_string(&file).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert!(!recipe.title.is_empty() && !recipe.edition.is_empty(), "{}", file.display());
        assert!((20_000..100_000).contains(&recipe.build), "{}", file.display());
        assert!(recipe.computer_name.len() <= 15, "{}: longer than a NetBIOS name", file.display());
        assert!(recipe.locale.len() == 5 && recipe.disk_gib >= 32 && recipe.memory_mib >= 2048, "{}", file.display());
        recipes += 1;
    }
    assert!(recipes >= 3);
}

#[test]
fn the_answer_file_is_well_formed_and_asks_only_for_values_that_exist() {
    let text = fs::read_to_string(room().join("autounattend.xml")).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let passes: Vec<_> =
        document.descendants().filter(|node| node.has_tag_name(("urn:schemas-microsoft-com:unattend", "settings"))).collect();
    assert_eq!(
        passes.iter().filter_map(|pass| pass.attribute("pass")).collect::<Vec<_>>(),
        ["windowsPE", "specialize", "oobeSystem"]
    );
    let asked: BTreeSet<&str> = text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()).collect();
    assert_eq!(asked, GIVEN.into_iter().chain(MADE).collect());
}
