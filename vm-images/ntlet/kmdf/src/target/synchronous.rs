//! `WdfIoTargetSend…Synchronously`: format, send and wait in one call, with a request of the driver's or one made for the call.

use core::ptr::null_mut;

use wdf_sys::wdf::{
    WDF_MEMORY_DESCRIPTOR, WDF_MEMORY_DESCRIPTOR_TYPE, WDF_REQUEST_SEND_OPTION_SYNCHRONOUS, WDF_REQUEST_SEND_OPTIONS,
};
use wdf_sys::wdm::MDL;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::MmMapLockedPagesSpecifyCache;
use wdf_sys::{NTSTATUS, WDFIOTARGET, WDFREQUEST};

use super::Target;
use super::format::{self, Piece};
use crate::call::{Call, ddi};
use crate::object::{Attributes, Ref};
use crate::request::send::{self, Options};
use crate::request::{Origin, Request};
use crate::sync::PASSIVE_LEVEL;

ddi! {
    fn WdfIoTargetSendReadSynchronously(call, target: WDFIOTARGET, request: WDFREQUEST, output: *mut WDF_MEMORY_DESCRIPTOR, device_offset: *mut i64, options: *mut WDF_REQUEST_SEND_OPTIONS, bytes: *mut usize) -> NTSTATUS {
        let offset = call.optional(device_offset).copied().unwrap_or(0);
        run(call, target, request, options, bytes, |target, request| {
            format::transfer(call, target, request, IRP_MJ_READ, &piece(call, output)?, offset)
        })
    }

    fn WdfIoTargetSendWriteSynchronously(call, target: WDFIOTARGET, request: WDFREQUEST, input: *mut WDF_MEMORY_DESCRIPTOR, device_offset: *mut i64, options: *mut WDF_REQUEST_SEND_OPTIONS, bytes: *mut usize) -> NTSTATUS {
        let offset = call.optional(device_offset).copied().unwrap_or(0);
        run(call, target, request, options, bytes, |target, request| {
            format::transfer(call, target, request, IRP_MJ_WRITE, &piece(call, input)?, offset)
        })
    }

    fn WdfIoTargetSendIoctlSynchronously(call, target: WDFIOTARGET, request: WDFREQUEST, code: u32, input: *mut WDF_MEMORY_DESCRIPTOR, output: *mut WDF_MEMORY_DESCRIPTOR, options: *mut WDF_REQUEST_SEND_OPTIONS, bytes: *mut usize) -> NTSTATUS {
        run(call, target, request, options, bytes, |target, request| {
            format::control(call, target, request, IRP_MJ_DEVICE_CONTROL, code, &piece(call, input)?, &piece(call, output)?)
        })
    }

    fn WdfIoTargetSendInternalIoctlSynchronously(call, target: WDFIOTARGET, request: WDFREQUEST, code: u32, input: *mut WDF_MEMORY_DESCRIPTOR, output: *mut WDF_MEMORY_DESCRIPTOR, options: *mut WDF_REQUEST_SEND_OPTIONS, bytes: *mut usize) -> NTSTATUS {
        run(call, target, request, options, bytes, |target, request| {
            format::control(call, target, request, IRP_MJ_INTERNAL_DEVICE_CONTROL, code, &piece(call, input)?, &piece(call, output)?)
        })
    }

    fn WdfIoTargetSendInternalIoctlOthersSynchronously(call, target: WDFIOTARGET, request: WDFREQUEST, code: u32, first: *mut WDF_MEMORY_DESCRIPTOR, second: *mut WDF_MEMORY_DESCRIPTOR, fourth: *mut WDF_MEMORY_DESCRIPTOR, options: *mut WDF_REQUEST_SEND_OPTIONS, bytes: *mut usize) -> NTSTATUS {
        run(call, target, request, options, bytes, |target, request| {
            let pieces = [piece(call, first)?, piece(call, second)?, piece(call, fourth)?];
            format::others(call, target, request, code, &pieces)
        })
    }
}

/// The buffer that a memory descriptor describes; nothing for a null one.
fn piece(call: &Call, descriptor: *const WDF_MEMORY_DESCRIPTOR) -> Result<Piece, NTSTATUS> {
    let Some(descriptor) = call.optional(descriptor) else { return Ok(Piece::default()) };
    // SAFETY: the members are those of the type; all are integers or pointers of any value.
    unsafe {
        match descriptor.Type {
            WDF_MEMORY_DESCRIPTOR_TYPE::WdfMemoryDescriptorTypeBuffer => {
                let buffer = descriptor.u.BufferType;
                if buffer.Buffer.is_null() && buffer.Length != 0 {
                    return Err(NTSTATUS::INVALID_PARAMETER);
                }
                Ok(Piece { at: buffer.Buffer.expose_provenance(), length: buffer.Length as usize, ..Piece::default() })
            }
            WDF_MEMORY_DESCRIPTOR_TYPE::WdfMemoryDescriptorTypeMdl => {
                described(descriptor.u.MdlType.Mdl, descriptor.u.MdlType.BufferLength)
            }
            WDF_MEMORY_DESCRIPTOR_TYPE::WdfMemoryDescriptorTypeHandle => {
                format::piece(call, descriptor.u.HandleType.Memory, descriptor.u.HandleType.Offsets)
            }
            _ => Err(NTSTATUS::INVALID_PARAMETER),
        }
    }
}

/// A buffer by its MDL.
fn described(mdl: *mut MDL, length: u32) -> Result<Piece, NTSTATUS> {
    // SAFETY: the driver says that this is an MDL.
    let Some(contents) = (unsafe { mdl.as_ref() }) else { return Err(NTSTATUS::INVALID_PARAMETER) };
    if length > contents.ByteCount {
        return Err(NTSTATUS::BUFFER_TOO_SMALL);
    }
    let at = if contents.MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL) != 0 {
        contents.MappedSystemVa
    } else {
        let priority = NORMAL_PAGE_PRIORITY | MDL_MAPPING_NO_EXECUTE;
        // SAFETY: the driver's MDL describes locked pages.
        unsafe { MmMapLockedPagesSpecifyCache(mdl, KERNEL_MODE, MM_CACHED, null_mut(), 0, priority) }
    };
    if at.is_null() {
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    Ok(Piece { at: at.expose_provenance(), length: length as usize, mdl: mdl.expose_provenance(), ..Piece::default() })
}

/// Formats, sends, waits; the status and the bytes that the target says.
fn run(
    call: &Call,
    target: WDFIOTARGET,
    request: WDFREQUEST,
    options: *mut WDF_REQUEST_SEND_OPTIONS,
    bytes: *mut usize,
    format: impl FnOnce(&Ref<Target>, &Ref<Request>) -> Result<(), NTSTATUS>,
) -> NTSTATUS {
    let target = call.object::<Target>(target);
    call.write_optional(bytes, 0);
    if !call.irql_at_most(PASSIVE_LEVEL) {
        return NTSTATUS::INVALID_DEVICE_REQUEST;
    }
    let options = match send::read_options(call, options) {
        Ok(options) => Options { flags: options.flags | WDF_REQUEST_SEND_OPTION_SYNCHRONOUS, ..options },
        Err(status) => return status,
    };
    let given = call.optional_object::<Request>(request);
    let request = match &given {
        Some(request) => request.clone(),
        None => match temporary(call) {
            Ok(request) => request,
            Err(status) => return status,
        },
    };
    let status = match format(&target, &request).and_then(|()| send::send(call, &request, &target, options)) {
        Ok(()) => {
            // SAFETY: the send is over, so the request is this call's again.
            let result = unsafe { request.send_side() }.params.IoStatus;
            call.write_optional(bytes, result.Information);
            result.status()
        }
        Err(status) => status,
    };
    if given.is_none() {
        request.abandon();
    }
    status
}

fn temporary(call: &Call) -> Result<Ref<Request>, NTSTATUS> {
    let driver = call.globals.driver();
    let body = Request::new(Origin::Created, null_mut(), None);
    let request = crate::object::create(call.globals, &Attributes::NONE, driver.as_ref(), body)?;
    Request::initialize(&request);
    Ok(request)
}
