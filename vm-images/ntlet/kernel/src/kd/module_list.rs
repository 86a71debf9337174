//! `PsLoadedModuleList`: the modules as debuggers find them in memory, in the order of loading.

use core::cell::UnsafeCell;

use kd::data::{ListEntry, ModuleEntry, UnicodeString};

use crate::hal;
use crate::loader::modules::{IMAGE, MOST, Module};
use crate::lock::InterruptLock;
use crate::try_hal;

/// Units of the longest name and path that are kept.
const NAME: usize = 32;
const PATH: usize = 64;
/// The kernel itself goes by the name that debuggers and drivers know.
const KERNEL: &str = "ntoskrnl.exe";
const KERNEL_FOLDER: &str = "\\SystemRoot\\system32\\";
const DRIVER_FOLDER: &str = "\\SystemRoot\\System32\\drivers\\";

/// What lies in memory for one module.
#[repr(C)]
struct Place {
    entry: ModuleEntry,
    name: [u16; NAME],
    path: [u16; PATH],
}

/// Memory that is linked by address: it is read through a debugger's eyes only, and changed with [`LOCK`] held.
struct Fixed<T>(UnsafeCell<T>);

// SAFETY: changed with the lock held; who reads without it is a debugger, which expects anything.
unsafe impl<T> Sync for Fixed<T> {}

impl<T> Fixed<T> {
    fn address(&self) -> u64 {
        self.0.get().expose_provenance() as u64
    }
}

/// The head, under the name that Windows has for it: who sees the guest's memory from outside finds it by the image's symbols.
#[used]
#[allow(non_upper_case_globals, reason = "the name that debuggers know")]
#[unsafe(no_mangle)]
static PsLoadedModuleList: Fixed<ListEntry> = Fixed(UnsafeCell::new(ListEntry { next: 0, previous: 0 }));
static PLACES: [Fixed<Place>; MOST] =
    [const { Fixed(UnsafeCell::new(Place { entry: ModuleEntry::zeroed(), name: [0; NAME], path: [0; PATH] })) }; MOST];
static LOCK: InterruptLock<()> = InterruptLock::new(());

/// Address of the list's head.
pub(super) fn head() -> u64 {
    let _held = LOCK.lock_by_force();
    initialise();
    PsLoadedModuleList.address()
}

fn initialise() {
    // SAFETY: the head is this module's, and the lock is held, or everything else stands still.
    let head = unsafe { &mut *PsLoadedModuleList.0.get() };
    if head.next == 0 {
        *head = ListEntry { next: PsLoadedModuleList.address(), previous: PsLoadedModuleList.address() };
    }
}

/// An entry of the list by its address.
fn links(address: u64) -> *mut ListEntry {
    core::ptr::with_exposed_provenance_mut(address as usize)
}

/// Puts text into units; returns the bytes it takes.
fn put(units: &mut [u16], parts: [&str; 2]) -> u16 {
    units.fill(0);
    // The last unit stays zero, for readers who look for an end.
    let room = units.len() - 1;
    let text = parts.iter().flat_map(|part| part.encode_utf16());
    let length = units[..room].iter_mut().zip(text).map(|(unit, value)| *unit = value).count();
    (length * 2) as u16
}

/// Folder and name of a module.
pub(super) fn path(module: &Module) -> [&'static str; 2] {
    if module.slot() == IMAGE { [KERNEL_FOLDER, KERNEL] } else { [DRIVER_FOLDER, module.name()] }
}

/// Adds a module.
pub(crate) fn insert(module: &Module) {
    let [folder, name] = path(module);
    let file = Header::of(module);
    let _held = LOCK.lock();
    initialise();
    let place = PLACES[module.slot()].0.get();
    // SAFETY: the slot is the module's own, and the lock is held; the list's neighbours are this module's statics.
    unsafe {
        let (name_length, path_length) = (put(&mut (*place).name, [name, ""]), put(&mut (*place).path, [folder, name]));
        let string = |length: u16, room: usize, buffer: *const u16| UnicodeString {
            length,
            maximum: (room * 2) as u16,
            padding: 0,
            buffer: buffer.expose_provenance() as u64,
        };
        let (own, head) = (PLACES[module.slot()].address(), PsLoadedModuleList.address());
        let last = (*PsLoadedModuleList.0.get()).previous;
        (*place).entry = ModuleEntry {
            links: ListEntry { next: head, previous: last },
            base: module.base() as u64,
            size: module.size() as u32,
            size_not_rounded: module.size() as u32,
            entry_point: file.entry_point,
            checksum: file.checksum,
            time_stamp: module.time_stamp(),
            load_count: 1,
            full_name: string(path_length, PATH, (&raw const (*place).path).cast()),
            base_name: string(name_length, NAME, (&raw const (*place).name).cast()),
            ..ModuleEntry::zeroed()
        };
        (*links(last)).next = own;
        (*PsLoadedModuleList.0.get()).previous = own;
    }
}

/// Takes a module out.
pub(crate) fn remove(module: &Module) {
    let _held = LOCK.lock();
    let place = PLACES[module.slot()].0.get();
    // SAFETY: as above; an entry whose links are zero is in no list.
    unsafe {
        let ListEntry { next, previous } = (*place).entry.links;
        if next != 0 {
            (*links(previous)).next = next;
            (*links(next)).previous = previous;
        }
        (*place).entry = ModuleEntry::zeroed();
    }
}

/// What the list has from a module's own header.
#[derive(Default)]
struct Header {
    entry_point: u64,
    checksum: u32,
}

impl Header {
    /// Nothing, where the module has no header in memory.
    fn of(module: &Module) -> Self {
        const OFFSET_OF_HEADER: u64 = 0x3c;
        const ENTRY_POINT: u64 = 0x28;
        const CHECKSUM: u64 = 0x58;
        let base = module.base() as u64;
        let Some(machine) = try_hal().and_then(|_| hal().debug()) else { return Self::default() };
        let word = |offset: u64| {
            let mut bytes = [0; 4];
            let address = base.checked_add(offset)?;
            (machine.read_virtual(address, &mut bytes) == 4).then_some(u32::from_le_bytes(bytes))
        };
        let read = || {
            let start = word(OFFSET_OF_HEADER).filter(|_| word(0).is_some_and(|magic| magic as u16 == 0x5a4d))?;
            let header = u64::from(start);
            let entry = word(header + ENTRY_POINT)?;
            let entry_point = if entry == 0 { 0 } else { base + u64::from(entry) };
            Some(Self { entry_point, checksum: word(header + CHECKSUM)? })
        };
        read().unwrap_or_default()
    }
}

/// Checksum in the header of a module.
pub(super) fn checksum(module: &Module) -> u32 {
    Header::of(module).checksum
}
