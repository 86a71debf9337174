//! The image's first page: a PE header, because that is how kernel debuggers know a kernel (they look for one at the base that the
//! target names, and take size and sections from it). Nothing loads the image by it, and it has no directories.

use core::arch::global_asm;

// IMAGE_DOS_HEADER (magic, and at 0x3c where the rest is), IMAGE_NT_HEADERS64, three IMAGE_SECTION_HEADERs. Numbers that start with
// `__pe` are the linker script's.
global_asm!(
    ".section .pe_header, \"a\"",
    ".balign 4096",
    "pe_header:",
    ".ascii \"MZ\"",
    ".fill 0x3a, 1, 0",
    ".long 0x40",
    // Signature; machine, sections, time stamp, no symbols, size of the optional header, executable with large addresses.
    ".ascii \"PE\\0\\0\"",
    ".short 0x8664, 3",
    ".long 0, 0, 0",
    ".short 240, 0x22",
    // PE32+, linker version, sizes, no entry point, base of code.
    ".short 0x20b, 0",
    ".long __pe_text_size, __pe_data_size, 0, 0, 0x1000",
    ".quad pe_header",
    // Alignments, versions of the system (10.0), size of image and headers, no checksum.
    ".long 4096, 4096",
    ".short 10, 0, 10, 0, 10, 0",
    ".long 0, __pe_size, 4096, 0",
    // Native; no characteristics; stack and heap; 16 directories, all empty.
    ".short 1, 0",
    ".quad 0, 0, 0, 0",
    ".long 0, 16",
    ".fill 128, 1, 0",
    ".ascii \".text\\0\\0\\0\"",
    ".long __pe_text_size, 0x1000, __pe_text_size, 0x1000, 0, 0, 0, 0x60000020",
    ".ascii \".rdata\\0\\0\"",
    ".long __pe_rodata_size, __pe_rodata, __pe_rodata_size, __pe_rodata, 0, 0, 0, 0x40000040",
    ".ascii \".data\\0\\0\\0\"",
    ".long __pe_data_size, __pe_data, __pe_data_size, __pe_data, 0, 0, 0, 0xc0000040",
    ".balign 4096",
);
