//! Interrupts as the client sets them up: an eventfd for each line, masks, and what is pending behind a mask.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use vfio_bindings::bindings::vfio::*;

use super::message::{IrqInfo, SetIrqs};
use super::session::Errno;
use crate::device::Identity;

const PIN: u32 = VFIO_PCI_INTX_IRQ_INDEX;
const MSIX: u32 = VFIO_PCI_MSIX_IRQ_INDEX;

/// One interrupt line.
#[derive(Default)]
struct Line {
    trigger: Option<OwnedFd>,
    masked: bool,
    pending: bool,
}

impl Line {
    fn raise(&mut self) {
        if self.masked {
            self.pending = true;
        } else if let Some(trigger) = &self.trigger {
            signal(trigger.as_fd());
        }
    }
}

/// All interrupt lines of one client.
pub(super) struct Irqs {
    lines: [Vec<Line>; VFIO_PCI_NUM_IRQS as usize],
    pin_asserted: bool,
    /// Unmasks the pin when it is signalled.
    unmasker: Option<OwnedFd>,
}

/// What a SET_IRQS does to each of its lines.
enum Data<'a> {
    /// Every line in the range.
    All,
    /// The lines whose byte is not zero.
    Chosen(&'a [u8]),
    /// New eventfds, or none.
    Triggers(Vec<OwnedFd>),
}

impl Irqs {
    pub(super) fn new(identity: &Identity) -> Self {
        let messages = identity.msix.map_or(0, |msix| msix.vectors);
        let lines = std::array::from_fn(|index| {
            let count = match index as u32 {
                PIN => u16::from(identity.pin),
                MSIX => messages,
                // QEMU warns when it finds no place for these two. They are never raised.
                VFIO_PCI_ERR_IRQ_INDEX | VFIO_PCI_REQ_IRQ_INDEX => 1,
                _ => 0,
            };
            (0..count).map(|_| Line::default()).collect()
        });
        Self { lines, pin_asserted: false, unmasker: None }
    }

    pub(super) fn info(&self, index: u32) -> Result<IrqInfo, Errno> {
        let lines = self.lines.get(index as usize).ok_or(Errno::INVALID)?;
        let flags = match index {
            PIN => VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED,
            _ if lines.is_empty() => 0,
            _ => VFIO_IRQ_INFO_EVENTFD,
        };
        Ok(IrqInfo { argsz: size_of::<IrqInfo>() as u32, flags, index, count: lines.len() as u32 })
    }

    pub(super) fn set(&mut self, request: &SetIrqs, data: &[u8], fds: &mut Vec<OwnedFd>) -> Result<(), Errno> {
        let SetIrqs { flags, index, start, count, .. } = *request;
        let available = self.info(index)?.count;
        let end = start.checked_add(count).ok_or(Errno::INVALID)?;
        if end > available {
            return Err(Errno::INVALID);
        }
        let mut data = parse_data(flags, count, data, fds)?;
        let lines = &mut self.lines[index as usize];
        match flags & VFIO_IRQ_SET_ACTION_TYPE_MASK {
            VFIO_IRQ_SET_ACTION_TRIGGER if count == 0 && matches!(data, Data::All) => lines.fill_with(Line::default),
            VFIO_IRQ_SET_ACTION_TRIGGER => set_or_trigger(&mut lines[start as usize..end as usize], data),
            VFIO_IRQ_SET_ACTION_MASK => for_chosen(&mut lines[start as usize..end as usize], &data, |line| line.masked = true)?,
            VFIO_IRQ_SET_ACTION_UNMASK => {
                if let (PIN, Data::Triggers(unmasker)) = (index, &mut data) {
                    self.unmasker = unmasker.pop().filter(|fd| make_nonblocking(fd.as_fd()));
                    return Ok(());
                }
                let level = index == PIN && self.pin_asserted;
                for_chosen(&mut lines[start as usize..end as usize], &data, |line| unmask(line, index == PIN, level))?;
            }
            _ => return Err(Errno::INVALID),
        }
        if index == PIN {
            self.show_level();
        }
        Ok(())
    }

    /// What unmasks the pin when it becomes readable: see [`Irqs::unmasked`].
    pub(super) fn unmasker(&self) -> Option<BorrowedFd<'_>> {
        self.unmasker.as_ref().map(AsFd::as_fd)
    }

    /// The unmasker is readable.
    pub(super) fn unmasked(&mut self) {
        use std::os::fd::AsRawFd;
        let Some(unmasker) = &self.unmasker else { return };
        let mut count = [0_u8; 8];
        // SAFETY: the buffer is valid for writes of its length.
        let read = unsafe { libc::read(unmasker.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        if read < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock {
            // The client has taken it back.
        } else if read <= 0 {
            // Readable, and nothing to read: it is no eventfd, and would be readable for ever.
            self.unmasker = None;
        } else if let Some(line) = self.lines[PIN as usize].first_mut() {
            unmask(line, true, self.pin_asserted);
            self.show_level();
        }
    }

    /// Raise a message's line.
    pub(super) fn message(&mut self, vector: u16) {
        if let Some(line) = self.lines[MSIX as usize].get_mut(usize::from(vector)) {
            line.raise();
        }
    }

    /// Set the level of the pin.
    pub(super) fn set_pin(&mut self, asserted: bool) {
        self.pin_asserted = asserted;
        self.show_level();
    }

    /// A level that is high triggers, and masks itself until the client has looked after it.
    fn show_level(&mut self) {
        if let (true, Some(line)) = (self.pin_asserted, self.lines[PIN as usize].first_mut())
            && !line.masked
            && let Some(trigger) = &line.trigger
        {
            signal(trigger.as_fd());
            line.masked = true;
        }
    }
}

fn parse_data<'a>(flags: u32, count: u32, data: &'a [u8], fds: &mut Vec<OwnedFd>) -> Result<Data<'a>, Errno> {
    match flags & VFIO_IRQ_SET_DATA_TYPE_MASK {
        VFIO_IRQ_SET_DATA_NONE => Ok(Data::All),
        VFIO_IRQ_SET_DATA_BOOL => data.get(..count as usize).map(Data::Chosen).ok_or(Errno::INVALID),
        // As many descriptors as lines, or none at all to take the old ones away.
        VFIO_IRQ_SET_DATA_EVENTFD if count > 0 && (fds.is_empty() || fds.len() == count as usize) => {
            Ok(Data::Triggers(std::mem::take(fds)))
        }
        _ => Err(Errno::INVALID),
    }
}

fn set_or_trigger(lines: &mut [Line], data: Data<'_>) {
    match data {
        Data::All => lines.iter_mut().for_each(Line::raise),
        Data::Chosen(bytes) => lines.iter_mut().zip(bytes).filter(|(_, byte)| **byte != 0).for_each(|(line, _)| line.raise()),
        Data::Triggers(triggers) => {
            let mut triggers = triggers.into_iter();
            for line in lines {
                *line = Line { trigger: triggers.next().filter(|fd| make_nonblocking(fd.as_fd())), ..Line::default() };
            }
        }
    }
}

fn for_chosen(lines: &mut [Line], data: &Data<'_>, mut action: impl FnMut(&mut Line)) -> Result<(), Errno> {
    match data {
        Data::All => lines.iter_mut().for_each(action),
        Data::Chosen(bytes) => lines.iter_mut().zip(*bytes).filter(|(_, byte)| **byte != 0).for_each(|(line, _)| action(line)),
        // Only the pin can be unmasked by an eventfd, and nothing is masked by one: as Linux's VFIO has it.
        Data::Triggers(_) => return Err(Errno::NOT_SUPPORTED),
    }
    Ok(())
}

fn unmask(line: &mut Line, is_pin: bool, level: bool) {
    line.masked = false;
    let pending = std::mem::take(&mut line.pending);
    // A pin that is still asserted triggers again in `show_level`.
    if pending && !(is_pin && level) {
        line.raise();
    }
}

/// The client's descriptor may be anything; it must not be able to stop this process.
pub(crate) fn make_nonblocking(fd: BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: fcntl with these commands touches no memory of ours.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    // SAFETY: as above.
    flags >= 0 && unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) } == 0
}

/// Count an eventfd up. A counter that is full has been signalled already; other errors are the client's own.
fn signal(fd: BorrowedFd<'_>) {
    use std::os::fd::AsRawFd;
    let one = 1_u64.to_ne_bytes();
    // SAFETY: the buffer is valid for reads of its length.
    let written = unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    if written < 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "an interrupt could not be signalled");
    }
}
