//! The thread that writes blocks into a trace's file, so that whoever serves a device need not wait for checksums, zstd and the disk.
//!
//! One block is being written while the next one is filled, no more: a recorder that is quicker than the file waits for it, and a process
//! that is killed loses these two at most. No event waits for long: the thread looks for what is not in the file every 50 ms.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::writer::{Block, BlockFile};
use super::State;

/// How often the thread looks for events that are not in the file, and a recorder that waits for the thread looks whether it is still there.
const MOMENT: Duration = Duration::from_millis(50);

type Out = BlockFile<Box<dyn Write + Send>>;

/// The thread and what it is given.
pub(super) struct Scribe {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
    /// Where the events come from.
    source: Weak<Mutex<State>>,
    /// Nothing more is to come.
    is_over: bool,
}

struct Desk {
    work: Mutex<Work>,
    changed: Condvar,
}

struct Work {
    /// The file; gone when it cannot be written on.
    file: Option<Out>,
    /// A block to be written, if `is_full`; else an empty one to be filled next.
    block: Block,
    is_full: bool,
    is_over: bool,
}

impl Scribe {
    pub(super) fn new(file: Out) -> Self {
        let work = Work { file: Some(file), block: Block::new(), is_full: false, is_over: false };
        let desk = Arc::new(Desk { work: Mutex::new(work), changed: Condvar::new() });
        Self { desk, thread: None, source: Weak::new(), is_over: false }
    }

    /// Where the thread is to look for events that are not in the file.
    pub(super) fn watch(&mut self, source: &Arc<Mutex<State>>) {
        self.source = Arc::downgrade(source);
    }

    /// Events begin to come. Only now is there a thread, so that it has no more rights than whoever serves: those of the sandbox.
    pub(super) fn begin(&mut self) {
        if self.thread.is_none() && !self.is_over {
            let (desk, source) = (self.desk.clone(), self.source.clone());
            // Without a thread, whoever records writes.
            self.thread = std::thread::Builder::new().name("trace".into()).spawn(move || desk.write_all(&source)).ok();
        }
    }

    /// Have a block written; an empty one takes its place.
    pub(super) fn write(&mut self, block: &mut Block) {
        let mut work = self.desk.lock();
        // The thread holds the lock while it writes; it has not begun yet with a block that is still full.
        while work.is_full && self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            work = self.desk.changed.wait_timeout(work, MOMENT).unwrap_or_else(PoisonError::into_inner).0;
        }
        work.exchange(block);
        if self.thread.is_none() {
            work.write();
        } else {
            drop(work);
            self.desk.changed.notify_all();
        }
    }

    /// The same, unless there is a block to be written already.
    pub(super) fn write_if_free(&mut self, block: &mut Block) {
        let mut work = self.desk.lock();
        if !work.is_full {
            work.exchange(block);
        }
    }

    /// Nothing more is to come: the thread, which ends when it has written what it has.
    pub(super) fn dismiss(&mut self) -> Option<JoinHandle<()>> {
        self.is_over = true;
        self.desk.lock().is_over = true;
        self.desk.changed.notify_all();
        self.thread.take()
    }

    /// Write the index. `last` is the block that follows the last one.
    pub(super) fn finish(&mut self, last: &Block) -> io::Result<()> {
        self.desk.lock().file.take().map_or(Ok(()), |mut file| file.finish(last))
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn write_all(&self, source: &Weak<Mutex<State>>) {
        let mut work = self.lock();
        loop {
            if work.is_full {
                work.write();
                self.changed.notify_all();
                continue;
            }
            if work.is_over {
                return;
            }
            let (woken, timeout) = self.changed.wait_timeout(work, MOMENT).unwrap_or_else(PoisonError::into_inner);
            work = woken;
            if timeout.timed_out() && !work.is_full && !work.is_over {
                drop(work);
                if let Some(source) = source.upgrade() {
                    super::lock(&source).flush_if_free();
                }
                work = self.lock();
            }
        }
    }
}

impl Work {
    /// Take a block to be written, and give an empty one for it.
    fn exchange(&mut self, block: &mut Block) {
        self.block.follow(block);
        std::mem::swap(&mut self.block, block);
        self.is_full = true;
    }

    /// A trace that cannot be written ends; the device goes on.
    fn write(&mut self) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write(&mut self.block)
        {
            tracing::error!(%error, "the trace cannot be written on: it ends here");
            self.file = None;
        }
        self.block.clear();
        self.is_full = false;
    }
}
