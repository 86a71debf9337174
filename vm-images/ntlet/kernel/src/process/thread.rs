//! Threads of programs: stack with a guard page, environment block, and where they begin.

use core::sync::atomic::Ordering;

use wdf_sys::NTSTATUS;

use super::{Member, Process};
use crate::dispatcher::thread::{UserThread, create_user_thread};
use crate::hal::{PAGE_SIZE, Protection, UserStart};
use crate::object::ObjectRef;

/// Size of a stack when the program does not say.
pub(crate) const DEFAULT_STACK: usize = 1 << 20;
const MIN_STACK: usize = 64 << 10;
const MAX_STACK: usize = 256 << 20;
/// Size of a thread's environment block.
const TEB_SIZE: usize = 2 * PAGE_SIZE;
const NORMAL_PRIORITY: u8 = 8;
/// Shadow space that a function may write to, above its return address.
const SHADOW: u64 = 0x20;

/// Starts a thread of a process at `entry(argument)`. When the function returns, the thread ends with its result.
pub(crate) fn create(process: &ObjectRef, entry: u64, argument: u64, stack: usize) -> Result<ObjectRef, NTSTATUS> {
    let body = process.get::<Process>(&super::PROCESS).ok_or(NTSTATUS::OBJECT_TYPE_MISMATCH)?;
    if body.is_ending.load(Ordering::Acquire) {
        return Err(NTSTATUS::PROCESS_IS_TERMINATING);
    }
    let size = if stack == 0 { DEFAULT_STACK } else { stack.clamp(MIN_STACK, MAX_STACK).next_multiple_of(PAGE_SIZE) };
    // The lowest page is never committed: running over the end of the stack is a fault.
    let base = body.space.reserve(None, size / PAGE_SIZE + 1, None)?;
    let limit = base + PAGE_SIZE as u64;
    let top = limit + size as u64;
    body.space.commit(limit, size as u64, Protection::ReadWrite)?;
    let teb = body.space.reserve(None, TEB_SIZE / PAGE_SIZE, Some(Protection::ReadWrite))?;
    let stack_pointer = top - SHADOW - 8;
    body.space.write(stack_pointer, &(body.exit_stub.load(Ordering::Acquire) as u64).to_le_bytes())?;
    write_teb(body, teb, (top, limit))?;
    let start = UserStart { instruction_pointer: entry, stack_pointer, argument, argument2: 0 };
    // The thread's reference to its process; given up when the thread ends.
    let reference = process.clone().into_raw();
    let parameters =
        UserThread { process: reference, address_space: body.space.machine(), teb, start, priority: NORMAL_PRIORITY };
    let mut threads = body.threads.lock();
    match create_user_thread(&parameters) {
        Ok(thread) => {
            threads.push(Member { thread: thread.clone(), stack: base, teb });
            drop(threads);
            super::notify::thread(thread.body().cast(), true);
            // A process that was told to end meanwhile has not seen this thread.
            if body.is_ending.load(Ordering::Acquire) {
                body.terminate(body.exit_status());
            }
            Ok(thread)
        }
        Err(status) => {
            drop(threads);
            // SAFETY: the reference was made above, and no thread has it.
            drop(unsafe { ObjectRef::from_owned(reference) });
            Err(status)
        }
    }
}

fn write_teb(process: &Process, teb: u64, (top, limit): (u64, u64)) -> Result<(), NTSTATUS> {
    let mut block = [0u8; 0x68];
    let mut put = |at: usize, value: u64| block[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0x00, u64::MAX);
    put(0x08, top);
    put(0x10, limit);
    put(0x30, teb);
    put(0x40, process.id as u64);
    put(0x60, process.peb() as u64);
    process.space.write(teb, &block)
}
