//! How PE files are linked: with the linker of the Rust toolchain, without WDK, SDK or import libraries.

use super::names::REPOSITORY;

/// A kind of program.
#[derive(Clone, Copy, Debug)]
pub enum Linked {
    /// A program without a C runtime. A windowed one, as far as Windows knows: a native one would not be started by other programs.
    Program {
        /// Symbol where its first thread begins.
        entry: &'static str,
    },
    /// A program that UEFI firmware starts.
    Firmware {
        /// Symbol where it begins.
        entry: &'static str,
    },
}

/// `/RELEASE` writes a valid checksum; `/DEBUG` the PDB, which the file names without a path; `/Brepro` puts a digest where the time would be.
const COMMON: [&str; 7] = ["/NODEFAULTLIB", "/RELEASE", "/DEBUG", "/Brepro", "/PDBALTPATH:%_PDB%", "/OPT:REF", "/OPT:ICF"];

impl Linked {
    /// Arguments for `rustc`, behind `cargo rustc … --`.
    #[must_use]
    pub fn rustc_arguments(self) -> Vec<String> {
        let (own, entry) = match self {
            Self::Program { entry } => (&["/SUBSYSTEM:WINDOWS,10.00", "/VERSION:10.0"][..], entry),
            Self::Firmware { entry } => (&["/SUBSYSTEM:EFI_APPLICATION"][..], entry),
        };
        let entry = format!("/ENTRY:{entry}");
        let all = own.iter().chain(&COMMON).copied().chain([entry.as_str()]);
        all.flat_map(|argument| ["-C".to_owned(), format!("link-arg={argument}")]).collect()
    }
}

/// Arguments of the linker for the kernel driver `service`, whose objects are in a library of that name in the folder where the linker runs.
#[must_use]
pub fn driver_arguments(service: &str) -> Vec<String> {
    // The linker leaves sections pageable. In its letters, P means *not* paged and D discardable.
    let own = [
        "/NOLOGO",
        "/MACHINE:X64",
        "/DRIVER",
        "/ENTRY:FxDriverEntry",
        "/SUBSYSTEM:NATIVE,10.00",
        "/VERSION:10.0",
        "/BASE:0x140000000",
        "/SECTION:.text,ERP",
        "/SECTION:.rdata,RP",
        "/SECTION:.data,RWP",
        "/SECTION:.pdata,RP",
        "/SECTION:INIT,ERD",
    ];
    let files = [
        format!("{service}.lib"),
        format!("/OUT:{service}.dll"),
        format!("/PDB:{service}.pdb"),
        // What the symbols say of where they were made.
        format!("/PDBSOURCEPATH:{REPOSITORY}"),
    ];
    own.iter().chain(&COMMON).map(|argument| (*argument).to_owned()).chain(files).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_driver_is_linked_as_one_and_names_no_folder_of_this_machine() {
        let driver = driver_arguments("relay");
        assert!(driver.contains(&"/DRIVER".to_owned()));
        assert!(!Linked::Program { entry: "suite_start" }.rustc_arguments().contains(&"link-arg=/DRIVER".to_owned()));
        let folders = driver.iter().filter(|argument| argument.trim_start_matches('/').contains('/'));
        assert_eq!(folders.collect::<Vec<_>>(), ["/PDBSOURCEPATH:/wdfrig"]);
    }
}
