//! Events: a driver writes one at up to `APC_LEVEL`, a worker tells those who want it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::ExFreePool;

use super::wnode::{self, guid_at, one, u32_at};
use super::{block, query, registration};
use crate::lock::SpinLock;

/// Most bytes of an event, and most that wait.
const MOST_BYTES: usize = 0x1_0000;
const MOST_WAITING: usize = 1024;
/// Offsets in a `WNODE_EVENT_REFERENCE`.
const TARGET: usize = 48;
const TARGET_INDEX: usize = 68;

static WAITING: SpinLock<VecDeque<Vec<u8>>> = SpinLock::new(VecDeque::new());
static TELLS: AtomicBool = AtomicBool::new(false);

/// # Safety
/// As the documentation of IoWMIWriteEvent demands: a block of pool that is ours to free if this succeeds.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMIWriteEvent(WnodeEventItem: *mut c_void) -> NTSTATUS {
    if WnodeEventItem.is_null() {
        return NTSTATUS::INVALID_PARAMETER;
    }
    let start: *mut u8 = WnodeEventItem.cast();
    // SAFETY: the caller's promise: a whole header.
    let head = unsafe { core::slice::from_raw_parts(start, wnode::HEADER) };
    let flags = u32_at(head, wnode::FLAGS).unwrap_or(0);
    let size = u32_at(head, wnode::BUFFER_SIZE).unwrap_or(0) as usize;
    // What goes to a trace session: none is there, so that the session it names is not.
    if flags & (WNODE_FLAG_TRACED_GUID | WNODE_FLAG_LOG_WNODE) != 0 && flags & WNODE_FLAG_EVENT_ITEM == 0 {
        return NTSTATUS::INVALID_HANDLE;
    }
    if flags & WNODE_FLAG_EVENT_ITEM == 0 || size < wnode::HEADER {
        return NTSTATUS::INVALID_PARAMETER;
    }
    if size > MOST_BYTES {
        return NTSTATUS::BUFFER_OVERFLOW;
    }
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(size).is_err() {
        return NTSTATUS::INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller's promise: as many bytes as the header says.
    bytes.extend_from_slice(unsafe { core::slice::from_raw_parts(start, size) });
    {
        let mut waiting = WAITING.lock();
        if waiting.len() >= MOST_WAITING {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        waiting.push_back(bytes);
    }
    // SAFETY: pool, and ours now.
    unsafe { ExFreePool(WnodeEventItem) };
    crate::work::queue_system_work(tell_all);
    NTSTATUS::SUCCESS
}

/// One worker at a time tells, so that events come in order.
fn tell_all() {
    while !TELLS.swap(true, Ordering::AcqRel) {
        while let Some(event) = {
            let mut waiting = WAITING.lock();
            waiting.pop_front()
        } {
            tell(event);
        }
        TELLS.store(false, Ordering::Release);
        if WAITING.lock().is_empty() {
            return;
        }
    }
}

fn tell(event: Vec<u8>) {
    let Some(guid) = guid_at(&event, wnode::GUID_AT) else { return };
    let listeners = block::listeners_of(&guid);
    if listeners.is_empty() {
        return;
    }
    let whole = if u32_at(&event, wnode::FLAGS).unwrap_or(0) & WNODE_FLAG_EVENT_REFERENCE != 0 {
        match fetch(&event) {
            Some(whole) => whole,
            None => return,
        }
    } else {
        named(event)
    };
    for listener in listeners {
        // A consumer may write into its node.
        let mut node = whole.clone();
        // SAFETY: the consumer gave routine and context until it closes the block; the node is whole.
        unsafe { (listener.routine)(node.as_mut_ptr().cast(), core::ptr::with_exposed_provenance_mut(listener.context)) };
    }
}

/// An event of a static instance, with the instance's name behind it.
fn named(mut event: Vec<u8>) -> Vec<u8> {
    let flags = u32_at(&event, wnode::FLAGS).unwrap_or(0);
    let is_static = flags & (WNODE_FLAG_STATIC_INSTANCE_NAMES | WNODE_FLAG_PDO_INSTANCE_NAMES) != 0;
    if !is_static || flags & WNODE_FLAG_SINGLE_INSTANCE == 0 || event.len() < one::INDEX + 4 {
        return event;
    }
    let name = guid_at(&event, wnode::GUID_AT).and_then(|guid| {
        let provider = registration::by_number(u32_at(&event, wnode::PROVIDER_ID)?)?;
        provider.block(&guid)?.names.get(u32_at(&event, one::INDEX)? as usize).cloned()
    });
    if let Some(name) = name {
        let at = wnode::append_counted(&mut event, &name);
        wnode::put(&mut event, one::NAME_OFFSET, at as u32);
        let size = event.len() as u32;
        wnode::put(&mut event, wnode::BUFFER_SIZE, size);
    }
    event
}

/// What an event refers to, asked of its provider.
fn fetch(event: &[u8]) -> Option<Vec<u8>> {
    let target = guid_at(event, TARGET)?;
    let provider = registration::by_number(u32_at(event, wnode::PROVIDER_ID)?)?;
    let mut node = query::by_index(&provider, &target, u32_at(event, TARGET_INDEX)?)
        .inspect_err(|status| crate::log!("the instance that a WMI event refers to cannot be had: {status}"))
        .ok()?;
    let flags = u32_at(&node, wnode::FLAGS)? | WNODE_FLAG_EVENT_ITEM;
    wnode::put(&mut node, wnode::FLAGS, flags);
    // It is an event of the block that the listener waits for.
    node.get_mut(wnode::GUID_AT..wnode::GUID_AT + 16)?.copy_from_slice(event.get(wnode::GUID_AT..wnode::GUID_AT + 16)?);
    Some(node)
}
