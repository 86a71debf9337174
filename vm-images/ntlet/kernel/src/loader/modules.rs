//! What is loaded where: the image itself and every driver. Read without a lock, so that a bug check can name an address.

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::lock::InterruptLock;

/// Most modules at a time; the image is the first.
pub(crate) const MOST: usize = 64;
/// Longest name that is kept; a longer one is cut.
const NAME: usize = 32;
/// Slot of the image.
pub(crate) const IMAGE: usize = 0;

/// One entry of a function table (`.pdata`): where a function is, and how to leave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct RuntimeFunction {
    pub(crate) begin: u32,
    pub(crate) end: u32,
    pub(crate) unwind: u32,
}

/// What is said about a module when it is added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Description<'a> {
    pub(crate) name: &'a str,
    pub(crate) base: usize,
    pub(crate) size: usize,
    /// Offsets between which its code lies.
    pub(crate) code: (u32, u32),
    /// Offset of its function table and number of entries.
    pub(crate) functions: (u32, u32),
    /// Time stamp of the file, which tells symbols that fit from those that do not.
    pub(crate) time_stamp: u32,
}

/// A module's place in the table. Its base is 0 while it is free; a size of 0 hides it while it changes.
struct Slot {
    base: AtomicUsize,
    size: AtomicUsize,
    code_begin: AtomicU32,
    code_end: AtomicU32,
    functions: AtomicU32,
    function_count: AtomicU32,
    time_stamp: AtomicU32,
    name: UnsafeCell<([u8; NAME], usize)>,
}

// SAFETY: the name is written while the slot is taken but hidden, by the one who took it.
unsafe impl Sync for Slot {}

static SLOTS: [Slot; MOST] = [const { Slot::free() }; MOST];

/// Modules that are remembered after they were unloaded.
const REMEMBERED: usize = 8;
/// A module that was unloaded.
#[derive(Clone, Copy)]
struct Unloaded {
    name: [u8; NAME],
    length: usize,
    base: usize,
    size: usize,
}

/// Those that were unloaded last, and how many there have been.
struct Memory {
    last: [Unloaded; REMEMBERED],
    count: usize,
}

static UNLOADED: InterruptLock<Memory> =
    InterruptLock::new(Memory { last: [Unloaded { name: [0; NAME], length: 0, base: 0, size: 0 }; REMEMBERED], count: 0 });

impl Slot {
    const fn free() -> Self {
        Self {
            base: AtomicUsize::new(0),
            size: AtomicUsize::new(0),
            code_begin: AtomicU32::new(0),
            code_end: AtomicU32::new(0),
            functions: AtomicU32::new(0),
            function_count: AtomicU32::new(0),
            time_stamp: AtomicU32::new(0),
            name: UnsafeCell::new(([0; NAME], 0)),
        }
    }
}

/// A module that is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    slot: usize,
    base: usize,
    size: usize,
}

impl Module {
    /// Its place in the table, which is its name for the pool's accounts.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Address of its first byte.
    pub fn base(&self) -> usize {
        self.base
    }

    /// Bytes of address space it takes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// File name.
    pub fn name(&self) -> &'static str {
        name_of_slot(self.slot)
    }

    /// Time stamp of its file.
    pub(crate) fn time_stamp(&self) -> u32 {
        SLOTS[self.slot].time_stamp.load(Ordering::Relaxed)
    }

    /// Whether an address lies where this module has code.
    pub(crate) fn has_code_at(&self, address: usize) -> bool {
        let slot = &SLOTS[self.slot];
        let range = slot.code_begin.load(Ordering::Relaxed) as usize..slot.code_end.load(Ordering::Relaxed) as usize;
        range.contains(&(address.wrapping_sub(self.base)))
    }

    /// The entry of its function table for an offset. `None`: a function that leaves the stack as it is, or no function.
    pub(crate) fn function_at(&self, offset: u32) -> Option<RuntimeFunction> {
        // SAFETY: an entry of the table, which stays while the module is loaded.
        self.function_entry_at(offset).map(|entry| unsafe { entry.read() })
    }

    /// As [`Module::function_at`], as the entry's address.
    pub(crate) fn function_entry_at(&self, offset: u32) -> Option<*const RuntimeFunction> {
        let slot = &SLOTS[self.slot];
        let count = slot.function_count.load(Ordering::Relaxed) as usize;
        let table = self.base + slot.functions.load(Ordering::Relaxed) as usize;
        if count == 0 {
            return None;
        }
        // SAFETY: the loader has checked that the table lies in the module, which stays loaded while its code runs.
        let table = unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance::<RuntimeFunction>(table), count) };
        let index = table.partition_point(|entry| entry.begin <= offset).checked_sub(1)?;
        Some(&table[index]).filter(|entry| offset < entry.end).map(core::ptr::from_ref)
    }
}

/// Name of the module in a slot, or of the one that was.
pub(crate) fn name_of_slot(slot: usize) -> &'static str {
    let Some(slot) = SLOTS.get(slot) else { return "?" };
    // SAFETY: written before the slot was shown, and changed only when another module takes the slot; a torn name after that is still
    // bytes inside the array, checked for UTF-8 below.
    let (bytes, length) = unsafe { &*slot.name.get() };
    core::str::from_utf8(&bytes[..(*length).min(NAME)]).unwrap_or("?")
}

/// Adds a module. `None` when there are too many.
pub(crate) fn add(description: &Description<'_>) -> Option<Module> {
    let taken = |slot: &Slot| slot.base.compare_exchange(0, description.base, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let index = SLOTS.iter().position(taken)?;
    let slot = &SLOTS[index];
    // SAFETY: the slot was free and is this caller's now; its size of 0 hides it from readers.
    unsafe {
        let (bytes, length) = &mut *slot.name.get();
        let name = &description.name.as_bytes()[..description.name.floor_char_boundary(NAME)];
        bytes[..name.len()].copy_from_slice(name);
        *length = name.len();
    }
    slot.code_begin.store(description.code.0, Ordering::Relaxed);
    slot.code_end.store(description.code.1, Ordering::Relaxed);
    slot.functions.store(description.functions.0, Ordering::Relaxed);
    slot.function_count.store(description.functions.1, Ordering::Relaxed);
    slot.time_stamp.store(description.time_stamp, Ordering::Relaxed);
    slot.size.store(description.size, Ordering::Release);
    let module = Module { slot: index, base: description.base, size: description.size };
    crate::kd::module_list::insert(&module);
    Some(module)
}

/// Whether an address lies where a module was that has been unloaded, and none is now.
pub(crate) fn was_unloaded(address: usize) -> bool {
    find(address).is_none() && UNLOADED.lock_by_force().last.iter().any(|old| address.wrapping_sub(old.base) < old.size)
}

/// Logs which unloaded module an address was in.
pub(crate) fn name_unloaded(address: usize) {
    let last = UNLOADED.lock_by_force().last;
    if let Some(old) = last.iter().find(|old| address.wrapping_sub(old.base) < old.size) {
        let name = core::str::from_utf8(&old.name[..old.length]).unwrap_or("?");
        crate::log::write_by_force(format_args!(
            "{address:#x} is {name}+{:#x}, and {name} has been unloaded",
            address - old.base
        ));
    }
}

/// Takes a module off the table.
pub(crate) fn remove(module: &Module) {
    crate::kd::module_list::remove(module);
    {
        let name = module.name().as_bytes();
        let mut old = Unloaded { name: [0; NAME], length: name.len(), base: module.base, size: module.size };
        old.name[..name.len()].copy_from_slice(name);
        let mut unloaded = UNLOADED.lock();
        let next = unloaded.count % REMEMBERED;
        unloaded.last[next] = old;
        unloaded.count += 1;
    }
    let slot = &SLOTS[module.slot];
    slot.size.store(0, Ordering::Release);
    slot.base.store(0, Ordering::Release);
}

/// Every module that is loaded.
pub fn all() -> impl Iterator<Item = Module> {
    SLOTS.iter().enumerate().filter_map(|(index, slot)| {
        let size = slot.size.load(Ordering::Acquire);
        (size != 0).then(|| Module { slot: index, base: slot.base.load(Ordering::Relaxed), size })
    })
}

/// The module that an address lies in.
pub fn find(address: usize) -> Option<Module> {
    all().find(|module| address.wrapping_sub(module.base) < module.size)
}

/// An address as people read it: module and offset.
#[derive(Clone, Copy, Debug)]
pub struct Place(usize);

/// An address as people read it.
pub fn place(address: usize) -> Place {
    Place(address)
}

impl Place {
    /// Module, or an empty name, and the offset in it, or the address itself. Of the image, which lies where it was linked for, the
    /// address too: so its symbols have it.
    pub fn parts(self) -> (&'static str, u64) {
        match find(self.0) {
            Some(module) if module.slot == IMAGE => (module.name(), self.0 as u64),
            Some(module) => (module.name(), (self.0 - module.base) as u64),
            None => ("", self.0 as u64),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            ("", address) => write!(f, "{address:#x}"),
            (name, address) if address == self.0 as u64 => write!(f, "{name} {address:#x}"),
            (name, offset) => write!(f, "{name}+{offset:#x}"),
        }
    }
}
