//! Resource lists: WDFCMRESLIST, which says what the device was given, and WDFIORESREQLIST with its WDFIORESLISTs, which say what it
//! could do with.

use alloc::vec::Vec;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use wdf_sys::wdf::{PFN_WDF_DEVICE_FILTER_RESOURCE_REQUIREMENTS, WDF_OBJECT_ATTRIBUTES};
use wdf_sys::wdm::constants::POOL_FLAG_PAGED;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePool};
use wdf_sys::wdm::{
    CM_FULL_RESOURCE_DESCRIPTOR, CM_PARTIAL_RESOURCE_DESCRIPTOR, CM_PARTIAL_RESOURCE_LIST, CM_RESOURCE_LIST,
    IO_RESOURCE_DESCRIPTOR, IO_RESOURCE_LIST, IO_RESOURCE_REQUIREMENTS_LIST, IRP, current_stack_location,
};
use wdf_sys::{NTSTATUS, WDFCMRESLIST, WDFIORESLIST, WDFIORESREQLIST};

use crate::call::{Call, ddi};
use crate::device::Device;
use crate::globals::FRAMEWORK_TAG;
use crate::object::attributes::Rules;
use crate::object::{AnyRef, Attributes, Body, Kind, NOT_DELETABLE, Ref};
use crate::sync::SpinLock;
use crate::verifier::{self, Rule};

/// Most descriptors in one list; more is a mistake.
const MAXIMUM_DESCRIPTORS: usize = 4096;

/// Descriptors, each at an address of its own that stays while it is in the list, since drivers hold pointers to them.
struct List<T>(SpinLock<Vec<Vec<T>>>);

impl<T: Copy> List<T> {
    const fn new() -> Self {
        Self(SpinLock::new(Vec::new()))
    }

    fn insert(&self, index: usize, item: T) -> Result<(), NTSTATUS> {
        let mut held = Vec::new();
        held.try_reserve_exact(1).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
        held.push(item);
        let mut list = self.0.lock();
        if index > list.len() || list.len() >= MAXIMUM_DESCRIPTORS {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        list.try_reserve(1).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
        list.insert(index, held);
        Ok(())
    }

    fn append(&self, item: T) -> Result<(), NTSTATUS> {
        let end = self.len();
        self.insert(end, item)
    }

    fn len(&self) -> usize {
        self.0.lock().len()
    }

    fn pointer(&self, index: usize) -> *mut T {
        self.0.lock().get_mut(index).map_or(null_mut(), |held| held.as_mut_ptr())
    }

    fn position(&self, pointer: *const T) -> Option<usize> {
        self.0.lock().iter().position(|held| core::ptr::eq(held.as_ptr(), pointer))
    }

    fn remove(&self, index: usize) -> bool {
        let mut list = self.0.lock();
        let found = index < list.len();
        if found {
            list.remove(index);
        }
        found
    }

    fn replace(&self, index: usize, item: T) -> bool {
        match self.0.lock().get_mut(index).and_then(|held| held.first_mut()) {
            Some(place) => {
                *place = item;
                true
            }
            None => false,
        }
    }

    fn get(&self, index: usize) -> Option<T> {
        self.0.lock().get(index).and_then(|held| held.first()).copied()
    }
}

/// Body of a WDFCMRESLIST.
pub(crate) struct CmList {
    descriptors: List<CM_PARTIAL_RESOURCE_DESCRIPTOR>,
    /// The driver changed it.
    changed: AtomicBool,
}

// SAFETY: descriptors are numbers; the pointers in their unions are never followed.
unsafe impl Send for CmList {}
// SAFETY: as above; the list is behind its lock.
unsafe impl Sync for CmList {}

impl Body for CmList {
    type Handle = WDFCMRESLIST;
    const KIND: Kind = Kind::CmResourceList;
}

impl CmList {
    /// A list that belongs to a device.
    pub(crate) fn create(device: &Ref<Device>, from: &[CM_PARTIAL_RESOURCE_DESCRIPTOR]) -> Result<Ref<Self>, NTSTATUS> {
        let body = Self { descriptors: List::new(), changed: AtomicBool::new(false) };
        for descriptor in from {
            body.descriptors.append(*descriptor)?;
        }
        let list = crate::object::create(device.any().globals(), &Attributes::NONE, Some(device.any()), body)?;
        list.any().set_flags(NOT_DELETABLE);
        Ok(list)
    }

    pub(crate) fn len(&self) -> usize {
        self.descriptors.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<CM_PARTIAL_RESOURCE_DESCRIPTOR> {
        self.descriptors.get(index)
    }

    /// Where in the list the descriptor at this address is.
    pub(crate) fn position(&self, descriptor: *const CM_PARTIAL_RESOURCE_DESCRIPTOR) -> Option<usize> {
        self.descriptors.position(descriptor)
    }
}

/// The descriptors of the first (and for devices only) full descriptor in a kernel resource list.
///
/// # Safety
/// `list` is null or the PnP manager's list of a start IRP, which lives as long as the result is used.
pub(crate) unsafe fn descriptors<'a>(list: *const CM_RESOURCE_LIST) -> &'a [CM_PARTIAL_RESOURCE_DESCRIPTOR] {
    const FIRST: usize = core::mem::offset_of!(CM_RESOURCE_LIST, List)
        + core::mem::offset_of!(CM_FULL_RESOURCE_DESCRIPTOR, PartialResourceList)
        + core::mem::offset_of!(CM_PARTIAL_RESOURCE_LIST, PartialDescriptors);
    const COUNT: usize = FIRST - 4;
    if list.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise. The structures are packed to four bytes, and so aligned to it.
    unsafe {
        if list.cast::<u32>().read() == 0 {
            return &[];
        }
        let count = list.byte_add(COUNT).cast::<u32>().read() as usize;
        core::slice::from_raw_parts(list.byte_add(FIRST).cast(), count.min(MAXIMUM_DESCRIPTORS))
    }
}

/// Body of a WDFIORESLIST: one alternative.
pub(crate) struct IoList {
    descriptors: List<IO_RESOURCE_DESCRIPTOR>,
}

// SAFETY: descriptors are numbers.
unsafe impl Send for IoList {}
// SAFETY: as above; the list is behind its lock.
unsafe impl Sync for IoList {}

impl Body for IoList {
    type Handle = WDFIORESLIST;
    const KIND: Kind = Kind::IoResourceList;
}

/// Body of a WDFIORESREQLIST: the alternatives.
pub(crate) struct Requirements {
    lists: SpinLock<Vec<Ref<IoList>>>,
    slot: AtomicU32,
    interface_type: AtomicI32,
    changed: AtomicBool,
}

impl Body for Requirements {
    type Handle = WDFIORESREQLIST;
    const KIND: Kind = Kind::IoResourceRequirementsList;

    fn after_cleanup(this: &Ref<Self>) {
        let lists = core::mem::take(&mut *this.lists.lock());
        drop(lists);
    }
}

impl Requirements {
    fn insert(&self, index: usize, list: Ref<IoList>) -> Result<(), NTSTATUS> {
        let mut lists = self.lists.lock();
        if index > lists.len() {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        lists.try_reserve(1).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
        lists.insert(index, list);
        self.changed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Reads the kernel's form.
    ///
    /// # Safety
    /// `from` is null or a requirements list whose `ListSize` bytes are readable.
    unsafe fn read(device: &Ref<Device>, from: *const IO_RESOURCE_REQUIREMENTS_LIST) -> Result<Ref<Self>, NTSTATUS> {
        let body = Self {
            lists: SpinLock::new(Vec::new()),
            slot: AtomicU32::new(0),
            interface_type: AtomicI32::new(0),
            changed: AtomicBool::new(false),
        };
        let globals = device.any().globals();
        let requirements = crate::object::create(globals, &Attributes::NONE, Some(device.any()), body)?;
        requirements.any().set_flags(NOT_DELETABLE);
        // SAFETY: the caller's promise.
        let Some(head) = (unsafe { from.as_ref() }) else { return Ok(requirements) };
        requirements.slot.store(head.SlotNumber, Ordering::Relaxed);
        requirements.interface_type.store(head.InterfaceType, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        let bytes = unsafe { core::slice::from_raw_parts(from.cast::<u8>(), head.ListSize as usize) };
        let mut at = core::mem::offset_of!(IO_RESOURCE_REQUIREMENTS_LIST, List);
        for _ in 0..head.AlternativeLists {
            let list = new_list(requirements.any())?;
            let count = read_at::<u32>(bytes, at + 4).ok_or(NTSTATUS::INVALID_PARAMETER)?;
            at += core::mem::offset_of!(IO_RESOURCE_LIST, Descriptors);
            for _ in 0..count {
                let descriptor = read_at::<IO_RESOURCE_DESCRIPTOR>(bytes, at).ok_or(NTSTATUS::INVALID_PARAMETER)?;
                list.descriptors.append(descriptor)?;
                at += size_of::<IO_RESOURCE_DESCRIPTOR>();
            }
            requirements.insert(requirements.lists.lock().len(), list)?;
        }
        requirements.changed.store(false, Ordering::Relaxed);
        Ok(requirements)
    }

    /// Writes the kernel's form into new pool memory, which the PnP manager frees.
    fn write(&self) -> Result<*mut IO_RESOURCE_REQUIREMENTS_LIST, NTSTATUS> {
        let lists = self.lists.lock();
        let head = core::mem::offset_of!(IO_RESOURCE_REQUIREMENTS_LIST, List);
        let list_head = core::mem::offset_of!(IO_RESOURCE_LIST, Descriptors);
        let bodies: usize =
            lists.iter().map(|list| list_head + list.descriptors.len() * size_of::<IO_RESOURCE_DESCRIPTOR>()).sum();
        let size = (head + bodies).max(size_of::<IO_RESOURCE_REQUIREMENTS_LIST>());
        // SAFETY: an ordinary allocation, zeroed; the result is checked.
        let block = unsafe { ExAllocatePool2(POOL_FLAG_PAGED, size, FRAMEWORK_TAG) }.cast::<IO_RESOURCE_REQUIREMENTS_LIST>();
        if block.is_null() {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        // SAFETY: the block has room for the head and for each list as counted above, under the lock that is still held; descriptors
        // are written unaligned.
        unsafe {
            (*block).ListSize = size as u32;
            (*block).SlotNumber = self.slot.load(Ordering::Relaxed);
            (*block).InterfaceType = self.interface_type.load(Ordering::Relaxed);
            (*block).AlternativeLists = lists.len() as u32;
            let mut at = block.cast::<u8>().add(head);
            for list in lists.iter() {
                let count = list.descriptors.len();
                at.cast::<[u16; 2]>().write_unaligned([1, 1]);
                at.add(4).cast::<u32>().write_unaligned(count as u32);
                at = at.add(list_head);
                for index in 0..count {
                    if let Some(descriptor) = list.descriptors.get(index) {
                        at.cast::<IO_RESOURCE_DESCRIPTOR>().write_unaligned(descriptor);
                    }
                    at = at.add(size_of::<IO_RESOURCE_DESCRIPTOR>());
                }
            }
        }
        Ok(block)
    }
}

fn read_at<T: Copy>(bytes: &[u8], at: usize) -> Option<T> {
    let part = bytes.get(at..at.checked_add(size_of::<T>())?)?;
    // SAFETY: the part has the size of `T`, a structure of numbers, of which any bytes are a value.
    Some(unsafe { part.as_ptr().cast::<T>().read_unaligned() })
}

fn new_list(parent: &AnyRef) -> Result<Ref<IoList>, NTSTATUS> {
    let list = crate::object::create(parent.globals(), &Attributes::NONE, Some(parent), IoList { descriptors: List::new() })?;
    list.any().set_flags(NOT_DELETABLE);
    Ok(list)
}

/// Runs the driver's callbacks over the requirements in a filter IRP that the drivers below have handled.
pub(crate) fn filter(device: &Ref<Device>, irp: *mut IRP, callbacks: &[PFN_WDF_DEVICE_FILTER_RESOURCE_REQUIREMENTS]) -> NTSTATUS {
    // SAFETY: the IRP is ours again. What a driver below made is in its information, else the stack location has the original.
    let (original, requirements) = unsafe {
        let given = (*irp).IoStatus.Information;
        let sent = (*current_stack_location(irp)).Parameters.FilterResourceRequirements.IoResourceRequirementList;
        let original = if given == 0 { sent } else { core::ptr::with_exposed_provenance_mut(given) };
        (original, Requirements::read(device, original))
    };
    let requirements = match requirements {
        Ok(requirements) => requirements,
        Err(status) => return status,
    };
    let mut status = NTSTATUS::SUCCESS;
    for callback in callbacks.iter().flatten() {
        // SAFETY: the driver's callback, with a list that lives through the call.
        status = device.any().guarded(*callback as usize, || unsafe { callback(device.handle(), requirements.handle()) });
        if !status.is_success() {
            break;
        }
    }
    if status.is_success() && requirements.changed.load(Ordering::Relaxed) {
        status = match requirements.write() {
            Ok(block) => {
                // SAFETY: the IRP is ours. The list below us in the information, if any, was allocated from pool by who put it there.
                unsafe {
                    if (*irp).IoStatus.Information != 0 {
                        ExFreePool(original.cast());
                    }
                    (*irp).IoStatus.Information = block.expose_provenance();
                }
                NTSTATUS::SUCCESS
            }
            Err(status) => status,
        };
    }
    requirements.delete();
    status
}

fn no_such_item(call: &Call, object: usize) {
    if call.globals.verifies() {
        verifier::violation(call.globals, Rule::InvalidParameter, object, format_args!("{}: there is no such item", call.name()));
    }
}

fn status_of(outcome: Result<(), NTSTATUS>) -> NTSTATUS {
    outcome.err().unwrap_or(NTSTATUS::SUCCESS)
}

fn note_change(list: &Ref<IoList>) {
    if let Some(Ok(requirements)) = list.any().parent().map(AnyRef::downcast::<Requirements>) {
        requirements.changed.store(true, Ordering::Relaxed);
    }
}

ddi! {
    fn WdfCmResourceListGetCount(call, list: WDFCMRESLIST) -> u32 {
        call.object::<CmList>(list).len() as u32
    }

    fn WdfCmResourceListGetDescriptor(call, list: WDFCMRESLIST, index: u32) -> *mut CM_PARTIAL_RESOURCE_DESCRIPTOR {
        call.object::<CmList>(list).descriptors.pointer(index as usize)
    }

    fn WdfCmResourceListAppendDescriptor(call, list: WDFCMRESLIST, descriptor: *mut CM_PARTIAL_RESOURCE_DESCRIPTOR) -> NTSTATUS {
        let list = call.object::<CmList>(list);
        list.changed.store(true, Ordering::Relaxed);
        status_of(list.descriptors.append(call.read(descriptor)))
    }

    fn WdfCmResourceListInsertDescriptor(call, list: WDFCMRESLIST, descriptor: *mut CM_PARTIAL_RESOURCE_DESCRIPTOR, index: u32) -> NTSTATUS {
        let list = call.object::<CmList>(list);
        list.changed.store(true, Ordering::Relaxed);
        status_of(list.descriptors.insert(index as usize, call.read(descriptor)))
    }

    fn WdfCmResourceListRemove(call, list: WDFCMRESLIST, index: u32) {
        let list = call.object::<CmList>(list);
        list.changed.store(true, Ordering::Relaxed);
        if !list.descriptors.remove(index as usize) {
            no_such_item(call, list.any().raw() as usize);
        }
    }

    fn WdfCmResourceListRemoveByDescriptor(call, list: WDFCMRESLIST, descriptor: *mut CM_PARTIAL_RESOURCE_DESCRIPTOR) {
        let list = call.object::<CmList>(list);
        list.changed.store(true, Ordering::Relaxed);
        if !list.position(descriptor).is_some_and(|index| list.descriptors.remove(index)) {
            no_such_item(call, list.any().raw() as usize);
        }
    }

    fn WdfIoResourceRequirementsListSetSlotNumber(call, requirements: WDFIORESREQLIST, slot: u32) {
        let requirements = call.object::<Requirements>(requirements);
        requirements.slot.store(slot, Ordering::Relaxed);
        requirements.changed.store(true, Ordering::Relaxed);
    }

    fn WdfIoResourceRequirementsListSetInterfaceType(call, requirements: WDFIORESREQLIST, interface_type: i32) {
        let requirements = call.object::<Requirements>(requirements);
        requirements.interface_type.store(interface_type, Ordering::Relaxed);
        requirements.changed.store(true, Ordering::Relaxed);
    }

    fn WdfIoResourceRequirementsListAppendIoResList(call, requirements: WDFIORESREQLIST, list: WDFIORESLIST) -> NTSTATUS {
        let requirements = call.object::<Requirements>(requirements);
        let list = call.object::<IoList>(list);
        let end = requirements.lists.lock().len();
        status_of(requirements.insert(end, list))
    }

    fn WdfIoResourceRequirementsListInsertIoResList(call, requirements: WDFIORESREQLIST, list: WDFIORESLIST, index: u32) -> NTSTATUS {
        let requirements = call.object::<Requirements>(requirements);
        let list = call.object::<IoList>(list);
        status_of(requirements.insert(index as usize, list))
    }

    fn WdfIoResourceRequirementsListGetCount(call, requirements: WDFIORESREQLIST) -> u32 {
        call.object::<Requirements>(requirements).lists.lock().len() as u32
    }

    fn WdfIoResourceRequirementsListGetIoResList(call, requirements: WDFIORESREQLIST, index: u32) -> WDFIORESLIST {
        let requirements = call.object::<Requirements>(requirements);
        let found = requirements.lists.lock().get(index as usize).map(Ref::handle);
        found.unwrap_or(WDFIORESLIST::NULL)
    }

    fn WdfIoResourceRequirementsListRemove(call, requirements: WDFIORESREQLIST, index: u32) {
        let requirements = call.object::<Requirements>(requirements);
        let removed = {
            let mut lists = requirements.lists.lock();
            ((index as usize) < lists.len()).then(|| lists.remove(index as usize))
        };
        requirements.changed.store(true, Ordering::Relaxed);
        if removed.is_none() {
            no_such_item(call, requirements.any().raw() as usize);
        }
    }

    fn WdfIoResourceRequirementsListRemoveByIoResList(call, requirements: WDFIORESREQLIST, list: WDFIORESLIST) {
        let requirements = call.object::<Requirements>(requirements);
        let list = call.object::<IoList>(list);
        let removed = {
            let mut lists = requirements.lists.lock();
            let index = lists.iter().position(|other| other.is_same(&list));
            index.map(|index| lists.remove(index))
        };
        requirements.changed.store(true, Ordering::Relaxed);
        if removed.is_none() {
            no_such_item(call, requirements.any().raw() as usize);
        }
    }

    fn WdfIoResourceListCreate(call, requirements: WDFIORESREQLIST, attributes: *mut WDF_OBJECT_ATTRIBUTES, list: *mut WDFIORESLIST) -> NTSTATUS {
        call.write(list, WDFIORESLIST::NULL);
        let requirements = call.object::<Requirements>(requirements);
        let created = Attributes::read(call, attributes, Rules::PARENT_FORBIDDEN).and_then(|attributes| {
            crate::object::create(call.globals, &attributes, Some(requirements.any()), IoList { descriptors: List::new() })
        });
        if let Ok(created) = &created {
            created.any().set_flags(NOT_DELETABLE);
        }
        call.created(list, created)
    }

    fn WdfIoResourceListAppendDescriptor(call, list: WDFIORESLIST, descriptor: *mut IO_RESOURCE_DESCRIPTOR) -> NTSTATUS {
        let list = call.object::<IoList>(list);
        note_change(&list);
        status_of(list.descriptors.append(call.read(descriptor)))
    }

    fn WdfIoResourceListInsertDescriptor(call, list: WDFIORESLIST, descriptor: *mut IO_RESOURCE_DESCRIPTOR, index: u32) -> NTSTATUS {
        let list = call.object::<IoList>(list);
        note_change(&list);
        status_of(list.descriptors.insert(index as usize, call.read(descriptor)))
    }

    fn WdfIoResourceListUpdateDescriptor(call, list: WDFIORESLIST, descriptor: *mut IO_RESOURCE_DESCRIPTOR, index: u32) {
        let list = call.object::<IoList>(list);
        note_change(&list);
        if !list.descriptors.replace(index as usize, call.read(descriptor)) {
            no_such_item(call, list.any().raw() as usize);
        }
    }

    fn WdfIoResourceListGetCount(call, list: WDFIORESLIST) -> u32 {
        call.object::<IoList>(list).descriptors.len() as u32
    }

    fn WdfIoResourceListGetDescriptor(call, list: WDFIORESLIST, index: u32) -> *mut IO_RESOURCE_DESCRIPTOR {
        let list = call.object::<IoList>(list);
        // The driver may write through the pointer.
        note_change(&list);
        list.descriptors.pointer(index as usize)
    }

    fn WdfIoResourceListRemove(call, list: WDFIORESLIST, index: u32) {
        let list = call.object::<IoList>(list);
        note_change(&list);
        if !list.descriptors.remove(index as usize) {
            no_such_item(call, list.any().raw() as usize);
        }
    }

    fn WdfIoResourceListRemoveByDescriptor(call, list: WDFIORESLIST, descriptor: *mut IO_RESOURCE_DESCRIPTOR) {
        let list = call.object::<IoList>(list);
        note_change(&list);
        if !list.descriptors.position(descriptor).is_some_and(|index| list.descriptors.remove(index)) {
            no_such_item(call, list.any().raw() as usize);
        }
    }
}
