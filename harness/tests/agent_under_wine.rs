//! agent.exe as a Windows program, under Wine, with a real serial line: a pseudo-terminal is its COM2, and the harness's own link is at the other end.
//!
//! Wine is not fetched: it is 105 MB, and its first start alone takes longer than all of these tests may. Where it is on PATH the test runs.

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use channel::{AGENT_VERSION, ToAgent, ToGuest};
use harness::build::link::Linked;
use harness::run::link::{AgentSaid, Link, Said};
use harness::setup::qemu::on_path;

/// Wine's first start makes its folder.
const PATIENCE: Duration = Duration::from_secs(180);

/// Wine with a folder of its own, and a pseudo-terminal as COM2.
struct Machine {
    wine: PathBuf,
    prefix: tempfile::TempDir,
    link: Link,
    running: Vec<Child>,
}

impl Machine {
    fn new() -> Option<Self> {
        let Some(wine) = ["wine64", "wine"].into_iter().find_map(on_path) else {
            eprintln!("SKIP: wine is not on PATH");
            return None;
        };
        let prefix = tempfile::tempdir().unwrap();
        let (line, name) = terminal();
        let (ours, theirs) = UnixStream::pair().unwrap();
        join(line, theirs);
        let machine = Self { wine, prefix, link: Link::new(ours).unwrap(), running: Vec::new() };
        assert!(machine.wine(&["wineboot", "--init"]).status().unwrap().success());
        let port = [r"HKLM\Software\Wine\Ports", "/v", "COM2", "/d", &name, "/f"];
        assert!(machine.wine(&[&["reg", "add"][..], &port].concat()).status().unwrap().success());
        // Ports are made when Wine starts.
        machine.stop_wine();
        Some(machine)
    }

    /// Wine's server ends every program of its folder, and then itself.
    fn stop_wine(&self) {
        let server = on_path("wineserver").unwrap_or_else(|| "/usr/lib/wine/wineserver64".into());
        for word in ["-k", "-w"] {
            let _ = Command::new(&server).arg(word).env("WINEPREFIX", self.prefix.path()).status();
        }
    }

    fn wine(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.wine);
        command.args(words).env("WINEPREFIX", self.prefix.path()).env("WINEDEBUG", "-all").env_remove("DISPLAY");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn start(&mut self, words: &[&str]) {
        let child = self.wine(words).spawn().unwrap();
        self.running.push(child);
    }

    /// A file of its drive C.
    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.prefix.path().join("drive_c").join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The next word of the agent.
    fn hear(&mut self) -> AgentSaid {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.link.drain();
            self.link.flush();
            match self.link.receive() {
                Some(Said::Agent(said)) => return said,
                Some(other) => panic!("{other:?}"),
                None => assert!(Instant::now() < deadline, "the agent is silent"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn ask(&mut self, order: &ToAgent<'_>) -> AgentSaid {
        self.link.send_to_agent(order).unwrap();
        self.hear()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop_wine();
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A pseudo-terminal that changes nothing of what it carries, and the name of its other end.
fn terminal() -> (OwnedFd, String) {
    // SAFETY: the descriptor is new and nobody else's; the buffers are locals with the room that is named.
    unsafe {
        let line = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
        assert!(line >= 0 && libc::grantpt(line) == 0 && libc::unlockpt(line) == 0);
        let mut attributes: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(line, &mut attributes), 0);
        libc::cfmakeraw(&mut attributes);
        assert_eq!(libc::tcsetattr(line, libc::TCSANOW, &attributes), 0);
        let mut name = [0; 64];
        assert_eq!(libc::ptsname_r(line, name.as_mut_ptr(), name.len()), 0);
        let name = std::ffi::CStr::from_ptr(name.as_ptr()).to_str().unwrap().to_owned();
        (OwnedFd::from_raw_fd(line), name)
    }
}

/// Carries bytes between the terminal and the harness's link, in both directions, while both are there.
fn join(line: OwnedFd, socket: UnixStream) {
    let (mut out, mut back) = (fs::File::from(line.try_clone().unwrap()), fs::File::from(line));
    let mut into = socket.try_clone().unwrap();
    let mut from = socket;
    std::thread::spawn(move || {
        let mut block = [0; 4096];
        // The terminal has no other end until the agent opens it, and between two programs.
        loop {
            match back.read(&mut block) {
                Ok(length) if into.write_all(&block[..length]).is_ok() => {}
                Ok(_) => return,
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    });
    std::thread::spawn(move || {
        let mut block = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut block) {
            if out.write_all(&block[..length]).is_err() {
                return;
            }
        }
    });
}

#[test]
fn the_agent_serves_the_harness_over_a_serial_line() {
    let Some(mut machine) = Machine::new() else { return };
    let agent = common::guest_program("agent", "agent", Linked::Program { entry: "agent_start" });
    let agent = agent.to_str().unwrap();

    machine.start(&[agent, "step", "first-logon"]);
    assert_eq!(machine.hear(), AgentSaid::Step("first-logon".into()));
    machine.start(&[agent]);
    assert_eq!(machine.hear(), AgentSaid::Up);
    let AgentSaid::Hello { version, system } = machine.ask(&ToAgent::Hello { version: AGENT_VERSION }) else { panic!() };
    assert!(version == AGENT_VERSION && system.starts_with("NT "), "{system}");

    // What a suite is told is not for the agent.
    machine.link.send(&ToGuest::List).unwrap();
    finds_and_sends_files(&mut machine);
    runs_commands(&mut machine);
    let suite = common::guest_program("suites", "suite", Linked::Program { entry: "suite_start" });
    lends_the_line(&mut machine, &suite);
}

fn finds_and_sends_files(machine: &mut Machine) {
    let content: Vec<u8> = (0..5000u32).map(|number| (number * 7) as u8).collect();
    machine.file("found.bin", &content);
    assert_eq!(machine.ask(&ToAgent::Find { name: "found.bin" }), AgentSaid::Found(r"C:\".into()));
    assert!(matches!(machine.ask(&ToAgent::Find { name: "missing.bin" }), AgentSaid::Failed { code: 2, .. }));
    assert_eq!(machine.ask(&ToAgent::Size { path: r"C:\found.bin" }), AgentSaid::Size(5000));
    assert!(matches!(machine.ask(&ToAgent::Size { path: r"C:\missing.bin" }), AgentSaid::Failed { code: 2, .. }));
    let (mut came, mut said) = (Vec::new(), machine.ask(&ToAgent::Read { path: r"C:\found.bin", offset: 100, length: 9000 }));
    while let AgentSaid::Piece { offset, bytes } = said {
        assert_eq!(offset, 100 + came.len() as u64);
        came.extend(bytes);
        said = machine.hear();
    }
    assert!(said == AgentSaid::Sent && came == content[100..], "{said:?}");
}

fn runs_commands(machine: &mut Machine) {
    let run = |command| ToAgent::Run { command, patience_ms: 60_000 };
    let said = machine.ask(&run("cmd /c echo hello& exit 7"));
    assert_eq!((said, machine.hear()), (AgentSaid::Output("hello".into()), AgentSaid::Ended(7)));
    assert!(matches!(machine.ask(&run("there-is-no-such-program.exe")), AgentSaid::Failed { code: 2, .. }));
    let began = Instant::now();
    let endless = ToAgent::Run { command: "cmd /c for /l %i in (0,0,1) do @rem", patience_ms: 500 };
    assert_eq!(machine.ask(&endless), AgentSaid::Ended(258), "it is ended");
    assert!(began.elapsed() < PATIENCE);
    let no_inf = ToAgent::AddDevice { hardware_id: r"Root\Nothing", inf: r"C:\missing.inf" };
    assert!(matches!(machine.ask(&no_inf), AgentSaid::Failed { .. }));
}

/// The real suite opens the line that the agent gives away, greets, lists and leaves; then the agent has it again.
fn lends_the_line(machine: &mut Machine, suite: &Path) {
    machine.file("suite.exe", &fs::read(suite).unwrap());
    assert!(matches!(machine.ask(&ToAgent::Lend { program: r"C:\missing.exe" }), AgentSaid::Failed { code: 2, .. }));
    assert_eq!(machine.ask(&ToAgent::Lend { program: r"C:\suite.exe" }), AgentSaid::Lends);
    let mut tests = 0;
    let deadline = Instant::now() + PATIENCE;
    for order in [ToGuest::Hello { protocol: channel::PROTOCOL_VERSION }, ToGuest::List, ToGuest::Goodbye] {
        machine.link.send(&order).unwrap();
        loop {
            machine.link.drain();
            machine.link.flush();
            match machine.link.receive() {
                Some(Said::Hello { .. } | Said::EndOfList | Said::Goodbye) => break,
                Some(Said::Test { .. }) => tests += 1,
                Some(other) => panic!("{other:?}"),
                None => {
                    assert!(Instant::now() < deadline, "the suite is silent at {order:?}");
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }
    assert!(tests > 100, "{tests}");
    assert_eq!(machine.hear(), AgentSaid::Ended(0));
    assert!(matches!(machine.ask(&ToAgent::Hello { version: AGENT_VERSION }), AgentSaid::Hello { .. }));
}
