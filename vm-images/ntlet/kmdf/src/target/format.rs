//! `WdfIoTargetFormatRequestFor…`: what a request is to do is written into its next stack location, and its buffers into the IRP as the
//! target's device and the control code want them.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdf::{WDF_REQUEST_TYPE, WDFMEMORY_OFFSET};
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{IO_STACK_LOCATION, IRP, MDL, next_stack_location};
use wdf_sys::{NTSTATUS, WDFIOTARGET, WDFMEMORY, WDFREQUEST};

use super::Target;
use crate::call::{Call, ddi};
use crate::history::Event;
use crate::memory::Memory;
use crate::object::Ref;
use crate::request::restore::{CopyBack, SendSide};
use crate::request::{Origin, Request, create, ownership, send};
use crate::sync::DISPATCH_LEVEL;

/// A buffer to be sent: a part of a memory object, or memory that a synchronous call names.
#[derive(Clone, Default)]
pub(crate) struct Piece {
    pub(crate) memory: Option<Ref<Memory>>,
    pub(crate) at: usize,
    pub(crate) length: usize,
    /// Where in the memory object it begins.
    pub(crate) offset: usize,
    /// The buffer's MDL, if the driver gave one.
    pub(crate) mdl: usize,
}

impl Piece {
    fn address(&self) -> *mut c_void {
        core::ptr::with_exposed_provenance_mut(self.at)
    }

    fn handle(&self) -> WDFMEMORY {
        self.memory.as_ref().map_or(WDFMEMORY::NULL, |memory| memory.handle())
    }

    fn bytes(&self) -> Result<u32, NTSTATUS> {
        u32::try_from(self.length).map_err(|_| NTSTATUS::INVALID_PARAMETER)
    }

    fn keep(&self, side: &mut SendSide) {
        if let Some(memory) = &self.memory {
            side.keep(memory.any().clone());
        }
    }

    fn mdl(&self, side: &mut SendSide) -> Result<*mut MDL, NTSTATUS> {
        if self.length == 0 {
            return Ok(null_mut());
        }
        if self.mdl != 0 { Ok(core::ptr::with_exposed_provenance_mut(self.mdl)) } else { side.mdl(self.address(), self.length) }
    }
}

/// A buffer by its memory object and the part of it that is meant; nothing for a null handle.
///
/// # Errors
/// `INTEGER_OVERFLOW`, `BUFFER_TOO_SMALL` when the part is not within the object.
pub(crate) fn piece(call: &Call, memory: WDFMEMORY, part: *const WDFMEMORY_OFFSET) -> Result<Piece, NTSTATUS> {
    let Some(memory) = call.optional_object::<Memory>(memory) else { return Ok(Piece::default()) };
    let (start, size) = memory.buffer();
    let (offset, length) = match call.optional(part) {
        None => (0, size),
        Some(part) if part.BufferLength == 0 => {
            (part.BufferOffset, size.checked_sub(part.BufferOffset).ok_or(NTSTATUS::BUFFER_TOO_SMALL)?)
        }
        Some(part) => (part.BufferOffset, part.BufferLength),
    };
    if offset.checked_add(length).ok_or(NTSTATUS::INTEGER_OVERFLOW)? > size {
        return Err(NTSTATUS::BUFFER_TOO_SMALL);
    }
    Ok(Piece { memory: Some(memory), at: start.expose_provenance() + offset, length, offset, mdl: 0 })
}

ddi! {
    fn WdfIoTargetFormatRequestForRead(call, target: WDFIOTARGET, request: WDFREQUEST, memory: WDFMEMORY, part: *mut WDFMEMORY_OFFSET, device_offset: *mut i64) -> NTSTATUS {
        let (target, request) = begin(call, target, request);
        let offset = call.optional(device_offset).copied().unwrap_or(0);
        status(piece(call, memory, part).and_then(|piece| transfer(call, &target, &request, IRP_MJ_READ, &piece, offset)))
    }

    fn WdfIoTargetFormatRequestForWrite(call, target: WDFIOTARGET, request: WDFREQUEST, memory: WDFMEMORY, part: *mut WDFMEMORY_OFFSET, device_offset: *mut i64) -> NTSTATUS {
        let (target, request) = begin(call, target, request);
        let offset = call.optional(device_offset).copied().unwrap_or(0);
        status(piece(call, memory, part).and_then(|piece| transfer(call, &target, &request, IRP_MJ_WRITE, &piece, offset)))
    }

    fn WdfIoTargetFormatRequestForIoctl(call, target: WDFIOTARGET, request: WDFREQUEST, code: u32, input: WDFMEMORY, input_part: *mut WDFMEMORY_OFFSET, output: WDFMEMORY, output_part: *mut WDFMEMORY_OFFSET) -> NTSTATUS {
        let (target, request) = begin(call, target, request);
        let formatted = piece(call, input, input_part).and_then(|input| {
            control(call, &target, &request, IRP_MJ_DEVICE_CONTROL, code, &input, &piece(call, output, output_part)?)
        });
        status(formatted)
    }

    fn WdfIoTargetFormatRequestForInternalIoctl(call, target: WDFIOTARGET, request: WDFREQUEST, code: u32, input: WDFMEMORY, input_part: *mut WDFMEMORY_OFFSET, output: WDFMEMORY, output_part: *mut WDFMEMORY_OFFSET) -> NTSTATUS {
        let (target, request) = begin(call, target, request);
        let formatted = piece(call, input, input_part).and_then(|input| {
            control(call, &target, &request, IRP_MJ_INTERNAL_DEVICE_CONTROL, code, &input, &piece(call, output, output_part)?)
        });
        status(formatted)
    }

    fn WdfIoTargetFormatRequestForInternalIoctlOthers(call, target: WDFIOTARGET, request: WDFREQUEST, code: u32, first: WDFMEMORY, first_part: *mut WDFMEMORY_OFFSET, second: WDFMEMORY, second_part: *mut WDFMEMORY_OFFSET, fourth: WDFMEMORY, fourth_part: *mut WDFMEMORY_OFFSET) -> NTSTATUS {
        let (target, request) = begin(call, target, request);
        let pieces = piece(call, first, first_part).and_then(|first| {
            Ok([first, piece(call, second, second_part)?, piece(call, fourth, fourth_part)?])
        });
        status(pieces.and_then(|pieces| others(call, &target, &request, code, &pieces)))
    }
}

fn status(result: Result<(), NTSTATUS>) -> NTSTATUS {
    result.map_or_else(|status| status, |()| NTSTATUS::SUCCESS)
}

fn begin(call: &Call, target: WDFIOTARGET, request: WDFREQUEST) -> (Ref<Target>, Ref<Request>) {
    call.irql_at_most(DISPATCH_LEVEL);
    (call.object::<Target>(target), call.object::<Request>(request))
}

/// Prepares the IRP for a format; its send side, and the next stack location with all but the parameters.
#[allow(clippy::mut_from_ref, reason = "ownership of the request guards its send side, not the borrow")]
fn prepare<'a>(
    call: &Call,
    target: &Ref<Target>,
    request: &'a Ref<Request>,
    major: u8,
) -> Result<(*mut IRP, &'a mut SendSide, IO_STACK_LOCATION), NTSTATUS> {
    if send::is_sent(call, request) || request.sent.lock().is_under_way() {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    if request.origin == Origin::Incoming && ownership::accessible(call, request).is_none() {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    let irp = create::irp_for(request, target)?;
    // SAFETY: the driver owns the request, which is neither sent nor completed, and has given it to this call.
    let side = unsafe { request.send_side() };
    // SAFETY: the IRP is the request's.
    unsafe { side.begin_format(irp, request.origin != Origin::Created) };
    let mut stack = IO_STACK_LOCATION::zeroed();
    stack.MajorFunction = major;
    let file = target.guarded.lock().file;
    stack.FileObject = if file.is_null() { request.wdm_file() } else { file };
    let log = &call.globals.history;
    log.record(Event::RequestFormatted, request.any().header().handle, target.any().header().handle, major as usize);
    Ok((irp, side, stack))
}

/// Undoes [`prepare`] when the format fails, or writes the location.
fn conclude(irp: *mut IRP, side: &mut SendSide, stack: IO_STACK_LOCATION, result: Result<(), NTSTATUS>) -> Result<(), NTSTATUS> {
    match result {
        // SAFETY: `prepare` has seen that there is a next location.
        Ok(()) => unsafe { *next_stack_location(irp) = stack },
        Err(_) => {
            side.give_back(irp);
            side.release_memories();
            side.formatted = false;
        }
    }
    result
}

/// A read or write.
pub(crate) fn transfer(
    call: &Call,
    target: &Ref<Target>,
    request: &Ref<Request>,
    major: u8,
    piece: &Piece,
    device_offset: i64,
) -> Result<(), NTSTATUS> {
    let bytes = piece.bytes()?;
    let device = target.device_object();
    if device.is_null() {
        return Err(NTSTATUS::INVALID_DEVICE_STATE);
    }
    let (irp, side, mut stack) = prepare(call, target, request, major)?;
    stack.Parameters.Read.Length = bytes;
    stack.Parameters.Read.ByteOffset = device_offset;
    // SAFETY: the target keeps its device.
    let flags = unsafe { (*device).Flags };
    // SAFETY: the IRP is the request's, and not sent.
    let placed = unsafe {
        if flags & DO_BUFFERED_IO != 0 {
            (*irp).AssociatedIrp.SystemBuffer = piece.address();
            Ok(())
        } else if flags & DO_DIRECT_IO != 0 {
            piece.mdl(side).map(|mdl| (*irp).MdlAddress = mdl)
        } else {
            (*irp).UserBuffer = piece.address();
            Ok(())
        }
    };
    piece.keep(side);
    side.params.Type = WDF_REQUEST_TYPE(i32::from(major));
    let mut params = side.params.Parameters;
    // Reads and writes have the same members.
    params.Read.Buffer = piece.handle();
    params.Read.Length = piece.length;
    params.Read.Offset = piece.offset;
    side.params.Parameters = params;
    conclude(irp, side, stack, placed)
}

/// A device control or internal device control with input and output.
pub(crate) fn control(
    call: &Call,
    target: &Ref<Target>,
    request: &Ref<Request>,
    major: u8,
    code: u32,
    input: &Piece,
    output: &Piece,
) -> Result<(), NTSTATUS> {
    let (input_bytes, output_bytes) = (input.bytes()?, output.bytes()?);
    let (irp, side, mut stack) = prepare(call, target, request, major)?;
    stack.Parameters.DeviceIoControl.IoControlCode = code;
    stack.Parameters.DeviceIoControl.InputBufferLength = input_bytes;
    stack.Parameters.DeviceIoControl.OutputBufferLength = output_bytes;
    // SAFETY: the IRP is the request's, and not sent.
    let placed = unsafe {
        match code & 3 {
            METHOD_BUFFERED => place_buffered(irp, side, input, output),
            METHOD_NEITHER => {
                stack.Parameters.DeviceIoControl.Type3InputBuffer = input.address();
                (*irp).UserBuffer = output.address();
                Ok(())
            }
            _ => {
                (*irp).AssociatedIrp.SystemBuffer = input.address();
                output.mdl(side).map(|mdl| (*irp).MdlAddress = mdl)
            }
        }
    };
    input.keep(side);
    output.keep(side);
    side.params.Type = WDF_REQUEST_TYPE(i32::from(major));
    let mut params = side.params.Parameters;
    params.Ioctl.IoControlCode = code;
    params.Ioctl.Input.Buffer = input.handle();
    params.Ioctl.Input.Offset = input.offset;
    params.Ioctl.Output.Buffer = output.handle();
    params.Ioctl.Output.Offset = output.offset;
    params.Ioctl.Output.Length = output.length;
    side.params.Parameters = params;
    conclude(irp, side, stack, placed)
}

/// One system buffer for input and output: the driver's own where there is one, or where both are the same; else one of ours.
unsafe fn place_buffered(irp: *mut IRP, side: &mut SendSide, input: &Piece, output: &Piece) -> Result<(), NTSTATUS> {
    let system = if output.length == 0 || (input.at == output.at && input.length >= output.length) {
        input.address()
    } else if input.length == 0 {
        output.address()
    } else {
        let ours = side.system_buffer(input.length.max(output.length))?;
        // SAFETY: the buffer has at least the input's length, and the input is the driver's memory, by its promise.
        unsafe { core::ptr::copy_nonoverlapping(input.address().cast::<u8>(), ours.cast::<u8>(), input.length) };
        side.copy_back_to(CopyBack { to: output.address().cast(), length: output.length });
        ours
    };
    // SAFETY: the caller's promise: the IRP is the request's.
    unsafe { (*irp).AssociatedIrp.SystemBuffer = system };
    Ok(())
}

/// An internal device control whose arguments are the addresses themselves.
pub(crate) fn others(
    call: &Call,
    target: &Ref<Target>,
    request: &Ref<Request>,
    code: u32,
    pieces: &[Piece; 3],
) -> Result<(), NTSTATUS> {
    let (irp, side, mut stack) = prepare(call, target, request, IRP_MJ_INTERNAL_DEVICE_CONTROL)?;
    let [first, second, fourth] = pieces;
    stack.Parameters.Others.Argument1 = first.address();
    stack.Parameters.Others.Argument2 = second.address();
    stack.Parameters.Others.Argument4 = fourth.address();
    // The third argument is the code; it lies where the code of a device control lies.
    stack.Parameters.DeviceIoControl.IoControlCode = code;
    for piece in pieces {
        piece.keep(side);
    }
    side.params.Type = WDF_REQUEST_TYPE::WdfRequestTypeOther;
    let mut params = side.params.Parameters;
    params.Others.Argument1.Ptr = first.address();
    params.Others.Argument2.Ptr = second.address();
    params.Others.Argument3.Value = code as usize;
    params.Others.Argument4.Ptr = fourth.address();
    side.params.Parameters = params;
    conclude(irp, side, stack, Ok(()))
}
