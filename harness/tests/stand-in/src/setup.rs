//! The installation, as far as the harness sees it: from media that wait for a key, onto the empty disk, with the answers from the small
//! disk.

use channel::FromAgent;
use uefi_raw::Status;

use crate::behaviour::Behaviour;
use crate::firmware::Firmware;
use crate::line;

/// How long media wait for a key.
const KEY: usize = 5_000;
/// The smallest disk that is installed onto.
const SMALLEST: u64 = 30 << 30;
/// Is there when a kernel debugger is to be talked to.
const DEBUGGED: &str = "debugged.txt";
/// The system, as a whole disk, beside this program.
const SYSTEM: &str = "disk.img";

/// From media: waits for the key, reads the answers, writes the disk, starts again.
pub(crate) fn main(firmware: &Firmware) -> Status {
    firmware.show("Press any key to boot from CD or DVD...");
    if !firmware.key_within(KEY) {
        return Status::NOT_FOUND;
    }
    let behaviour = Behaviour::of(firmware.own());
    let answers = firmware.others().into_iter().find(|volume| volume.read("autounattend.xml").is_some());
    let Some(answers) = answers else { stop(firmware, "there is no answer file") };
    let text = answers.read("autounattend.xml").unwrap_or_default();
    if !text.windows(9).any(|part| part == b"<unattend") {
        stop(firmware, "the answer file is none");
    }
    if !answers.read(r"rig\agent.exe").is_some_and(|agent| agent.starts_with(b"MZ")) {
        stop(firmware, "there is no agent beside the answers");
    }
    line::agent(&FromAgent::Step { name: "windowsPE" });
    if behaviour.value("stuck-at") == Some("windowsPE") {
        stop(firmware, "Where do you want to install Windows?");
    }
    let disk = firmware.disks().into_iter().find(|disk| disk.size() >= SMALLEST && disk.is_blank());
    let Some(disk) = disk else { stop(firmware, "there is no empty disk of the size that was ordered") };
    disk.write(&firmware.own().read(SYSTEM).expect("the system beside this program"));
    firmware.restart()
}

/// From the disk: a step further, if there is one left.
pub(crate) fn go_on(firmware: &Firmware, behaviour: &Behaviour) {
    const STEPS: [&str; 2] = ["specialize", "first-logon"];
    let stage = firmware.own().read("stage.txt").and_then(|text| text.first().map(|digit| usize::from(digit.wrapping_sub(b'0'))));
    let stage = stage.unwrap_or(0);
    let Some(name) = STEPS.get(stage) else { return };
    line::agent(&FromAgent::Step { name });
    if behaviour.value("stuck-at") == Some(*name) {
        stop(firmware, "Getting ready");
    }
    firmware.own().write("stage.txt", &[b'1' + stage as u8]);
    if stage == 0 {
        firmware.restart();
    }
    // What the first logon does: the agent goes from the small disk to the system's, and what the script settles is settled.
    let of_disk = |name: &str| firmware.others().iter().find_map(|volume| volume.read(name)).expect("a file beside the answers");
    firmware.own().folder("rig");
    firmware.own().write(r"rig\agent.exe", &of_disk(r"rig\agent.exe"));
    if let Some(folder) = behaviour.value("wants-drivers")
        && of_disk(r"rig\drivers.txt").trim_ascii() != folder.as_bytes()
    {
        stop(firmware, "which drivers?");
    }
    let script = of_disk(r"rig\setup.cmd");
    let orders = |order: &str| script.split(|byte| *byte == b'\n').any(|line| line.trim_ascii() == order.as_bytes());
    if orders("bcdedit /debug on") && orders("bcdedit /dbgsettings serial debugport:1 baudrate:115200") {
        firmware.own().write(DEBUGGED, b"");
    }
}

/// Whether the script at the first logon has given COM1 to a kernel debugger.
pub(crate) fn is_debugged(firmware: &Firmware) -> bool {
    firmware.own().has(DEBUGGED)
}

/// Shows why it stops, as Setup does, and waits for somebody who is not there.
fn stop(firmware: &Firmware, why: &str) -> ! {
    firmware.show(why);
    loop {
        core::hint::spin_loop();
    }
}
