//! Framework objects: the header that each has, how one is created, referenced and reached from a handle.
//!
//! An object is an [`Object<T>`]: a [`Header`] and a body `T`, one kind of body for each handle type. Drivers hold handles, which are
//! numbers in the [`handles`] table and never addresses; the framework holds a [`Ref<T>`], which keeps the object's memory. Contexts
//! are in [`context`], the tree and deletion in [`tree`], the attributes that a driver passes in [`attributes`].

pub(crate) mod attributes;
pub(crate) mod blocks;
pub(crate) mod context;
pub(crate) mod functions;
pub(crate) mod handles;
pub(crate) mod tree;

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU8, AtomicU32, Ordering};

use wdf_sys::wdf::{WDF_EXECUTION_LEVEL, WDF_SYNCHRONIZATION_SCOPE};
use wdf_sys::wdm::constants::POOL_FLAG_NON_PAGED;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePoolWithTag};
use wdf_sys::wdm::{LIST_ENTRY, WORK_QUEUE_ITEM};
use wdf_sys::{
    NTSTATUS, WDFCMRESLIST, WDFCOLLECTION, WDFCOMMONBUFFER, WDFDEVICE, WDFDEVICE_INIT, WDFDMAENABLER, WDFDMATRANSACTION, WDFDPC,
    WDFDRIVER, WDFFILEOBJECT, WDFINTERRUPT, WDFIORESLIST, WDFIORESREQLIST, WDFIOTARGET, WDFKEY, WDFLOOKASIDE, WDFMEMORY,
    WDFOBJECT, WDFQUEUE, WDFREQUEST, WDFSPINLOCK, WDFSTRING, WDFTIMER, WDFWAITLOCK, WDFWMIINSTANCE, WDFWMIPROVIDER, WDFWORKITEM,
};

use crate::globals::Globals;
use crate::history::Event;
use crate::lock::CallbackLock;
pub(crate) use attributes::Attributes;

/// The kinds of object. The number appears in bug checks as the expected type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs, reason = "each is the handle type of that name")]
pub(crate) enum Kind {
    Object = 0x1000,
    Driver,
    Device,
    Queue,
    WaitLock,
    Memory,
    SpinLock,
    File,
    Request,
    Timer,
    Dpc,
    WorkItem,
    Interrupt,
    IoTarget,
    String,
    Collection,
    Key,
    Lookaside,
    CmResourceList,
    IoResourceList,
    IoResourceRequirementsList,
    DmaEnabler,
    CommonBuffer,
    DeviceInit,
    DmaTransaction,
    WmiProvider,
    WmiInstance,
}

impl Kind {
    /// The handle type, as drivers write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Object => "WDFOBJECT",
            Self::Driver => "WDFDRIVER",
            Self::Device => "WDFDEVICE",
            Self::Queue => "WDFQUEUE",
            Self::WaitLock => "WDFWAITLOCK",
            Self::Memory => "WDFMEMORY",
            Self::SpinLock => "WDFSPINLOCK",
            Self::File => "WDFFILEOBJECT",
            Self::Request => "WDFREQUEST",
            Self::Timer => "WDFTIMER",
            Self::Dpc => "WDFDPC",
            Self::WorkItem => "WDFWORKITEM",
            Self::Interrupt => "WDFINTERRUPT",
            Self::IoTarget => "WDFIOTARGET",
            Self::String => "WDFSTRING",
            Self::Collection => "WDFCOLLECTION",
            Self::Key => "WDFKEY",
            Self::Lookaside => "WDFLOOKASIDE",
            Self::CmResourceList => "WDFCMRESLIST",
            Self::IoResourceList => "WDFIORESLIST",
            Self::IoResourceRequirementsList => "WDFIORESREQLIST",
            Self::DmaEnabler => "WDFDMAENABLER",
            Self::CommonBuffer => "WDFCOMMONBUFFER",
            Self::DeviceInit => "WDFDEVICE_INIT",
            Self::DmaTransaction => "WDFDMATRANSACTION",
            Self::WmiProvider => "WDFWMIPROVIDER",
            Self::WmiInstance => "WDFWMIINSTANCE",
        }
    }

    /// Whether objects of this kind are cleaned up at PASSIVE_LEVEL always, by the page of EvtCleanupCallback.
    pub(crate) const fn needs_passive_level(self) -> bool {
        matches!(
            self,
            Self::Device
                | Self::Driver
                | Self::Dpc
                | Self::Interrupt
                | Self::IoTarget
                | Self::Queue
                | Self::String
                | Self::Timer
                | Self::WorkItem
                | Self::CommonBuffer
                | Self::DmaEnabler
                | Self::Key
                | Self::WmiProvider
                | Self::WmiInstance
        )
    }
}

/// A handle type of the DDI.
pub(crate) trait Handle: Copy {
    /// The handle whose number this is.
    fn from_raw(raw: *mut c_void) -> Self;
    /// The number.
    fn raw(self) -> *mut c_void;
}

macro_rules! handle_types {
    ($($name:ident)*) => {$(
        impl Handle for $name {
            fn from_raw(raw: *mut c_void) -> Self {
                Self(raw)
            }
            fn raw(self) -> *mut c_void {
                self.0
            }
        }
    )*};
}

handle_types! {
    WDFOBJECT WDFDRIVER WDFDEVICE WDFQUEUE WDFREQUEST WDFIOTARGET WDFFILEOBJECT WDFMEMORY WDFSPINLOCK WDFWAITLOCK WDFTIMER WDFDPC
    WDFWORKITEM WDFINTERRUPT WDFSTRING WDFCOLLECTION WDFKEY WDFLOOKASIDE WDFCMRESLIST WDFIORESLIST WDFIORESREQLIST WDFDMAENABLER
    WDFCOMMONBUFFER WDFDMATRANSACTION WDFWMIPROVIDER WDFWMIINSTANCE
}

impl Handle for *mut WDFDEVICE_INIT {
    fn from_raw(raw: *mut c_void) -> Self {
        raw.cast()
    }
    fn raw(self) -> *mut c_void {
        self.cast()
    }
}

/// What an object is made of besides its header. Shared between processors: what changes is atomic or behind a lock.
pub(crate) trait Body: Send + Sync + Sized + 'static {
    /// The handle type that drivers hold.
    type Handle: Handle;
    /// Its kind.
    const KIND: Kind;

    /// The lock around the driver's callbacks, of the types that have one: devices and queues.
    fn callback_lock(&self) -> Option<&CallbackLock> {
        None
    }
    /// The object is being deleted; its children are still there. Stops what could touch them.
    fn before_children(_this: &Ref<Self>) {}
    /// The object is being deleted; its children have been. Waits for what still runs (timers, DPCs, work items), before the driver's
    /// cleanup callbacks are called.
    fn before_cleanup(_this: &Ref<Self>) {}
    /// The driver's cleanup callbacks have returned. Lets go of what other objects need.
    fn after_cleanup(_this: &Ref<Self>) {}
}

/// What the untyped half of the framework must know of a body type.
pub(crate) struct BodyType {
    pub(crate) kind: Kind,
    pub(crate) callback_lock: fn(&AnyRef) -> Option<NonNull<CallbackLock>>,
    pub(crate) before_children: fn(&AnyRef),
    pub(crate) before_cleanup: fn(&AnyRef),
    pub(crate) after_cleanup: fn(&AnyRef),
    /// Drops the body in place.
    ///
    /// The argument is the header of an object of this type whose last reference is gone.
    pub(crate) drop_body: unsafe fn(NonNull<Header>),
}

/// Where an object is in its life.
pub(crate) const ALIVE: u8 = 0;
/// Deletion has begun; handles stay valid while references are held.
pub(crate) const DELETING: u8 = 1;
/// Cleaned up; only references keep the memory.
pub(crate) const DISPOSED: u8 = 2;

/// WdfObjectDelete by the driver is a violation: the framework decides when the object goes.
pub(crate) const NOT_DELETABLE: u32 = 1;
/// Cleanup must run at PASSIVE_LEVEL although the kind does not demand it.
pub(crate) const CLEANUP_AT_PASSIVE: u32 = 2;
/// The driver's cleanup and destroy callbacks are not called: the creation of the object failed half way.
pub(crate) const NO_CALLBACKS: u32 = 4;

/// What every object begins with.
#[repr(C)]
pub(crate) struct Header {
    pub(crate) body_type: &'static BodyType,
    pub(crate) globals: &'static Globals,
    /// The number that drivers hold.
    pub(crate) handle: usize,
    pub(crate) state: AtomicU8,
    /// Resolved execution level, a `WDF_EXECUTION_LEVEL`.
    execution_level: AtomicI32,
    /// Resolved synchronization scope, a `WDF_SYNCHRONIZATION_SCOPE`.
    synchronization_scope: AtomicI32,
    pub(crate) flags: AtomicU32,
    /// References that the driver has taken and not given back.
    pub(crate) driver_references: AtomicI32,
    /// Guards `children` and the sibling links of each child.
    pub(crate) tree_lock: crate::sync::SpinLock<()>,
    pub(crate) children: core::cell::UnsafeCell<LIST_ENTRY>,
    pub(crate) sibling: core::cell::UnsafeCell<LIST_ENTRY>,
    /// The parent, on which this object holds a reference until it is destroyed; null for a root.
    pub(crate) parent: AtomicPtr<Header>,
    /// Newest context first.
    pub(crate) contexts: AtomicPtr<context::Context>,
    /// Bytes of the object's block.
    pub(crate) size: usize,
    /// For a deletion that must wait for PASSIVE_LEVEL.
    pub(crate) deferred: core::cell::UnsafeCell<WORK_QUEUE_ITEM>,
}

/// An object: header, body, and behind it the context it was created with.
#[repr(C)]
pub(crate) struct Object<T> {
    pub(crate) header: Header,
    pub(crate) body: T,
}

/// A counted reference to an object of any kind.
pub(crate) struct AnyRef(NonNull<Header>);

// SAFETY: a header is shared between processors by design: what changes is atomic or behind its lock.
unsafe impl Send for AnyRef {}
// SAFETY: as above.
unsafe impl Sync for AnyRef {}

impl AnyRef {
    /// Takes over a reference that has been counted already.
    ///
    /// # Safety
    /// `header` is an object's, and one counted reference becomes this one's.
    pub(crate) unsafe fn from_counted(header: NonNull<Header>) -> Self {
        Self(header)
    }

    /// Gives the count away: whoever gets the pointer owes it to [`AnyRef::from_counted`].
    pub(crate) fn into_counted(self) -> NonNull<Header> {
        let header = self.0;
        core::mem::forget(self);
        header
    }

    /// Calls the driver on behalf of this object, and checks how it comes back. `address` is that of the driver's routine.
    #[inline]
    pub(crate) fn guarded<R>(&self, address: usize, callback: impl FnOnce() -> R) -> R {
        crate::verifier::guarded(self.globals(), self.raw() as usize, address, callback)
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the reference keeps the object's memory.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn as_ptr(&self) -> NonNull<Header> {
        self.0
    }

    pub(crate) fn kind(&self) -> Kind {
        self.header().body_type.kind
    }

    pub(crate) fn globals(&self) -> &'static Globals {
        self.header().globals
    }

    /// The untyped handle.
    pub(crate) fn handle(&self) -> WDFOBJECT {
        WDFOBJECT(self.raw())
    }

    pub(crate) fn raw(&self) -> *mut c_void {
        core::ptr::without_provenance_mut(self.header().handle)
    }

    /// Whether deletion has not begun.
    pub(crate) fn is_alive(&self) -> bool {
        self.header().state.load(Ordering::Acquire) == ALIVE
    }

    /// Whether the object goes with this reference: it is deleted, and nobody else holds it.
    pub(crate) fn is_last(&self) -> bool {
        !self.is_alive() && handles::is_only(self.header().handle)
    }

    /// The same reference, typed, if the object is of that kind.
    pub(crate) fn downcast<T: Body>(self) -> Result<Ref<T>, Self> {
        if self.kind() == T::KIND { Ok(Ref { any: self, body: PhantomData }) } else { Err(self) }
    }

    /// The parent.
    pub(crate) fn parent(&self) -> Option<AnyRef> {
        let parent = NonNull::new(self.header().parent.load(Ordering::Acquire))?;
        // SAFETY: this object holds a reference on its parent, so the parent's memory is there.
        Some(unsafe { add_reference(parent) })
    }

    /// The nearest ancestor of kind `T`, this object included.
    pub(crate) fn ancestor<T: Body>(&self) -> Option<Ref<T>> {
        let mut at = self.clone();
        loop {
            at = match at.downcast::<T>() {
                Ok(found) => return Some(found),
                Err(other) => other.parent()?,
            }
        }
    }

    pub(crate) fn execution_level(&self) -> WDF_EXECUTION_LEVEL {
        WDF_EXECUTION_LEVEL(self.header().execution_level.load(Ordering::Relaxed))
    }

    pub(crate) fn synchronization_scope(&self) -> WDF_SYNCHRONIZATION_SCOPE {
        WDF_SYNCHRONIZATION_SCOPE(self.header().synchronization_scope.load(Ordering::Relaxed))
    }

    /// Whether the driver's callbacks of this object run at PASSIVE_LEVEL only.
    pub(crate) fn is_passive(&self) -> bool {
        self.execution_level() == WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive
    }

    pub(crate) fn set_flags(&self, flags: u32) {
        self.header().flags.fetch_or(flags, Ordering::Relaxed);
    }

    pub(crate) fn clear_flags(&self, flags: u32) {
        self.header().flags.fetch_and(!flags, Ordering::Relaxed);
    }

    pub(crate) fn has_flags(&self, flags: u32) -> bool {
        self.header().flags.load(Ordering::Relaxed) & flags == flags
    }
}

impl Clone for AnyRef {
    fn clone(&self) -> Self {
        // SAFETY: the reference keeps the object's memory.
        unsafe { add_reference(self.0) }
    }
}

impl Drop for AnyRef {
    fn drop(&mut self) {
        match handles::release(self.header().handle) {
            handles::Released::More => {}
            // SAFETY: the table says that this was the last reference, and gave destruction to this caller alone.
            handles::Released::Last => unsafe { tree::destroy(self.0) },
            // SAFETY: destruction has been done elsewhere, and this was the last reference after it.
            handles::Released::Free => unsafe { tree::free(self.0) },
        }
    }
}

/// Counts one more reference.
///
/// # Safety
/// The caller holds, directly or through a child, a reference on the object.
pub(crate) unsafe fn add_reference(header: NonNull<Header>) -> AnyRef {
    // SAFETY: the caller's reference keeps the memory.
    handles::add(unsafe { header.as_ref() }.handle);
    AnyRef(header)
}

/// A counted reference to an object with a body of type `T`. Dereferences to the body.
pub(crate) struct Ref<T> {
    any: AnyRef,
    body: PhantomData<T>,
}

impl<T: Body> Ref<T> {
    /// The object without its type.
    pub(crate) fn any(&self) -> &AnyRef {
        &self.any
    }

    pub(crate) fn into_any(self) -> AnyRef {
        self.any
    }

    /// The handle that drivers get.
    pub(crate) fn handle(&self) -> T::Handle {
        T::Handle::from_raw(self.any.raw())
    }

    /// Whether both refer to one object.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.any.0 == other.any.0
    }

    /// Gives the count away as a pointer, for a WDM structure's context field; [`Ref::from_context`] or
    /// [`Ref::borrow_context`] gets it back.
    pub(crate) fn into_context(self) -> *mut c_void {
        self.any.into_counted().as_ptr().cast()
    }

    /// The reference that [`Ref::into_context`] gave away.
    ///
    /// # Safety
    /// `context` came from `into_context` of the same type, and is not used as one again.
    pub(crate) unsafe fn from_context(context: *mut c_void) -> Self {
        // SAFETY: the caller's promise: a non-null pointer to a header that carries a count.
        let any = unsafe { AnyRef::from_counted(NonNull::new_unchecked(context.cast())) };
        Self { any, body: PhantomData }
    }

    /// One more reference to the object whose pointer is in a context field.
    ///
    /// # Safety
    /// `context` is [`Ref::as_context`] of an object of the same type whose memory someone else keeps during the call.
    pub(crate) unsafe fn borrow_context(context: *mut c_void) -> Self {
        // SAFETY: the caller's promise.
        let any = unsafe { add_reference(NonNull::new_unchecked(context.cast())) };
        Self { any, body: PhantomData }
    }

    /// The object's address, uncounted, for a WDM structure that the object itself owns and outlives.
    pub(crate) fn as_context(&self) -> *mut c_void {
        self.any.0.as_ptr().cast()
    }
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        Self { any: self.any.clone(), body: PhantomData }
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: a `Ref<T>` is made only for an object of body type `T`, and keeps its memory.
        unsafe { &self.any.0.cast::<Object<T>>().as_ref().body }
    }
}

/// The description of body type `T`.
pub(crate) struct TypeOf<T>(PhantomData<T>);

impl<T: Body> TypeOf<T> {
    /// Type description of `T`.
    pub(crate) const DESCRIPTION: &'static BodyType = &BodyType {
        kind: T::KIND,
        callback_lock: |object| {
            // SAFETY: this description is that of body type `T`; the reference keeps the object's memory.
            let body = unsafe { &object.as_ptr().cast::<Object<T>>().as_ref().body };
            body.callback_lock().map(NonNull::from)
        },
        before_children: |object| with_type::<T>(object, T::before_children),
        before_cleanup: |object| with_type::<T>(object, T::before_cleanup),
        after_cleanup: |object| with_type::<T>(object, T::after_cleanup),
        drop_body: drop_body::<T>,
    };
}

fn with_type<T: Body>(object: &AnyRef, call: fn(&Ref<T>)) {
    call(&Ref { any: object.clone(), body: PhantomData });
}

/// Drops the body of an object.
///
/// # Safety
/// `header` is that of an `Object<T>` which nobody refers to any more.
unsafe fn drop_body<T>(header: NonNull<Header>) {
    let object = header.cast::<Object<T>>();
    // SAFETY: the caller's promise.
    unsafe { (&raw mut (*object.as_ptr()).body).drop_in_place() };
}

/// Creates an object below `attributes.parent`, or below `default_parent` when the driver named none.
///
/// # Errors
/// `INSUFFICIENT_RESOURCES`; `DELETE_PENDING` when the parent is being deleted. The body is dropped then, no callback is called.
pub(crate) fn create<T: Body>(
    globals: &'static Globals,
    attributes: &Attributes,
    default_parent: Option<&AnyRef>,
    body: T,
) -> Result<Ref<T>, NTSTATUS> {
    let parent = attributes.parent.as_ref().or(default_parent);
    let context_at = size_of::<Object<T>>().next_multiple_of(16);
    let size = match &attributes.context {
        Some(wanted) => context_at.checked_add(context::allocation_size(wanted.size)?).ok_or(NTSTATUS::INSUFFICIENT_RESOURCES)?,
        None => context_at,
    };
    let mut block = if T::KIND == Kind::Request { globals.request_blocks.take(size) } else { null_mut() };
    if block.is_null() {
        // SAFETY: an ordinary allocation, zeroed; the result is checked.
        block = unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, size, globals.tag()) };
    }
    let Some(block) = NonNull::new(block.cast::<Object<T>>()) else { return Err(NTSTATUS::INSUFFICIENT_RESOURCES) };
    let header = block.cast::<Header>();
    let Some(handle) = handles::allocate(header) else {
        // SAFETY: allocated above with this tag and known to nobody.
        unsafe { ExFreePoolWithTag(block.as_ptr().cast(), globals.tag()) };
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    };
    let (level, scope) = attributes.resolve(parent);
    let object = Object {
        header: Header {
            body_type: TypeOf::<T>::DESCRIPTION,
            globals,
            handle,
            state: AtomicU8::new(ALIVE),
            execution_level: AtomicI32::new(level.0),
            synchronization_scope: AtomicI32::new(scope.0),
            flags: AtomicU32::new(0),
            driver_references: AtomicI32::new(0),
            tree_lock: crate::sync::SpinLock::new(()),
            children: core::cell::UnsafeCell::new(LIST_ENTRY::zeroed()),
            sibling: core::cell::UnsafeCell::new(LIST_ENTRY::zeroed()),
            parent: AtomicPtr::new(null_mut()),
            contexts: AtomicPtr::new(null_mut()),
            size,
            deferred: core::cell::UnsafeCell::new(WORK_QUEUE_ITEM::zeroed()),
        },
        body,
    };
    // SAFETY: the block has room for the object, is aligned to 16, and nobody knows it: its handle has not been given out.
    unsafe {
        block.write(object);
        tree::initialize_links(header);
    }
    // SAFETY: the table counts one reference for a new handle. It is the one that deletion gives back.
    let created = Ref::<T> { any: unsafe { AnyRef::from_counted(header) }, body: PhantomData };
    if let Some(wanted) = &attributes.context {
        // SAFETY: the block has room for the context at this offset, zeroed, and nobody else knows the object.
        unsafe { context::place(header, block.as_ptr().byte_add(context_at).cast(), wanted) };
    }
    globals.live_objects.fetch_add(1, Ordering::Relaxed);
    if let Some(parent) = parent
        && let Err(status) = tree::adopt(parent, &created.any)
    {
        created.any.set_flags(NO_CALLBACKS);
        return Err(status);
    }
    globals.history.record(Event::Created, handle, T::KIND as usize, parent.map_or(0, |parent| parent.header().handle));
    Ok(created.clone_keeping_first())
}

impl<T: Body> Ref<T> {
    /// A second reference, while the first one stays counted as the tree's own.
    fn clone_keeping_first(self) -> Self {
        let second = self.clone();
        let _ = self.any.into_counted();
        second
    }

    /// Deletes the object: see [`tree::delete`].
    pub(crate) fn delete(&self) {
        tree::delete(&self.any);
    }

    /// Deletes an object that a driver was never told of: its callbacks are not called.
    pub(crate) fn abandon(&self) {
        self.any.set_flags(NO_CALLBACKS);
        tree::delete(&self.any);
    }
}
