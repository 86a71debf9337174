//! Services on time.

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::{KERNEL_MODE, USER_MODE};
use wdf_sys::wdm::functions::KeDelayExecutionThread;

use super::{Arguments, get, put, put_optional, status};
use crate::hal;

/// Waits in the kernel, units of 100 ns, negative.
pub(super) fn sleep(interval: i64) {
    let mut interval = interval;
    // SAFETY: a system call is at PASSIVE_LEVEL; the interval is a local.
    let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
}

pub(super) fn delay(arguments: &Arguments) -> NTSTATUS {
    match get::<i64>(arguments[1]) {
        // SAFETY: a system call is at PASSIVE_LEVEL; the interval is a local.
        Ok(mut interval) => unsafe { KeDelayExecutionThread(USER_MODE, arguments[0] as u8, &raw mut interval) },
        Err(status) => status,
    }
}

pub(super) fn yield_processor(_: &Arguments) -> NTSTATUS {
    let mut interval = 0;
    // SAFETY: as above.
    let _ = unsafe { KeDelayExecutionThread(USER_MODE, 0, &raw mut interval) };
    NTSTATUS::SUCCESS
}

pub(super) fn system_time(arguments: &Arguments) -> NTSTATUS {
    status(put(arguments[0], &crate::time::system_time()))
}

pub(super) fn performance_counter(arguments: &Arguments) -> NTSTATUS {
    let (counter, frequency) = hal().performance_counter();
    status(put(arguments[0], &counter).and_then(|()| put_optional(arguments[1], &frequency)))
}
