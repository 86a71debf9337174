//! METHOD_NEITHER: raw user addresses, probed and locked while the caller's address space is there to look into.

use wdf_sys::wdf::functions::*;
use wdf_sys::wdm::constants::METHOD_NEITHER;
use wdf_sys::{WDFMEMORY, WDFREQUEST};

use crate::request::control;
use crate::request::state::RequestState;
use crate::{NTSTATUS, Result};

/// The two bits of a control code that say how buffers are handed over.
const METHOD_MASK: u32 = 3;

/// Locks the buffers of a METHOD_NEITHER I/O control; other requests are left alone.
///
/// # Errors
/// What the framework says of the buffers: a bad address, or too little memory.
///
/// # Safety
/// Called from `EvtIoInCallerContext` with its request.
pub(crate) unsafe fn lock(request: WDFREQUEST) -> Result<()> {
    // SAFETY: the caller's promise.
    let Ok(control) = (unsafe { control(request) }) else { return Ok(()) };
    if control.code & METHOD_MASK != METHOD_NEITHER {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    let state = unsafe { RequestState::of(request) }.ok_or(NTSTATUS::INSUFFICIENT_RESOURCES)?;
    let mut buffer = core::ptr::null_mut();
    let mut memory = WDFMEMORY::NULL;
    if control.input_length != 0 {
        // SAFETY: the caller's promise.
        unsafe { WdfRequestRetrieveUnsafeUserInputBuffer(request, 0, &raw mut buffer, core::ptr::null_mut()) }.ok()?;
        // SAFETY: the framework probes the address before it locks it.
        unsafe { WdfRequestProbeAndLockUserBufferForRead(request, buffer, control.input_length, &raw mut memory) }.ok()?;
        state.set_locked_input(memory);
    }
    if control.output_length != 0 {
        // SAFETY: the caller's promise.
        unsafe { WdfRequestRetrieveUnsafeUserOutputBuffer(request, 0, &raw mut buffer, core::ptr::null_mut()) }.ok()?;
        // SAFETY: the framework probes the address before it locks it.
        unsafe { WdfRequestProbeAndLockUserBufferForWrite(request, buffer, control.output_length, &raw mut memory) }.ok()?;
        state.set_locked_output(memory);
    }
    Ok(())
}
