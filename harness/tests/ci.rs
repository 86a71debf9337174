//! The files in ci/ are YAML, and every `cargo rig` in them is a command that exists.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use harness::commands::Command;
use yaml_rust2::{Yaml, YamlLoader};

fn ci() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("ci")
}

fn parsed(name: &str) -> Yaml {
    let text = fs::read_to_string(ci().join(name)).unwrap();
    let mut documents = YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(documents.len(), 1, "{name} is one document");
    documents.remove(0)
}

/// Every text in a document.
fn texts<'a>(yaml: &'a Yaml, found: &mut Vec<&'a str>) {
    match yaml {
        Yaml::String(text) => found.push(text),
        Yaml::Array(list) => list.iter().for_each(|item| texts(item, found)),
        Yaml::Hash(map) => map.iter().for_each(|(_, value)| texts(value, found)),
        _ => {}
    }
}

/// The commands in a text, with an engine's variables replaced by what they may be.
fn commands(text: &str) -> Vec<Vec<String>> {
    let variables = [
        ("${{ matrix.shard }}", "1"),
        ("${{ strategy.job-total }}", "2"),
        ("$CI_NODE_INDEX", "1"),
        ("$CI_NODE_TOTAL", "2"),
        ("$((JOB_COMPLETION_INDEX + 1))", "1"),
    ];
    let lines = text.lines().filter_map(|line| line.split_once("cargo rig ").map(|(_, rest)| rest.to_owned()));
    let replaced = lines.map(|line| variables.iter().fold(line, |line, (variable, value)| line.replace(variable, value)));
    replaced.map(|line| shlex::split(&line).unwrap_or_else(|| panic!("{line} is no command"))).collect()
}

#[test]
fn every_call_of_rig_is_one_that_rig_understands() {
    let mut found = 0;
    for name in ["github.yml", "gitlab.yml", "kubernetes.yml"] {
        let document = parsed(name);
        let mut all = Vec::new();
        texts(&document, &mut all);
        for words in all.iter().flat_map(|text| commands(text)) {
            assert!(
                !words.iter().any(|word| word.contains('$')),
                "{name}: {words:?} has a variable that this test does not know"
            );
            let typed = std::iter::once("rig".to_owned()).chain(words.clone());
            if let Err(error) = Command::try_parse_from(typed) {
                panic!("{name}: cargo rig {}: {error}", words.join(" "));
            }
            found += 1;
        }
    }
    assert!(found >= 7, "{found} calls were found");
}

#[test]
fn the_indexed_job_has_as_many_shards_as_pods() {
    let job = parsed("kubernetes.yml");
    let spec = &job["spec"];
    assert_eq!((spec["completionMode"].as_str(), job["kind"].as_str()), (Some("Indexed"), Some("Job")));
    let pods = spec["completions"].as_i64().unwrap();
    let command = spec["template"]["spec"]["containers"][0]["args"][0].as_str().unwrap();
    assert!(command.contains(&format!("+ 1))/{pods}")), "{pods} pods run {command}");
}

#[test]
fn github_collects_what_each_shard_left_and_reports_on_all() {
    let workflow = parsed("github.yml");
    let jobs = &workflow["jobs"];
    assert_eq!(jobs["report"]["needs"].as_str(), Some("guest"));
    assert_eq!(jobs["report"]["if"].as_str(), Some("always()"), "the report of a failure is the one that is wanted");
    assert_eq!(jobs["guest"]["strategy"]["fail-fast"].as_bool(), Some(false));
    for job in ["test", "guest", "report"] {
        assert!(jobs[job]["timeout-minutes"].as_i64().is_some(), "{job} may run for ever");
    }
}
