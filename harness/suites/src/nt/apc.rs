//! Requests whose end calls the program back, in the thread that sent them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use wdf_sys::wdm::IO_STATUS_BLOCK;
use wdf_sys::{NTSTATUS, TRUE};

use super::file::{File, length};
use super::{ntdll, ticks};

/// What the system reads and writes until the request has ended.
struct Shared {
    status: UnsafeCell<IO_STATUS_BLOCK>,
    /// How often the program was called back for this request.
    calls: AtomicU32,
    input: Vec<u8>,
    output: Vec<u8>,
}

extern "win64" fn call(context: *mut c_void, _status: *mut IO_STATUS_BLOCK, _reserved: u32) {
    // SAFETY: the context is the request's, which stays until it has ended.
    unsafe { &*context.cast::<Shared>() }.calls.fetch_add(1, Ordering::Relaxed);
}

/// Sends an I/O control on an asynchronous file and waits, alertably, until the program has been called back for it.
///
/// # Errors
/// `STATUS_TIMEOUT` if it is not called back, or the status the request was completed with.
pub fn control_with_call_back(
    file: &File,
    code: u32,
    input: Vec<u8>,
    room: usize,
    timeout: Duration,
) -> Result<Vec<u8>, NTSTATUS> {
    let output = alloc::vec![0; room];
    let (input_size, output_size) = (length(&input)?, length(&output)?);
    let status = UnsafeCell::new(IO_STATUS_BLOCK::new(NTSTATUS::PENDING, 0));
    let shared = Box::into_raw(Box::new(Shared { status, calls: AtomicU32::new(0), input, output }));
    // SAFETY: what the request uses is on the heap, and is freed below only after the call back, or if there is no request.
    unsafe {
        let result = ntdll::NtDeviceIoControlFile(
            file.handle(),
            core::ptr::null_mut(),
            call as *mut c_void,
            shared.cast(),
            (*shared).status.get(),
            code,
            (*shared).input.as_ptr().cast(),
            input_size,
            (&raw mut (*shared).output).as_mut().map_or(core::ptr::null_mut(), |output| output.as_mut_ptr().cast()),
            output_size,
        );
        if result.is_error() {
            drop(Box::from_raw(shared));
            return Err(result);
        }
        let mut relative = -ticks(timeout);
        // The call back itself ends the wait.
        let waited = ntdll::NtDelayExecution(TRUE, &mut relative);
        if (*shared).calls.load(Ordering::Relaxed) == 0 {
            // The request may still end: its memory is left to it.
            return Err(NTSTATUS::TIMEOUT);
        }
        let mut shared = Box::from_raw(shared);
        if waited != NTSTATUS::USER_APC || shared.calls.load(Ordering::Relaxed) != 1 {
            return Err(NTSTATUS::DATA_ERROR);
        }
        let status = *shared.status.get_mut();
        status.status().ok()?;
        shared.output.truncate(status.Information);
        Ok(core::mem::take(&mut shared.output))
    }
}
