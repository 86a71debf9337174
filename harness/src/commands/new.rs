//! `rig new`: a project of one's own, that builds and runs at once: a KMDF driver, the hardware it drives, tests for the guest.
//!
//! The files are those of `harness/template`, in which the project is called `gadget`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::console::say;
use crate::error::{AtPath as _, Exit, Outcome, Problem};
use crate::files::sha256;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::project::{FILE, Project};
use crate::setup::toolchain::cargo;
use crate::tool::{Tool, ToolError};

/// Options of `rig new`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Name of the project, of its driver's service and of the folder: a lower-case letter, then letters and digits, up to 20 in all.
    pub name: String,
    /// Folder in which the project's folder is made. Default: the working directory.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// The files of the template and where they go.
const FILES: [(&str, &str); 19] = [
    (".cargo/config.toml", include_str!("../../template/cargo/config.toml")),
    (".gitignore", include_str!("../../template/gitignore")),
    ("Cargo.toml", include_str!("../../template/workspace.toml")),
    ("Cargo.lock", include_str!("../../../Cargo.lock")),
    ("rust-toolchain.toml", include_str!("../../../rust-toolchain.toml")),
    ("rustfmt.toml", include_str!("../../../rustfmt.toml")),
    ("README.md", include_str!("../../template/README.md")),
    (FILE, include_str!("../../template/project.toml")),
    ("protocol/Cargo.toml", include_str!("../../template/protocol/Cargo.toml")),
    ("protocol/src/lib.rs", include_str!("../../template/protocol/src/lib.rs")),
    ("driver/Cargo.toml", include_str!("../../template/driver/Cargo.toml")),
    ("driver/src/lib.rs", include_str!("../../template/driver/src/lib.rs")),
    ("driver/src/device.rs", include_str!("../../template/driver/src/device.rs")),
    ("model/Cargo.toml", include_str!("../../template/model/Cargo.toml")),
    ("model/src/main.rs", include_str!("../../template/model/src/main.rs")),
    ("model/src/device.rs", include_str!("../../template/model/src/device.rs")),
    ("suite/Cargo.toml", include_str!("../../template/suite/Cargo.toml")),
    ("suite/src/main.rs", include_str!("../../template/suite/src/main.rs")),
    ("suite/src/tests.rs", include_str!("../../template/suite/src/tests.rs")),
];
/// Names that something here has already, or a crate that every project has.
const TAKEN: [&str; 17] = [
    "relay", "relayflt", "probe", "suite", "suites", "ntlet", "wdf", "protocol", "driver", "model", "gadget", "channel", "core",
    "alloc", "std", "test", "zerocopy",
];
/// Names of services and files that every Windows has.
const OF_WINDOWS: [&str; 20] = [
    "acpi", "afd", "beep", "cng", "disk", "fltmgr", "hal", "http", "kbdclass", "mouclass", "mup", "ndis", "ntfs", "ntoskrnl",
    "null", "pci", "tcpip", "volmgr", "wdf01000", "win32k",
];
/// Words of the language, which no crate can be called.
const WORDS: [&str; 53] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else", "enum",
    "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut",
    "override", "priv", "pub", "raw", "ref", "return", "self", "static", "struct", "super", "trait", "true", "try", "type",
    "typeof", "union", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];
/// Longest time for formatting.
const FORMAT: Duration = Duration::from_secs(60);
/// Longest name.
const LONGEST: usize = 20;

/// Does it.
///
/// # Errors
/// A name that will not do, a folder that is there already (the user's mistakes); the disk's.
pub fn perform(arguments: &Arguments, interrupt: &Interrupt) -> Outcome<Exit> {
    let name = &arguments.name;
    if let Some(why) = refusal(name) {
        return Err(Problem::usage(format!("{name:?} is no name for a project"))
            .because(why)
            .so("choose a name of a lower-case letter, then letters and digits, such as `cargo rig new thermometer`"));
    }
    let parent = arguments.out.clone().unwrap_or_else(|| PathBuf::from("."));
    if !parent.is_dir() {
        return Err(Problem::usage(format!("{} is no folder", parent.display()))
            .because("the project's folder is made in it")
            .so("make it, or name another one with --out"));
    }
    if let Some(around) = Project::around(&std::path::absolute(&parent).at("find", &parent)?)? {
        return Err(Problem::usage(format!("{} is inside of a project", parent.display()))
            .because(format!("{} is there", around.root.join(FILE).display()))
            .so("name a folder outside of it with --out"));
    }
    let rig = Places::find(None).root;
    let Some(rig) = rig.to_str().map(quotable) else {
        return Err(Problem::environment(format!("{} cannot be written into a project's files", rig.display()))
            .because("the name is not UTF-8")
            .so("move the clone to a folder with another name"));
    };
    let folder = parent.join(name);
    fs::create_dir(&folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Problem::usage(format!("{} is there already", folder.display()))
            .because("nothing that exists is written over")
            .so("choose another name, or another folder with --out"),
        _ => Problem::environment(format!("{} cannot be created", folder.display()))
            .because(error.to_string())
            .so("name a folder that you may write to with --out"),
    })?;
    for (path, template) in FILES {
        write(&folder.join(path), &fill_in(template, path, name, &rig))?;
    }
    format(&folder, interrupt)?;
    say(format!("{}: driver, model and tests. Next: cd {} && cargo rig run", folder.display(), folder.display()));
    Ok(Exit::Passed)
}

/// Where a line breaks depends on the length of the name. Without a formatter the files stay as they are, which does no harm.
fn format(folder: &Path, interrupt: &Interrupt) -> Outcome<()> {
    match Tool::new(cargo(), FORMAT).args(["fmt", "--all"]).inside(folder).capture(interrupt) {
        Err(ToolError::Interrupted(signal)) => Err(Problem::interrupted(signal)),
        _ => Ok(()),
    }
}

/// Why `name` will not do.
fn refusal(name: &str) -> Option<String> {
    let mut characters = name.chars();
    let begins_well = characters.next().is_some_and(|first| first.is_ascii_lowercase());
    match () {
        () if !begins_well => Some("it does not begin with a lower-case letter".to_owned()),
        () if !characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) => {
            Some("it has something else in it than lower-case letters and digits".to_owned())
        }
        () if name.len() > LONGEST => Some(format!("it has more than {LONGEST} characters")),
        () if TAKEN.contains(&name) => Some("that name is taken".to_owned()),
        () if OF_WINDOWS.contains(&name) => Some("Windows has a driver of that name".to_owned()),
        () if is_device(name) => Some("Windows takes that name for a device, in any folder and with any ending".to_owned()),
        () if WORDS.contains(&name) => Some("it is a word of Rust".to_owned()),
        () => None,
    }
}

/// Whether DOS called a device so.
fn is_device(name: &str) -> bool {
    let numbered =
        |kind| name.strip_prefix(kind).is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit()));
    matches!(name, "con" | "prn" | "aux" | "nul") || numbered("com") || numbered("lpt")
}

/// A path as it is written between quotation marks in TOML.
fn quotable(path: &str) -> String {
    path.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A file of the template, with the project's own name, identity and place of this repository.
fn fill_in(template: &str, path: &str, name: &str, rig: &str) -> String {
    if path == "Cargo.lock" || path == "rust-toolchain.toml" {
        return template.to_owned();
    }
    let digest = sha256(name.as_bytes());
    let device = format!("F{}", digest[..3].to_uppercase());
    let tail = &digest[4..16];
    let bytes: Vec<String> = (0..6).map(|index| format!("0x{}", &tail[2 * index..2 * index + 2])).collect();
    let mut capital = name.to_owned();
    capital[..1].make_ascii_uppercase();
    let tag: String = format!("{capital:_<4}").chars().take(4).collect();
    template
        .replace("0x4741_4447", &format!("0x{}_{}", &digest[16..20], &digest[20..24]))
        .replace("0x00, 0x00, 0x00, 0x00, 0x00, 0x00", &bytes.join(", "))
        .replace("9e02-000000000000", &format!("9e02-{tail}"))
        .replace("DEV_FADE", &format!("DEV_{device}"))
        .replace("0xfade", &format!("0x{}", device.to_lowercase()))
        .replace("Gdgt", &tag)
        .replace("Gadget", &capital)
        .replace("gadget", name)
        .replace("@RIG@", rig)
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).at("create", folder)?;
    }
    fs::write(path, text).at("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_a_crate_a_service_and_a_file_are_refused() {
        let shapes = ["", "Big", "9lives", "a-b", "a b", "../a", "ä", ".", "a.b", "a/b", "a\\b", "-x", "abcdefghijklmnopqrstu"];
        let taken = ["relay", "core", "std", "con", "nul", "com1", "lpt9", "disk", "ntfs", "fn", "match", "self", "yield"];
        for name in shapes.into_iter().chain(taken) {
            assert!(refusal(name).is_some(), "{name}");
        }
        for name in ["thermometer2", "a", "com", "com10", "console", "abcdefghijklmnopqrst"] {
            assert_eq!(refusal(name), None, "{name}");
        }
    }

    #[test]
    fn nothing_of_the_template_is_left_in_a_project() {
        for (path, template) in FILES {
            let text = fill_in(template, path, "thermometer", "/clone");
            for left in ["gadget", "Gadget", "Gdgt", "@RIG@", "FADE", "000000000000"] {
                assert!(path == "Cargo.lock" || !text.contains(left), "{left} in {path}");
            }
        }
    }

    #[test]
    fn a_clone_in_a_folder_of_any_name_is_found_again() {
        let clone = r#"/my "drivers" \ and more"#;
        for (path, template) in FILES.iter().filter(|(_, template)| template.contains("@RIG@")) {
            let text = fill_in(template, path, "thermometer", &quotable(clone));
            let toml: toml::Value = toml::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(toml.to_string().contains("more"), "{path}");
            let alias = toml.get("alias").and_then(|alias| alias["rig"].as_array());
            assert!(
                alias.is_none_or(|words| words.iter().any(|word| word.as_str() == Some(&format!("{clone}/Cargo.toml")))),
                "{path}"
            );
        }
    }

    #[test]
    fn two_projects_have_two_identities() {
        let sheet = FILES.iter().find(|(path, _)| *path == "protocol/src/lib.rs").unwrap().1;
        let ids = ["one", "two"]
            .map(|name| fill_in(sheet, "", name, "/").lines().find(|l| l.contains("DEVICE: u16")).map(str::to_owned));
        assert_ne!(ids[0], ids[1]);
        assert!(ids[0].is_some());
    }
}
