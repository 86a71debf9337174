//! From an address in the guest to a function name: PDBs of drivers and suite, the symbol table of the ntlet image.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind};
use pdb_addr2line::{ContextPdbData, TypeFormatterFlags, pdb::PDB};

use crate::bugcheck::Place;
use crate::build::names;

/// Largest symbol file that is read.
const SYMBOL_FILE_LIMIT: u64 = 1 << 30;

/// Files that hold symbols. A file serves the module of the same stem: `relay.pdb` serves `relay.sys`.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    files: Arc<[(PathBuf, OnceLock<Functions>)]>,
}

impl Symbols {
    /// Symbols in `files`: PDBs and ELF images. What is missing is found out when it is needed.
    #[must_use]
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files: files.into_iter().map(|file| (file, OnceLock::new())).collect() }
    }

    /// These and more.
    #[must_use]
    pub fn and(&self, more: Vec<PathBuf>) -> Self {
        Self::new(self.files.iter().map(|(file, _)| file.clone()).chain(more).collect())
    }

    /// Names an address of the guest as far as symbols reach.
    #[must_use]
    pub fn place(&self, module: &str, offset: u64) -> Place {
        let function = self.file_of(module).and_then(|(file, functions)| function_in(file, functions, offset));
        Place { module: module.to_owned(), offset, function }
    }

    /// Names the call that returns to an address. A call that does not return may be the last of its function, so that the address is
    /// already another's.
    #[must_use]
    pub fn caller(&self, module: &str, offset: u64) -> Place {
        Place { offset, ..self.place(module, offset.saturating_sub(1)) }
    }

    fn file_of(&self, module: &str) -> Option<&(PathBuf, OnceLock<Functions>)> {
        let stem = module.split('.').next().filter(|stem| !stem.is_empty())?;
        let serves = |file: &Path| file.file_stem().is_some_and(|name| name.eq_ignore_ascii_case(stem));
        self.files.iter().find(|(file, _)| serves(file)).filter(|(file, _)| file.is_file())
    }
}

/// The function at `offset` of the module that `file` describes. A damaged file names nothing.
fn function_in(file: &Path, functions: &OnceLock<Functions>, offset: u64) -> Option<String> {
    if file.extension().is_some_and(|extension| extension == "pdb") {
        function_in_pdb(File::open(file).ok()?, u32::try_from(offset).ok()?)
    } else {
        functions.get_or_init(|| Functions::of_elf(file).unwrap_or_default()).name(offset)
    }
}

/// The functions of an ELF image. The file is large, and each bug check asks for a dozen names: it is read once.
#[derive(Debug, Default)]
struct Functions {
    /// Lowest address of the image.
    base: u64,
    /// First address, length and name, in the order of the addresses.
    functions: Vec<(u64, u64, String)>,
}

impl Functions {
    fn of_elf(file: &Path) -> Option<Self> {
        let small = std::fs::metadata(file).is_ok_and(|metadata| metadata.len() <= SYMBOL_FILE_LIMIT);
        let image = std::fs::read(file).ok().filter(|_| small)?;
        let file = object::File::parse(&*image).ok()?;
        let base = file.segments().map(|segment| segment.address()).min()?;
        let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
        let named = functions.filter_map(|symbol| Some((symbol.address(), symbol.size().max(1), symbol.name().ok()?.to_owned())));
        let mut functions: Vec<_> = named.collect();
        functions.sort_by_key(|(start, ..)| *start);
        Some(Self { base, functions })
    }

    /// `offset` may be an address as linked or counted from the image's first byte.
    fn name(&self, offset: u64) -> Option<String> {
        let address = if offset < self.base { self.base.checked_add(offset)? } else { offset };
        let after = self.functions.partition_point(|(start, ..)| *start <= address);
        let (start, length, name) = self.functions.get(after.checked_sub(1)?)?;
        (address - start < *length).then(|| demangled(name))
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
        text += &format!(" ({}:{line})", names::for_reader(file));
    }
    if frames.len() > 1 {
        text += &format!(", inlined into {}", outer.function.as_deref().unwrap_or("?"));
    }
    Some(text)
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
    fn a_functions_name_reaches_from_its_first_byte_to_its_last() {
        let functions = vec![(0x1000, 0x10, "first".to_owned()), (0x1020, 1, "second".to_owned())];
        let functions = Functions { base: 0x1000, functions };
        let names = [0x1000, 0x100f, 0x1010, 0x1020, 0x1021].map(|address| functions.name(address));
        assert_eq!(names.each_ref().map(Option::as_deref), [Some("first"), Some("first"), None, Some("second"), None]);
        assert_eq!(functions.name(5).as_deref(), Some("first"), "below the base it counts from there");
        assert_eq!(functions.name(u64::MAX), None);
    }

    #[test]
    fn a_damaged_pdb_names_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.pdb");
        std::fs::write(&file, b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0garbage").unwrap();
        assert_eq!(Symbols::new(vec![file]).place("relay.sys", 0x10).function, None);
    }
}
