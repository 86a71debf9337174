//! The system behind the agent: what its commands do, as far as a run needs it. Each looks at the files it is given, and a package is only
//! taken when its certificate is trusted, as on Windows.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::firmware::{Firmware, Volume};
use crate::kernel;
use crate::net;
use crate::words::{self, Inf};

/// `ERROR_FILE_NOT_FOUND`, and what the command interpreter says of a program that there is not.
const NOT_FOUND: u32 = 2;
const NO_PROGRAM: u32 = 9009;
/// `CERT_E_UNTRUSTEDROOT`.
const UNTRUSTED: u32 = 0x800b_0109;
/// Stores that a test certificate must be in before a package is taken.
const STORES: [&str; 2] = ["Root", "TrustedPublisher"];

/// What was done to the system since it was started.
pub(crate) struct System<'a> {
    firmware: &'a Firmware,
    /// Drives from D on; C is the own volume.
    volumes: Vec<Volume>,
    trusted: Vec<String>,
    /// Values of the registry: key, name, number.
    values: Vec<(String, String, u32)>,
    installed: Vec<(String, Vec<u8>)>,
}

impl<'a> System<'a> {
    pub(crate) fn of(firmware: &'a Firmware) -> Self {
        let (trusted, values, installed) = (Vec::new(), Vec::new(), Vec::new());
        Self { firmware, volumes: firmware.others(), trusted, values, installed }
    }

    /// The root of the drive that has this file.
    pub(crate) fn drive_with(&self, name: &str) -> Option<String> {
        let drives = [self.firmware.own()].into_iter().chain(&self.volumes);
        let letter = drives.zip('C'..='Z').find(|(volume, _)| volume.has(name)).map(|(_, letter)| letter)?;
        Some(format!(r"{letter}:\"))
    }

    pub(crate) fn file(&self, path: &str) -> Option<Vec<u8>> {
        let (volume, name) = self.place(path)?;
        volume.read(name)
    }

    fn place<'p>(&self, path: &'p str) -> Option<(&Volume, &'p str)> {
        let (drive, name) = path.split_once(r":\")?;
        match u32::from(drive.chars().next()?).checked_sub(u32::from('C'))? {
            0 => Some((self.firmware.own(), name)),
            number => Some((self.volumes.get(number as usize - 1)?, name)),
        }
    }

    /// Runs a command; what it says, and its code.
    pub(crate) fn run(&mut self, command: &str) -> (&'static str, u32) {
        let words = words::words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let done = match words.as_slice() {
            ["certutil.exe", "-f", "-addstore", store, file] => self.trust(store, file),
            ["reg.exe", "add", key, "/v", name, "/t", "REG_DWORD", "/d", number, "/f"] => self.set(key, name, number),
            ["pnputil.exe", "/add-driver", inf, "/install"] => self.install(inf),
            ["bcdedit.exe", words @ ..] => {
                net::settle(self.firmware, words).map(|()| "The operation completed successfully.").map_err(|why| (why, 1))
            }
            ["cmd.exe", "/c", "copy", "/b", "/y", from, to] => self.copy(from, to),
            _ => Err(("this is not recognized as an internal or external command", NO_PROGRAM)),
        };
        match done {
            Ok(said) => (said, 0),
            Err(refused) => refused,
        }
    }

    fn trust(&mut self, store: &str, path: &str) -> Result<&'static str, (&'static str, u32)> {
        // A certificate is a sequence of DER.
        let is_certificate = self.file(path).is_some_and(|file| file.first() == Some(&0x30));
        if !is_certificate {
            return Err(("CertUtil: -addstore command FAILED", NOT_FOUND));
        }
        self.trusted.push(store.to_string());
        Ok("CertUtil: -addstore command completed successfully.")
    }

    fn set(&mut self, key: &str, name: &str, number: &str) -> Result<&'static str, (&'static str, u32)> {
        let number = number.parse().map_err(|_| ("ERROR: Invalid syntax.", 1))?;
        self.values.push((key.to_string(), name.to_string(), number));
        Ok("The operation completed successfully.")
    }

    /// Takes a package into the system.
    pub(crate) fn install(&mut self, path: &str) -> Result<&'static str, (&'static str, u32)> {
        const MISSING: (&str, u32) = ("Failed to add driver package: a file is missing.", NOT_FOUND);
        let (folder, name) = words::split(path);
        let text = self.file(path).ok_or(MISSING)?;
        let Inf { files, catalogue } = words::inf(&String::from_utf8_lossy(&text));
        let is_signed = catalogue.is_some_and(|catalogue| self.file(&format!("{folder}{catalogue}")).is_some());
        let is_trusted = STORES.iter().all(|store| self.trusted.iter().any(|trusted| trusted == store));
        if !is_signed || !is_trusted {
            return Err((
                "Failed to add driver package: a certificate chain terminated in a root that is not trusted.",
                UNTRUSTED,
            ));
        }
        for file in files {
            let content = self.file(&format!("{folder}{file}")).ok_or(MISSING)?;
            self.installed.push((file, content));
        }
        self.installed.push((name.to_string(), text));
        Ok("Driver package added successfully.")
    }

    fn copy(&self, from: &str, to: &str) -> Result<&'static str, (&'static str, u32)> {
        const REFUSED: (&str, u32) = ("The system cannot find the file specified.", 1);
        // Where results are played, so is a full disk: files then come over the line.
        if !kernel::is_wanted(self.firmware) {
            return Err(("There is not enough space on the disk.", 1));
        }
        let content = self.file(from).ok_or(REFUSED)?;
        let (volume, name) = self.place(to).ok_or(REFUSED)?;
        volume.write(name, &content);
        Ok("        1 file(s) copied.")
    }

    /// What was installed, as an archive with the program; the drivers are the system's own copies.
    pub(crate) fn archive(&self, program: &str) -> Option<Vec<u8>> {
        let (_, name) = words::split(program);
        let mut files = self.installed.clone();
        files.push((name.to_string(), self.file(program)?));
        Some(words::archive(&files))
    }

    /// How the registry wants the framework's verifier, as a word of ntlet's command line.
    pub(crate) fn verifier(&self) -> &'static str {
        let last = |wanted: &str| self.values.iter().rev().find(|(_, name, _)| name == wanted).map(|(.., number)| *number);
        match (last("VerifierOn"), last("DbgBreakOnError")) {
            (Some(0), _) => " verifier=off",
            (_, Some(1)) => " verifier=break",
            _ => "",
        }
    }
}
