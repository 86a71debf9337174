//! The object tree: who is whose child, deletion from the leaves up, destruction when the last reference goes.
//!
//! Deletion has three parts, each done once. *Begin*: no child, context or callback is added any more. *Clean up*: children first, then
//! the driver's cleanup callbacks. *Destroy*: when no reference is left, the destroy callbacks, then the memory. A child keeps its
//! parent's memory, so a parent is destroyed after its children.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::Ordering;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::DELAYED_WORK_QUEUE;
use wdf_sys::wdm::functions::{ExFreePoolWithTag, ExQueueWorkItem};
use wdf_sys::wdm::{initialize_list_head, insert_tail_list, is_list_empty, remove_entry_list};

use super::{ALIVE, AnyRef, CLEANUP_AT_PASSIVE, DELETING, DISPOSED, Header, Kind, NO_CALLBACKS, context, handles};
use crate::history::Event;
use crate::sync::{self, PASSIVE_LEVEL};

/// Makes the header's lists point at themselves, at the place where it stays.
///
/// # Safety
/// Nobody else knows the object yet.
pub(crate) unsafe fn initialize_links(header: NonNull<Header>) {
    // SAFETY: the caller's promise; the cells are the header's own.
    unsafe {
        initialize_list_head(header.as_ref().children.get());
        initialize_list_head(header.as_ref().sibling.get());
    }
}

/// Makes `child` the youngest child of `parent`.
///
/// # Errors
/// `DELETE_PENDING` when the parent is being deleted.
pub(crate) fn adopt(parent: &AnyRef, child: &AnyRef) -> Result<(), NTSTATUS> {
    let lock = parent.header().tree_lock.lock();
    if !parent.is_alive() {
        return Err(NTSTATUS::DELETE_PENDING);
    }
    // SAFETY: both headers are whole; the parent's lock guards its list and the child's sibling links.
    unsafe { insert_tail_list(parent.header().children.get(), child.header().sibling.get()) };
    // The child's reference on its parent, given back when the child is destroyed.
    let kept = parent.clone().into_counted();
    child.header().parent.store(kept.as_ptr(), Ordering::Release);
    drop(lock);
    Ok(())
}

/// Takes the child out of its parent's list. Harmless when it is in none.
fn leave(child: &AnyRef) {
    let Some(parent) = child.parent() else { return };
    let _lock = parent.header().tree_lock.lock();
    // SAFETY: the parent's lock guards the links; an entry that is in no list points at itself.
    unsafe { remove_entry_list(child.header().sibling.get()) };
}

/// The eldest child that is left, taken out of the list.
fn take_child(parent: &AnyRef) -> Option<AnyRef> {
    let _lock = parent.header().tree_lock.lock();
    let head = parent.header().children.get();
    // SAFETY: the lock guards the list. Each entry is the `sibling` of a header that still has its creation reference, since an object
    // leaves the list before it gives that reference back; so another one may be counted.
    unsafe {
        if is_list_empty(head) {
            return None;
        }
        let entry = (*head).Flink;
        remove_entry_list(entry);
        let child = entry.byte_sub(core::mem::offset_of!(Header, sibling)).cast::<Header>();
        Some(super::add_reference(NonNull::new_unchecked(child)))
    }
}

/// Begins the deletion; `false` when it has begun before.
fn begin(object: &AnyRef) -> bool {
    // Under the lock, so that `adopt` and `context::add` see either state wholly.
    let _lock = object.header().tree_lock.lock();
    object.header().state.compare_exchange(ALIVE, DELETING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Deletes the object and its children: now, or at PASSIVE_LEVEL soon when its cleanup needs that and the caller runs above. `false`
/// when its deletion had begun before.
pub(crate) fn delete(object: &AnyRef) -> bool {
    if !begin(object) {
        return false;
    }
    object.globals().history.record(Event::Deleted, object.header().handle, object.kind() as usize, 0);
    if sync::irql() > PASSIVE_LEVEL && needs_passive_level(object) {
        defer(object.clone());
    } else {
        dispose(object);
    }
    true
}

fn needs_passive_level(object: &AnyRef) -> bool {
    object.kind().needs_passive_level() || object.is_passive() || object.has_flags(CLEANUP_AT_PASSIVE)
}

fn defer(object: AnyRef) {
    let item = object.header().deferred.get();
    let header = object.into_counted();
    // SAFETY: the item is part of the object, which the counted reference keeps until the routine has run; deletion begins once, so
    // the item is queued once.
    unsafe {
        (*item).WorkerRoutine = Some(dispose_later);
        (*item).Parameter = header.as_ptr().cast();
        ExQueueWorkItem(item, DELAYED_WORK_QUEUE);
    }
}

unsafe extern "win64" fn dispose_later(parameter: *mut c_void) {
    // SAFETY: `defer` put a header with a counted reference there.
    let object = unsafe { AnyRef::from_counted(NonNull::new_unchecked(parameter.cast())) };
    dispose(&object);
}

/// Cleans up an object whose deletion has begun.
fn dispose(object: &AnyRef) {
    let body_type = object.header().body_type;
    (body_type.before_children)(object);
    while let Some(child) = take_child(object) {
        delete(&child);
    }
    (body_type.before_cleanup)(object);
    if !object.has_flags(NO_CALLBACKS) {
        context::call_cleanup(object);
    }
    (body_type.after_cleanup)(object);
    leave(object);
    object.header().state.store(DISPOSED, Ordering::Release);
    // SAFETY: the creation reference, which `create` left counted for this moment; deletion begins once.
    drop(unsafe { AnyRef::from_counted(object.as_ptr()) });
}

/// Destroys an object whose last reference is gone. The table has counted one more for this call.
///
/// # Safety
/// Called once, by whoever got [`handles::Released::Last`] or [`handles::Released::Free`] for the object.
pub(crate) unsafe fn destroy(header: NonNull<Header>) {
    {
        // SAFETY: the table keeps the object for this caller; dropping this reference would come back here, so it is given up below.
        let object = core::mem::ManuallyDrop::new(unsafe { AnyRef::from_counted(header) });
        if !object.has_flags(NO_CALLBACKS) {
            context::call_destroy(&object);
        }
    }
    // SAFETY: the header is whole until `free`.
    let handle = unsafe { header.as_ref() }.handle;
    if handles::release(handle) == handles::Released::Free {
        // SAFETY: nobody refers to it any more.
        unsafe { free(header) };
    }
}

/// Frees the object's memory and retires its handle.
///
/// # Safety
/// Nobody refers to the object any more, and its handle finds nothing.
pub(crate) unsafe fn free(header: NonNull<Header>) {
    // SAFETY: the caller's promise: the object is whole and nobody else's.
    unsafe {
        let (globals, handle) = (header.as_ref().globals, header.as_ref().handle);
        let (kind, size) = (header.as_ref().body_type.kind, header.as_ref().size);
        let parent = NonNull::new(header.as_ref().parent.swap(null_mut(), Ordering::AcqRel));
        context::free_all(header);
        (header.as_ref().body_type.drop_body)(header);
        globals.history.record(Event::Destroyed, handle, header.as_ref().body_type.kind as usize, 0);
        handles::retire(handle);
        let block = header.as_ptr().cast();
        if kind != Kind::Request || !globals.request_blocks.keep(block, size) {
            ExFreePoolWithTag(block, globals.tag());
        }
        // Last, since a driver without objects may be unbound, and its globals freed.
        globals.live_objects.fetch_sub(1, Ordering::Release);
        if let Some(parent) = parent {
            drop(AnyRef::from_counted(parent));
        }
    }
}

/// Deletes a driver's root object and waits until none of the driver's objects is left, at most `milliseconds`; whether none is.
/// PASSIVE_LEVEL.
pub(crate) fn delete_root(root: AnyRef, milliseconds: u32) -> bool {
    let globals = root.globals();
    delete(&root);
    drop(root);
    for _ in 0..milliseconds.div_ceil(10) {
        if globals.live_objects.load(Ordering::Acquire) == 0 {
            return true;
        }
        sync::sleep(10);
    }
    globals.live_objects.load(Ordering::Acquire) == 0
}
