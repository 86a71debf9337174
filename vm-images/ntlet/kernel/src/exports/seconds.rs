//! Times in seconds since 1970 and since 1980.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use wdf_sys::BOOLEAN;

/// Seconds from 1601 to 1970, and to 1980.
const TO_1970: i64 = 11_644_473_600;

const TO_1980: i64 = 11_960_006_400;

const SECOND: i64 = 10_000_000;

/// # Safety
/// A time and a place for seconds.
unsafe fn seconds_since(start: i64, time: *const i64, seconds: *mut u32) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe {
        let Ok(value) = u32::try_from((*time).div_euclid(SECOND) - start) else { return 0 };
        seconds.write(value);
    }
    1
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlTimeToSecondsSince1970(Time: *const i64, ElapsedSeconds: *mut u32) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe { seconds_since(TO_1970, Time, ElapsedSeconds) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlTimeToSecondsSince1980(Time: *const i64, ElapsedSeconds: *mut u32) -> BOOLEAN {
    // SAFETY: the caller's promise.
    unsafe { seconds_since(TO_1980, Time, ElapsedSeconds) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSecondsSince1970ToTime(ElapsedSeconds: u32, Time: *mut i64) {
    // SAFETY: the caller's promise.
    unsafe { Time.write((i64::from(ElapsedSeconds) + TO_1970) * SECOND) };
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSecondsSince1980ToTime(ElapsedSeconds: u32, Time: *mut i64) {
    // SAFETY: the caller's promise.
    unsafe { Time.write((i64::from(ElapsedSeconds) + TO_1980) * SECOND) };
}
