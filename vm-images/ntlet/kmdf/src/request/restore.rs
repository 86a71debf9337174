//! What a request carries for being sent: completion routine, formatted buffers, and what was in the IRP before.
//!
//! A formatted IRP points to buffers of the driver's. An IRP that came from above has buffers of its own which the I/O manager wants back,
//! so they are put back as soon as the send has ended. System buffer and MDL are kept for the next format: reuse allocates nothing.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::{PFN_WDF_REQUEST_COMPLETION_ROUTINE, WDF_REQUEST_COMPLETION_PARAMS, WDF_REQUEST_TYPE};
use wdf_sys::wdm::constants::POOL_FLAG_NON_PAGED;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePoolWithTag, IoAllocateMdl, IoFreeMdl, MmBuildMdlForNonPagedPool};
use wdf_sys::wdm::{IRP, KEVENT, MDL};

use crate::globals::FRAMEWORK_TAG;
use crate::object::{AnyRef, Ref};
use crate::target::Target;

/// Memory objects that a format may refer to.
const MEMORIES: usize = 3;

/// The buffer fields of an IRP that came from above.
#[derive(Clone, Copy)]
struct Saved {
    mdl: *mut MDL,
    system_buffer: *mut c_void,
    user_buffer: *mut c_void,
    flags: u32,
}

/// Where output goes that the target has left in our system buffer.
#[derive(Clone, Copy)]
pub(crate) struct CopyBack {
    pub(crate) to: *mut u8,
    pub(crate) length: usize,
}

/// See the top of the file.
pub(crate) struct SendSide {
    pub(crate) routine: PFN_WDF_REQUEST_COMPLETION_ROUTINE,
    pub(crate) routine_context: *mut c_void,
    /// The next stack location says what to do.
    pub(crate) formatted: bool,
    pub(crate) params: WDF_REQUEST_COMPLETION_PARAMS,
    /// The target, from send to finish.
    pub(crate) target: Option<Ref<Target>>,
    /// Set at the finish, for a sender that waits.
    pub(crate) event: *mut KEVENT,
    memories: [Option<AnyRef>; MEMORIES],
    copy_back: Option<CopyBack>,
    saved: Option<Saved>,
    system_buffer: *mut c_void,
    system_capacity: usize,
    mdl: *mut MDL,
    mdl_of: (*mut c_void, usize),
    /// The IRP points to buffers of ours.
    in_irp: bool,
}

impl SendSide {
    pub(crate) const fn new() -> Self {
        let mut params = WDF_REQUEST_COMPLETION_PARAMS::zeroed();
        params.Size = size_of::<WDF_REQUEST_COMPLETION_PARAMS>() as u32;
        params.Type = WDF_REQUEST_TYPE::WdfRequestTypeNoFormat;
        Self {
            routine: None,
            routine_context: null_mut(),
            formatted: false,
            params,
            target: None,
            event: null_mut(),
            memories: [const { None }; MEMORIES],
            copy_back: None,
            saved: None,
            system_buffer: null_mut(),
            system_capacity: 0,
            mdl: null_mut(),
            mdl_of: (null_mut(), 0),
            in_irp: false,
        }
    }

    /// Begins a format: what an earlier one put into the IRP goes, what came with the IRP is remembered if `from_above`.
    ///
    /// # Safety
    /// `irp` is valid and the caller's.
    pub(crate) unsafe fn begin_format(&mut self, irp: *mut IRP, from_above: bool) {
        self.give_back(irp);
        self.release_memories();
        if from_above {
            // SAFETY: the caller's promise; the member is a pointer whatever it stands for.
            self.saved = Some(unsafe {
                Saved {
                    mdl: (*irp).MdlAddress,
                    system_buffer: (*irp).AssociatedIrp.SystemBuffer,
                    user_buffer: (*irp).UserBuffer,
                    flags: (*irp).Flags,
                }
            });
        }
        // SAFETY: the caller's promise.
        unsafe {
            (*irp).MdlAddress = null_mut();
            (*irp).AssociatedIrp.SystemBuffer = null_mut();
            (*irp).UserBuffer = null_mut();
        }
        self.in_irp = true;
        self.formatted = true;
        let size = self.params.Size;
        self.params = WDF_REQUEST_COMPLETION_PARAMS::zeroed();
        self.params.Size = size;
    }

    /// Keeps a memory object until the request is formatted anew, reused, completed or deleted.
    pub(crate) fn keep(&mut self, memory: AnyRef) {
        if let Some(place) = self.memories.iter_mut().find(|place| place.is_none()) {
            *place = Some(memory);
        }
    }

    /// A system buffer of at least `size` bytes.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn system_buffer(&mut self, size: usize) -> Result<*mut c_void, NTSTATUS> {
        if self.system_capacity < size {
            self.free_system_buffer();
            // SAFETY: an ordinary allocation, zeroed; the result is checked.
            let block = unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, size, FRAMEWORK_TAG) };
            if block.is_null() {
                return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
            }
            (self.system_buffer, self.system_capacity) = (block, size);
        }
        Ok(self.system_buffer)
    }

    /// Has output copied from the system buffer when the target is done.
    pub(crate) const fn copy_back_to(&mut self, copy: CopyBack) {
        self.copy_back = Some(copy);
    }

    /// An MDL of kernel memory.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn mdl(&mut self, buffer: *mut c_void, length: usize) -> Result<*mut MDL, NTSTATUS> {
        if !self.mdl.is_null() && self.mdl_of == (buffer, length) {
            return Ok(self.mdl);
        }
        self.free_mdl();
        let Ok(bytes) = u32::try_from(length) else { return Err(NTSTATUS::INSUFFICIENT_RESOURCES) };
        // SAFETY: describes memory without touching it; the result is checked.
        let mdl = unsafe { IoAllocateMdl(buffer, bytes, wdf_sys::FALSE, wdf_sys::FALSE, null_mut()) };
        if mdl.is_null() {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        // SAFETY: a memory object's buffer is non-paged, or locked by the request it belongs to.
        unsafe { MmBuildMdlForNonPagedPool(mdl) };
        (self.mdl, self.mdl_of) = (mdl, (buffer, length));
        Ok(mdl)
    }

    /// The target is done: output goes to the driver's buffer, the IRP's own buffers come back.
    pub(crate) fn target_is_done(&mut self, irp: *mut IRP) {
        if let Some(copy) = self.copy_back.take() {
            // SAFETY: the IRP has come back, so it is ours.
            let written = unsafe { if (*irp).IoStatus.status().is_error() { 0 } else { (*irp).IoStatus.Information } };
            let length = copy.length.min(written).min(self.system_capacity);
            // SAFETY: the destination belongs to a memory object that is kept until the next format, and has `copy.length` bytes; the
            // source is the system buffer of that many.
            unsafe { core::ptr::copy_nonoverlapping(self.system_buffer.cast::<u8>(), copy.to, length) };
        }
        self.give_back(irp);
        self.formatted = false;
    }

    /// Takes what a format put into the IRP out of it again.
    pub(crate) fn give_back(&mut self, irp: *mut IRP) {
        self.copy_back = None;
        if !core::mem::take(&mut self.in_irp) || irp.is_null() {
            return;
        }
        let saved = self.saved.take();
        // SAFETY: the IRP is that of the request, and not sent: the caller owns the send side.
        unsafe {
            (*irp).MdlAddress = saved.map_or(null_mut(), |saved| saved.mdl);
            (*irp).AssociatedIrp.SystemBuffer = saved.map_or(null_mut(), |saved| saved.system_buffer);
            (*irp).UserBuffer = saved.map_or(null_mut(), |saved| saved.user_buffer);
            if let Some(saved) = saved {
                (*irp).Flags = saved.flags;
            }
        }
    }

    /// Lets go of the memory objects of the last format.
    pub(crate) fn release_memories(&mut self) {
        self.memories = [const { None }; MEMORIES];
    }

    /// Format, parameters and completion routine of the last send go.
    pub(crate) fn forget(&mut self) {
        self.release_memories();
        self.formatted = false;
        self.routine = None;
        self.routine_context = null_mut();
        self.params.Type = WDF_REQUEST_TYPE::WdfRequestTypeNoFormat;
    }

    /// Lets go of everything.
    pub(crate) fn release_all(&mut self, irp: *mut IRP) {
        self.give_back(irp);
        self.release_memories();
        self.free_mdl();
        self.free_system_buffer();
    }

    fn free_system_buffer(&mut self) {
        let block = core::mem::replace(&mut self.system_buffer, null_mut());
        self.system_capacity = 0;
        if !block.is_null() {
            // SAFETY: allocated by `system_buffer` with this tag; no IRP points to it any more.
            unsafe { ExFreePoolWithTag(block, FRAMEWORK_TAG) };
        }
    }

    fn free_mdl(&mut self) {
        let mdl = core::mem::replace(&mut self.mdl, null_mut());
        if !mdl.is_null() {
            // SAFETY: allocated by `mdl`; no IRP points to it any more.
            unsafe { IoFreeMdl(mdl) };
        }
    }
}
