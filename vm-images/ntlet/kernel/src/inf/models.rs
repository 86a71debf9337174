//! Which entry of an INF fits a device: manufacturer decorations and ranks.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::text::{Inf, InfError, Line};

/// The system that decorations are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SystemVersion {
    /// Major version.
    pub(crate) major: u32,
    /// Minor version.
    pub(crate) minor: u32,
    /// Build number.
    pub(crate) build: u32,
}

/// An entry of a models section that fits a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// The device's description.
    pub(crate) description: String,
    /// The manufacturer.
    pub(crate) manufacturer: String,
    /// `DDInstall`, as the entry names it: undecorated.
    pub(crate) install_section: String,
    /// The id that fitted.
    pub(crate) matching_id: String,
    /// How well it fits; smaller is better. The identifier part of Windows' driver rank.
    pub(crate) rank: u32,
}

/// Most entries that are looked at: manufacturers may share a models section, so that a small file can have very many.
const MOST_ENTRIES: usize = 1 << 16;
/// Most devices that one file adds below the root.
const MOST_ROOT_DEVICES: usize = 64;

/// Every entry for this system, with its manufacturer.
fn entries(inf: &Inf, system: SystemVersion) -> Result<Vec<(&str, &Line)>, InfError> {
    let mut all = Vec::new();
    for line in inf.lines("Manufacturer") {
        // A manufacturer whose name is also its models section may stand alone on its line.
        let (name, section, decorations) = match &line.key {
            Some(key) => (key.as_str(), line.field(0), line.fields.get(1..).unwrap_or(&[])),
            None => (line.field(0), line.field(0), &[][..]),
        };
        let Some(models) = models_section(inf, section, decorations, system) else { continue };
        let entries = inf.lines(&models);
        if all.len() + entries.len() > MOST_ENTRIES {
            return Err(InfError::new(line.number, "the manufacturers have more than 65536 models in all"));
        }
        all.extend(entries.map(|entry| (name, entry)));
    }
    Ok(all)
}

/// The best entry for a device with these ids, the most specific first.
pub(crate) fn best_match(
    inf: &Inf,
    system: SystemVersion,
    hardware_ids: &[String],
    compatible_ids: &[String],
) -> Result<Option<Match>, InfError> {
    let mut best: Option<Match> = None;
    for (manufacturer, entry) in entries(inf, system)? {
        let ids = entry.fields.get(1..).unwrap_or(&[]);
        let Some((rank, id)) = rank(ids, hardware_ids, compatible_ids) else { continue };
        if best.as_ref().is_none_or(|found| rank < found.rank) {
            best = Some(Match {
                description: entry.key.clone().unwrap_or_default(),
                manufacturer: manufacturer.into(),
                install_section: entry.field(0).into(),
                matching_id: id,
                rank,
            });
        }
    }
    Ok(best)
}

/// Hardware ids of the entries for devices that no bus reports: those that begin with `ROOT\`.
pub(crate) fn root_ids(inf: &Inf, system: SystemVersion) -> Result<Vec<String>, InfError> {
    let mut ids: Vec<String> = Vec::new();
    for (_, entry) in entries(inf, system)? {
        let id = entry.field(1);
        let is_root = id.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("ROOT\\"));
        if is_root && !ids.iter().any(|known| known.eq_ignore_ascii_case(id)) {
            if ids.len() == MOST_ROOT_DEVICES {
                return Err(InfError::new(entry.number, "the file adds more than 64 devices below the root"));
            }
            ids.push(id.into());
        }
    }
    Ok(ids)
}

/// Rank of an entry: 0x0000 and up, a hardware id of the device is the entry's hardware id; 0x1000, is one of its compatible ids;
/// 0x2000, a compatible id of the device is the entry's hardware id; 0x3000, one of its compatible ids.
fn rank(ids: &[String], hardware_ids: &[String], compatible_ids: &[String]) -> Option<(u32, String)> {
    let mut best: Option<(u32, String)> = None;
    for (base, of_device) in [(0u32, hardware_ids), (0x2000, compatible_ids)] {
        for (device_index, device_id) in of_device.iter().enumerate().take(0x100) {
            for (entry_index, id) in ids.iter().enumerate().take(0x100) {
                if id.is_empty() || !id.eq_ignore_ascii_case(device_id) {
                    continue;
                }
                let compatible = if entry_index == 0 { 0 } else { 0x1000 + ((entry_index as u32 - 1) << 8) };
                let rank = base + compatible + device_index as u32;
                if best.as_ref().is_none_or(|(found, _)| rank < *found) {
                    best = Some((rank, id.clone()));
                }
            }
        }
    }
    best
}

/// The models section to use: of those decorations that this system satisfies the highest, else the undecorated one.
fn models_section(inf: &Inf, section: &str, decorations: &[String], system: SystemVersion) -> Option<String> {
    let mut candidates: Vec<(SystemVersion, bool, &String)> = decorations
        .iter()
        .filter_map(|decoration| Decoration::parse(decoration).map(|parsed| (parsed, decoration)))
        .filter(|(parsed, _)| parsed.version <= system)
        .map(|(parsed, text)| (parsed.version, parsed.for_amd64, text))
        .collect();
    candidates.sort_by_key(|&(version, for_amd64, _)| core::cmp::Reverse((version, for_amd64)));
    let decorated = candidates.into_iter().map(|(_, _, text)| format!("{section}.{text}")).find(|name| inf.has_section(name));
    decorated.or_else(|| inf.has_section(section).then(|| section.into()))
}

/// `NTamd64.10.0...16299`: architecture, major, minor, product type, suite mask, build.
struct Decoration {
    for_amd64: bool,
    version: SystemVersion,
}

impl Decoration {
    /// `None` for another architecture and for what is no decoration.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let architecture = parts.next()?;
        let for_amd64 = if architecture.eq_ignore_ascii_case("NTamd64") {
            true
        } else if architecture.eq_ignore_ascii_case("NT") {
            false
        } else {
            return None;
        };
        let numbers: Vec<u32> = parts.map(number).collect::<Option<_>>()?;
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        // Product type 1 is a workstation, which ntlet says it is; 2 and 3 are servers.
        if numbers.len() > 5 || at(2) > 1 {
            return None;
        }
        Some(Self { for_amd64, version: SystemVersion { major: at(0), minor: at(1), build: at(4) } })
    }
}

/// A part of a decoration: empty, decimal, or hexadecimal with its prefix.
fn number(text: &str) -> Option<u32> {
    if text.is_empty() {
        return Some(0);
    }
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS_10: SystemVersion = SystemVersion { major: 10, minor: 0, build: 19041 };

    fn inf(body: &str) -> Inf {
        Inf::parse(format!("[Version]\nSignature=\"$WINDOWS NT$\"\n{body}").as_bytes()).unwrap()
    }

    fn ids(list: &[&str]) -> Vec<String> {
        list.iter().map(|&id| id.into()).collect()
    }

    #[test]
    fn the_highest_decoration_not_above_the_system_wins() {
        let file = inf("[Manufacturer]\nM = Mo, NTamd64, NTamd64.10.0...16299, NTamd64.10.0...99999, NTarm64\n\
                        [Mo.NTamd64]\nA = OldInstall, X\n[Mo.NTamd64.10.0...16299]\nA = NewInstall, X\n\
                        [Mo.NTamd64.10.0...99999]\nA = Future, X\n[Mo.NTarm64]\nA = Arm, X\n");
        let found = best_match(&file, WINDOWS_10, &ids(&["x"]), &[]).unwrap().unwrap();
        assert_eq!(found.install_section, "NewInstall");
    }

    #[test]
    fn a_hardware_id_beats_a_compatible_id_and_a_longer_id_beats_a_shorter_one() {
        let file =
            inf("[Manufacturer]\nM = Mo, NTamd64\n[Mo.NTamd64]\nC = ByClass, PCI\\CC_0780\nS = Short, PCI\\VEN_1AF4&DEV_1055\n\
                        L = Long, PCI\\VEN_1AF4&DEV_1055&REV_01\n");
        let hardware = ids(&["PCI\\VEN_1AF4&DEV_1055&REV_01", "PCI\\VEN_1AF4&DEV_1055"]);
        let found = best_match(&file, WINDOWS_10, &hardware, &ids(&["PCI\\CC_0780"])).unwrap().unwrap();
        assert_eq!((found.install_section.as_str(), found.rank), ("Long", 0));
        let found = best_match(&file, WINDOWS_10, &[], &ids(&["PCI\\CC_0780"])).unwrap().unwrap();
        assert_eq!((found.install_section.as_str(), found.rank), ("ByClass", 0x2000));
    }

    #[test]
    fn devices_that_no_bus_reports_are_listed_once() {
        let file = inf("[Manufacturer]\nM = Mo, NTamd64\n[Mo.NTamd64]\nA = I, Root\\A\nB = J, root\\a\nC = K, PCI\\CC_0780\n");
        assert_eq!(root_ids(&file, WINDOWS_10).unwrap(), ["Root\\A"]);
    }

    #[test]
    fn a_device_that_no_entry_names_has_no_match() {
        let file = inf("[Manufacturer]\nM = Mo, NTamd64\n[Mo.NTamd64]\nA = I, Y\n");
        assert_eq!(best_match(&file, WINDOWS_10, &ids(&["X"]), &[]), Ok(None));
    }

    #[test]
    fn an_undecorated_models_section_is_used_when_no_decoration_fits() {
        let file = inf("[Manufacturer]\nM = Mo, NTx86\n[Mo]\nA = I, X\n");
        assert!(best_match(&file, WINDOWS_10, &ids(&["X"]), &[]).unwrap().is_some());
    }

    #[test]
    fn a_file_with_endless_models_or_root_devices_is_refused() {
        let manufacturers: String = (0..1000).map(|number| format!("M{number} = Mo, NTamd64\n")).collect();
        let models: String = (0..100).map(|number| format!("A{number} = I, ROOT\\X{number}\n")).collect();
        let file = inf(&format!("[Manufacturer]\n{manufacturers}[Mo.NTamd64]\n{models}"));
        assert!(best_match(&file, WINDOWS_10, &ids(&["X"]), &[]).unwrap_err().reason.contains("65536 models"));
        let file = inf(&format!("[Manufacturer]\nM = Mo, NTamd64\n[Mo.NTamd64]\n{models}"));
        assert!(root_ids(&file, WINDOWS_10).unwrap_err().reason.contains("more than 64 devices"));
    }
}
