//! What a driver may ask of a request: parameters, file, queue, requestor.

use wdf_sys::wdf::{WDF_REQUEST_PARAMETERS, WDF_REQUEST_PARAMETERS_Parameters, WDF_REQUEST_TYPE};
use wdf_sys::wdm::constants::{
    IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_INTERNAL_DEVICE_CONTROL, IRP_MJ_READ, IRP_MJ_WRITE, KERNEL_MODE,
};
use wdf_sys::wdm::functions::{IoGetRequestorProcessId, IoIs32bitProcess};
use wdf_sys::wdm::{IO_STACK_LOCATION, IRP};
use wdf_sys::{BOOLEAN, WDFFILEOBJECT, WDFQUEUE, WDFREQUEST};

use super::{Request, irp, ownership};
use crate::call::{Call, ddi, later};
use crate::object::Ref;
use crate::verifier::{self, Rule};

ddi! {
    fn WdfRequestGetParameters(call, request: WDFREQUEST, parameters: *mut WDF_REQUEST_PARAMETERS) {
        let request = call.object::<Request>(request);
        fill_parameters(call, &request, parameters);
    }

    fn WdfRequestGetFileObject(call, request: WDFREQUEST) -> WDFFILEOBJECT {
        let request = call.object::<Request>(request);
        request.file().map_or(WDFFILEOBJECT::NULL, |file| file.handle())
    }

    fn WdfRequestGetIoQueue(call, request: WDFREQUEST) -> WDFQUEUE {
        let request = call.object::<Request>(request);
        request.queue().map_or(WDFQUEUE::NULL, |queue| queue.handle())
    }

    fn WdfRequestGetRequestorMode(call, request: WDFREQUEST) -> i8 {
        let request = call.object::<Request>(request);
        // SAFETY: `accessible` says that the IRP is there.
        ownership::accessible(call, &request).map_or(KERNEL_MODE, |irp| unsafe { (*irp).RequestorMode })
    }

    fn WdfRequestWdmGetIrp(call, request: WDFREQUEST) -> *mut IRP {
        let request = call.object::<Request>(request);
        if request.irp().is_null() && call.globals.verifies() {
            ownership::touched_after_completion(call, &request);
        }
        request.irp()
    }

    fn WdfRequestIsCanceled(call, request: WDFREQUEST) -> BOOLEAN {
        let request = call.object::<Request>(request);
        let Some(irp) = ownership::accessible(call, &request) else { return wdf_sys::FALSE };
        // SAFETY: `accessible` says that the IRP is there.
        let cancelled = unsafe { irp::is_cancelled(irp) };
        cancelled.into()
    }

    fn WdfRequestIsFrom32BitProcess(call, request: WDFREQUEST) -> BOOLEAN {
        let request = call.object::<Request>(request);
        // SAFETY: `accessible` says that the IRP is there.
        ownership::accessible(call, &request).map_or(wdf_sys::FALSE, |irp| unsafe { IoIs32bitProcess(irp) })
    }

    fn WdfRequestIsReserved(call, request: WDFREQUEST) -> BOOLEAN {
        call.object::<Request>(request).is_reserved().into()
    }
}

later! { LATER:
    fn WdfRequestGetRequestorProcessId[447](call, request: WDFREQUEST) -> u32 {
        let request = call.object::<Request>(request);
        // SAFETY: `accessible` says that the IRP is there.
        ownership::accessible(call, &request).map_or(0, |irp| unsafe { IoGetRequestorProcessId(irp) })
    }
}

/// Writes the parameters of an incoming request.
pub(crate) fn fill_parameters(call: &Call, request: &Ref<Request>, place: *mut WDF_REQUEST_PARAMETERS) {
    let size = call.read(place.cast::<u16>());
    if usize::from(size) != size_of::<WDF_REQUEST_PARAMETERS>() {
        verifier::violation(
            call.globals,
            Rule::InvalidParameter,
            request.any().header().handle,
            format_args!("{}: Size is {size}, expected {}", call.name(), size_of::<WDF_REQUEST_PARAMETERS>()),
        );
        return;
    }
    let mut parameters = WDF_REQUEST_PARAMETERS::new();
    let stack = request.stack();
    if stack.is_null() || request.irp().is_null() {
        parameters.Type = WDF_REQUEST_TYPE::WdfRequestTypeNoFormat;
    } else {
        // SAFETY: our stack location is there until the request is completed, which it is not.
        fill(&mut parameters, &unsafe { *stack });
    }
    call.write(place, parameters);
}

fn fill(parameters: &mut WDF_REQUEST_PARAMETERS, stack: &IO_STACK_LOCATION) {
    parameters.Type = WDF_REQUEST_TYPE(i32::from(stack.MajorFunction));
    parameters.MinorFunction = stack.MinorFunction;
    let mut members = WDF_REQUEST_PARAMETERS_Parameters::zeroed();
    // SAFETY: the members of both unions are those of the major function, and all are integers or pointers of any value.
    unsafe {
        match stack.MajorFunction {
            IRP_MJ_CREATE => {
                let from = stack.Parameters.Create;
                members.Create.SecurityContext = from.SecurityContext;
                members.Create.Options = from.Options;
                members.Create.FileAttributes = from.FileAttributes;
                members.Create.ShareAccess = from.ShareAccess;
                members.Create.EaLength = from.EaLength;
            }
            IRP_MJ_READ => {
                let from = stack.Parameters.Read;
                members.Read.Length = from.Length as usize;
                members.Read.Key = from.Key;
                members.Read.DeviceOffset = from.ByteOffset;
            }
            IRP_MJ_WRITE => {
                let from = stack.Parameters.Write;
                members.Write.Length = from.Length as usize;
                members.Write.Key = from.Key;
                members.Write.DeviceOffset = from.ByteOffset;
            }
            IRP_MJ_DEVICE_CONTROL => {
                let from = stack.Parameters.DeviceIoControl;
                members.DeviceIoControl.OutputBufferLength = from.OutputBufferLength as usize;
                members.DeviceIoControl.InputBufferLength = from.InputBufferLength as usize;
                members.DeviceIoControl.IoControlCode = from.IoControlCode;
                members.DeviceIoControl.Type3InputBuffer = from.Type3InputBuffer;
            }
            IRP_MJ_INTERNAL_DEVICE_CONTROL => {
                // Whether the four arguments are lengths or pointers is the business of who sends the code; the fields lie alike.
                let from = stack.Parameters.Others;
                members.Others.Arg1 = from.Argument1;
                members.Others.Arg2 = from.Argument2;
                members.Others.IoControlCode = stack.Parameters.DeviceIoControl.IoControlCode;
                members.Others.Arg4 = from.Argument4;
            }
            _ => {}
        }
    }
    parameters.Parameters = members;
}
