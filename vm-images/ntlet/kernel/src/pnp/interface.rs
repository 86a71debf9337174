//! Device interfaces: names by class, `\??\PCI#…#{guid}`, that lead to a device while it works.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use wdf_sys::wdm::constants::POOL_FLAG_NON_PAGED;
use wdf_sys::wdm::functions::ExAllocatePool2;
use wdf_sys::wdm::{DEVICE_OBJECT, UNICODE_STRING};
use wdf_sys::{BOOLEAN, GUID, HANDLE, NTSTATUS};

use super::{node, notification};
use crate::io::{driver, units};
use crate::lock::SpinLock;
use crate::object::name;
use crate::registry;

const TAG: u32 = u32::from_le_bytes(*b"Pnpi");
/// `DEVICE_INTERFACE_INCLUDE_NONACTIVE`.
const INCLUDE_INACTIVE: u32 = 1;
/// Most interfaces at a time.
const MAX_INTERFACES: usize = 4096;

/// One registered interface.
#[derive(Clone, Debug)]
struct Interface {
    link: Vec<u16>,
    class: GUID,
    pdo: usize,
    target: Vec<u16>,
    is_enabled: bool,
}

static INTERFACES: SpinLock<Vec<Interface>> = SpinLock::new(Vec::new());

/// A GUID as it is written in names.
pub(crate) fn guid_text(guid: &GUID) -> String {
    let [a, b, rest @ ..] = guid.Data4;
    let tail: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{{:08x}-{:04x}-{:04x}-{a:02x}{b:02x}-{tail}}}", guid.Data1, guid.Data2, guid.Data3)
}

/// Name of an interface: backslashes of the instance path become number signs.
fn link_name(instance_path: &str, class: &GUID, reference: &str) -> String {
    let link = format!("\\??\\{}#{}", instance_path.replace('\\', "#"), guid_text(class));
    if reference.is_empty() { link } else { format!("{link}\\{reference}") }
}

/// # Safety
/// As the documentation of IoRegisterDeviceInterface demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoRegisterDeviceInterface(
    PhysicalDeviceObject: *mut DEVICE_OBJECT,
    InterfaceClassGuid: *const GUID,
    ReferenceString: *mut UNICODE_STRING,
    SymbolicLinkName: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let (found, class, reference) = unsafe {
        let reference = if ReferenceString.is_null() { Ok(&[][..]) } else { units(ReferenceString) };
        (node::of(PhysicalDeviceObject), *InterfaceClassGuid, reference.map(name::lossy))
    };
    let Some(found) = found else { return NTSTATUS::INVALID_DEVICE_REQUEST };
    let Ok(reference) = reference else { return NTSTATUS::INVALID_PARAMETER };
    // A reference string with a separator in it would name another device.
    if reference.contains(['\\', '/']) {
        return NTSTATUS::INVALID_DEVICE_REQUEST;
    }
    let text = link_name(&found.instance_path, &class, &reference);
    let link = name::wide(&text);
    let Some(target) = device_name(PhysicalDeviceObject) else { return NTSTATUS::INVALID_DEVICE_REQUEST };
    // SAFETY: the caller's promise.
    if let Err(status) = unsafe { store(SymbolicLinkName, &link) } {
        return status;
    }
    let key = key_of(&class, &text);
    let _ = registry::set_string(&key, "DeviceInstance", &found.instance_path);
    let mut interfaces = INTERFACES.lock();
    if interfaces.iter().any(|known| name::same(&known.link, &link)) {
        return NTSTATUS::SUCCESS;
    }
    if interfaces.len() >= MAX_INTERFACES {
        return NTSTATUS::INSUFFICIENT_RESOURCES;
    }
    interfaces.push(Interface { link, class, pdo: PhysicalDeviceObject.addr(), target, is_enabled: false });
    NTSTATUS::SUCCESS
}

/// Name of a physical device object.
pub(crate) fn device_name(pdo: *mut DEVICE_OBJECT) -> Option<Vec<u16>> {
    // SAFETY: the caller has a reference to the device.
    unsafe { crate::io::device::name_of(pdo) }
}

/// Gives a string of pool to the caller, who frees it with `RtlFreeUnicodeString`.
///
/// # Safety
/// `string` is writable.
unsafe fn store(string: *mut UNICODE_STRING, text: &[u16]) -> Result<(), NTSTATUS> {
    let length = u16::try_from(2 * text.len()).map_err(|_| NTSTATUS::INVALID_PARAMETER)?;
    // SAFETY: the block has room for the text and a terminator; the caller's promise for the string.
    unsafe {
        let buffer: *mut u16 = ExAllocatePool2(POOL_FLAG_NON_PAGED, usize::from(length) + 2, TAG).cast();
        if buffer.is_null() {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        buffer.copy_from(text.as_ptr(), text.len());
        *buffer.add(text.len()) = 0;
        *string = UNICODE_STRING { Length: length, MaximumLength: length.saturating_add(2), Buffer: buffer };
    }
    Ok(())
}

/// The registry key of an interface.
fn key_of(class: &GUID, link: &str) -> String {
    let place = link.replace("\\??\\", "##?#").replace('\\', "#");
    format!("Machine\\System\\CurrentControlSet\\Control\\DeviceClasses\\{}\\{place}", guid_text(class))
}

/// What is registered under a link.
fn registered(link: &[u16]) -> Option<Interface> {
    INTERFACES.lock().iter().find(|known| name::same(&known.link, link)).cloned()
}

/// The same device's interface of another class, with the same reference string.
///
/// # Safety
/// As the documentation of IoGetDeviceInterfaceAlias demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetDeviceInterfaceAlias(
    SymbolicLinkName: *mut UNICODE_STRING,
    AliasInterfaceClassGuid: *const GUID,
    AliasSymbolicLinkName: *mut UNICODE_STRING,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    unsafe {
        let link = match units(SymbolicLinkName) {
            Ok(link) => link,
            Err(status) => return status,
        };
        let Some(known) = registered(link) else { return NTSTATUS::OBJECT_NAME_NOT_FOUND };
        let (own, other) = (guid_text(&known.class), guid_text(&*AliasInterfaceClassGuid));
        let alias = name::wide(&name::lossy(&known.link).replacen(&own, &other, 1));
        match registered(&alias) {
            Some(alias) => store(AliasSymbolicLinkName, &alias.link).err().unwrap_or(NTSTATUS::SUCCESS),
            None => NTSTATUS::OBJECT_NAME_NOT_FOUND,
        }
    }
}

/// # Safety
/// As the documentation of IoOpenDeviceInterfaceRegistryKey demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoOpenDeviceInterfaceRegistryKey(
    SymbolicLinkName: *mut UNICODE_STRING,
    DesiredAccess: u32,
    DeviceInterfaceRegKey: *mut HANDLE,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let link = match unsafe { units(SymbolicLinkName) } {
        Ok(link) => link,
        Err(status) => return status,
    };
    let Some(known) = registered(link) else { return NTSTATUS::OBJECT_NAME_NOT_FOUND };
    let path = format!("{}\\Device Parameters", key_of(&known.class, &name::lossy(&known.link)));
    match registry::create(&path).and_then(|key| registry::keys::handle(key, DesiredAccess, true)) {
        Ok(handle) => {
            // SAFETY: the caller's promise.
            unsafe { *DeviceInterfaceRegKey = handle };
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

/// # Safety
/// As the documentation of IoSetDeviceInterfaceState demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoSetDeviceInterfaceState(
    SymbolicLinkName: *mut UNICODE_STRING,
    Enable: BOOLEAN,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let link = match unsafe { units(SymbolicLinkName) } {
        Ok(link) => link,
        Err(status) => return status,
    };
    match set_state(link, Enable != 0) {
        Ok(()) => NTSTATUS::SUCCESS,
        Err(status) => status,
    }
}

fn set_state(link: &[u16], enable: bool) -> Result<(), NTSTATUS> {
    let interface = {
        let mut interfaces = INTERFACES.lock();
        let known = interfaces.iter_mut().find(|known| name::same(&known.link, link)).ok_or(NTSTATUS::OBJECT_NAME_NOT_FOUND)?;
        if known.is_enabled == enable {
            return if enable { Err(NTSTATUS::OBJECT_NAME_EXISTS) } else { Err(NTSTATUS::OBJECT_NAME_NOT_FOUND) };
        }
        known.is_enabled = enable;
        known.clone()
    };
    // The link ends before a reference string: what follows it is the file name in the device.
    let end = interface.link.iter().skip(4).position(|&unit| unit == name::SEPARATOR).map_or(interface.link.len(), |at| at + 4);
    let link = &interface.link[..end];
    if enable {
        match driver::namespace().create_link(link, &interface.target) {
            // Another reference string of the same interface has made it.
            Ok(()) | Err(NTSTATUS::OBJECT_NAME_COLLISION) => {}
            Err(status) => return Err(status),
        }
    } else {
        let is_used = INTERFACES.lock().iter().any(|known| known.is_enabled && known.link.starts_with(link));
        if !is_used {
            let _ = driver::namespace().delete_link(link);
        }
    }
    notification::interface_changed(&interface.class, &interface.link, enable);
    Ok(())
}

/// Disables every interface of a device.
pub(crate) fn disable_all(pdo: *mut DEVICE_OBJECT) {
    let links: Vec<Vec<u16>> = {
        let interfaces = INTERFACES.lock();
        interfaces.iter().filter(|known| known.is_enabled && known.pdo == pdo.addr()).map(|known| known.link.clone()).collect()
    };
    for link in links {
        let _ = set_state(&link, false);
    }
}

/// Forgets the interfaces of a device that is gone.
pub(crate) fn forget(pdo: *mut DEVICE_OBJECT) {
    INTERFACES.lock().retain(|known| known.pdo != pdo.addr());
}

/// Links of the enabled interfaces of a class.
pub(crate) fn enabled(class: &GUID) -> Vec<Vec<u16>> {
    INTERFACES.lock().iter().filter(|known| known.is_enabled && known.class == *class).map(|known| known.link.clone()).collect()
}

/// # Safety
/// As the documentation of IoGetDeviceInterfaces demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoGetDeviceInterfaces(
    InterfaceClassGuid: *const GUID,
    PhysicalDeviceObject: *mut DEVICE_OBJECT,
    Flags: u32,
    SymbolicLinkList: *mut *mut u16,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let class = unsafe { *InterfaceClassGuid };
    let mut list: Vec<u16> = Vec::new();
    for known in INTERFACES.lock().iter() {
        let is_meant = known.class == class
            && (PhysicalDeviceObject.is_null() || known.pdo == PhysicalDeviceObject.addr())
            && (known.is_enabled || Flags & INCLUDE_INACTIVE != 0);
        if is_meant {
            list.extend(&known.link);
            list.push(0);
        }
    }
    list.push(0);
    // SAFETY: the block has room for the list; the caller's promise.
    unsafe {
        let buffer: *mut u16 = ExAllocatePool2(POOL_FLAG_NON_PAGED, 2 * list.len(), TAG).cast();
        if buffer.is_null() {
            return NTSTATUS::INSUFFICIENT_RESOURCES;
        }
        buffer.copy_from(list.as_ptr(), list.len());
        *SymbolicLinkList = buffer;
    }
    NTSTATUS::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_named_after_its_instance_and_class() {
        let class = GUID::new((0x6f1d_7f0e, 0x3a5b, 0x4c3e, [0x9d, 0x58, 0x7b, 0x1c, 0x52, 0xa0, 0xc1, 0xd1]));
        assert_eq!(
            link_name("PCI\\VEN_1AF4&DEV_1055\\3&11583659&0&10", &class, ""),
            "\\??\\PCI#VEN_1AF4&DEV_1055#3&11583659&0&10#{6f1d7f0e-3a5b-4c3e-9d58-7b1c52a0c1d1}"
        );
        assert!(link_name("A\\B\\C", &class, "ref").ends_with("}\\ref"));
    }

    #[test]
    fn an_alias_is_the_same_devices_interface_of_another_class_and_each_has_a_key() {
        crate::sim::run(|_| {
            let [first, second, third] = [1, 2, 3].map(|number| GUID::new((number, 0, 0, [0; 8])));
            for class in [first, second] {
                let link = name::wide(&link_name("ROOT\\A\\0000", &class, "ref"));
                INTERFACES.lock().push(Interface { link, class, pdo: 0, target: Vec::new(), is_enabled: true });
            }
            let link = name::wide(&link_name("ROOT\\A\\0000", &first, "ref"));
            let mut link = UNICODE_STRING::new(&link).unwrap();
            let (mut alias, mut key) = (UNICODE_STRING::zeroed(), core::ptr::null_mut());
            // SAFETY: a link, classes, and places for the answers.
            unsafe {
                assert_eq!(IoGetDeviceInterfaceAlias(&raw mut link, &raw const second, &raw mut alias), NTSTATUS::SUCCESS);
                assert_eq!(name::lossy(alias.units()), link_name("ROOT\\A\\0000", &second, "ref"));
                let missing = IoGetDeviceInterfaceAlias(&raw mut link, &raw const third, &raw mut alias);
                assert_eq!(missing, NTSTATUS::OBJECT_NAME_NOT_FOUND);
                assert_eq!(IoOpenDeviceInterfaceRegistryKey(&raw mut link, 0x2_0019, &raw mut key), NTSTATUS::SUCCESS);
                assert_eq!(wdf_sys::wdm::functions::ZwClose(key), NTSTATUS::SUCCESS);
                link.Length -= 2;
                let missing = IoOpenDeviceInterfaceRegistryKey(&raw mut link, 0x2_0019, &raw mut key);
                assert_eq!(missing, NTSTATUS::OBJECT_NAME_NOT_FOUND);
            }
        });
    }
}
