//! Variables that drivers read: the build, the limits of addresses, whether there is a debugger.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::sync::atomic::{AtomicU8, Ordering};

use wdf_sys::BOOLEAN;

pub(super) static DEBUGGER_ENABLED: AtomicU8 = AtomicU8::new(0);

pub(super) static DEBUGGER_NOT_PRESENT: AtomicU8 = AtomicU8::new(1);

/// The upper bits mark a free (not a checked) build.
pub(super) static BUILD_NUMBER: u32 = 0xf000_0000 | crate::time::VERSION.2;

pub(super) static SAFE_BOOT_MODE: u32 = 0;

pub(super) static USER_PROBE_ADDRESS: usize = 0x7fff_ffff_0000;

pub(super) static HIGHEST_USER_ADDRESS: usize = 0x7fff_fffe_ffff;

pub(super) static SYSTEM_RANGE_START: usize = 0xffff_8000_0000_0000;

/// `MmUserProbeAddress`, `MmHighestUserAddress`, `MmSystemRangeStart`: where the numbers lie.
pub(crate) fn address_limits() -> [*const usize; 3] {
    [&raw const USER_PROBE_ADDRESS, &raw const HIGHEST_USER_ADDRESS, &raw const SYSTEM_RANGE_START]
}

/// There is a line to a debugger.
pub(crate) fn set_debugger_enabled() {
    DEBUGGER_ENABLED.store(1, Ordering::Relaxed);
}

/// A debugger answers, or does not any more.
pub(crate) fn set_debugger_present(is_present: bool) {
    DEBUGGER_NOT_PRESENT.store(u8::from(!is_present), Ordering::Relaxed);
}

/// Whether no debugger is there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KdRefreshDebuggerNotPresent() -> BOOLEAN {
    BOOLEAN::from(DEBUGGER_NOT_PRESENT.load(Ordering::Relaxed) != 0)
}
