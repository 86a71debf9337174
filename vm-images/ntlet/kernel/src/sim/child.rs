//! The process around a run: forking it, watching over it, and what it left behind.

use std::boxed::Box;
use std::cell::Cell;
use std::format;
use std::string::{String, ToString};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::vec::Vec;

use channel::{Decoder, FromGuest};

use super::machine::{self, Machine};
use super::{Simulation, fault};
use crate::entry::Boot;
use crate::hal::Ending;

/// Room for what a run says.
const LOG: usize = 4 << 20;
const CHANNEL: usize = 256 << 10;
const REASON: usize = 4 << 10;

/// Memory that child and parent share.
#[repr(C)]
struct Shared {
    ending: AtomicU32,
    log: Bytes<LOG>,
    channel: Bytes<CHANNEL>,
    reason: Bytes<REASON>,
}

/// Bytes that are appended to.
#[repr(C)]
struct Bytes<const N: usize> {
    length: AtomicUsize,
    bytes: Cell<[u8; N]>,
}

impl<const N: usize> Bytes<N> {
    fn append(&self, more: &[u8]) {
        let length = self.length.load(Ordering::Relaxed);
        let more = &more[..more.len().min(N - length)];
        // SAFETY: the child appends from one thread, the parent reads when the child is gone; the range lies inside.
        unsafe { self.bytes.as_ptr().cast::<u8>().add(length).copy_from_nonoverlapping(more.as_ptr(), more.len()) };
        self.length.store(length + more.len(), Ordering::Relaxed);
    }

    fn get(&self) -> Vec<u8> {
        let length = self.length.load(Ordering::Relaxed).min(N);
        // SAFETY: as above.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().cast::<u8>(), length) }.to_vec()
    }
}

const RUNS: u32 = 0;
const SHUT_DOWN: u32 = 1;
const BUG_CHECKED: u32 = 2;
const PANICKED: u32 = 3;
const STUCK: u32 = 4;

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(core::ptr::null_mut());
static IS_CHILD: AtomicBool = AtomicBool::new(false);

fn shared() -> &'static Shared {
    // SAFETY: mapped before the fork, and the child ends before it could be unmapped.
    unsafe { &*SHARED.load(Ordering::Acquire) }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest shut down.
    Shutdown,
    /// The guest reported a bug check.
    BugCheck {
        /// Its code.
        code: u32,
        /// Its parameters.
        parameters: [u64; 4],
        /// Module and offset that it blames.
        at: (String, u64),
    },
    /// The test, or the code under test, panicked.
    Panic(String),
    /// Every processor is idle and nothing will ever happen.
    Stuck(String),
    /// The host process died of a signal, or ran out of its time.
    Died(String),
}

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The guest's log.
    pub log: String,
    /// What the guest wrote to its channel outside of its driver: the frames of a bug check.
    pub channel: Vec<u8>,
}

impl Outcome {
    /// The run, if it shut down in order.
    ///
    /// # Panics
    /// With the guest's log, if it did not.
    #[track_caller]
    pub fn expect_shutdown(self) -> Self {
        match &self.end {
            End::Shutdown => self,
            End::Panic(reason) => panic!("{reason}\n--- the guest's log:\n{}", self.log),
            other => panic!("the run ended with {other:?}\n--- the guest's log:\n{}", self.log),
        }
    }

    /// The parameters of the bug check that the run must have ended with.
    ///
    /// # Panics
    /// With the guest's log, if it ended otherwise.
    #[track_caller]
    pub fn expect_bug_check(&self, expected: u32) -> [u64; 4] {
        match &self.end {
            End::BugCheck { code, parameters, .. } if *code == expected => *parameters,
            other => {
                panic!("the run ended with {other:x?}, not with bug check {expected:#x}\n--- the guest's log:\n{}", self.log)
            }
        }
    }

    /// Whether a line of the log contains a text.
    #[must_use]
    pub fn has_logged(&self, text: &str) -> bool {
        self.log.contains(text)
    }
}

/// What the child runs.
type Test<'a> = Box<dyn FnOnce(&Machine) + 'a>;
static TEST: AtomicPtr<Test<'static>> = AtomicPtr::new(core::ptr::null_mut());

pub(super) fn run(simulation: Simulation, test: impl FnOnce(&Machine)) -> Outcome {
    catch_panics_of_children();
    let shared = map_shared();
    let test: Test<'_> = Box::new(test);
    // SAFETY: the child is a copy of this process with this thread alone. It uses the C library's allocator, which is made for that,
    // takes no lock that another thread may have held but those that `catch_panics_of_children` speaks of, and never returns.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        SHARED.store(shared, Ordering::Release);
        IS_CHILD.store(true, Ordering::Release);
        // SAFETY: the child ends without returning from this function, so that what the test borrows lives as long as it.
        let test = unsafe { core::mem::transmute::<Test<'_>, Test<'static>>(test) };
        TEST.store(Box::into_raw(Box::new(test)), Ordering::Release);
        // SAFETY: the alarm ends the child, which is what it is for.
        unsafe { libc::alarm(simulation.seconds) };
        fault::install();
        let boot = Boot {
            hal: machine::create(simulation.processors),
            command_line: simulation.command_line,
            archive: simulation.archive,
            built_in: simulation.built_in,
            image: machine::image(),
        };
        machine::start(boot, main)
    }
    let mut status = 0;
    // SAFETY: the child is this function's own.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert!(waited == child, "waitpid: {}", std::io::Error::last_os_error());
    // SAFETY: mapped above with this size; the child is gone, so nobody else uses it.
    unsafe {
        let outcome = outcome(&*shared, status);
        libc::munmap(shared.cast(), size_of::<Shared>());
        outcome
    }
}

fn map_shared() -> *mut Shared {
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping. Zero bytes are a value of all of its fields.
    let memory = unsafe { libc::mmap(core::ptr::null_mut(), size_of::<Shared>(), access, flags, -1, 0) };
    assert!(memory != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    memory.cast()
}

/// The first thread of the guest's system.
fn main(_: &Boot) {
    crate::boot::complete();
    let test = TEST.swap(core::ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: stored by `run`, taken once.
    let test = unsafe { Box::from_raw(test) };
    test(machine::handle());
    end(Ending::Shutdown)
}

fn outcome(shared: &Shared, status: i32) -> Outcome {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let channel = shared.channel.get();
    let reason = || text(shared.reason.get());
    let end = match shared.ending.load(Ordering::Relaxed) {
        SHUT_DOWN => End::Shutdown,
        BUG_CHECKED => bug_check(&channel),
        PANICKED => End::Panic(reason()),
        STUCK => End::Stuck(reason()),
        _ if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGALRM => End::Died("out of host time".to_string()),
        _ if libc::WIFSIGNALED(status) => End::Died(format!("signal {}", libc::WTERMSIG(status))),
        _ => End::Died(format!("status {status:#x}")),
    };
    Outcome { end, log: text(shared.log.get()), channel }
}

/// The bug check that the frames on the channel speak of.
fn bug_check(bytes: &[u8]) -> End {
    let mut decoder = Decoder::new();
    for &byte in bytes {
        if let Some(Ok(FromGuest::BugCheck { code, parameters, module, offset })) = decoder.push(byte) {
            return End::BugCheck { code, parameters, at: (module.to_string(), offset) };
        }
    }
    End::Died("the guest ended with a bug check that it did not report".to_string())
}

/// In a child, a panic anywhere is the end of the run. The hook is set once for the whole process, because setting it in the child
/// could wait for a lock that another thread held when the child was forked.
fn catch_panics_of_children() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IS_CHILD.load(Ordering::Acquire) {
                finish(PANICKED, info.to_string().as_bytes());
            }
            before(info);
        }));
    });
}

fn finish(ending: u32, reason: &[u8]) -> ! {
    let shared = shared();
    if shared.ending.compare_exchange(RUNS, ending, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        shared.reason.append(reason);
    }
    // SAFETY: ends the child at once: no destructors and no other thread's business.
    unsafe { libc::_exit(0) }
}

pub(super) fn end(ending: Ending) -> ! {
    finish(if ending == Ending::Shutdown { SHUT_DOWN } else { BUG_CHECKED }, b"")
}

pub(super) fn stuck(reason: &str) -> ! {
    finish(STUCK, reason.as_bytes())
}

pub(super) fn append_log(bytes: &[u8]) {
    shared().log.append(bytes);
}

pub(super) fn append_channel(bytes: &[u8]) {
    shared().channel.append(bytes);
}
