//! Fast I/O: a driver that has a `FastIoDeviceControl` is asked before a request is made, and may answer without one.

use core::ffi::c_void;

use wdf_sys::wdm::functions::KeSetEvent;
use wdf_sys::wdm::{DEVICE_OBJECT, FILE_OBJECT, IO_STATUS_BLOCK, KEVENT};
use wdf_sys::{BOOLEAN, NTSTATUS, TRUE};

use super::file;
use super::request::{Buffer, Target};
use crate::memory::user;
use crate::object::ObjectRef;

/// `FAST_IO_DISPATCH`, as far as `FastIoDeviceControl`.
#[repr(C)]
struct FastIoDispatch {
    size: u32,
    others: [usize; 9],
    device_control: Option<DeviceControl>,
}
const _: () = assert!(core::mem::offset_of!(FastIoDispatch, device_control) == 80);

/// `FAST_IO_DEVICE_CONTROL`.
type DeviceControl = unsafe extern "win64" fn(
    *mut FILE_OBJECT,
    BOOLEAN,
    *mut c_void,
    u32,
    *mut c_void,
    u32,
    u32,
    *mut IO_STATUS_BLOCK,
    *mut DEVICE_OBJECT,
) -> BOOLEAN;

/// The driver's routine.
///
/// # Safety
/// `device` is alive.
unsafe fn routine(device: *mut DEVICE_OBJECT) -> Option<DeviceControl> {
    // SAFETY: the caller's promise; a table that says that it is long enough has the routine.
    unsafe {
        let dispatch = (*(*device).DriverObject).FastIoDispatch.cast::<FastIoDispatch>().as_ref()?;
        if dispatch.size as usize >= size_of::<FastIoDispatch>() { dispatch.device_control } else { None }
    }
}

/// Asks the driver at the top of the stack; its answer, unless it wants a request. The buffers are the caller's own addresses, which the
/// routine is to check, as documented. A file that tells of its requests by a port or by APCs has requests.
///
/// # Safety
/// `file` is an open file on `device`.
pub(super) unsafe fn device_control(
    target: &Target,
    (file, device): (&ObjectRef, *mut DEVICE_OBJECT),
    event: Option<&ObjectRef>,
    code: u32,
    (input, output): (Buffer, Buffer),
) -> Option<NTSTATUS> {
    let has_port = file::state(file).is_some_and(|state| state.port.lock().is_some());
    if has_port || target.apc_routine != 0 {
        return None;
    }
    let object: *mut FILE_OBJECT = file.body().cast();
    let mut block = IO_STATUS_BLOCK::new(NTSTATUS::SUCCESS, 0);
    // SAFETY: the caller's promise; the driver's routine, as its page says.
    unsafe {
        let routine = routine(device)?;
        let is_done =
            routine(object, TRUE, input.address, input.length, output.address, output.length, code, &raw mut block, device);
        if is_done == 0 {
            return None;
        }
        let written = user::put(target.mode, target.block, &block);
        KeSetEvent(&raw mut (*object).Event, 0, 0);
        if let Some(event) = event {
            KeSetEvent(event.body().cast::<KEVENT>(), 0, 0);
        }
        Some(written.err().unwrap_or(block.status()))
    }
}
