//! Devices around devices that write a trace of what goes in and out.
//!
//! [`Recorder`] stands around any PCI device, [`RecordingVirtio`] around any virtio device; around both ends of a virtio device on PCI, they
//! share one trace. Recording changes one thing: memory that a device would share with the guest is not shared, so that reads of it are
//! accesses like any other.
//!
//! Whoever serves the device appends to a block in memory, and writes it into the file when it is full (`scribe`).

mod device;
mod scribe;
mod virtio;

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::device::Recorder;
pub use self::virtio::{RecordingVirtio, virtio_header};

use self::scribe::Scribe;
use super::event::{Event, What, encode};
use super::format::MAX_DATA;
use super::header::Header;
use super::writer::{Block, BlockFile, Compression};
use crate::memory::Memory;

/// What a device may do during one register read and still have it recorded behind the read.
const MOST_HELD: usize = MAX_DATA;

/// A trace being written. Clones write the same one; the last to go finishes it.
#[derive(Clone)]
pub struct Trace {
    state: Arc<Mutex<State>>,
    last: Arc<Last>,
}

/// What the clones of a trace have in common. Its going is theirs.
struct Last(Arc<Mutex<State>>);

impl Drop for Last {
    fn drop(&mut self) {
        // An error has been told by whoever met it.
        let _ = finish(&self.0);
    }
}

struct State {
    block: Block,
    scribe: Scribe,
    now: u64,
    own_accord: bool,
    /// Guest memory that the device is about to write: what it wrote is there when it does the next thing.
    writing: Option<(u64, usize, Arc<Memory>)>,
    /// What the device does while it answers a read; it follows the read in the trace.
    held: Option<Vec<u8>>,
    held_events: u32,
    spare: Vec<u8>,
}

impl Trace {
    /// Begin a trace.
    ///
    /// # Errors
    /// The output's.
    pub fn new(out: impl Write + Send + 'static, header: &Header, compression: Compression) -> std::io::Result<Self> {
        let out: Box<dyn Write + Send> = Box::new(out);
        let state = Arc::new(Mutex::new(State {
            block: Block::new(),
            scribe: Scribe::new(BlockFile::new(out, header, compression)?),
            now: 0,
            own_accord: false,
            writing: None,
            held: None,
            held_events: 0,
            spare: Vec::new(),
        }));
        lock(&state).scribe.watch(&state);
        Ok(Self { last: Arc::new(Last(state.clone())), state })
    }

    /// Append an event at a time.
    pub fn append(&self, now: u64, what: &What<'_>) {
        let mut state = self.lock();
        state.now = now;
        state.event(what);
    }

    /// Append an event as it was.
    pub(super) fn append_as(&self, event: &Event<'_>) {
        self.enter(event.time, event.own_accord).event(&event.what);
    }

    /// Write what is left and the index, and wait until it is in the file.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(&self) -> std::io::Result<()> {
        finish(&self.last.0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A call of the device begins.
    fn enter(&self, now: u64, own_accord: bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.now = now;
        state.own_accord = own_accord;
        state
    }

    /// It has ended.
    fn leave(&self) {
        self.lock().settle();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Write what is left and the index.
fn finish(state: &Mutex<State>) -> std::io::Result<()> {
    let thread = {
        let mut state = lock(state);
        state.settle();
        state.scribe.dismiss()
    };
    // Not under the lock, for which the thread may wait.
    thread.map(std::thread::JoinHandle::join);
    let mut state = lock(state);
    state.flush();
    let State { scribe, block, .. } = &mut *state;
    scribe.finish(block)
}

impl State {
    #[inline]
    fn event(&mut self, what: &What<'_>) {
        self.event_with(what, what.data().len(), |room| {
            room.copy_from_slice(&what.data()[..room.len()]);
            true
        });
    }

    /// Record an event whose data, so many bytes, `fill` puts in its place. `false` if it cannot: then there is no event.
    #[inline]
    fn event_with(&mut self, what: &What<'_>, length: usize, fill: impl FnOnce(&mut [u8]) -> bool) -> bool {
        self.settle();
        let length = length.min(MAX_DATA);
        if let Some(held) = &mut self.held {
            if held.len() + length < MOST_HELD {
                let filled = encode(held, 0, self.own_accord, what, length, fill);
                self.held_events += u32::from(filled);
                return filled;
            }
            self.release();
        }
        self.make_room(length);
        self.block.append(self.now, self.own_accord, what, length, fill)
    }

    /// Room in the block for `length` bytes of data.
    #[inline]
    fn make_room(&mut self, length: usize) {
        if !self.block.has_room(length) {
            self.flush();
        }
        if !self.block.is_dirty() {
            self.scribe.begin();
        }
    }

    fn flush(&mut self) {
        if self.block.is_dirty() {
            self.scribe.write(&mut self.block);
        }
    }

    /// The device's last write to guest memory is done: record what it wrote.
    #[inline]
    fn settle(&mut self) {
        if let Some((address, length, memory)) = self.writing.take() {
            self.memory(address, length, &memory, true);
        }
    }

    /// Record what is in guest memory, which the device has read or written.
    fn memory(&mut self, address: u64, length: usize, memory: &Memory, write: bool) {
        let data: &[u8] = &[];
        let what = if write { What::DmaWrite { address, data } } else { What::DmaRead { address, data } };
        if !self.event_with(&what, length, |room| memory.read_at(address, room).is_ok()) {
            self.event(&What::DmaFailed { address, length: length as u64, write });
        }
    }

    fn hold(&mut self) {
        let mut held = std::mem::take(&mut self.spare);
        held.clear();
        self.held = Some(held);
        self.held_events = 0;
    }

    /// Append what was held.
    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            if self.held_events > 0 {
                self.make_room(held.len());
                self.block.append_encoded(&held, self.held_events);
            }
            self.spare = held;
        }
    }
}
