//! The system underneath, as far as the suites know it: what `ntdll.dll` exports, made safe.
//!
//! Files and events are handles that close themselves; an asynchronous request owns its buffers until the system has let go of
//! them, so that a test can drop anything at any time.

mod apc;
mod file;
mod heap;
mod ntdll;
mod power;
mod process;
mod request;
#[cfg(target_os = "windows")]
mod startup;

pub use apc::control_with_call_back;
pub use file::{File, Opening};
pub use heap::Heap;
pub use power::sleep_system_for;
pub use process::{Deadline, Thread, exit_process, give_way, interrupt_time, sleep, sleep_system, system_name};
pub use request::{Orphan, Pending, raw_control};
pub use wdf_sys::NTSTATUS;

use wdf_sys::HANDLE;

/// A handle that is closed when it goes.
#[derive(Debug)]
struct Handle(HANDLE);

// SAFETY: a handle is a number that the system looks up; any thread of the process may use it.
unsafe impl Send for Handle {}
// SAFETY: as above; the system synchronises.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: this is the one owner of an open handle. Closing it can fail only for a handle that is none.
        let _ = unsafe { ntdll::NtClose(self.0) };
    }
}

/// A kernel event that one wait consumes.
#[derive(Debug)]
pub struct Event(Handle);

impl Event {
    /// A new event, not signalled.
    ///
    /// # Errors
    /// The system's status.
    pub fn new() -> Result<Self, NTSTATUS> {
        const ALL_ACCESS: u32 = 0x001f_0003;
        let mut handle = core::ptr::null_mut();
        // SAFETY: `handle` receives the handle; there are no attributes.
        unsafe {
            ntdll::NtCreateEvent(
                &mut handle,
                ALL_ACCESS,
                core::ptr::null_mut(),
                wdf_sys::wdm::constants::SYNCHRONIZATION_EVENT,
                wdf_sys::FALSE,
            )
        }
        .ok()?;
        Ok(Self(Handle(handle)))
    }

    fn handle(&self) -> HANDLE {
        self.0.0
    }

    /// Waits until the event is signalled.
    ///
    /// # Errors
    /// `STATUS_TIMEOUT`, though it counts as a success elsewhere, or the system's status.
    pub fn wait(&self, timeout: core::time::Duration) -> Result<(), NTSTATUS> {
        wait(self.handle(), timeout)
    }
}

/// Waits for any handle that can be waited for.
fn wait(handle: HANDLE, timeout: core::time::Duration) -> Result<(), NTSTATUS> {
    let mut relative = -ticks(timeout);
    // SAFETY: the handle is open; `relative` outlives the call.
    match unsafe { ntdll::NtWaitForSingleObject(handle, wdf_sys::FALSE, &mut relative) } {
        NTSTATUS::SUCCESS => Ok(()),
        other => Err(other),
    }
}

/// A duration in units of 100 ns.
fn ticks(duration: core::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX)
}
