//! What drivers ask about processors and their state: extended state, features, nodes, groups, and locks for those who may be in a DPC.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::functions::{KeGetCurrentIrql, KeQueryPerformanceCounter, KeQueryUnbiasedInterruptTime};
use wdf_sys::{BOOLEAN, NTSTATUS};

use crate::dispatcher::thread::exported::{KeRevertToUserAffinityThreadEx, KeSetSystemAffinityThreadEx};
use crate::dispatcher::{irql, spin_lock};
use crate::hal::DISPATCH_LEVEL;
use crate::processors;

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

/// The line size of the processors' caches.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeGetRecommendedSharedDataAlignment() -> u32 {
    64
}

/// `GROUP_AFFINITY`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct GroupAffinity {
    mask: u64,
    group: u16,
    reserved: [u16; 3],
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeQueryMaximumGroupCount() -> u16 {
    1
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeSetSystemGroupAffinityThread(
    Affinity: *const GroupAffinity,
    PreviousAffinity: *mut GroupAffinity,
) {
    // SAFETY: the caller's promise: an affinity, and null or a place for one. One that names no processor of this machine changes nothing.
    unsafe {
        let GroupAffinity { mask, group, .. } = *Affinity;
        let before = KeSetSystemAffinityThreadEx(if group == 0 { mask as usize } else { 0 });
        if !PreviousAffinity.is_null() {
            PreviousAffinity.write(GroupAffinity { mask: before as u64, group: 0, reserved: [0; 3] });
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn KeRevertToUserGroupAffinityThread(PreviousAffinity: *const GroupAffinity) {
    // SAFETY: the caller's promise: what `KeSetSystemGroupAffinityThread` has written.
    unsafe { KeRevertToUserAffinityThreadEx((*PreviousAffinity).mask as usize) };
}
