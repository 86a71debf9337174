//! The functional device of a PCI bus: finds the functions on it and reports them, and looks after the slot that a bus may be.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeDelayExecutionThread, PoStartNextPowerIrp};
use wdf_sys::wdm::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, KDPC, current_stack_location, skip_current_stack_location};

use super::configuration::{Bar, Configuration};
use super::function::{self, Function};
use super::identity::Identity;
use super::slot::Slot;
use super::window::Windows;
use super::{Role, pool_copy};
use crate::hal::PciAddress;
use crate::io::{call, device, irp as packet, wait};
use crate::lock::SpinLock;
use crate::object::ObjectRef;
use crate::pnp::events;

/// A PCI bus.
#[derive(Debug)]
pub(super) struct Bus {
    number: u8,
    /// Its own device, the one below in its stack, and the one that the PnP manager knows it by.
    device: *mut DEVICE_OBJECT,
    below: *mut DEVICE_OBJECT,
    pdo: *mut DEVICE_OBJECT,
    driver: *mut DRIVER_OBJECT,
    /// The bridge that leads here; none for bus 0.
    bridge: Option<Configuration<'static>>,
    slot: Option<Slot>,
    /// Times that something happened to the slot which a worker has yet to look after; it may look once for several.
    slot_work: AtomicU32,
    /// Functions that are there.
    functions: SpinLock<Vec<ObjectRef>>,
}

/// `AddDevice`: for the root of the PCI hierarchy, and for a bridge to another bus.
///
/// # Safety
/// Called by the PnP manager.
pub(super) unsafe extern "win64" fn add_device(driver: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    let parameters = device::Parameters {
        extension: size_of::<*const Role>() as u32,
        device_type: FILE_DEVICE_BUS_EXTENDER,
        ..device::Parameters::default()
    };
    // SAFETY: the caller's promise; the new device is ours until it is attached.
    unsafe {
        let device = match device::create(driver, parameters) {
            Ok(device) => device,
            Err(status) => return status,
        };
        let below = device::IoAttachDeviceToDeviceStack(device, pdo);
        if below.is_null() {
            device::IoDeleteDevice(device);
            return NTSTATUS::NO_SUCH_DEVICE;
        }
        let (number, bridge) = if core::ptr::eq((*pdo).DriverObject, driver)
            && let Role::Function(bridge) = super::role(pdo)
        {
            (bridge.secondary_bus(), Some(bridge.configuration()))
        } else {
            (0, None)
        };
        let bus = Bus {
            number,
            device,
            below,
            pdo,
            driver,
            bridge,
            slot: bridge.and_then(Slot::behind),
            slot_work: AtomicU32::new(0),
            functions: SpinLock::new(Vec::new()),
        };
        *(*device).DeviceExtension.cast::<*const Role>() = Box::into_raw(Box::new(Role::Bus(bus)));
        (*device).Flags |= DO_POWER_PAGABLE;
        (*device).Flags &= !DO_DEVICE_INITIALIZING;
    }
    NTSTATUS::SUCCESS
}

impl Bus {
    /// Passes a request down as it is.
    ///
    /// # Safety
    /// The IRP is ours.
    pub(super) unsafe fn pass_down(&self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the caller's promise.
        unsafe {
            skip_current_stack_location(irp);
            call::IofCallDriver(self.below, irp)
        }
    }

    /// # Safety
    /// The IRP is ours.
    pub(super) unsafe fn power(&self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the caller's promise.
        unsafe {
            PoStartNextPowerIrp(irp);
            self.pass_down(irp)
        }
    }

    /// # Safety
    /// The IRP is ours, `device` the device object of this bus.
    pub(super) unsafe fn pnp(&self, device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the caller's promise.
        unsafe {
            let location = current_stack_location(irp);
            match (*location).MinorFunction {
                IRP_MN_QUERY_DEVICE_RELATIONS if (*location).Parameters.QueryDeviceRelations.Type == BUS_RELATIONS => {
                    let block = self.relations();
                    if block == 0 {
                        return packet::complete(irp, NTSTATUS::INSUFFICIENT_RESOURCES, 0);
                    }
                    packet::set_status(irp, NTSTATUS::SUCCESS, block);
                }
                IRP_MN_START_DEVICE => return self.start(irp),
                IRP_MN_REMOVE_DEVICE => {
                    self.ignore_slot();
                    packet::set_status(irp, NTSTATUS::SUCCESS, 0);
                    let status = self.pass_down(irp);
                    device::IoDetachDevice(self.below);
                    device::IoDeleteDevice(device);
                    return status;
                }
                IRP_MN_QUERY_REMOVE_DEVICE
                | IRP_MN_CANCEL_REMOVE_DEVICE
                | IRP_MN_SURPRISE_REMOVAL
                | IRP_MN_QUERY_STOP_DEVICE
                | IRP_MN_STOP_DEVICE
                | IRP_MN_CANCEL_STOP_DEVICE => {
                    packet::set_status(irp, NTSTATUS::SUCCESS, 0);
                }
                _ => {}
            }
            self.pass_down(irp)
        }
    }

    /// Starts what is below first: it programs the interrupt that the slot needs.
    ///
    /// # Safety
    /// The IRP is ours.
    unsafe fn start(&self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the caller's promise; the slot stays where it is as long as the device, which ignores it before it goes.
        unsafe {
            let mut status = wait::forward(self.below, irp);
            if let Some(slot) = &self.slot
                && status.is_success()
            {
                // Without its interrupt a port is still one, whose card stays.
                if let Err(reason) = slot.watch(self.pdo, Some(slot_happened), self.device.cast()) {
                    crate::log!("the slot of PCI bus {} is not watched: {reason}", self.number);
                }
                if !slot.is_occupied() {
                    slot.power_off();
                }
                status = NTSTATUS::SUCCESS;
            }
            packet::complete(irp, status, 0)
        }
    }

    /// Whether its functions may come and go.
    pub(super) const fn has_slot(&self) -> bool {
        self.slot.is_some()
    }

    /// Lets the card go: it was removed in order, and has no power any more when this returns.
    pub(super) fn eject(&self) -> NTSTATUS {
        let Some(slot) = &self.slot else { return NTSTATUS::NOT_SUPPORTED };
        slot.power_off();
        self.functions.lock().iter().for_each(function::set_absent);
        // SAFETY: the device below is alive as long as this one.
        unsafe { events::IoInvalidateDeviceRelations(self.pdo, BUS_RELATIONS) };
        NTSTATUS::SUCCESS
    }

    /// A driver does not let the card go.
    pub(super) fn eject_refused(&self) {
        self.slot.iter().for_each(|slot| slot.blink(false));
    }

    /// What has happened to the slot, by a worker, at `PASSIVE_LEVEL`.
    fn look_after(&self, slot: &Slot) {
        let Some(happened) = slot.take() else { return };
        let functions = self.functions.lock().clone();
        if functions.is_empty() {
            if slot.is_occupied() {
                slot.power_on();
                // SAFETY: the device below is alive as long as this one.
                unsafe { events::IoInvalidateDeviceRelations(self.pdo, BUS_RELATIONS) };
            }
        } else if happened.is_changed {
            functions.iter().for_each(function::set_absent_if_changed);
            if slot.is_occupied() {
                slot.power_on()
            } else {
                slot.power_off()
            }
            // SAFETY: as above.
            unsafe { events::IoInvalidateDeviceRelations(self.pdo, BUS_RELATIONS) };
        } else if happened.is_button_pressed {
            // The specification lets five seconds pass in which a second press takes the first one back; whoever presses this button
            // is a program that knows what it wants.
            slot.blink(true);
            // SAFETY: the list has a reference to the function's device.
            unsafe { events::IoRequestDeviceEject(functions[0].body().cast()) };
        }
    }

    /// Nothing that happens to the slot matters any more.
    fn ignore_slot(&self) {
        let Some(slot) = &self.slot else { return };
        slot.ignore();
        while self.slot_work.load(Ordering::Acquire) != 0 {
            let mut interval = -10_000;
            // SAFETY: removal runs at PASSIVE_LEVEL.
            let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
        }
    }

    /// A block that lists functions with a reference to each.
    pub(super) fn list(&self, is_wanted: impl Fn(&ObjectRef) -> bool) -> usize {
        let wanted: Vec<ObjectRef> = self.functions.lock().iter().filter(|object| is_wanted(object)).cloned().collect();
        let mut bytes = Vec::from((wanted.len() as u64).to_le_bytes());
        bytes.extend(wanted.iter().flat_map(|object| (object.body().addr() as u64).to_le_bytes()));
        let block = pool_copy(&bytes);
        if block != 0 {
            wanted.into_iter().for_each(core::mem::forget);
        }
        block
    }

    /// Looks at every slot, and makes a block that lists the functions with a reference to each.
    fn relations(&self) -> usize {
        let mut known = core::mem::take(&mut *self.functions.lock());
        let mut present = Vec::new();
        for address in self.addresses() {
            let configuration = Configuration { hal: crate::hal(), address };
            let Some(identity) = configuration.header().and_then(|header| Identity::read(&header)) else { continue };
            let old = known.iter().position(|object| function::is_still(object, address, &identity));
            match old {
                Some(at) => present.push(known.swap_remove(at)),
                None => {
                    let place = |bars: &mut [Bar]| self.place(bars, &present);
                    // SAFETY: the driver object and the bus's device outlive the functions.
                    let new = unsafe { Function::create(self.driver, self.device, configuration, identity, place) };
                    present.extend(new);
                }
            }
        }
        known.iter().for_each(function::set_absent);
        *self.functions.lock() = present;
        self.list(|_| true)
    }

    /// Finds places for the registers that firmware has given none, among those of the functions that are `present`.
    fn place(&self, bars: &mut [Bar], present: &[ObjectRef]) {
        let Some(bridge) = &self.bridge else { return };
        if bars.iter().any(|bar| bar.start == 0) {
            Windows::read(bridge).place(bars, present.iter().flat_map(function::occupied).collect());
        }
    }

    /// Every address on this bus where a function may be.
    fn addresses(&self) -> Vec<PciAddress> {
        let mut addresses = Vec::new();
        for device in 0..32 {
            let first = PciAddress { bus: self.number, device, function: 0 };
            let configuration = Configuration { hal: crate::hal(), address: first };
            let Some(identity) = configuration.header().and_then(|header| Identity::read(&header)) else { continue };
            let count = if identity.is_multifunction { 8 } else { 1 };
            addresses.extend((0..count).map(|function| PciAddress { function, ..first }));
        }
        addresses
    }
}

/// Something has happened to a slot: a worker looks after it.
///
/// # Safety
/// Called as a DPC with the bus's device as context.
unsafe extern "win64" fn slot_happened(_: *mut KDPC, device: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: the device ignores its slot before it goes.
    if let Role::Bus(bus) = unsafe { super::role(device.cast()) }
        && bus.slot_work.fetch_add(1, Ordering::AcqRel) == 0
    {
        crate::work::queue(look_after_slot, device);
    }
}

extern "win64" fn look_after_slot(device: *mut c_void) {
    // SAFETY: the device waits for this worker before it goes.
    let Role::Bus(bus) = (unsafe { super::role(device.cast()) }) else { return };
    loop {
        let times = bus.slot_work.load(Ordering::Acquire);
        bus.slot.iter().for_each(|slot| bus.look_after(slot));
        if bus.slot_work.fetch_sub(times, Ordering::AcqRel) == times {
            return;
        }
    }
}

// SAFETY: the device below is referenced by the attachment, the driver object by the devices; the list is behind a lock.
unsafe impl Send for Bus {}
// SAFETY: as above.
unsafe impl Sync for Bus {}
