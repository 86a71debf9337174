//! The program as the harness starts it: its first line, its exit statuses, its socket, its sandbox.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use device_model::memory::{Memory, Region};
use device_model::testing::*;
use vfio_user::Client;

const DEADLINE: Duration = Duration::from_secs(10);

fn program(socket: &Path, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_device-model"))
        .args(["serve", "relay", "--transport", "vfio-user", "--socket"])
        .arg(socket)
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the program does not end");
        }
        std::thread::yield_now();
    }
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: the child has not been waited for, so its id is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

fn errors(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.as_mut().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn it_says_ready_serves_in_its_sandbox_and_stops_cleanly() {
    for stop in [libc::SIGTERM, libc::SIGINT] {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("device");
        let mut child = program(&socket, &[]);
        assert_eq!(first_line(&mut child), format!("ready {}\n", socket.display()));
        for _ in 0..2 {
            let mut client = Client::new(&socket).unwrap();
            let mut ids = [0; 4];
            client.region_read(7, 0, &mut ids).unwrap();
            assert_eq!(ids, [0xf4, 0x1a, 0x55, 0x10]);
        }

        signal(&child, stop);

        assert_eq!(wait(&mut child).code(), Some(0));
        assert!(!socket.exists(), "the socket is removed");
        assert!(!errors(&mut child).contains("sandbox"));
    }
}

#[test]
fn a_relative_path_is_served_in_the_sandbox_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_device-model"))
        .args(["serve", "relay", "--transport", "vfio-user", "--socket", "device"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(first_line(&mut child), "ready device\n");
    Client::new(&folder.path().join("device")).unwrap();

    signal(&child, libc::SIGTERM);

    assert_eq!(wait(&mut child).code(), Some(0), "{}", errors(&mut child));
    assert!(!folder.path().join("device").exists(), "the socket is removed");
}

#[test]
fn a_client_that_shortens_its_memory_does_not_end_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("device");
    let mut child = program(&socket, &[]);
    first_line(&mut child);
    let mut client = Client::new(&socket).unwrap();
    let memory = tempfile::tempfile().unwrap();
    memory.set_len(0x10_0000).unwrap();
    client.dma_map(0, 0, 0x10_0000, memory.as_raw_fd()).unwrap();
    client.region_write(7, 4, &[6, 0]).unwrap();
    let mut guest = Registered(client);
    start_with_rings_at(&mut guest, 0x1_0000);

    memory.set_len(0).unwrap();
    guest.write(BAR, NOTIFY, &[0, 0]);

    // Twice, so that the work which follows the first access has been done before the second is answered.
    for _ in 0..2 {
        assert_eq!(guest.read32(BAR, CONFIG), 0x5941_4c52);
    }
    signal(&child, libc::SIGTERM);
    assert_eq!(wait(&mut child).code(), Some(0));
    assert!(errors(&mut child).contains("shortened memory"));
}

/// A client as registers.
struct Registered(Client);

impl Registers for Registered {
    fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        self.0.region_read(bar as u32, offset, data).unwrap();
    }

    fn write(&mut self, bar: usize, offset: u64, data: &[u8]) {
        self.0.region_write(bar as u32, offset, data).unwrap();
    }
}

/// Start the device with empty rings in memory that is all zeroes, which this process does not touch itself.
fn start_with_rings_at(registers: &mut dyn Registers, base: u64) {
    let zeroes = Memory::default().with(Region::anonymous(0, 0x10_0000).unwrap()).unwrap();
    let queue = DriverQueue::new(Arc::new(zeroes), base, 256);
    assert_eq!(start_virtio(registers, VERSION_1, &[&queue]), RUNNING);
}

#[test]
fn a_wrong_command_line_is_status_2_and_says_why() {
    let mut child = program(Path::new("/nowhere"), &["--log", "loud"]);
    assert_eq!(wait(&mut child).code(), Some(2));
    assert!(errors(&mut child).contains("--log loud"));

    let mut child = program(Path::new("/nowhere"), &["--frobnicate"]);
    assert_eq!(wait(&mut child).code(), Some(2));
}

#[test]
fn a_plan_of_faults_is_followed_and_a_wrong_one_is_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let socket = folder.path().join("device");
    std::fs::write(&plan, "[[fault]]\nkind = \"device-gone\"\nafter = 1\nmicros = 60000000\n").unwrap();
    let mut child = program(&socket, &["--faults", plan.to_str().unwrap()]);
    first_line(&mut child);
    let mut client = Client::new(&socket).unwrap();
    client.region_write(7, 4, &[6, 0]).unwrap();
    let mut magic = [0; 4];
    client.region_read(2, 0x2000, &mut magic).unwrap();
    assert_eq!(&magic, b"RLAY");
    client.region_read(2, 0x2000, &mut magic).unwrap();
    assert_eq!(magic, [0xff; 4], "gone");
    signal(&child, libc::SIGTERM);
    assert_eq!(wait(&mut child).code(), Some(0));
    let told = errors(&mut child);
    let line = told.lines().find(|line| line.contains("a fault is injected")).unwrap_or_else(|| panic!("no fault: {told}"));
    let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    assert_eq!((field("fault"), field("strike")), (Some("\"device-gone\""), Some("1")), "{line}");
    assert!(field("time_ns").and_then(|time| time.parse::<u64>().ok()).is_some_and(|time| time > 0), "the device's time: {line}");
    assert!(line.contains("cause=\"register access\""), "{line}");

    std::fs::write(&plan, "[[fault]]\nkind = \"bad-mood\"\n").unwrap();
    let mut child = program(&socket, &["--faults", plan.to_str().unwrap()]);
    assert_eq!(wait(&mut child).code(), Some(2));
    assert!(errors(&mut child).contains("bad-mood"));
}

#[test]
fn a_socket_that_cannot_be_is_status_3_and_says_why() {
    let mut child = program(Path::new("/nonexistent/folder/device"), &[]);
    assert_eq!(wait(&mut child).code(), Some(3));
    assert!(errors(&mut child).contains("/nonexistent/folder/device: cannot listen"));
}

#[test]
fn a_parent_that_is_not_there_any_more_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = program(&folder.path().join("device"), &["--die-with-parent=1"]);

    assert_eq!(wait(&mut child).code(), Some(3));
    assert!(errors(&mut child).contains("parent process has gone"));
}

#[test]
fn it_ends_with_its_parent_and_removes_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("device");
    // A shell in between, which is killed without a chance to clean up.
    let script = format!(
        "{} serve relay --transport vfio-user --socket {} --die-with-parent & wait",
        env!("CARGO_BIN_EXE_device-model"),
        socket.display()
    );
    let mut shell = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    assert!(first_line(&mut shell).starts_with("ready "));
    let stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();

    shell.kill().unwrap();
    shell.wait().unwrap();

    // The end of the connection is the end of the program; its socket file goes just before.
    let end = (&stream).read(&mut [0]);
    assert!(end.as_ref().is_ok_and(|&count| count == 0) || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    let deadline = Instant::now() + DEADLINE;
    while socket.exists() {
        assert!(Instant::now() < deadline, "the socket stays");
        std::thread::yield_now();
    }
}
