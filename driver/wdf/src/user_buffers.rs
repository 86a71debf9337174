//! METHOD_NEITHER: raw user addresses, probed and locked while the caller's address space is there to look into.

use core::ffi::c_void;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdm::constants::METHOD_NEITHER;
use wdf_sys::{WDFMEMORY, WDFREQUEST};

use crate::request::control;
use crate::request::state::RequestState;
use crate::{NTSTATUS, Result};

/// Checks an address that a program has given. The framework takes a null one for a mistake of the driver's, and stops the machine.
fn given(buffer: *mut c_void) -> Result<*mut c_void> {
    if buffer.is_null() { Err(NTSTATUS::INVALID_USER_BUFFER) } else { Ok(buffer) }
}

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
        unsafe { WdfRequestProbeAndLockUserBufferForRead(request, given(buffer)?, control.input_length, &raw mut memory) }
            .ok()?;
        state.set_locked_input(memory);
    }
    if control.output_length != 0 {
        // SAFETY: the caller's promise.
        unsafe { WdfRequestRetrieveUnsafeUserOutputBuffer(request, 0, &raw mut buffer, core::ptr::null_mut()) }.ok()?;
        // SAFETY: the framework probes the address before it locks it.
        unsafe { WdfRequestProbeAndLockUserBufferForWrite(request, given(buffer)?, control.output_length, &raw mut memory) }
            .ok()?;
        state.set_locked_output(memory);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fake, trampoline};

    /// An I/O control with that many bytes of input and of output.
    fn control_of(code: u32, lengths: (i32, i32)) -> WDFREQUEST {
        let request = fake::request();
        fake::answer(request, "Code", NTSTATUS(code.cast_signed()));
        fake::answer(request, "InputLength", NTSTATUS(lengths.0));
        fake::answer(request, "OutputLength", NTSTATUS(lengths.1));
        request
    }

    /// What is called when it comes.
    fn calls_for(request: WDFREQUEST) -> Vec<String> {
        // SAFETY: the fake table takes any numbers.
        unsafe { trampoline::in_caller_context(wdf_sys::WDFDEVICE::NULL, request) };
        fake::calls(request)
    }

    /// What is called for an I/O control of which `fails` goes wrong.
    fn in_caller_context(code: u32, lengths: (i32, i32), fails: Option<&'static str>) -> Vec<String> {
        let request = control_of(code, lengths);
        if let Some(function) = fails {
            fake::answer(request, function, NTSTATUS::ACCESS_VIOLATION);
        }
        calls_for(request)
    }

    const NEITHER: u32 = 0x22_2003;

    #[test]
    fn both_buffers_are_locked_before_the_request_is_queued() {
        let expected = ["UserInput", "LockToRead 3 at 0x1000", "UserOutput", "LockToWrite 5 at 0x2000", "Enqueue"];
        assert_eq!(in_caller_context(NEITHER, (3, 5), None), expected);
    }

    #[test]
    fn a_buffer_of_no_bytes_is_not_looked_at() {
        assert_eq!(in_caller_context(NEITHER, (0, 5), None), ["UserOutput", "LockToWrite 5 at 0x2000", "Enqueue"]);
        assert_eq!(in_caller_context(NEITHER, (0, 0), None), ["Enqueue"]);
    }

    #[test]
    fn a_request_whose_buffers_cannot_be_locked_is_completed_with_the_reason_and_not_queued() {
        for (fails, calls) in [("UserInput", 1), ("LockToRead", 2), ("UserOutput", 3), ("LockToWrite", 4)] {
            let came = in_caller_context(NEITHER, (3, 5), Some(fails));
            assert_eq!(came.len(), calls + 1, "{came:?}");
            assert!(came[calls - 1].starts_with(fails), "{came:?}");
            assert_eq!(came[calls], "Complete STATUS_ACCESS_VIOLATION");
        }
    }

    #[test]
    fn a_null_buffer_is_a_status_and_never_the_frameworks() {
        for (address, calls) in [("InputAddress", 1), ("OutputAddress", 3)] {
            let request = control_of(NEITHER, (3, 5));
            fake::answer(request, address, NTSTATUS(0));
            let came = calls_for(request);
            assert_eq!((came.len(), came[calls].as_str()), (calls + 1, "Complete STATUS_INVALID_USER_BUFFER"), "{came:?}");
        }
    }

    #[test]
    fn a_request_that_cannot_be_queued_is_completed_with_the_reason() {
        let came = in_caller_context(NEITHER, (0, 0), Some("Enqueue"));
        assert_eq!(came, ["Enqueue", "Complete STATUS_ACCESS_VIOLATION"]);
    }

    #[test]
    fn the_other_methods_are_left_to_the_system() {
        for method in 0..3 {
            assert_eq!(in_caller_context(NEITHER & !3 | method, (3, 5), None), ["Enqueue"]);
        }
    }
}
