//! A descriptor chain, taken apart once: where its device-readable and its device-writable bytes lie.
//!
//! The walk through descriptors is virtio-queue's; this adds what a device must refuse: chains that break off, loop, are longer than the
//! queue, or put a readable buffer behind a writable one.

use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;

use crate::memory::{Memory, Unreachable};

#[derive(Clone, Copy)]
struct Segment {
    address: u64,
    length: u32,
}

/// One chain. Devices keep chains that are done and fill them again, so that taking a chain allocates nothing in the long run.
#[derive(Default)]
pub struct Chain {
    head: u16,
    segments: Vec<Segment>,
    first_writable: usize,
    readable: u64,
    writable: u64,
    malformed: bool,
}

impl Chain {
    /// An empty chain.
    pub fn new() -> Self {
        Self { head: 0, segments: Vec::with_capacity(16), first_writable: 0, readable: 0, writable: 0, malformed: false }
    }

    /// Index of the first descriptor: the chain's name in its queue.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Whether the driver built it wrongly. Such a chain counts as empty.
    pub fn malformed(&self) -> bool {
        self.malformed
    }

    /// Device-readable bytes.
    pub fn readable(&self) -> u64 {
        self.readable
    }

    /// Device-writable bytes.
    pub fn writable(&self) -> u64 {
        self.writable
    }

    /// Address and length of the first device-writable buffer.
    pub fn first_writable(&self) -> Option<(u64, u32)> {
        self.segments.get(self.first_writable).map(|segment| (segment.address, segment.length))
    }

    /// Read device-readable bytes from `offset` on: all of `into`, or an error.
    pub fn read(&self, memory: &Memory, offset: u64, into: &mut [u8]) -> Result<(), Unreachable> {
        let mut done = 0;
        let segments = &self.segments[..self.first_writable];
        for_each_part(segments, offset, into.len(), |address, length| {
            memory.read_at(address, &mut into[done..done + length])?;
            done += length;
            Ok(())
        })
    }

    /// Write device-writable bytes from `offset` on: all of `from`, or an error.
    pub fn write(&self, memory: &Memory, offset: u64, from: &[u8]) -> Result<(), Unreachable> {
        let mut done = 0;
        let segments = &self.segments[self.first_writable..];
        for_each_part(segments, offset, from.len(), |address, length| {
            memory.write_at(address, &from[done..done + length])?;
            done += length;
            Ok(())
        })
    }

    /// Read what the device has written, from the first device-writable byte on.
    pub(crate) fn read_writable(&self, memory: &Memory, into: &mut [u8]) -> Result<(), Unreachable> {
        let mut done = 0;
        let segments = &self.segments[self.first_writable..];
        for_each_part(segments, 0, into.len(), |address, length| {
            memory.read_at(address, &mut into[done..done + length])?;
            done += length;
            Ok(())
        })
    }

    /// Become the same chain as another.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        let Self { head, segments, first_writable, readable, writable, malformed } = other;
        self.segments.clone_from(segments);
        (self.head, self.first_writable, self.malformed) = (*head, *first_writable, *malformed);
        (self.readable, self.writable) = (*readable, *writable);
    }

    pub(super) fn fill(&mut self, queue_size: u16, walk: DescriptorChain<&Memory>) {
        self.head = walk.head_index();
        self.clear();
        if self.take_apart(queue_size, walk).is_none() {
            self.clear();
            self.malformed = true;
        }
    }

    fn clear(&mut self) {
        self.segments.clear();
        self.first_writable = 0;
        self.readable = 0;
        self.writable = 0;
        self.malformed = false;
    }

    /// `None` for a chain that no driver may build. virtio-queue ends a broken walk as if the chain had ended there, so the last descriptor
    /// it gave out must be one that says so itself.
    fn take_apart(&mut self, queue_size: u16, walk: DescriptorChain<&Memory>) -> Option<()> {
        let mut last: Option<Descriptor> = None;
        for descriptor in walk {
            if self.segments.len() == usize::from(queue_size) {
                return None;
            }
            let length = descriptor.len();
            if descriptor.is_write_only() {
                self.writable += u64::from(length);
            } else if self.first_writable < self.segments.len() {
                return None;
            } else {
                self.readable += u64::from(length);
                self.first_writable += 1;
            }
            self.segments.push(Segment { address: descriptor.addr().0, length });
            last = Some(descriptor);
        }
        last.filter(|descriptor| !descriptor.has_next()).map(drop)
    }
}

fn for_each_part(
    segments: &[Segment],
    offset: u64,
    length: usize,
    mut part: impl FnMut(u64, usize) -> Result<(), Unreachable>,
) -> Result<(), Unreachable> {
    let mut skip = offset;
    let mut left = length;
    for segment in segments {
        if left == 0 {
            break;
        }
        let size = u64::from(segment.length);
        if skip >= size {
            skip -= size;
            continue;
        }
        let here = (size - skip).min(left as u64) as usize;
        let missing = Unreachable { address: segment.address, length: here };
        part(segment.address.checked_add(skip).ok_or(missing)?, here)?;
        skip = 0;
        left -= here;
    }
    if left == 0 { Ok(()) } else { Err(Unreachable { address: 0, length: left }) }
}
