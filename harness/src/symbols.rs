//! From an address in the guest to a function name: PDBs of drivers and suite, the symbol table of the ntlet image.

use std::fs::File;
use std::path::PathBuf;

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind};
use pdb_addr2line::{ContextPdbData, TypeFormatterFlags, pdb::PDB};

use crate::bugcheck::Place;

/// Largest symbol file that is read.
const SYMBOL_FILE_LIMIT: u64 = 1 << 30;

/// Files that hold symbols. A file serves the module of the same stem: `relay.pdb` serves `relay.sys`.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    files: Vec<PathBuf>,
}

impl Symbols {
    /// Symbols in `files`: PDBs and ELF images. What is missing is found out when it is needed.
    #[must_use]
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files }
    }

    /// Names an address of the guest as far as symbols reach.
    #[must_use]
    pub fn place(&self, module: &str, offset: u64) -> Place {
        let function = self.file_of(module).and_then(|file| function_in(&file, offset));
        Place { module: module.to_owned(), offset, function }
    }

    /// Names the call that returns to an address. A call that does not return may be the last of its function, so that the address is
    /// already another's.
    #[must_use]
    pub fn caller(&self, module: &str, offset: u64) -> Place {
        Place { offset, ..self.place(module, offset.saturating_sub(1)) }
    }

    fn file_of(&self, module: &str) -> Option<PathBuf> {
        let stem = module.split('.').next().filter(|stem| !stem.is_empty())?;
        let serves = |file: &&PathBuf| file.file_stem().is_some_and(|name| name.eq_ignore_ascii_case(stem));
        self.files.iter().find(serves).filter(|file| file.is_file()).cloned()
    }
}

/// The function at `offset` of the module that `file` describes. A damaged file names nothing.
fn function_in(file: &PathBuf, offset: u64) -> Option<String> {
    if file.extension().is_some_and(|extension| extension == "pdb") {
        function_in_pdb(File::open(file).ok()?, u32::try_from(offset).ok()?)
    } else {
        let small = std::fs::metadata(file).is_ok_and(|metadata| metadata.len() <= SYMBOL_FILE_LIMIT);
        function_in_elf(&std::fs::read(file).ok().filter(|_| small)?, offset)
    }
}

fn function_in_pdb(file: File, rva: u32) -> Option<String> {
    let data = ContextPdbData::try_from_pdb(PDB::open(file).ok()?).ok()?;
    let context =
        data.make_context_with_formatter_flags(TypeFormatterFlags::NO_FUNCTION_RETURN | TypeFormatterFlags::NO_ARGUMENTS).ok()?;
    let frames = context.find_frames(rva).ok()??.frames;
    let (inner, outer) = (frames.first()?, frames.last()?);
    let mut text = inner.function.clone()?;
    if let (Some(file), Some(line)) = (&inner.file, inner.line) {
        text += &format!(" ({file}:{line})");
    }
    if frames.len() > 1 {
        text += &format!(", inlined into {}", outer.function.as_deref().unwrap_or("?"));
    }
    Some(text)
}

/// `offset` may be an address as linked or counted from the image's first byte.
fn function_in_elf(image: &[u8], offset: u64) -> Option<String> {
    let file = object::File::parse(image).ok()?;
    let base = file.segments().map(|segment| segment.address()).min()?;
    let address = if offset < base { base.checked_add(offset)? } else { offset };
    let symbol = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.address() <= address)
        .max_by_key(|symbol| symbol.address())?;
    let within = address - symbol.address();
    (within < symbol.size().max(1)).then(|| symbol.name().ok().map(demangled)).flatten()
}

/// Rust's v0 and legacy manglings are left as they are when no demangler knows them.
fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_symbols_keeps_module_and_offset() {
        let place = Symbols::new(vec!["/nowhere/relay.pdb".into()]).place("relay.sys", 0x10);
        assert_eq!(place.to_string(), "relay.sys+0x10");
    }

    #[test]
    fn a_damaged_pdb_names_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.pdb");
        std::fs::write(&file, b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0garbage").unwrap();
        assert_eq!(Symbols::new(vec![file]).place("relay.sys", 0x10).function, None);
    }
}
