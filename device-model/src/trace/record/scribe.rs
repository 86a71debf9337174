//! The file that a recorder writes, and the thread that sees to it that no event waits long for its way there.
//!
//! A block that is full is written at once by whoever filled it: with one block in memory and none on its way, a process that is killed loses
//! the block it was filling and no other. What a block costs is its checksum and one system call, some ten microseconds in thousands of events. The thread looks every
//! 50 ms for events that wait in a block which does not get full.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::writer::{Block, BlockFile};
use super::State;

/// How often the thread looks for events that are not in the file.
const MOMENT: Duration = Duration::from_millis(50);

type Out = BlockFile<Box<dyn Write + Send>>;

/// The file, and the thread.
pub(super) struct Scribe {
    /// Gone when it cannot be written on, and when all is written.
    file: Option<Out>,
    thread: Option<(JoinHandle<()>, Sender<()>)>,
    /// Where the thread finds events.
    source: Weak<Mutex<State>>,
    /// Nothing more is to come.
    is_over: bool,
}

impl Scribe {
    pub(super) fn new(file: Out) -> Self {
        Self { file: Some(file), thread: None, source: Weak::new(), is_over: false }
    }

    /// Where the thread is to look for events that are not in the file.
    pub(super) fn watch(&mut self, source: &Arc<Mutex<State>>) {
        self.source = Arc::downgrade(source);
    }

    /// Events begin to come. Only now is there a thread, so that it has no more rights than whoever serves: those of the sandbox.
    pub(super) fn begin(&mut self) {
        if self.thread.is_none() && !self.is_over {
            let (over, is_over) = mpsc::channel();
            let source = self.source.clone();
            let look = move || {
                while is_over.recv_timeout(MOMENT) == Err(RecvTimeoutError::Timeout) {
                    let Some(source) = source.upgrade() else { return };
                    super::lock(&source).flush();
                }
            };
            // Without a thread, events wait until their block is full.
            let thread = std::thread::Builder::new().name("trace".into()).spawn(look).ok();
            self.thread = thread.map(|thread| (thread, over));
        }
    }

    /// Write a block, and empty it. A trace that cannot be written ends; the device goes on.
    pub(super) fn write(&mut self, block: &mut Block) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write(block)
        {
            tracing::error!(%error, "the trace cannot be written on: it ends here");
            self.file = None;
        }
        block.clear();
    }

    /// Nothing more is to come: the thread, which ends soon.
    pub(super) fn dismiss(&mut self) -> Option<JoinHandle<()>> {
        self.is_over = true;
        self.thread.take().map(|(thread, _)| thread)
    }

    /// Write the index. `last` is the block that follows the last one.
    pub(super) fn finish(&mut self, last: &Block) -> io::Result<()> {
        self.file.take().map_or(Ok(()), |mut file| file.finish(last))
    }
}
