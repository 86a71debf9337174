//! Critical regions keep normal kernel APCs from a thread, guarded regions all APCs.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use wdf_sys::BOOLEAN;

use super::apc::Apcs;
use super::thread;
use crate::hal;
use crate::hal::APC_LEVEL;

fn apcs() -> &'static Apcs {
    // SAFETY: the running thread is alive while it uses this; the fields are atomic.
    unsafe { &(*thread::current()).apcs }
}

pub(super) fn enter_guarded() {
    apcs().disable_all_apcs();
}

pub(super) fn leave_guarded() {
    apcs().enable_all_apcs();
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeEnterCriticalRegion() {
    apcs().disable_kernel_apcs(1);
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeLeaveCriticalRegion() {
    apcs().enable_kernel_apcs(1);
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeEnterGuardedRegion() {
    enter_guarded();
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeLeaveGuardedRegion() {
    leave_guarded();
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeAreApcsDisabled() -> BOOLEAN {
    BOOLEAN::from(apcs().are_kernel_apcs_disabled() || hal().irql() >= APC_LEVEL)
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeAreAllApcsDisabled() -> BOOLEAN {
    BOOLEAN::from(apcs().are_all_apcs_disabled() || hal().irql() >= APC_LEVEL)
}
