//! Asynchronous requests: an I/O control that the system may still be working on.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::time::Duration;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::IO_STATUS_BLOCK;

use super::file::{File, length};
use super::{Event, ntdll};

/// Longest time that a dropped request may take to end after its cancel. A driver that keeps it longer has lost it; the buffers are
/// then left to it for ever rather than freed under its hands.
const CANCEL_DEADLINE: Duration = Duration::from_secs(5);

/// A request on its way. Dropping it cancels it and waits for its end.
#[derive(Debug)]
pub struct Pending<'a> {
    file: &'a File,
    orphan: Orphan,
}

/// A request whose file may be closed before it has ended. Dropping it waits for its end.
#[derive(Debug)]
pub struct Orphan {
    /// `None` once the request is lost to a driver that does not let go of it.
    shared: Option<Box<Shared>>,
    ended: bool,
}

/// What the system reads and writes until the request has ended.
#[derive(Debug)]
struct Shared {
    event: Event,
    status: UnsafeCell<IO_STATUS_BLOCK>,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl<'a> Pending<'a> {
    pub(super) fn send(file: &'a File, code: u32, input: Vec<u8>, output_length: usize) -> Result<Self, NTSTATUS> {
        let mut output = Vec::new();
        output.try_reserve_exact(output_length).map_err(|_| NTSTATUS::NO_MEMORY)?;
        output.resize(output_length, 0);
        let status = UnsafeCell::new(IO_STATUS_BLOCK::new(NTSTATUS::PENDING, 0));
        let mut shared = Box::new(Shared { event: Event::new()?, status, input, output });
        let (input_size, output_size) = (length(&shared.input)?, length(&shared.output)?);
        // SAFETY: the buffers and the status block are on the heap and are not touched, moved or freed before the event has been
        // signalled, which `wait` and `drop` see to.
        let result = unsafe {
            ntdll::NtDeviceIoControlFile(
                file.handle(),
                shared.event.handle(),
                null_mut(),
                null_mut(),
                shared.status.get(),
                code,
                shared.input.as_ptr().cast(),
                input_size,
                shared.output.as_mut_ptr().cast(),
                output_size,
            )
        };
        // A refusal signals no event, and leaves nothing behind.
        if result.is_error() {
            return Err(result);
        }
        Ok(Self { file, orphan: Orphan { shared: Some(shared), ended: false } })
    }

    /// Asks the system to cancel it. Whether it was cancelled, [`Pending::wait`] tells.
    ///
    /// # Errors
    /// `STATUS_NOT_FOUND` when it has already ended.
    pub fn cancel(&self) -> Result<(), NTSTATUS> {
        let Some(shared) = &self.orphan.shared else { return Err(NTSTATUS::NOT_FOUND) };
        let mut status = IO_STATUS_BLOCK::zeroed();
        // SAFETY: the status block names the request and is alive; `status` outlives the call.
        unsafe { ntdll::NtCancelIoFileEx(self.file.handle(), shared.status.get(), &mut status) }.ok()
    }

    /// Waits for its end and returns what came back, once.
    ///
    /// # Errors
    /// `STATUS_TIMEOUT` while it is still on its way (ask again), or the status it was completed with.
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<u8>, NTSTATUS> {
        self.orphan.wait(timeout)
    }

    /// Lets go of the file, so that it can be closed while the request is on its way.
    #[must_use]
    pub fn outlive_its_file(mut self) -> Orphan {
        core::mem::replace(&mut self.orphan, Orphan { shared: None, ended: true })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.orphan.ended {
            // Already ended is as good as cancelled; either way the orphan's own drop waits for the event.
            let _ = self.cancel();
        }
    }
}

impl Orphan {
    /// As [`Pending::wait`].
    ///
    /// # Errors
    /// As [`Pending::wait`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<u8>, NTSTATUS> {
        let Some(shared) = &mut self.shared else { return Err(NTSTATUS::NOT_FOUND) };
        if !self.ended {
            shared.event.wait(timeout)?;
            self.ended = true;
        }
        let status = shared.status.get_mut();
        status.status().ok()?;
        let length = status.Information;
        let mut output = core::mem::take(&mut shared.output);
        if length > output.len() {
            return Err(NTSTATUS::DATA_OVERRUN);
        }
        output.truncate(length);
        Ok(output)
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Some(shared) = self.shared.take()
            && shared.event.wait(CANCEL_DEADLINE).is_err()
        {
            core::mem::forget(shared);
        }
    }
}

/// Sends an I/O control with addresses of any kind, for tests that lie about their buffers, and returns the bytes it reports.
///
/// # Errors
/// The status the request was completed with.
pub fn raw_control(file: &File, code: u32, input: (usize, u32), output: (usize, u32)) -> Result<usize, NTSTATUS> {
    let mut status = IO_STATUS_BLOCK::zeroed();
    // SAFETY: the file is synchronous; the addresses are for the system to judge, and no one else writes through them.
    let result = unsafe {
        ntdll::NtDeviceIoControlFile(
            file.handle(),
            null_mut(),
            null_mut(),
            null_mut(),
            &mut status,
            code,
            input.0 as *const c_void,
            input.1,
            output.0 as *mut c_void,
            output.1,
        )
    };
    result.ok()?;
    status.status().ok()?;
    Ok(status.Information)
}
