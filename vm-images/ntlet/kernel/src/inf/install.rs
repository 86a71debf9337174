//! What installing a `DDInstall` section does: services to add, filters to put around the driver, registry values to write.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::text::{Inf, InfError, Line};
use wdf_sys::wdm::constants::{REG_BINARY, REG_DWORD, REG_EXPAND_SZ, REG_MULTI_SZ, REG_NONE, REG_QWORD, REG_SZ};

/// Most services that one installation adds, and most bytes of registry values: sections can be named again and again, so that a small file
/// could ask for very much.
const MOST_SERVICES: usize = 64;
const MOST_BYTES: usize = 4 << 20;

/// `SPSVCINST_ASSOCSERVICE`: the service is the device's function driver.
const ASSOCIATED_SERVICE: u32 = 2;

const ADDREG_NO_CLOBBER: u32 = 0x02;
const ADDREG_DELETE: u32 = 0x04;
const ADDREG_APPEND: u32 = 0x08;
const ADDREG_KEY_ONLY: u32 = 0x10;
const ADDREG_TYPE_MASK: u32 = 0xffff_0001;

/// Where a registry value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegistryRoot {
    /// `HKR`: depends on the section; see the fields of [`Installation`].
    Relative,
    /// `HKLM`.
    Machine,
}

/// One line of an AddReg section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegistryWrite {
    /// Root key.
    pub(crate) root: RegistryRoot,
    /// Path below it, may be empty.
    pub(crate) subkey: String,
    /// Name of the value, empty for the key's default value.
    pub(crate) name: String,
    /// `REG_…` type.
    pub(crate) kind: u32,
    /// The value's bytes.
    pub(crate) data: Vec<u8>,
    /// Add to a multiple string instead of replacing it.
    pub(crate) append: bool,
    /// Leave an existing value alone.
    pub(crate) keep_existing: bool,
    /// Delete the value.
    pub(crate) delete: bool,
    /// Create only the key.
    pub(crate) key_only: bool,
}

/// A service that an installation adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedService {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is the device's function driver.
    pub(crate) is_function_driver: bool,
    /// File name of its binary, without folders.
    pub(crate) binary: String,
    /// `ServiceType`, `StartType`, `ErrorControl`.
    pub(crate) numbers: [u32; 3],
    /// Values relative to the service's key.
    pub(crate) values: Vec<RegistryWrite>,
    /// `KmdfLibraryVersion`, when the `.Wdf` section names this service.
    pub(crate) kmdf_version: Option<String>,
}

/// Everything one installation does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Installation {
    /// Class name and GUID from `[Version]`.
    pub(crate) class: (String, String),
    /// Services, the function driver among them.
    pub(crate) services: Vec<AddedService>,
    /// Values relative to the device's software (driver) key.
    pub(crate) driver_values: Vec<RegistryWrite>,
    /// Values relative to the device's hardware key (`Device Parameters`; filters and the like at its parent).
    pub(crate) hardware_values: Vec<RegistryWrite>,
    /// Services of upper filters from `.Filters`.
    pub(crate) upper_filters: Vec<String>,
    /// Services of lower filters from `.Filters`.
    pub(crate) lower_filters: Vec<String>,
}

impl Installation {
    /// Reads the installation that `section`, undecorated, begins.
    pub(crate) fn read(inf: &Inf, section: &str) -> Result<Self, InfError> {
        let base = decorated(inf, section).ok_or_else(|| InfError::new(0, format!("there is no install section [{section}]")))?;
        let version = |key| String::from(inf.value("Version", key).unwrap_or_default());
        let mut result = Self { class: (version("Class"), version("ClassGuid")), ..Self::default() };
        let mut left = MOST_BYTES;
        result.driver_values = registry_writes(inf, &base, &mut left)?;
        if let Some(hardware) = sub_section(inf, &base, section, "HW") {
            result.hardware_values = registry_writes(inf, &hardware, &mut left)?;
        }
        if let Some(services) = sub_section(inf, &base, section, "Services") {
            for line in inf.lines_with_key(&services, "AddService") {
                if line.field(0).is_empty() {
                    continue;
                }
                if result.services.len() == MOST_SERVICES {
                    return Err(InfError::new(line.number, "the installation adds more than 64 services"));
                }
                result.services.push(service(inf, line, &mut left)?);
            }
        }
        if let Some(filters) = sub_section(inf, &base, section, "Filters") {
            for line in inf.lines_with_key(&filters, "AddFilter") {
                let position = inf.value(line.field(2), "FilterPosition").unwrap_or("Upper");
                let list =
                    if position.eq_ignore_ascii_case("Lower") { &mut result.lower_filters } else { &mut result.upper_filters };
                list.push(line.field(0).into());
            }
        }
        if let Some(wdf) = sub_section(inf, &base, section, "Wdf") {
            for line in inf.lines_with_key(&wdf, "KmdfService") {
                let version = inf.value(line.field(1), "KmdfLibraryVersion").map(String::from);
                if let Some(service) = result.services.iter_mut().find(|service| service.name.eq_ignore_ascii_case(line.field(0)))
                {
                    service.kmdf_version = version;
                }
            }
        }
        Ok(result)
    }
}

/// `DDInstall` as this system reads it: with `.NTamd64`, else `.NT`, else plain.
fn decorated(inf: &Inf, section: &str) -> Option<String> {
    [".NTamd64", ".NT", ""].iter().map(|suffix| format!("{section}{suffix}")).find(|name| inf.has_section(name))
}

/// A section that belongs to a `DDInstall`: decoration first, then the suffix, as in `Install.NT.Services`.
fn sub_section(inf: &Inf, base: &str, section: &str, suffix: &str) -> Option<String> {
    [base, section].iter().map(|name| format!("{name}.{suffix}")).find(|name| inf.has_section(name))
}

fn service(inf: &Inf, line: &Line, left: &mut usize) -> Result<AddedService, InfError> {
    let name = String::from(line.field(0));
    let section = line.field(2);
    let section = [".NTamd64", ".NT", ""].iter().map(|suffix| format!("{section}{suffix}")).find(|name| inf.has_section(name));
    let section =
        section.ok_or_else(|| InfError::new(line.number, format!("service {name} has no section [{}]", line.field(2))))?;
    let path = inf.value(&section, "ServiceBinary");
    let path = path.ok_or_else(|| InfError::new(line.number, format!("[{section}] has no ServiceBinary")))?;
    let value = |key, default| inf.value(&section, key).and_then(number).unwrap_or(default);
    Ok(AddedService {
        is_function_driver: number(line.field(1)).unwrap_or(0) & ASSOCIATED_SERVICE != 0,
        binary: path.rsplit(['\\', '/']).next().unwrap_or(path).into(),
        numbers: [value("ServiceType", 1), value("StartType", 3), value("ErrorControl", 1)],
        values: registry_writes(inf, &section, left)?,
        kmdf_version: None,
        name,
    })
}

/// Every line of every section that the AddReg directives of `section` name. `left` is how many bytes the installation may still write.
fn registry_writes(inf: &Inf, section: &str, left: &mut usize) -> Result<Vec<RegistryWrite>, InfError> {
    let mut writes = Vec::new();
    for directive in inf.lines_with_key(section, "AddReg") {
        for name in &directive.fields {
            for line in inf.lines(name) {
                let Some(write) = registry_write(line)? else { continue };
                let size = size_of::<RegistryWrite>() + write.subkey.len() + write.name.len() + write.data.len();
                *left = left.checked_sub(size).ok_or_else(|| {
                    InfError::new(directive.number, "the installation writes more than 4 MiB of registry values")
                })?;
                writes.push(write);
            }
        }
    }
    Ok(writes)
}

/// `None` for roots that mean nothing here (`HKCR`, `HKCU`, `HKU`).
fn registry_write(line: &Line) -> Result<Option<RegistryWrite>, InfError> {
    let root = match line.field(0) {
        root if root.eq_ignore_ascii_case("HKR") => RegistryRoot::Relative,
        root if root.eq_ignore_ascii_case("HKLM") => RegistryRoot::Machine,
        root if ["HKCR", "HKCU", "HKU"].iter().any(|name| name.eq_ignore_ascii_case(root)) => return Ok(None),
        root => return Err(InfError::new(line.number, format!("{root} is no registry root"))),
    };
    let flags = match line.field(3) {
        "" => 0,
        text => number(text).ok_or_else(|| InfError::new(line.number, format!("the flags {text} are no number")))?,
    };
    let (kind, data) = data(flags & ADDREG_TYPE_MASK, line.fields.get(4..).unwrap_or(&[]))
        .map_err(|reason| InfError::new(line.number, reason))?;
    Ok(Some(RegistryWrite {
        root,
        subkey: line.field(1).into(),
        name: line.field(2).into(),
        kind,
        data,
        append: flags & ADDREG_APPEND != 0 && kind == REG_MULTI_SZ,
        keep_existing: flags & ADDREG_NO_CLOBBER != 0,
        delete: flags & ADDREG_DELETE != 0,
        key_only: flags & ADDREG_KEY_ONLY != 0,
    }))
}

/// A value's type and bytes.
fn data(type_flags: u32, fields: &[String]) -> Result<(u32, Vec<u8>), String> {
    let first = fields.first().map_or("", String::as_str);
    let parsed = |text: &str| number_64(text).ok_or_else(|| format!("{text} is no number"));
    match type_flags {
        0 => Ok((REG_SZ, string_bytes(first))),
        0x0002_0000 => Ok((REG_EXPAND_SZ, string_bytes(first))),
        0x0001_0000 => {
            let mut bytes: Vec<u8> = fields.iter().filter(|text| !text.is_empty()).flat_map(|text| string_bytes(text)).collect();
            bytes.extend([0, 0]);
            Ok((REG_MULTI_SZ, bytes))
        }
        // A number, or its four bytes.
        0x0001_0001 if fields.len() == 4 => Ok((REG_DWORD, hexadecimal_bytes(fields)?)),
        0x0001_0001 if first.is_empty() => Ok((REG_DWORD, Vec::from(0u32.to_le_bytes()))),
        0x0001_0001 => Ok((REG_DWORD, Vec::from((parsed(first)? as u32).to_le_bytes()))),
        0x000b_0001 => Ok((REG_QWORD, Vec::from(parsed(first)?.to_le_bytes()))),
        0x0002_0001 => Ok((REG_NONE, hexadecimal_bytes(fields)?)),
        0x0000_0001 => Ok((REG_BINARY, hexadecimal_bytes(fields)?)),
        // Any other type is given by its number in the high half, with binary data.
        other if other & 1 != 0 => Ok((other >> 16, hexadecimal_bytes(fields)?)),
        other => Err(format!("the value type {other:#010x} is not known")),
    }
}

fn string_bytes(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn hexadecimal_bytes(fields: &[String]) -> Result<Vec<u8>, String> {
    let digits = |text: &String| u8::from_str_radix(text, 16).map_err(|_| format!("{text} is no hexadecimal byte"));
    fields.iter().filter(|text| !text.is_empty()).map(digits).collect()
}

fn number(text: &str) -> Option<u32> {
    number_64(text).and_then(|value| u32::try_from(value).ok())
}

fn number_64(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        // Negative numbers stand for their two's complement in 32 bits.
        None => text.parse().ok().or_else(|| text.parse::<i32>().ok().map(|value| u64::from(value as u32))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[Version]
Signature = "$WINDOWS NT$"
Class = System
ClassGuid = {4d36e97d-e325-11ce-bfc1-08002be10318}
[Relay.NT]
CopyFiles = Files
[Relay.NT.HW]
AddReg = Msi, Filter
[Msi]
HKR, Interrupt Management,,0x00000010
HKR, Interrupt Management\MessageSignaledInterruptProperties, MSISupported, 0x00010001, 1
HKR, Interrupt Management\MessageSignaledInterruptProperties, MessageNumberLimit, 0x00010001, 4
[Filter]
HKR,, UpperFilters, 0x00010008, relayflt
[Relay.NT.Services]
AddService = relay, 0x00000002, Service
AddService = relayflt,, FilterService
[Service]
ServiceType = 1
StartType = 3
ErrorControl = 1
ServiceBinary = %13%\relay.sys
AddReg = Parameters
[Parameters]
HKR, Parameters\Wdf, VerifierOn, 0x00010001, 1
[FilterService]
ServiceType = %SERVICE_KERNEL_DRIVER%
ServiceBinary = %13%\relayflt.sys
[Relay.NT.Wdf]
KmdfService = relay, Library
[Library]
KmdfLibraryVersion = 1.15
"#;

    #[test]
    fn an_installation_names_services_filters_and_interrupt_settings() {
        let inf = Inf::parse(FILE.as_bytes()).unwrap();
        let installation = Installation::read(&inf, "Relay").unwrap();

        assert_eq!(installation.class.0, "System");
        let names: Vec<_> =
            installation.services.iter().map(|service| (service.name.as_str(), service.is_function_driver)).collect();
        assert_eq!(names, [("relay", true), ("relayflt", false)]);
        assert_eq!(installation.services[0].binary, "relay.sys");
        assert_eq!(installation.services[0].kmdf_version.as_deref(), Some("1.15"));
        assert_eq!(installation.services[0].values[0].subkey, "Parameters\\Wdf");
        let limit = &installation.hardware_values[2];
        assert_eq!(
            (limit.name.as_str(), limit.kind, limit.data.as_slice()),
            ("MessageNumberLimit", REG_DWORD, &[4, 0, 0, 0][..])
        );
        assert!(installation.hardware_values[0].key_only);
        assert!(installation.hardware_values[3].append);
    }

    #[test]
    fn a_missing_section_or_binary_is_named() {
        let inf = Inf::parse(FILE.replace("ServiceBinary = %13%\\relay.sys", "").as_bytes()).unwrap();
        assert!(Installation::read(&inf, "Relay").unwrap_err().reason.contains("ServiceBinary"));
        assert!(Installation::read(&inf, "Other").unwrap_err().reason.contains("[Other]"));
    }

    #[test]
    fn each_value_type_becomes_its_bytes() {
        let fields = |list: &[&str]| list.iter().map(|&text| text.into()).collect::<Vec<String>>();
        assert_eq!(data(1, &fields(&["0a", "ff"])), Ok((REG_BINARY, vec![0x0a, 0xff])));
        assert_eq!(data(0x0001_0001, &fields(&["-1"])), Ok((REG_DWORD, vec![0xff; 4])));
        assert_eq!(data(0x0001_0000, &fields(&["a"])), Ok((REG_MULTI_SZ, vec![b'a', 0, 0, 0, 0, 0])));
        assert!(data(1, &fields(&["zz"])).is_err());
    }

    #[test]
    fn an_installation_that_writes_endless_values_is_refused() {
        let head = "[Version]\nSignature=\"$WINDOWS NT$\"\n";
        let values = "HKR, Key, Name, 0, Value\n".repeat(1000);
        let names = vec!["Values"; 100].join(",");
        let file = format!("{head}[Install]\nAddReg = {names}\n[Values]\n{values}");
        let inf = Inf::parse(file.as_bytes()).unwrap();
        assert!(Installation::read(&inf, "Install").unwrap_err().reason.contains("more than 4 MiB"));
        let services = "AddService = x,, Service\n".repeat(100);
        let file = format!("{head}[Install]\n[Install.Services]\n{services}[Service]\nServiceBinary = x.sys\n");
        let inf = Inf::parse(file.as_bytes()).unwrap();
        assert!(Installation::read(&inf, "Install").unwrap_err().reason.contains("more than 64 services"));
    }
}
