//! The files in ci/: they say what their engines want said, and every `cargo rig` in them is a command that exists, and does what the
//! engine needs when it is run in parts.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Guest, finish, mark, rig, run_image};

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

/// The commands in a text, with an engine's variables replaced by what they are in the `shard`th of two jobs.
fn commands(text: &str, shard: &str) -> Vec<Vec<String>> {
    let variables = [
        ("${{ matrix.shard }}", shard),
        ("${{ strategy.job-total }}", "2"),
        ("$CI_NODE_INDEX", shard),
        ("$CI_NODE_TOTAL", "2"),
        ("$((JOB_COMPLETION_INDEX + 1))", shard),
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
        for words in all.iter().flat_map(|text| commands(text, "1")) {
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

/// The commands of a file that begin with a word, as in the `shard`th job.
fn calls(name: &str, word: &str, shard: &str) -> Vec<Vec<String>> {
    let document = parsed(name);
    let mut all = Vec::new();
    texts(&document, &mut all);
    all.iter().flat_map(|text| commands(text, shard)).filter(|words| words[0] == word).collect()
}

#[test]
fn the_parts_that_the_engines_run_make_one_report() {
    let guest = Guest::new().passing("tiny::one").passing("tiny::two").passing("tiny::three").image();
    for name in ["github.yml", "gitlab.yml", "kubernetes.yml"] {
        let mut folders = Vec::new();
        // As many parts as the file's own command says.
        let of = |shard: &str| calls(name, "run", shard).remove(0);
        let words = of("1");
        let parts: usize = words.last().unwrap().split_once('/').unwrap().1.parse().unwrap();
        for shard in 1..=parts {
            let words = of(&shard.to_string());
            let said = finish(run_image(&mark(name), &guest.path).args(&words[1..]));
            assert_eq!(said.exit, Some(0), "{name}: {said}");
            folders.push(said.folder());
        }
        // Kubernetes leaves the report to whoever looks at the volume.
        let output = tempfile::tempdir().unwrap();
        for words in calls(name, "report", "1") {
            let mut report = rig(&mark(name));
            report
                .current_dir(output.path())
                .arg("report")
                .args(&folders)
                .args(words.iter().skip_while(|word| !word.starts_with("--")));
            let said = finish(&mut report);
            assert_eq!(said.exit, Some(0), "{name}: {said}");
            let merged = fs::read_to_string(output.path().join("report/junit.xml")).unwrap();
            assert!(["tiny::one", "tiny::two", "tiny::three"].iter().all(|test| merged.contains(test)), "{name}: {merged}");
        }
    }
}

/// The keys of a mapping.
fn keys(yaml: &Yaml) -> Vec<&str> {
    yaml.as_hash().map(|map| map.keys().filter_map(Yaml::as_str).collect()).unwrap_or_default()
}

/// The members of `known` are all that a mapping may have.
fn assert_known(what: &str, yaml: &Yaml, known: &[&str]) {
    for key in keys(yaml) {
        assert!(known.contains(&key), "{what}: nobody knows the key {key}");
    }
}

#[test]
fn the_workflow_is_one_that_github_takes() {
    let workflow = parsed("github.yml");
    assert_known("the workflow", &workflow, &["name", "on", "jobs"]);
    let jobs = workflow["jobs"].as_hash().unwrap();
    for (name, job) in jobs {
        let name = name.as_str().unwrap();
        assert_known(name, job, &["runs-on", "container", "timeout-minutes", "strategy", "needs", "if", "steps"]);
        assert!(job["runs-on"].as_str().is_some() && job["timeout-minutes"].as_i64().is_some(), "{name}");
        if let Some(needed) = job["needs"].as_str() {
            assert!(jobs.contains_key(&Yaml::String(needed.to_owned())), "{name} needs {needed}");
        }
        for step in job["steps"].as_vec().unwrap() {
            assert_known(name, step, &["run", "uses", "with", "if"]);
            assert!(step["run"].is_badvalue() != step["uses"].is_badvalue(), "{name}: a step runs something or uses something");
            assert!(step["uses"].as_str().is_none_or(|action| action.contains('@')), "{name}: an action without a version");
        }
    }
}

#[test]
fn the_jobs_are_what_gitlab_takes() {
    let file = parsed("gitlab.yml");
    for name in keys(&file).into_iter().filter(|name| *name != "default") {
        let job = &file[name];
        assert_known(name, job, &["script", "timeout", "artifacts", "parallel", "stage", "when", "needs"]);
        assert!(job["script"].as_vec().is_some_and(|script| script.iter().all(|line| line.as_str().is_some())), "{name}");
        for needed in job["needs"].as_vec().into_iter().flatten() {
            let needed = needed["job"].as_str().unwrap();
            assert!(keys(&file).contains(&needed), "{name} needs {needed}");
        }
    }
}

#[test]
fn the_indexed_job_is_what_kubernetes_takes() {
    let job = parsed("kubernetes.yml");
    assert_eq!((job["apiVersion"].as_str(), job["kind"].as_str()), (Some("batch/v1"), Some("Job")));
    let spec = &job["spec"];
    // Both want an indexed Job whose pods are not started again in place.
    assert!(spec["backoffLimitPerIndex"].as_i64().is_some() && spec["podFailurePolicy"]["rules"].as_vec().is_some());
    assert_eq!(spec["completionMode"].as_str(), Some("Indexed"));
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["restartPolicy"].as_str(), Some("Never"));
    let containers: Vec<_> =
        pod["containers"].as_vec().unwrap().iter().map(|container| container["name"].as_str().unwrap()).collect();
    for rule in spec["podFailurePolicy"]["rules"].as_vec().unwrap() {
        assert!(containers.contains(&rule["onExitCodes"]["containerName"].as_str().unwrap()));
    }
    let volumes: Vec<_> = pod["volumes"].as_vec().unwrap().iter().map(|volume| volume["name"].as_str().unwrap()).collect();
    for container in pod["containers"].as_vec().unwrap() {
        for mount in container["volumeMounts"].as_vec().into_iter().flatten() {
            assert!(volumes.contains(&mount["name"].as_str().unwrap()));
        }
    }
}
