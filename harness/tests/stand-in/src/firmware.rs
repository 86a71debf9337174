//! The firmware's services that are used: memory, files, disks, keys, time, restart.

use alloc::vec;
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

use uefi_raw::protocol::block::BlockIoProtocol;
use uefi_raw::protocol::console::InputKey;
use uefi_raw::protocol::file_system::{FileAttribute, FileMode, FileProtocolV1, SimpleFileSystemProtocol};
use uefi_raw::protocol::loaded_image::LoadedImageProtocol;
use uefi_raw::protocol::network::snp::{ReceiveFlags, SimpleNetworkProtocol};
use uefi_raw::table::boot::{BootServices, MemoryDescriptor, MemoryType};
use uefi_raw::table::runtime::ResetType;
use uefi_raw::table::system::SystemTable;
use uefi_raw::{Guid, Handle, Status};

static SERVICES: AtomicPtr<BootServices> = AtomicPtr::new(null_mut());
/// `AllHandles` and `ByProtocol`.
const ALL_HANDLES: i32 = 0;
const BY_PROTOCOL: i32 = 2;
/// `EFI_ACPI_20_TABLE_GUID`.
const ACPI_2: Guid = uefi_raw::guid!("8868e871-e4f1-11d3-bc22-0080c73c8881");
/// `EFI_SERIAL_IO_PROTOCOL`.
const SERIAL_IO: Guid = uefi_raw::guid!("bb25cf6f-f1d4-11d2-9a0c-0090273fc1fd");
/// What is read or written at once.
const BLOCK: usize = 1 << 20;

/// The firmware's pool as a heap.
pub(crate) struct Pool;

// SAFETY: the firmware's pool gives memory of its own for each call, aligned to 8; more is refused.
unsafe impl GlobalAlloc for Pool {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let services = SERVICES.load(Ordering::Relaxed);
        let mut memory = null_mut();
        if services.is_null() || layout.align() > 8 {
            return null_mut();
        }
        // SAFETY: the table is the firmware's; `memory` is a local.
        let status = unsafe { ((*services).allocate_pool)(MemoryType::LOADER_DATA, layout.size(), &mut memory) };
        if status == Status::SUCCESS { memory } else { null_mut() }
    }

    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: the memory is of the pool, and freed once.
        let _ = unsafe { ((*SERVICES.load(Ordering::Relaxed)).free_pool)(memory) };
    }
}

/// The firmware, and the volume that this program was started from.
pub(crate) struct Firmware {
    system: *mut SystemTable,
    image: Handle,
    own: Volume,
    own_handle: Handle,
}

impl Firmware {
    /// # Safety
    /// What the firmware has passed to this program's start. Nothing else runs.
    pub(crate) unsafe fn new(image: Handle, system: *mut SystemTable) -> Self {
        // SAFETY: the caller's promise.
        let services = unsafe { (*system).boot_services };
        SERVICES.store(services, Ordering::Relaxed);
        // SAFETY: the watchdog would restart the machine after five minutes; a code of zero and no text is its off.
        let _ = unsafe { ((*services).set_watchdog_timer)(0, 0, 0, null()) };
        // The firmware knows only the disks that it was told to boot from, until it is asked.
        for handle in located(ALL_HANDLES, null()) {
            // SAFETY: every driver may look at every device, and at what is behind it.
            let _ = unsafe { ((*services).connect_controller)(handle, null_mut(), null(), uefi_raw::Boolean::TRUE) };
        }
        let loaded: *mut LoadedImageProtocol = protocol(image, &LoadedImageProtocol::GUID).cast();
        // SAFETY: every started program has this protocol.
        let own_handle = unsafe { (*loaded).device_handle };
        let own = Volume::of(own_handle).expect("the volume that this was started from");
        Self { system, image, own, own_handle }
    }

    /// Takes the serial lines from the firmware's consoles, which would read what is meant for the agent.
    pub(crate) fn take_serial_lines(&self) {
        for line in handles(&SERIAL_IO) {
            // SAFETY: the line's drivers are told to let go of it.
            let _ = unsafe { ((*SERVICES.load(Ordering::Relaxed)).disconnect_controller)(line, null_mut(), null_mut()) };
        }
    }

    /// The root of the ACPI tables.
    pub(crate) fn acpi_root(&self) -> u64 {
        // SAFETY: the table and what it points to are the firmware's.
        let tables = unsafe {
            let system = &*self.system;
            core::slice::from_raw_parts(system.configuration_table, system.number_of_configuration_table_entries)
        };
        tables.iter().find(|table| table.vendor_guid == ACPI_2).map_or(0, |table| table.vendor_table as u64)
    }

    /// Makes sure that memory is nobody's once the firmware is left.
    pub(crate) fn claim(&self, region: Region) {
        let is_in_the_way = |one: &MemoryDescriptor| {
            let is_free =
                matches!(one.ty, MemoryType::CONVENTIONAL | MemoryType::BOOT_SERVICES_CODE | MemoryType::BOOT_SERVICES_DATA);
            let end = one.phys_start + one.page_count * 4096;
            !is_free && one.phys_start < region.end && region.start < end
        };
        let (map, _) = memory_map();
        assert!(!map.iter().any(is_in_the_way));
    }

    /// Leaves the firmware behind: from here on none of its services may be asked for anything.
    pub(crate) fn leave(&self) {
        // Whatever changes the map in between is seen by the second try.
        for _ in 0..2 {
            let (map, key) = memory_map();
            // SAFETY: the handle is this program's; the key is that of the map as it is.
            let status = unsafe { ((*SERVICES.load(Ordering::Relaxed)).exit_boot_services)(self.image, key) };
            core::mem::forget(map);
            if status == Status::SUCCESS {
                return;
            }
        }
        panic!("the firmware does not let go");
    }

    /// The volume that this program was started from.
    pub(crate) fn own(&self) -> &Volume {
        &self.own
    }

    /// Every other volume.
    pub(crate) fn others(&self) -> Vec<Volume> {
        let handles = handles(&SimpleFileSystemProtocol::GUID);
        handles.into_iter().filter(|handle| *handle != self.own_handle).filter_map(Volume::of).collect()
    }

    /// Whole disks that are not removable.
    pub(crate) fn disks(&self) -> Vec<Disk> {
        let disks =
            handles(&BlockIoProtocol::GUID).into_iter().map(|handle| Disk(protocol(handle, &BlockIoProtocol::GUID).cast()));
        disks.filter(Disk::is_whole).collect()
    }

    /// The network card, taken from the firmware's own use of it.
    pub(crate) fn card(&self) -> Option<Card> {
        let handle = handles(&SimpleNetworkProtocol::GUID).into_iter().next()?;
        // SAFETY: the card's users are told to let go of it; then it is started, if it is not, and told to take what is meant for it.
        unsafe {
            let _ = ((*SERVICES.load(Ordering::Relaxed)).disconnect_controller)(handle, null_mut(), null_mut());
            let card: *mut SimpleNetworkProtocol = protocol(handle, &SimpleNetworkProtocol::GUID).cast();
            let _ = ((*card).start)(card);
            let _ = ((*card).initialize)(card, 0, 0);
            let wanted = ReceiveFlags::UNICAST | ReceiveFlags::BROADCAST;
            let no = uefi_raw::Boolean::FALSE;
            let _ = ((*card).receive_filters)(card, wanted, ReceiveFlags::empty(), no, 0, null());
            Some(Card(card))
        }
    }

    /// Says something on the screen.
    pub(crate) fn show(&self, text: &str) {
        let units: Vec<u16> = text.encode_utf16().chain([13, 10, 0]).collect();
        // SAFETY: the console is the firmware's, the text ends with a zero.
        unsafe {
            let console = (*self.system).stdout;
            let _ = ((*console).output_string)(console, units.as_ptr());
        }
    }

    /// Waits for a key, so many milliseconds at most.
    pub(crate) fn key_within(&self, milliseconds: usize) -> bool {
        for _ in 0..milliseconds / 10 {
            let mut key = InputKey::default();
            // SAFETY: the keyboard is the firmware's, `key` a local.
            let pressed = unsafe {
                let keyboard = (*self.system).stdin;
                ((*keyboard).read_key_stroke)(keyboard, &mut key)
            };
            if pressed == Status::SUCCESS {
                return true;
            }
            // SAFETY: no pointers.
            let _ = unsafe { ((*SERVICES.load(Ordering::Relaxed)).stall)(10_000) };
        }
        false
    }

    /// Starts the machine again.
    pub(crate) fn restart(&self) -> ! {
        self.reset(ResetType::COLD)
    }

    /// Turns the machine off.
    pub(crate) fn shut_down(&self) -> ! {
        self.reset(ResetType::SHUTDOWN)
    }

    fn reset(&self, kind: ResetType) -> ! {
        // SAFETY: the table is the firmware's; no data.
        unsafe { ((*(*self.system).runtime_services).reset_system)(kind, Status::SUCCESS, 0, null()) }
    }
}

/// A range of physical addresses.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// The firmware's map of memory, and the key of that state.
fn memory_map() -> (Vec<MemoryDescriptor>, usize) {
    const ROOM: usize = 64 << 10;
    let mut room = vec![0_u64; ROOM / 8];
    let (mut size, mut key, mut each, mut version) = (ROOM, 0, 0, 0);
    let mut map = Vec::with_capacity(ROOM / size_of::<MemoryDescriptor>());
    // SAFETY: the buffer has `size` bytes, the other pointers are to locals.
    let status = unsafe {
        let services = SERVICES.load(Ordering::Relaxed);
        ((*services).get_memory_map)(&mut size, room.as_mut_ptr().cast(), &mut key, &mut each, &mut version)
    };
    assert!(status == Status::SUCCESS && each >= size_of::<MemoryDescriptor>());
    for at in (0..size).step_by(each) {
        // SAFETY: the firmware has filled in this many bytes; descriptors lie `each` bytes apart, aligned to 8.
        map.push(unsafe { *room.as_ptr().byte_add(at).cast::<MemoryDescriptor>() });
    }
    // Freed only with the firmware: to give it back would change the map.
    core::mem::forget(room);
    (map, key)
}

fn handles(wanted: &Guid) -> Vec<Handle> {
    located(BY_PROTOCOL, wanted)
}

fn located(kind: i32, wanted: *const Guid) -> Vec<Handle> {
    let (mut count, mut list) = (0, null_mut());
    // SAFETY: the firmware fills in both locals; the list is the program's to read until it is freed, which an end of the machine does.
    unsafe {
        let services = SERVICES.load(Ordering::Relaxed);
        let status = ((*services).locate_handle_buffer)(kind, wanted, null(), &mut count, &mut list);
        if status == Status::SUCCESS { core::slice::from_raw_parts(list, count).to_vec() } else { Vec::new() }
    }
}

/// The protocol of a handle; null if it has none.
fn protocol(handle: Handle, wanted: &Guid) -> *mut c_void {
    let mut found = null_mut();
    // SAFETY: `found` is a local.
    let status = unsafe { ((*SERVICES.load(Ordering::Relaxed)).handle_protocol)(handle, wanted, &mut found) };
    if status == Status::SUCCESS { found } else { null_mut() }
}

/// A file system.
pub(crate) struct Volume(*mut FileProtocolV1);

impl Volume {
    fn of(handle: Handle) -> Option<Self> {
        let system: *mut SimpleFileSystemProtocol = protocol(handle, &SimpleFileSystemProtocol::GUID).cast();
        let mut root = null_mut();
        if system.is_null() {
            return None;
        }
        // SAFETY: the protocol is the firmware's, `root` a local.
        let status = unsafe { ((*system).open_volume)(system, &mut root) };
        (status == Status::SUCCESS).then_some(Self(root))
    }

    fn open(&self, path: &str, mode: FileMode, attributes: FileAttribute) -> Option<*mut FileProtocolV1> {
        let name: Vec<u16> = path.encode_utf16().chain([0]).collect();
        let mut file = null_mut();
        // SAFETY: the folder is open, the name ends with a zero.
        let status = unsafe { ((*self.0).open)(self.0, &mut file, name.as_ptr(), mode, attributes) };
        (status == Status::SUCCESS).then_some(file)
    }

    /// Whether there is this file.
    pub(crate) fn has(&self, path: &str) -> bool {
        let file = self.open(path, FileMode::READ, FileAttribute::empty());
        if let Some(file) = file {
            // SAFETY: the file is open, and not used again.
            let _ = unsafe { ((*file).close)(file) };
        }
        file.is_some()
    }

    /// A whole file.
    pub(crate) fn read(&self, path: &str) -> Option<Vec<u8>> {
        let file = self.open(path, FileMode::READ, FileAttribute::empty())?;
        // One block is enough for what is small, and a long file is copied once.
        let (mut content, mut block) = (Vec::with_capacity(BLOCK), vec![0; BLOCK]);
        loop {
            let mut length = block.len();
            // SAFETY: the file is open, the buffer has that room.
            let status = unsafe { ((*file).read)(file, &mut length, block.as_mut_ptr().cast()) };
            if status != Status::SUCCESS || length == 0 {
                // SAFETY: the file is open, and not used again.
                let _ = unsafe { ((*file).close)(file) };
                return (status == Status::SUCCESS).then_some(content);
            }
            content.extend_from_slice(&block[..length]);
        }
    }

    /// Replaces a file. Its folder must be there.
    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        self.remove(path);
        let mode = FileMode::READ | FileMode::WRITE | FileMode::CREATE;
        let file = self.open(path, mode, FileAttribute::empty()).expect("a file to write");
        for block in content.chunks(BLOCK) {
            let mut length = block.len();
            // SAFETY: the file is open, the buffer has that length.
            let status = unsafe { ((*file).write)(file, &mut length, block.as_ptr().cast()) };
            assert!(status == Status::SUCCESS && length == block.len());
        }
        // SAFETY: the file is open, and not used again.
        let _ = unsafe { ((*file).close)(file) };
    }

    /// Makes a folder.
    pub(crate) fn folder(&self, path: &str) {
        let mode = FileMode::READ | FileMode::WRITE | FileMode::CREATE;
        if let Some(folder) = self.open(path, mode, FileAttribute::DIRECTORY) {
            // SAFETY: the folder is open, and not used again.
            let _ = unsafe { ((*folder).close)(folder) };
        }
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, path: &str) {
        if let Some(file) = self.open(path, FileMode::READ | FileMode::WRITE, FileAttribute::empty()) {
            // SAFETY: the file is open; removing it closes it.
            let _ = unsafe { ((*file).delete)(file) };
        }
    }
}

/// A disk, block by block.
pub(crate) struct Disk(*mut BlockIoProtocol);

impl Disk {
    fn is_whole(&self) -> bool {
        // SAFETY: the protocol and its description are the firmware's.
        let media = unsafe { &*(*self.0).media };
        let yes = |flag: uefi_raw::Boolean| flag.0 != 0;
        yes(media.media_present) && !yes(media.removable_media) && !yes(media.logical_partition) && !yes(media.read_only)
    }

    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: as above.
        let media = unsafe { &*(*self.0).media };
        (media.last_block + 1) * u64::from(media.block_size)
    }

    /// Whether its first sectors are all zero.
    pub(crate) fn is_blank(&self) -> bool {
        let mut block = vec![0; 4096];
        // SAFETY: the protocol is the firmware's, the buffer has that length, which is whole blocks.
        let status =
            unsafe { ((*self.0).read_blocks)(self.0, (*(*self.0).media).media_id, 0, block.len(), block.as_mut_ptr().cast()) };
        status == Status::SUCCESS && block.iter().all(|byte| *byte == 0)
    }

    /// Writes from the disk's start on.
    pub(crate) fn write(&self, content: &[u8]) {
        for (at, block) in content.chunks(BLOCK).enumerate() {
            // SAFETY: the protocol is the firmware's, the buffer has that length, which is whole blocks, as the content is.
            let status = unsafe {
                let media = &*(*self.0).media;
                let first = (at * BLOCK / media.block_size as usize) as u64;
                ((*self.0).write_blocks)(self.0, media.media_id, first, block.len(), block.as_ptr().cast())
            };
            assert!(status == Status::SUCCESS);
        }
        // SAFETY: the protocol is the firmware's.
        let _ = unsafe { ((*self.0).flush_blocks)(self.0) };
    }
}

/// A network card, frame by frame.
pub(crate) struct Card(*mut SimpleNetworkProtocol);

impl Card {
    /// Its address.
    pub(crate) fn address(&self) -> [u8; 6] {
        let mut address = [0; 6];
        // SAFETY: the protocol and its description are the firmware's.
        address.copy_from_slice(unsafe { &(&(*(*self.0).mode).current_address.0)[..6] });
        address
    }

    /// Sends a frame. One that the card does not take is lost.
    pub(crate) fn send(&self, frame: &[u8]) {
        // SAFETY: the protocol is the firmware's; the frame stays until the card has given it back, or longer.
        unsafe {
            let frame = frame.to_vec().leak();
            let _ = ((*self.0).transmit)(self.0, 0, frame.len(), frame.as_ptr().cast(), null(), null(), null());
            let mut sent = null_mut();
            for _ in 0..100 {
                let _ = ((*self.0).get_status)(self.0, null_mut(), &mut sent);
                if !sent.is_null() {
                    return;
                }
                let _ = ((*SERVICES.load(Ordering::Relaxed)).stall)(100);
            }
        }
    }

    /// Takes frames until `read` makes something of one, so many milliseconds at most.
    pub(crate) fn receive<T>(&self, milliseconds: usize, read: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let mut room = vec![0_u8; 2048];
        for _ in 0..milliseconds {
            let mut length = room.len();
            // SAFETY: the protocol is the firmware's, the buffer has that room.
            let status = unsafe {
                let nobody = null_mut();
                ((*self.0).receive)(self.0, null_mut(), &mut length, room.as_mut_ptr().cast(), nobody, nobody, null_mut())
            };
            match (status == Status::SUCCESS).then(|| read(&room[..length])) {
                Some(Some(found)) => return Some(found),
                Some(None) => {}
                // SAFETY: no pointers.
                None => drop(unsafe { ((*SERVICES.load(Ordering::Relaxed)).stall)(1_000) }),
            }
        }
        None
    }
}
