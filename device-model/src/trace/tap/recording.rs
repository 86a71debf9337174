//! What the messages that pass a tap mean, as events of a trace.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::time::Instant;

use vfio_bindings::bindings::vfio::*;
use zerocopy::FromBytes;

use super::super::event::{decode, encode_whole};
use super::super::{Compression, Event, Trace, What};
use super::device::Known;
use super::stream::Message;
use super::{DMA_READ, DMA_WRITE};
use crate::serve::vfio_user::message::{FLAG_ERROR, FLAG_NO_REPLY, IrqInfo, RegionAccess, RegionInfo, command};

/// Bytes of events that may wait for the device's identity, or for the answer to a read, before they are written all the same.
const MOST_HELD: usize = 4 << 20;

/// What was asked under an id.
enum Asked {
    Read(RegionAccess),
    Write,
    RegionInfo(u32),
    IrqInfo(u32),
}

/// Events that are not in the trace yet.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    times: Vec<u64>,
}

impl Held {
    fn add(&mut self, event: &Event<'_>) {
        self.times.push(event.time);
        encode_whole(&mut self.bytes, 0, event.own_accord, &event.what);
    }

    fn release(&mut self, mut to: impl FnMut(&Event<'_>)) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut rest = &bytes[..];
        for mut time in self.times.drain(..) {
            to(&decode(&mut rest, &mut time).expect("these bytes were encoded here"));
        }
    }
}

/// A trace of what passes a tap. The file gets its header when the device is known: when it is used for the first time.
pub(super) struct Recording {
    out: Option<File>,
    name: String,
    notes: Vec<(String, String)>,
    trace: Option<Trace>,
    known: Known,
    started: Instant,
    /// Commands of the client, and of the server, that are not answered yet.
    asked: HashMap<u16, Asked>,
    reads_of_memory: HashMap<u16, u64>,
    /// How many of the client's commands read the device just now, and write to it.
    reading: usize,
    writing: usize,
    /// Events before the header, and events behind a read that is not answered yet.
    before: Held,
    behind: Held,
}

impl Recording {
    pub(super) fn new(out: File, name: &str, notes: Vec<(String, String)>) -> Self {
        Self {
            out: Some(out),
            name: name.to_owned(),
            notes,
            trace: None,
            known: Known::new(),
            started: Instant::now(),
            asked: HashMap::new(),
            reads_of_memory: HashMap::new(),
            reading: 0,
            writing: 0,
            before: Held::default(),
            behind: Held::default(),
        }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Write all that is there, and the index.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut behind = std::mem::take(&mut self.behind);
        behind.release(|event| self.write(event));
        self.begin()?;
        self.trace.map_or(Ok(()), |trace| trace.finish())
    }

    /// Write the header, and what was held back for it.
    fn begin(&mut self) -> io::Result<()> {
        let Some(out) = self.out.take() else { return Ok(()) };
        let mut header = self.known.header(&self.name);
        header.notes.extend(self.notes.drain(..));
        let trace = Trace::new(out, &header, Compression::None)?;
        self.before.release(|event| trace.append_as(event));
        self.trace = Some(trace);
        Ok(())
    }

    fn write(&mut self, event: &Event<'_>) {
        // A client writes configuration space, too, while it finds out what the device is: QEMU asks for interrupts after that.
        let looks_only =
            matches!(event.what, What::ConfigRead { .. } | What::ConfigWrite { .. } | What::Power { .. } | What::Reset);
        if self.out.is_some()
            && (!looks_only || self.before.bytes.len() > MOST_HELD)
            && let Err(error) = self.begin()
        {
            tracing::error!(%error, "the trace cannot be written");
        }
        match &self.trace {
            Some(trace) => trace.append_as(event),
            None if self.out.is_some() => self.before.add(event),
            None => {}
        }
    }

    /// Something of the device's doing: behind the read under way, if there is one. What happens beside a read hardly ever comes of it.
    fn device_did(&mut self, what: &What<'_>) {
        let event = Event { time: self.now(), own_accord: self.writing == 0, what: *what };
        if self.reading > 0 && self.behind.bytes.len() + what.data().len() < MOST_HELD {
            self.behind.add(&event);
        } else {
            self.write(&event);
        }
    }

    fn driver_did(&mut self, what: &What<'_>) {
        self.write(&Event { time: self.now(), own_accord: false, what: *what });
    }

    /// Accesses of the lengths that registers have, wherever an access of another length falls.
    fn accessed(&mut self, access: &RegionAccess, data: &[u8], write: bool) {
        let RegionAccess { offset, region, .. } = *access;
        if region == VFIO_PCI_CONFIG_REGION_INDEX {
            let what = if write { What::ConfigWrite { offset, data } } else { What::ConfigRead { offset, data } };
            self.driver_did(&what);
            if let Some(state) = self.known.power_state(offset, data).filter(|_| write) {
                self.driver_did(&What::Power { state });
            }
            return;
        }
        if region > VFIO_PCI_BAR5_REGION_INDEX || self.known.table_bar() == Some(region as u8) {
            return;
        }
        let mut at = 0;
        while at < data.len() {
            let here = offset.saturating_add(at as u64);
            let size =
                [8, 4, 2, 1].into_iter().find(|size| here.is_multiple_of(*size as u64) && at + size <= data.len()).unwrap_or(1);
            let (bar, data) = (region as u8, &data[at..at + size]);
            // Beyond this no BAR reaches, and no event's place does.
            if here < 1 << 61 {
                self.driver_did(&if write {
                    What::Write { bar, offset: here, data }
                } else {
                    What::Read { bar, offset: here, data }
                });
            }
            at += size;
        }
    }

    /// A command of the client is passed on.
    pub(super) fn command(&mut self, message: &Message) {
        let header = message.header();
        let asked = match header.command {
            command::REGION_READ => RegionAccess::read_from_prefix(message.body()).ok().map(|(access, _)| Asked::Read(access)),
            command::REGION_WRITE => RegionAccess::read_from_prefix(message.body()).ok().map(|(access, data)| {
                self.accessed(&access, data, true);
                Asked::Write
            }),
            command::GET_REGION_INFO => {
                RegionInfo::read_from_prefix(message.body()).ok().map(|(info, _)| Asked::RegionInfo(info.index))
            }
            command::GET_IRQ_INFO => IrqInfo::read_from_prefix(message.body()).ok().map(|(info, _)| Asked::IrqInfo(info.index)),
            command::RESET => {
                self.driver_did(&What::Reset);
                None
            }
            _ => None,
        };
        if let Some(asked) = asked.filter(|_| header.flags & FLAG_NO_REPLY == 0) {
            self.asked.insert(header.id, asked);
            self.count();
        }
    }

    fn count(&mut self) {
        self.reading = self.asked.values().filter(|asked| matches!(asked, Asked::Read(_))).count();
        self.writing = self.asked.values().filter(|asked| matches!(asked, Asked::Write)).count();
    }

    /// A reply of the server is passed on.
    pub(super) fn reply(&mut self, message: &Message) {
        let header = message.header();
        let Some(asked) = self.asked.remove(&header.id) else { return };
        let failed = header.flags & FLAG_ERROR != 0;
        match asked {
            Asked::Read(access) if !failed => {
                if let Ok((_, data)) = RegionAccess::read_from_prefix(message.body()) {
                    if access.region == VFIO_PCI_CONFIG_REGION_INDEX {
                        self.known.config_was_read(access.offset, data);
                    }
                    self.accessed(&access, data, false);
                }
            }
            Asked::RegionInfo(index) if !failed => {
                if let Ok((info, _)) = RegionInfo::read_from_prefix(message.body()) {
                    self.known.region_was_told(index, info.size);
                }
            }
            Asked::IrqInfo(index) if !failed => {
                if let Ok((info, _)) = IrqInfo::read_from_prefix(message.body()) {
                    self.known.interrupts_were_told(index, info.count);
                }
            }
            _ => {}
        }
        self.count();
        if self.reading == 0 && !self.behind.times.is_empty() {
            let mut behind = std::mem::take(&mut self.behind);
            behind.release(|event| self.write(event));
        }
    }

    /// A command of the server is passed on: the device reads or writes memory.
    pub(super) fn server_command(&mut self, message: &Message) {
        let header = message.header();
        let Some((address, data)) = memory_access(message.body()) else { return };
        match header.command {
            DMA_READ => drop(self.reads_of_memory.insert(header.id, address)),
            DMA_WRITE => self.device_did(&What::DmaWrite { address, data }),
            _ => {}
        }
    }

    /// The client's reply to such a command is passed on.
    pub(super) fn client_reply(&mut self, message: &Message) {
        let header = message.header();
        let Some(address) = self.reads_of_memory.remove(&header.id) else { return };
        match memory_access(message.body()).filter(|_| header.flags & FLAG_ERROR == 0) {
            Some((_, data)) => self.device_did(&What::DmaRead { address, data }),
            None => self.device_did(&What::DmaFailed { address, length: 0, write: false }),
        }
    }

    /// The device has signalled an interrupt of this index.
    pub(super) fn interrupt(&mut self, index: u32, line: u32) {
        match index {
            VFIO_PCI_INTX_IRQ_INDEX => self.device_did(&What::Pin { level: true }),
            VFIO_PCI_MSI_IRQ_INDEX | VFIO_PCI_MSIX_IRQ_INDEX => self.device_did(&What::Interrupt { vector: line as u16 }),
            _ => {}
        }
    }

    /// The client looks for the pin again: until it is signalled again, it is released.
    pub(super) fn pin_was_unmasked(&mut self) {
        self.device_did(&What::Pin { level: false });
    }
}

/// Address and data of a server's access to memory: 8 bytes each of address and length, then the data.
fn memory_access(body: &[u8]) -> Option<(u64, &[u8])> {
    let address = u64::from_le_bytes(body.get(..8)?.try_into().ok()?);
    Some((address, body.get(16..)?))
}
