//! What compilers expect a kernel to export: memory functions, the stack probe, the breakpoint.
//!
//! None of the C names is a symbol of the image: there they stand for functions of another calling convention. The memory functions
//! are leaves in assembly that change no preserved register, so that a fault in one (a driver copies from a program's buffer inside
//! `__try`) unwinds into the driver.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::arch::global_asm;
use core::ffi::c_void;

global_asm!(
    ".section .text.runtime_leaves, \"ax\"",
    ".balign 16",
    ".global ntlet_leaves_begin, ntlet_leaves_end",
    "ntlet_leaves_begin:",
    // rcx: to, rdx: from, r8: bytes. Returns rcx.
    ".global ntlet_memcpy",
    "ntlet_memcpy:",
    "mov rax, rcx",
    "cmp r8, 16",
    "jb 3f",
    "2: movups xmm0, [rdx]",
    "movups [rcx], xmm0",
    "add rdx, 16",
    "add rcx, 16",
    "sub r8, 16",
    "cmp r8, 16",
    "jae 2b",
    "3: test r8, r8",
    "jz 5f",
    "4: mov r9b, [rdx]",
    "mov [rcx], r9b",
    "inc rdx",
    "inc rcx",
    "dec r8",
    "jnz 4b",
    "5: ret",
    // The same; where the ranges overlap so that going up would read what was written, it goes down.
    ".global ntlet_memmove",
    "ntlet_memmove:",
    "mov rax, rcx",
    "sub rax, rdx",
    "cmp rax, r8",
    "jae ntlet_memcpy",
    "mov rax, rcx",
    "cmp r8, 16",
    "jb 3f",
    "2: sub r8, 16",
    "movups xmm0, [rdx + r8]",
    "movups [rcx + r8], xmm0",
    "cmp r8, 16",
    "jae 2b",
    "3: test r8, r8",
    "jz 5f",
    "4: dec r8",
    "mov r9b, [rdx + r8]",
    "mov [rcx + r8], r9b",
    "test r8, r8",
    "jnz 4b",
    "5: ret",
    // rcx: to, dl: byte, r8: bytes. Returns rcx.
    ".global ntlet_memset",
    "ntlet_memset:",
    "mov rax, rcx",
    "movzx edx, dl",
    "mov r9, 0x0101010101010101",
    "imul rdx, r9",
    "cmp r8, 8",
    "jb 3f",
    "2: mov [rcx], rdx",
    "add rcx, 8",
    "sub r8, 8",
    "cmp r8, 8",
    "jae 2b",
    "3: test r8, r8",
    "jz 5f",
    "4: mov [rcx], dl",
    "inc rcx",
    "dec r8",
    "jnz 4b",
    "5: ret",
    // rcx: to, rdx: bytes, r8b: byte.
    ".global ntlet_fill",
    "ntlet_fill:",
    "xchg rdx, r8",
    "jmp ntlet_memset",
    // rcx: to, rdx: bytes.
    ".global ntlet_zero",
    "ntlet_zero:",
    "mov r8, rdx",
    "xor edx, edx",
    "jmp ntlet_memset",
    // rcx, rdx: bytes to compare, r8: how many. Returns how many are equal.
    ".global ntlet_compare",
    "ntlet_compare:",
    "xor eax, eax",
    "2: cmp rax, r8",
    "jae 3f",
    "mov r9b, [rcx + rax]",
    "cmp r9b, [rdx + rax]",
    "jne 3f",
    "inc rax",
    "jmp 2b",
    "3: ret",
    // The same; returns less than, equal to or greater than 0.
    ".global ntlet_memcmp",
    "ntlet_memcmp:",
    "xor r10d, r10d",
    "2: cmp r10, r8",
    "jae 3f",
    "movzx eax, byte ptr [rcx + r10]",
    "movzx r9d, byte ptr [rdx + r10]",
    "inc r10",
    "sub eax, r9d",
    "jz 2b",
    "ret",
    "3: xor eax, eax",
    "ret",
    // rax: bytes that the caller is about to take off its stack. Touches each page on the way, and keeps every register but r10, r11.
    ".global ntlet_chkstk",
    "ntlet_chkstk:",
    "lea r10, [rsp + 8]",
    "sub r10, rax",
    "jnc 2f",
    "xor r10d, r10d",
    "2: mov r11, rsp",
    "3: sub r11, 4096",
    "cmp r11, r10",
    "jb 4f",
    "test [r11], r11b",
    "jmp 3b",
    "4: ret",
    // What a driver puts where a debugger is to stop, which finds the status in ECX. Without one it is an exception like any other.
    ".global DbgBreakPoint, DbgBreakPointWithStatus",
    "DbgBreakPoint:",
    "DbgBreakPointWithStatus:",
    "int3",
    "ret",
    "ntlet_leaves_end:",
    ".text",
);

unsafe extern "win64" {
    static ntlet_leaves_begin: u8;
    static ntlet_leaves_end: u8;
    #[link_name = "ntlet_memcpy"]
    pub(super) fn rt_memcpy(to: *mut c_void, from: *const c_void, bytes: usize) -> *mut c_void;
    #[link_name = "ntlet_memmove"]
    pub(super) fn rt_memmove(to: *mut c_void, from: *const c_void, bytes: usize) -> *mut c_void;
    #[link_name = "ntlet_memset"]
    pub(super) fn rt_memset(to: *mut c_void, byte: i32, bytes: usize) -> *mut c_void;
    #[link_name = "ntlet_fill"]
    pub(super) fn rt_fill(to: *mut c_void, bytes: usize, byte: i32);
    #[link_name = "ntlet_zero"]
    pub(super) fn rt_zero(to: *mut c_void, bytes: usize);
    #[link_name = "ntlet_compare"]
    pub(super) fn rt_compare(first: *const c_void, second: *const c_void, bytes: usize) -> usize;
    #[link_name = "ntlet_memcmp"]
    pub(super) fn rt_memcmp(first: *const c_void, second: *const c_void, bytes: usize) -> i32;
    #[link_name = "ntlet_chkstk"]
    pub(super) fn rt_chkstk();
    pub(super) fn DbgBreakPoint();
    pub(super) fn DbgBreakPointWithStatus(Status: u32);
}

/// Whether an address lies in one of the leaves above: there the stack pointer points to the return address.
pub(crate) fn is_leaf(address: usize) -> bool {
    ((&raw const ntlet_leaves_begin).addr()..(&raw const ntlet_leaves_end).addr()).contains(&address)
}

/// Bytes from the start that are this number over and over.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlCompareMemoryUlong(Source: *const u32, Length: usize, Pattern: u32) -> usize {
    // SAFETY: the caller's promise: so many bytes.
    (0..Length / 4).take_while(|&index| unsafe { *Source.add(index) } == Pattern).count() * 4
}

/// A hint, which may be ignored.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlPrefetchMemoryNonTemporal(_Source: *const c_void, _Length: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_moves_up_and_down_over_itself() {
        for (from, to, length) in [(0usize, 3usize, 40usize), (3, 0, 40), (0, 16, 33), (5, 5, 20), (0, 1, 0)] {
            let mut bytes: Vec<u8> = (0..64).collect();
            let mut expected = bytes.clone();
            expected.copy_within(from..from + length, to);
            // SAFETY: both ranges lie in the vector.
            unsafe { rt_memmove(bytes.as_mut_ptr().add(to).cast(), bytes.as_ptr().add(from).cast(), length) };
            assert_eq!(bytes, expected, "{from} {to} {length}");
        }
    }

    #[test]
    fn memory_is_filled_and_compared() {
        let mut bytes = [0xffu8; 21];
        // SAFETY: twenty of the bytes; then all of them.
        unsafe {
            rt_fill(bytes.as_mut_ptr().cast(), 20, 7);
            assert_eq!((bytes[19], bytes[20]), (7, 0xff));
            rt_zero(bytes.as_mut_ptr().cast(), 3);
            assert_eq!(rt_compare(bytes.as_ptr().cast(), [0u8, 0, 0, 7, 8].as_ptr().cast(), 5), 4);
            assert!(rt_memcmp(bytes.as_ptr().cast(), [0u8, 0, 1].as_ptr().cast(), 3) < 0);
            assert_eq!(rt_memcmp(bytes.as_ptr().cast(), [0u8, 0, 0].as_ptr().cast(), 3), 0);
        }
    }
}
