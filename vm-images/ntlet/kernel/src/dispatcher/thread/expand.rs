//! Calls on a stack with more room: `KeExpandKernelStackAndCallout`.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::arch::naked_asm;
use core::ffi::c_void;

use wdf_sys::{BOOLEAN, NTSTATUS};

use super::super::irql;
use super::current;
use crate::hal;
use crate::hal::{DISPATCH_LEVEL, PAGE_SIZE, Protection};

/// `MAXIMUM_EXPANSION_SIZE`: a large kernel stack less half a page.
const MOST: usize = 0x1_2000 - PAGE_SIZE / 2;
/// Pages of such a stack, its guard page not counted. On the host, code that was compiled for debugging runs on it.
#[cfg(not(any(test, feature = "sim")))]
const PAGES: usize = 0x1_2000 / PAGE_SIZE + 1;
#[cfg(any(test, feature = "sim"))]
const PAGES: usize = 80;

type Callout = unsafe extern "win64" fn(*mut c_void);

/// Calls `callout(parameter)` with the stack pointer at `top`.
///
/// # Safety
/// Below `top` is room for what is called.
#[unsafe(naked)]
unsafe extern "win64" fn call_on(top: usize, callout: Callout, parameter: *mut c_void) {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "mov rsp, rcx",
        "sub rsp, 32",
        "mov rcx, r8",
        "call rdx",
        "mov rsp, rbp",
        "pop rbp",
        "ret",
    )
}

/// How much is left of the running thread's stack.
fn left() -> usize {
    let here: u8 = 0;
    // SAFETY: the running thread is alive.
    let (start, size) = unsafe { (*current()).stack_range() };
    if size == 0 {
        // An idle thread's stack is the machine's, which is as small as it is.
        return 0;
    }
    (&raw const here).addr().saturating_sub(start + PAGE_SIZE)
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeExpandKernelStackAndCalloutEx(
    Callout: Option<Callout>,
    Parameter: *mut c_void,
    Size: usize,
    _Wait: BOOLEAN,
    Context: *mut c_void,
) -> NTSTATUS {
    irql::at_most(DISPATCH_LEVEL);
    let Some(callout) = Callout else { return NTSTATUS::INVALID_PARAMETER_1 };
    if Size > MOST {
        return NTSTATUS::INVALID_PARAMETER_3;
    }
    if !Context.is_null() {
        return NTSTATUS::INVALID_PARAMETER_4;
    }
    if left() >= Size {
        // SAFETY: the caller's promise.
        unsafe { callout(Parameter) };
        return NTSTATUS::SUCCESS;
    }
    let Some(stack) = hal().allocate_pages(PAGES + 1, Protection::ReadWrite) else { return NTSTATUS::NO_MEMORY };
    let thread = current();
    // SAFETY: the new stack is this thread's alone, and has a guard page as every stack has. The thread's range is the one it runs on, but
    // for the instructions around the call. Nothing of it is in use when the call has returned.
    unsafe {
        hal().protect_pages(stack, 1, Protection::None);
        let before = ((*thread).stack, (*thread).stack_pages);
        ((*thread).stack, (*thread).stack_pages) = (stack.as_ptr(), PAGES + 1);
        call_on(stack.as_ptr().addr() + (PAGES + 1) * PAGE_SIZE, callout, Parameter);
        ((*thread).stack, (*thread).stack_pages) = before;
        hal().free_pages(stack, PAGES + 1);
    }
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeExpandKernelStackAndCallout(
    Callout: Option<Callout>,
    Parameter: *mut c_void,
    Size: usize,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { KeExpandKernelStackAndCalloutEx(Callout, Parameter, Size, 0, core::ptr::null_mut()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim;

    /// Takes ever more of the stack, and says whether all of it lay in the thread's range.
    unsafe extern "win64" fn fill(parameter: *mut c_void) {
        let bytes = core::hint::black_box([0u8; 0x1_0000]);
        // SAFETY: the running thread, and the test's own number.
        unsafe {
            let (start, size) = (*current()).stack_range();
            let is_inside = (start..start + size).contains(&bytes.as_ptr().addr());
            parameter.cast::<usize>().write(if is_inside { start } else { 0 });
        }
    }

    #[test]
    fn a_call_that_needs_more_room_than_is_left_gets_a_stack_of_its_own() {
        sim::run(|_| {
            // SAFETY: a routine of this test, and a place for its answer.
            unsafe {
                let own = (*current()).stack_range();
                let mut seen = 0usize;
                let place = (&raw mut seen).cast();
                assert_eq!(KeExpandKernelStackAndCallout(Some(fill), place, MOST), NTSTATUS::SUCCESS);
                assert!(seen != 0, "it ran on the stack that is the thread's");
                assert_eq!((*current()).stack_range(), own, "and the thread is on its own again");
                assert_eq!(KeExpandKernelStackAndCallout(Some(fill), place, MOST + 1), NTSTATUS::INVALID_PARAMETER_3);
                assert_eq!(KeExpandKernelStackAndCallout(None, place, 16), NTSTATUS::INVALID_PARAMETER_1);
            }
        });
    }
}
