//! Services on a program's memory.

use wdf_sys::NTSTATUS;

use super::{Arguments, get, put, put_optional, status};
use crate::hal::{PAGE_SIZE, Protection};
use crate::object::ObjectRef;
use crate::object::exports::by_handle;
use crate::process::{PROCESS, Process};
use wdf_sys::wdm::constants::USER_MODE;

const MEM_COMMIT: u32 = 0x1000;
const MEM_RESERVE: u32 = 0x2000;
const MEM_DECOMMIT: u32 = 0x4000;
const MEM_RELEASE: u32 = 0x8000;
const MEM_TOP_DOWN: u32 = 0x10_0000;

fn process(argument: u64) -> Result<ObjectRef, NTSTATUS> {
    let entry = by_handle(core::ptr::without_provenance_mut(argument as usize), USER_MODE)?;
    if entry.object.is(&PROCESS) { Ok(entry.object) } else { Err(NTSTATUS::OBJECT_TYPE_MISMATCH) }
}

fn body(object: &ObjectRef) -> Result<&Process, NTSTATUS> {
    object.get(&PROCESS).ok_or(NTSTATUS::OBJECT_TYPE_MISMATCH)
}

/// `PAGE_…` as the machine's protection. Writable and executable at once is refused.
fn protection(windows: u32) -> Result<Protection, NTSTATUS> {
    match windows & 0xff {
        0x01 => Ok(Protection::None),
        0x02 => Ok(Protection::Read),
        0x04 => Ok(Protection::ReadWrite),
        0x10 | 0x20 => Ok(Protection::ReadExecute),
        _ => Err(NTSTATUS::INVALID_PAGE_PROTECTION),
    }
}

const fn windows_protection(protection: Protection) -> u32 {
    match protection {
        Protection::None => 0x01,
        Protection::Read => 0x02,
        Protection::ReadWrite => 0x04,
        Protection::ReadExecute => 0x20,
    }
}

/// Whole pages around a range.
fn pages(base: u64, size: u64) -> Result<(u64, u64), NTSTATUS> {
    let page = PAGE_SIZE as u64;
    let start = base & !(page - 1);
    let end = base.checked_add(size).and_then(|end| end.checked_next_multiple_of(page)).ok_or(NTSTATUS::INVALID_PARAMETER)?;
    if size == 0 { Err(NTSTATUS::INVALID_PARAMETER) } else { Ok((start, end - start)) }
}

pub(super) fn allocate(arguments: &Arguments) -> NTSTATUS {
    let [handle, base_at, _zero_bits, size_at, kind, protect, ..] = *arguments;
    let run = || {
        let object = process(handle)?;
        let space = &body(&object)?.space;
        let (base, size): (u64, u64) = (get(base_at)?, get(size_at)?);
        let protection = protection(protect as u32)?;
        let kind = kind as u32 & !MEM_TOP_DOWN;
        if kind & !(MEM_COMMIT | MEM_RESERVE) != 0 || kind == 0 {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        let (start, length) = pages(base, size)?;
        let (start, length) = if kind & MEM_RESERVE != 0 || base == 0 {
            let committed = (kind & MEM_COMMIT != 0).then_some(protection);
            let wanted = (base != 0).then_some(base);
            // A reservation begins at a multiple of 64 KiB, which may be below the address asked for.
            let length = length + wanted.map_or(0, |base| (base % 0x1_0000) & !(PAGE_SIZE as u64 - 1));
            let count = usize::try_from(length / PAGE_SIZE as u64).map_err(|_| NTSTATUS::NO_MEMORY)?;
            (space.reserve(wanted, count, committed)?, length)
        } else {
            space.commit(start, length, protection)?;
            (start, length)
        };
        put(base_at, &start)?;
        put(size_at, &length)
    };
    status(run())
}

pub(super) fn free(arguments: &Arguments) -> NTSTATUS {
    let [handle, base_at, size_at, kind, ..] = *arguments;
    let run = || {
        let object = process(handle)?;
        let process = body(&object)?;
        let (base, size): (u64, u64) = (get(base_at)?, get(size_at)?);
        let release = match kind as u32 {
            MEM_RELEASE => true,
            MEM_DECOMMIT => false,
            _ => return Err(NTSTATUS::INVALID_PARAMETER_4),
        };
        let (start, length) = if size == 0 { (base, 0) } else { pages(base, size)? };
        let (start, length) = process.space.free(start, length, release, process.has_locked_pages())?;
        put(base_at, &start)?;
        put(size_at, &length)
    };
    status(run())
}

pub(super) fn protect(arguments: &Arguments) -> NTSTATUS {
    let [handle, base_at, size_at, new, old_at, ..] = *arguments;
    let run = || {
        let object = process(handle)?;
        let (base, size): (u64, u64) = (get(base_at)?, get(size_at)?);
        let (start, length) = pages(base, size)?;
        let old = body(&object)?.space.protect(start, length, protection(new as u32)?)?;
        put_optional(old_at, &windows_protection(old))?;
        put(base_at, &start)?;
        put(size_at, &length)
    };
    status(run())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_becomes_whole_pages_and_a_range_that_wraps_is_refused() {
        assert_eq!(pages(0x1fff, 2), Ok((0x1000, 0x2000)));
        assert_eq!(pages(u64::MAX, 2), Err(NTSTATUS::INVALID_PARAMETER));
        assert_eq!(pages(u64::MAX - 0x10, 8), Err(NTSTATUS::INVALID_PARAMETER));
        assert_eq!(pages(0x1000, 0), Err(NTSTATUS::INVALID_PARAMETER));
    }

    #[test]
    fn no_page_is_writable_and_executable_at_once() {
        assert_eq!(protection(0x40), Err(NTSTATUS::INVALID_PAGE_PROTECTION));
        assert_eq!(protection(0x20), Ok(Protection::ReadExecute));
    }
}
