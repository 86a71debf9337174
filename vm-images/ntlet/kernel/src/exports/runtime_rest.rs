//! The rest of what samples import: functions whose whole answer is a line or two on this machine, and those that are others by a second name.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::functions::{KeGetCurrentIrql, KeQueryPerformanceCounter, KeQueryUnbiasedInterruptTime};
use wdf_sys::{BOOLEAN, FALSE, NTSTATUS};

use crate::dispatcher::{irql, spin_lock};
use crate::hal::DISPATCH_LEVEL;
use crate::processors;
use crate::strings::{AnsiString, upcase};

/// As `KeAcquireSpinLockRaiseToDpc`, but a caller that is at `DISPATCH_LEVEL` already stays there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeAcquireSpinLockForDpc(SpinLock: *mut usize) -> u8 {
    let before = irql::raise(DISPATCH_LEVEL);
    // SAFETY: the caller's promise: an initialised lock.
    unsafe { spin_lock::take(SpinLock) };
    before
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeReleaseSpinLockForDpc(SpinLock: *mut usize, OldIrql: u8) {
    // SAFETY: the caller's promise: it holds the lock.
    unsafe { spin_lock::release(SpinLock) };
    irql::lower(OldIrql);
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeIsExecutingDpc() -> BOOLEAN {
    // SAFETY: reads a register. Below DISPATCH_LEVEL no DPC runs, and the processor may change.
    let is_at_dispatch = unsafe { KeGetCurrentIrql() } >= DISPATCH_LEVEL;
    BOOLEAN::from(is_at_dispatch && processors::current().dpcs.is_running())
}

/// Time that the system was awake, and the performance counter at that time.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeQueryUnbiasedInterruptTimePrecise(QpcTimeStamp: *mut u64) -> u64 {
    // SAFETY: the caller's promise: a place for a number.
    unsafe {
        QpcTimeStamp.write(KeQueryPerformanceCounter(null_mut()) as u64);
        KeQueryUnbiasedInterruptTime()
    }
}

/// On x64 there is nothing to save: threads keep the registers that compilers use.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeSaveFloatingPointState(_FloatSave: *mut c_void) -> NTSTATUS {
    NTSTATUS::SUCCESS
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeRestoreFloatingPointState(_FloatSave: *mut c_void) -> NTSTATUS {
    NTSTATUS::SUCCESS
}

/// What of the processor's extended state threads keep: x87 and SSE. The rest is not switched on.
const KEPT_STATE: u64 = 3;

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlGetEnabledExtendedFeatures(FeatureMask: u64) -> u64 {
    FeatureMask & KEPT_STATE
}

/// Documented: what the processor does not have, or the system has not switched on, cannot be saved.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeSaveExtendedProcessorState(Mask: u64, _XStateSave: *mut c_void) -> NTSTATUS {
    if Mask & !KEPT_STATE == 0 { NTSTATUS::SUCCESS } else { NTSTATUS::NOT_SUPPORTED }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeRestoreExtendedProcessorState(_XStateSave: *mut c_void) {}

/// All memory is one node's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeQueryHighestNodeNumber() -> u16 {
    0
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeGetCurrentNodeNumber() -> u16 {
    0
}

/// `PF_…` of `winnt.h`: what every x64 processor has.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExIsProcessorFeaturePresent(ProcessorFeature: u32) -> BOOLEAN {
    /// Compare-exchange of 8 bytes, MMX, SSE, time stamp counter, PAE, SSE2, no-execute.
    const EVERYWHERE: [u32; 7] = [2, 3, 6, 8, 9, 10, 12];
    BOOLEAN::from(EVERYWHERE.contains(&ProcessorFeature))
}

/// A workstation is in no product suite.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExVerifySuite(_SuiteType: i32) -> BOOLEAN {
    FALSE
}

/// No driver is under Driver Verifier.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmIsDriverVerifying(_DriverObject: *mut c_void) -> u32 {
    0
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn MmIsDriverVerifyingByAddress(_AddressWithinSection: *mut c_void) -> u32 {
    0
}

/// The system's version; whether it is a checked build.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsGetVersion(
    MajorVersion: *mut u32,
    MinorVersion: *mut u32,
    BuildNumber: *mut u32,
    CSDVersion: *mut UNICODE_STRING,
) -> BOOLEAN {
    let (major, minor, build) = crate::time::VERSION;
    // SAFETY: the caller's promise: null or a place each.
    unsafe {
        for (place, value) in [(MajorVersion, major), (MinorVersion, minor), (BuildNumber, build)] {
            if !place.is_null() {
                place.write(value);
            }
        }
        if let Some(string) = CSDVersion.as_mut() {
            string.Length = 0;
        }
    }
    FALSE
}

/// Whether no debugger is there.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KdRefreshDebuggerNotPresent() -> BOOLEAN {
    BOOLEAN::from(super::runtime::DEBUGGER_NOT_PRESENT.load(core::sync::atomic::Ordering::Relaxed) != 0)
}

/// Says that the system is in use, which keeps it from sleeping of itself. This one never does.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoSetSystemState(_Flags: u32) {}

/// What a driver is registered by: any address but null.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoRegisterSystemState(StateHandle: *mut c_void, _Flags: u32) -> *mut c_void {
    static REGISTERED: u8 = 0;
    if StateHandle.is_null() { (&raw const REGISTERED).cast_mut().cast() } else { StateHandle }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoUnregisterSystemState(_StateHandle: *mut c_void) {}

/// Nothing idles devices but their drivers. Documented: null when a device cannot be registered.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoRegisterDeviceForIdleDetection(
    _DeviceObject: *mut c_void,
    _ConservationIdleTime: u32,
    _PerformanceIdleTime: u32,
    _State: i32,
) -> *mut u32 {
    null_mut()
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCopyString(DestinationString: *mut AnsiString, SourceString: *const AnsiString) {
    // SAFETY: the caller's promise: a string with its buffer; null or another one.
    unsafe { (*DestinationString).fill(SourceString.as_ref().map_or(&[], |source| source.bytes())) };
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlUpperString(DestinationString: *mut AnsiString, SourceString: *const AnsiString) {
    // SAFETY: the caller's promise: two strings, the first with its buffer.
    unsafe {
        let upper: alloc::vec::Vec<u8> = (*SourceString).bytes().to_ascii_uppercase();
        (*DestinationString).fill(&upper);
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSuffixUnicodeString(
    String1: *const UNICODE_STRING,
    String2: *const UNICODE_STRING,
    CaseInSensitive: BOOLEAN,
) -> BOOLEAN {
    // SAFETY: the caller's promise: two strings.
    let (suffix, whole) = unsafe { ((*String1).units(), (*String2).units()) };
    let form = |unit: u16| if CaseInSensitive != 0 { upcase(unit) } else { unit };
    let end = whole.len().checked_sub(suffix.len()).map(|at| &whole[at..]);
    BOOLEAN::from(end.is_some_and(|end| end.iter().zip(suffix).all(|(&a, &b)| form(a) == form(b))))
}

/// A linear congruential generator of numbers below 2^31 - 1, with the constants that `RtlUniform` is documented with.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlRandom(Seed: *mut u32) -> u32 {
    const MODULUS: u64 = 0x7fff_ffff;
    // SAFETY: the caller's promise: a place for a number.
    unsafe {
        let next = (u64::from(*Seed) * 0x7fff_ffed + 0x7fff_ffc3) % MODULUS;
        *Seed = next as u32;
        next as u32
    }
}

/// A failed assertion of a checked driver: said, then a break into the debugger.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlAssert(
    FailedAssertion: *const u8,
    FileName: *const u8,
    LineNumber: u32,
    Message: *const u8,
) {
    let text = |text: *const u8| {
        // SAFETY: the caller's promise: null or terminated bytes.
        let bytes = if text.is_null() { &[][..] } else { unsafe { core::ffi::CStr::from_ptr(text.cast()).to_bytes() } };
        alloc::string::String::from_utf8_lossy(bytes)
    };
    crate::log!("*** Assertion failed: {}{} *** {}, line {LineNumber}", text(Message), text(FailedAssertion), text(FileName));
    // SAFETY: breaks into the debugger, as an assertion does.
    unsafe { wdf_sys::wdm::functions::DbgBreakPoint() };
}

/// A hint, which may be ignored.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlPrefetchMemoryNonTemporal(_Source: *const c_void, _Length: usize) {}

/// A virtual function that no class has defined.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn _purecall() -> i32 {
    crate::log!("a driver calls a virtual function that is not defined");
    crate::bug_check::bug_check(wdf_sys::wdm::constants::bug_check::MANUALLY_INITIATED_CRASH, [0x7075_7265, 0, 0, 0])
}

pub(super) const unsafe extern "win64" fn c_abs(value: i32) -> i32 {
    value.wrapping_abs()
}

pub(super) const unsafe extern "win64" fn c_abs64(value: i64) -> i64 {
    value.wrapping_abs()
}

/// Appends at most `limit` letters, and a terminator.
///
/// # Safety
/// Terminated text with room; text that is terminated or has `limit` letters.
unsafe fn append<T: Copy + PartialEq + Default>(to: *mut T, from: *const T, limit: usize) -> *mut T {
    // SAFETY: the caller's promise.
    unsafe {
        let mut at = to;
        while *at != T::default() {
            at = at.add(1);
        }
        for index in 0..limit {
            let letter = *from.add(index);
            if letter == T::default() {
                break;
            }
            at.write(letter);
            at = at.add(1);
        }
        at.write(T::default());
    }
    to
}

pub(super) unsafe extern "win64" fn c_strncat(to: *mut u8, from: *const u8, limit: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { append(to, from, limit) }
}

pub(super) unsafe extern "win64" fn c_wcsncat(to: *mut u16, from: *const u16, limit: usize) -> *mut u16 {
    // SAFETY: the caller's promise.
    unsafe { append(to, from, limit) }
}

pub(super) unsafe extern "win64" fn c_strpbrk(text: *const u8, set: *const u8) -> *const u8 {
    // SAFETY: the caller's promise: terminated texts.
    unsafe {
        let at = text.add(super::runtime_more::c_strcspn(text, set));
        if *at == 0 { core::ptr::null() } else { at }
    }
}

macro_rules! wide_classes {
    ($($name:ident = $test:expr;)*) => {$(
        pub(super) unsafe extern "win64" fn $name(letter: u16) -> i32 {
            i32::from(char::from_u32(u32::from(letter)).is_some_and($test))
        }
    )*};
}

wide_classes! {
    c_iswalpha = char::is_alphabetic;
    c_iswdigit = |letter| letter.is_ascii_digit();
    c_iswalnum = char::is_alphanumeric;
    c_iswspace = char::is_whitespace;
    c_iswupper = char::is_uppercase;
    c_iswlower = char::is_lowercase;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::name::wide;
    use wdf_sys::TRUE;

    #[test]
    fn a_suffix_is_found_with_or_without_regard_to_case() {
        let (end, whole, long) = (wide("b.SYS"), wide("Ab.sys"), wide("xxAb.sys"));
        let string = |units: &'static [u16]| UNICODE_STRING::new(units).unwrap();
        let (end, whole, long) = (string(end.leak()), string(whole.leak()), string(long.leak()));
        // SAFETY: strings of this test.
        unsafe {
            assert_eq!(RtlSuffixUnicodeString(&end, &whole, TRUE), TRUE);
            assert_eq!(RtlSuffixUnicodeString(&end, &whole, FALSE), FALSE);
            assert_eq!(RtlSuffixUnicodeString(&long, &whole, TRUE), FALSE);
        }
    }

    #[test]
    fn texts_are_appended_and_searched_as_the_standard_says() {
        let mut text = *b"ab\0xxxx";
        // SAFETY: terminated texts with room.
        unsafe {
            c_strncat(text.as_mut_ptr(), c"cdef".as_ptr().cast(), 3);
            assert_eq!(&text[..6], b"abcde\0");
            let found = c_strpbrk(text.as_ptr(), c"dx".as_ptr().cast());
            assert_eq!(found, &raw const text[3]);
            assert!(c_strpbrk(text.as_ptr(), c"z".as_ptr().cast()).is_null());
            assert_eq!((c_abs(-3), c_iswdigit(0x37), c_iswalpha(0xe4), c_iswspace(0x41)), (3, 1, 1, 0));
        }
    }
}
