//! Names of a device: symbolic links and device interfaces, kept so that they go when the device goes.

use alloc::vec::Vec;

use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::functions::{
    IoCreateSymbolicLink, IoDeleteSymbolicLink, IoGetDeviceProperty, IoRegisterDeviceInterface, IoSetDeviceInterfaceState,
    RtlFreeUnicodeString,
};
use wdf_sys::{BOOLEAN, FALSE, GUID, NTSTATUS, TRUE, WDFDEVICE, WDFSTRING};

use super::Device;
use crate::call::{Call, ddi, later};
use crate::device_init::copy_units;
use crate::object::Ref;
use crate::string::Text;
use crate::sync::{PASSIVE_LEVEL, SpinLock};
use crate::verifier::{self, Rule};

struct Interface {
    class: GUID,
    reference: Option<Vec<u16>>,
    link: Vec<u16>,
    /// The driver wants it enabled while the device is started; on by default.
    wanted: bool,
    enabled: bool,
}

/// A device's symbolic links and interfaces.
pub(crate) struct Names {
    links: SpinLock<Vec<Vec<u16>>>,
    interfaces: SpinLock<Vec<Interface>>,
}

impl Names {
    pub(crate) const fn new() -> Self {
        Self { links: SpinLock::new(Vec::new()), interfaces: SpinLock::new(Vec::new()) }
    }

    /// Enables what the driver wants enabled: the device has started.
    pub(crate) fn enable_interfaces(&self) {
        self.switch_interfaces(|interface| interface.wanted);
    }

    /// Disables all: the device is going.
    pub(crate) fn disable_interfaces(&self) {
        self.switch_interfaces(|_| false);
    }

    fn switch_interfaces(&self, wish: impl Fn(&Interface) -> bool) {
        let mut index = 0;
        while let Some(change) = self.next_change(&mut index, &wish) {
            let (link, enable) = change;
            // Outside the lock: the kernel may call other drivers, at PASSIVE_LEVEL.
            set_state(&link, enable);
        }
    }

    /// The next interface whose state differs from the wish, changed in the list. Starts at `index`, and moves it on.
    fn next_change(&self, index: &mut usize, wish: &impl Fn(&Interface) -> bool) -> Option<(Vec<u16>, bool)> {
        let mut interfaces = self.interfaces.lock();
        while let Some(interface) = interfaces.get_mut(*index) {
            *index += 1;
            let enable = wish(interface);
            if interface.enabled != enable
                && let Ok(link) = copy_units(&interface.link)
            {
                interface.enabled = enable;
                return Some((link, enable));
            }
        }
        None
    }

    /// Disables the interfaces and deletes the links.
    pub(crate) fn remove_all(&self) {
        self.disable_interfaces();
        let links = core::mem::take(&mut *self.links.lock());
        for link in links {
            if let Some(mut name) = UNICODE_STRING::new(&link) {
                // SAFETY: the name lives through the call.
                let _ = unsafe { IoDeleteSymbolicLink(&mut name) };
            }
        }
    }

    fn set_wanted(&self, class: &GUID, reference: Option<&[u16]>, wanted: bool, started: bool) -> Option<()> {
        let link = {
            let mut interfaces = self.interfaces.lock();
            let found = interfaces.iter_mut().find(|interface| interface.is(class, reference))?;
            found.wanted = wanted;
            if found.enabled == wanted || !started {
                return Some(());
            }
            found.enabled = wanted;
            copy_units(&found.link).ok()?
        };
        set_state(&link, wanted);
        Some(())
    }

    fn link_of(&self, class: &GUID, reference: Option<&[u16]>) -> Option<Result<Vec<u16>, NTSTATUS>> {
        let interfaces = self.interfaces.lock();
        interfaces.iter().find(|interface| interface.is(class, reference)).map(|interface| copy_units(&interface.link))
    }
}

impl Interface {
    fn is(&self, class: &GUID, reference: Option<&[u16]>) -> bool {
        self.class == *class && self.reference.as_deref() == reference
    }
}

fn set_state(link: &[u16], enable: bool) {
    if let Some(mut name) = UNICODE_STRING::new(link) {
        // SAFETY: the name lives through the call.
        let status = unsafe { IoSetDeviceInterfaceState(&mut name, if enable { TRUE } else { FALSE }) };
        if !status.is_success() {
            crate::text::report("interface", format_args!("IoSetDeviceInterfaceState({enable}): {status}"));
        }
    }
}

/// Name of the physical device of a stack, which every bus gives one.
fn physical_name(device: &Ref<Device>) -> Result<Vec<u16>, NTSTATUS> {
    /// `DevicePropertyPhysicalDeviceObjectName`.
    const PHYSICAL_DEVICE_OBJECT_NAME: i32 = 0xb;
    /// Longest name of an object, in units.
    const LONGEST: usize = 256;
    let mut units = Vec::new();
    units.try_reserve_exact(LONGEST).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
    units.resize(LONGEST, 0);
    let mut bytes = 0;
    // SAFETY: the physical device is the stack's; the buffer has the length given.
    unsafe {
        IoGetDeviceProperty(
            device.pdo(),
            PHYSICAL_DEVICE_OBJECT_NAME,
            (LONGEST * 2) as u32,
            units.as_mut_ptr().cast(),
            &mut bytes,
        )
    }
    .ok()?;
    units.truncate(bytes as usize / 2);
    while units.last() == Some(&0) {
        units.pop();
    }
    Ok(units)
}

/// Links to the device's own name, or, when it has none, to that of the physical device below it.
fn create_link(device: &Ref<Device>, link: &[u16]) -> Result<(), NTSTATUS> {
    let below;
    let target = match device.settings.name.as_deref() {
        Some(own) => own,
        None if device.is_control() => return Err(NTSTATUS::INVALID_DEVICE_REQUEST),
        None => {
            below = physical_name(device)?;
            &below[..]
        }
    };
    let mut target = UNICODE_STRING::new(target).ok_or(NTSTATUS::OBJECT_NAME_INVALID)?;
    let kept = copy_units(link)?;
    let Some(mut name) = UNICODE_STRING::new(link) else { return Err(NTSTATUS::OBJECT_NAME_INVALID) };
    // SAFETY: both strings live through the call.
    unsafe { IoCreateSymbolicLink(&mut name, &mut target) }.ok()?;
    let mut links = device.names.links.lock();
    if links.try_reserve(1).is_err() {
        drop(links);
        // SAFETY: the name lives through the call.
        let _ = unsafe { IoDeleteSymbolicLink(&mut name) };
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    links.push(kept);
    Ok(())
}

fn create_interface(device: &Ref<Device>, class: &GUID, reference: Option<&[u16]>) -> Result<(), NTSTATUS> {
    if device.names.link_of(class, reference).is_some() {
        return Ok(());
    }
    let mut wanted_reference = reference.and_then(UNICODE_STRING::new);
    let reference_pointer = wanted_reference.as_mut().map_or(core::ptr::null_mut(), core::ptr::from_mut);
    let mut link = UNICODE_STRING::zeroed();
    // SAFETY: the physical device is the stack's; the other arguments live through the call.
    unsafe { IoRegisterDeviceInterface(device.pdo(), class, reference_pointer, &mut link) }.ok()?;
    // SAFETY: the kernel has filled the string in.
    let copied = copy_units(unsafe { link.units() });
    // SAFETY: the string is the caller's to free, by the function's page.
    unsafe { RtlFreeUnicodeString(&mut link) };
    let interface = Interface {
        class: *class,
        reference: reference.map(copy_units).transpose()?,
        link: copied?,
        wanted: true,
        enabled: false,
    };
    {
        let mut interfaces = device.names.interfaces.lock();
        interfaces.try_reserve(1).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
        interfaces.push(interface);
    }
    if device.pnp.is_started() {
        device.names.enable_interfaces();
    }
    Ok(())
}

fn status_of(outcome: Result<(), NTSTATUS>) -> NTSTATUS {
    outcome.err().unwrap_or(NTSTATUS::SUCCESS)
}

fn unknown_interface(call: &Call) -> NTSTATUS {
    if call.globals.verifies() {
        verifier::violation(
            call.globals,
            Rule::InvalidParameter,
            0,
            format_args!("{}: no such interface was created", call.name()),
        );
    }
    NTSTATUS::OBJECT_NAME_NOT_FOUND
}

ddi! {
    fn WdfDeviceCreateSymbolicLink(call, device: WDFDEVICE, link: *const UNICODE_STRING) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        status_of(call.string(link).and_then(|link| create_link(&device, link)))
    }

    fn WdfDeviceCreateDeviceInterface(call, device: WDFDEVICE, class: *const GUID, reference: *const UNICODE_STRING) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        let class = call.required(class);
        if device.is_control() {
            return NTSTATUS::INVALID_DEVICE_REQUEST;
        }
        status_of(call.optional_string(reference).and_then(|reference| create_interface(&device, class, reference)))
    }

    fn WdfDeviceSetDeviceInterfaceState(call, device: WDFDEVICE, class: *const GUID, reference: *const UNICODE_STRING, enable: BOOLEAN) {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        let class = call.required(class);
        let Ok(reference) = call.optional_string(reference) else { return };
        if device.names.set_wanted(class, reference, enable != 0, device.pnp.is_started()).is_none() {
            let _ = unknown_interface(call);
        }
    }

    fn WdfDeviceRetrieveDeviceInterfaceString(call, device: WDFDEVICE, class: *const GUID, reference: *const UNICODE_STRING, string: WDFSTRING) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        let string = call.object::<Text>(string);
        let class = call.required(class);
        let reference = match call.optional_string(reference) {
            Ok(reference) => reference,
            Err(status) => return status,
        };
        match device.names.link_of(class, reference) {
            Some(Ok(link)) => status_of(string.set(&link)),
            Some(Err(status)) => status,
            None => unknown_interface(call),
        }
    }

    fn WdfDeviceRetrieveDeviceName(call, device: WDFDEVICE, string: WDFSTRING) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        let string = call.object::<Text>(string);
        match device.settings.name.as_deref() {
            Some(name) => status_of(string.set(name)),
            None => NTSTATUS::INVALID_DEVICE_REQUEST,
        }
    }
}

later! { LATER:
    fn WdfDeviceSetDeviceInterfaceStateEx[457](call, device: WDFDEVICE, class: *const GUID, reference: *const UNICODE_STRING, enable: BOOLEAN) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        let class = call.required(class);
        let reference = match call.optional_string(reference) {
            Ok(reference) => reference,
            Err(status) => return status,
        };
        match device.names.set_wanted(class, reference, enable != 0, device.pnp.is_started()) {
            Some(()) => NTSTATUS::SUCCESS,
            None => unknown_interface(call),
        }
    }
}
