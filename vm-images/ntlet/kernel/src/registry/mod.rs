//! The registry: [`tree`] holds keys and values, [`keys`] is what drivers call, [`query`] is `RtlQueryRegistryValues`; here is what
//! the executive itself reads and writes.

pub(crate) mod keys;
pub(crate) mod paths;
pub(crate) mod query;
pub(crate) mod tree;

use alloc::string::String;
use alloc::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::{REG_DWORD, REG_MULTI_SZ, REG_SZ};

use crate::lock::SpinLock;
use crate::object::name;
use tree::{KeyId, Tree};

/// The registry of this system.
pub(crate) static REGISTRY: SpinLock<Tree> = SpinLock::new(Tree::new());

/// `\Registry\Machine\System\CurrentControlSet\Services\`.
pub(crate) const SERVICES: &str = "Machine\\System\\CurrentControlSet\\Services";
/// Where device nodes have their keys.
pub(crate) const ENUM: &str = "Machine\\System\\CurrentControlSet\\Enum";
/// Where set-up classes and their drivers have their keys.
pub(crate) const CLASS: &str = "Machine\\System\\CurrentControlSet\\Control\\Class";

/// Keys that are there on every Windows, besides those that have names here.
const FIXED: [&str; 5] = [
    "Machine\\Software\\Microsoft\\Windows\\CurrentVersion",
    "Machine\\Hardware\\DeviceMap",
    "Machine\\Hardware\\Description\\System",
    "Machine\\System\\CurrentControlSet\\Control\\Session Manager",
    "User\\.Default",
];
/// Where the system says which version it is.
const VERSION: &str = "Machine\\Software\\Microsoft\\Windows NT\\CurrentVersion";

/// Makes the keys that drivers count on.
pub(crate) fn create_fixed_keys() -> Result<(), NTSTATUS> {
    for path in [SERVICES, ENUM, CLASS].into_iter().chain(FIXED) {
        create(path)?;
    }
    let (major, minor, build) = crate::time::VERSION;
    let build = alloc::format!("{build}");
    // Frozen at that since Windows 8.1.
    set_string(VERSION, "CurrentVersion", "6.3")?;
    set_number(VERSION, "CurrentMajorVersionNumber", major)?;
    set_number(VERSION, "CurrentMinorVersionNumber", minor)?;
    set_string(VERSION, "CurrentBuild", &build)?;
    set_string(VERSION, "CurrentBuildNumber", &build)
}

fn now() -> i64 {
    crate::try_hal().map_or(0, |hal| (hal.boot_time() + hal.uptime()) as i64)
}

/// Creates (or opens) a key at a path below `\Registry`.
pub(crate) fn create(path: &str) -> Result<KeyId, NTSTATUS> {
    let path = name::wide(path);
    let mut tree = REGISTRY.lock();
    let root = tree.root();
    tree.create(root, &path, true, now()).map(|(key, _)| key)
}

/// Opens a key at a path below `\Registry`.
pub(crate) fn open(path: &str) -> Result<KeyId, NTSTATUS> {
    let path = name::wide(path);
    let mut tree = REGISTRY.lock();
    let root = tree.root();
    tree.open(root, &path)
}

/// Writes a value of a key at a path, which is created.
pub(crate) fn set(path: &str, value: &str, kind: u32, data: &[u8]) -> Result<(), NTSTATUS> {
    let key = create(path)?;
    REGISTRY.lock().set_value(key, &name::wide(value), kind, data, now())
}

/// Writes a string.
pub(crate) fn set_string(path: &str, value: &str, text: &str) -> Result<(), NTSTATUS> {
    set(path, value, REG_SZ, &string_bytes(text))
}

/// Writes a list of strings.
pub(crate) fn set_strings(path: &str, value: &str, list: &[String]) -> Result<(), NTSTATUS> {
    let mut data: Vec<u8> = list.iter().flat_map(|text| string_bytes(text)).collect();
    data.extend([0, 0]);
    set(path, value, REG_MULTI_SZ, &data)
}

/// Writes a number.
pub(crate) fn set_number(path: &str, value: &str, number: u32) -> Result<(), NTSTATUS> {
    set(path, value, REG_DWORD, &number.to_le_bytes())
}

/// Type and bytes of a value.
pub(crate) fn get(path: &str, value: &str) -> Option<(u32, Vec<u8>)> {
    let key = open(path).ok()?;
    let value = name::wide(value);
    let tree = REGISTRY.lock();
    tree.value(key, &value).ok().map(|value| (value.kind, value.data.clone()))
}

/// A number.
pub(crate) fn get_number(path: &str, value: &str) -> Option<u32> {
    let (kind, data) = get(path, value)?;
    (kind == REG_DWORD).then(|| data.first_chunk().map(|&bytes| u32::from_le_bytes(bytes))).flatten()
}

/// A string.
pub(crate) fn get_string(path: &str, value: &str) -> Option<String> {
    let (_, data) = get(path, value)?;
    strings_of(&data).into_iter().next()
}

/// A list of strings.
pub(crate) fn get_strings(path: &str, value: &str) -> Vec<String> {
    get(path, value).map(|(_, data)| strings_of(&data)).unwrap_or_default()
}

/// Names of the keys below a key.
pub(crate) fn children(path: &str) -> Vec<String> {
    let Ok(key) = open(path) else { return Vec::new() };
    let tree = REGISTRY.lock();
    let Ok(key) = tree.key(key) else { return Vec::new() };
    key.children.iter().filter_map(|&child| tree.key(child).ok()).map(|child| name::lossy(&child.name)).collect()
}

/// A string as a value's bytes, with its terminator.
pub(crate) fn string_bytes(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// The strings in the bytes of a `REG_SZ` or `REG_MULTI_SZ`.
pub(crate) fn strings_of(data: &[u8]) -> Vec<String> {
    let units: Vec<u16> = data.as_chunks().0.iter().map(|&pair| u16::from_le_bytes(pair)).collect();
    units.split(|&unit| unit == 0).filter(|text| !text.is_empty()).map(name::lossy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_strings_come_back_as_they_were_written() {
        let list = [String::from("relayflt"), String::from("other")];
        set_strings("Test\\Lists", "Filters", &list).unwrap();
        assert_eq!(get_strings("Test\\Lists", "filters"), list);
        assert_eq!(get_strings("Test\\Lists", "Missing"), Vec::<String>::new());
    }

    #[test]
    fn a_number_is_read_only_from_a_number() {
        set_number("Test\\Numbers", "N", 7).unwrap();
        set_string("Test\\Numbers", "S", "7").unwrap();
        assert_eq!(get_number("Test\\Numbers", "N"), Some(7));
        assert_eq!(get_number("Test\\Numbers", "S"), None);
    }
}
