//! Loading drivers: from a file's bytes to code that can be called, and away again.
//!
//! [`image`] checks a file, [`layout`] makes it memory, [`modules`] is the table of what is loaded. A driver that imports something
//! that is not there is refused, and the refusal names module and symbol.

pub mod image;
pub mod layout;
pub mod modules;
#[cfg(test)]
mod tests;

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::bug_check;

use crate::dispatcher::{dpc, timer};
use crate::entry::BuiltInModule;
use crate::hal::{PAGE_SIZE, Protection};
use crate::lock::SpinLock;
use crate::{boot, exports, hal, interrupt, pool, work};
use image::{Image, ImageError, SUBSYSTEM_NATIVE, directory};
use layout::{BindError, Export, Symbol};
use modules::{Description, Module, RuntimeFunction};

/// Longest chain of forwarded exports.
const MOST_FORWARDS: usize = 8;
/// Names under which drivers import from the kernel itself.
const KERNEL_NAMES: [&str; 2] = ["ntoskrnl.exe", "hal.dll"];

/// Why a driver cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The file is no sound image.
    Image(ImageError),
    /// It is a program, not a driver.
    Subsystem(u16),
    /// It imports from a module that is not here.
    MissingModule {
        /// The module.
        module: String,
        /// What it wants from it.
        symbol: String,
    },
    /// It imports something that a module does not have.
    MissingSymbol {
        /// The module.
        module: String,
        /// What it wants from it.
        symbol: String,
    },
    /// No memory for it.
    NoMemory,
    /// The table of modules is full.
    TooManyModules,
}

impl From<ImageError> for LoadError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::Subsystem(subsystem) => write!(f, "its subsystem is {subsystem}, not native (1); link with /DRIVER"),
            Self::MissingModule { module, symbol } => write!(f, "it imports {symbol} from {module}, and there is no such module"),
            Self::MissingSymbol { module, symbol } => write!(f, "it imports {symbol} from {module}, which does not export it"),
            Self::NoMemory => f.write_str("there is no memory for it"),
            Self::TooManyModules => f.write_str("too many drivers are loaded"),
        }
    }
}

impl core::error::Error for LoadError {}

impl LoadError {
    /// The status that Windows gives for it.
    pub fn status(&self) -> NTSTATUS {
        match self {
            Self::Image(_) | Self::Subsystem(_) => NTSTATUS::INVALID_IMAGE_FORMAT,
            Self::MissingModule { .. } => NTSTATUS::DLL_NOT_FOUND,
            Self::MissingSymbol { symbol, .. } if symbol.starts_with('#') => NTSTATUS::DRIVER_ORDINAL_NOT_FOUND,
            Self::MissingSymbol { .. } => NTSTATUS::DRIVER_ENTRYPOINT_NOT_FOUND,
            Self::NoMemory | Self::TooManyModules => NTSTATUS::INSUFFICIENT_RESOURCES,
        }
    }
}

/// A driver that is loaded. [`unload`] takes it away; dropping this does not.
#[derive(Debug)]
pub struct Loaded {
    /// Its place in the table of modules, with name, address and size.
    pub module: Module,
    /// Address of its entry point, 0 if it has none.
    pub entry: usize,
    /// Pages that are not needed after the entry point has returned: first page of the image, and how many.
    discardable: Vec<(usize, usize)>,
}

/// A loaded driver that exports something: slot in the table of modules, export directory.
static EXPORTERS: SpinLock<Vec<(Module, (u32, u32))>> = SpinLock::new(Vec::new());

/// Loads a driver.
///
/// # Errors
/// Why it cannot be; nothing is left of it then.
pub fn load_driver(name: &str, file: &[u8]) -> Result<Loaded, LoadError> {
    let image = Image::parse(file)?;
    if image.subsystem != SUBSYSTEM_NATIVE {
        return Err(LoadError::Subsystem(image.subsystem));
    }
    let pages = image.size as usize / PAGE_SIZE;
    let start = hal().allocate_pages(pages, Protection::ReadWrite).ok_or(LoadError::NoMemory)?;
    // SAFETY: the pages are new, zeroed, and this function's until the driver runs.
    let memory = unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), image.size as usize) };
    let loaded = prepare(&image, memory).and_then(|functions| register(name, &image, start, functions)).inspect_err(|_| {
        // SAFETY: nothing of the driver has run, and `memory` is not used any more.
        unsafe { hal().free_pages(start, pages) };
    })?;
    crate::process::notify::image_loaded(name, 0, loaded.module.base(), loaded.module.size());
    Ok(loaded)
}

/// Makes the memory the image; returns its function table.
fn prepare(image: &Image<'_>, memory: &mut [u8]) -> Result<(u32, u32), LoadError> {
    let base = memory.as_ptr().expose_provenance() as u64;
    layout::lay_out(image, memory)?;
    layout::relocate(image, memory, base)?;
    let (counter, _) = hal().performance_counter();
    layout::set_cookie(image, memory, base, (counter ^ base).wrapping_mul(0x9e37_79b9_7f4a_7c15))?;
    layout::bind(image, memory, resolve).map_err(|error| match error {
        BindError::Image(error) => LoadError::Image(error),
        BindError::Resolve(error) => error,
    })?;
    function_table(image, memory)
}

/// Checks the function table: entries in order, inside the image.
fn function_table(image: &Image<'_>, memory: &[u8]) -> Result<(u32, u32), LoadError> {
    let Some((start, size)) = image.directory(directory::EXCEPTION) else { return Ok((0, 0)) };
    let damaged = LoadError::Image(ImageError::Table("function table"));
    let count = size as usize / size_of::<RuntimeFunction>();
    if start % 4 != 0 {
        return Err(damaged);
    }
    let mut last = 0;
    for index in 0..count {
        let at = start as usize + index * size_of::<RuntimeFunction>();
        let value = |offset| image::field_u32(memory, at + offset).unwrap_or(u32::MAX);
        let (begin, end, unwind) = (value(0), value(4), value(8));
        if begin < last || end <= begin || end > image.size || unwind >= image.size {
            return Err(damaged);
        }
        last = end;
    }
    Ok((start, count as u32))
}

fn register(name: &str, image: &Image<'_>, start: NonNull<u8>, functions: (u32, u32)) -> Result<Loaded, LoadError> {
    let code = image.sections().iter().filter(|section| section.is_executable());
    let code_begin = code.clone().map(|section| section.address).min().unwrap_or(0);
    let code_end = code.map(|section| section.address + section.size).max().unwrap_or(0);
    let base = start.as_ptr().addr();
    let description = Description {
        name,
        base,
        size: image.size as usize,
        code: (code_begin, code_end),
        functions,
        time_stamp: image.time_stamp,
    };
    let module = modules::add(&description).ok_or(LoadError::TooManyModules)?;
    if let Some(table) = image.directory(directory::EXPORT) {
        EXPORTERS.lock().push((module, table));
    }
    let discardable = protect(name, image, start);
    let entry = if image.entry == 0 { 0 } else { base + image.entry as usize };
    crate::kd::loaded(&module);
    Ok(Loaded { module, entry, discardable })
}

/// Gives every section the rights it asks for, never writing and executing both; returns what can be discarded.
fn protect(name: &str, image: &Image<'_>, start: NonNull<u8>) -> Vec<(usize, usize)> {
    let set = |page: usize, pages: usize, protection| {
        // SAFETY: pages of this image, of which nothing runs yet.
        unsafe { hal().protect_pages(start.add(page * PAGE_SIZE), pages, protection) };
    };
    set(0, (image.header_size as usize).div_ceil(PAGE_SIZE), Protection::Read);
    let mut discardable = Vec::new();
    for section in image.sections() {
        let (page, pages) = (section.address as usize / PAGE_SIZE, section.pages());
        let protection = match (section.is_executable(), section.is_writable()) {
            (true, writable) => {
                if writable {
                    log!("{name}: section {} asks for writing and executing; it gets executing", section.name());
                }
                Protection::ReadExecute
            }
            (false, true) => Protection::ReadWrite,
            (false, false) => Protection::Read,
        };
        set(page, pages, protection);
        if section.is_discardable() {
            discardable.push((page, pages));
        }
    }
    discardable
}

impl Loaded {
    /// Takes away what the driver needs only while its entry point runs. Touching it is a fault from then on.
    pub fn discard_init(&mut self) {
        for (page, pages) in self.discardable.drain(..) {
            let address = self.module.base() + page * PAGE_SIZE;
            if let Some(start) = NonNull::new(core::ptr::with_exposed_provenance_mut(address)) {
                // SAFETY: the driver says that these pages are not needed any more.
                unsafe { hal().protect_pages(start, pages, Protection::None) };
            }
        }
    }
}

/// Takes a driver away; reports what it left behind in the pool.
///
/// # Safety
/// Nothing of it runs or is called any more.
pub unsafe fn unload(loaded: Loaded) {
    let module = loaded.module;
    crate::kd::unloading(&module);
    check_nothing_is_pending(&module);
    EXPORTERS.lock().retain(|(exporter, _)| exporter.slot() != module.slot());
    pool::leak_report(module.slot());
    modules::remove(&module);
    if let Some(start) = NonNull::new(core::ptr::with_exposed_provenance_mut(module.base())) {
        // SAFETY: the caller's promise; the pages were allocated as one range of this size.
        unsafe { hal().free_pages(start, module.size() / PAGE_SIZE) };
    }
}

/// A driver that goes while something will still call it: bug check now, when it can be named, rather than later when it cannot.
fn check_nothing_is_pending(module: &Module) {
    // SAFETY: drivers are unloaded at PASSIVE_LEVEL. What is queued already runs before the driver goes, as on Windows.
    unsafe { dpc::KeFlushQueuedDpcs() };
    let is_inside = |address: usize| address.wrapping_sub(module.base()) < module.size();
    let found = timer::find(&is_inside)
        .map(|address| ("a timer that runs", address))
        .or_else(|| interrupt::find(&is_inside).map(|address| ("an interrupt that is connected", address)))
        .or_else(|| work::find(&is_inside).map(|address| ("a work item that is queued", address)));
    if let Some((what, address)) = found {
        log!("{} unloads and leaves {what}: {}", module.name(), modules::place(address));
        let code = bug_check::DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS;
        crate::bug_check::bug_check(code, [address as u64, 0, 0, 0]);
    }
}

/// The address of what a driver imports.
fn resolve(module: &str, symbol: Symbol<'_>) -> Result<u64, LoadError> {
    let mut target = lookup(module, symbol)?;
    for _ in 0..MOST_FORWARDS {
        let text = match target {
            Target::Address(address) => return Ok(address as u64),
            Target::Forwarded(text) => text,
        };
        // A forwarder names its module without extension.
        let Some((to, name)) = text.rsplit_once('.') else { break };
        let owner = if to.contains('.') { to.to_owned() } else { with_known_extension(to) };
        let wanted = match name.strip_prefix('#').and_then(|number| number.parse().ok()) {
            Some(number) => Symbol::Ordinal(number),
            None => Symbol::Name(name),
        };
        target = lookup(&owner, wanted)?;
    }
    Err(missing_symbol(module, symbol))
}

fn missing_symbol(module: &str, symbol: Symbol<'_>) -> LoadError {
    LoadError::MissingSymbol { module: module.to_owned(), symbol: symbol.to_string() }
}

/// The module that a forwarder means.
fn with_known_extension(stem: &str) -> String {
    let fits = |name: &&str| name.rsplit_once('.').is_some_and(|(known, _)| known.eq_ignore_ascii_case(stem));
    let built_in = built_in().iter().map(|module| module.name);
    let known =
        KERNEL_NAMES.into_iter().chain(built_in).chain(modules::all().map(|module| module.name())).find(|name| fits(name));
    known.map_or_else(|| alloc::format!("{stem}.sys"), ToOwned::to_owned)
}

enum Target {
    Address(usize),
    Forwarded(String),
}

fn built_in() -> &'static [BuiltInModule] {
    boot::parameters().map_or(&[], |boot| boot.built_in)
}

/// Looks in one module, whichever kind it is.
fn lookup(module: &str, symbol: Symbol<'_>) -> Result<Target, LoadError> {
    let is_meant = |name: &str| name.eq_ignore_ascii_case(module);
    let none = || missing_symbol(module, symbol);
    if KERNEL_NAMES.into_iter().any(is_meant) {
        let Symbol::Name(name) = symbol else { return Err(none()) };
        return exports::find(name).map(Target::Address).ok_or_else(none);
    }
    if is_meant(crate::wmi::library::MODULE) {
        let Symbol::Name(name) = symbol else { return Err(none()) };
        return crate::wmi::library::find(name).map(Target::Address).ok_or_else(none);
    }
    if let Some(known) = built_in().iter().find(|known| is_meant(known.name)) {
        let Symbol::Name(name) = symbol else { return Err(none()) };
        let found = known.exports.iter().find(|(exported, _)| *exported == name);
        return found.map(|&(_, address)| Target::Address(address)).ok_or_else(none);
    }
    let exporters = EXPORTERS.lock();
    if let Some((exporter, table)) = exporters.iter().find(|(exporter, _)| is_meant(exporter.name())) {
        let start = core::ptr::with_exposed_provenance(exporter.base());
        // SAFETY: a module in the list is loaded; the part that is read, its export table, is in a section that can be read. Discarded
        // sections can not, but a linker does not put exports there.
        let memory = unsafe { core::slice::from_raw_parts(start, exporter.size()) };
        return match layout::find_export(memory, *table, symbol) {
            Some(Export::At(offset)) => Ok(Target::Address(exporter.base() + offset as usize)),
            Some(Export::Forwarded(text)) => Ok(Target::Forwarded(text.to_owned())),
            None => Err(none()),
        };
    }
    if modules::all().any(|known| is_meant(known.name())) {
        return Err(none());
    }
    Err(LoadError::MissingModule { module: module.to_owned(), symbol: symbol.to_string() })
}
