//! The INF: one typed description, written as text that Windows 10 1709 and later reads.

use std::fmt;

use chrono::{DateTime, Utc};

/// First build of Windows 10 that knows `%13%` (driver store) as a service's place.
const OLDEST_BUILD: u32 = 16_299;
/// Date of packages that nobody dates; packages of the same sources are the same to the byte.
const UNDATED: i64 = 1_767_225_600;

/// A device setup class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: &'static str,
    /// Its GUID, with braces.
    pub guid: &'static str,
}

impl Class {
    /// System devices.
    pub const SYSTEM: Self = Self { name: "System", guid: "{4d36e97d-e325-11ce-bfc1-08002be10318}" };
}

/// A device that the package drives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// What the bus calls it.
    pub hardware_id: String,
    /// What people call it.
    pub description: String,
}

/// Everything an INF says about a KMDF function driver in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inf {
    /// Who provides it.
    pub provider: String,
    /// Setup class of its devices.
    pub class: Class,
    /// Its devices.
    pub models: Vec<Model>,
    /// Name of the service and, with `.sys`, of the driver file.
    pub service: String,
    /// What people call the service.
    pub service_description: String,
    /// Major and minor version of KMDF.
    pub framework: (u16, u16),
    /// Most message-signalled interrupts it uses, if it uses any.
    pub messages: Option<u32>,
    /// Date of the package, seconds since 1970.
    pub date: i64,
    /// Version of the package.
    pub version: [u16; 4],
    /// File name of the catalogue, once the package has one.
    pub catalogue: Option<String>,
}

/// `SOURCE_DATE_EPOCH`, or a fixed date: never the clock, so that the same sources make the same package.
#[must_use]
pub fn build_time() -> i64 {
    std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()).unwrap_or(UNDATED)
}

impl Inf {
    /// The package of the relay hardware.
    #[must_use]
    pub fn relay(date: i64) -> Self {
        use protocol::hardware::{PCI_DEVICE, PCI_VENDOR, QUEUE_COUNT};
        let part = |text: &str| text.parse().unwrap_or(0);
        Self {
            provider: "wdfrig".into(),
            class: Class::SYSTEM,
            models: vec![Model {
                hardware_id: format!(r"PCI\VEN_{PCI_VENDOR:04X}&DEV_{PCI_DEVICE:04X}"),
                description: "Relay hardware".into(),
            }],
            service: "relay".into(),
            service_description: "Relay function driver".into(),
            framework: (1, 15),
            messages: Some(u32::from(QUEUE_COUNT) + 1),
            date,
            version: [
                part(env!("CARGO_PKG_VERSION_MAJOR")),
                part(env!("CARGO_PKG_VERSION_MINOR")),
                part(env!("CARGO_PKG_VERSION_PATCH")),
                0,
            ],
            catalogue: None,
        }
    }
}

impl fmt::Display for Inf {
    /// The text of the file, with Windows' line ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in [self.version(), self.files(), self.models(), self.installation(), self.interrupts(), self.strings()] {
            for line in section {
                write!(f, "{line}\r\n")?;
            }
        }
        Ok(())
    }
}

/// Text between quotation marks; a mark within is doubled, as INF wants it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\"").replace(['\r', '\n'], " "))
}

impl Inf {
    fn version(&self) -> Vec<String> {
        let Class { name, guid } = self.class;
        let [a, b, c, d] = self.version;
        let date = DateTime::<Utc>::from_timestamp(self.date, 0).unwrap_or_default().format("%m/%d/%Y");
        let mut lines = vec![
            "[Version]".to_owned(),
            "Signature = \"$Windows NT$\"".to_owned(),
            format!("Class = {name}"),
            format!("ClassGuid = {guid}"),
            "Provider = %Provider%".to_owned(),
            format!("DriverVer = {date},{a}.{b}.{c}.{d}"),
        ];
        lines.extend(self.catalogue.as_ref().map(|name| format!("CatalogFile = {name}")));
        lines.extend(["PnpLockdown = 1".to_owned(), String::new()]);
        lines
    }

    fn files(&self) -> Vec<String> {
        let service = &self.service;
        vec![
            "[DestinationDirs]".to_owned(),
            "DefaultDestDir = 13".to_owned(),
            String::new(),
            "[SourceDisksNames]".to_owned(),
            "1 = %Disk%".to_owned(),
            String::new(),
            "[SourceDisksFiles]".to_owned(),
            format!("{service}.sys = 1"),
            String::new(),
        ]
    }

    fn models(&self) -> Vec<String> {
        let decoration = format!("NTamd64.10.0...{OLDEST_BUILD}");
        let mut lines = vec![
            "[Manufacturer]".to_owned(),
            format!("%Provider% = Models, {decoration}"),
            String::new(),
            format!("[Models.{decoration}]"),
        ];
        let model = |(number, model): (usize, &Model)| format!("%Device{number}% = Install, {}", model.hardware_id);
        lines.extend(self.models.iter().enumerate().map(model));
        lines.push(String::new());
        lines
    }

    fn installation(&self) -> Vec<String> {
        let service = &self.service;
        let (major, minor) = self.framework;
        let text = format!(
            r"[Install.NT]
CopyFiles = Install.Files

[Install.Files]
{service}.sys

[Install.NT.Services]
AddService = {service}, 0x00000002, Install.Service

[Install.Service]
DisplayName = %Service%
ServiceType = 1
StartType = 3
ErrorControl = 1
ServiceBinary = %13%\{service}.sys

[Install.NT.Wdf]
KmdfService = {service}, Install.Framework

[Install.Framework]
KmdfLibraryVersion = {major}.{minor}
"
        );
        text.lines().map(str::to_owned).chain([String::new()]).collect()
    }

    fn interrupts(&self) -> Vec<String> {
        const KEY: &str = r#"HKR, "Interrupt Management\MessageSignaledInterruptProperties""#;
        let Some(messages) = self.messages else {
            return Vec::new();
        };
        vec![
            "[Install.NT.HW]".to_owned(),
            "AddReg = Install.Interrupts".to_owned(),
            String::new(),
            "[Install.Interrupts]".to_owned(),
            r#"HKR, "Interrupt Management",, 0x00000010"#.to_owned(),
            format!("{KEY},, 0x00000010"),
            format!("{KEY}, MSISupported, 0x00010001, 1"),
            format!("{KEY}, MessageNumberLimit, 0x00010001, {messages}"),
            String::new(),
        ]
    }

    fn strings(&self) -> Vec<String> {
        let mut lines = vec![
            "[Strings]".to_owned(),
            format!("Provider = {}", quoted(&self.provider)),
            format!("Disk = {}", quoted(&format!("{} installation files", self.provider))),
            format!("Service = {}", quoted(&self.service_description)),
        ];
        let device = |(number, model): (usize, &Model)| format!("Device{number} = {}", quoted(&model.description));
        lines.extend(self.models.iter().enumerate().map(device));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        Inf::relay(UNDATED).to_string().split("\r\n").map(str::to_owned).collect()
    }

    fn section(name: &str) -> Vec<String> {
        let lines = lines();
        let start = lines.iter().position(|line| *line == format!("[{name}]")).unwrap_or_else(|| panic!("no section {name}"));
        lines[start + 1..].iter().take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty()).cloned().collect()
    }

    #[test]
    fn the_relay_hardware_is_bound_to_its_service() {
        assert_eq!(section("Models.NTamd64.10.0...16299"), [r"%Device0% = Install, PCI\VEN_1AF4&DEV_1055"]);
        assert_eq!(section("Install.NT.Services"), ["AddService = relay, 0x00000002, Install.Service"]);
        assert!(section("Install.Service").contains(&r"ServiceBinary = %13%\relay.sys".to_owned()));
    }

    #[test]
    fn the_framework_version_is_the_one_that_every_windows_10_loads() {
        assert_eq!(section("Install.Framework"), ["KmdfLibraryVersion = 1.15"]);
    }

    #[test]
    fn every_queue_and_the_configuration_have_an_interrupt_message() {
        assert!(section("Install.Interrupts").iter().any(|line| line.ends_with("MessageNumberLimit, 0x00010001, 4")));
    }

    #[test]
    fn every_string_that_is_used_is_defined() {
        let defined = section("Strings");
        for line in lines() {
            let names = line.split('%').skip(1).step_by(2).filter(|name| name.parse::<u32>().is_err());
            for name in names {
                assert!(defined.iter().any(|entry| entry.starts_with(&format!("{name} ="))), "{name} in {line}");
            }
        }
    }

    #[test]
    fn the_date_is_the_given_one_and_the_text_is_plain() {
        assert!(section("Version").contains(&"DriverVer = 01/01/2026,0.1.0.0".to_owned()));
        assert!(Inf::relay(0).to_string().is_ascii());
    }
}
