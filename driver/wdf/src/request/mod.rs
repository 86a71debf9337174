//! Requests that a queue presented: a [`Request`] is the driver's right and duty to end one. What ends that right takes it by value:
//! completing, forwarding, requeueing, sending, making it cancelable. What is dropped is completed with an error, so that none is lost.

pub(crate) mod cancel;
pub(crate) mod irp;
pub(crate) mod own;
pub(crate) mod pass;
pub(crate) mod state;

use core::mem::ManuallyDrop;

use wdf_sys::wdf::WDF_REQUEST_PARAMETERS;
use wdf_sys::wdf::functions::*;
use wdf_sys::{FALSE, WDFMEMORY, WDFREQUEST};

use crate::bytes::{Bytes, BytesMut};
use crate::file::File;
use crate::queue::{Queue, QueueEvents};
use crate::{NTSTATUS, Result};
use state::RequestState;

/// Names a request for as long as the driver holds it in some form; equal for all forms of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub(crate) usize);

impl RequestId {
    pub(crate) fn of(handle: WDFREQUEST) -> Self {
        Self(handle.0 as usize)
    }
}

/// What an I/O control says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoControl {
    /// The control code.
    pub code: u32,
    /// Bytes in the first buffer.
    pub input_length: usize,
    /// Bytes in the second buffer.
    pub output_length: usize,
}

/// A request that did not go where it was sent; the driver still has it.
#[derive(Debug)]
#[must_use = "the request in it is still to be completed"]
pub struct Refused {
    /// The request.
    pub request: Request,
    /// Why.
    pub status: NTSTATUS,
}

impl Refused {
    /// Completes the request with the status of the refusal.
    pub fn complete(self) {
        self.request.complete(self.status);
    }
}

/// A request that a queue presented and that the driver now owns.
#[derive(Debug)]
#[must_use = "a request that is dropped is completed with STATUS_INTERNAL_ERROR"]
pub struct Request {
    handle: WDFREQUEST,
}

// SAFETY: a request's handle is good on any thread; that there is one owner is what the type says.
unsafe impl Send for Request {}
// SAFETY: the methods on a shared reference only read.
unsafe impl Sync for Request {}

impl Request {
    /// # Safety
    /// The framework presented the request to the driver, and nobody else has it.
    pub(crate) const unsafe fn presented(handle: WDFREQUEST) -> Self {
        Self { handle }
    }

    pub(crate) const fn handle(&self) -> WDFREQUEST {
        self.handle
    }

    /// Gives up ownership without ending it.
    pub(crate) fn into_handle(self) -> WDFREQUEST {
        ManuallyDrop::new(self).handle
    }

    /// Names this request.
    #[must_use]
    pub fn id(&self) -> RequestId {
        RequestId::of(self.handle)
    }

    /// Completes it.
    pub fn complete(self, status: NTSTATUS) {
        // SAFETY: the driver owned the request, and no longer does.
        unsafe { WdfRequestComplete(self.into_handle(), status) };
    }

    /// Completes it, with the number of bytes transferred.
    pub fn complete_with_information(self, status: NTSTATUS, information: usize) {
        // SAFETY: as above.
        unsafe { WdfRequestCompleteWithInformation(self.into_handle(), status, information) };
    }

    /// Completes it with the outcome of some work: its byte count, or its error.
    pub fn complete_with(self, outcome: Result<usize>) {
        match outcome {
            Ok(information) => self.complete_with_information(NTSTATUS::SUCCESS, information),
            Err(status) => self.complete(status),
        }
    }

    /// Hands it to another queue of the same device. The queue may present it before this returns.
    ///
    /// # Errors
    /// The request, with `STATUS_WDF_BUSY` when the queue takes no requests, `STATUS_INVALID_DEVICE_STATE` when there is none.
    pub fn forward<Q: QueueEvents>(self, queue: &Queue<Q>) -> Result<(), Refused> {
        let queue = match queue.handle() {
            Ok(queue) => queue,
            Err(status) => return Err(Refused { request: self, status }),
        };
        // SAFETY: the driver owns the request, which a queue presented and which is not cancelable: that is what `Request` means.
        let status = unsafe { WdfRequestForwardToIoQueue(self.handle, queue) };
        self.unless_gone(status)
    }

    /// Puts it back at the head of the manual queue it was retrieved from.
    ///
    /// # Errors
    /// The request, with `STATUS_INVALID_DEVICE_REQUEST` when the queue is not a manual one.
    pub fn requeue(self) -> Result<(), Refused> {
        // SAFETY: as in `forward`.
        let status = unsafe { WdfRequestRequeue(self.handle) };
        self.unless_gone(status)
    }

    fn unless_gone(self, status: NTSTATUS) -> Result<(), Refused> {
        if status.is_success() {
            let _gone = self.into_handle();
            return Ok(());
        }
        Err(Refused { request: self, status })
    }

    /// Whether whoever sent it wants it back.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        // SAFETY: the driver owns the request.
        unsafe { WdfRequestIsCanceled(self.handle) != FALSE }
    }

    /// The I/O control it is; an error for other requests.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_REQUEST` when it is no I/O control.
    pub fn control(&self) -> Result<IoControl> {
        // SAFETY: the driver owns the request.
        unsafe { control(self.handle) }
    }

    /// The file object it came through, if any.
    #[must_use]
    pub fn file(&self) -> Option<File<'_>> {
        // SAFETY: the driver owns the request.
        let file = unsafe { WdfRequestGetFileObject(self.handle) };
        // SAFETY: a file object is there for as long as a request that came through it, which `self` keeps from being completed.
        (!file.is_null()).then(|| unsafe { File::new(file) })
    }

    /// What the sender gave: the first buffer of an I/O control, the buffer of a write.
    ///
    /// # Errors
    /// What the framework says; `STATUS_INVALID_DEVICE_REQUEST` for a METHOD_NEITHER buffer that was not locked.
    pub fn input(&self) -> Result<Bytes<'_>> {
        if let Some(memory) = self.state().and_then(RequestState::locked_input) {
            let (start, length) = memory_buffer(memory);
            // SAFETY: the framework locked and mapped these bytes; they stay until the request is completed, which takes `self`.
            return Ok(unsafe { Bytes::new(start, length) });
        }
        let (mut start, mut length) = (core::ptr::null_mut(), 0);
        // SAFETY: the driver owns the request.
        let status = unsafe { WdfRequestRetrieveInputBuffer(self.handle, 0, &raw mut start, &raw mut length) };
        if !retrieved(status)? {
            return Ok(Bytes::EMPTY);
        }
        // SAFETY: the framework says that these bytes are the request's; they stay until it is completed, which takes `self`.
        Ok(unsafe { Bytes::new(start.cast(), length) })
    }

    /// Where the answer goes: the second buffer of an I/O control, the buffer of a read. The second buffer of METHOD_IN_DIRECT is for
    /// reading.
    ///
    /// # Errors
    /// As [`input`](Self::input).
    pub fn output(&mut self) -> Result<BytesMut<'_>> {
        if let Some(memory) = self.state().and_then(RequestState::locked_output) {
            let (start, length) = memory_buffer(memory);
            // SAFETY: as in `input`.
            return Ok(unsafe { BytesMut::new(start, length) });
        }
        let (mut start, mut length) = (core::ptr::null_mut(), 0);
        // SAFETY: the driver owns the request.
        let status = unsafe { WdfRequestRetrieveOutputBuffer(self.handle, 0, &raw mut start, &raw mut length) };
        if !retrieved(status)? {
            return Ok(BytesMut::empty());
        }
        // SAFETY: as in `input`; `&mut self` keeps the input, which may be the same memory, away.
        Ok(unsafe { BytesMut::new(start.cast(), length) })
    }

    fn state(&self) -> Option<&RequestState> {
        // SAFETY: the driver owns the request.
        unsafe { RequestState::of(self.handle) }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // A request that a handler forgot: its sender must not wait for ever.
        // SAFETY: the driver owns the request, and no longer does.
        unsafe { WdfRequestComplete(self.handle, NTSTATUS::INTERNAL_ERROR) };
    }
}

/// Whether there is a buffer. Asked for at least nothing, the framework calls only an empty buffer too small.
fn retrieved(status: NTSTATUS) -> Result<bool> {
    if status == NTSTATUS::BUFFER_TOO_SMALL {
        return Ok(false);
    }
    status.ok().map(|()| true)
}

/// # Safety
/// `handle` is a valid request.
pub(crate) unsafe fn control(handle: WDFREQUEST) -> Result<IoControl> {
    use wdf_sys::wdf::WDF_REQUEST_TYPE as Type;
    let mut parameters = WDF_REQUEST_PARAMETERS::new();
    // SAFETY: the caller's promise.
    unsafe { WdfRequestGetParameters(handle, &raw mut parameters) };
    if !matches!(parameters.Type, Type::WdfRequestTypeDeviceControl | Type::WdfRequestTypeDeviceControlInternal) {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    // SAFETY: `Type` says which member is meant; all are integers.
    let control = unsafe { parameters.Parameters.DeviceIoControl };
    Ok(IoControl {
        code: control.IoControlCode,
        input_length: control.InputBufferLength,
        output_length: control.OutputBufferLength,
    })
}

/// The bytes of a memory object.
pub(crate) fn memory_buffer(memory: WDFMEMORY) -> (*mut u8, usize) {
    let mut length = 0;
    // SAFETY: only called with memory objects that the framework made for a request that the driver owns.
    let start = unsafe { WdfMemoryGetBuffer(memory, &raw mut length) };
    (start.cast(), length)
}

#[cfg(test)]
mod own_tests;
#[cfg(test)]
mod tests;
