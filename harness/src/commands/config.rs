//! `rig.toml`: options of `rig run` that a project keeps in its own folder, so that nobody has to type them.
//!
//! A key is the name of an option, and its value what would be typed after it. What is typed after all outweighs the file.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use toml::de::{DeTable, DeValue};

use super::Command;
use crate::error::{Outcome, Problem};

/// The file that is read when none is named.
pub const FILE: &str = "rig.toml";
/// The option that names another one.
const OPTION: &str = "--config";

/// What stands after an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A text or a number.
    Value,
    /// Nothing; `true` sets it.
    Flag,
    /// A path, seen from the file's folder.
    Path,
    /// Several paths.
    Paths,
    /// Several texts.
    Values,
}

/// What a file may say.
const KEYS: [(&str, Kind); 25] = [
    ("accel", Kind::Value),
    ("boot-timeout", Kind::Value),
    ("device", Kind::Value),
    ("device-log", Kind::Value),
    ("faults", Kind::Path),
    ("filter", Kind::Value),
    ("for", Kind::Value),
    ("framework", Kind::Paths),
    ("image", Kind::Path),
    ("jobs", Kind::Value),
    ("keep-going", Kind::Flag),
    ("no-device", Kind::Flag),
    ("package", Kind::Path),
    ("program", Kind::Path),
    ("qemu", Kind::Path),
    ("retries", Kind::Value),
    ("rig", Kind::Value),
    ("seed", Kind::Value),
    ("service", Kind::Paths),
    ("slow", Kind::Value),
    ("suite", Kind::Values),
    ("symbols", Kind::Paths),
    ("timeout", Kind::Value),
    ("transport", Kind::Value),
    ("vcpus", Kind::Value),
];

/// The command line with what the file says before what the user says, if the command is `run` and there is a file.
///
/// # Errors
/// The file cannot be read, or says something that it may not; with the line.
pub fn expand(mut arguments: Vec<OsString>, folder: &Path) -> Outcome<Vec<OsString>> {
    if arguments.get(1).is_none_or(|command| command != "run") {
        return Ok(arguments);
    }
    let Some(path) = named(&mut arguments)?.or_else(|| Some(folder.join(FILE)).filter(|path| path.is_file())) else {
        return Ok(arguments);
    };
    let text = fs::read_to_string(&path).map_err(|error| {
        Problem::usage(format!("{} cannot be read", path.display())).because(error.to_string()).so("name a file that is there")
    })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let added = options(&text, folder).map_err(|(line, why)| {
        Problem::usage(format!("{}:{line}: this is no option of a run", path.display()))
            .because(why)
            .so("docs/runs.md lists what the file may say; `cargo rig run --help` says what each option means")
    })?;
    arguments.splice(2..2, added);
    Ok(arguments)
}

/// Takes the option that names a file out of the command line.
fn named(arguments: &mut Vec<OsString>) -> Outcome<Option<PathBuf>> {
    let is_option = |word: &OsString| word.to_str().is_some_and(|word| word == OPTION || word.starts_with(&format!("{OPTION}=")));
    let Some(place) = arguments.iter().position(is_option) else { return Ok(None) };
    let word = arguments.remove(place);
    if let Some((_, path)) = word.to_str().and_then(|word| word.split_once('=')) {
        return Ok(Some(path.into()));
    }
    if place >= arguments.len() {
        return Err(Problem::usage(format!("{OPTION} names no file")).because("nothing follows it").so(format!("{OPTION} FILE")));
    }
    Ok(Some(arguments.remove(place).into()))
}

/// A mistake: its line, and what it is.
type Mistake = (usize, String);

/// What the file says, as it would be typed.
fn options(text: &str, folder: &Path) -> Result<Vec<OsString>, Mistake> {
    let line_at = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let table =
        DeTable::parse(text).map_err(|error| (error.span().map_or(1, |span| line_at(span.start)), error.message().to_owned()))?;
    let mut words = Vec::new();
    for (key, value) in table.get_ref() {
        let (name, line) = (key.get_ref().as_ref(), line_at(key.span().start));
        let known = KEYS.iter().find(|(known, _)| *known == name);
        let kind = known.map(|(_, kind)| *kind).ok_or_else(|| (line, unknown(name)))?;
        let option = words_of(name, kind, value.get_ref(), folder).map_err(|why| (line_at(value.span().start), why))?;
        check(name, &option).map_err(|why| (line, why))?;
        words.extend(option);
    }
    Ok(words)
}

/// One option as it would be typed.
fn words_of(name: &str, kind: Kind, value: &DeValue<'_>, folder: &Path) -> Result<Vec<OsString>, String> {
    let option = |value: OsString| vec![OsString::from(format!("--{name}")), value];
    let path = |text: &str| folder.join(text).into_os_string();
    match (kind, value) {
        (Kind::Value | Kind::Values, DeValue::String(text)) => Ok(option(OsString::from(text.as_ref()))),
        (Kind::Value, DeValue::Integer(number)) => Ok(option(OsString::from(number.as_str()))),
        (Kind::Flag, DeValue::Boolean(true)) => Ok(vec![OsString::from(format!("--{name}"))]),
        (Kind::Flag, DeValue::Boolean(false)) => Ok(Vec::new()),
        (Kind::Path | Kind::Paths, DeValue::String(text)) => Ok(option(path(text))),
        (Kind::Paths, DeValue::Array(list)) => {
            let texts: Option<Vec<&str>> = list.iter().map(|item| item.get_ref().as_str()).collect();
            let texts = texts.ok_or_else(|| format!("{name} is a list of file names"))?;
            Ok(texts.into_iter().flat_map(|text| option(path(text))).collect())
        }
        (Kind::Values, DeValue::Array(list)) => {
            let texts: Option<Vec<&str>> = list.iter().map(|item| item.get_ref().as_str()).collect();
            let texts = texts.ok_or_else(|| format!("{name} is a list of texts"))?;
            Ok(texts.into_iter().flat_map(|text| option(OsString::from(text))).collect())
        }
        (Kind::Value, _) => Err(format!("{name} is a text or a number")),
        (Kind::Values, _) => Err(format!("{name} is a text or a list of them")),
        (Kind::Flag, _) => Err(format!("{name} is true or false")),
        (Kind::Path, _) => Err(format!("{name} is a file name")),
        (Kind::Paths, _) => Err(format!("{name} is a file name or a list of them")),
    }
}

/// Whether an option takes its value, whatever else is said.
fn check(name: &str, option: &[OsString]) -> Result<(), String> {
    use clap::error::ErrorKind;
    let words = ["rig", "run"].map(OsString::from).into_iter().chain(option.iter().cloned());
    match Command::try_parse_from(words) {
        // That another option is missing beside this one is found out when all are there.
        Err(error) if !matches!(error.kind(), ErrorKind::MissingRequiredArgument) => {
            let text = error.to_string();
            Err(text.lines().next().map_or_else(|| name.to_owned(), |line| line.trim_start_matches("error: ").to_owned()))
        }
        _ => Ok(()),
    }
}

fn unknown(name: &str) -> String {
    let names: Vec<&str> = KEYS.iter().map(|(known, _)| *known).collect();
    format!("there is no key {name:?}; there are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Vec<String> {
        let words = options(text, Path::new("/home/me")).unwrap();
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn keys_become_options_and_paths_are_seen_from_the_files_folder() {
        let text = "package = 'driver/my.inf'\nservice = ['a.sys', 'b.sys']\nretries = 2\nkeep-going = true\nno-device = false\nsuite = ['device', 'contract']\n";
        let mut words = typed(text);
        words.sort();
        let expected = ["--keep-going", "--package", "--retries", "--service", "--service", "--suite", "--suite"];
        assert_eq!(words[..7], expected);
        assert_eq!(words[7..], ["/home/me/a.sys", "/home/me/b.sys", "/home/me/driver/my.inf", "2", "contract", "device"]);
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let mistake = |text: &str| options(text, Path::new("/")).unwrap_err();
        let (line, why) = mistake("retries = 1\n\npakage = 'x'\n");
        assert!(line == 3 && why.contains("no key \"pakage\"") && why.contains("package"), "{line}: {why}");
        let (line, why) = mistake("# first\nvcpus = 'many'\n");
        assert!(line == 2 && why.contains("many"), "{line}: {why}");
        assert_eq!(mistake("keep-going = 1\n"), (1, "keep-going is true or false".to_owned()));
        assert_eq!(mistake("suite = 'a'\nretries = \n").0, 2);
        assert_eq!(mistake("service = [1]\n"), (1, "service is a list of file names".to_owned()));
    }

    #[test]
    fn what_is_typed_outweighs_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "retries = 2\nvcpus = 4\n").unwrap();
        let typed = ["rig", "run", "--vcpus", "1"].map(OsString::from).to_vec();

        let words = expand(typed, folder.path()).unwrap();

        let Command::Run(arguments) = Command::try_parse_from(words).unwrap() else { panic!("another command") };
        assert_eq!((arguments.retries, arguments.vcpus), (2, 1));
    }

    #[test]
    fn a_file_that_is_named_must_be_there_and_other_commands_read_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "nonsense = 1").unwrap();
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(expand(words(&["rig", "doctor"]), folder.path()).is_ok());
        assert!(expand(words(&["rig", "run"]), folder.path()).unwrap_err().to_string().contains("rig.toml:1"));
        for missing in [&["rig", "run", "--config", "/nowhere.toml"][..], &["rig", "run", "--config"]] {
            assert!(expand(words(missing), folder.path()).is_err());
        }
    }

    #[test]
    fn every_key_is_an_option_of_a_run() {
        use clap::CommandFactory as _;
        let command = Command::command();
        let run = command.find_subcommand("run").unwrap();
        for (name, _) in KEYS {
            assert!(run.get_arguments().any(|option| option.get_long() == Some(name)), "{name}");
        }
    }
}
