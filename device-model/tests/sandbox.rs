//! A model that goes beyond serving is stopped. Each attempt is made by this test program itself, started again as a process of its own.

use std::process::{Command, Stdio};

use device_model::sandbox;

const ATTEMPT: &str = "SANDBOX_ATTEMPT";

/// Not a test of its own: without the variable it does nothing.
#[test]
fn attempt() {
    let Ok(attempt) = std::env::var(ATTEMPT) else { return };
    sandbox::enter(None).unwrap();
    match attempt.as_str() {
        "file" => drop(std::fs::File::open("/etc/hostname")),
        "network" => drop(std::net::TcpStream::connect("127.0.0.1:9")),
        "program" => drop(Command::new("true").stdin(Stdio::null()).status()),
        "nothing" => {}
        other => panic!("{other}"),
    }
    // SAFETY: ends the process; nothing of the test program may run on in the sandbox.
    unsafe { libc::_exit(0) }
}

fn outcome(attempt: &str) -> (Option<i32>, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["attempt", "--exact", "--nocapture", "--test-threads=1"])
        .env(ATTEMPT, attempt)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_model_that_serves_is_left_alone() {
    assert_eq!(outcome("nothing").0, Some(0));
}

#[test]
fn a_model_that_opens_a_file_is_stopped_and_the_line_says_so() {
    let (status, line) = outcome("file");
    assert_eq!(status, Some(sandbox::EXIT_STATUS), "{line}");
    assert!(line.contains("sandbox: system call") && line.contains("open a file"), "{line}");
}

#[test]
fn a_model_that_goes_to_the_network_is_stopped_and_the_line_says_so() {
    let (status, line) = outcome("network");
    assert_eq!(status, Some(sandbox::EXIT_STATUS), "{line}");
    assert!(line.contains("create a socket"), "{line}");
}

#[test]
fn a_model_that_runs_a_program_is_stopped() {
    assert_eq!(outcome("program").0, Some(sandbox::EXIT_STATUS));
}
