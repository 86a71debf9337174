//! The way of an IRP into the framework: one dispatch routine for every major function of a driver.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::PFN_WDFDEVICE_WDM_IRP_DISPATCH;
use wdf_sys::wdm::constants::{
    IO_NO_INCREMENT, IRP_MJ_DEVICE_CONTROL, IRP_MJ_INTERNAL_DEVICE_CONTROL, IRP_MJ_PNP, IRP_MJ_POWER, IRP_MJ_READ,
    IRP_MJ_SHUTDOWN, IRP_MJ_SYSTEM_CONTROL, IRP_MJ_WRITE,
};
use wdf_sys::wdm::functions::{IofCallDriver, IofCompleteRequest, PoCallDriver, PoStartNextPowerIrp};
use wdf_sys::wdm::{DEVICE_OBJECT, DRIVER_OBJECT, IO_STATUS_BLOCK, IRP, current_stack_location, skip_current_stack_location};
use wdf_sys::{WDFDEVICE, WDFDRIVER};

use super::Device;
use crate::call::ddi;
use crate::object::Ref;
use crate::sync::SpinLock;

/// Makes the framework handle every IRP of the driver's devices.
///
/// # Safety
/// `driver_object` is the driver's, during its DriverEntry.
pub(crate) unsafe fn install(driver_object: *mut DRIVER_OBJECT) {
    // SAFETY: the caller's promise.
    unsafe { (*driver_object).MajorFunction = [Some(dispatch_entry); 28] };
}

unsafe extern "win64" fn dispatch_entry(wdm: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let Some(device) = Device::of_wdm(wdm) else {
        // Deleted, or not made by WdfDeviceCreate.
        return complete(irp, NTSTATUS::INVALID_DEVICE_REQUEST);
    };
    // SAFETY: the kernel hands us an IRP at our stack location.
    let (major, minor) = unsafe {
        let location = current_stack_location(irp);
        ((*location).MajorFunction, (*location).MinorFunction)
    };
    if let Some(preprocess) = device
        .settings
        .preprocess
        .iter()
        .find(|preprocess| preprocess.major == major && (preprocess.minors.is_empty() || preprocess.minors.contains(&minor)))
        && let Some(callback) = preprocess.callback
    {
        // SAFETY: the driver's callback, with an IRP that it owns from now on, as its page says.
        return device.any().guarded(callback as usize, || unsafe { callback(device.handle(), irp) });
    }
    route(&device, irp, major)
}

/// Gives an IRP to whoever handles its major function.
pub(crate) fn route(device: &Ref<Device>, irp: *mut IRP, major: u8) -> NTSTATUS {
    match major {
        IRP_MJ_PNP => crate::pnp::irp::dispatch(device, irp),
        IRP_MJ_POWER => crate::pnp::power::dispatch(device, irp),
        IRP_MJ_SYSTEM_CONTROL if device.is_control() => complete(irp, NTSTATUS::INVALID_DEVICE_REQUEST),
        IRP_MJ_SYSTEM_CONTROL => crate::wmi::irp::dispatch(device, irp),
        IRP_MJ_SHUTDOWN => shutdown(device, irp),
        _ => match device.irp_callbacks.find(major) {
            Some((callback, context)) => offer(device, irp, callback, context),
            None => crate::io::dispatch(device, irp),
        },
    }
}

/// A driver's EvtDeviceWdmIrpDispatch and the context it wants with it.
type IrpCallback = (PFN_WDFDEVICE_WDM_IRP_DISPATCH, *mut c_void);

/// Major functions that can have such a callback.
const OFFERED: [u8; 4] = [IRP_MJ_READ, IRP_MJ_WRITE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_INTERNAL_DEVICE_CONTROL];

/// A device's EvtDeviceWdmIrpDispatch callbacks.
pub(crate) struct IrpCallbacks(SpinLock<[Option<IrpCallback>; OFFERED.len()]>);

// SAFETY: the raw pointer is a context that only the driver's callback uses.
unsafe impl Send for IrpCallbacks {}
// SAFETY: as above; the array is behind its lock.
unsafe impl Sync for IrpCallbacks {}

impl IrpCallbacks {
    pub(crate) const fn new() -> Self {
        Self(SpinLock::new([None; OFFERED.len()]))
    }

    fn find(&self, major: u8) -> Option<IrpCallback> {
        let at = OFFERED.iter().position(|offered| *offered == major)?;
        self.0.lock()[at]
    }
}

fn offer(device: &Ref<Device>, irp: *mut IRP, callback: PFN_WDFDEVICE_WDM_IRP_DISPATCH, context: *mut c_void) -> NTSTATUS {
    let Some(callback) = callback else { return crate::io::dispatch(device, irp) };
    // SAFETY: the IRP is ours at this location, whose parameters are those of a control where the major function says so.
    let (major, minor, code) = unsafe {
        let location = current_stack_location(irp);
        let major = (*location).MajorFunction;
        let is_control = matches!(major, IRP_MJ_DEVICE_CONTROL | IRP_MJ_INTERNAL_DEVICE_CONTROL);
        let code = if is_control { (*location).Parameters.DeviceIoControl.IoControlCode } else { 0 };
        (major, (*location).MinorFunction, code)
    };
    // SAFETY: the driver's callback, which hands the IRP back to the framework or to a queue, as its page says.
    device.any().guarded(callback as usize, || unsafe { callback(device.handle(), major, minor, code, context, irp, null_mut()) })
}

fn shutdown(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    if let Some(callback) = device.settings.shutdown {
        // SAFETY: the driver's callback, as its page says.
        device.any().guarded(callback as usize, || unsafe { callback(device.handle()) });
        return complete(irp, NTSTATUS::SUCCESS);
    }
    if device.is_control() { complete(irp, NTSTATUS::INVALID_DEVICE_REQUEST) } else { pass_down(device, irp) }
}

/// Completes an IRP that is ours.
pub(crate) fn complete(irp: *mut IRP, status: NTSTATUS) -> NTSTATUS {
    // SAFETY: the IRP is ours at this location; nobody touches it after completion.
    unsafe {
        (*irp).IoStatus = IO_STATUS_BLOCK::new(status, 0);
        IofCompleteRequest(irp, IO_NO_INCREMENT);
    }
    status
}

/// Completes an IRP, leaving its information as it is.
pub(crate) fn complete_keeping_information(irp: *mut IRP, status: NTSTATUS) -> NTSTATUS {
    // SAFETY: as in `complete`.
    unsafe {
        (*irp).IoStatus.u.Status = status;
        IofCompleteRequest(irp, IO_NO_INCREMENT);
    }
    status
}

/// Passes an IRP on as if we were not there.
pub(crate) fn pass_down(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let lower = device.lower();
    if lower.is_null() {
        return complete(irp, NTSTATUS::DELETE_PENDING);
    }
    // SAFETY: the IRP is ours at this location, and the next call is the lower driver's.
    unsafe {
        skip_current_stack_location(irp);
        IofCallDriver(lower, irp)
    }
}

/// Passes a power IRP on as if we were not there.
pub(crate) fn pass_power_down(device: &Ref<Device>, irp: *mut IRP) -> NTSTATUS {
    let lower = device.lower();
    // SAFETY: as in `pass_down`; the power manager is told first, as its page demands.
    unsafe {
        PoStartNextPowerIrp(irp);
        if lower.is_null() {
            return complete(irp, NTSTATUS::DELETE_PENDING);
        }
        skip_current_stack_location(irp);
        PoCallDriver(lower, irp)
    }
}

ddi! {
    fn WdfDeviceWdmDispatchPreprocessedIrp(call, device: WDFDEVICE, irp: *mut IRP) -> NTSTATUS {
        let device = call.object::<Device>(device);
        let _ = call.required(irp);
        // The preprocessor skipped its stack location before this call, so that the framework's is current.
        // SAFETY: the driver's promise: an IRP that its preprocessor was given, prepared as the page says.
        let major = unsafe {
            (*irp).CurrentLocation -= 1;
            (*irp).Tail.Overlay.CurrentStackLocation = (*irp).Tail.Overlay.CurrentStackLocation.sub(1);
            (*current_stack_location(irp)).MajorFunction
        };
        route(&device, irp, major)
    }

    fn WdfDeviceWdmDispatchIrp(call, device: WDFDEVICE, irp: *mut IRP, _context: *mut c_void) -> NTSTATUS {
        let device = call.object::<Device>(device);
        let _ = call.required(irp);
        crate::io::dispatch(&device, irp)
    }

    fn WdfDeviceConfigureWdmIrpDispatchCallback(call, device: WDFDEVICE, driver: WDFDRIVER, major: u8, callback: PFN_WDFDEVICE_WDM_IRP_DISPATCH, context: *mut c_void) -> NTSTATUS {
        let device = call.object::<Device>(device);
        let _ = call.optional_object::<crate::driver::Driver>(driver);
        let Some(at) = OFFERED.iter().position(|offered| *offered == major) else { return NTSTATUS::INVALID_PARAMETER };
        if callback.is_none() {
            return NTSTATUS::INVALID_PARAMETER;
        }
        device.irp_callbacks.0.lock()[at] = Some((callback, context));
        NTSTATUS::SUCCESS
    }

    fn WdfWdmDeviceGetWdfDeviceHandle(call, wdm: *mut DEVICE_OBJECT) -> WDFDEVICE {
        let _ = call.required(wdm);
        Device::of_wdm(wdm).map_or(WDFDEVICE::NULL, |device| device.handle())
    }

    fn WdfWdmDriverGetWdfDriverHandle(call, driver_object: *mut DRIVER_OBJECT) -> WDFDRIVER {
        let _ = call.required(driver_object);
        let found = crate::globals::Globals::of_driver_object(driver_object).and_then(|globals| globals.driver());
        found.map_or(WDFDRIVER::NULL, |driver| WDFDRIVER(driver.raw()))
    }
}
