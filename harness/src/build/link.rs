//! How PE files are linked: with the linker of the Rust toolchain, without WDK, SDK or import libraries.

/// A kind of PE file.
#[derive(Clone, Copy, Debug)]
pub enum Linked {
    /// A kernel driver.
    Driver {
        /// Symbol of the entry stub.
        entry: &'static str,
    },
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

impl Linked {
    /// Arguments for `rustc`, behind `cargo rustc … --`.
    #[must_use]
    pub fn rustc_arguments(self) -> Vec<String> {
        self.linker_arguments().into_iter().flat_map(|argument| ["-C".to_owned(), format!("link-arg={argument}")]).collect()
    }

    /// Arguments of the linker. `/RELEASE` writes a valid checksum; `/DEBUG` the PDB, which the file names without a path;
    /// `/Brepro` puts a digest where the time would be.
    fn linker_arguments(self) -> Vec<String> {
        let common = ["/NODEFAULTLIB", "/RELEASE", "/DEBUG", "/Brepro", "/PDBALTPATH:%_PDB%", "/OPT:REF", "/OPT:ICF"];
        let own: &[&str] = match self {
            // The linker leaves sections pageable. In its letters, P means *not* paged and D discardable.
            Self::Driver { .. } => &[
                "/DRIVER",
                "/SUBSYSTEM:NATIVE,10.00",
                "/VERSION:10.0",
                "/BASE:0x140000000",
                "/MERGE:.edata=.rdata",
                "/SECTION:.text,ERP",
                "/SECTION:.rdata,RP",
                "/SECTION:.data,RWP",
                "/SECTION:.pdata,RP",
                "/SECTION:INIT,ERD",
            ],
            Self::Program { .. } => &["/SUBSYSTEM:WINDOWS,10.00", "/VERSION:10.0"],
            Self::Firmware { .. } => &["/SUBSYSTEM:EFI_APPLICATION"],
        };
        let (Self::Driver { entry } | Self::Program { entry } | Self::Firmware { entry }) = self;
        let entry = [format!("/ENTRY:{entry}")];
        own.iter().chain(&common).map(|argument| (*argument).to_owned()).chain(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_driver_is_linked_as_one() {
        let is_driver = |linked: Linked| linked.rustc_arguments().contains(&"link-arg=/DRIVER".to_owned());
        assert!(is_driver(Linked::Driver { entry: "FxDriverEntry" }));
        assert!(!is_driver(Linked::Program { entry: "suite_start" }));
    }
}
