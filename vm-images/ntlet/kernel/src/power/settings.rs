//! Power settings that drivers watch, and requests to stay awake. A guest is on mains, its lid open, its display on; nothing of that changes, so
//! that whoever watches hears how it is, once. It sleeps only when a program says so, which no request prevents.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use wdf_sys::wdm::DEVICE_OBJECT;
use wdf_sys::wdm::constants::KERNEL_MODE;
use wdf_sys::wdm::functions::KeDelayExecutionThread;
use wdf_sys::{GUID, NTSTATUS};

use crate::lock::SpinLock;

/// `POWER_SETTING_CALLBACK`.
type Callback = unsafe extern "win64" fn(*const GUID, *mut c_void, u32, *mut c_void) -> NTSTATUS;

const fn guid(data1: u32, data2: u16, data3: u16, data4: [u8; 8]) -> GUID {
    GUID::new((data1, data2, data3, data4))
}

/// Settings with the value they have here: mains, display, monitor, lid, battery, away mode, session display, session presence.
const SETTINGS: [(GUID, u32); 8] = [
    (guid(0x5d3e_9a59, 0xe9d5, 0x4b00, [0xa6, 0xbd, 0xff, 0x34, 0xff, 0x51, 0x65, 0x48]), 0),
    (guid(0x6fe6_9556, 0x704a, 0x47a0, [0x8f, 0x24, 0xc2, 0x8d, 0x93, 0x6f, 0xda, 0x47]), 1),
    (guid(0x0273_1015, 0x4510, 0x4526, [0x99, 0xe6, 0xe5, 0xa1, 0x7e, 0xbd, 0x1a, 0xea]), 1),
    (guid(0xba3e_0f4d, 0xb817, 0x4094, [0xa2, 0xd1, 0xd5, 0x63, 0x79, 0xe6, 0xa0, 0xf3]), 1),
    (guid(0xa7ad_8041, 0xb45a, 0x4cae, [0x87, 0xa3, 0xee, 0xcb, 0xb4, 0x68, 0xa9, 0xe1]), 100),
    (guid(0x98a7_f580, 0x01f7, 0x48aa, [0x9c, 0x0f, 0x44, 0x35, 0x2c, 0x29, 0xe5, 0xc0]), 0),
    (guid(0x2b84_c20e, 0xad23, 0x4ddf, [0x93, 0xdb, 0x05, 0xff, 0xbd, 0x7e, 0xfc, 0xa5]), 1),
    (guid(0x3c0f_4548, 0xc03f, 0x4c4d, [0xb9, 0xf2, 0x23, 0x7e, 0xde, 0x68, 0x63, 0x76]), 0),
];
/// The scheme's personality, whose value is a GUID, and the one that it is: balanced.
const PERSONALITY: GUID = guid(0x245d_8541, 0x3943, 0x4422, [0xb0, 0x25, 0x13, 0xa7, 0x84, 0xf6, 0x79, 0xb7]);
const BALANCED: GUID = guid(0x381b_4222, 0xf694, 0x41f0, [0x96, 0x85, 0xff, 0x5b, 0xb2, 0x60, 0xdf, 0x2e]);

/// A driver that watches a setting.
struct Watcher {
    setting: GUID,
    callback: Callback,
    context: usize,
    is_registered: AtomicBool,
    running: AtomicUsize,
}

/// Watchers that have not heard yet how it is.
static TO_TELL: SpinLock<Vec<Arc<Watcher>>> = SpinLock::new(Vec::new());

fn tell_all() {
    loop {
        let next = {
            let mut waiting = TO_TELL.lock();
            if waiting.is_empty() { None } else { Some(waiting.remove(0)) }
        };
        let Some(watcher) = next else { return };
        watcher.running.fetch_add(1, Ordering::AcqRel);
        if watcher.is_registered.load(Ordering::Acquire) {
            tell(&watcher);
        }
        watcher.running.fetch_sub(1, Ordering::AcqRel);
    }
}

fn tell(watcher: &Watcher) {
    let mut scheme = BALANCED;
    let mut number = SETTINGS.iter().find(|(setting, _)| *setting == watcher.setting).map(|(_, value)| *value);
    let (value, length) = match number.as_mut() {
        Some(number) => (core::ptr::from_mut(number).cast::<c_void>(), size_of::<u32>()),
        None if watcher.setting == PERSONALITY => ((&raw mut scheme).cast(), size_of::<GUID>()),
        // A setting that has no value has none to tell.
        None => return,
    };
    let context = core::ptr::with_exposed_provenance_mut(watcher.context);
    // SAFETY: the driver gave routine and context until it unregisters them, which waits for this; the value lives through the call.
    let _ = unsafe { (watcher.callback)(&raw const watcher.setting, value, length as u32, context) };
}

/// # Safety
/// As the documentation of PoRegisterPowerSettingCallback demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoRegisterPowerSettingCallback(
    _DeviceObject: *mut DEVICE_OBJECT,
    SettingGuid: *const GUID,
    Callback: Option<Callback>,
    Context: *mut c_void,
    Handle: *mut *mut c_void,
) -> NTSTATUS {
    let Some(callback) = Callback else { return NTSTATUS::INVALID_PARAMETER };
    if SettingGuid.is_null() {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise.
    let setting = unsafe { *SettingGuid };
    let watcher = Arc::new(Watcher {
        setting,
        callback,
        context: Context.expose_provenance(),
        is_registered: AtomicBool::new(true),
        running: AtomicUsize::new(0),
    });
    if !Handle.is_null() {
        // SAFETY: the caller's promise; `PoUnregisterPowerSettingCallback` takes the count back.
        unsafe { *Handle = Arc::into_raw(watcher.clone()).cast_mut().cast() };
    }
    TO_TELL.lock().push(watcher);
    crate::work::queue_system_work(tell_all);
    NTSTATUS::SUCCESS
}

/// When this returns, the callback does not run and is not called any more.
///
/// # Safety
/// As the documentation of PoUnregisterPowerSettingCallback demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoUnregisterPowerSettingCallback(Handle: *mut c_void) -> NTSTATUS {
    if Handle.is_null() {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise: a handle of a registration, once.
    let watcher = unsafe { Arc::from_raw(Handle.cast_const().cast::<Watcher>()) };
    watcher.is_registered.store(false, Ordering::Release);
    while watcher.running.load(Ordering::Acquire) != 0 {
        let mut interval = -10_000;
        // SAFETY: documented for PASSIVE_LEVEL, where a thread may sleep.
        let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
    }
    NTSTATUS::SUCCESS
}

/// How many kinds of requests there are: display, system, away mode, execution.
const KINDS: usize = 4;

/// A driver's request: how often each kind is set.
struct PowerRequest {
    set: [AtomicI32; KINDS],
}

/// # Safety
/// As the documentation of PoCreatePowerRequest demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoCreatePowerRequest(
    PowerRequest: *mut *mut c_void,
    DeviceObject: *mut DEVICE_OBJECT,
    _Context: *mut c_void,
) -> NTSTATUS {
    if PowerRequest.is_null() || DeviceObject.is_null() {
        return NTSTATUS::INVALID_PARAMETER;
    }
    let request = Box::new(self::PowerRequest { set: Default::default() });
    // SAFETY: the caller's promise.
    unsafe { *PowerRequest = Box::into_raw(request).cast() };
    NTSTATUS::SUCCESS
}

/// # Safety
/// `request` is null or a request.
unsafe fn counter<'a>(request: *mut c_void, kind: i32) -> Option<&'a AtomicI32> {
    // SAFETY: the caller's promise.
    let request = unsafe { request.cast::<PowerRequest>().as_ref() }?;
    request.set.get(usize::try_from(kind).ok()?)
}

/// # Safety
/// As the documentation of PoSetPowerRequest demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoSetPowerRequest(PowerRequest: *mut c_void, Type: i32) -> NTSTATUS {
    // SAFETY: the caller's promise.
    match unsafe { counter(PowerRequest, Type) } {
        Some(count) => {
            count.fetch_add(1, Ordering::AcqRel);
            NTSTATUS::SUCCESS
        }
        None => NTSTATUS::INVALID_PARAMETER,
    }
}

/// # Safety
/// As the documentation of PoClearPowerRequest demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoClearPowerRequest(PowerRequest: *mut c_void, Type: i32) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let Some(count) = (unsafe { counter(PowerRequest, Type) }) else { return NTSTATUS::INVALID_PARAMETER };
    let less = count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| (count > 0).then(|| count - 1));
    if less.is_ok() { NTSTATUS::SUCCESS } else { NTSTATUS::UNSUCCESSFUL }
}

/// # Safety
/// As the documentation of PoDeletePowerRequest demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PoDeletePowerRequest(PowerRequest: *mut c_void) {
    if !PowerRequest.is_null() {
        // SAFETY: the caller's promise: what `PoCreatePowerRequest` made, once.
        drop(unsafe { Box::from_raw(PowerRequest.cast::<self::PowerRequest>()) });
    }
}
