//! Files that an INF copies: where they come from and where they go.

use super::{Reader, Rules};
use crate::inf::text::{Line, Section};

impl<'a> Rules<'a, '_> {
    pub(super) fn copied(&mut self, body: &'a Section) {
        let text = self.text;
        for line in body.with("CopyFiles") {
            for name in &line.values {
                if let Some(file) = name.strip_prefix('@') {
                    self.file(file, "", line.number);
                    continue;
                }
                let Some(list) = text.section(name) else {
                    self.error(line.number, format!("no section [{name}]"), "CopyFiles names it", "add it with the files' names");
                    continue;
                };
                if !self.first(Reader::Files, name) {
                    continue;
                }
                for entry in &list.lines {
                    let source = if entry.value(1).is_empty() { entry.value(0) } else { entry.value(1) };
                    self.file(source, name, entry.number);
                    self.in_store(entry, source, name);
                }
            }
        }
    }

    fn file(&mut self, file: &str, list: &str, number: usize) {
        let text = self.text;
        let directories = text.section("DestinationDirs");
        if directories.is_none_or(|section| section.get(list).or_else(|| section.get("DefaultDestDir")).is_none()) {
            self.error(
                number,
                format!("{file} has no destination"),
                "Windows cannot tell where to copy it",
                "add it to [DestinationDirs]",
            );
        }
        let source = ["SourceDisksFiles.amd64", "SourceDisksFiles"].iter().find_map(|name| text.section(name)?.get(file));
        let Some(source) = source else {
            let remedy = format!("add `{file} = 1` to [SourceDisksFiles]");
            return self.error(number, format!("{file} is not in [SourceDisksFiles]"), "Windows does not find it", remedy);
        };
        let disk = source.value(0);
        let disks = ["SourceDisksNames.amd64", "SourceDisksNames"];
        if !disks.iter().any(|name| text.section(name).is_some_and(|section| section.get(disk).is_some())) {
            let remedy = format!("add `{disk} = %Disk%` to [SourceDisksNames]");
            self.error(
                source.number,
                format!("disk {disk} is not in [SourceDisksNames]"),
                "Windows does not find the file",
                remedy,
            );
        }
        let names = disks.iter().find_map(|name| text.section(name)?.get(disk));
        // Files of other folders are not looked for: a check sees one folder.
        let in_folder = source.value(1).is_empty() && names.is_none_or(|line| matches!(line.value(3), "" | "." | "\\"));
        if in_folder && !self.present.contains(&file.to_lowercase()) {
            self.error(
                number,
                format!("{file} is not in the package"),
                "Windows has nothing to copy",
                "put it there, or remove the line",
            );
        }
        self.referred.files.insert(file.to_lowercase());
    }

    /// The folder that the package has a file in, from where the INF is.
    fn folder_of(&self, file: &str) -> Option<String> {
        let first = |names: [&str; 2], key: &str| names.iter().find_map(|name| self.text.section(name)?.get(key));
        let place = first(["SourceDisksFiles.amd64", "SourceDisksFiles"], file)?;
        let disk = first(["SourceDisksNames.amd64", "SourceDisksNames"], place.value(0))?;
        let parts = [disk.value(3), place.value(1)].map(|part| part.trim_matches(['\\', '.']).to_owned());
        Some(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\\"))
    }

    /// What stays in the driver store keeps the name and the folder that it has in the package.
    fn in_store(&mut self, entry: &Line, source: &str, list: &str) {
        let text = self.text;
        let directory =
            text.section("DestinationDirs").and_then(|section| section.get(list).or_else(|| section.get("DefaultDestDir")));
        let Some(directory) = directory.filter(|line| line.value(0) == "13") else { return };
        let Some(from) = self.folder_of(source) else { return };
        let to = directory.value(1).trim_matches('\\');
        if !entry.value(0).eq_ignore_ascii_case(source) || !from.eq_ignore_ascii_case(to) {
            let why = "the driver store keeps a package as it is: InfVerif 1100";
            let remedy = "give [SourceDisksFiles] and [DestinationDirs] the same folder, and the file one name";
            self.error(entry.number, format!("{source} is given another name or folder in directory 13"), why, remedy);
        }
    }
}
