//! What the framework keeps for each bound driver: the globals that the driver passes to every call, its verifier setting, its
//! in-flight log, its driver object. And the register of bound drivers, against which that first argument is checked.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::WDF_DRIVER_GLOBALS;
use wdf_sys::wdm::constants::POOL_FLAG_NON_PAGED;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePoolWithTag};
use wdf_sys::wdm::{DRIVER_OBJECT, UNICODE_STRING};

use crate::history::History;
use crate::object::AnyRef;
use crate::object::blocks::Blocks;
use crate::sync::SpinLock;

/// Pool tag of the framework's own blocks, `WdfF`.
pub(crate) const FRAMEWORK_TAG: u32 = u32::from_le_bytes(*b"WdfF");

/// Most drivers that can be bound at once.
const MAXIMUM_DRIVERS: usize = 64;

/// One bound driver. Lives from its bind to its unbind; every object of the driver refers to it.
#[repr(C)]
pub(crate) struct Globals {
    /// What the driver sees. First, so that its address is that of the whole.
    public: WDF_DRIVER_GLOBALS,
    /// Version the driver was built for: major, minor.
    pub(crate) version: (u32, u32),
    /// Entries of the function table that the driver knows.
    pub(crate) function_count: u32,
    /// The kernel's object for the driver; null for a binding without one.
    pub(crate) driver_object: *mut DRIVER_OBJECT,
    /// The framework verifier is on for this driver.
    pub(crate) verifier_on: AtomicBool,
    /// Break into a debugger when a check fires.
    pub(crate) break_on_error: AtomicBool,
    /// The last framework events of this driver.
    pub(crate) history: History,
    /// Objects that exist; a leak when the driver goes.
    pub(crate) live_objects: AtomicUsize,
    /// Memory of requests that are gone, for those to come.
    pub(crate) request_blocks: Blocks,
    /// Violations reported so far.
    pub(crate) violations: AtomicI32,
    /// The WDFDRIVER, once created.
    driver: SpinLock<Option<AnyRef>>,
}

// SAFETY: the raw pointer is to a kernel object that outlives the binding; everything that changes is atomic or behind a lock.
unsafe impl Sync for Globals {}
// SAFETY: as above.
unsafe impl Send for Globals {}

/// The bound drivers.
static BOUND: [AtomicPtr<Globals>; MAXIMUM_DRIVERS] = [const { AtomicPtr::new(null_mut()) }; MAXIMUM_DRIVERS];

impl Globals {
    /// Globals for a driver, entered in the register.
    pub(crate) fn create(
        driver_object: *mut DRIVER_OBJECT,
        version: (u32, u32),
        function_count: u32,
        name: &[u8],
    ) -> Result<&'static Self, NTSTATUS> {
        // SAFETY: an ordinary allocation; the result is checked.
        let block = unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, size_of::<Self>(), FRAMEWORK_TAG) }.cast::<Self>();
        let Some(block) = NonNull::new(block) else { return Err(NTSTATUS::INSUFFICIENT_RESOURCES) };
        let mut public = WDF_DRIVER_GLOBALS::zeroed();
        for (to, from) in public.DriverName.iter_mut().take(31).zip(name) {
            *to = *from as i8;
        }
        public.DriverTag = tag_of(name);
        // SAFETY: the block is large enough, aligned to 16 by the pool, and nobody else knows it yet. The log is built in place, since
        // it is larger than a kernel stack should carry; all of it is atomics, of which zero, as the pool left them, is a value.
        let globals = unsafe {
            let raw = block.as_ptr();
            (&raw mut (*raw).public).write(public);
            (&raw mut (*raw).version).write(version);
            (&raw mut (*raw).function_count).write(function_count);
            (&raw mut (*raw).driver_object).write(driver_object);
            (&raw mut (*raw).request_blocks).write(Blocks::new());
            (&raw mut (*raw).driver).write(SpinLock::new(None));
            &*raw
        };
        for slot in &BOUND {
            let raw = block.as_ptr();
            if slot.compare_exchange(null_mut(), raw, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Ok(globals);
            }
        }
        // SAFETY: allocated above, known to nobody.
        unsafe { ExFreePoolWithTag(block.as_ptr().cast(), FRAMEWORK_TAG) };
        Err(NTSTATUS::INSUFFICIENT_RESOURCES)
    }

    /// Takes the driver out of the register and frees its globals.
    ///
    /// # Safety
    /// No object of the driver is left, and the driver makes no further call.
    pub(crate) unsafe fn destroy(globals: &'static Self) {
        let raw = core::ptr::from_ref(globals).cast_mut();
        for slot in &BOUND {
            let _ = slot.compare_exchange(raw, null_mut(), Ordering::AcqRel, Ordering::Relaxed);
        }
        globals.request_blocks.free_all(globals.tag());
        // SAFETY: allocated by `create` with this tag; the caller promises that nothing refers to it any more.
        unsafe { ExFreePoolWithTag(raw.cast(), FRAMEWORK_TAG) };
    }

    /// The driver that these globals belong to, if any is bound with them.
    #[inline]
    pub(crate) fn find(public: *const WDF_DRIVER_GLOBALS) -> Option<&'static Self> {
        if public.is_null() {
            return None;
        }
        BOUND.iter().map(|slot| slot.load(Ordering::Acquire)).find(|bound| core::ptr::eq(bound.cast(), public)).map(|found| {
            // SAFETY: what is in the register is alive until its driver's unbind, after which the driver makes no call.
            unsafe { &*found }
        })
    }

    /// Every bound driver.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        BOUND.iter().filter_map(|slot| {
            let bound = slot.load(Ordering::Acquire);
            // SAFETY: as in `find`.
            unsafe { bound.as_ref() }
        })
    }

    /// The bound driver of a kernel driver object.
    pub(crate) fn of_driver_object(driver_object: *const DRIVER_OBJECT) -> Option<&'static Self> {
        Self::all().find(|globals| core::ptr::eq(globals.driver_object, driver_object))
    }

    /// What the driver passes as first argument.
    pub(crate) fn public(&self) -> *mut WDF_DRIVER_GLOBALS {
        (&raw const self.public).cast_mut()
    }

    /// Pool tag of what is allocated on the driver's behalf.
    pub(crate) fn tag(&self) -> u32 {
        self.public.DriverTag
    }

    /// Changes the pool tag. Called once, by WdfDriverCreate, before the driver has any object.
    pub(crate) fn set_tag(&self, tag: u32) {
        // SAFETY: the field belongs to this live block; the driver that could read it is inside the call that sets it.
        unsafe { (&raw mut (*self.public()).DriverTag).write(tag) };
    }

    /// Whether the driver's unload routine is to be wrapped by its entry stub.
    pub(crate) fn set_displace_unload(&self, displace: bool) {
        // SAFETY: as in `set_tag`.
        unsafe { (&raw mut (*self.public()).DisplaceDriverUnload).write(displace.into()) };
    }

    /// Puts the WDFDRIVER in, once. `false` when there is one.
    pub(crate) fn set_driver(&self, driver: AnyRef, handle: *mut c_void) -> bool {
        let mut place = self.driver.lock();
        if place.is_some() {
            return false;
        }
        *place = Some(driver);
        // SAFETY: as in `set_tag`.
        unsafe { (&raw mut (*self.public()).Driver).write(wdf_sys::WDFDRIVER(handle)) };
        true
    }

    /// The WDFDRIVER, if it exists.
    pub(crate) fn driver(&self) -> Option<AnyRef> {
        self.driver.lock().clone()
    }

    /// Takes the WDFDRIVER out, at unload.
    pub(crate) fn take_driver(&self) -> Option<AnyRef> {
        self.driver.lock().take()
    }

    /// Whether the framework verifier is on for this driver.
    #[inline]
    pub(crate) fn verifies(&self) -> bool {
        self.verifier_on.load(Ordering::Relaxed)
    }

    /// Name of the driver, up to 31 bytes.
    pub(crate) fn name(&self) -> &str {
        let bytes = &self.public.DriverName;
        let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        // SAFETY: i8 and u8 have the same layout; the slice lies within the array.
        let bytes = unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast::<u8>(), length) };
        core::str::from_utf8(bytes).unwrap_or("?")
    }
}

/// The first four characters of a driver's name as a pool tag, as the framework's pages describe the default.
fn tag_of(name: &[u8]) -> u32 {
    let mut tag = *b"    ";
    for (to, from) in tag.iter_mut().zip(name) {
        *to = *from;
    }
    if name.is_empty() { FRAMEWORK_TAG } else { u32::from_le_bytes(tag) }
}

/// Last part of a service key's path as ASCII, for names in reports. Returns its length.
pub(crate) fn service_name(path: &UNICODE_STRING, buffer: &mut [u8; 31]) -> usize {
    // SAFETY: a counted string that the driver was given by the kernel and passes on; it lives through the call.
    let units = unsafe { path.units() };
    let start = units.iter().rposition(|&unit| unit == u16::from(b'\\')).map_or(0, |at| at + 1);
    let mut length = 0;
    for (to, &unit) in buffer.iter_mut().zip(&units[start..]) {
        *to = u8::try_from(unit).ok().filter(u8::is_ascii_graphic).unwrap_or(b'?');
        length += 1;
    }
    length
}
