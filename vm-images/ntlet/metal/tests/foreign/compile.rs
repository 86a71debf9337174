//! Compiling and linking what somebody else could have written, with the distribution's clang and lld. Every file is made once, whichever
//! guests have it; guests of several threads may ask at once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What the compiler is told about every file.
const COMPILE: &str = "--target=x86_64-pc-windows-msvc -c -O1 -g -gcodeview -ffreestanding -fms-extensions -fexceptions -fasync-exceptions \
    -mno-stack-arg-probe -Wall -Werror -Wno-unused-parameter -Wno-missing-field-initializers -Wno-multichar -Wno-four-char-constants \
    -Wno-null-dereference -Wno-infinite-recursion -Wno-builtin-requires-header -fstack-protector-strong";
/// What the linker is told about every file, about drivers, and about programs.
const LINK: &str = "/nologo /machine:x64 /nodefaultlib /debug /dynamicbase";
pub(crate) const DRIVER: &str = "/subsystem:native /driver /entry:DriverEntry";
/// A driver that is to be told of processes.
pub(crate) const CHECKED_DRIVER: &str = "/subsystem:native /driver /entry:DriverEntry /integritycheck";
pub(crate) const PROGRAM: &str = "/subsystem:native /entry:start";

/// A file to be made.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) name: &'a str,
    pub(crate) sources: &'a [&'a str],
    /// Options of the compiler beyond the usual ones, such as what is defined.
    pub(crate) defines: &'a [&'a str],
    pub(crate) options: &'a str,
    /// Modules that it imports from, each with the names that it may import.
    pub(crate) libraries: &'a [(&'a str, &'a str)],
}

pub(crate) struct Compiler {
    clang: PathBuf,
    lld: PathBuf,
    /// Where the sources are.
    source: PathBuf,
    /// Where the products go.
    folder: PathBuf,
    made: Mutex<HashMap<String, Arc<Vec<u8>>>>,
    next: AtomicUsize,
}

impl Compiler {
    /// `None` without clang and lld.
    pub(crate) fn find(source: PathBuf, folder: PathBuf) -> Option<Self> {
        let (clang, lld) = (test_tools::find("clang")?, test_tools::find("lld-link")?);
        Some(Self { clang, lld, source, folder, made: Mutex::default(), next: AtomicUsize::new(0) })
    }

    /// The contents of a source file.
    pub(crate) fn source(&self, name: &str) -> Result<Vec<u8>, String> {
        std::fs::read(self.source.join(name)).map_err(|error| format!("{name}: {error}"))
    }

    /// The contents of a product.
    pub(crate) fn make(&self, product: &Product<'_>) -> Result<Arc<Vec<u8>>, String> {
        let key = format!("{} {}", product.name, product.defines.join(" "));
        if let Some(known) = self.made.lock().expect("no holder panics").get(&key) {
            return Ok(known.clone());
        }
        // Two threads may make the same file, each in a folder of its own.
        let folder = self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let made = Arc::new(self.link(product, &folder)?);
        self.made.lock().expect("no holder panics").insert(key, made.clone());
        Ok(made)
    }

    fn link(&self, product: &Product<'_>, folder: &Path) -> Result<Vec<u8>, String> {
        let mut files = Vec::new();
        for source in product.sources {
            let object = folder.join(format!("{source}.obj"));
            let mut compile = Command::new(&self.clang);
            compile.args(COMPILE.split_whitespace()).args(product.defines).arg(self.source.join(source)).arg("-o").arg(&object);
            run(&mut compile)?;
            files.push(object);
        }
        for (module, names) in product.libraries {
            files.push(self.import_library(module, names, folder)?);
        }
        let out = folder.join(product.name);
        let mut link = Command::new(&self.lld);
        link.args(LINK.split_whitespace()).args(product.options.split_whitespace()).args(&files).arg(option("/out:", &out));
        run(&mut link)?;
        std::fs::read(&out).map_err(|error| error.to_string())
    }

    /// The library through which a module's names are imported. A name with `@` and a number is imported by that number.
    fn import_library(&self, module: &str, names: &str, folder: &Path) -> Result<PathBuf, String> {
        let line = |name: &str| match name.split_once('@') {
            Some((name, number)) => format!("{name} @{number} NONAME"),
            None if name.starts_with("Ps") && name.ends_with("Type") => format!("{name} DATA"),
            None => name.to_owned(),
        };
        let exports: Vec<String> = names.split_whitespace().map(line).collect();
        let (definition, library) = (folder.join(format!("{module}.def")), folder.join(format!("{module}.lib")));
        std::fs::write(&definition, format!("LIBRARY {module}\nEXPORTS\n{}\n", exports.join("\n")))
            .map_err(|error| error.to_string())?;
        let mut make = Command::new(&self.lld);
        make.args(["/lib", "/machine:x64"]).arg(option("/def:", &definition)).arg(option("/out:", &library));
        run(&mut make)?;
        Ok(library)
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = || format!("{command:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said()) }
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}{}", path.display())
}
