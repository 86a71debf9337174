//! I/O completion ports: a queue of finished requests that threads wait at.

use alloc::collections::VecDeque;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::EXECUTIVE;
use wdf_sys::wdm::functions::{KeInitializeSemaphore, KeReleaseSemaphore, KeWaitForSingleObject};
use wdf_sys::wdm::{IO_STATUS_BLOCK, KSEMAPHORE};

use crate::lock::SpinLock;
use crate::object::{ObjectRef, ObjectType};

/// Completion ports.
pub(crate) static IO_COMPLETION: ObjectType = ObjectType::of::<CompletionPort>("IoCompletion");

/// Most packets that wait in one port.
const MAX_PACKETS: usize = 1 << 20;

/// One finished request.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) key: usize,
    pub(crate) context: usize,
    pub(crate) block: IO_STATUS_BLOCK,
}

/// Body of a port. The semaphore comes first, so that a port can be waited for as on Windows: its count is that of packets.
#[repr(C)]
pub(crate) struct CompletionPort {
    waiting: core::cell::UnsafeCell<KSEMAPHORE>,
    packets: SpinLock<VecDeque<Packet>>,
}

// SAFETY: the semaphore is used through the dispatcher's functions only, which have their lock.
unsafe impl Sync for CompletionPort {}
// SAFETY: as above.
unsafe impl Send for CompletionPort {}

/// A new port.
pub(crate) fn create() -> Result<ObjectRef, NTSTATUS> {
    let port =
        CompletionPort { waiting: core::cell::UnsafeCell::new(KSEMAPHORE::zeroed()), packets: SpinLock::new(VecDeque::new()) };
    let object = ObjectRef::new(&IO_COMPLETION, port)?;
    // SAFETY: the semaphore is the body's first field, where it will stay; nobody else knows the port yet.
    unsafe { KeInitializeSemaphore(object.body().cast(), 0, i32::MAX) };
    Ok(object)
}

/// Puts a packet into a port.
pub(crate) fn post(port: &ObjectRef, packet: Packet) {
    let Some(body) = port.get::<CompletionPort>(&IO_COMPLETION) else { return };
    {
        let mut packets = body.packets.lock();
        if packets.len() >= MAX_PACKETS {
            return crate::log!("a completion port is full: a packet is lost");
        }
        packets.push_back(packet);
    }
    // SAFETY: the semaphore was initialised at creation.
    unsafe { KeReleaseSemaphore(body.waiting.get(), 0, 1, 0) };
}

/// Takes the next packet, or waits for it. `timeout` as for `KeWaitForSingleObject`, null for ever.
pub(crate) fn remove(port: &ObjectRef, mode: i8, timeout: *mut i64) -> Result<Packet, NTSTATUS> {
    let body = port.get::<CompletionPort>(&IO_COMPLETION).ok_or(NTSTATUS::OBJECT_TYPE_MISMATCH)?;
    // SAFETY: the semaphore was initialised at creation; the time-out is the caller's local.
    let status = unsafe { KeWaitForSingleObject(body.waiting.get().cast(), EXECUTIVE, mode, 0, timeout) };
    if status != NTSTATUS::SUCCESS {
        return Err(status);
    }
    body.packets.lock().pop_front().ok_or(NTSTATUS::INTERNAL_ERROR)
}
