//! A card in a slot that somebody takes out and puts back while the guest runs, with its driver a foreign one: the orderly way, by the slot's
//! button.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::machine::Log;

/// The machine's slot with a card in it, a device that QEMU itself has. The monitor's socket is `socket`.
pub(crate) fn arguments(socket: &Path) -> String {
    format!(
        "-smp 2 -cpu max -global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off \
         -device pcie-root-port,id=slot-port,bus=pcie.0,addr=0x10,chassis=1,slot=1 -device edu,bus=slot-port,id=card \
         -qmp unix:{},server=on,wait=off",
        socket.display()
    )
}

const PATIENCE: Duration = Duration::from_secs(20);
const STARTED: &str = "foreign: PnP driver started";
const REMOVED: &str = "foreign: PnP driver removed";

/// Presses the button, waits until the guest has let go of the card and QEMU has taken it out, and puts it back; twice.
pub(crate) fn eject_and_return(socket: &Path, log: &Log) -> Result<(), String> {
    log.wait_for(STARTED, 1, PATIENCE)?;
    let mut monitor = Monitor::connect(socket)?;
    for time in 1..=2 {
        monitor.execute(r#"{"execute":"device_del","arguments":{"id":"card"}}"#)?;
        monitor.wait_for("DEVICE_DELETED")?;
        log.wait_for(REMOVED, time, PATIENCE)?;
        monitor.execute(r#"{"execute":"device_add","arguments":{"driver":"edu","bus":"slot-port","id":"card"}}"#)?;
        log.wait_for(STARTED, time + 1, PATIENCE)?;
    }
    Ok(())
}

/// QEMU's monitor.
struct Monitor {
    line: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Monitor {
    fn connect(socket: &Path) -> Result<Self, String> {
        let line = UnixStream::connect(socket).map_err(|error| format!("{}: {error}", socket.display()))?;
        line.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        let reader = BufReader::new(line.try_clone().map_err(|error| error.to_string())?);
        let mut monitor = Self { line, reader };
        monitor.wait_for("\"QMP\"")?;
        monitor.execute(r#"{"execute":"qmp_capabilities"}"#)?;
        Ok(monitor)
    }

    fn execute(&mut self, command: &str) -> Result<(), String> {
        writeln!(self.line, "{command}").map_err(|error| error.to_string())?;
        let answer = self.wait_for_any(&["\"return\"", "\"error\""])?;
        if answer.contains("\"error\"") { Err(format!("{command}: {answer}")) } else { Ok(()) }
    }

    fn wait_for(&mut self, text: &str) -> Result<(), String> {
        self.wait_for_any(&[text]).map(drop)
    }

    /// The first line with one of these texts.
    fn wait_for_any(&mut self, texts: &[&str]) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut line = String::new();
            match self.reader.read_line(&mut line) {
                Ok(0) => return Err("QEMU has closed its monitor".to_owned()),
                Ok(_) if texts.iter().any(|text| line.contains(text)) => return Ok(line),
                Ok(_) => {}
                Err(error) => return Err(format!("QEMU's monitor says nothing with {texts:?}: {error}")),
            }
        }
        Err(format!("QEMU's monitor says nothing with {texts:?}"))
    }
}
