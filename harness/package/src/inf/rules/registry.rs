//! What an INF writes into the registry.

use super::{MOST_MESSAGES, Reader, Rules, dword};
use crate::inf::text::{Line, Section};

impl<'a> Rules<'a, '_> {
    pub(super) fn registry(&mut self, section: &'a Section, of_hardware: bool) {
        for line in section.lines.iter().filter(|line| line.is("AddReg") || line.is("DelReg")) {
            for name in &line.values {
                let Some(list) = self.text.section(name) else {
                    self.error(line.number, format!("no section [{name}]"), "AddReg or DelReg names it", "add it");
                    continue;
                };
                if !self.first(Reader::Registry { of_hardware }, name) {
                    continue;
                }
                for entry in &list.lines {
                    if names(entry, r"system\currentcontrolset\services") && entry.value(0).eq_ignore_ascii_case("HKLM") {
                        let why = "it is there before the device is, and stays behind: InfVerif 1221";
                        self.error(entry.number, "it writes to the services' key", why, "use HKR in the section of the service");
                    } else if line.is("AddReg") && entry.value(2).eq_ignore_ascii_case("CoInstallers32") {
                        let why = "current Windows refuses co-installers: InfVerif 1303";
                        self.error(entry.number, "it registers a co-installer", why, "remove it");
                    } else if !entry.value(0).eq_ignore_ascii_case("HKR") {
                        let why = "a package may write below its own keys only";
                        self.warning(entry.number, format!("it writes to {}", entry.value(0)), why, "use HKR");
                    }
                }
                self.messages(list, of_hardware);
            }
        }
    }

    fn messages(&mut self, list: &'a Section, of_hardware: bool) {
        let is = |line: &&Line, name: &str| {
            line.value(1).to_lowercase().ends_with("messagesignaledinterruptproperties")
                && line.value(2).eq_ignore_ascii_case(name)
        };
        let find = |name: &str| list.lines.iter().find(|line| is(line, name));
        let Some(limit) = find("MessageNumberLimit") else {
            return;
        };
        if !of_hardware {
            let why = "the bus driver reads the device's key, not the driver's";
            self.error(limit.number, "MessageNumberLimit is not written by an .HW section", why, "move it to [<install>.NT.HW]");
        }
        if find("MSISupported").and_then(|line| dword(line.value(4))) != Some(1) {
            let why = "without it the device gets a line-based interrupt";
            self.error(limit.number, "MessageNumberLimit without MSISupported = 1", why, "add MSISupported, 0x00010001, 1");
        }
        if dword(limit.value(4)).is_none_or(|count| count == 0 || count > MOST_MESSAGES) {
            let why = "MSI-X has from 1 to 2048 messages";
            self.error(
                limit.number,
                format!("MessageNumberLimit is {:?}", limit.value(4)),
                why,
                "write how many the driver uses",
            );
        }
    }
}

/// Whether an entry's key begins so.
fn names(entry: &Line, key: &str) -> bool {
    entry.value(1).trim_matches('\\').to_lowercase().starts_with(key)
}
