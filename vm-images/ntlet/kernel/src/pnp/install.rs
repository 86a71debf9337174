//! Installing a device: the best INF of the archive, and what it writes to the registry.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::REG_MULTI_SZ;

use super::node::Node;
use crate::archive::Archive;
use crate::inf::{AddedService, Inf, Installation, Match, RegistryRoot, RegistryWrite, SystemVersion, best_match, root_ids};
use crate::lock::SpinLock;
use crate::registry;

/// The system that decorations are compared with; `RtlGetVersion` says the same.
const SYSTEM: SystemVersion = {
    let (major, minor, build) = crate::time::VERSION;
    SystemVersion { major, minor, build }
};

/// An INF of the archive.
#[derive(Debug)]
struct Package {
    file: String,
    inf: Inf,
}

static PACKAGES: SpinLock<Vec<Arc<Package>>> = SpinLock::new(Vec::new());
/// What the kernel command line says of the framework verifier. The framework reads it from the drivers' keys, as on Windows.
static VERIFIER: SpinLock<Verifier> = SpinLock::new(Verifier::Reports);

/// What the framework verifier does in drivers whose INFs do not say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verifier {
    Off,
    Reports,
    /// It reports, and breaks into the debugger.
    Breaks,
}

/// `Type` of a service that is a driver.
const SERVICE_KERNEL_DRIVER: u32 = 1;
/// `Start` of a service that is started by hand.
const SERVICE_DEMAND_START: u32 = 3;
/// `ErrorControl` of a service whose failure is only logged.
const SERVICE_ERROR_NORMAL: u32 = 1;

/// Names of values below `.HW` that are properties of the device rather than settings of its driver.
const DEVICE_PROPERTIES: [&str; 6] =
    ["UpperFilters", "LowerFilters", "DeviceType", "DeviceCharacteristics", "Exclusive", "Security"];

/// Says whether drivers run with the framework verifier when their INFs do not: `off`, `break`, anything else for on.
pub(crate) fn set_verifier(word: Option<&str>) {
    *VERIFIER.lock() = match word {
        Some("off") => Verifier::Off,
        Some("break") => Verifier::Breaks,
        _ => Verifier::Reports,
    };
}

/// Reads every INF of the archive. One that cannot be used is logged with its reason.
pub(crate) fn load_packages(archive: &Archive<'_>) {
    for entry in archive.entries() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return crate::log!("{error}"),
        };
        if !entry.name.to_ascii_lowercase().ends_with(".inf") {
            continue;
        }
        match Inf::parse(entry.contents) {
            Ok(inf) => PACKAGES.lock().push(Arc::new(Package { file: entry.name.into(), inf })),
            Err(error) => crate::log!("{}: {error}", entry.name),
        }
    }
}

/// Hardware ids of the devices that INFs of the archive install below the root.
pub(crate) fn root_devices() -> Vec<String> {
    let packages = PACKAGES.lock().clone();
    let ids = |package: &Arc<Package>| match root_ids(&package.inf, SYSTEM) {
        Ok(ids) => ids,
        Err(error) => {
            crate::log!("{}: {error}", package.file);
            Vec::new()
        }
    };
    packages.iter().flat_map(ids).collect()
}

/// Adds an INF that is in no archive.
#[cfg(test)]
pub(super) fn add_package(text: &str) {
    let inf = Inf::parse(text.as_bytes()).unwrap();
    PACKAGES.lock().push(Arc::new(Package { file: "test.inf".into(), inf }));
}

/// Installs the best driver for a device, unless it has one. `false` when no INF names the device.
pub(crate) fn install(node: &Node) -> Result<bool, NTSTATUS> {
    describe(node)?;
    if registry::get_string(&node.key(), "Service").is_some() {
        return Ok(true);
    }
    let packages = PACKAGES.lock().clone();
    let matches =
        packages.iter().filter_map(|package| match best_match(&package.inf, SYSTEM, &node.hardware_ids, &node.compatible_ids) {
            Ok(found) => found.map(|found| (package, found)),
            Err(error) => {
                crate::log!("{}: {error}", package.file);
                None
            }
        });
    let Some((package, found)) = matches.min_by_key(|(_, found)| found.rank) else { return install_built_in(node) };
    let installation = match Installation::read(&package.inf, &found.install_section) {
        Ok(installation) => installation,
        Err(error) => {
            crate::log!("{}: {}: {error}", node.instance_path, package.file);
            return Ok(false);
        }
    };
    apply(node, package, &found, &installation)?;
    Ok(true)
}

/// Bridges to other PCI buses need no INF of the archive, as on Windows.
fn install_built_in(node: &Node) -> Result<bool, NTSTATUS> {
    let is_bridge = node.compatible_ids.iter().any(|id| id == "PCI\\CC_0604");
    if is_bridge {
        registry::set_string(&node.key(), "Service", super::pci::SERVICE)?;
    }
    Ok(is_bridge)
}

/// What the bus says of the device goes into its key.
fn describe(node: &Node) -> Result<(), NTSTATUS> {
    let key = node.key();
    registry::set_strings(&key, "HardwareID", &node.hardware_ids)?;
    registry::set_strings(&key, "CompatibleIDs", &node.compatible_ids)?;
    registry::set_string(&key, "LocationInformation", &node.location)?;
    registry::create(&node.parameters_key())?;
    if registry::get_string(&key, "DeviceDesc").is_none() {
        registry::set_string(&key, "DeviceDesc", &node.description)?;
    }
    Ok(())
}

fn apply(node: &Node, package: &Package, found: &Match, installation: &Installation) -> Result<(), NTSTATUS> {
    let key = node.key();
    let (class, class_guid) = &installation.class;
    let class_key = format!("{}\\{class_guid}", registry::CLASS);
    let driver = format!("{class_guid}\\{:04}", registry::children(&class_key).len());
    let driver_key = format!("{}\\{driver}", registry::CLASS);
    registry::set_string(&key, "DeviceDesc", &found.description)?;
    registry::set_string(&key, "Mfg", &found.manufacturer)?;
    registry::set_string(&key, "Class", class)?;
    registry::set_string(&key, "ClassGUID", class_guid)?;
    registry::set_string(&key, "Driver", &driver)?;
    registry::set_string(&driver_key, "DriverDesc", &found.description)?;
    registry::set_string(&driver_key, "MatchingDeviceId", &found.matching_id)?;
    registry::set_string(&driver_key, "InfPath", &package.file)?;
    registry::set_string(&driver_key, "InfSection", &found.install_section)?;
    registry::set_string(&driver_key, "ProviderName", &found.manufacturer)?;
    for write in &installation.driver_values {
        write_value(&driver_key, write)?;
    }
    for write in &installation.hardware_values {
        let is_property = write.subkey.is_empty() && DEVICE_PROPERTIES.iter().any(|name| name.eq_ignore_ascii_case(&write.name));
        write_value(&if is_property { key.clone() } else { node.parameters_key() }, write)?;
    }
    for (value, filters) in [("UpperFilters", &installation.upper_filters), ("LowerFilters", &installation.lower_filters)] {
        if !filters.is_empty() {
            let mut list = registry::get_strings(&key, value);
            list.extend(filters.iter().filter(|name| !list.contains(name)).cloned().collect::<Vec<_>>());
            registry::set_strings(&key, value, &list)?;
        }
    }
    for service in &installation.services {
        add_service(service)?;
        if service.is_function_driver {
            registry::set_string(&key, "Service", &service.name)?;
        }
    }
    crate::log!("{}: {} from {} ({})", node.instance_path, found.description, package.file, found.matching_id);
    Ok(())
}

fn add_service(service: &AddedService) -> Result<(), NTSTATUS> {
    let key = format!("{}\\{}", registry::SERVICES, service.name);
    let [kind, start, error] = service.numbers;
    registry::set_number(&key, "Type", kind)?;
    registry::set_number(&key, "Start", start)?;
    registry::set_number(&key, "ErrorControl", error)?;
    registry::set_string(&key, "ImagePath", &format!("\\SystemRoot\\System32\\drivers\\{}", service.binary))?;
    registry::create(&format!("{key}\\Parameters"))?;
    for write in &service.values {
        write_value(&key, write)?;
    }
    let wdf = format!("{key}\\Parameters\\Wdf");
    if let Some(version) = &service.kmdf_version {
        registry::set_string(&wdf, "KmdfLibraryVersion", version)?;
    }
    // What the INF says of itself stays; a service without a .Wdf section may still be a framework driver.
    if registry::get_number(&wdf, "VerifierOn").is_none() {
        let verifier = *VERIFIER.lock();
        registry::set_number(&wdf, "VerifierOn", u32::from(verifier != Verifier::Off))?;
        // Without this value, a framework whose verifier is on breaks.
        if verifier != Verifier::Off {
            registry::set_number(&wdf, "DbgBreakOnError", u32::from(verifier == Verifier::Breaks))?;
        }
    }
    Ok(())
}

/// Adds the service of a driver without a device, which no INF describes.
pub(crate) fn add_legacy_service(name: &str, file: &str) -> Result<(), NTSTATUS> {
    add_service(&AddedService {
        name: name.into(),
        is_function_driver: false,
        binary: file.into(),
        numbers: [SERVICE_KERNEL_DRIVER, SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL],
        values: Vec::new(),
        kmdf_version: None,
    })
}

/// Does one line of an AddReg section, relative to `key`.
fn write_value(key: &str, write: &RegistryWrite) -> Result<(), NTSTATUS> {
    let base = match write.root {
        RegistryRoot::Relative => key,
        RegistryRoot::Machine => "Machine",
    };
    let path = if write.subkey.is_empty() { base.into() } else { format!("{base}\\{}", write.subkey) };
    let id = registry::create(&path)?;
    let existing = registry::get(&path, &write.name);
    if write.key_only || write.keep_existing && existing.is_some() {
        return Ok(());
    }
    if write.delete {
        let name = crate::object::name::wide(&write.name);
        let _ = registry::REGISTRY.lock().delete_value(id, &name, 0);
        return Ok(());
    }
    match existing {
        Some((REG_MULTI_SZ, data)) if write.append => {
            let mut list = registry::strings_of(&data);
            for new in registry::strings_of(&write.data) {
                if !list.iter().any(|known| known.eq_ignore_ascii_case(&new)) {
                    list.push(new);
                }
            }
            registry::set_strings(&path, &write.name, &list)
        }
        _ => registry::set(&path, &write.name, write.kind, &write.data),
    }
}
