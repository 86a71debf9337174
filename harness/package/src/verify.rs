//! Checking a package, ours or a stranger's: whether its files are there, are the ones that were listed and signed, and obey the rules
//! for driver files and INFs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use chrono::Utc;
use der::Decode as _;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::authenticode::{self, claimed_digest};
use crate::catalogue::Catalogue;
use crate::finding::{Findings, Severity};
use crate::inf::rules::{self, Referred};
use crate::inf::text::Text;
use crate::package::File;
use crate::signature::{Broken, By, Hash, Signed};
use crate::{image, oid};

/// Largest file that is read.
const LARGEST: u64 = 256 << 20;
/// Largest INF that is read.
const LARGEST_INF: u64 = 8 << 20;
/// Most files that are read.
const MOST: usize = 256;

/// What a check found out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is so, one sentence each: who signed what.
    pub facts: Vec<String>,
    /// What is wrong.
    pub findings: Findings,
}

/// Checks a folder. Folders within it are not looked at.
///
/// # Errors
/// It cannot be read.
pub fn folder(path: &Path) -> io::Result<Report> {
    let (mut files, mut left_out) = (Vec::new(), Vec::new());
    let mut entries: Vec<fs::DirEntry> = fs::read_dir(path)?.take(MOST * 4).collect::<io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        // A pipe or a device would never end.
        let Ok(metadata) = fs::metadata(entry.path()) else {
            left_out.push((name, "it cannot be read".to_owned()));
            continue;
        };
        if !metadata.is_file() || !is_looked_at(&name) {
            continue;
        }
        let largest = if name.to_lowercase().ends_with(".inf") { LARGEST_INF } else { LARGEST };
        if metadata.len() > largest || files.len() == MOST {
            left_out.push((name, format!("more than {MOST} files, or larger than {} MiB", largest >> 20)));
            continue;
        }
        let mut content = Vec::new();
        match fs::File::open(entry.path()).and_then(|file| file.take(largest).read_to_end(&mut content)) {
            Ok(_) => files.push(File { name, content }),
            Err(error) => left_out.push((name, error.to_string())),
        }
    }
    let mut report = self::files(&files, Utc::now().timestamp());
    for (name, why) in left_out {
        report.findings.error(&name, "the file was not looked at", &why, "make it readable, or take it out of the folder");
    }
    Ok(report)
}

fn is_looked_at(name: &str) -> bool {
    !name.to_lowercase().ends_with(".pdb")
}

/// Checks files; `now` is the time in seconds, before which a package must be dated.
#[must_use]
pub fn files(files: &[File], now: i64) -> Report {
    let mut check = Check { files, report: Report::default(), signers: Vec::new() };
    let present: BTreeSet<String> = files.iter().map(|file| file.name.to_lowercase()).collect();
    let mut catalogues = BTreeSet::new();
    for inf in check.with("inf") {
        let text = Text::read(&inf.content);
        let referred = rules::examine(&text, &inf.name, &present, now, &mut check.report.findings);
        catalogues.extend(referred.catalogue.iter().map(|name| name.to_lowercase()));
        check.listed(inf, &referred);
    }
    for driver in check.with("sys") {
        check.driver(driver);
    }
    check.presence();
    for stray in check.with("cat").into_iter().filter(|file| !catalogues.contains(&file.name.to_lowercase())) {
        let why = "Windows does not use it for this package";
        check.report.findings.warning(&stray.name, "no INF names this catalogue", why, "remove it, or name it as CatalogFile");
    }
    check.certificates();
    check.report
}

struct Check<'a> {
    files: &'a [File],
    report: Report,
    /// Certificates that signed something, with that something.
    signers: Vec<(String, By)>,
}

impl<'a> Check<'a> {
    fn with(&self, ending: &str) -> Vec<&'a File> {
        self.files.iter().filter(|file| file.name.to_lowercase().ends_with(&format!(".{ending}"))).collect()
    }

    fn file(&self, name: &str) -> Option<&'a File> {
        self.files.iter().find(|file| file.name.eq_ignore_ascii_case(name))
    }

    fn presence(&mut self) {
        let needs = [
            ("inf", Severity::Error, "Windows installs what an INF says"),
            ("cat", Severity::Error, "x64 Windows installs signed packages only"),
            ("sys", Severity::Warning, "the package brings no driver of its own"),
            ("cer", Severity::Note, "a test certificate has to come from elsewhere; one of a known authority needs no file"),
        ];
        for (ending, severity, why) in needs {
            if self.with(ending).is_empty() {
                let remedy = format!("put the .{ending} into the folder");
                self.report.findings.add(severity, "package", format!("no .{ending} file"), why, remedy);
            }
        }
    }

    /// Whether the INF's catalogue is good and lists the INF and what it copies.
    fn listed(&mut self, inf: &File, referred: &Referred) {
        let Some(name) = &referred.catalogue else {
            return;
        };
        let Some(file) = self.file(name) else {
            let why = "the INF names it; without it the package is unsigned";
            return self.report.findings.error(&inf.name, format!("{name} is not in the package"), why, "make and sign it");
        };
        let catalogue = match Catalogue::read(&file.content) {
            Ok(catalogue) => catalogue,
            Err(error) => {
                let why = "Windows reads signed lists of files only";
                return self.report.findings.error(name, format!("not a catalogue: {error}"), why, "make it again");
            }
        };
        let count = catalogue.members.len();
        self.report.facts.push(format!("{name}: version {} catalogue with {count} entries", catalogue.version));
        if catalogue.version == 1 {
            let why = "it knows SHA-1 digests only, which current Windows does not trust";
            self.report.findings.warning(name, "a version 1 catalogue", why, "make it for Windows 10 and later");
        }
        let members = std::iter::once(inf.name.clone()).chain(referred.files.iter().cloned());
        for member in members {
            // What is missing has been said before.
            if let Some(member) = self.file(&member) {
                self.member(name, &catalogue, member);
            }
        }
        self.rest_of(name, &catalogue, referred);
        self.signed_by(name, catalogue.signature);
    }

    fn member(&mut self, name: &str, catalogue: &Catalogue, file: &File) {
        let (long, short) = (Sha256::digest(&file.content).to_vec(), Sha1::digest(&file.content).to_vec());
        let digests = match authenticode::digest::<Sha256>(&file.content) {
            Ok(image) => vec![image, authenticode::digest::<Sha1>(&file.content).unwrap_or_default(), long, short],
            Err(_) => vec![long, short],
        };
        let listed: Vec<&Vec<u8>> = digests.iter().filter(|digest| catalogue.lists(digest)).collect();
        if listed.is_empty() {
            let what = format!("{} is not the file that {name} lists", file.name);
            let why = "it was changed after the catalogue was made, or was never listed; Windows refuses the package";
            self.report.findings.error(&file.name, what, why, "make the catalogue again after the last change");
        } else if listed.iter().all(|digest| digest.len() == 20) {
            let why = "current Windows wants SHA-256";
            self.report.findings.warning(&file.name, format!("{name} lists it by SHA-1 only"), why, "list it by SHA-256 too");
        }
    }

    fn rest_of(&mut self, name: &str, catalogue: &Catalogue, referred: &Referred) {
        let files: BTreeSet<String> = catalogue.members.iter().filter_map(|member| member.file.clone()).collect();
        let missing: Vec<&String> = files.iter().filter(|file| self.file(file).is_none()).collect();
        for file in missing {
            let why = "it was there when the catalogue was made";
            self.report.findings.warning(
                name,
                format!("it lists {file:?}, which is not in the package"),
                why,
                "bring the file back",
            );
        }
        let ids: BTreeSet<&str> = catalogue.hardware_ids().collect();
        for id in referred.hardware_ids.iter().filter(|id| !ids.contains(id.as_str())) {
            let why = "Windows' tools list every hardware id of the INF";
            self.report.findings.warning(name, format!("it does not name {id}"), why, "make the catalogue again");
        }
    }

    fn driver(&mut self, file: &File) {
        image::examine(&file.content, &file.name, &mut self.report.findings);
        let bytes = match authenticode::signature(&file.content) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let why = "the catalogue is enough to install it, but not to start it at boot";
                return self.report.findings.warning(
                    &file.name,
                    "the driver is not signed itself",
                    why,
                    "sign it before the catalogue",
                );
            }
            Err(error) => {
                let why = "Windows takes the file for damaged";
                return self.report.findings.error(&file.name, error.to_string(), why, "sign it again");
            }
        };
        let signed = match Signed::read(bytes) {
            Ok(signed) => signed,
            Err(error) => return self.signed_by(&file.name, Err(error.into())),
        };
        let fits = claimed_digest(signed.content).map_err(Broken::from).and_then(|(algorithm, digest)| {
            let own = Hash::of(algorithm)?.of_image(&file.content)?;
            if signed.content_type == oid::INDIRECT_DATA && own == digest { Ok(()) } else { Err(Broken::Content) }
        });
        self.signed_by(&file.name, fits.and_then(|()| signed.check()));
    }

    fn signed_by(&mut self, name: &str, result: Result<By, Broken>) {
        let findings = &mut self.report.findings;
        match result {
            Ok(by) => {
                let up_to = if by.complete { "up to" } else { "whose issuer is not in the file:" };
                self.report.facts.push(format!("{name}: signed by {} ({}), {up_to} {}", by.holder, by.digest, by.root));
                if by.digest == "SHA-1" {
                    findings.warning(name, "signed with SHA-1", "current Windows does not trust it", "sign with SHA-256");
                }
                self.signers.push((name.to_owned(), by));
            }
            Err(error @ Broken::Unknown(_)) => {
                findings.warning(
                    name,
                    "the signature could not be checked",
                    &error.to_string(),
                    "check it with Windows' own tools",
                );
            }
            Err(Broken::Unsigned) => {
                let why = "Windows refuses a package that nobody signed";
                findings.error(name, "it is not signed", why, "sign it, the drivers first and the catalogue last");
            }
            Err(error @ Broken::Content) => {
                let why = "the file was changed after it was signed";
                findings.error(name, format!("the signature is broken: {error}"), why, "sign it again after the last change");
            }
            Err(error) => {
                let why = "Windows refuses the package";
                findings.error(name, format!("the signature is broken: {error}"), why, "sign it again");
            }
        }
    }

    /// Whether the certificates in the folder are those that signed.
    fn certificates(&mut self) {
        let files = self.with("cer");
        for file in &files {
            if x509_cert::Certificate::from_der(&file.content).is_err() {
                let why = "a guest cannot be told to trust it";
                self.report.findings.error(&file.name, "not a certificate in DER", why, "export it again as DER");
            }
        }
        if files.is_empty() {
            return;
        }
        for (name, by) in &self.signers {
            if by.complete && by.root == by.holder && !files.iter().any(|file| file.content == by.certificate) {
                let why = "a guest that trusts the certificates of this folder does not trust the signature";
                let what = format!("signed by {}, whose certificate is not in the folder", by.holder);
                self.report.findings.error(name, what, why, "put the signer's certificate beside it");
            }
        }
    }
}
