//! The object manager: bodies with a header before them, counted references, types, and what happens when the last one goes.
//!
//! What drivers hold is the address of a body (a `DEVICE_OBJECT`, a `FILE_OBJECT`, a `KEVENT`); the header before it is ours.
//! [`ObjectRef`] is one reference in Rust's hands. [`directory`] gives objects names, [`handle`] gives them handles.

pub(crate) mod directory;
pub(crate) mod exports;
pub(crate) mod handle;
pub(crate) mod name;
pub(crate) mod tagged;

use alloc::alloc::{alloc_zeroed, dealloc};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicIsize, Ordering, fence};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::bug_check;
use wdf_sys::wdm::functions::{KeBugCheckEx, KeGetCurrentIrql};

use crate::hal::PASSIVE_LEVEL;
use crate::lock::SpinLock;

/// What all objects of one kind have in common.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ObjectType {
    /// Name, as in Windows' `\ObjectTypes`.
    pub(crate) name: &'static str,
    /// Called once when the last reference has gone, before the memory goes.
    pub(crate) delete: unsafe fn(*mut c_void),
    /// Called when the last handle of all processes has gone.
    pub(crate) last_handle_closed: Option<unsafe fn(*mut c_void)>,
    /// Whether `delete` must run at `PASSIVE_LEVEL`.
    pub(crate) deletes_at_passive_level: bool,
}

impl ObjectType {
    /// A type whose body is the Rust value `T`, dropped with its object.
    pub(crate) const fn of<T>(name: &'static str) -> Self {
        Self { name, delete: drop_body::<T>, last_handle_closed: None, deletes_at_passive_level: false }
    }
}

/// # Safety
/// `body` holds a `T` that no one will use again.
unsafe fn drop_body<T>(body: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { body.cast::<T>().drop_in_place() }
}

/// What precedes every body.
#[repr(C, align(16))]
struct Header {
    references: AtomicIsize,
    handles: AtomicIsize,
    kind: &'static ObjectType,
    /// Bytes of body.
    size: usize,
    /// Marks a header, so that an address that never was an object is told from one; cleared when the object goes.
    mark: usize,
    reserved: usize,
}

const MARK: usize = 0x4a42_4f54_454c_544e;
const HEADER: usize = size_of::<Header>();

/// Largest body. Device extensions are the largest there are.
const MAX_BODY: usize = 1 << 20;

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(HEADER.checked_add(size)?, 16).ok()
}

/// One counted reference to an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ObjectRef(NonNull<c_void>);

// SAFETY: the count is atomic; what the body allows is its type's matter.
unsafe impl Send for ObjectRef {}
// SAFETY: as above.
unsafe impl Sync for ObjectRef {}

impl ObjectRef {
    /// A new object with a zeroed body of `size` bytes and one reference.
    pub(crate) fn allocate(kind: &'static ObjectType, size: usize) -> Result<Self, NTSTATUS> {
        let layout = layout(size).filter(|_| size <= MAX_BODY).ok_or(NTSTATUS::INSUFFICIENT_RESOURCES)?;
        // SAFETY: the layout is not empty, it has a header at least.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(NTSTATUS::INSUFFICIENT_RESOURCES)?;
        let header =
            Header { references: AtomicIsize::new(1), handles: AtomicIsize::new(0), kind, size, mark: MARK, reserved: 0 };
        // SAFETY: the block is as large as a header and the body, and aligned for a header.
        unsafe {
            start.cast::<Header>().write(header);
            Ok(Self(start.add(HEADER).cast()))
        }
    }

    /// A new object whose body is `value`. `kind` was made by [`ObjectType::of`] for the same type.
    pub(crate) fn new<T>(kind: &'static ObjectType, value: T) -> Result<Self, NTSTATUS> {
        const { assert!(align_of::<T>() <= 16) };
        debug_assert!(core::ptr::fn_addr_eq(kind.delete, drop_body::<T> as unsafe fn(*mut c_void)));
        let object = Self::allocate(kind, size_of::<T>().max(1))?;
        // SAFETY: the body is as large as T, aligned to 16, and not used yet.
        unsafe { object.0.cast::<T>().write(value) };
        Ok(object)
    }

    /// A further reference to an object at an address that someone else named.
    ///
    /// # Safety
    /// `body` is the body of an object that someone holds a reference to meanwhile.
    pub(crate) unsafe fn from_borrowed(body: *mut c_void) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            reference(body);
            Self(NonNull::new_unchecked(body))
        }
    }

    /// Takes over a reference that was counted before.
    ///
    /// # Safety
    /// `body` is the body of an object, and the caller gives up one reference.
    pub(crate) unsafe fn from_owned(body: *mut c_void) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { NonNull::new_unchecked(body) })
    }

    /// A further reference to an object whose last one may be gone meanwhile; none then.
    ///
    /// # Safety
    /// `body` is the body of an object whose memory stays during the call.
    pub(crate) unsafe fn from_living(body: *mut c_void) -> Option<Self> {
        // SAFETY: the caller's promise.
        let references = unsafe { &(*header(body)).references };
        let more = |count: isize| (count > 0).then(|| count + 1);
        references.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        NonNull::new(body).map(Self)
    }

    /// Gives the reference to whoever gets the address.
    pub(crate) fn into_raw(self) -> *mut c_void {
        let body = self.0.as_ptr();
        core::mem::forget(self);
        body
    }

    /// Address of the body.
    pub(crate) const fn body(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// What kind of object it is.
    pub(crate) fn kind(&self) -> &'static ObjectType {
        // SAFETY: self is a reference, so that the header is alive.
        unsafe { (*header(self.body())).kind }
    }

    /// Whether it is of that kind.
    pub(crate) fn is(&self, kind: &'static ObjectType) -> bool {
        core::ptr::eq(self.kind(), kind)
    }

    /// The Rust value in an object of a kind made by [`ObjectType::of`].
    pub(crate) fn get<T>(&self, kind: &'static ObjectType) -> Option<&T> {
        let is_kind = self.is(kind) && core::ptr::fn_addr_eq(kind.delete, drop_body::<T> as unsafe fn(*mut c_void));
        // SAFETY: an object of this kind holds a T, and lives as long as self.
        is_kind.then(|| unsafe { &*self.0.as_ptr().cast::<T>() })
    }

    /// Counts a handle.
    pub(crate) fn handle_opened(&self) {
        // SAFETY: self is a reference, so that the header is alive.
        unsafe { (*header(self.body())).handles.fetch_add(1, Ordering::Relaxed) };
    }

    /// Counts a handle less, and tells the type about the last one.
    pub(crate) fn handle_closed(&self) {
        // SAFETY: as above.
        let was = unsafe { (*header(self.body())).handles.fetch_sub(1, Ordering::AcqRel) };
        if was == 1
            && let Some(closed) = self.kind().last_handle_closed
        {
            // SAFETY: the body is one of this type and alive.
            unsafe { closed(self.body()) };
        }
    }
}

impl Clone for ObjectRef {
    fn clone(&self) -> Self {
        // SAFETY: self is a reference.
        unsafe { Self::from_borrowed(self.body()) }
    }
}

impl Drop for ObjectRef {
    fn drop(&mut self) {
        // SAFETY: self is a reference, given up here.
        unsafe { dereference(self.body()) };
    }
}

fn header(body: *mut c_void) -> *mut Header {
    body.cast::<u8>().wrapping_sub(HEADER).cast()
}

/// Whether an address is that of a live object. For diagnosis: it reads the memory before the address.
///
/// # Safety
/// The memory before `body` is readable.
pub(crate) unsafe fn is_object(body: *mut c_void) -> bool {
    // SAFETY: the caller's promise.
    !body.is_null() && body.addr().is_multiple_of(16) && unsafe { (*header(body)).mark } == MARK
}

/// Type of an object.
///
/// # Safety
/// `body` is the body of a live object.
pub(crate) unsafe fn type_of(body: *mut c_void) -> &'static ObjectType {
    // SAFETY: the caller's promise.
    unsafe { (*header(body)).kind }
}

/// Counts a reference. Bug check `REFERENCE_BY_POINTER` when the object is gone or never was one.
///
/// # Safety
/// `body` was the body of an object.
pub(crate) unsafe fn reference(body: *mut c_void) -> isize {
    // SAFETY: the caller's promise; what is no object is reported.
    unsafe {
        let header = check(body);
        let count = (*header).references.fetch_add(1, Ordering::Relaxed);
        if count <= 0 {
            KeBugCheckEx(bug_check::REFERENCE_BY_POINTER, (*header).kind as *const _ as usize, body.addr(), 1, count as usize);
        }
        count + 1
    }
}

/// Gives up a reference. Bug check as in [`reference`].
///
/// # Safety
/// `body` was the body of an object; the caller does not use it any more.
pub(crate) unsafe fn dereference(body: *mut c_void) -> isize {
    // SAFETY: the caller's promise.
    let count = unsafe {
        let header = check(body);
        let count = (*header).references.fetch_sub(1, Ordering::Release) - 1;
        if count < 0 {
            KeBugCheckEx(bug_check::REFERENCE_BY_POINTER, (*header).kind as *const _ as usize, body.addr(), 2, count as usize);
        }
        count
    };
    if count == 0 {
        fence(Ordering::Acquire);
        // SAFETY: the last reference is gone, so that the object is ours alone.
        unsafe { remove(body) };
    }
    count
}

/// # Safety
/// As [`reference`].
unsafe fn check(body: *mut c_void) -> *mut Header {
    // SAFETY: the caller's promise.
    unsafe {
        if !is_object(body) {
            KeBugCheckEx(bug_check::REFERENCE_BY_POINTER, 0, body.addr(), 3, 0);
        }
    }
    header(body)
}

/// Objects that lost their last reference where they could not be deleted.
static DEFERRED: SpinLock<Vec<usize>> = SpinLock::new(Vec::new());
static DEFERRED_BUSY: AtomicBool = AtomicBool::new(false);

/// # Safety
/// Nobody refers to the object.
unsafe fn remove(body: *mut c_void) {
    // SAFETY: the object is ours.
    let needs_passive = unsafe { (*header(body)).kind.deletes_at_passive_level };
    // SAFETY: reading the IRQL is always allowed.
    if needs_passive && unsafe { KeGetCurrentIrql() } > PASSIVE_LEVEL {
        DEFERRED.lock().push(body.addr());
        if !DEFERRED_BUSY.swap(true, Ordering::AcqRel) {
            crate::work::queue_system_work(delete_deferred);
        }
        return;
    }
    // SAFETY: the object is ours.
    unsafe { delete(body) };
}

/// Deletes what [`remove`] put off. Runs on a worker.
fn delete_deferred() {
    DEFERRED_BUSY.store(false, Ordering::Release);
    loop {
        let next = DEFERRED.lock().pop();
        let Some(body) = next else { break };
        // SAFETY: nobody refers to an object in this list but the list.
        unsafe { delete(core::ptr::with_exposed_provenance_mut(body)) };
    }
}

/// # Safety
/// Nobody refers to the object.
unsafe fn delete(body: *mut c_void) {
    // SAFETY: the object is ours, and its block was allocated with this layout.
    unsafe {
        let header = header(body);
        ((*header).kind.delete)(body);
        (*header).mark = 0;
        if let Some(layout) = layout((*header).size) {
            dealloc(header.cast(), layout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;

    static DROPS: AtomicUsize = AtomicUsize::new(0);
    static KIND: ObjectType = ObjectType::of::<Counted>("Counted");
    static OTHER: ObjectType = ObjectType::of::<u64>("Other");

    struct Counted(u32);

    impl Drop for Counted {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_object_goes_with_its_last_reference_and_not_before() {
        let first = ObjectRef::new(&KIND, Counted(7)).unwrap();
        let second = first.clone();
        drop(first);
        assert_eq!(DROPS.load(Ordering::Relaxed), 0);
        assert_eq!(second.get::<Counted>(&KIND).unwrap().0, 7);
        drop(second);
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_value_is_not_read_from_an_object_of_another_kind() {
        let object = ObjectRef::new(&OTHER, 5u64).unwrap();
        assert!(object.get::<Counted>(&KIND).is_none());
        assert_eq!(object.get::<u64>(&OTHER), Some(&5));
    }

    #[test]
    fn too_large_a_body_is_refused() {
        assert_eq!(ObjectRef::allocate(&OTHER, usize::MAX).err(), Some(NTSTATUS::INSUFFICIENT_RESOURCES));
    }
}
