//! Process, threads and time.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::time::Duration;

use wdf_sys::NTSTATUS;

use super::{Handle, ntdll, ticks, wait};

const THREAD_ALL_ACCESS: u32 = 0x001f_ffff;
const THREAD_STACK: usize = 256 << 10;

/// Ends the process.
pub fn exit_process(status: NTSTATUS) -> ! {
    // SAFETY: ends every thread of this process; nothing of it runs on.
    let _ = unsafe { ntdll::NtTerminateProcess(ntdll::CURRENT_PROCESS, status) };
    // The call does not return. Should it, there is no one left to tell.
    loop {
        sleep(Duration::from_secs(1));
    }
}

/// Puts the system to sleep (`PowerActionSleep`, S3), and returns when it is awake again.
pub fn sleep_system() -> NTSTATUS {
    const SLEEP: u32 = 2;
    const SLEEPING3: u32 = 4;
    // SAFETY: no pointers.
    unsafe { ntdll::NtInitiatePowerAction(SLEEP, SLEEPING3, 0, wdf_sys::FALSE) }
}

/// A point in time after which something has taken too long.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(u64);

impl Deadline {
    /// So long from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self(interrupt_time().saturating_add(u64::try_from(ticks(time)).unwrap_or(0)))
    }

    /// So long after this one.
    #[must_use]
    pub fn and(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(ticks(time)).unwrap_or(0)))
    }

    /// The time until it comes.
    #[must_use]
    pub fn left(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(interrupt_time()).saturating_mul(100))
    }

    /// Whether it has come.
    #[must_use]
    pub fn has_passed(self) -> bool {
        interrupt_time() >= self.0
    }
}

/// Waits.
pub fn sleep(duration: Duration) {
    let mut relative = -ticks(duration);
    // SAFETY: `relative` outlives the call.
    let _ = unsafe { ntdll::NtDelayExecution(wdf_sys::FALSE, &mut relative) };
}

/// Lets another thread run, if one is ready.
pub fn give_way() {
    // SAFETY: no arguments.
    let _ = unsafe { ntdll::NtYieldExecution() };
}

/// A clock that never goes back, in units of 100 ns.
#[must_use]
pub fn interrupt_time() -> u64 {
    let (mut counter, mut frequency) = (0, 0);
    // SAFETY: both are locals that the system writes.
    let status = unsafe { ntdll::NtQueryPerformanceCounter(&mut counter, &mut frequency) };
    if !status.is_success() || frequency <= 0 {
        return 0;
    }
    u64::try_from(i128::from(counter) * 10_000_000 / i128::from(frequency)).unwrap_or(0)
}

/// Name and version of the system, as its process environment block tells them.
#[must_use]
pub fn system_name() -> String {
    match version() {
        Some((major, minor, build)) => format!("NT {major}.{minor}.{build}"),
        None => String::from("NT of unknown version"),
    }
}

/// Version fields of the process environment block.
fn version() -> Option<(u32, u32, u16)> {
    const PROCESS_BASIC_INFORMATION: u32 = 0;
    const PEB_VERSION: usize = 0x118;
    let mut information = [0usize; 6];
    let mut length = 0;
    // SAFETY: the buffer has the size of the structure that this class fills in.
    let status = unsafe {
        ntdll::NtQueryInformationProcess(
            ntdll::CURRENT_PROCESS,
            PROCESS_BASIC_INFORMATION,
            information.as_mut_ptr().cast(),
            size_of_val(&information) as u32,
            &mut length,
        )
    };
    let peb = information[1];
    if !status.is_success() || peb == 0 {
        return None;
    }
    // SAFETY: the block is mapped for as long as the process lives; major, minor (u32 each) and build (u16) lie at this offset in
    // every x64 version of the system.
    Some(unsafe {
        let base = (peb + PEB_VERSION) as *const u32;
        (base.read(), base.add(1).read(), base.add(2).cast::<u16>().read())
    })
}

/// A thread that is waited for when it is joined, and what it returns then.
#[derive(Debug)]
pub struct Thread<T> {
    handle: Handle,
    result: Arc<Place<T>>,
}

/// Where a thread leaves its result.
#[derive(Debug)]
struct Place<T>(UnsafeCell<Option<T>>);

// SAFETY: the thread writes it before it ends, and `Thread::join` reads it afterwards.
unsafe impl<T: Send> Sync for Place<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Place<T> {}

impl<T: Send + 'static> Thread<T> {
    /// Starts a thread.
    ///
    /// # Errors
    /// The system's status.
    pub fn spawn(body: impl FnOnce() -> T + Send + 'static) -> Result<Self, NTSTATUS> {
        let result = Arc::new(Place(UnsafeCell::new(None)));
        let place = result.clone();
        let body: Box<Box<dyn FnOnce() + Send>> = Box::new(Box::new(move || {
            let value = body();
            // SAFETY: nobody else touches it before this thread has ended.
            unsafe { *place.0.get() = Some(value) };
        }));
        let argument: *mut c_void = Box::into_raw(body).cast();
        let mut handle = null_mut();
        // SAFETY: `run_body` takes the argument, which it owns from here on.
        let status = unsafe {
            ntdll::NtCreateThreadEx(
                &mut handle,
                THREAD_ALL_ACCESS,
                null_mut(),
                ntdll::CURRENT_PROCESS,
                run_body as *mut c_void,
                argument,
                0,
                0,
                THREAD_STACK,
                THREAD_STACK,
                null_mut(),
            )
        };
        if let Err(status) = status.ok() {
            // SAFETY: no thread was made, so the argument is still ours.
            drop(unsafe { Box::from_raw(argument.cast::<Box<dyn FnOnce() + Send>>()) });
            return Err(status);
        }
        Ok(Self { handle: Handle(handle), result })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// `STATUS_TIMEOUT`, or the system's status.
    pub fn join(self, timeout: Duration) -> Result<T, NTSTATUS> {
        wait(self.handle.0, timeout)?;
        // SAFETY: the thread has ended.
        unsafe { (*self.result.0.get()).take() }.ok_or(NTSTATUS::UNSUCCESSFUL)
    }
}

extern "win64" fn run_body(argument: *mut c_void) -> u32 {
    // SAFETY: `Thread::spawn` made it of exactly this box and gave it away.
    let body = unsafe { Box::from_raw(argument.cast::<Box<dyn FnOnce() + Send>>()) };
    body();
    // SAFETY: ends this thread, which holds nothing any more.
    let _ = unsafe { ntdll::NtTerminateThread(ntdll::CURRENT_THREAD, NTSTATUS::SUCCESS) };
    0
}
