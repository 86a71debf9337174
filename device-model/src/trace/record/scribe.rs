//! The thread that writes blocks into a trace's file, so that whoever serves a device need not wait for checksums, zstd and the disk.
//!
//! One block is being written while the next one is filled, no more: a recorder that is quicker than the file waits for it, and a process
//! that is killed loses these two at most.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::writer::{Block, BlockFile};

/// How often a recorder that waits for the thread looks whether it is still there.
const MOMENT: Duration = Duration::from_millis(100);

type Out = BlockFile<Box<dyn Write + Send>>;

/// The thread and what it is given.
pub(super) struct Scribe {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
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
        Self { desk: Arc::new(Desk { work: Mutex::new(work), changed: Condvar::new() }), thread: None }
    }

    /// Have a block written; an empty one takes its place.
    pub(super) fn write(&mut self, block: &mut Block) {
        if self.desk.lock().file.is_none() {
            return block.clear();
        }
        if self.thread.is_none() {
            // Only now, so that it has no more rights than whoever serves: those of the sandbox.
            let desk = self.desk.clone();
            self.thread = std::thread::Builder::new().name("trace".into()).spawn(move || desk.write_all()).ok();
        }
        let mut work = self.desk.lock();
        // The thread holds the lock while it writes; it has not begun yet with a block that is still full.
        while work.is_full && self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            work = self.desk.changed.wait_timeout(work, MOMENT).unwrap_or_else(PoisonError::into_inner).0;
        }
        work.block.follow(block);
        std::mem::swap(&mut work.block, block);
        work.is_full = true;
        if self.thread.is_none() {
            // No thread is to be had.
            work.write();
            return;
        }
        drop(work);
        self.desk.changed.notify_all();
    }

    /// Wait until all is written, then write the index. `last` is the block that follows the last one.
    pub(super) fn finish(&mut self, last: &Block) -> io::Result<()> {
        self.desk.lock().is_over = true;
        self.desk.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let mut work = self.desk.lock();
        match work.file.take() {
            Some(mut file) => file.finish(last),
            None => Ok(()),
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn write_all(&self) {
        let mut work = self.lock();
        loop {
            if work.is_full {
                work.write();
                self.changed.notify_all();
            } else if work.is_over {
                return;
            } else {
                work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Work {
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
