//! WDFDMAENABLER and WDFCOMMONBUFFER, over the kernel's DMA adapters. Transactions are in [`transaction`].

pub(crate) mod transaction;

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::PCI_BUS;
use wdf_sys::wdm::functions::IoGetDmaAdapter;
use wdf_sys::wdm::{DEVICE_DESCRIPTION, DMA_ADAPTER, DMA_OPERATIONS};
use wdf_sys::{NTSTATUS, WDFCOMMONBUFFER, WDFDEVICE, WDFDMAENABLER};

use crate::call::{Call, ddi};
use crate::device::Device;
use crate::history::Event;
use crate::object::attributes::Rules;
use crate::object::{AnyRef, Attributes, Body, Kind, Ref};
use crate::sync::PASSIVE_LEVEL;

/// `DEVICE_DESCRIPTION_VERSION`s that drivers ask for with WdmDmaVersionOverride.
const DESCRIPTION_VERSION: u32 = 2;
/// Default of WdfDmaEnablerSetMaximumScatterGatherElements: no limit.
const UNLIMITED: usize = u32::MAX as usize;
/// `MAXIMUM` of an alignment: a page.
const MAXIMUM_ALIGNMENT: usize = 4096;

/// An adapter of the kernel's.
struct Adapter(NonNull<DMA_ADAPTER>);

// SAFETY: adapters may be used from any processor; the kernel synchronises.
unsafe impl Send for Adapter {}
// SAFETY: as above.
unsafe impl Sync for Adapter {}

impl Adapter {
    fn operations(&self) -> &DMA_OPERATIONS {
        // SAFETY: an adapter from IoGetDmaAdapter has its operations, and lives until it is put back.
        unsafe { &*self.0.as_ref().DmaOperations }
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        if let Some(put) = self.operations().PutDmaAdapter {
            // SAFETY: given back once, when nothing refers to it.
            unsafe { put(self.0.as_ptr()) };
        }
    }
}

/// Body of a WDFDMAENABLER.
pub(crate) struct Enabler {
    config: WDF_DMA_ENABLER_CONFIG,
    adapter: Adapter,
    /// Where the device's alignment requirement is, a mask.
    alignment: usize,
    map_registers: u32,
    maximum_elements: AtomicUsize,
    filled: AtomicBool,
    enabled: AtomicBool,
    self_managed: AtomicBool,
}

impl Body for Enabler {
    type Handle = WDFDMAENABLER;
    const KIND: Kind = Kind::DmaEnabler;

    fn after_cleanup(this: &Ref<Self>) {
        if let Some(device) = this.any().ancestor::<Device>() {
            let mut enablers = device.pnp.enablers.lock();
            if let Some(at) = enablers.iter().position(|other| other.is_same(this)) {
                let removed = enablers.remove(at);
                drop(enablers);
                drop(removed);
            }
        }
    }
}

/// Whether a profile addresses more than 32 bits, and whether it scatters; `None` for profiles that need a system DMA controller.
fn profile(profile: WDF_DMA_PROFILE) -> Option<(bool, bool)> {
    match profile {
        WDF_DMA_PROFILE::WdfDmaProfilePacket => Some((false, false)),
        WDF_DMA_PROFILE::WdfDmaProfileScatterGather | WDF_DMA_PROFILE::WdfDmaProfileScatterGatherDuplex => Some((false, true)),
        WDF_DMA_PROFILE::WdfDmaProfilePacket64 => Some((true, false)),
        WDF_DMA_PROFILE::WdfDmaProfileScatterGather64 | WDF_DMA_PROFILE::WdfDmaProfileScatterGather64Duplex => Some((true, true)),
        _ => None,
    }
}

fn get_adapter(device: &Ref<Device>, config: &WDF_DMA_ENABLER_CONFIG) -> Result<(Adapter, u32), NTSTATUS> {
    let Some((wide, scatters)) = profile(config.Profile) else {
        let known = (1..=8).contains(&config.Profile.0);
        return Err(if known { NTSTATUS::NOT_SUPPORTED } else { NTSTATUS::INVALID_PARAMETER });
    };
    let mut description = DEVICE_DESCRIPTION::zeroed();
    description.Version = if config.WdmDmaVersionOverride == 0 { DESCRIPTION_VERSION } else { config.WdmDmaVersionOverride };
    description.Master = 1;
    description.ScatterGather = scatters.into();
    description.Dma32BitAddresses = 1;
    description.Dma64BitAddresses = wide.into();
    description.InterfaceType = PCI_BUS;
    description.MaximumLength = u32::try_from(config.MaximumLength).unwrap_or(u32::MAX);
    let mut map_registers = 0;
    // SAFETY: the stack's physical device; the description lives through the call.
    let adapter = unsafe { IoGetDmaAdapter(device.pdo(), &mut description, &mut map_registers) };
    NonNull::new(adapter).map(|adapter| (Adapter(adapter), map_registers)).ok_or(NTSTATUS::INSUFFICIENT_RESOURCES)
}

fn create(
    call: &Call,
    device: &Ref<Device>,
    config: &WDF_DMA_ENABLER_CONFIG,
    attributes: &Attributes,
) -> Result<Ref<Enabler>, NTSTATUS> {
    if config.MaximumLength == 0 {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    if device.is_control() {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    if let Some(parent) = &attributes.parent
        && !parent.ancestor::<Device>().is_some_and(|ancestor| ancestor.is_same(device))
    {
        return Err(NTSTATUS::WDF_PARENT_ASSIGNMENT_NOT_ALLOWED);
    }
    let (adapter, map_registers) = get_adapter(device, config)?;
    let body = Enabler {
        config: *config,
        adapter,
        // SAFETY: our device object.
        alignment: unsafe { (*device.wdm()).AlignmentRequirement as usize },
        map_registers,
        maximum_elements: AtomicUsize::new(UNLIMITED),
        filled: AtomicBool::new(false),
        enabled: AtomicBool::new(false),
        self_managed: AtomicBool::new(false),
    };
    let enabler = crate::object::create(call.globals, attributes, Some(device.any()), body)?;
    let mut list = device.pnp.enablers.lock();
    if list.try_reserve(1).is_err() {
        drop(list);
        enabler.abandon();
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    list.push(enabler.clone());
    drop(list);
    // An enabler that is created while the device is in D0 is told at once that it is.
    if device.pnp.is_in_d0() {
        start(&enabler)?;
    }
    Ok(enabler)
}

/// Calls one of the enabler's callbacks, and notes what it returned.
fn call_back(enabler: &Ref<Enabler>, callback: PFN_WDF_DMA_ENABLER_FILL, which: usize) -> Result<(), NTSTATUS> {
    let Some(callback) = callback else { return Ok(()) };
    // SAFETY: the driver's callback, at PASSIVE_LEVEL with its own object.
    let status = enabler.any().guarded(callback as usize, || unsafe { callback(enabler.handle()) });
    enabler.any().globals().history.record(Event::Callback, enabler.any().raw() as usize, which, status.bits() as usize);
    status.ok()
}

fn start(enabler: &Ref<Enabler>) -> Result<(), NTSTATUS> {
    enabler.filled.store(true, Ordering::Relaxed);
    call_back(enabler, enabler.config.EvtDmaEnablerFill, 0x100)?;
    enabler.enabled.store(true, Ordering::Relaxed);
    call_back(enabler, enabler.config.EvtDmaEnablerEnable, 0x101)?;
    enabler.self_managed.store(true, Ordering::Relaxed);
    call_back(enabler, enabler.config.EvtDmaEnablerSelfManagedIoStart, 0x102)
}

fn stop(enabler: &Ref<Enabler>) -> Result<(), NTSTATUS> {
    let mut outcome = Ok(());
    if enabler.self_managed.swap(false, Ordering::Relaxed) {
        outcome = outcome.and(call_back(enabler, enabler.config.EvtDmaEnablerSelfManagedIoStop, 0x103));
    }
    if enabler.filled.swap(false, Ordering::Relaxed) {
        outcome = outcome.and(call_back(enabler, enabler.config.EvtDmaEnablerFlush, 0x104));
    }
    if enabler.enabled.swap(false, Ordering::Relaxed) {
        outcome = outcome.and(call_back(enabler, enabler.config.EvtDmaEnablerDisable, 0x105));
    }
    outcome
}

/// EvtDmaEnablerFill, Enable and SelfManagedIoStart of every enabler of the device.
///
/// # Errors
/// What the first callback returned that failed.
pub(crate) fn start_all(device: &Ref<Device>) -> Result<(), NTSTATUS> {
    device.pnp.enablers()?.iter().try_for_each(start)
}

/// EvtDmaEnablerSelfManagedIoStop, Flush and Disable of every enabler that was started, the last one first.
///
/// # Errors
/// What the first callback returned that failed; all are called.
pub(crate) fn stop_all(device: &Ref<Device>) -> Result<(), NTSTATUS> {
    let mut outcome = Ok(());
    for enabler in device.pnp.enablers()?.iter().rev() {
        outcome = outcome.and(stop(enabler));
    }
    outcome
}

/// Body of a WDFCOMMONBUFFER.
pub(crate) struct CommonBuffer {
    enabler: Ref<Enabler>,
    /// What the kernel gave.
    start: *mut c_void,
    logical: i64,
    allocated: u32,
    /// How far in the aligned buffer begins, and its length.
    offset: usize,
    length: usize,
}

// SAFETY: addresses of memory that the object owns.
unsafe impl Send for CommonBuffer {}
// SAFETY: as above; nothing changes after creation.
unsafe impl Sync for CommonBuffer {}

impl Body for CommonBuffer {
    type Handle = WDFCOMMONBUFFER;
    const KIND: Kind = Kind::CommonBuffer;
}

impl Drop for CommonBuffer {
    fn drop(&mut self) {
        let adapter = &self.enabler.adapter;
        if let Some(free) = adapter.operations().FreeCommonBuffer {
            // SAFETY: what AllocateCommonBuffer of this adapter gave; the object is gone, and with it the driver's right to it.
            unsafe { free(adapter.0.as_ptr(), self.allocated, self.logical, self.start, 1) };
        }
    }
}

/// A common buffer's body. `alignment` is a mask, one less than a power of two.
fn allocate(enabler: &Ref<Enabler>, length: usize, alignment: usize) -> Result<CommonBuffer, NTSTATUS> {
    if length == 0 || alignment >= MAXIMUM_ALIGNMENT || !(alignment + 1).is_power_of_two() {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let wanted =
        length.checked_add(alignment).and_then(|wanted| u32::try_from(wanted).ok()).ok_or(NTSTATUS::INVALID_PARAMETER)?;
    let adapter = &enabler.adapter;
    let Some(allocate) = adapter.operations().AllocateCommonBuffer else { return Err(NTSTATUS::NOT_SUPPORTED) };
    let mut logical = 0;
    // SAFETY: the adapter is alive; the result is checked.
    let start = unsafe { allocate(adapter.0.as_ptr(), wanted, &mut logical, 1) };
    if start.is_null() {
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    let offset = (logical as usize).wrapping_neg() & alignment;
    Ok(CommonBuffer { enabler: enabler.clone(), start, logical, allocated: wanted, offset, length })
}

fn create_buffer(
    call: &Call,
    enabler: WDFDMAENABLER,
    length: usize,
    alignment: Option<usize>,
    attributes: *const WDF_OBJECT_ATTRIBUTES,
) -> Result<Ref<CommonBuffer>, NTSTATUS> {
    let enabler = call.object::<Enabler>(enabler);
    let attributes = Attributes::read(call, attributes, Rules::ORDINARY)?;
    if let Some(parent) = &attributes.parent
        && !is_within(parent, &enabler)
    {
        return Err(NTSTATUS::WDF_PARENT_ASSIGNMENT_NOT_ALLOWED);
    }
    let buffer = allocate(&enabler, length, alignment.unwrap_or(enabler.alignment))?;
    crate::object::create(call.globals, &attributes, Some(enabler.any()), buffer)
}

/// A common buffer's parent must go before its enabler does: the enabler, or something below it.
fn is_within(parent: &AnyRef, enabler: &Ref<Enabler>) -> bool {
    parent.ancestor::<Enabler>().is_some_and(|found| found.is_same(enabler))
}

ddi! {
    fn WdfDmaEnablerCreate(call, device: WDFDEVICE, config: *mut WDF_DMA_ENABLER_CONFIG, attributes: *mut WDF_OBJECT_ATTRIBUTES, enabler: *mut WDFDMAENABLER) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        call.write(enabler, WDFDMAENABLER::NULL);
        // 1.9 ended with EvtDmaEnablerSelfManagedIoStop.
        let created = call.sized(config, &[64, 72]).and_then(|config| {
            let attributes = Attributes::read(call, attributes, Rules::ORDINARY)?;
            create(call, &device, &config, &attributes)
        });
        call.created(enabler, created)
    }

    fn WdfDmaEnablerGetMaximumLength(call, enabler: WDFDMAENABLER) -> usize {
        let enabler = call.object::<Enabler>(enabler);
        enabler.config.MaximumLength.min(fragment_length(&enabler))
    }

    fn WdfDmaEnablerGetMaximumScatterGatherElements(call, enabler: WDFDMAENABLER) -> usize {
        call.object::<Enabler>(enabler).maximum_elements.load(Ordering::Relaxed)
    }

    fn WdfDmaEnablerSetMaximumScatterGatherElements(call, enabler: WDFDMAENABLER, elements: usize) {
        call.object::<Enabler>(enabler).maximum_elements.store(elements, Ordering::Relaxed);
    }

    fn WdfDmaEnablerGetFragmentLength(call, enabler: WDFDMAENABLER, _direction: WDF_DMA_DIRECTION) -> usize {
        fragment_length(&call.object::<Enabler>(enabler))
    }

    fn WdfDmaEnablerWdmGetDmaAdapter(call, enabler: WDFDMAENABLER, _direction: WDF_DMA_DIRECTION) -> *mut DMA_ADAPTER {
        call.object::<Enabler>(enabler).adapter.0.as_ptr()
    }

    fn WdfCommonBufferCreate(call, enabler: WDFDMAENABLER, length: usize, attributes: *mut WDF_OBJECT_ATTRIBUTES, buffer: *mut WDFCOMMONBUFFER) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(buffer, WDFCOMMONBUFFER(null_mut()));
        let created = create_buffer(call, enabler, length, None, attributes);
        call.created(buffer, created)
    }

    fn WdfCommonBufferCreateWithConfig(call, enabler: WDFDMAENABLER, length: usize, config: *mut WDF_COMMON_BUFFER_CONFIG, attributes: *mut WDF_OBJECT_ATTRIBUTES, buffer: *mut WDFCOMMONBUFFER) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.write(buffer, WDFCOMMONBUFFER(null_mut()));
        let created = call.sized(config, &[])
            .and_then(|config| create_buffer(call, enabler, length, Some(config.AlignmentRequirement as usize), attributes));
        call.created(buffer, created)
    }

    fn WdfCommonBufferGetAlignedVirtualAddress(call, buffer: WDFCOMMONBUFFER) -> *mut c_void {
        let buffer = call.object::<CommonBuffer>(buffer);
        buffer.start.wrapping_byte_add(buffer.offset)
    }

    fn WdfCommonBufferGetAlignedLogicalAddress(call, buffer: WDFCOMMONBUFFER) -> i64 {
        let buffer = call.object::<CommonBuffer>(buffer);
        buffer.logical.wrapping_add(buffer.offset as i64)
    }

    fn WdfCommonBufferGetLength(call, buffer: WDFCOMMONBUFFER) -> usize {
        call.object::<CommonBuffer>(buffer).length
    }
}

/// The longest piece of a transfer: what the adapter's map registers cover, a page each, one less for a start inside a page.
fn fragment_length(enabler: &Enabler) -> usize {
    let pages = (enabler.map_registers as usize).saturating_sub(1).max(1);
    enabler.config.MaximumLength.min(pages.saturating_mul(4096))
}
