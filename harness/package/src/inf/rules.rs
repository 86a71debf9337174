//! What Windows wants of an INF: our own rules, after those of its tool infverif, for device packages of Windows 10 and later on x64.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};

use super::text::{Line, Section, Text};
use crate::finding::Findings;

mod files;
mod registry;

/// First build of Windows 10 that runs a service from the driver store.
const STORE_BUILD: u32 = 16_299;
/// Newest minor version of KMDF that we know.
const NEWEST_FRAMEWORK: u32 = 33;
/// Most interrupt messages of MSI-X.
const MOST_MESSAGES: u32 = 2048;
/// Class of INFs that add to a device which another INF installs.
const EXTENSION_CLASS: &str = "{e2f84ce7-8efa-411c-aa69-97454ca4cb57}";
/// Classes of the network's clients, services and protocols, which are installed without a device.
const WITHOUT_DEVICE: [&str; 3] = [
    "{4d36e973-e325-11ce-bfc1-08002be10318}",
    "{4d36e974-e325-11ce-bfc1-08002be10318}",
    "{4d36e975-e325-11ce-bfc1-08002be10318}",
];
/// How the GUIDs of most of Windows' own classes end.
const OF_WINDOWS: &str = "-e325-11ce-bfc1-08002be10318}";
/// Directives that Windows passes over, or that reach beyond the package.
const LEGACY: [&str; 4] = ["LogConfig", "DelService", "DelFiles", "RenFiles"];
/// Most parts that a section's name has between its points.
const MOST_PARTS: usize = 32;
/// Bits of ServiceType that say that it is a program.
const PROGRAM: u32 = 0x30;
/// What stands for something that the build puts in.
const STAMPS: [&str; 4] = ["$ARCH$", "$KMDFVERSION$", "$KMDFCOINSTALLERVERSION$", "$UMDFVERSION$"];
/// Sections that Windows looks for by name.
const STANDARD: [&str; 13] = [
    "version",
    "manufacturer",
    "destinationdirs",
    "sourcedisksnames",
    "sourcedisksfiles",
    "strings",
    "controlflags",
    "signatureattributes",
    "interfaceinstall32",
    "classinstall32",
    "defaultinstall",
    "defaultuninstall",
    "bustypes",
];

/// What an INF refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Referred {
    /// Name of the catalogue.
    pub catalogue: Option<String>,
    /// Files that are copied, in lower case, in folders of their own or not.
    pub files: BTreeSet<String>,
    /// Hardware ids, in lower case.
    pub hardware_ids: BTreeSet<String>,
}

/// Looks at an INF. `place` is its name in the findings, `present` the package's files in lower case, `now` the time in seconds.
pub fn examine(text: &Text, place: &str, present: &BTreeSet<String>, now: i64, findings: &mut Findings) -> Referred {
    let mut rules = Rules {
        text,
        place,
        present,
        findings,
        referred: Referred::default(),
        store: false,
        extension: false,
        without_device: false,
        seen: BTreeSet::new(),
    };
    rules.form();
    rules.stamps();
    rules.version(now);
    rules.manufacturers();
    rules.unused();
    rules.referred
}

struct Rules<'a, 'f> {
    text: &'a Text,
    place: &'a str,
    present: &'a BTreeSet<String>,
    findings: &'f mut Findings,
    referred: Referred,
    /// Whether a service runs from the driver store.
    store: bool,
    /// Whether it adds to what another INF installs.
    extension: bool,
    /// Whether its class is installed without a device.
    without_device: bool,
    /// Sections that were looked at, each with what for.
    seen: BTreeSet<(Reader, String)>,
}

/// What a section is looked at for. A section that is named more than once is looked at once: an INF of a few lines could name a long one any number
/// of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reader {
    Models,
    Installation,
    Files,
    Registry { of_hardware: bool },
    Service,
    Framework,
}

impl<'a> Rules<'a, '_> {
    /// Whether a section is looked at for this for the first time.
    fn first(&mut self, reader: Reader, section: &str) -> bool {
        self.seen.insert((reader, section.to_lowercase()))
    }

    fn at(&self, number: usize) -> String {
        format!("{}:{number}", self.place)
    }

    fn error(&mut self, number: usize, what: impl Into<String>, why: &str, remedy: impl Into<String>) {
        self.findings.error(&self.at(number), what, why, remedy);
    }

    fn warning(&mut self, number: usize, what: impl Into<String>, why: &str, remedy: impl Into<String>) {
        self.findings.warning(&self.at(number), what, why, remedy);
    }

    fn form(&mut self) {
        let text = self.text;
        for number in text.stray.iter().take(10) {
            let why = "Windows passes over it; a comment begins with a semicolon";
            self.warning(*number, "a line before the first section", why, "remove it");
        }
        if let Some(why) = text.cut {
            self.findings.error(self.place, "not all of it was looked at", why, "make it smaller");
        }
        if let Some(encoding) = text.encoding {
            let why = "Windows reads UTF-16 with its mark (little-endian) and 8-bit text: InfVerif 1003";
            self.findings.error(self.place, format!("the text is {encoding}"), why, "save it as UTF-16 LE, or as ASCII");
        }
        for (number, name) in &text.undefined {
            let remedy = format!("add `{name} = \"…\"` to [Strings]");
            self.error(*number, format!("%{name}% is not defined"), "the INF does not load", remedy);
        }
    }

    /// What the build was to put in, and did not.
    fn stamps(&mut self) {
        let text = self.text;
        for stamp in STAMPS {
            let has = |line: &&Line| line.key.iter().chain(&line.values).any(|word| word.to_uppercase().contains(stamp));
            if let Some(line) = text.sections.values().flat_map(|section| &section.lines).find(has) {
                let why = "it is the source of an INF; Windows takes the word as it stands";
                self.error(
                    line.number,
                    format!("{stamp} has not been replaced"),
                    why,
                    "run stampinf, as the driver's build does",
                );
            }
        }
    }

    fn version(&mut self, now: i64) {
        let Some(section) = self.text.section("Version") else {
            self.findings.error(self.place, "no section [Version]", "Windows does not take it for an INF", "add it");
            return;
        };
        let head = section.number;
        let value = |key| section.get(key).map_or("", |line| line.value(0));
        let signature = value("Signature");
        if signature.eq_ignore_ascii_case("$chicago$") {
            let why = "Windows installs it, but its checks want the name of the system: InfVerif 1001";
            self.error(head, "the Signature is $CHICAGO$", why, "write Signature = \"$Windows NT$\"");
        } else if !signature.eq_ignore_ascii_case("$windows nt$") {
            let remedy = "write Signature = \"$Windows NT$\"";
            self.error(head, "the Signature is not $Windows NT$", "Windows does not take it for an INF", remedy);
        }
        for key in ["Class", "ClassGuid", "Provider"] {
            if value(key).is_empty() {
                self.error(head, format!("[Version] has no {key}"), "Windows refuses to install it", format!("add {key}"));
            }
        }
        if value("Provider").eq_ignore_ascii_case("Microsoft") {
            let why = "only Windows' own drivers may say so: InfVerif 1204";
            self.error(head, "the Provider is Microsoft", why, "name who provides the package");
        }
        let guid = value("ClassGuid");
        if let Some(class) = self.text.section("ClassInstall32").or_else(|| self.text.section("ClassInstall32.NTamd64"))
            && guid.to_lowercase().ends_with(OF_WINDOWS)
        {
            let why = "the class is Windows' own, which a package must not change: InfVerif 1285";
            self.error(class.number, "[ClassInstall32] for a class of Windows", why, "remove it");
        }
        self.without_device = WITHOUT_DEVICE.iter().any(|class| guid.eq_ignore_ascii_case(class));
        self.extension = guid.eq_ignore_ascii_case(EXTENSION_CLASS);
        if self.extension && !is_guid(value("ExtensionId")) {
            let why = "Windows tells extensions of one device apart by it";
            self.error(head, "an extension without an ExtensionId", why, "add ExtensionId = {a GUID of its own}");
        }
        if !guid.is_empty() && !is_guid(guid) {
            self.error(
                head,
                format!("ClassGuid {guid} is no GUID"),
                "Windows finds no class",
                "write {xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}",
            );
        }
        let catalogue = section.lines.iter().find(|line| {
            ["CatalogFile", "CatalogFile.NT", "CatalogFile.NTamd64"].iter().any(|key| line.is(key)) && !line.value(0).is_empty()
        });
        match catalogue {
            None => {
                self.error(head, "[Version] has no CatalogFile", "x64 Windows installs signed packages only", "name the .cat")
            }
            Some(line) => self.referred.catalogue = Some(line.value(0).to_owned()),
        }
        if value("PnpLockdown") != "1" {
            let why = "programs may then change the driver's files";
            self.warning(head, "[Version] has no PnpLockdown = 1", why, "add it");
        }
        self.driver_version(section, now);
    }

    fn driver_version(&mut self, section: &Section, now: i64) {
        let remedy = "write DriverVer = mm/dd/yyyy,w.x.y.z";
        let Some(line) = section.get("DriverVer") else {
            return self.error(section.number, "[Version] has no DriverVer", "Windows cannot rank the driver", remedy);
        };
        match NaiveDate::parse_from_str(&line.value(0).replace('-', "/"), "%m/%d/%Y") {
            Err(_) => {
                self.error(line.number, format!("{:?} is no date", line.value(0)), "Windows cannot rank the driver", remedy)
            }
            Ok(date) if DateTime::<Utc>::from_timestamp(now, 0).is_some_and(|now| date > now.date_naive()) => {
                let why = "a driver from the future is refused by Windows' checks, and outranks every later one";
                self.error(
                    line.number,
                    format!("DriverVer's date {} is in the future", line.value(0)),
                    why,
                    "use today's or earlier",
                );
            }
            Ok(_) => {}
        }
        if line.value(0).is_empty() {
            return;
        }
        let parts: Vec<&str> = line.value(1).split('.').collect();
        if parts.len() > 4 || parts.iter().any(|part| part.parse::<u16>().is_err()) {
            let why = "each of at most four numbers is from 0 to 65535";
            self.error(line.number, format!("{:?} is no version", line.value(1)), why, remedy);
        }
    }

    fn manufacturers(&mut self) {
        let text = self.text;
        let Some(section) = text.section("Manufacturer") else {
            // A package without a device (a software package) has this instead.
            if !text.sections.keys().any(|name| name.starts_with("defaultinstall")) {
                self.findings.error(self.place, "no section [Manufacturer]", "it installs nothing", "add it");
            }
            return;
        };
        if let Some((_, other)) = text.sections.iter().find(|(name, _)| is_default_install(name)) {
            let why = "an INF installs devices, or is installed as it is: InfVerif 1212";
            self.error(other.number, format!("[{}] beside [Manufacturer]", other.name), why, "remove one of the two");
        }
        let mut found = false;
        for line in &section.lines {
            let base = if line.value(0).is_empty() { line.key.as_deref().unwrap_or("") } else { line.value(0) };
            for decoration in line.values.iter().skip(1).filter(|text| text.to_lowercase().starts_with("nt")) {
                if !applies(decoration) {
                    continue;
                }
                found = true;
                let name = format!("{base}.{decoration}");
                match text.section(&name) {
                    Some(models) if self.first(Reader::Models, &name) => self.models(models, decoration),
                    Some(_) => {}
                    None => self.error(line.number, format!("no section [{name}]"), "it has no models for x64", "add it"),
                }
            }
        }
        if !found {
            let why = "x64 Windows ignores models without NTamd64";
            self.error(
                section.number,
                "[Manufacturer] has no models for x64",
                why,
                "write `%Name% = Models, NTamd64.10.0...16299`",
            );
        }
    }

    fn models(&mut self, models: &'a Section, decoration: &str) {
        if models.lines.is_empty() {
            self.warning(
                models.number,
                format!("[{}] is empty", models.name),
                "it installs nothing on these systems",
                "add models",
            );
        }
        for line in &models.lines {
            let ids: Vec<&String> = line.values.iter().skip(1).filter(|id| !id.is_empty()).collect();
            if ids.is_empty() {
                self.error(line.number, "a model without a hardware id", "no device matches it", "add the id behind the section");
            }
            self.referred.hardware_ids.extend(ids.iter().map(|id| id.to_lowercase()));
            let install = line.value(0);
            let Some(body) = self.decorated(install) else {
                self.error(line.number, format!("no section [{install}.NT]"), "the device has nothing to install", "add it");
                continue;
            };
            if self.first(Reader::Installation, install) {
                self.installation(install, body);
            }
            let build = decoration.split('.').nth(5).and_then(dword).unwrap_or(0);
            if self.store && build < STORE_BUILD {
                let why = "older Windows does not know directory 13 for drivers";
                self.warning(
                    line.number,
                    format!("{decoration} lets in builds before {STORE_BUILD}"),
                    why,
                    "write NTamd64.10.0...16299",
                );
            }
        }
    }

    /// The section with the platform's ending that Windows prefers.
    fn decorated(&self, name: &str) -> Option<&'a Section> {
        endings().find_map(|ending| self.text.section(&format!("{name}{ending}")))
    }

    /// One of an installation section's companions, such as `.Services`.
    fn companion(&self, install: &str, kind: &str) -> Option<&'a Section> {
        endings().find_map(|ending| self.text.section(&format!("{install}{ending}.{kind}")))
    }

    fn installation(&mut self, install: &str, body: &'a Section) {
        self.copied(body);
        self.registry(body, false);
        self.needs(body);
        if let Some(hardware) = self.companion(install, "HW") {
            self.registry(hardware, true);
            self.needs(hardware);
        }
        if let Some(section) = self.companion(install, "CoInstallers") {
            let why = "current Windows refuses co-installers";
            self.error(
                section.number,
                format!("[{}] has co-installers", section.name),
                why,
                "remove them; KMDF needs none since Windows 10",
            );
        }
        let mut services = BTreeSet::new();
        match self.companion(install, "Services") {
            Some(section) => self.services(section, &mut services),
            None if body.get("Needs").is_none() && !self.extension && !self.without_device => {
                let what = format!("no section [{install}.NT.Services]");
                self.error(body.number, what, "a device without a service does not start", "add it with AddService");
            }
            None => {}
        }
        if let Some(section) = self.companion(install, "Wdf") {
            self.framework(section, &services);
        }
    }

    /// Whether what a section takes over from others can be found, and what it says that nobody heeds.
    fn needs(&mut self, section: &'a Section) {
        for line in &section.lines {
            if let Some(legacy) = LEGACY.iter().find(|legacy| line.is(legacy)) {
                let why = "packages leave alone what is not theirs, and Windows removes what is: InfVerif 1302, 2222";
                self.warning(line.number, format!("{legacy} is a directive of older Windows"), why, "remove it");
            }
        }
        if section.get("Include").is_some() {
            return;
        }
        for line in section.with("Needs") {
            let missing = line.values.iter().find(|name| self.text.section(name).is_none());
            if let Some(name) = missing {
                let why = "it is not in this INF, and the section includes no other: InfVerif 1313";
                self.error(line.number, format!("no section [{name}], which is needed"), why, "add Include = its INF");
            }
        }
    }

    fn services(&mut self, section: &'a Section, names: &mut BTreeSet<String>) {
        self.needs(section);
        let mut associated = false;
        for line in section.with("AddService") {
            let (name, flags, install) = (line.value(0), dword(line.value(1)).unwrap_or(0), line.value(2));
            associated |= flags & 2 != 0;
            if name.is_empty() {
                continue;
            }
            names.insert(name.to_lowercase());
            match self.text.section(install) {
                Some(service) if self.first(Reader::Service, install) => self.service(service),
                Some(_) => {}
                None => self.error(line.number, format!("no section [{install}]"), "AddService names it", "add it"),
            }
        }
        // An extension must not bring the function driver; what is needed of another INF brings its own.
        if !associated && !self.extension && !self.without_device && section.get("Needs").is_none() {
            let why = "the device then has no driver";
            self.error(section.number, "no AddService has the flag 0x00000002", why, "give it to the function driver's service");
        }
    }

    fn service(&mut self, service: &'a Section) {
        for (key, most) in [("ServiceType", 0x110), ("StartType", 4), ("ErrorControl", 3)] {
            let value = service.get(key).and_then(|line| dword(line.value(0)));
            if value.is_none_or(|value| value > most) {
                let what = format!("[{}] has no proper {key}", service.name);
                self.error(service.number, what, "Windows cannot make the service", format!("add {key}"));
            }
        }
        self.registry(service, false);
        let Some(line) = service.get("ServiceBinary") else {
            let remedy = "add `ServiceBinary = %13%\\<driver>.sys`";
            return self.error(
                service.number,
                format!("[{}] has no ServiceBinary", service.name),
                "there is nothing to start",
                remedy,
            );
        };
        let is_program = service.get("ServiceType").and_then(|line| dword(line.value(0))).is_some_and(|kind| kind & PROGRAM != 0);
        let (folder, file) = line.value(0).rsplit_once('\\').unwrap_or(("", line.value(0)));
        let brings = self.referred.files.contains(&file.to_lowercase());
        match folder {
            "%13%" => self.store = true,
            // Programs may lie anywhere.
            _ if is_program => {}
            "%12%" if !brings => {}
            "%12%" => self.warning(
                line.number,
                "the driver runs from directory 12",
                "packages that change each other's files cannot be told apart",
                "use %13%, the driver store",
            ),
            other => {
                self.error(line.number, format!("ServiceBinary lies in {other:?}"), "drivers start from %13% or %12%", "use %13%")
            }
        }
        if !brings {
            if folder == "%12%" || is_program {
                let why = "the service starts only where Windows, or another package, has put it";
                return self.warning(
                    line.number,
                    format!("{file} does not come with the package"),
                    why,
                    "check that every system has it",
                );
            }
            let why = "the service has no file to start";
            self.error(line.number, format!("{file} is copied by no CopyFiles"), why, "add it to a CopyFiles section");
        }
    }

    fn framework(&mut self, section: &'a Section, services: &BTreeSet<String>) {
        for line in section.with("KmdfService") {
            if !services.contains(&line.value(0).to_lowercase()) {
                let why = "the framework's settings belong to a service of this INF";
                self.error(
                    line.number,
                    format!("KmdfService names {}, which no AddService adds", line.value(0)),
                    why,
                    "use the service's name",
                );
            }
            let Some(settings) = self.text.section(line.value(1)) else {
                self.error(line.number, format!("no section [{}]", line.value(1)), "KmdfService names it", "add it");
                continue;
            };
            if !self.first(Reader::Framework, line.value(1)) {
                continue;
            }
            let version = settings.get("KmdfLibraryVersion").map_or("", |line| line.value(0));
            match version.split_once('.').map(|(major, minor)| (major, minor.parse::<u32>())) {
                Some(("1", Ok(minor))) if minor <= NEWEST_FRAMEWORK => {}
                Some(("1", Ok(_))) => {
                    let why = format!("we know versions up to 1.{NEWEST_FRAMEWORK}");
                    self.warning(
                        settings.number,
                        format!("KmdfLibraryVersion {version} is very new"),
                        &why,
                        "check that your Windows has it",
                    );
                }
                _ => self.error(
                    settings.number,
                    format!("KmdfLibraryVersion {version:?} is no version"),
                    "the framework does not load",
                    "write 1.15",
                ),
            }
        }
    }

    /// Sections that nothing leads to.
    fn unused(&mut self) {
        let text = self.text;
        let values = text.sections.values().flat_map(|section| &section.lines).flat_map(|line| &line.values);
        let mut named: BTreeSet<String> = values.map(|value| value.to_lowercase()).collect();
        named.extend(STANDARD.map(str::to_owned));
        for (name, section) in &text.sections {
            // `Install.NT.Wdf` belongs to `Install`, `Models.NTamd64.10.0` to `Models`.
            let belongs = name.match_indices('.').take(MOST_PARTS).any(|(end, _)| named.contains(&name[..end]));
            if !named.contains(name) && !belongs {
                self.warning(
                    section.number,
                    format!("nothing refers to [{}]", section.name),
                    "Windows never reads it",
                    "remove it, or correct the name",
                );
            }
        }
    }
}

/// `DefaultInstall`, with a platform or without, but not its companions.
fn is_default_install(name: &str) -> bool {
    name.strip_prefix("defaultinstall").is_some_and(|rest| rest.is_empty() || rest == ".nt" || rest == ".ntamd64")
}

fn endings() -> impl Iterator<Item = &'static str> {
    [".NTamd64", ".NT", ""].into_iter()
}

/// Whether models with this decoration are for x64.
fn applies(decoration: &str) -> bool {
    let platform = decoration.split('.').next().unwrap_or("").to_lowercase();
    platform == "ntamd64" || platform == "nt"
}

fn is_guid(text: &str) -> bool {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or("");
    let lengths: Vec<usize> = inner.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && inner.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

fn dword(text: &str) -> Option<u32> {
    match text.to_lowercase().strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
