//! What the harness's own tests share: the real `rig` binary, and guests of a few hundred bytes that behave as told.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use channel::{Expected, FromGuest, MAX_FRAME, Needs, Outcome, PROTOCOL_VERSION, Span, ToGuest, encode};
use harness::build::link::{Linked, driver_arguments};
use harness::build::{BARE, GuestCargo, WINDOWS, names};
use harness::places::Places;
use harness::pvh::{Answer, COM1, COM2, Script, Then};
use harness::run::Request;
use harness::run::record::RunRecord;
use harness::setup::toolchain::cargo;

/// Seed that every run of these tests uses, so that guests know the frames they will see.
pub(crate) const SEED: u64 = 1;
/// Far longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `rig`, which finds QEMU by itself and leaves a mark on every process that it starts.
pub(crate) fn rig(mark: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rig"));
    command.env("RIG_TEST_MARK", mark).env_remove("GITHUB_ACTIONS").stdin(Stdio::null());
    command
}

/// `rig run` of an image with tests' settings, without a device.
pub(crate) fn run_image(mark: &str, image: &Path) -> Command {
    let mut command = rig(mark);
    command.env("RIG_QEMU", qemu_program());
    command.args(["run", "--accel", "tcg", "--no-device", "--seed", &SEED.to_string(), "--image"]).arg(image);
    command
}

/// A mark that no other test uses.
pub(crate) fn mark(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

/// The QEMU that `rig` finds. These tests boot guests, but they do not have one fetched, since tests use no network.
pub(crate) fn qemu_program() -> PathBuf {
    const PROGRAM: &str = "qemu-system-x86_64";
    let target = Path::new(env!("CARGO_BIN_EXE_rig")).ancestors().nth(2).unwrap();
    let fetched = || Some(target.join("rig/setup/qemu").join(PROGRAM)).filter(|program| program.is_file());
    let named = std::env::var_os("RIG_QEMU").map(PathBuf::from);
    let found = named.or_else(fetched).or_else(|| harness::setup::qemu::on_path(PROGRAM));
    found.expect("no QEMU for these tests: run them through `cargo rig test`, or set RIG_QEMU")
}

/// Builds the program `name` of a crate for a guest, as `rig` builds such programs, and returns where it is.
pub(crate) fn guest_program(package: &str, name: &str, linked: Linked) -> PathBuf {
    built_for_guest(&["-p", package, "--bin", name], WINDOWS, &linked.rustc_arguments()).join(name).with_extension("exe")
}

/// Builds a program that a command interpreter waits for.
pub(crate) fn guest_console_program(package: &str, name: &str, entry: &'static str) -> PathBuf {
    let mut arguments = Linked::Program { entry }.rustc_arguments();
    // The last one counts.
    arguments.extend(["-C", "link-arg=/SUBSYSTEM:CONSOLE"].map(str::to_owned));
    built_for_guest(&["-p", package, "--bin", name], WINDOWS, &arguments).join(name).with_extension("exe")
}

/// Builds the driver of a crate with some of its features, and returns where it is. Every build of that crate leaves it there.
pub(crate) fn guest_driver(package: &str, features: &[&str]) -> PathBuf {
    let features = features.join(",");
    let what = ["-p", package, "--lib", "--crate-type", "staticlib", "--features", &features];
    let folder = built_for_guest(&what, WINDOWS, &[]);
    let linker = PathBuf::from(asked("rustc", &["--print", "target-libdir"])).with_file_name("bin");
    let mut link = Command::new("rust-lld");
    link.env("PATH", linker).current_dir(&folder).args(["-flavor", "link"]).args(driver_arguments(package));
    succeed(&mut link);
    folder.join(package).with_extension("dll")
}

/// Builds ntlet, as `rig` does, and returns where it is.
pub(crate) fn ntlet_image() -> PathBuf {
    built_for_guest(&["-p", "metal", "--bin", "ntlet"], BARE, &[]).join("ntlet")
}

/// Builds something for a guest, and returns the folder in which it is.
fn built_for_guest(what: &[&str], target: &str, arguments: &[String]) -> PathBuf {
    let mut places = Places::find(None);
    places.target = Path::new(env!("CARGO_BIN_EXE_rig")).ancestors().nth(2).unwrap().to_path_buf();
    let library = Path::new(&asked("rustc", &["--print", "sysroot"])).join("lib/rustlib/src/rust/library");
    // If `rig` has built something it has found the library, wherever it is.
    let library = fs::read_link(names::library(&places)).unwrap_or(library);
    let settings = GuestCargo::of(&places, target, &library).unwrap();
    let mut cargo = Command::new(cargo());
    cargo.current_dir(&places.root).args(["rustc", "--quiet"]).args(what).args(settings.arguments).envs(settings.environment);
    succeed(cargo.arg("--").args(arguments));
    places.guest_target().join(target).join("guest")
}

/// What a program of the toolchain says.
fn asked(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(cargo().with_file_name(program)).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The frame of a message.
pub(crate) fn frame<M: serde::Serialize>(message: &M) -> Vec<u8> {
    let mut line = [0; MAX_FRAME];
    let length = encode(message, &mut line).unwrap();
    line[..length].to_vec()
}

/// The seed that `rig` gives to a test.
fn seed_of(test: &str) -> u64 {
    Request { seed: SEED, ..Request::default() }.seed_of(test)
}

/// A guest that speaks the protocol and answers for some tests as it is told.
pub(crate) struct Guest {
    answers: Vec<Answer>,
    list: Vec<u8>,
}

impl Guest {
    pub(crate) fn new() -> Self {
        Self::speaking(PROTOCOL_VERSION)
    }

    /// One that answers in this version of the protocol.
    pub(crate) fn speaking(protocol: u32) -> Self {
        let hello = Answer {
            request: frame(&ToGuest::Hello { protocol: PROTOCOL_VERSION }),
            reply: frame(&FromGuest::Hello { protocol, system: "tiny 1" }),
            ..Answer::default()
        };
        let goodbye = Answer {
            request: frame(&ToGuest::Goodbye),
            log: b"leaving\n".to_vec(),
            reply: frame(&FromGuest::Goodbye),
            then: Then::Exit(0x10),
            ..Answer::default()
        };
        Self { answers: vec![hello, goodbye], list: Vec::new() }
    }

    /// Lists a test and answers for it: `log` on COM1, `messages` on COM2, then `then`.
    pub(crate) fn test(mut self, name: &str, log: &str, messages: &[FromGuest<'_>], then: Then) -> Self {
        self = self.listed(name, Needs::NOTHING, None, messages, then);
        if let Some(answer) = self.answers.last_mut() {
            answer.log = log.as_bytes().to_vec();
        }
        self
    }

    /// The same for a test that needs a guest of its own kind, or is to end in a bug check.
    pub(crate) fn listed(
        mut self,
        name: &str,
        needs: Needs<'_>,
        expects: Option<Expected>,
        messages: &[FromGuest<'_>],
        then: Then,
    ) -> Self {
        self.list.extend(frame(&FromGuest::Test { name, purpose: "a test of the tests", needs, expects }));
        let mut reply = frame(&FromGuest::Started { test: name });
        messages.iter().for_each(|message| reply.extend(frame(message)));
        let request = frame(&ToGuest::Run { test: name, seed: seed_of(name), span: Span::Moment });
        self.answers.push(Answer { request, reply, then, ..Answer::default() });
        self
    }

    /// Answers otherwise for a test that is listed already when the run has this seed.
    pub(crate) fn with_seed(mut self, seed: u64, name: &str, outcome: Outcome<'_>) -> Self {
        let seed = Request { seed, ..Request::default() }.seed_of(name);
        let request = frame(&ToGuest::Run { test: name, seed, span: Span::Moment });
        let messages = [FromGuest::Started { test: name }, FromGuest::Finished { test: name, outcome, duration: 10 }];
        self.answers.push(Answer { request, reply: messages.iter().flat_map(frame).collect(), ..Answer::default() });
        self
    }

    pub(crate) fn passing(self, name: &str) -> Self {
        let finished = FromGuest::Finished { test: name, outcome: Outcome::Passed, duration: 10 };
        self.test(name, &format!("{name} is at work\n"), &[finished], Then::GoOn)
    }

    /// Has the test that was added last answer only after so many seconds, at least.
    pub(crate) fn late(mut self, seconds: u32) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.seconds = seconds;
        }
        self
    }

    /// Writes the image into a folder that vanishes with the result.
    pub(crate) fn image(mut self) -> Image {
        self.list.extend(frame(&FromGuest::EndOfList));
        self.answers.push(Answer { request: frame(&ToGuest::List), reply: self.list, ..Answer::default() });
        Image::of(Script::new().send(COM1, b"[0.000000 cpu0] tiny guest is up\n").serve(COM2, &self.answers))
    }
}

/// An image in a folder of its own.
pub(crate) struct Image {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Image {
    pub(crate) fn of(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guest.elf");
        fs::write(&path, script.image()).unwrap();
        Self { folder, path }
    }
}

/// What a finished `rig` said.
pub(crate) struct Said {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { exit: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// The last line of the results.
    pub(crate) fn last_line(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }

    /// The run's folder, from the line that names the report.
    pub(crate) fn folder(&self) -> PathBuf {
        let line = self.stderr.lines().find_map(|line| line.strip_prefix("[rig] report: "));
        Path::new(line.unwrap_or_else(|| panic!("no report: {self}"))).parent().unwrap().to_path_buf()
    }

    /// The run's record.
    pub(crate) fn record(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.folder().join("run.json")).unwrap()).unwrap()
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}--- stderr\n{}", self.exit, self.stdout, self.stderr)
    }
}

/// Runs `command` to its end.
pub(crate) fn finish(command: &mut Command) -> Said {
    Said::of(command.output().unwrap())
}

/// A `rig` that runs while the test does something to it.
pub(crate) struct Running {
    pub(crate) child: Child,
    output: Option<std::thread::JoinHandle<(String, String)>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let output = std::thread::spawn(move || {
            let errors = std::thread::spawn(move || {
                let mut text = String::new();
                stderr.read_to_string(&mut text).map(|_| text).unwrap_or_default()
            });
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            (text, errors.join().unwrap())
        });
        Self { child, output: Some(output) }
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end; panics when it does not come.
    pub(crate) fn finish(mut self) -> Said {
        let status = wait_for("rig to end", || self.child.try_wait().unwrap());
        let (stdout, stderr) = self.output.take().unwrap().join().unwrap();
        Said { exit: status.code().or_else(|| signal_of(status)), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind, either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal_of(status: ExitStatus) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal().map(|signal| 1000 + signal)
}

pub(crate) fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap();
    assert!(status.success(), "no process {process} to signal");
}

/// Asks again and again until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Living processes that carry a mark, with their command lines.
pub(crate) fn marked(mark: &str) -> Vec<(u32, String)> {
    let wanted = format!("RIG_TEST_MARK={mark}");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let text = |process: u32, file: &str| {
        String::from_utf8_lossy(&fs::read(format!("/proc/{process}/{file}")).unwrap_or_default()).replace('\0', " ")
    };
    let carries = |process: &u32| format!("{} ", text(*process, "environ")).contains(&format!("{wanted} "));
    processes.filter(carries).map(|process| (process, text(process, "cmdline"))).filter(|(_, line)| !line.is_empty()).collect()
}

/// The process of QEMU that a marked `rig` has started.
pub(crate) fn qemu_of(mark: &str) -> u32 {
    wait_for("QEMU", || process_with(mark, "isa-debug-exit"))
}

/// A marked process other than `rig` whose command line contains `part`.
pub(crate) fn process_with(mark: &str, part: &str) -> Option<u32> {
    let is = |(_, line): &&(u32, String)| line.contains(part) && !line.contains("--seed");
    marked(mark).iter().find(is).map(|(process, _)| *process)
}

/// Asserts that nothing that carries the mark lives on.
pub(crate) fn assert_nothing_lives(mark: &str) {
    let began = Instant::now();
    while !marked(mark).is_empty() {
        assert!(began.elapsed() < PATIENCE, "still there: {:?}", marked(mark));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts that a run's folder holds whole files only.
pub(crate) fn assert_whole(folder: &Path) {
    use std::os::unix::fs::FileTypeExt as _;
    let known = ["guest.log", "device.log", "qemu.log", "run.log", "run.json", "junit.xml", "report.html"];
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("boot-") {
            assert_whole(&entry.path());
            continue;
        }
        assert!(!entry.file_type().unwrap().is_socket(), "{name} is a socket");
        assert!(known.contains(&name.as_str()), "{name} is left in {}", folder.display());
        let content = fs::read_to_string(entry.path()).unwrap();
        match name.as_str() {
            "run.json" => drop(serde_json::from_str::<RunRecord>(&content).expect("run.json is whole")),
            "junit.xml" => assert!(content.trim_end().ends_with("</testsuites>")),
            "report.html" => assert!(content.trim_end().ends_with("</html>")),
            _ => {}
        }
    }
}
