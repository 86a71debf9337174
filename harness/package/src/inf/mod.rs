//! The INF: one typed description, written as text that Windows 10 1709 and later reads. Reading is in [`text`] and [`rules`].

use std::fmt;

use chrono::{DateTime, Utc};

pub mod rules;
pub mod text;

/// First build of Windows 10 that knows `%13%` (driver store) as a service's place.
const OLDEST_BUILD: u32 = 16_299;
/// Date of packages that nobody dates; packages of the same sources are the same to the byte.
const UNDATED: i64 = 1_767_225_600;
/// 2050-01-01: dates with two digits for the year end before it.
const END_OF_DATES: i64 = 2_524_608_000;

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

/// A filter driver that the package puts above the function driver of its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Name of the service and, with `.sys`, of the driver file.
    pub service: String,
    /// What people call the service.
    pub description: String,
}

/// Everything an INF says about a KMDF function driver, and perhaps a filter above it.
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
    /// The filter above it, if there is one.
    pub upper_filter: Option<Filter>,
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

/// `SOURCE_DATE_EPOCH`, or 2026-01-01: never the clock, so that the same sources make the same package.
///
/// # Errors
/// The variable holds no second between 1970 and 2049, which is all that a catalogue can say. The error says so.
pub fn build_time() -> Result<i64, String> {
    std::env::var("SOURCE_DATE_EPOCH").map_or(Ok(UNDATED), |text| date_of(&text))
}

fn date_of(text: &str) -> Result<i64, String> {
    let date = text.parse().ok().filter(|date| (0..END_OF_DATES).contains(date));
    date.ok_or_else(|| format!("SOURCE_DATE_EPOCH is {text:?}, not a number of seconds between 1970 and 2049"))
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
            upper_filter: None,
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

    /// The same, with a filter above the function driver.
    #[must_use]
    pub fn with_upper_filter(mut self, service: &str, description: &str) -> Self {
        self.upper_filter = Some(Filter { service: service.to_owned(), description: description.to_owned() });
        self
    }

    /// Names of the services, the function driver's first; each has its driver file.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.service).chain(self.upper_filter.iter().map(|filter| &filter.service)).map(String::as_str)
    }
}

impl fmt::Display for Inf {
    /// The text of the file, with Windows' line ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in [self.version(), self.files(), self.models(), self.installation(), self.hardware(), self.strings()] {
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

/// The section of a service whose name for people is the string `name`.
fn service_section(section: &str, name: &str, service: &str) -> [String; 7] {
    [
        format!("[{section}]"),
        format!("DisplayName = %{name}%"),
        "ServiceType = 1".to_owned(),
        "StartType = 3".to_owned(),
        "ErrorControl = 1".to_owned(),
        format!(r"ServiceBinary = %13%\{service}.sys"),
        String::new(),
    ]
}

/// The registry values of a device that interrupts by messages.
fn interrupt_values(messages: u32) -> Vec<String> {
    const KEY: &str = r#"HKR, "Interrupt Management\MessageSignaledInterruptProperties""#;
    vec![
        r#"HKR, "Interrupt Management",, 0x00000010"#.to_owned(),
        format!("{KEY},, 0x00000010"),
        format!("{KEY}, MSISupported, 0x00010001, 1"),
        format!("{KEY}, MessageNumberLimit, 0x00010001, {messages}"),
    ]
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
        let mut lines = vec![
            "[DestinationDirs]".to_owned(),
            "DefaultDestDir = 13".to_owned(),
            String::new(),
            "[SourceDisksNames]".to_owned(),
            "1 = %Disk%".to_owned(),
            String::new(),
            "[SourceDisksFiles]".to_owned(),
        ];
        lines.extend(self.services().map(|service| format!("{service}.sys = 1")));
        lines.push(String::new());
        lines
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
        let (major, minor) = self.framework;
        let mut lines = vec!["[Install.NT]".to_owned(), "CopyFiles = Install.Files".to_owned(), String::new()];
        lines.push("[Install.Files]".to_owned());
        lines.extend(self.services().map(|service| format!("{service}.sys")));
        lines.extend([String::new(), "[Install.NT.Services]".to_owned()]);
        lines.push(format!("AddService = {}, 0x00000002, Install.Service", self.service));
        lines
            .extend(self.upper_filter.as_ref().map(|filter| format!("AddService = {}, , Install.FilterService", filter.service)));
        lines.push(String::new());
        lines.extend(service_section("Install.Service", "Service", &self.service));
        if let Some(filter) = &self.upper_filter {
            lines.extend(service_section("Install.FilterService", "FilterService", &filter.service));
        }
        lines.push("[Install.NT.Wdf]".to_owned());
        lines.extend(self.services().map(|service| format!("KmdfService = {service}, Install.Framework")));
        lines.extend([String::new(), "[Install.Framework]".to_owned()]);
        lines.extend([format!("KmdfLibraryVersion = {major}.{minor}"), String::new()]);
        lines
    }

    /// What goes into the device's hardware key: how it interrupts, and the filter above it.
    fn hardware(&self) -> Vec<String> {
        let interrupts = self.messages.map(|messages| ("Install.Interrupts", interrupt_values(messages)));
        // Added to a list of strings, in which there may be others.
        let filter_value = |filter: &Filter| vec![format!("HKR,, UpperFilters, 0x00010008, {}", filter.service)];
        let filter = self.upper_filter.as_ref().map(|filter| ("Install.Filter", filter_value(filter)));
        let sections: Vec<(&str, Vec<String>)> = interrupts.into_iter().chain(filter).collect();
        if sections.is_empty() {
            return Vec::new();
        }
        let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
        let mut lines = vec!["[Install.NT.HW]".to_owned(), format!("AddReg = {}", names.join(", ")), String::new()];
        for (name, values) in sections {
            lines.push(format!("[{name}]"));
            lines.extend(values);
            lines.push(String::new());
        }
        lines
    }

    fn strings(&self) -> Vec<String> {
        let mut lines = vec![
            "[Strings]".to_owned(),
            format!("Provider = {}", quoted(&self.provider)),
            format!("Disk = {}", quoted(&format!("{} installation files", self.provider))),
            format!("Service = {}", quoted(&self.service_description)),
        ];
        lines.extend(self.upper_filter.as_ref().map(|filter| format!("FilterService = {}", quoted(&filter.description))));
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
    fn a_filter_is_a_second_service_and_stands_above_the_device() {
        let text = Inf::relay(UNDATED).with_upper_filter("relayflt", "Relay filter").to_string();
        for line in [
            "relayflt.sys = 1",
            "AddService = relayflt, , Install.FilterService",
            r"ServiceBinary = %13%\relayflt.sys",
            "KmdfService = relayflt, Install.Framework",
            "AddReg = Install.Interrupts, Install.Filter",
            "HKR,, UpperFilters, 0x00010008, relayflt",
            "FilterService = \"Relay filter\"",
        ] {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} is not in\n{text}");
        }
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
    fn a_date_that_a_catalogue_cannot_say_is_refused() {
        assert_eq!(date_of("1767225600"), Ok(UNDATED));
        for text in ["", "-1", "soon", "2524608000"] {
            assert!(date_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_date_is_the_given_one_and_the_text_is_plain() {
        assert!(section("Version").contains(&"DriverVer = 01/01/2026,0.1.0.0".to_owned()));
        assert!(Inf::relay(0).to_string().is_ascii());
    }
}
