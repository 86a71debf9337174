//! The system's sleep.

use core::time::Duration;

use wdf_sys::{FALSE, NTSTATUS, TRUE};

use super::{Handle, ntdll, ticks};

/// `POWER_ACTION` and `SYSTEM_POWER_STATE`: sleep, S3.
const SLEEP: u32 = 2;
const S3: u32 = 4;
/// `POWER_ACTION_CRITICAL`: programs are not asked.
const WITHOUT_ASKING: u32 = 0x8000_0000;
const TIMER_ALL_ACCESS: u32 = 0x001f_0003;
const NOTIFICATION_TIMER: i32 = 0;

/// Puts the system to sleep and has a timer wake it after a while. Returns when it is awake again.
///
/// # Errors
/// The system's status.
pub fn sleep_system_for(time: Duration) -> Result<(), NTSTATUS> {
    let mut handle = core::ptr::null_mut();
    let mut due = -ticks(time);
    // SAFETY: every pointer is to a local of the type the system expects, alive across the call.
    unsafe {
        ntdll::NtCreateTimer(&mut handle, TIMER_ALL_ACCESS, core::ptr::null_mut(), NOTIFICATION_TIMER).ok()?;
        let timer = Handle(handle);
        let nothing = core::ptr::null_mut();
        ntdll::NtSetTimer(timer.0, &mut due, nothing, nothing, TRUE, 0, core::ptr::null_mut()).ok()?;
        ntdll::NtInitiatePowerAction(SLEEP, S3, WITHOUT_ASKING, FALSE).ok()
    }
}
