//! The examples of the crate's documentation, compiled: those that keep a rule compile, and those that break one are refused for the reason that is
//! written beside them, and for no other. (Doc tests look at the reason with a nightly compiler only; they are off for this crate.)

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs, thread};

/// Rules that the framework's documentation names, and that the compiler enforces.
const RULES: [&str; 13] = [
    "DeferredRequestCompleted",
    "DriverCreate",
    "InvalidReqAccess",
    "InvalidReqAccessLocal",
    "KmdfIrql",
    "KmdfIrql2",
    "RequestCompleted",
    "RequestCompletedLocal",
    "StopAckWithinEvtIoStop",
    "MarkCancOnCancReqLocal",
    "ReqNotCanceledLocal",
    "Objects of a device",
    "Reuse, send, cancel",
];

/// One example.
#[derive(Clone, Debug, Default)]
struct Example {
    /// The heading it stands under.
    section: String,
    line: usize,
    /// What the fence says: `no_run`, or `compile_fail` and the code of the refusal.
    kind: String,
    code: String,
}

impl Example {
    /// The code of the refusal, for one that is to be refused.
    fn refusal(&self) -> Option<&str> {
        self.kind.strip_prefix("compile_fail,")
    }
}

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rules.rs")).expect("the file is there")
}

fn examples() -> Vec<Example> {
    let (mut examples, mut section, mut open) = (Vec::new(), String::new(), None::<Example>);
    for (index, line) in document().lines().enumerate() {
        let Some(text) = line.strip_prefix("//!") else { continue };
        let text = text.strip_prefix(' ').unwrap_or(text);
        match (&mut open, text.strip_prefix("```")) {
            (None, Some(kind)) => {
                let (section, kind) = (section.clone(), kind.to_owned());
                open = Some(Example { section, line: index + 1, kind, code: String::new() });
            }
            (Some(_), Some(_)) => examples.extend(open.take()),
            // A line that begins with `# ` is there, and not shown.
            (Some(example), None) => example.code += &format!("{}\n", text.strip_prefix("# ").unwrap_or(text)),
            (None, None) => {
                if let Some(heading) = text.strip_prefix("# ") {
                    heading.clone_into(&mut section);
                }
            }
        }
    }
    examples
}

/// The folder that this test was built into, where the libraries are too.
fn libraries() -> PathBuf {
    env::current_exe().expect("this program has a path").parent().expect("in a folder").to_owned()
}

/// The library, as it was built for this test: the newest one.
fn library() -> PathBuf {
    let files = fs::read_dir(libraries()).expect("the folder is there").flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("libwdf-") && name.ends_with(".rlib")
    };
    let built = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).expect("it has a time");
    files.filter(named).max_by_key(built).expect("the library was built for this test")
}

/// Codes with which the compiler refuses an example; an error without one counts as its text.
fn refusals(example: &Example, folder: &Path, library: &Path) -> BTreeSet<String> {
    let source = folder.join(format!("line_{}.rs", example.line));
    fs::write(&source, &example.code).expect("the folder can be written to");
    let mut dependencies = std::ffi::OsString::from("dependency=");
    dependencies.push(libraries());
    let mut wdf = std::ffi::OsString::from("wdf=");
    wdf.push(library);
    let compiler = Path::new(env!("CARGO")).with_file_name("rustc");
    let output = Command::new(compiler)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--error-format=short", "--cap-lints=allow"])
        .arg("--extern")
        .arg(wdf)
        .arg("-L")
        .arg(dependencies)
        .arg("--out-dir")
        .arg(folder)
        .arg(&source)
        .output()
        .expect("the compiler runs");
    let text = String::from_utf8_lossy(&output.stderr);
    let errors = text.lines().filter_map(|line| line.split_once(": error").map(|(_, error)| error));
    let codes = errors.map(|error| error.strip_prefix('[').and_then(|code| code.split(']').next()).unwrap_or(error).to_owned());
    let codes: BTreeSet<String> = codes.collect();
    assert_eq!(codes.is_empty(), output.status.success(), "{text}");
    codes
}

#[test]
fn what_keeps_the_rules_compiles_and_what_breaks_one_is_refused_for_that_reason() {
    let (examples, library) = (examples(), library());
    assert!(examples.len() >= 38, "only {} examples were found", examples.len());
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let (next, wrong) = (Mutex::new(examples.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(example) = { next.lock().expect("no panic in here").next() } {
                    let expected: BTreeSet<String> = example.refusal().map(str::to_owned).into_iter().collect();
                    let came = refusals(example, folder.path(), &library);
                    if came != expected {
                        let what = format!("rules.rs:{}: expected {expected:?}, came {came:?}", example.line);
                        wrong.lock().expect("no panic in here").push(what);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic in there");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_refusal_names_its_reason() {
    for example in examples() {
        let reason = example.refusal().unwrap_or("E0000");
        let is_code = reason.len() == 5 && reason.starts_with('E') && reason[1..].bytes().all(|byte| byte.is_ascii_digit());
        assert!(is_code && (example.kind == "no_run" || example.refusal().is_some()), "line {}: {}", example.line, example.kind);
    }
}

#[test]
fn every_rule_has_a_row_in_the_table_and_an_example_that_is_refused() {
    let (document, examples) = (document(), examples());
    for rule in RULES {
        let named =
            |text: &str| text.split([',', '[', ']']).any(|name| name.trim() == rule) || text.contains(&format!("[{rule}]"));
        let row = document.lines().find(|line| line.starts_with("//! | [") && named(line));
        let row = row.unwrap_or_else(|| panic!("{rule} is not in the table"));
        let title = row.split(['[', ']']).nth(1).unwrap_or_default();
        // The last row is about our own steps, which no one rule names.
        let section = if rule == RULES[12] { "Driver-created requests" } else { title };
        let refused = examples.iter().any(|example| example.section == section && example.refusal().is_some());
        assert!(refused, "{rule}: nothing under {section:?} is refused");
    }
}

/// Functions under `#[test]` in a module of the crate.
fn tests_of(module: &str) -> usize {
    let path = module.trim_end_matches("::tests").replace("::", "/");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let places = [format!("{path}.rs"), format!("{path}/mod.rs"), format!("{path}/tests.rs")];
    let texts = places.iter().filter_map(|place| fs::read_to_string(source.join(place)).ok());
    texts.map(|text| text.matches("#[test]").count()).sum()
}

#[test]
fn every_row_of_the_table_says_what_enforces_it_and_that_is_there() {
    let (document, examples) = (document(), examples());
    let rows: Vec<_> = document.lines().filter(|line| line.starts_with("//! | [")).collect();
    assert_eq!(rows.len(), 11);
    for row in rows {
        let anchor = row.split("](#").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or_default();
        let is_section = |section: &str| {
            let kept = section.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
            kept.collect::<String>().to_lowercase().replace(' ', "-") == anchor
        };
        let of_section = |example: &&Example| is_section(&example.section);
        assert!(examples.iter().any(|example| is_section(&example.section)), "no section for {anchor:?}");
        let refused = examples.iter().filter(of_section).any(|example| example.refusal().is_some());
        let tested = row.split("tested in `").nth(1).and_then(|rest| rest.split('`').next());
        assert!(row.contains("Refused by the compiler") == refused, "{row}");
        assert!(refused || tested.is_some(), "nothing enforces {anchor}");
        assert!(tested.is_none_or(|module| tests_of(module) > 0), "{tested:?} has no tests");
    }
}
