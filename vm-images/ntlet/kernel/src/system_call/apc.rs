//! User APCs: functions of the program's own that run in a thread of its choice when that thread next waits alertably, or asks.
//!
//! Delivery is as on Windows: the thread leaves the kernel at `KiUserApcDispatcher`, a stub of `ntdll.dll`, with a `CONTEXT` on its
//! stack of where it would have gone on; the stub calls the function and gives the context back to `NtContinue`.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::KAPC;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePool};

use super::{Arguments, get, status};
use crate::dispatcher::apc::{KeInitializeApc, KeInsertQueueApc};
use crate::dispatcher::thread::{self, THREAD, UserApc};
use crate::dispatcher::wait::KeTestAlertThread;
use crate::entry::SystemCallFrame;
use crate::memory::user;
use crate::object::exports::by_handle;

const TAG: u32 = u32::from_le_bytes(*b"Uapc");
const THREAD_SET_CONTEXT: u32 = 0x10;

/// `CONTEXT`: its size, and the fields that a system call's registers fill. A function keeps the others, as the Windows x64 convention
/// has it, so that they are still in their registers when the APC's function returns.
mod context {
    pub(super) const SIZE: usize = 0x4d0;
    pub(super) const FLAGS: usize = 0x30;
    pub(super) const EFLAGS: usize = 0x44;
    pub(super) const RAX: usize = 0x78;
    pub(super) const RSP: usize = 0x98;
    pub(super) const RIP: usize = 0xf8;
    /// `CONTEXT_AMD64 | CONTEXT_CONTROL | CONTEXT_INTEGER`.
    pub(super) const CONTROL_AND_INTEGER: u32 = 0x0010_0003;
}

/// Queues a user APC to a thread.
///
/// # Safety
/// `thread` is a live thread object of a program.
pub(crate) unsafe fn queue(thread: *mut c_void, routine: u64, [context, argument1, argument2]: [u64; 3]) -> Result<(), NTSTATUS> {
    let pointer = |value: u64| core::ptr::with_exposed_provenance_mut::<c_void>(value as usize);
    // SAFETY: the caller's promise; the block is as large as an APC and ours until it is queued.
    unsafe {
        let apc: *mut KAPC = ExAllocatePool2(POOL_FLAG_NON_PAGED, size_of::<KAPC>(), TAG).cast();
        if apc.is_null() {
            return Err(NTSTATUS::NO_MEMORY);
        }
        KeInitializeApc(apc, thread, 0, free as *mut c_void, null_mut(), pointer(routine), USER_MODE, pointer(context));
        if KeInsertQueueApc(apc, pointer(argument1), pointer(argument2), 0) == 0 {
            ExFreePool(apc.cast());
            return Err(NTSTATUS::UNSUCCESSFUL);
        }
    }
    Ok(())
}

/// The APC is about to be delivered: what it says has been copied.
///
/// # Safety
/// Called as a kernel routine with an APC of [`queue`].
unsafe extern "win64" fn free(
    apc: *mut KAPC,
    _normal: *mut *mut c_void,
    _context: *mut *mut c_void,
    _argument1: *mut *mut c_void,
    _argument2: *mut *mut c_void,
) {
    // SAFETY: the block was allocated by `queue`, and is in no list any more.
    unsafe { ExFreePool(apc.cast()) };
}

/// What is due before the current thread leaves the kernel: its end, or a user APC.
pub(super) fn before_user_mode(frame: &mut SystemCallFrame) {
    let Some(apc) = thread::before_user_mode() else { return };
    if let Err(reason) = deliver(frame, &apc) {
        // Windows raises the exception in the program, whose stack is what is bad: it ends.
        crate::log!("the stack at {:#x} has no room for a user APC: the program ends", frame.rsp);
        if let Some(process) = crate::process::current_program() {
            process.terminate(reason);
        }
        let _ = thread::before_user_mode();
    }
}

fn deliver(frame: &mut SystemCallFrame, apc: &UserApc) -> Result<(), NTSTATUS> {
    let process = crate::process::current_program().ok_or(NTSTATUS::INVALID_CID)?;
    let mut bytes = [0u8; context::SIZE];
    let mut put = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    // The first words are the home of the function's arguments; the stub takes them from there.
    for (index, word) in [apc.context, apc.argument1, apc.argument2, apc.routine].into_iter().enumerate() {
        put(8 * index, word);
    }
    put(context::RAX, frame.rax);
    put(context::RSP, frame.rsp);
    put(context::RIP, frame.rip);
    bytes[context::FLAGS..context::FLAGS + 4].copy_from_slice(&context::CONTROL_AND_INTEGER.to_le_bytes());
    bytes[context::EFLAGS..context::EFLAGS + 4].copy_from_slice(&(frame.rflags as u32).to_le_bytes());
    let address = frame.rsp.wrapping_sub(context::SIZE as u64) & !15;
    // SAFETY: in user mode any address may be given.
    unsafe { user::write(USER_MODE, core::ptr::with_exposed_provenance_mut(address as usize), &bytes)? };
    frame.rsp = address;
    frame.rip = process.apc_stub.load(Ordering::Acquire) as u64;
    Ok(())
}

/// `NtContinue`: goes on where a context says, after the next user APC if the second argument asks for it.
pub(super) fn resume(frame: &mut SystemCallFrame, arguments: &Arguments) -> NTSTATUS {
    let read = || {
        let word = |at: usize| get::<u64>(arguments[0].wrapping_add(at as u64));
        let (rax, rsp, rip) = (word(context::RAX)?, word(context::RSP)?, word(context::RIP)?);
        Ok((rax, rsp, rip, get::<u32>(arguments[0].wrapping_add(context::EFLAGS as u64))?))
    };
    match read() {
        Ok((rax, rsp, rip, flags)) => {
            (frame.rsp, frame.rip, frame.rflags) = (rsp, rip, u64::from(flags));
            if arguments[1] as u8 != 0 {
                test();
            }
            NTSTATUS(rax as u32 as i32)
        }
        Err(status) => status,
    }
}

/// `NtTestAlert`.
pub(super) fn test_alert(_: &Arguments) -> NTSTATUS {
    if test() { NTSTATUS::ALERTED } else { NTSTATUS::SUCCESS }
}

/// Lets user APCs that are queued be delivered; whether the thread was alerted instead.
fn test() -> bool {
    // SAFETY: a system call is at PASSIVE_LEVEL.
    unsafe { KeTestAlertThread(USER_MODE) != 0 }
}

/// `NtQueueApcThread`.
pub(super) fn queue_to_thread(arguments: &Arguments) -> NTSTATUS {
    let [handle, routine, context, argument1, argument2, ..] = *arguments;
    let run = || {
        let entry = by_handle(core::ptr::without_provenance_mut(handle as usize), USER_MODE)?;
        if !entry.object.is(&THREAD) {
            return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
        }
        if entry.access & THREAD_SET_CONTEXT == 0 {
            return Err(NTSTATUS::ACCESS_DENIED);
        }
        if !user::is_user_range(routine, 1) {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        // SAFETY: the entry has a reference to the thread, and only threads of programs have handles.
        unsafe { queue(entry.object.body(), routine, [context, argument1, argument2]) }
    };
    status(run())
}
