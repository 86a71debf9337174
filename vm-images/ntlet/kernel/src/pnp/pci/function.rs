//! The physical device of one PCI function.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeDelayExecutionThread, PoStartNextPowerIrp};
use wdf_sys::wdm::{
    DEVICE_CAPABILITIES, DEVICE_OBJECT, DRIVER_OBJECT, IO_STACK_LOCATION, IRP, PNP_BUS_INFORMATION, current_stack_location,
};

use super::bus::Bus;
use super::configuration::*;
use super::identity::{self, Identity};
use super::{Role, complete_with, pool_copy, pool_strings, window};
use crate::hal::{Caching, InterruptMessage, PciAddress};
use crate::interrupt::Source;
use crate::io::{device, irp as packet};
use crate::lock::SpinLock;
use crate::object::{self, ObjectRef};
use crate::pnp::arbiter::{Requirement, requirements_list};
use crate::pnp::node;
use crate::pnp::resources::{Resource, resource_list};
use crate::registry;

/// GUID_BUS_TYPE_PCI.
const BUS_TYPE_PCI: wdf_sys::GUID =
    wdf_sys::GUID::new((0xc8eb_dfb0, 0xb510, 0x11d0, [0x80, 0xe5, 0x00, 0xa0, 0xc9, 0x25, 0x42, 0xe3]));
/// `PciPrivateBar`: the note that names a register.
const PRIVATE_BAR: u32 = 1;
/// Most messages that one function gets, whatever its table holds.
const MAX_MESSAGES: u32 = 64;
/// Bytes of configuration space.
const CONFIGURATION_SIZE: u32 = 4096;

/// How long a function that comes from D3 must be left alone, in units of 100 ns.
const D3_RECOVERY: i64 = 10 * 10_000;
const CAPABILITY_EJECT_SUPPORTED: u32 = 1 << 3;
const CAPABILITY_REMOVABLE: u32 = 1 << 4;
const CAPABILITY_UNIQUE_ID: u32 = 1 << 6;

/// A PCI function.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) address: PciAddress,
    identity: Identity,
    /// The device of the bus that it is on.
    parent: *mut DEVICE_OBJECT,
    bars: Vec<Bar>,
    msi_x: Option<MsiX>,
    msi: Option<Msi>,
    /// INTx pin, 0 for none.
    pin: u8,
    is_present: AtomicBool,
    /// What interrupts were programmed, to do it again after D3.
    messages: SpinLock<Vec<InterruptMessage>>,
    is_started: AtomicBool,
    /// What else of its configuration is to be as it was after D3.
    settings: SpinLock<Vec<(u16, u16)>>,
}

// SAFETY: the bus's device outlives those of its functions, everything that changes is atomic or behind a lock.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// Whether a device object is the function with that identity at that address.
pub(super) fn is_still(object: &ObjectRef, address: PciAddress, identity: &Identity) -> bool {
    of(object).is_some_and(|function| function.address == address && function.identity == *identity && function.is_present())
}

/// The function of a device object of a bus's list.
fn of(object: &ObjectRef) -> Option<&Function> {
    // SAFETY: the bus keeps references to devices of this driver only.
    match unsafe { super::role(object.body().cast()) } {
        Role::Function(function) => Some(function),
        Role::Bus(_) => None,
    }
}

/// Notes that the function does not answer any more.
pub(super) fn set_absent(object: &ObjectRef) {
    if let Some(function) = of(object) {
        function.is_present.store(false, Ordering::Release);
    }
}

/// Notes that the function does not answer any more, if another card or none is in its place.
pub(super) fn set_absent_if_changed(object: &ObjectRef) {
    let is_same = |function: &Function| {
        let configuration = function.configuration();
        let identity = configuration.header().and_then(|header| Identity::read(&header));
        let mut placed = function.bars.iter().filter(|bar| bar.start != 0);
        identity == Some(function.identity) && placed.all(|bar| configuration.is_placed(bar))
    };
    if of(object).is_some_and(|function| !is_same(function)) {
        set_absent(object);
    }
}

/// Addresses that the registers of a function have.
pub(super) fn occupied(object: &ObjectRef) -> Vec<core::ops::Range<u64>> {
    let placed = of(object).into_iter().flat_map(|function| &function.bars).filter(|bar| bar.start != 0);
    placed.map(window::occupied).collect()
}

impl Function {
    /// A device object for a function that was found; `place` finds places for the registers that have none.
    ///
    /// # Safety
    /// `driver` is this driver's object, `parent` the device of the function's bus.
    pub(super) unsafe fn create(
        driver: *mut DRIVER_OBJECT,
        parent: *mut DEVICE_OBJECT,
        configuration: Configuration<'_>,
        identity: Identity,
        place: impl FnOnce(&mut [Bar]),
    ) -> Option<ObjectRef> {
        let mut bars = configuration.bars(if identity.header == 0 { 6 } else { 2 });
        place(&mut bars);
        let function = Self {
            address: configuration.address,
            identity,
            parent,
            msi_x: configuration.msi_x(&bars),
            msi: configuration.msi(),
            pin: configuration.read_8(0x3d),
            bars,
            is_present: AtomicBool::new(true),
            messages: SpinLock::new(Vec::new()),
            is_started: AtomicBool::new(false),
            settings: SpinLock::new(Vec::new()),
        };
        let parameters = device::Parameters {
            extension: size_of::<*const Role>() as u32,
            device_type: FILE_DEVICE_UNKNOWN,
            characteristics: FILE_DEVICE_SECURE_OPEN,
            name: Some(function.device_name()),
            ..device::Parameters::default()
        };
        // SAFETY: the caller's promise; the new device is ours.
        unsafe {
            let device = device::create(driver, parameters).ok()?;
            *(*device).DeviceExtension.cast::<*const Role>() = Box::into_raw(Box::new(Role::Function(function)));
            (*device).Flags |= DO_BUS_ENUMERATED_DEVICE | DO_POWER_PAGABLE;
            (*device).Flags &= !DO_DEVICE_INITIALIZING;
            // The creator's reference stays with the device until `IoDeleteDevice`.
            Some(ObjectRef::from_borrowed(device.cast()))
        }
    }

    fn device_name(&self) -> Vec<u16> {
        let PciAddress { bus, device, function } = self.address;
        let name = alloc::format!("\\Device\\NTPNP_PCI{bus:02x}{:02x}{:04x}", device << 3 | function, next_number());
        object::name::wide(&name)
    }

    pub(super) fn configuration(&self) -> Configuration<'static> {
        Configuration { hal: crate::hal(), address: self.address }
    }

    pub(super) fn is_present(&self) -> bool {
        self.is_present.load(Ordering::Acquire)
    }

    /// The bus that it is on.
    fn bus(&self) -> Option<&Bus> {
        // SAFETY: the bus's device outlives those of its functions.
        match unsafe { super::role(self.parent) } {
            Role::Bus(bus) => Some(bus),
            Role::Function(_) => None,
        }
    }

    /// Number of the bus behind a bridge.
    pub(super) fn secondary_bus(&self) -> u8 {
        self.configuration().read_8(0x19)
    }

    /// # Safety
    /// The IRP is ours, `device` the device object of this function.
    pub(super) unsafe fn pnp(&self, device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the caller's promise.
        unsafe {
            let location = current_stack_location(irp);
            match (*location).MinorFunction {
                IRP_MN_START_DEVICE => packet::complete(irp, self.start(device), 0),
                IRP_MN_CANCEL_REMOVE_DEVICE => {
                    self.bus().into_iter().for_each(Bus::eject_refused);
                    packet::complete(irp, NTSTATUS::SUCCESS, 0)
                }
                IRP_MN_EJECT => {
                    let status = self.bus().map_or(NTSTATUS::NOT_SUPPORTED, Bus::eject);
                    packet::complete(irp, status, 0)
                }
                IRP_MN_QUERY_REMOVE_DEVICE | IRP_MN_QUERY_STOP_DEVICE | IRP_MN_CANCEL_STOP_DEVICE | IRP_MN_DEVICE_ENUMERATED => {
                    packet::complete(irp, NTSTATUS::SUCCESS, 0)
                }
                IRP_MN_STOP_DEVICE | IRP_MN_SURPRISE_REMOVAL => {
                    self.stop();
                    packet::complete(irp, NTSTATUS::SUCCESS, 0)
                }
                IRP_MN_REMOVE_DEVICE => self.remove(device, irp),
                IRP_MN_QUERY_PNP_DEVICE_STATE => packet::complete(irp, NTSTATUS::SUCCESS, (*irp).IoStatus.Information),
                _ => self.query(device, irp, location),
            }
        }
    }

    /// Requests that ask something.
    ///
    /// # Safety
    /// As [`Self::pnp`].
    unsafe fn query(&self, device: *mut DEVICE_OBJECT, irp: *mut IRP, location: *mut IO_STACK_LOCATION) -> NTSTATUS {
        // SAFETY: the caller's promise.
        unsafe {
            match (*location).MinorFunction {
                IRP_MN_QUERY_ID => self.query_id(irp, (*location).Parameters.QueryId.IdType),
                IRP_MN_QUERY_DEVICE_TEXT => {
                    let text = match (*location).Parameters.QueryDeviceText.DeviceTextType {
                        0 => String::from(self.identity.description()),
                        1 => identity::location(self.address),
                        _ => return unanswered(irp),
                    };
                    complete_with(irp, pool_strings(&[text], false))
                }
                IRP_MN_QUERY_CAPABILITIES => {
                    self.fill_capabilities((*location).Parameters.DeviceCapabilities.Capabilities);
                    packet::complete(irp, NTSTATUS::SUCCESS, (*irp).IoStatus.Information)
                }
                IRP_MN_QUERY_RESOURCES => {
                    let list = resource_list(&self.boot_resources(), PCI_BUS, u32::from(self.address.bus), false);
                    if list.is_empty() { unanswered(irp) } else { complete_with(irp, pool_copy(&list)) }
                }
                IRP_MN_QUERY_RESOURCE_REQUIREMENTS => match self.requirements(device) {
                    list if list.is_empty() => unanswered(irp),
                    list => complete_with(irp, pool_copy(&list)),
                },
                IRP_MN_QUERY_BUS_INFORMATION => {
                    let mut bytes = [0; size_of::<PNP_BUS_INFORMATION>()];
                    bytes[..16].copy_from_slice(&guid_bytes(&BUS_TYPE_PCI));
                    bytes[16..20].copy_from_slice(&PCI_BUS.to_le_bytes());
                    bytes[20..].copy_from_slice(&u32::from(self.address.bus).to_le_bytes());
                    complete_with(irp, pool_copy(&bytes))
                }
                IRP_MN_QUERY_DEVICE_RELATIONS if (*location).Parameters.QueryDeviceRelations.Type == TARGET_DEVICE_RELATION => {
                    target_relation(device, irp)
                }
                IRP_MN_QUERY_DEVICE_RELATIONS if (*location).Parameters.QueryDeviceRelations.Type == EJECTION_RELATIONS => {
                    match self.bus().filter(|bus| bus.has_slot()) {
                        Some(bus) => complete_with(irp, bus.list(|object| object.body().cast() != device)),
                        None => unanswered(irp),
                    }
                }
                IRP_MN_QUERY_INTERFACE => super::interface::query(self, device, irp, location),
                IRP_MN_READ_CONFIG | IRP_MN_WRITE_CONFIG => self.access_configuration(irp, location),
                _ => unanswered(irp),
            }
        }
    }

    /// # Safety
    /// The IRP is ours.
    unsafe fn query_id(&self, irp: *mut IRP, kind: i32) -> NTSTATUS {
        let (strings, is_list) = match kind {
            BUS_QUERY_DEVICE_ID => (Vec::from([self.identity.device_id()]), false),
            BUS_QUERY_HARDWARE_IDS => (self.identity.hardware_ids(), true),
            BUS_QUERY_COMPATIBLE_IDS => (self.identity.compatible_ids(), true),
            BUS_QUERY_INSTANCE_ID => (Vec::from([identity::instance_id(self.address)]), false),
            // SAFETY: the caller's promise.
            _ => return unsafe { unanswered(irp) },
        };
        // SAFETY: the caller's promise.
        unsafe { complete_with(irp, pool_strings(&strings, is_list)) }
    }

    /// # Safety
    /// `capabilities` is valid.
    unsafe fn fill_capabilities(&self, capabilities: *mut DEVICE_CAPABILITIES) {
        // SAFETY: the caller's promise.
        unsafe {
            // Instance ids are unique on their bus only.
            (*capabilities).Flags &= !CAPABILITY_UNIQUE_ID;
            if self.bus().is_some_and(Bus::has_slot) {
                (*capabilities).Flags |= CAPABILITY_EJECT_SUPPORTED | CAPABILITY_REMOVABLE;
            }
            (*capabilities).Address = u32::from(self.address.device) << 16 | u32::from(self.address.function);
            (*capabilities).DeviceState = [POWER_DEVICE_D3; 7];
            (*capabilities).DeviceState[0] = POWER_DEVICE_UNSPECIFIED;
            (*capabilities).DeviceState[POWER_SYSTEM_WORKING as usize] = POWER_DEVICE_D0;
        }
    }

    /// Registers as firmware placed them.
    fn boot_resources(&self) -> Vec<Resource> {
        let placed = self.bars.iter().filter(|bar| bar.start != 0);
        placed
            .map(|bar| match bar.kind {
                BarKind::Port => Resource::Port { start: bar.start, length: bar.length as u32 },
                BarKind::Memory { prefetchable, .. } => Resource::Memory { start: bar.start, length: bar.length, prefetchable },
            })
            .collect()
    }

    /// What the function needs: its registers where they are, each with a note, and interrupts: messages as the device's settings
    /// allow, its line in their place where there is one.
    fn requirements(&self, device: *mut DEVICE_OBJECT) -> Vec<u8> {
        let mut choices = Vec::new();
        // Of the bridges only those are asked that interrupt: their slots do.
        if self.identity.header == 0 || self.is_slot() {
            for bar in &self.bars {
                choices.push(Vec::from([match bar.kind {
                    BarKind::Port => Requirement::Port { start: bar.start, length: bar.length as u32 },
                    BarKind::Memory { prefetchable, .. } => {
                        Requirement::Memory { start: bar.start, length: bar.length, prefetchable }
                    }
                }]));
                choices.push(Vec::from([Requirement::Private([PRIVATE_BAR, u32::from(bar.index), 0])]));
            }
            let line = self.line();
            let messages = self.message_count(device);
            for index in 0..messages {
                let mut choice = Vec::from([Requirement::Messages(1)]);
                // Only a single message can be exchanged for the line: the driver counts the descriptors.
                choice.extend(line.filter(|_| index == 0 && messages == 1));
                choices.push(choice);
            }
            if messages == 0 {
                choices.extend(line.map(|line| Vec::from([line])));
            }
        }
        if choices.is_empty() {
            return Vec::new();
        }
        let slot = u32::from(self.address.device) | u32::from(self.address.function) << 5;
        requirements_list(&choices, PCI_BUS, u32::from(self.address.bus), slot)
    }

    /// Whether it is a port with a slot behind it.
    pub(super) fn is_slot(&self) -> bool {
        self.identity.is_bridge() && self.configuration().slot().is_some()
    }

    fn line(&self) -> Option<Requirement> {
        let gsi = if self.pin == 0 { None } else { crate::hal().pci_line(self.address, self.pin) };
        gsi.map(|gsi| Requirement::Line { gsi, shared: true, latched: false })
    }

    /// Messages to ask for: none unless the device's INF has set `MSISupported`.
    fn message_count(&self, device: *mut DEVICE_OBJECT) -> u32 {
        // SAFETY: the device is the one that got the request.
        let Some(node) = (unsafe { node::of(device) }) else { return 0 };
        if self.is_slot() {
            return u32::from(self.msi_x.is_some() || self.msi.is_some());
        }
        let key = alloc::format!("{}\\Interrupt Management\\MessageSignaledInterruptProperties", node.parameters_key());
        if registry::get_number(&key, "MSISupported").unwrap_or(0) == 0 {
            return 0;
        }
        let limit = registry::get_number(&key, "MessageNumberLimit").unwrap_or(u32::MAX).min(MAX_MESSAGES);
        match (self.msi_x, self.msi) {
            (Some(msi_x), _) => u32::from(msi_x.entries).min(limit),
            // More than one message of plain MSI needs vectors in a row, which are not given out.
            (None, Some(_)) => limit.min(1),
            (None, None) => 0,
        }
    }

    /// Programs the function with what it was assigned.
    fn start(&self, device: *mut DEVICE_OBJECT) -> NTSTATUS {
        if !self.is_present() {
            return NTSTATUS::NO_SUCH_DEVICE;
        }
        // SAFETY: the device is the one that got the request.
        let Some(node) = (unsafe { node::of(device) }) else { return NTSTATUS::INVALID_DEVICE_STATE };
        let messages: Vec<InterruptMessage> = {
            let state = node.state.lock();
            let message = |source: &Source| if let Source::Message(message) = source { Some(*message) } else { None };
            state.interrupts.iter().filter_map(|assigned| message(&assigned.source)).collect()
        };
        *self.messages.lock() = messages;
        self.is_started.store(true, Ordering::Release);
        self.enable()
    }

    /// Registers placed and decoded, bus mastering on, interrupts programmed: what D0 means.
    fn enable(&self) -> NTSTATUS {
        let configuration = self.configuration();
        if configuration.set_power(true) {
            let mut interval = -D3_RECOVERY;
            // SAFETY: requests come to this driver at PASSIVE_LEVEL, as its devices say.
            let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
        }
        configuration.restore(&self.settings.lock());
        // A bridge passes on what its windows say, whatever it has itself.
        let mut decode = COMMAND_MASTER | if self.identity.is_bridge() { COMMAND_IO | COMMAND_MEMORY } else { 0 };
        for bar in self.bars.iter().filter(|bar| bar.start != 0) {
            configuration.place(bar);
            decode |= if bar.kind == BarKind::Port { COMMAND_IO } else { COMMAND_MEMORY };
        }
        let messages = self.messages.lock().clone();
        let line = if messages.is_empty() { 0 } else { COMMAND_NO_INTX };
        configuration.change_command(decode | line, COMMAND_NO_INTX & !line);
        if messages.is_empty() {
            return NTSTATUS::SUCCESS;
        }
        match (self.msi_x, self.msi) {
            (Some(msi_x), _) => self.program_table(&msi_x, &messages),
            (None, Some(msi)) => {
                configuration.enable_msi(&msi, Some((messages[0].address, messages[0].data as u16)));
                NTSTATUS::SUCCESS
            }
            (None, None) => NTSTATUS::DEVICE_CONFIGURATION_ERROR,
        }
    }

    /// Fills the MSI-X table; entries beyond the messages stay masked.
    fn program_table(&self, msi_x: &MsiX, messages: &[InterruptMessage]) -> NTSTATUS {
        let Some(bar) = self.bars.iter().find(|bar| bar.index == msi_x.table_bar) else {
            return NTSTATUS::DEVICE_CONFIGURATION_ERROR;
        };
        let length = 16 * usize::from(msi_x.entries);
        let Some(table) = crate::hal().map_physical(bar.start + u64::from(msi_x.table_offset), length, Caching::Uncached) else {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        };
        let configuration = self.configuration();
        configuration.enable_msi_x(msi_x, true);
        for index in 0..usize::from(msi_x.entries) {
            let words = match messages.get(index) {
                Some(message) => [message.address as u32, (message.address >> 32) as u32, message.data, 0],
                None => [0, 0, 0, 1],
            };
            write_entry(table, index, words);
        }
        // SAFETY: nobody else knows the mapping.
        unsafe { crate::hal().unmap(table, length) };
        NTSTATUS::SUCCESS
    }

    /// No interrupts, no bus mastering, no decoding.
    fn stop(&self) {
        if self.is_started.swap(false, Ordering::AcqRel) && self.is_present() {
            self.disable();
        }
        self.messages.lock().clear();
    }

    fn disable(&self) {
        let configuration = self.configuration();
        if let Some(msi_x) = &self.msi_x {
            configuration.enable_msi_x(msi_x, false);
        }
        if let Some(msi) = &self.msi {
            configuration.enable_msi(msi, None);
        }
        // What lies behind a bridge may still be at work.
        if !self.identity.is_bridge() {
            configuration.change_command(0, COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER);
        }
    }

    /// # Safety
    /// As [`Self::pnp`].
    unsafe fn remove(&self, device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        self.stop();
        let is_gone = !self.is_present();
        // SAFETY: the caller's promise. A function that is still there keeps its device object: it can be started again.
        unsafe {
            let status = packet::complete(irp, NTSTATUS::SUCCESS, 0);
            if is_gone {
                device::IoDeleteDevice(device);
            }
            status
        }
    }

    /// # Safety
    /// The IRP is ours.
    unsafe fn access_configuration(&self, irp: *mut IRP, location: *mut IO_STACK_LOCATION) -> NTSTATUS {
        // SAFETY: the caller's promise; the buffer is one of kernel mode with the length given.
        unsafe {
            let access = (*location).Parameters.ReadWriteConfig;
            let end = access.Offset.checked_add(access.Length);
            if !self.is_present() {
                return packet::complete(irp, NTSTATUS::NO_SUCH_DEVICE, 0);
            }
            if access.WhichSpace != PCI_WHICHSPACE_CONFIG || access.Buffer.is_null() {
                return packet::complete(irp, NTSTATUS::INVALID_DEVICE_REQUEST, 0);
            }
            if end.is_none_or(|end| end > CONFIGURATION_SIZE) {
                return packet::complete(irp, NTSTATUS::INVALID_PARAMETER, 0);
            }
            let length = access.Length as usize;
            if (*location).MinorFunction == IRP_MN_READ_CONFIG {
                let buffer = core::slice::from_raw_parts_mut(access.Buffer.cast::<u8>(), length);
                crate::hal().pci_read(self.address, access.Offset as u16, buffer);
            } else {
                let data = core::slice::from_raw_parts(access.Buffer.cast::<u8>(), length);
                crate::hal().pci_write(self.address, access.Offset as u16, data);
            }
            packet::complete(irp, NTSTATUS::SUCCESS, length)
        }
    }

    /// # Safety
    /// The IRP is ours.
    pub(super) unsafe fn power(&self, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the caller's promise.
        unsafe {
            let location = current_stack_location(irp);
            let power = (*location).Parameters.Power;
            PoStartNextPowerIrp(irp);
            match (*location).MinorFunction {
                IRP_MN_SET_POWER => {
                    if power.Type == DEVICE_POWER_STATE && self.is_started.load(Ordering::Acquire) {
                        self.set_power(power.State.DeviceState);
                    }
                    packet::complete(irp, NTSTATUS::SUCCESS, 0)
                }
                IRP_MN_QUERY_POWER => packet::complete(irp, NTSTATUS::SUCCESS, 0),
                _ => unanswered(irp),
            }
        }
    }

    fn set_power(&self, state: i32) {
        if !self.is_present() {
            return;
        }
        if state == POWER_DEVICE_D0 {
            let status = self.enable();
            if !status.is_success() {
                crate::log!("{}: not back in D0: {status}", identity::location(self.address));
            }
        } else {
            *self.settings.lock() = self.configuration().settings();
            self.disable();
            self.configuration().set_power(false);
        }
    }
}

/// Writes one entry of an MSI-X table, its mask last.
fn write_entry(table: NonNull<u8>, index: usize, words: [u32; 4]) {
    // SAFETY: the mapping covers every entry of the table; device registers are written whole and volatile.
    unsafe {
        let entry = table.cast::<u32>().add(4 * index);
        entry.add(3).write_volatile(1);
        for (at, &word) in words.iter().enumerate() {
            entry.add(at).write_volatile(word);
        }
    }
}

/// A request that the bus has no answer to goes back as it came.
///
/// # Safety
/// The IRP is ours.
pub(crate) unsafe fn unanswered(irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe { packet::complete(irp, (*irp).IoStatus.status(), (*irp).IoStatus.Information) }
}

/// `TargetDeviceRelation`: the device itself, referenced.
///
/// # Safety
/// The IRP is ours, `device` the one it was sent to.
pub(crate) unsafe fn target_relation(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    let mut bytes = Vec::from(1u64.to_le_bytes());
    bytes.extend((device.addr() as u64).to_le_bytes());
    let block = pool_copy(&bytes);
    // SAFETY: the caller's promise.
    unsafe {
        if block != 0 {
            object::reference(device.cast());
        }
        complete_with(irp, block)
    }
}

/// A GUID as it lies in memory.
pub(crate) fn guid_bytes(guid: &wdf_sys::GUID) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&guid.Data1.to_le_bytes());
    bytes[4..6].copy_from_slice(&guid.Data2.to_le_bytes());
    bytes[6..8].copy_from_slice(&guid.Data3.to_le_bytes());
    bytes[8..].copy_from_slice(&guid.Data4);
    bytes
}

fn next_number() -> u32 {
    static NEXT: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
