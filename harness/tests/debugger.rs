//! A debugger on a real ntlet: `rig debug` boots it, the harness's own KD client drives it through the TCP port that a user's debugger
//! would take, and the dump at the end is read by an independent reader.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use harness::kd::line::Line;
use harness::kd::{Client, KdError, Stop, Why};
use kd::context::{Context, RSP};
use kd::data::{DebuggerData, ListEntry, field};
use kd::wire::{Manipulate, STATUS_BREAKPOINT, STATUS_SINGLE_STEP, UNSUCCESSFUL, Version};

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

    /// What it says up to a line with `text`.
    fn until(&mut self, text: &str) -> String {
        let mut said = String::new();
        while !said.contains(text) {
            assert_ne!(self.output.read_line(&mut said).unwrap(), 0, "rig debug ended without {text:?}: {said}");
        }
        said
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

/// Address of a module's entry, from its header in memory.
fn entry_of(client: &mut Client, base: u64) -> u64 {
    let mut word = |address: u64| u32::from_le_bytes(client.read_virtual(address, 4).unwrap().try_into().unwrap());
    let header = word(base + 0x3c);
    base + u64::from(word(base + u64::from(header) + 0x28))
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
    let rig = Rig::start(&mark, &["--wait", "device::echo_of_a_page"]);
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

    refusals_are_answers(&mut client);
    memory_is_searched_and_filled(&mut client, &version);

    // The drivers announce themselves; a breakpoint at the entry of relay.sys holds it there.
    let stop = go_until(&mut client, |stop| loads(stop, "relay.sys").is_some());
    let base = loads(&stop, "relay.sys").unwrap();
    let entry = entry_of(&mut client, base);
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

    hardware_breakpoints_hold(&mut client);

    // The other processor stands still, too, and can be looked at.
    let stop = client.connect(PATIENCE).unwrap();
    client.switch_processor(1 - stop.change.processor).unwrap();
    let other = client.wait_for_stop(soon()).unwrap();
    assert_eq!(other.change.processor, 1 - stop.change.processor);
    assert_eq!(other.code(), kd::wire::STATUS_WAKE_SYSTEM_DEBUGGER);
    assert_eq!(client.context().unwrap().rip, other.change.rip);
    processors_are_found_as_debuggers_find_them(&mut client, &data, other.change.processor);

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

/// Nothing there is no fault but a refusal, and so is a request that nobody knows.
fn refusals_are_answers(client: &mut Client) {
    const NO_API: u32 = 0x3fff;
    const PAGE_IN: u32 = 0x3151;
    assert!(client.read_virtual(0xdead_0000_0000, 8).is_err());
    assert!(client.read_virtual(0x1234, 8).is_err());
    assert!(client.read_physical(1 << 45, 8).is_err());
    assert!(client.model_specific(0x1234_5678).is_err());
    assert!(client.search(0, u64::MAX, b"x").is_err(), "the machine would stand still for too long");
    assert!(client.fill(0x1234, 8, b"x").is_err());
    for api in [NO_API, PAGE_IN] {
        match client.ask_anything(&Manipulate::new(api, 0, &0x55u64), &[]) {
            Err(KdError::Refused { api: answered, status }) => assert_eq!((answered, status), (api, UNSUCCESSFUL)),
            other => panic!("{other:?}"),
        }
    }
    // A packet may be as long as the protocol allows: 4000 bytes with the request's own 56.
    let data = [0x11; 3944];
    let result = client.ask_anything(&Manipulate::new(NO_API, 0, &0u64), &data);
    assert!(matches!(result, Err(KdError::Refused { .. })), "{result:?}");
}

fn memory_is_searched_and_filled(client: &mut Client, version: &Version) {
    const SHARED_DATA: u64 = 0xffff_f780_0000_0000;
    const BUILD_NUMBER: u64 = 0x260;
    let build = client.read_virtual(SHARED_DATA + BUILD_NUMBER, 4).unwrap();
    assert_eq!(build, u32::from(version.minor).to_le_bytes());
    let base = version.kernel_base;
    let pattern = client.read_virtual(base + 0xffc, 8).unwrap();
    let found = client.search(base, 0x2000, &pattern).unwrap().unwrap();
    assert!(found <= base + 0xffc, "a match may lie across two pages");
    assert_eq!(client.read_virtual(found, 8).unwrap(), pattern);
    assert_eq!(client.search(base, 0x1000, &[0xd1; 64]).unwrap(), None);
    let scratch = client.context().unwrap().general[RSP] - 0x100;
    client.fill(scratch, 7, b"abc").unwrap();
    assert_eq!(client.read_virtual(scratch, 7).unwrap(), b"abcabca");
    let special = client.special_registers().unwrap();
    const LSTAR: u32 = 0xc000_0082;
    assert_eq!(client.model_specific(LSTAR).unwrap(), special.lstar);
}

/// From the debugger data block to each processor's block, and to its registers in there.
fn processors_are_found_as_debuggers_find_them(client: &mut Client, data: &DebuggerData, shown: u16) {
    let blocks: [u64; 2] = client.structure(data.get(field::PROCESSOR_BLOCKS)).unwrap();
    for (number, block) in (0u32..).zip(blocks) {
        assert_eq!(client.structure::<u32>(block + u64::from(data.half(field::PRCB_NUMBER))).unwrap(), number);
        let registers: Context = client.structure(block + u64::from(data.half(field::PRCB_CONTEXT_FRAME))).unwrap();
        assert_eq!(registers.cs, 0x10, "processor {number}");
        let region = block - u64::from(data.half(field::PCR_CONTAINED_PRCB));
        assert_eq!(client.structure::<u64>(region + u64::from(data.half(field::PCR_SELF))).unwrap(), region);
    }
    let own: Context = client.structure(blocks[usize::from(shown)] + u64::from(data.half(field::PRCB_CONTEXT_FRAME))).unwrap();
    assert_eq!(own.rip, client.context().unwrap().rip);
}

/// The next driver's entry, by debug registers of both processors.
fn hardware_breakpoints_hold(client: &mut Client) {
    const FIRST_ENABLED: u64 = 1;
    let stop = go_until(client, |stop| matches!(&stop.why, Why::Module { symbols, .. } if symbols.unload == 0));
    let Why::Module { symbols, .. } = &stop.why else { unreachable!() };
    let entry = entry_of(client, symbols.base);
    let mut special = client.special_registers().unwrap();
    (special.debug[0], special.debug[5]) = (entry, FIRST_ENABLED);
    [0, 1].iter().for_each(|processor| client.set_special_registers(*processor, &special).unwrap());
    let stop = go_until(client, |stop| stop.code() == STATUS_SINGLE_STEP);
    assert_eq!((stop.change.rip, stop.change.report.dr6 & 0xf), (entry, 1));
    let mut special = client.special_registers().unwrap();
    (special.debug[0], special.debug[4], special.debug[5]) = (0, 0, 0);
    [0, 1].iter().for_each(|processor| client.set_special_registers(*processor, &special).unwrap());
    assertions_and_breakpoints_of_a_driver_stop(client, entry);
    client.go_on(false, true).unwrap();
}

/// A driver that asserts and breaks, made of one that has just been entered, and which is whole again afterwards.
fn assertions_and_breakpoints_of_a_driver_stop(client: &mut Client, entry: u64) {
    const STATUS_ASSERTION_FAILURE: u32 = 0xc000_0420;
    const ASSERT_NOP_BREAK: [u8; 4] = [0xcd, 0x2c, 0x90, 0xcc];
    let code = client.read_virtual(entry, ASSERT_NOP_BREAK.len()).unwrap();
    client.write(entry, &ASSERT_NOP_BREAK, false).unwrap();
    client.go_on(false, true).unwrap();
    let stop = client.wait_for_stop(soon()).unwrap();
    let Why::Exception(exception) = &stop.why else { panic!("{stop:?}") };
    assert_eq!((exception.record.code, exception.first_chance), (STATUS_ASSERTION_FAILURE, 1));
    assert_eq!((exception.record.address, stop.change.rip), (entry, entry + 2));
    client.go_on(false, true).unwrap();
    let stop = client.wait_for_stop(soon()).unwrap();
    assert_eq!((stop.code(), stop.change.rip), (STATUS_BREAKPOINT, entry + 3));
    assert_eq!(client.read_virtual(entry + 3, 1).unwrap(), [0xcc], "the driver's own, which stays");
    client.write(entry, &code, false).unwrap();
    let mut context = client.context().unwrap();
    context.rip = entry;
    client.set_context(&context).unwrap();
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

/// Commands that a user prints from `rig debug`, without a debugger that would follow them.
#[test]
fn the_exact_commands_of_debuggers_are_said_and_what_cannot_be_is_refused_by_name() {
    let mark = common::mark("commands");
    let mut rig = Rig::start(&mark, &[]);
    let port = rig.port;
    let said = rig.until("Ctrl-C ends it");
    common::signal(rig.child.id(), "INT");
    assert_eq!(rig.finish().0, Some(0));
    for command in
        [&*format!("windbg -k com:ipport={port},port=127.0.0.1 -y "), "windbg -k com:pipe,port=", "ntoseye --connect /proc/"]
    {
        assert!(said.contains(command), "{command}: {said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = &*taken.local_addr().unwrap().port().to_string();
    for (words, exit, why) in [
        (&["--kd", "net"][..], 2, "no KDNET"),
        (&["--kd", "serial", "--launch", "lldb"], 2, "lldb does not speak KD"),
        (&["--port", port], 2, "cannot be used"),
        (&["--kd", "net", "--rig", "windows"], 2, "which Windows?"),
        (&["--rig", "windows"], 2, "which Windows?"),
        (&["--accel", "tcg", "device::no_such_test"], 2, "the suites have no test device::no_such_test"),
    ] {
        let refused = common::finish(common::rig(&mark).env("RIG_QEMU", common::qemu_program()).arg("debug").args(words));
        assert_eq!(refused.exit, Some(exit), "{refused}");
        assert!(refused.stderr.contains(why), "{refused}");
    }
    common::assert_nothing_lives(&mark);
}

/// lldb, started by `rig` itself, with what a user would type.
#[test]
fn lldb_stops_in_a_driver_by_name_under_an_io_control_and_shows_source_and_locals() {
    if test_tools::find("lldb").is_none() {
        return;
    }
    const PLACE: &str = "relay::ring::Ring::offer_pair<wdf::dma::CommonBuffer>";
    let mark = common::mark("lldb");
    let mut command = common::rig(&mark);
    command.env("RIG_QEMU", common::qemu_program());
    command.args(["debug", "--accel", "tcg", "--launch", "lldb", "device::echo_of_a_page"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let commands = [
        "script lldb.debugger.SetAsync(False)",
        &*format!("breakpoint set -F {PLACE}"),
        "continue",
        "thread backtrace",
        "frame variable",
        "source list -c 3",
        "frame select 1",
        "frame variable",
        "image lookup -s ntlet_dump_header",
        "breakpoint delete",
        "continue",
        "quit",
        "",
    ]
    .join("\n");
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    let said = common::Said::of(child.wait_with_output().unwrap());
    assert_eq!(said.exit, Some(0), "{said}");
    for part in [
        "stop reason = breakpoint 1.1",
        // Drivers and kernel, from the hardware's ring up to the system call.
        "relay.sys`relay::ring::Ring::offer_pair",
        "relayflt.sys`relayflt::carriers::",
        "ntlet`system_call_entry",
        // The driver's source and locals: a page is on its way, in the first of the ring's descriptors.
        "pub(crate) fn offer_pair(&mut self, memory: &impl RingMemory, head: u16",
        "(unsigned short) head = 0",
        "input_length = 4096, output_length = 4096",
        "Summary: ntlet`ntlet_dump_header",
        "PASS  device::echo_of_a_page",
    ] {
        assert!(said.stdout.contains(part), "{part}: {said}");
    }
    common::assert_nothing_lives(&mark);
}

/// The harness as KD host of a run whose guest bug checks, as the test expects.
#[test]
fn a_kd_host_sees_the_bug_check_before_the_guests_own_report_and_the_run_goes_on() {
    const TEST: &str = "contract::cancelling_an_invalid_handle_stops_the_machine";
    let mark = common::mark("kd-host");
    let mut command = common::rig(&mark);
    command.env("RIG_QEMU", common::qemu_program()).args(["run", "--accel", "tcg", "--kd-host", "--dump", "--filter", TEST]);
    let run = common::finish(&mut command);
    assert_eq!(run.exit, Some(0), "{run}");
    let boots: Vec<PathBuf> = std::fs::read_dir(run.folder()).unwrap().flatten().map(|entry| entry.path()).collect();
    let boot = boots.iter().find(|path| path.join("dump.dmp").is_file()).unwrap_or_else(|| panic!("{run}"));
    let log = std::fs::read_to_string(boot.join("kd.log")).unwrap();
    for part in [
        "loaded \\SystemRoot\\System32\\drivers\\relay.sys",
        "bug check 0x10d WDF_VIOLATION (0x5, 0x0",
        "rip=",
        "probe.sys+0x",
        "ntoskrnl.exe (time stamp",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    let guest = std::fs::read_to_string(boot.join("guest.log")).unwrap();
    assert!(guest.contains("cpu0]") && guest.contains("10d"), "{guest}");
    common::assert_nothing_lives(&mark);
}

/// A test that is not over in time: the KD host breaks in and sees what the processors are at.
#[test]
fn a_kd_host_sees_what_the_processors_of_a_guest_are_at_that_does_not_answer() {
    let mark = common::mark("kd-hang");
    let mut command = common::rig(&mark);
    command.env("RIG_QEMU", common::qemu_program()).args(["run", "--accel", "tcg", "--kd-host", "--timeout", "1", "--filter"]);
    let run = common::finish(command.arg("device::a_lost_answer_fails_its_request_in_bounded_time"));
    assert_eq!(run.exit, Some(4), "{run}");
    let outcome = run.record()["tests"][0]["outcome"].to_string();
    for part in ["processor 0 at ", "processor 1 at ", "break_with_status"] {
        assert!(outcome.contains(part), "{part}: {outcome}");
    }
    common::assert_nothing_lives(&mark);
}
