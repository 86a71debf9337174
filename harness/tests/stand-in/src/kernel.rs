//! ntlet behind the stand-in: the program that gets the line runs in it, on the machine's own hardware. The firmware is left behind, and
//! comes again with the new start of the machine that ends ntlet; whether there was a bug check is then seen in memory, which a start
//! does not clear.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::arch::{asm, global_asm};

use kd::data::{DUMP_SIGNATURE, DumpHeader};
use kd::zerocopy::{FromBytes as _, IntoBytes as _};

use crate::firmware::{Firmware, Region};

/// ntlet's memory as the test has laid it out: entry and header of a dump (addresses, 64 bits each), then what lies from [`IMAGE`] on.
const FILE: &str = "ntlet.bin";
/// Says where the header of a dump would be, while the machine is ntlet's.
const NOTE: &str = "lent.bin";
/// Where an installed system leaves its dump.
const WINDOWS: &str = "Windows";
const DUMP: &str = r"Windows\MEMORY.DMP";
/// Physical addresses: of the image, of what is told to it, and of memory that the firmware does not use when it starts.
const IMAGE: u64 = 2 << 20;
const IMAGE_END: u64 = 8 << 20;
const TOLD: u64 = 0x1000;
const FREE: u64 = 64 << 20;
const FREE_END: u64 = FREE + (192 << 20);
const LOW_END: u64 = 0x9_f000;
const PAGE: usize = 4096;
/// Vendor and device of the relay hardware.
const RELAY: u32 = 0x1055_1af4;
/// Numbers of the buses on which it may be.
const BUSES: core::ops::Range<u32> = 0..8;

// From the firmware's 64 bits to what a PVH kernel expects: 32 bits without paging, EBX at what it is told. RCX: entry, RDX: what it is told.
global_asm!(
    ".global enter_pvh_kernel",
    "enter_pvh_kernel:",
    "  cli",
    "  cld",
    "  mov edi, ecx",
    "  mov ebx, edx",
    "  lea rax, [rip + 3f]",
    "  sub rsp, 16",
    "  mov word ptr [rsp], 23",
    "  mov [rsp + 2], rax",
    "  lgdt [rsp]",
    "  lea rax, [rip + 2f]",
    "  push 8",
    "  push rax",
    "  retfq",
    ".code32",
    "2:",
    "  mov eax, 16",
    "  mov ds, eax",
    "  mov es, eax",
    "  mov ss, eax",
    "  mov eax, cr0",
    "  and eax, 0x7fffffff",
    "  mov cr0, eax",
    "  mov ecx, 0xc0000080",
    "  rdmsr",
    "  and eax, 0xfffffeff",
    "  wrmsr",
    "  xor eax, eax",
    "  mov cr4, eax",
    "  jmp edi",
    ".code64",
    ".balign 8",
    // Flat code and data, marked as used already: nothing writes here.
    "3: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff",
);

unsafe extern "efiapi" {
    fn enter_pvh_kernel(entry: u64, told: u64) -> !;
}

/// Whether there is ntlet, and the hardware that its suites are about.
pub(crate) fn is_wanted(firmware: &Firmware) -> bool {
    firmware.own().has(FILE)
        && BUSES.flat_map(|bus| (0..32).map(move |slot| (bus, slot))).any(|(bus, slot)| identity(bus, slot) == RELAY)
}

/// Vendor and device of a function.
pub(crate) fn identity(bus: u32, slot: u32) -> u32 {
    let value;
    // SAFETY: reads configuration space through the ports that every PC has for it; the firmware uses them with nothing in between.
    unsafe {
        asm!("out dx, eax", in("dx") 0xcf8_u16, in("eax") 1 << 31 | bus << 16 | slot << 11, options(nomem, nostack, preserves_flags));
        asm!("in eax, dx", in("dx") 0xcfc_u16, out("eax") value, options(nomem, nostack, preserves_flags));
    }
    value
}

/// Gives the machine to ntlet.
pub(crate) fn run(firmware: &Firmware, archive: &[u8], words: &str) -> ! {
    let file = firmware.own().read(FILE).expect("ntlet beside this program");
    let (head, image) = file.split_at(16);
    let [entry, header] = [0, 8].map(|at| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes")));
    let image_end = (IMAGE + image.len() as u64).next_multiple_of(2 << 20);
    assert!(image_end <= IMAGE_END && archive.len() as u64 <= (FREE_END - FREE) / 2);
    firmware.own().write(NOTE, &header.to_le_bytes());
    let memory = [(0, LOW_END), (IMAGE, image_end), (FREE, FREE_END)];
    let told = told(firmware.acpi_root(), archive.len() as u64, &memory, words);
    for (start, end) in memory {
        firmware.claim(Region { start, end });
    }
    firmware.leave();
    for (place, content) in [(TOLD, &told[..]), (IMAGE, image), (FREE, archive)] {
        // SAFETY: memory that the firmware's own map calls free once it is left, and that this program is not in; nothing else runs.
        unsafe { core::ptr::copy_nonoverlapping(content.as_ptr(), place as *mut u8, content.len()) };
    }
    for controller in [0x21_u16, 0xa1] {
        // SAFETY: masks the interrupts of the old controllers, which the firmware's clock uses.
        unsafe { asm!("out dx, al", in("dx") controller, in("al") 0xff_u8, options(nomem, nostack, preserves_flags)) };
    }
    // SAFETY: the image lies where it is linked to run, and what it is told where it is told.
    unsafe { enter_pvh_kernel(entry, TOLD) }
}

/// `hvm_start_info` and what it points to, as they lie from [`TOLD`] on.
fn told(acpi_root: u64, archive: u64, memory: &[(u64, u64)], words: &str) -> Vec<u8> {
    const MAGIC: u32 = 0x336e_c578;
    const MODULE: usize = 0x40;
    const MAP: usize = 0x80;
    const WORDS: usize = 0x200;
    let mut told = vec![0; WORDS + words.len() + 1];
    let mut put = |at: usize, bytes: &[u8]| told[at..at + bytes.len()].copy_from_slice(bytes);
    for (at, value) in [(0, MAGIC), (4, 1), (12, 1), (48, memory.len() as u32)] {
        put(at, &value.to_le_bytes());
    }
    for (at, value) in [(16, TOLD + MODULE as u64), (24, TOLD + WORDS as u64), (32, acpi_root), (40, TOLD + MAP as u64)] {
        put(at, &value.to_le_bytes());
    }
    put(MODULE, &FREE.to_le_bytes());
    put(MODULE + 8, &archive.to_le_bytes());
    for (number, (start, end)) in memory.iter().enumerate() {
        let at = MAP + number * 24;
        put(at, &start.to_le_bytes());
        put(at + 8, &(end - start).to_le_bytes());
        put(at + 16, &1_u32.to_le_bytes());
    }
    put(WORDS, words.as_bytes());
    told
}

/// How the machine's last start came about.
pub(crate) enum Before {
    /// It was turned on, or ended in a bug check.
    Other,
    /// The program that had the line has ended, and ntlet with it.
    Ended,
}

/// Looks at what ntlet has left, and writes its dump if there was a bug check.
pub(crate) fn look_back(firmware: &Firmware) -> Before {
    let Some(note) = firmware.own().read(NOTE) else { return Before::Other };
    firmware.own().remove(NOTE);
    let place = u64::from_le_bytes(note[..8].try_into().expect("eight bytes"));
    // SAFETY: memory of ntlet's image, which the firmware did not use since; any bytes are a header.
    let bytes = unsafe { core::slice::from_raw_parts(place as *const u8, size_of::<DumpHeader>()) };
    let header = DumpHeader::read_from_bytes(bytes).expect("as many bytes as a header has");
    if header.signature != DUMP_SIGNATURE {
        return Before::Ended;
    }
    firmware.own().folder(WINDOWS);
    firmware.own().write(DUMP, &kernel_dump(header));
    Before::Other
}

/// A kernel dump, as an installed system leaves it by default: a bitmap, and the pages whose bits are set; here those that are not zero.
fn kernel_dump(mut header: DumpHeader) -> Vec<u8> {
    const KERNEL: u32 = 5;
    const START: usize = 0x38;
    let runs = &header.memory.runs[..header.memory.run_count as usize];
    let bits = runs.iter().map(|run| run.first + run.pages).max().unwrap_or(0) as usize;
    let mut bitmap = vec![0_u8; bits.div_ceil(8)];
    let (mut pages, mut count) = (Vec::new(), 0_u64);
    for page in runs.iter().flat_map(|run| run.first..run.first + run.pages) {
        // SAFETY: memory that was ntlet's, by its own word, and that the firmware did not use since.
        let content = unsafe { core::slice::from_raw_parts((page as usize * PAGE) as *const u8, PAGE) };
        // The first page is where firmware and processors keep their own.
        if page != 0 && content.iter().any(|byte| *byte != 0) {
            bitmap[page as usize / 8] |= 1 << (page % 8);
            count += 1;
            pages.extend_from_slice(content);
        }
    }
    let offset = (size_of::<DumpHeader>() + START + bitmap.len()).next_multiple_of(PAGE);
    let mut start = [0; START];
    start[..8].copy_from_slice(b"SDMPDUMP");
    for (at, value) in [(0x20, offset as u64), (0x28, count), (0x30, bits as u64)] {
        start[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    header.dump_type = KERNEL;
    header.required_space = offset as u64 + count * PAGE as u64;
    let mut dump = Vec::with_capacity(offset + pages.len());
    dump.extend_from_slice(header.as_bytes());
    dump.extend_from_slice(&start);
    dump.extend_from_slice(&bitmap);
    dump.resize(offset, 0);
    dump.extend_from_slice(&pages);
    dump
}

/// The command line for a program's run. As in Windows, what the framework remembers of a driver is not printed when the driver goes.
pub(crate) fn words(program: &str, verifier: &str, is_debugged: bool) -> alloc::string::String {
    let debug = if is_debugged { " debug=com1" } else { "" };
    format!("suite={program} end=restart late-log=memory{verifier}{debug}")
}
