//! Services on processes and threads, and what a program asks of the system.

use alloc::string::String;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::constants::{POWER_SYSTEM_SLEEPING1, POWER_SYSTEM_SLEEPING3, USER_MODE};

use super::{Arguments, get, information, put, put_optional, status};
use crate::dispatcher::thread::{self as kernel_thread, THREAD, Thread};
use crate::hal;
use crate::memory::user;
use crate::object::exports::{by_handle, close_handle, open_handle};
use crate::object::{ObjectRef, handle::Entry};
use crate::process::{PROCESS, Process, thread};

const THREAD_CREATE_SUSPENDED: u64 = 1;

fn entry(argument: u64) -> Result<Entry, NTSTATUS> {
    by_handle(core::ptr::without_provenance_mut(argument as usize), USER_MODE)
}

fn process(argument: u64) -> Result<ObjectRef, NTSTATUS> {
    let entry = entry(argument)?;
    if entry.object.is(&PROCESS) { Ok(entry.object) } else { Err(NTSTATUS::OBJECT_TYPE_MISMATCH) }
}

pub(super) fn display_string(arguments: &Arguments) -> NTSTATUS {
    let run = || {
        let string: UNICODE_STRING = get(arguments[0])?;
        // SAFETY: in user mode any address may be given.
        let bytes = unsafe { user::capture(USER_MODE, string.Buffer.cast(), usize::from(string.Length))? };
        let text: String = char::decode_utf16(bytes.as_chunks().0.iter().map(|&pair| u16::from_le_bytes(pair)))
            .map(|unit| unit.unwrap_or('?'))
            .collect();
        crate::log!("{text}");
        Ok(())
    };
    status(run())
}

pub(super) fn create_thread(arguments: &Arguments) -> NTSTATUS {
    let [handle_at, access, _attributes, owner, start, argument, flags, _zero_bits, stack, maximum, _list] = *arguments;
    let run = || {
        put(handle_at, &0u64)?;
        if flags & THREAD_CREATE_SUSPENDED != 0 {
            crate::log!("NtCreateThreadEx: suspended threads are not supported");
            return Err(NTSTATUS::NOT_SUPPORTED);
        }
        if !user::is_user_range(start, 1) {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        let owner = process(owner)?;
        let thread = thread::create(&owner, start, argument, stack.max(maximum) as usize)?;
        // Generic and maximum rights are all of them.
        let access = if access as u32 & 0xf200_0000 != 0 { 0x001f_ffff } else { access as u32 };
        let handle = open_handle(thread, access, false)?;
        let written = put(handle_at, &(handle.addr() as u64));
        if written.is_err() {
            let _ = close_handle(handle, USER_MODE);
        }
        written
    };
    status(run())
}

pub(super) fn terminate_thread(arguments: &Arguments) -> NTSTATUS {
    let result = NTSTATUS(arguments[1] as u32 as i32);
    // A null handle means the current thread, on Windows too.
    let thread: *mut Thread = if arguments[0] == 0 {
        kernel_thread::current()
    } else {
        match entry(arguments[0]) {
            Ok(entry) if !entry.object.is(&THREAD) => return NTSTATUS::OBJECT_TYPE_MISMATCH,
            Ok(entry) => entry.object.body().cast(),
            Err(status) => return status,
        }
    };
    // SAFETY: handles and the current thread keep it alive; one that ends now ends at its return to user mode.
    unsafe { kernel_thread::terminate(thread, result) };
    NTSTATUS::SUCCESS
}

pub(super) fn terminate_process(arguments: &Arguments) -> NTSTATUS {
    let result = NTSTATUS(arguments[1] as u32 as i32);
    let run = || {
        if arguments[0] == 0 {
            // Every thread but this one.
            let current = kernel_thread::current();
            for thread in crate::process::current_program().map(|process| process.threads()).unwrap_or_default() {
                if thread.body().cast() != current {
                    // SAFETY: the reference keeps the thread alive.
                    unsafe { kernel_thread::terminate(thread.body().cast(), result) };
                }
            }
            return Ok(());
        }
        let object = process(arguments[0])?;
        object.get::<Process>(&PROCESS).ok_or(NTSTATUS::OBJECT_TYPE_MISMATCH)?.terminate(result);
        Ok(())
    };
    status(run())
}

/// `PowerActionSleep`.
const ACTION_SLEEP: u32 = 2;

/// `NtInitiatePowerAction` and `NtSetSystemPowerState`: returns when the system has slept and is awake again.
pub(super) fn initiate_power_action(arguments: &Arguments) -> NTSTATUS {
    let (action, state) = (arguments[0] as u32, arguments[1] as u32 as i32);
    if action != ACTION_SLEEP || !(POWER_SYSTEM_SLEEPING1..=POWER_SYSTEM_SLEEPING3).contains(&state) {
        crate::log!("NtInitiatePowerAction: action {action} to state {state} is not supported");
        return NTSTATUS::NOT_SUPPORTED;
    }
    let guard = crate::pnp::engine::lock();
    status(crate::power::system::sleep_and_wake(&guard, state))
}

/// `ProcessBasicInformation`.
const BASIC: u64 = 0;

pub(super) fn query_process(arguments: &Arguments) -> NTSTATUS {
    let [handle, class, buffer, length, length_at, ..] = *arguments;
    let run = || {
        let object = process(handle)?;
        let process = object.get::<Process>(&PROCESS).ok_or(NTSTATUS::OBJECT_TYPE_MISMATCH)?;
        if class as u32 != BASIC as u32 {
            return Err(NTSTATUS::INVALID_INFO_CLASS);
        }
        // Exit status, environment block, affinity, base priority, id, parent.
        let affinity = (1u64 << hal().processor_count().min(63)) - 1;
        let information = [u64::from(process.exit_status().bits()), process.peb() as u64, affinity, 8, process.id() as u64, 4];
        if length as u32 as usize != size_of_val(&information) {
            return Err(NTSTATUS::INFO_LENGTH_MISMATCH);
        }
        put(buffer, &information)?;
        put_optional(length_at, &(size_of_val(&information) as u32))
    };
    status(run())
}

pub(super) fn query_system(arguments: &Arguments) -> NTSTATUS {
    let [class, buffer, length, length_at, ..] = *arguments;
    let run = || {
        let information = information::about_system(class as u32)?;
        put_optional(length_at, &(information.len() as u32))?;
        if length as u32 as usize != information.len() {
            return Err(NTSTATUS::INFO_LENGTH_MISMATCH);
        }
        put(buffer, &information)
    };
    status(run())
}
