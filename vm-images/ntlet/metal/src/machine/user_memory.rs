//! Address spaces of programs, and copying to and from them whatever the address.

use core::arch::global_asm;
use core::sync::atomic::Ordering;

use super::memory::{self, DirectTables};
use super::sync::Lock;
use super::{cpu, shoot_down};
use crate::layout::{PAGE, USER_LIMIT, is_user_range};
use crate::paging::{self, ACCESSED, DIRTY, NO_EXECUTE, OWNED, PRESENT, TableMemory, USER, WRITABLE};
use kernel::entry::ExceptionFrame;
use kernel::hal::{AddressSpace, Protection, UserFault};

/// Taken while tables of any program are changed.
static TABLES: Lock<()> = Lock::new(());

/// Top-level entries below the kernel's half.
const USER_ENTRIES: usize = 256;

/// Root of the page tables that this processor uses.
pub(crate) fn current_root() -> u64 {
    paging::address_of(cpu::page_table_root())
}

fn protection_flags(protection: Protection) -> u64 {
    const COMMON: u64 = PRESENT | USER | ACCESSED;
    match protection {
        Protection::None => 0,
        Protection::Read => COMMON | NO_EXECUTE,
        Protection::ReadWrite => COMMON | WRITABLE | DIRTY | NO_EXECUTE,
        Protection::ReadExecute => COMMON,
    }
}

/// A new, empty address space.
pub(crate) fn create() -> Option<AddressSpace> {
    let root = memory::allocate_frame()?;
    let (kernel, new) = (DirectTables.table(memory::root()), DirectTables.table(root));
    for index in USER_ENTRIES..512 {
        new[index].store(kernel[index].load(Ordering::Relaxed), Ordering::Relaxed);
    }
    Some(AddressSpace(root))
}

/// Gives back an address space and all its pages.
pub(crate) fn destroy(space: AddressSpace) {
    // A processor that last ran one of the program's threads may still have it loaded, for kernel threads keep what they find.
    shoot_down::leave_space(space.0);
    free_tables(space.0, 3, USER_ENTRIES);
}

/// Frees what the first `entries` entries of a table lead to, and the table.
fn free_tables(table: u64, level: u32, entries: usize) {
    for slot in &DirectTables.table(table)[..entries] {
        let entry = slot.load(Ordering::Relaxed);
        if level == 0 && entry & OWNED != 0 {
            memory::free_frame(paging::address_of(entry));
        } else if level != 0 && entry & PRESENT != 0 {
            free_tables(paging::address_of(entry), level - 1, 512);
        }
    }
    memory::free_frame(table);
}

/// The addresses of `pages` pages, if all of them are user addresses.
fn user_pages(address: u64, pages: usize) -> Option<impl Iterator<Item = u64> + Clone> {
    let length = (pages as u64).checked_mul(PAGE)?;
    let valid = address.is_multiple_of(PAGE) && is_user_range(address, length);
    valid.then(|| (0..pages as u64).map(move |index| address + index * PAGE))
}

/// Backs user addresses with new zeroed pages. When that fails, those that were backed before the failure are unmapped again.
pub(crate) fn map(space: AddressSpace, address: u64, pages: usize, protection: Protection) -> Option<()> {
    for (done, page) in user_pages(address, pages)?.enumerate() {
        if map_page(space, page, protection).is_none() {
            unmap(space, address, done);
            return None;
        }
    }
    Some(())
}

fn map_page(space: AddressSpace, address: u64, protection: Protection) -> Option<()> {
    let frame = memory::allocate_frame()?;
    let tables = TABLES.lock();
    let mapped = paging::map(&DirectTables, space.0, address, frame, OWNED | protection_flags(protection));
    drop(tables);
    mapped.inspect_err(|_| memory::free_frame(frame)).ok()
}

/// Changes the protection of backed user addresses; all of them or none.
pub(crate) fn protect(space: AddressSpace, address: u64, pages: usize, protection: Protection) -> Option<()> {
    let all = user_pages(address, pages)?;
    let tables = TABLES.lock();
    let slot = |page| {
        let slot = paging::entry(&DirectTables, space.0, page)?;
        (slot.load(Ordering::Relaxed) & OWNED != 0).then_some(slot)
    };
    all.clone().try_for_each(|page| slot(page).map(drop))?;
    for slot in all.filter_map(slot) {
        let frame = paging::address_of(slot.load(Ordering::Relaxed));
        slot.store(frame | OWNED | protection_flags(protection), Ordering::Relaxed);
    }
    drop(tables);
    shoot_down::pages_of_space(space.0, address, pages as u64);
    Some(())
}

/// Gives pages back; what is not backed is skipped.
pub(crate) fn unmap(space: AddressSpace, address: u64, pages: usize) {
    let Some(all) = user_pages(address, pages).filter(|_| pages != 0) else { return };
    let slots = || all.clone().filter_map(|page| paging::entry(&DirectTables, space.0, page));
    {
        let _tables = TABLES.lock();
        slots().for_each(|slot| {
            slot.fetch_and(!PRESENT, Ordering::Relaxed);
        });
    }
    shoot_down::pages_of_space(space.0, address, pages as u64);
    let _tables = TABLES.lock();
    for entry in slots().map(|slot| slot.swap(0, Ordering::Relaxed)).filter(|entry| entry & OWNED != 0) {
        memory::free_frame(paging::address_of(entry));
    }
}

/// Frame number behind an address of the current program, if it is mapped with at least this permission.
pub(crate) fn frame(address: u64, write: bool) -> Option<u64> {
    let needed = PRESENT | USER | if write { WRITABLE } else { 0 };
    let found = paging::translate(&DirectTables, current_root(), address)?;
    (address < USER_LIMIT && found.flags & needed == needed).then_some(found.physical / PAGE)
}

// rcx: to; rdx: from; r8: length. Returns whether a page fault cut it short: `recover` continues at the landing.
global_asm!(
    ".section .text.user_copy, \"ax\"",
    "user_copy:",
    "mov r10, rdi",
    "mov r11, rsi",
    "mov rdi, rcx",
    "mov rsi, rdx",
    "mov rcx, r8",
    "shr rcx, 3",
    "xor eax, eax",
    "user_copy_start:",
    "rep movsq",
    "mov ecx, r8d",
    "and ecx, 7",
    "rep movsb",
    "user_copy_end:",
    "mov rdi, r10",
    "mov rsi, r11",
    "ret",
    "user_copy_landing:",
    "mov eax, 1",
    "jmp user_copy_end",
);

unsafe extern "win64" {
    fn user_copy(to: u64, from: u64, length: u64) -> u64;
}

unsafe extern "C" {
    static user_copy_start: u8;
    static user_copy_end: u8;
    static user_copy_landing: u8;
}

/// Where to go on after a page fault: the landing, when a copy touched user memory that is not there.
pub(crate) fn recover(frame: &ExceptionFrame) -> Option<u64> {
    let copying = (&raw const user_copy_start) as u64..(&raw const user_copy_end) as u64;
    (copying.contains(&frame.rip) && frame.fault_address < USER_LIMIT).then_some((&raw const user_copy_landing) as u64)
}

/// Copies from the current program.
pub(crate) fn copy_from(to: &mut [u8], from: u64) -> Result<(), UserFault> {
    if !is_user_range(from, to.len() as u64) {
        return Err(UserFault);
    }
    // SAFETY: writes `to`; the source lies in the user half, so that at worst it faults, and `recover` ends the copy.
    match unsafe { user_copy(to.as_mut_ptr() as u64, from, to.len() as u64) } {
        0 => Ok(()),
        _ => Err(UserFault),
    }
}

/// Copies to the current program.
pub(crate) fn copy_to(to: u64, from: &[u8]) -> Result<(), UserFault> {
    if !is_user_range(to, from.len() as u64) {
        return Err(UserFault);
    }
    // SAFETY: reads `from`; the target lies in the user half, where nothing of the kernel's is.
    match unsafe { user_copy(to, from.as_ptr() as u64, from.len() as u64) } {
        0 => Ok(()),
        _ => Err(UserFault),
    }
}
