//! A debugger on a real ntlet: `rig debug` boots it, the harness's own KD client drives it through the TCP port that a user's debugger
//! would take, and the dump at the end is read by an independent reader.

mod common;

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use harness::kd::line::Line;
use harness::kd::{Client, Stop, Why};
use kd::context::RSP;
use kd::data::{DebuggerData, ListEntry, field};
use kd::wire::{STATUS_BREAKPOINT, STATUS_SINGLE_STEP};

/// Far longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// `MANUALLY_INITIATED_CRASH`.
const MANUALLY_INITIATED_CRASH: u32 = 0xe2;

/// A `rig debug` with a port for debuggers.
struct Rig {
    child: Child,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Rig {
    fn start(mark: &str, words: &[&str]) -> Self {
        let mut command = common::rig(mark);
        command.env("RIG_QEMU", common::qemu_program()).args(["debug", "--accel", "tcg"]).args(words);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut port = None;
        while port.is_none() {
            let mut line = String::new();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "rig debug ended without a port");
            port = line
                .trim()
                .rsplit_once("127.0.0.1:")
                .filter(|_| line.contains("the guest"))
                .and_then(|(_, port)| port.parse().ok());
        }
        Self { child, output, port: port.unwrap() }
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client::new(Line::new(as_unix(stream)))
    }

    /// Exit status and the rest of what it said.
    fn finish(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        while self.output.read_line(&mut said).unwrap() != 0 {}
        let status = common::wait_for("rig debug to end", || self.child.try_wait().unwrap());
        (status.code(), said)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The line reads and writes a socket, whatever its family.
fn as_unix(stream: TcpStream) -> UnixStream {
    UnixStream::from(OwnedFd::from(stream))
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Goes on until `wanted` stops, whatever loads meanwhile.
fn go_until(client: &mut Client, wanted: impl Fn(&Stop) -> bool) -> Stop {
    loop {
        client.go_on(false, true).unwrap();
        let stop = client.wait_for_stop(soon()).unwrap();
        if wanted(&stop) {
            return stop;
        }
    }
}

fn loads(stop: &Stop, name: &str) -> Option<u64> {
    match &stop.why {
        Why::Module { path, symbols } if path.ends_with(name) && symbols.unload == 0 => Some(symbols.base),
        _ => None,
    }
}

#[test]
fn a_debugger_stops_steps_and_crashes_a_real_guest_and_reads_the_dump() {
    let mark = common::mark("debugger");
    let rig = Rig::start(&mark, &["--wait", "device::echo"]);
    let mut client = rig.client();
    let first = client.connect(PATIENCE).unwrap();
    assert_eq!(first.code(), STATUS_BREAKPOINT);
    assert_eq!(first.change.processor_count, 2);

    // Everything else is found from the version.
    let version = client.version().unwrap();
    assert_eq!((version.protocol, version.machine), (6, 0x8664));
    let data = client.structure::<ListEntry>(version.debugger_data).unwrap().next;
    let data: DebuggerData = client.structure(data).unwrap();
    assert!(data.is_sound());
    assert_eq!(data.get(field::KERNEL_BASE), version.kernel_base);
    assert_eq!(data.get(field::BREAKPOINT_WITH_STATUS), first.change.rip);
    assert_eq!(client.read_virtual(version.kernel_base, 2).unwrap(), b"MZ");
    assert_eq!(client.modules().unwrap()[0].name, "ntoskrnl.exe");

    // Nothing there is no fault but a refusal.
    assert!(client.read_virtual(0xdead_0000_0000, 8).is_err());
    assert!(client.read_virtual(0x1234, 8).is_err());
    assert!(client.read_physical(1 << 45, 8).is_err());

    // The drivers announce themselves; a breakpoint at the entry of relay.sys holds it there.
    let stop = go_until(&mut client, |stop| loads(stop, "relay.sys").is_some());
    let base = loads(&stop, "relay.sys").unwrap();
    let header = u32::from_le_bytes(client.read_virtual(base + 0x3c, 4).unwrap().try_into().unwrap());
    let entry = u32::from_le_bytes(client.read_virtual(base + u64::from(header) + 0x28, 4).unwrap().try_into().unwrap());
    let entry = base + u64::from(entry);
    let code = client.read_virtual(entry, 1).unwrap();
    client.set_breakpoint(entry).unwrap();
    assert_eq!(client.read_virtual(entry, 1).unwrap(), [0xcc]);
    assert!(client.set_breakpoint(entry).is_err(), "one is there already");
    let stop = go_until(&mut client, |stop| stop.code() == STATUS_BREAKPOINT);
    assert_eq!(stop.change.rip, entry);
    assert_eq!(client.read_virtual(entry, 1).unwrap(), code, "the target shows its own code");

    // One step, registers, memory.
    let before = client.context().unwrap();
    assert_eq!((before.rip, before.cs), (entry, 0x10));
    assert_eq!(client.context_part(0xf8, 8).unwrap(), entry.to_le_bytes());
    client.go_on(true, true).unwrap();
    let stop = client.wait_for_stop(soon()).unwrap();
    assert_eq!(stop.code(), STATUS_SINGLE_STEP);
    // The first instruction may be a jump to anywhere in the driver.
    assert!(stop.change.rip != entry && (base..base + (1 << 16)).contains(&stop.change.rip));
    let mut context = client.context().unwrap();
    let stack = context.general[RSP];
    let word = client.read_virtual(stack, 8).unwrap();
    client.write(stack, &[1, 2, 3, 4, 5, 6, 7, 8], false).unwrap();
    assert_eq!(client.read_virtual(stack, 8).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
    client.write(stack, &word, false).unwrap();
    let scratch = context.general[11];
    context.general[11] = 0x1122_3344_5566_7788;
    client.set_context(&context).unwrap();
    assert_eq!(client.context().unwrap().general[11], 0x1122_3344_5566_7788);
    context.general[11] = scratch;
    client.set_context(&context).unwrap();
    let special = client.special_registers().unwrap();
    let page_tables = client.read_physical(special.cr3 & !0xfff, 4096).unwrap();
    assert!(page_tables.iter().any(|byte| *byte != 0));

    // The other processor stands still, too, and can be looked at.
    client.switch_processor(1 - stop.change.processor).unwrap();
    let other = client.wait_for_stop(soon()).unwrap();
    assert_eq!(other.change.processor, 1 - stop.change.processor);
    assert_eq!(client.context().unwrap().rip, other.change.rip);

    // The debugger is killed; the next one begins anew, finds the target where it is, and ends it.
    drop(client);
    let mut client = rig.client();
    client.connect(PATIENCE).unwrap();
    assert!(client.modules().unwrap().iter().any(|module| module.name == "relay.sys" && module.base == base));
    client.cause_bug_check(MANUALLY_INITIATED_CRASH).unwrap();
    let stop = client.wait_for_stop(soon()).unwrap();
    let text = client.take_text();
    assert!(text.contains("*** Fatal System Error: 0x000000e2"), "{text}");
    assert_eq!(client.context().unwrap().general[1], u64::from(kd::wire::STATUS_BUG_CHECK_FIRST));
    assert_eq!(stop.change.rip, data.get(field::BREAKPOINT_WITH_STATUS));
    client.go_on(false, true).unwrap();
    client.wait_for_stop(soon()).unwrap();
    client.go_on(false, true).unwrap();
    drop(client);
    let (exit, said) = rig.finish();
    assert_eq!(exit, Some(1), "{said}");
    let dump = said.lines().find_map(|line| line.strip_prefix("[rig] crash dump: ")).unwrap_or_else(|| panic!("{said}"));
    the_dump_is_sound(PathBuf::from(dump), base);
    common::assert_nothing_lives(&mark);
}

fn the_dump_is_sound(path: PathBuf, relay: u64) {
    let parser = kdmp_parser::parse::KernelDumpParser::new(&path).unwrap();
    let header = parser.headers();
    assert_eq!((header.bug_check_code, header.machine_image_type), (MANUALLY_INITIATED_CRASH, 0x8664));
    assert!(parser.kernel_modules().any(|(range, name)| name.ends_with("relay.sys") && u64::from(range.start) == relay));
    let triage = common::finish(common::rig("triage").arg("triage").arg(&path));
    assert_eq!(triage.exit, Some(0), "{triage}");
    assert!(triage.stdout.lines().count() <= 10, "{triage}");
    assert!(triage.stdout.contains("0xe2 MANUALLY_INITIATED_CRASH"), "{triage}");

    // Damage of any kind is told, and panics nowhere.
    let bytes = std::fs::read(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.dmp");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let triage = common::finish(common::rig("triage").arg("triage").arg(&cut));
    assert_eq!(triage.exit, Some(2), "{triage}");
    assert!(triage.stderr.contains("cut short"), "{triage}");
}
