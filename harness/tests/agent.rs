//! The agent, which is a Windows program, under Wine: on a real serial line, which is a pseudoterminal here, and spoken to as the harness does.

mod common;

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use channel::{
    AGENT_VERSION, Decoder, FromAgent, FromGuest, MAX_FRAME, PROTOCOL_VERSION, ToAgent, ToGuest, Word, encode, encode_agent,
};
use harness::build::link::Linked;
use harness::places::Places;
use harness::run::link::{AgentSaid, Said};
use harness::windows::answer::{AGENT, Answers, DRIVERS, SETUP, setup_script};
use harness::windows::recipe::Recipe;
use harness::windows::wim::Edition;

/// Far longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Wine's own programs, below the folder of its launcher, or where it is installed.
const PROGRAMS: &str = "usr/lib/x86_64-linux-gnu/wine/x86_64-windows";
/// `WAIT_TIMEOUT`, and `ERROR_FILE_NOT_FOUND`.
const TOOK_TOO_LONG: u32 = 258;
const NOT_FOUND: u32 = 2;

/// A drive C of a few files, with a serial line as COM2.
struct Machine {
    wine: PathBuf,
    server: PathBuf,
    prefix: tempfile::TempDir,
    line: File,
    decoder: Decoder,
    waiting: Vec<u8>,
    started: Option<Child>,
}

impl Machine {
    fn new(wine: PathBuf, server: PathBuf) -> Self {
        let prefix = tempfile::tempdir().unwrap();
        let devices = prefix.path().join("dosdevices");
        fs::create_dir_all(prefix.path().join("drive_c/windows/system32")).unwrap();
        fs::create_dir(&devices).unwrap();
        fs::write(prefix.path().join(".update-timestamp"), "disable\n").unwrap();
        let (line, name) = pseudoterminal();
        std::os::unix::fs::symlink("../drive_c", devices.join("c:")).unwrap();
        std::os::unix::fs::symlink(name, devices.join("com2")).unwrap();
        let roots = [wine.with_file_name("root"), PathBuf::from("/")];
        let interpreter = roots.iter().map(|root| root.join(PROGRAMS).join("cmd.exe")).find(|file| file.is_file());
        let interpreter = interpreter.expect("Wine has a command interpreter");
        let system = prefix.path().join("drive_c/windows/system32");
        for program in ["cmd.exe", "reg.exe"] {
            std::os::unix::fs::symlink(interpreter.with_file_name(program), system.join(program)).unwrap();
        }
        Self { wine, server, prefix, line, decoder: Decoder::new(), waiting: Vec::new(), started: None }
    }

    /// Puts a file onto drive C.
    fn put(&self, name: &str, content: &[u8]) {
        self.put_on("c", name, content);
    }

    /// Puts a file onto a drive, which is made for the first one.
    fn put_on(&self, drive: &str, name: &str, content: &[u8]) {
        let folder = self.prefix.path().join(format!("drive_{drive}"));
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let link = self.prefix.path().join(format!("dosdevices/{drive}:"));
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(&folder, link).unwrap();
        }
        fs::write(file, content).unwrap();
    }

    /// How programs were called that write that down, since the last call.
    fn recorded(&self) -> Vec<String> {
        let record = self.prefix.path().join("drive_c/record.txt");
        let text = fs::read_to_string(&record).unwrap_or_default();
        // A program may be about to write: its file is there, and empty.
        if text.ends_with('\n') {
            fs::remove_file(record).unwrap();
        }
        text.lines().map(called).collect()
    }

    fn wine(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.wine);
        // As if the prefix were being made: what it has no files of comes from Wine's own folder, and nothing is installed into it.
        command
            .env("WINEPREFIX", self.prefix.path())
            .env("WINEBOOTSTRAPMODE", "1")
            .env("WINEDEBUG", "-all")
            .env_remove("DISPLAY");
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs a command line as Setup does, and waits for its end.
    fn execute(&self, command: &str) {
        let words = command.strip_prefix("cmd /c ").unwrap_or(command);
        let mut command = self.wine(&["cmd.exe", "/c", words]);
        assert!(command.env("WINEPATH", r"C:\tools").status().unwrap().success(), "{words}");
    }

    fn start(&mut self, words: &[&str]) {
        self.started = Some(self.wine(words).spawn().unwrap());
    }

    fn tell(&mut self, order: &ToAgent<'_>) {
        let mut frame = [0; MAX_FRAME];
        let length = encode_agent(order, &mut frame).unwrap();
        self.line.write_all(&frame[..length]).unwrap();
    }

    fn tell_suite(&mut self, order: &ToGuest<'_>) {
        let mut frame = [0; MAX_FRAME];
        let length = encode(order, &mut frame).unwrap();
        self.line.write_all(&frame[..length]).unwrap();
    }

    /// The next word of either language.
    fn hear(&mut self) -> Said {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while !self.waiting.is_empty() {
                let byte = self.waiting.remove(0);
                match self.decoder.push_either::<FromGuest<'_>, FromAgent<'_>>(byte) {
                    Some(Ok(Word::Suite(said))) => return said.into(),
                    Some(Ok(Word::Agent(said))) => return Said::Agent(said.into()),
                    // The zero before the first frame ends one that has nothing in it.
                    Some(Err(_)) | None => {}
                }
            }
            assert!(Instant::now() < deadline, "nothing is said on the line; {:?}", self.started.as_mut().map(Child::try_wait));
            let mut block = [0; 4096];
            match self.line.read(&mut block) {
                Ok(length) => self.waiting.extend_from_slice(&block[..length]),
                // Nobody has the other end open at this moment, or nothing has come.
                Err(error) if error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::EIO) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The agent's next word that is no repetition of its being there.
    fn answer(&mut self) -> AgentSaid {
        loop {
            match self.hear() {
                Said::Agent(AgentSaid::Up) => {}
                Said::Agent(said) => return said,
                other => panic!("{other:?}"),
            }
        }
    }

    fn ask(&mut self, order: &ToAgent<'_>) -> AgentSaid {
        self.tell(order);
        self.answer()
    }

    /// Runs a command; its lines and its exit code.
    fn run(&mut self, command: &str, patience: Duration) -> (Vec<String>, u32) {
        self.tell(&ToAgent::Run { command, patience_ms: patience.as_millis() as u32 });
        let mut lines = Vec::new();
        loop {
            match self.answer() {
                AgentSaid::Output(line) => lines.push(line),
                AgentSaid::Ended(code) => return (lines, code),
                other => panic!("{command}: {other:?}"),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The server ends every program of the prefix, and is waited for.
        let _ = Command::new(&self.server).env("WINEPREFIX", self.prefix.path()).arg("-k").status();
        if let Some(mut started) = self.started.take() {
            let _ = started.kill();
            let _ = started.wait();
        }
    }
}

/// A recorded call, with the program's name alone.
fn called(line: &str) -> String {
    let (program, words) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').unwrap(),
        None => line.split_at(line.find(' ').unwrap_or(line.len())),
    };
    let name = program.rsplit('\\').next().unwrap();
    format!("{}{}", name.strip_suffix(".exe").unwrap_or(name), words.trim_end())
}

/// The harness's end of a serial line, and the name of the other one.
fn pseudoterminal() -> (File, PathBuf) {
    let mut name = [0; 64];
    // SAFETY: plain system calls on a descriptor that is open and nobody else's; the buffer has the length that is named.
    let (line, named) = unsafe {
        let line = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NONBLOCK);
        assert!(line >= 0 && libc::grantpt(line) == 0 && libc::unlockpt(line) == 0);
        (File::from_raw_fd(line), libc::ptsname_r(line, name.as_mut_ptr(), name.len()))
    };
    assert_eq!(named, 0);
    // SAFETY: the settings are a local that the first call fills in; the descriptor is open.
    unsafe {
        let mut settings = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(line.as_raw_fd(), &mut settings), 0);
        libc::cfmakeraw(&mut settings);
        assert_eq!(libc::tcsetattr(line.as_raw_fd(), libc::TCSANOW, &settings), 0);
    }
    // SAFETY: a text that the system has ended with a zero.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    (line, Path::new(name.to_str().unwrap()).to_path_buf())
}

#[test]
fn the_agent_obeys_over_a_serial_line_and_lends_it_to_the_suite() {
    let (Some(wine), Some(server)) = (test_tools::find("wine"), test_tools::find("wineserver")) else { return };
    let agent = common::guest_program("agent", "agent", Linked::Program { entry: "agent_start" });
    let suite = common::guest_program("suites", "suite", Linked::Program { entry: "suite_start" });
    let content: Vec<u8> = (0..5000_u32).map(|number| (number * 7) as u8).collect();
    let mut machine = Machine::new(wine, server);
    machine.put("agent.exe", &fs::read(agent).unwrap());
    machine.put("suite.exe", &fs::read(suite).unwrap());
    machine.put("here.bin", &content);

    // An installation's step is said by a program that ends at once.
    let step = machine.wine(&[r"C:\agent.exe", "step", "first-logon"]).status().unwrap();
    assert!(step.success());
    assert_eq!(machine.hear(), Said::Agent(AgentSaid::Step("first-logon".to_owned())));

    machine.start(&[r"C:\agent.exe"]);
    assert_eq!(machine.hear(), Said::Agent(AgentSaid::Up), "it is there, unasked");
    assert_eq!(machine.hear(), Said::Agent(AgentSaid::Up), "until somebody speaks");
    let hello = machine.ask(&ToAgent::Hello { version: AGENT_VERSION });
    assert!(matches!(&hello, AgentSaid::Hello { version: AGENT_VERSION, system } if system.starts_with("NT ")), "{hello:?}");

    files_are_found_and_sent(&mut machine, &content);
    commands_run_to_their_end_or_that_of_their_time(&mut machine);
    the_suite_has_the_line_and_gives_it_back(&mut machine);

    a_device_is_made_that_no_bus_finds(&mut machine);

    assert_eq!(machine.ask(&ToAgent::ShutDown), AgentSaid::Goodbye);
}

/// Wine's device installer makes a node under the root, as Windows' does.
fn a_device_is_made_that_no_bus_finds(machine: &mut Machine) {
    let inf = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../driver/probe/probe.inf")).unwrap();
    machine.put("probe.inf", &inf);
    machine.put("probe.sys", b"a driver, as far as it is copied");
    let made = machine.ask(&ToAgent::AddDevice { hardware_id: r"Root\WdfrigProbe", inf: r"C:\probe.inf" });
    assert_eq!(made, AgentSaid::Ended(0));
    let (lines, code) = machine.run(r"reg.exe query HKLM\SYSTEM\CurrentControlSet\Enum\ROOT /s", PATIENCE);
    let says = |name: &str, value: &str| lines.iter().any(|line| line.contains(name) && line.ends_with(value));
    assert!(code == 0 && says("HardwareID", r"Root\WdfrigProbe"), "{lines:#?}");
    assert!(says("ClassGUID", "{4D36E97D-E325-11CE-BFC1-08002BE10318}"), "the class that the INF names: {lines:#?}");
    let missing = machine.ask(&ToAgent::AddDevice { hardware_id: r"Root\Other", inf: r"C:\nowhere.inf" });
    assert_eq!(missing, AgentSaid::Failed { what: "SetupDiGetINFClass".to_owned(), code: NOT_FOUND });
}

/// What Setup and the first logon run, by Wine's command interpreter: every tool of the system is a program that says how it was called.
#[test]
fn what_an_answer_file_orders_is_executed_from_whichever_drive_it_is_on() {
    let (Some(wine), Some(server)) = (test_tools::find("wine"), test_tools::find("wineserver")) else { return };
    let recorder = fs::read(common::guest_console_program("stand-in", "recorder", "recorder_start")).unwrap();
    let machine = Machine::new(wine, server);
    const TOOLS: [&str; 8] = ["bcdedit", "reg", "powercfg", "sc", "netsh", "schtasks", "verifier", "pnputil"];
    TOOLS.iter().for_each(|tool| machine.put(&format!("tools/{tool}.exe"), &recorder));
    let recipe = Recipe::find("server-2025", &Places::find(None)).unwrap();
    let script = setup_script(&recipe);
    machine.put_on("e", AGENT, &recorder);
    machine.put_on("e", SETUP, script.as_bytes());
    machine.put_on("e", DRIVERS, b"2k25\r\n");
    for driver in ["NetKVM", "viostor"] {
        for system in ["2k25", "w11"] {
            machine.put_on("f", &format!("{driver}/{system}/amd64/{driver}.inf"), b"[Version]");
        }
    }
    machine.put_on("f", "guest-agent/qemu-ga.msi", b"no driver");

    let edition =
        Edition { index: 1, name: recipe.edition.clone(), title: String::new(), build: recipe.build, is_x64: true, bytes: 0 };
    let answers = Answers { recipe: &recipe, edition: &edition, password: "rig" }.file();
    let document = roxmltree::Document::parse(&answers).unwrap();
    let commands = document.descendants().filter(|node| matches!(node.tag_name().name(), "Path" | "CommandLine"));
    let mut recorded = Vec::new();
    for command in commands.map(|node| node.text().unwrap()) {
        machine.execute(command);
        recorded.push(machine.recorded());
    }
    assert_eq!(recorded[0], [r"agent step windowsPE"]);
    assert_eq!(recorded[1], [r"agent step specialize"]);
    assert!(recorded[2..recorded.len() - 1].iter().all(|calls| calls.len() == 1), "a setting each: {recorded:#?}");

    // The script's own lines are the expectation: each is executed once, in its place.
    let tool = |line: &&str| TOOLS.iter().any(|tool| line.starts_with(&format!("{tool} ")));
    let mut expected: Vec<&str> = script.lines().filter(tool).collect();
    let agent = expected.iter().position(|line| line.starts_with("schtasks")).unwrap();
    let drivers =
        [r"pnputil /add-driver F:\NetKVM\2k25\amd64\*.inf /install", r"pnputil /add-driver F:\viostor\2k25\amd64\*.inf /install"];
    expected.splice(agent..agent, drivers);
    expected.insert(0, "agent step first-logon");
    let unquoted = |line: &String| line.replace('"', "");
    assert_eq!(
        recorded.last().unwrap().iter().map(unquoted).collect::<Vec<_>>(),
        expected.iter().map(|line| line.replace('"', "")).collect::<Vec<_>>()
    );
    assert!(
        expected.contains(&"verifier /standard /driver relay.sys relayflt.sys")
            && expected.contains(&"verifier /bootmode resetonbootfail")
    );
    assert!(machine.prefix.path().join("drive_c/rig/agent.exe").is_file(), "the agent stays when the small disk goes");
}

fn files_are_found_and_sent(machine: &mut Machine, content: &[u8]) {
    assert_eq!(machine.ask(&ToAgent::Find { name: "here.bin" }), AgentSaid::Found(r"C:\".to_owned()));
    let missing = machine.ask(&ToAgent::Find { name: "nowhere.bin" });
    assert!(matches!(missing, AgentSaid::Failed { code: NOT_FOUND, .. }), "{missing:?}");
    assert_eq!(machine.ask(&ToAgent::Size { path: r"C:\here.bin" }), AgentSaid::Size(5000));
    machine.tell(&ToAgent::Read { path: r"C:\here.bin", offset: 10, length: 9000 });
    let mut got = Vec::new();
    loop {
        match machine.answer() {
            AgentSaid::Piece { offset, bytes } => {
                assert_eq!(offset, 10 + got.len() as u64);
                got.extend(bytes);
            }
            AgentSaid::Sent => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(got == content[10..], "what there is from that place on");
    let missing = machine.ask(&ToAgent::Read { path: r"C:\nowhere.bin", offset: 0, length: 1 });
    assert_eq!(missing, AgentSaid::Failed { what: "CreateFile".to_owned(), code: NOT_FOUND });
}

fn commands_run_to_their_end_or_that_of_their_time(machine: &mut Machine) {
    let said = machine.run("cmd.exe /c echo hello& exit 7", PATIENCE);
    assert_eq!(said, (vec!["hello".to_owned()], 7));
    // A second agent waits for the line, for ever.
    let (_, code) = machine.run(r"C:\agent.exe", Duration::from_millis(300));
    assert_eq!(code, TOOK_TOO_LONG);
    let missing = machine.ask(&ToAgent::Run { command: r"C:\nowhere.exe", patience_ms: 1000 });
    assert_eq!(missing, AgentSaid::Failed { what: "CreateProcess".to_owned(), code: NOT_FOUND });
}

fn the_suite_has_the_line_and_gives_it_back(machine: &mut Machine) {
    assert_eq!(machine.ask(&ToAgent::Lend { program: r"C:\suite.exe" }), AgentSaid::Lends);
    machine.tell_suite(&ToGuest::Hello { protocol: PROTOCOL_VERSION });
    let hello = machine.hear();
    assert!(matches!(hello, Said::Hello { protocol: PROTOCOL_VERSION, .. }), "{hello:?}");
    machine.tell_suite(&ToGuest::List);
    let mut tests = 0;
    while let Said::Test { .. } = machine.hear() {
        tests += 1;
    }
    assert!(tests > 200, "the real suite lists {tests} tests");
    machine.tell_suite(&ToGuest::Goodbye);
    assert_eq!(machine.hear(), Said::Goodbye);
    assert_eq!(machine.answer(), AgentSaid::Ended(0));
    let hello = machine.ask(&ToAgent::Hello { version: AGENT_VERSION });
    assert!(matches!(hello, AgentSaid::Hello { .. } | AgentSaid::Ended(0)), "{hello:?}");
}
