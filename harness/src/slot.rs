//! The slot that the device sits in: a PCI Express root port of its own, so that the device can be taken out and put in while the guest
//! runs, as somebody does with a real machine's card.
//!
//! The port speaks the PCI Express specification's own hot-plug (attention button, presence, power controller). QEMU's other way, through
//! ACPI methods, is for guests that run AML, and is switched off.

use std::ffi::OsString;
use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::device::Door;
use crate::qmp::{Qmp, QmpError};

/// Names of the port and of the device in it, for the monitor.
const PORT: &str = "card-slot";
const DEVICE: &str = "device";
/// QEMU's name for the line to the device model.
pub const CHARDEV: &str = "device-line";
/// The port's place on bus 0.
const PLACE: u32 = 0x10;

/// How long QEMU may hold the line of a device that has gone.
const LET_GO: Duration = Duration::from_secs(2);

/// Ports through which any PC reads and writes configuration space.
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;

/// Where the list of capabilities begins, and the capability that is wanted.
const CAPABILITIES: u32 = 0x34;
const PCI_EXPRESS: u32 = 0x10;
/// Slot Control, in that capability: power controller off, power indicator off.
const SLOT_CONTROL: u32 = 0x18;
const INDICATOR: u32 = 0x300;
const POWER_OFF: u32 = 0x400;

/// What the machine has so that there is a slot.
#[must_use]
pub fn arguments() -> [OsString; 4] {
    let port = format!("pcie-root-port,id={PORT},bus=pcie.0,addr={PLACE:#x},chassis=1,slot=1");
    ["-global".into(), "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off".into(), "-device".into(), port.into()]
}

/// A device as the machine begins with it, and as it is put back.
#[must_use]
pub fn occupant(mut device: Value) -> Value {
    device["id"] = DEVICE.into();
    device["bus"] = PORT.into();
    device
}

/// The slot, while the machine runs.
#[derive(Debug)]
pub struct Slot {
    /// The device that belongs into it, as `device_add` takes it.
    device: Value,
    /// Where QEMU finds the device model.
    path: String,
    is_leaving: bool,
}

impl Slot {
    /// The slot with `device` in it, whose model is behind `door`.
    #[must_use]
    pub fn new(device: Value, door: &Door<'_>) -> Self {
        Self { device, path: door.path(), is_leaving: false }
    }

    /// Presses the button: the guest is asked to let go of the device.
    ///
    /// # Errors
    /// QEMU refuses, or does not answer.
    pub fn eject(&mut self, qmp: &mut Qmp) -> Result<(), QmpError> {
        qmp.execute("device_del", &json!({ "id": DEVICE }))?;
        self.is_leaving = true;
        Ok(())
    }

    /// Takes the device out without a word. QEMU has no command for that, as it always asks the guest; but the slot's power controller
    /// drops the device at once, and the guest then sees what it sees when a card is pulled: no presence, no link, reads of all ones.
    ///
    /// # Errors
    /// QEMU refuses, or does not answer.
    pub fn unplug(&mut self, qmp: &mut Qmp) -> Result<(), QmpError> {
        // The guest stands still meanwhile: the address port is the guest's, too, and is put back as it was.
        qmp.execute("stop", &json!({}))?;
        let done = drop_power(qmp);
        qmp.execute("cont", &json!({}))?;
        self.is_leaving = true;
        done
    }

    /// Waits a moment for a device that is about to leave; whether the slot is free.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn is_free(&mut self, qmp: &mut Qmp, moment: Duration) -> Result<bool, QmpError> {
        if self.is_leaving {
            match qmp.wait_for("DEVICE_DELETED", Instant::now() + moment) {
                Ok(_) => self.is_leaving = false,
                Err(QmpError::Line(error)) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) => return Err(error),
            }
        }
        Ok(!self.is_leaving)
    }

    /// Puts the device into the free slot.
    ///
    /// # Errors
    /// QEMU refuses, or does not answer.
    pub fn plug(&mut self, qmp: &mut Qmp) -> Result<(), QmpError> {
        // A line to a device model is used up with the device it served.
        let address = json!({ "type": "unix", "data": { "path": self.path } });
        let line = json!({ "type": "socket", "data": { "addr": address, "server": false } });
        // QEMU reports that a device has gone an instant before it lets go of the line.
        let deadline = Instant::now() + LET_GO;
        while let Err(error) = qmp.execute("chardev-remove", &json!({ "id": CHARDEV })) {
            if !matches!(error, QmpError::Refused { .. }) || Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        qmp.execute("chardev-add", &json!({ "id": CHARDEV, "backend": line }))?;
        qmp.execute("device_add", &self.device).map(drop)
    }
}

fn drop_power(qmp: &mut Qmp) -> Result<(), QmpError> {
    let address = port_read(qmp, 'w', CONFIG_ADDRESS)?;
    let dropped = (|| {
        let control = express(qmp)? + SLOT_CONTROL;
        let value = config_read(qmp, control)? & 0xffff;
        config_write(qmp, control, value | INDICATOR | POWER_OFF)?;
        // The slot itself is as the guest has left it.
        config_write(qmp, control, value)
    })();
    port_write(qmp, 'w', CONFIG_ADDRESS, address)?;
    dropped
}

/// Offset of the port's PCI Express capability.
fn express(qmp: &mut Qmp) -> Result<u32, QmpError> {
    let mut offset = config_read(qmp, CAPABILITIES)? & 0xfc;
    for _ in 0..48 {
        if offset < 0x40 {
            break;
        }
        let header = config_read(qmp, offset)?;
        if header & 0xff == PCI_EXPRESS {
            return Ok(offset);
        }
        offset = header >> 8 & 0xfc;
    }
    Err(QmpError::Nonsense("the slot's port has no PCI Express capability".to_owned()))
}

fn config_read(qmp: &mut Qmp, offset: u32) -> Result<u32, QmpError> {
    port_write(qmp, 'w', CONFIG_ADDRESS, 1 << 31 | PLACE << 11 | offset)?;
    port_read(qmp, 'w', CONFIG_DATA)
}

/// Writes 16 bits: the register beside Slot Control forgets events when it is written.
fn config_write(qmp: &mut Qmp, offset: u32, value: u32) -> Result<(), QmpError> {
    port_write(qmp, 'w', CONFIG_ADDRESS, 1 << 31 | PLACE << 11 | offset)?;
    port_write(qmp, 'h', CONFIG_DATA, value)
}

/// `portl[0x0cf8] = 0x80008054`.
fn port_read(qmp: &mut Qmp, width: char, port: u16) -> Result<u32, QmpError> {
    let said = typed(qmp, &format!("i /{width} {port:#x}"))?;
    let value = said.rsplit_once("0x").and_then(|(_, digits)| u32::from_str_radix(digits.trim(), 16).ok());
    value.ok_or_else(|| QmpError::Nonsense(format!("{said:?} instead of a port's value")))
}

fn port_write(qmp: &mut Qmp, width: char, port: u16, value: u32) -> Result<(), QmpError> {
    let said = typed(qmp, &format!("o /{width} {port:#x} {value:#x}"))?;
    if said.trim().is_empty() { Ok(()) } else { Err(QmpError::Nonsense(said)) }
}

/// A command of the monitor for people, which is the one that reaches ports.
fn typed(qmp: &mut Qmp, line: &str) -> Result<String, QmpError> {
    let said = qmp.execute("human-monitor-command", &json!({ "command-line": line }))?;
    Ok(said.as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixStream;

    /// A monitor over a machine with one port, which notes what is done to it.
    fn machine() -> (Qmp, std::thread::JoinHandle<Vec<String>>) {
        let (near, far) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let mut writer = far.try_clone().unwrap();
            let mut space = [0_u32; 64];
            (space[0x34 / 4], space[0x54 / 4], space[0x48 / 4], space[0x6c / 4]) = (0x48, 0x10, 0x5405, 0x0108_00c0);
            let (mut address, mut journal) = (0x8000_0042_u32, Vec::new());
            writer.write_all(b"{\"QMP\": {}}\n").unwrap();
            for line in BufReader::new(far).lines() {
                let Ok(line) = line else { break };
                let command: Value = serde_json::from_str(&line).unwrap();
                let words = command["arguments"]["command-line"].as_str().unwrap_or_default();
                let words: Vec<&str> = words.split(' ').collect();
                let value = |word: &str| u32::from_str_radix(&word[2..], 16).unwrap();
                let said = match words[..] {
                    ["o", "/w", "0xcf8", word] => {
                        address = value(word);
                        String::new()
                    }
                    ["i", "/w", "0xcf8"] => format!("portl[0x0cf8] = {address:#010x}\r\n"),
                    ["i", "/w", "0xcfc"] => format!("portl[0x0cfc] = {:#010x}\r\n", space[(address as usize & 0xff) / 4]),
                    ["o", "/h", "0xcfc", word] => {
                        journal.push(format!("{address:#x} {word}"));
                        String::new()
                    }
                    _ => {
                        journal.push(command["execute"].as_str().unwrap().to_owned());
                        String::new()
                    }
                };
                journal.extend((line.contains("0xcf8") && address == 0x8000_0042).then(|| "as it was".to_owned()));
                writer.write_all(format!("{}\n", json!({ "return": said })).as_bytes()).unwrap();
            }
            journal
        });
        (Qmp::new(near), thread)
    }

    #[test]
    fn pulling_a_card_drops_the_slots_power_for_an_instant_while_the_guest_stands_still() {
        let (mut qmp, machine) = machine();
        Slot { device: json!({}), path: String::new(), is_leaving: false }.unplug(&mut qmp).unwrap();
        drop(qmp);
        let journal = machine.join().unwrap();
        let expected = ["qmp_capabilities", "stop", "as it was", "0x8000806c 0x7c0", "0x8000806c 0xc0", "as it was", "cont"];
        assert_eq!(journal, expected);
    }
}
