//! One client's session with one function: what each message does. Bytes in, bytes out; no socket.

use std::os::fd::{BorrowedFd, OwnedFd};

use vfio_bindings::bindings::vfio::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::dma::{Dma, MAX_MAPS};
use super::irqs::Irqs;
use super::message::*;
use super::requests::Requests;
use crate::device::SharedArea;
use crate::memory::{DmaError, Memory};
use crate::pci::{CONFIG_SIZE, Function, Link};

/// An error number that goes into a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub u32);

impl Errno {
    /// The message makes no sense.
    pub const INVALID: Self = Self(libc::EINVAL as u32);
    /// It overlaps what is there.
    pub const EXISTS: Self = Self(libc::EEXIST as u32);
    /// It is not there.
    pub const NOT_FOUND: Self = Self(libc::ENOENT as u32);
    /// This server does not do that.
    pub const NOT_SUPPORTED: Self = Self(libc::EOPNOTSUPP as u32);
    /// One more than this server keeps.
    pub const NO_SPACE: Self = Self(libc::ENOSPC as u32);
}

/// A message as it came off the stream.
pub struct Request<'a> {
    /// Its header. The size is at least a header's.
    pub header: Header,
    /// The rest.
    pub body: &'a [u8],
    /// Descriptors that came with it; those it has no use for are closed.
    pub fds: &'a mut Vec<OwnedFd>,
    /// Whether the stream already knows that it cannot be served, and why.
    pub fault: Option<Errno>,
}

/// The wires between a function and its client.
struct Wires<'a> {
    dma: &'a Dma,
    irqs: &'a mut Irqs,
    requests: &'a mut Requests,
    held: &'a mut Held,
    now: u64,
}

/// Interrupts that wait for bytes which the device has sent before them, as they would on a bus.
#[derive(Default)]
struct Held {
    vectors: Vec<u16>,
    pin: Option<bool>,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.vectors.is_empty() && self.pin.is_none()
    }

    fn release(&mut self, irqs: &mut Irqs) {
        self.vectors.drain(..).for_each(|vector| irqs.message(vector));
        if let Some(level) = self.pin.take() {
            irqs.set_pin(level);
        }
    }
}

impl Link for Wires<'_> {
    fn memory(&self) -> &std::sync::Arc<Memory> {
        self.dma.memory()
    }

    fn message(&mut self, vector: u16, _address: u64, _data: u32) {
        if !self.requests.transfers.is_writing() {
            self.irqs.message(vector);
        } else if !self.held.vectors.contains(&vector) {
            self.held.vectors.push(vector);
        }
    }

    fn set_pin(&mut self, asserted: bool) {
        if self.requests.transfers.is_writing() {
            self.held.pin = Some(asserted);
        } else {
            self.irqs.set_pin(asserted);
        }
    }

    fn far_read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaError> {
        self.requests.transfers.read(address, into)
    }

    fn far_write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        self.requests.transfers.write(address, from)
    }

    fn forget_transfers(&mut self) {
        self.requests.forget();
        *self.held = Held::default();
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn masks_vectors(&self) -> bool {
        // The client keeps the vector table and hands out an eventfd for each vector that is in use.
        true
    }
}

/// A session. It ends with its connection, and the function is reset then.
pub struct Session {
    agreement: Option<Agreement>,
    dma: Dma,
    irqs: Irqs,
    requests: Requests,
    held: Held,
    reply: Vec<u8>,
}

impl Session {
    /// A session before version negotiation.
    pub fn new(function: &Function) -> Self {
        Self {
            agreement: None,
            dma: Dma::new(),
            irqs: Irqs::new(function.identity()),
            requests: Requests::default(),
            held: Held::default(),
            reply: Vec::with_capacity(256),
        }
    }

    /// Serve one message. The reply, if there is to be one, is left in [`Session::reply`]; the result says whether there is one and
    /// which area's file goes with it.
    pub fn serve(&mut self, request: Request<'_>, function: &mut Function, now: u64) -> Answer {
        let Request { header, body, fds, fault } = request;
        if header.flags & FLAG_TYPE != 0 {
            fds.clear();
            let ours = header.flags & FLAG_TYPE == FLAG_REPLY && fault.is_none();
            if !ours || self.requests.replied(&header, body).is_none() {
                // A reply to nothing we asked. Answering it could start an endless exchange.
                tracing::debug!(command = header.command, "a message that is no command is ignored");
            }
            self.carry_on(function, now);
            return Answer::None;
        }
        self.reply.clear();
        self.reply.resize(HEADER_SIZE, 0);
        let outcome = match fault {
            Some(errno) => Err(errno),
            None => self.dispatch(&header, body, fds, function, now),
        };
        fds.clear();
        if header.flags & FLAG_NO_REPLY != 0 {
            return Answer::None;
        }
        let (flags, error) = match outcome {
            Ok(_) => (FLAG_REPLY, 0),
            Err(Errno(error)) => {
                tracing::debug!(command = header.command, id = header.id, error, "a message is refused");
                self.reply.truncate(HEADER_SIZE);
                (FLAG_REPLY | FLAG_ERROR, error)
            }
        };
        let header = Header { id: header.id, command: header.command, size: self.reply.len() as u32, flags, error };
        self.reply[..HEADER_SIZE].copy_from_slice(header.as_bytes());
        match outcome {
            Ok(Some(region)) => Answer::WithFile(region),
            _ => Answer::Plain,
        }
    }

    /// The reply of the last message.
    pub fn reply(&self) -> &[u8] {
        &self.reply
    }

    /// A descriptor that the client has set up to unmask the pin with.
    pub fn unmasker(&self) -> Option<BorrowedFd<'_>> {
        self.irqs.unmasker()
    }

    /// That descriptor is readable.
    pub fn unmasked(&mut self) {
        self.irqs.unmasked();
    }

    /// Let the function do what is due.
    pub fn wake(&mut self, function: &mut Function, now: u64) {
        self.requests.transfers.begin_wake();
        function.wake(&mut self.wires(now));
        self.requests.transfers.end_wake();
    }

    /// Whether nothing is on its way that the function waits for.
    pub fn is_settled(&self) -> bool {
        self.requests.transfers.is_idle()
    }

    /// Prepare the next request to the client, for [`Session::request`]; whether there is one.
    pub fn next_request(&mut self, now: u64) -> bool {
        self.agreement.is_some_and(|agreement| self.requests.next(&agreement, now))
    }

    /// The last request.
    pub fn request(&self) -> &[u8] {
        self.requests.message()
    }

    /// Device time at which the client must have answered it.
    pub fn deadline(&self) -> Option<u64> {
        self.requests.deadline()
    }

    /// Do without what the client should have answered.
    pub fn expire(&mut self, function: &Function, now: u64) {
        if self.requests.deadline().is_some_and(|deadline| deadline <= now) {
            self.requests.expire(now);
            self.carry_on(function, now);
        }
    }

    /// Something that was on its way has come through or to nothing.
    fn carry_on(&mut self, function: &Function, now: u64) {
        if !self.held.is_empty() && !self.requests.transfers.is_writing() {
            self.held.release(&mut self.irqs);
        }
        // A device that is not due does not ask what became of it.
        if self.is_settled() && function.next_wake().is_none_or(|due| due > now) {
            self.requests.transfers.forget();
        }
    }

    /// Put the function back to power-on: before the session is dropped, and when the client asks for it.
    pub fn reset(&mut self, function: &mut Function, now: u64) {
        function.reset(&mut self.wires(now));
    }

    fn wires(&mut self, now: u64) -> Wires<'_> {
        Wires { dma: &self.dma, irqs: &mut self.irqs, requests: &mut self.requests, held: &mut self.held, now }
    }

    fn dispatch(
        &mut self,
        header: &Header,
        body: &[u8],
        fds: &mut Vec<OwnedFd>,
        function: &mut Function,
        now: u64,
    ) -> Result<Option<u32>, Errno> {
        let takes_fds = matches!(header.command, command::DMA_MAP | command::SET_IRQS);
        if !takes_fds && !fds.is_empty() {
            return Err(Errno::INVALID);
        }
        let Some(agreement) = self.agreement else {
            return self.negotiate(header, body).map(|()| None);
        };
        match header.command {
            command::REGION_READ => self.read_region(parse(body)?, &agreement, function, now).map(|()| None),
            command::REGION_WRITE => self.write_region(body, function, now).map(|()| None),
            command::DMA_MAP => self.map(parse(body)?, fds).map(|()| None),
            command::DMA_UNMAP => self.unmap(parse(body)?).map(|()| None),
            command::GET_INFO => self.device_info(parse(body)?).map(|()| None),
            command::GET_REGION_INFO => self.region_info(parse(body)?, &agreement, function),
            command::GET_IRQ_INFO => self.irq_info(parse(body)?).map(|()| None),
            command::SET_IRQS => {
                let (request, data) = SetIrqs::read_from_prefix(body).map_err(|_| Errno::INVALID)?;
                if (request.argsz as usize) < size_of::<SetIrqs>() {
                    return Err(Errno::INVALID);
                }
                self.irqs.set(&request, data, fds).map(|()| None)
            }
            command::RESET if body.is_empty() => {
                self.reset(function, now);
                Ok(None)
            }
            // Version is settled once, a reset has no body; everything else this server does not know.
            command::VERSION | command::RESET => Err(Errno::INVALID),
            _ => Err(Errno::NOT_SUPPORTED),
        }
    }

    fn negotiate(&mut self, header: &Header, body: &[u8]) -> Result<(), Errno> {
        if header.command != command::VERSION || header.flags & FLAG_NO_REPLY != 0 {
            return Err(Errno::INVALID);
        }
        let agreement = parse_version(body).ok_or(Errno::INVALID)?;
        self.append(&Version { minor: agreement.minor, ..VERSION });
        self.reply.extend_from_slice(server_capabilities(MAX_MAPS).as_bytes());
        self.agreement = Some(agreement);
        Ok(())
    }

    fn map(&mut self, request: DmaMap, fds: &mut Vec<OwnedFd>) -> Result<(), Errno> {
        if fds.len() > 1 || (request.argsz as usize) < size_of::<DmaMap>() {
            return Err(Errno::INVALID);
        }
        self.dma.map(&request, fds.pop())
    }

    fn unmap(&mut self, request: DmaUnmap) -> Result<(), Errno> {
        if (request.argsz as usize) < size_of::<DmaUnmap>() {
            return Err(Errno::INVALID);
        }
        self.dma.unmap(&request)?;
        self.append(&request);
        Ok(())
    }

    fn device_info(&mut self, request: DeviceInfo) -> Result<(), Errno> {
        if (request.argsz as usize) < size_of::<DeviceInfo>() {
            return Err(Errno::INVALID);
        }
        self.append(&DeviceInfo {
            argsz: size_of::<DeviceInfo>() as u32,
            flags: VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
            regions: VFIO_PCI_NUM_REGIONS,
            irqs: VFIO_PCI_NUM_IRQS,
        });
        Ok(())
    }

    /// Describe a region. If areas of it can be mapped and the client has room for their list, their file goes with the reply.
    fn region_info(&mut self, request: RegionInfo, agreement: &Agreement, function: &Function) -> Result<Option<u32>, Errno> {
        if (request.argsz as usize) < size_of::<RegionInfo>() {
            return Err(Errno::INVALID);
        }
        let index = request.index;
        let size = region_size(index, function).ok_or(Errno::INVALID)?;
        let mut info = RegionInfo { argsz: size_of::<RegionInfo>() as u32, flags: 0, index, cap_offset: 0, size, offset: 0 };
        if size > 0 {
            info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
        }
        let mut areas = [SparseArea { offset: 0, size: 0 }; MAX_AREAS];
        let count = sparse_areas(index, function, &mut areas);
        if count == 0 || !agreement.takes_fds {
            self.append(&info);
            return Ok(None);
        }
        info.argsz += (size_of::<SparseCapability>() + count * size_of::<SparseArea>()) as u32;
        info.flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
        // QEMU wants the offset to be right even where the list does not fit.
        info.cap_offset = size_of::<RegionInfo>() as u32;
        if request.argsz < info.argsz {
            // The client learns how much room it needs, and asks again.
            self.append(&info);
            return Ok(None);
        }
        self.append(&info);
        let capability = SparseCapability {
            id: VFIO_REGION_INFO_CAP_SPARSE_MMAP as u16,
            version: 1,
            next: 0,
            areas: count as u32,
            reserved: 0,
        };
        self.append(&capability);
        areas[..count].iter().for_each(|area| self.append(area));
        Ok(Some(index))
    }

    fn irq_info(&mut self, request: IrqInfo) -> Result<(), Errno> {
        if (request.argsz as usize) < size_of::<IrqInfo>() {
            return Err(Errno::INVALID);
        }
        let info = self.irqs.info(request.index)?;
        self.append(&info);
        Ok(())
    }

    fn read_region(
        &mut self,
        access: RegionAccess,
        agreement: &Agreement,
        function: &mut Function,
        now: u64,
    ) -> Result<(), Errno> {
        let count = access.count as usize;
        if count > agreement.max_transfer {
            return Err(Errno::INVALID);
        }
        check_range(&access, function)?;
        self.append(&access);
        let start = self.reply.len();
        self.reply.resize(start + count, 0);
        let data = &mut self.reply[start..];
        let link = &mut Wires { dma: &self.dma, irqs: &mut self.irqs, requests: &mut self.requests, held: &mut self.held, now };
        match access.region {
            VFIO_PCI_CONFIG_REGION_INDEX => function.read_config(access.offset as usize, data, link),
            bar => function.read_bar(bar as usize, access.offset, data, link),
        }
        tracing::trace!("{}", Shown { verb: "read", access: &access, data });
        Ok(())
    }

    fn write_region(&mut self, body: &[u8], function: &mut Function, now: u64) -> Result<(), Errno> {
        let (access, data) = RegionAccess::read_from_prefix(body).map_err(|_| Errno::INVALID)?;
        if data.len() != access.count as usize {
            return Err(Errno::INVALID);
        }
        check_range(&access, function)?;
        tracing::trace!("{}", Shown { verb: "write", access: &access, data });
        let link = &mut self.wires(now);
        match access.region {
            VFIO_PCI_CONFIG_REGION_INDEX => function.write_config(access.offset as usize, data, link),
            bar => function.write_bar(bar as usize, access.offset, data, link),
        }
        self.append(&access);
        Ok(())
    }

    fn append<T: IntoBytes + Immutable>(&mut self, part: &T) {
        self.reply.extend_from_slice(part.as_bytes());
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No reply.
    None,
    /// The reply alone.
    Plain,
    /// The reply, and the file that holds the shared areas of this region.
    WithFile(u32),
}

/// The file that holds the shared areas of a region.
pub fn area_file(region: u32, function: &Function) -> Option<BorrowedFd<'_>> {
    function.shared_areas().into_iter().find(|area| area.bar as u32 == region).map(|area| area.file)
}

const MAX_AREAS: usize = 8;

fn sparse_areas(region: u32, function: &Function, into: &mut [SparseArea; MAX_AREAS]) -> usize {
    let areas = function.shared_areas();
    let of_region = areas.iter().filter(|area| area.bar as u32 == region);
    of_region.zip(into).map(|(&SharedArea { offset, size, .. }, slot)| *slot = SparseArea { offset, size }).count()
}

/// Size of a region, 0 if the device does not have it; `None` if no PCI device could.
fn region_size(index: u32, function: &Function) -> Option<u64> {
    match index {
        VFIO_PCI_BAR0_REGION_INDEX..=VFIO_PCI_BAR5_REGION_INDEX => {
            Some(function.identity().bars[index as usize].map_or(0, |bar| bar.size))
        }
        VFIO_PCI_CONFIG_REGION_INDEX => Some(CONFIG_SIZE as u64),
        VFIO_PCI_ROM_REGION_INDEX | VFIO_PCI_VGA_REGION_INDEX => Some(0),
        _ => None,
    }
}

fn check_range(access: &RegionAccess, function: &Function) -> Result<(), Errno> {
    let size = region_size(access.region, function).ok_or(Errno::INVALID)?;
    let end = access.offset.checked_add(u64::from(access.count)).ok_or(Errno::INVALID)?;
    if end > size { Err(Errno::INVALID) } else { Ok(()) }
}

/// An access as the log shows it.
struct Shown<'a> {
    verb: &'a str,
    access: &'a RegionAccess,
    data: &'a [u8],
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// Longer data is cut.
        const MOST: usize = 32;
        match self.access.region {
            VFIO_PCI_CONFIG_REGION_INDEX => write!(f, "{} configuration", self.verb)?,
            bar => write!(f, "{} BAR {bar}", self.verb)?,
        }
        write!(f, " at {:#x}, {} bytes:", self.access.offset, self.data.len())?;
        self.data.iter().take(MOST).try_for_each(|byte| write!(f, " {byte:02x}"))?;
        if self.data.len() > MOST { f.write_str(" …") } else { Ok(()) }
    }
}

/// A body of fixed size. Longer is as wrong as shorter: the sender and we do not mean the same message.
fn parse<T: FromBytes>(body: &[u8]) -> Result<T, Errno> {
    T::read_from_bytes(body).map_err(|_| Errno::INVALID)
}
