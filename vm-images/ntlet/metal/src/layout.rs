//! Where things lie in memory: the one map of addresses that the rest of the crate goes by.

/// Size of a page.
pub const PAGE: u64 = 4096;
/// Size of a large page.
pub const LARGE_PAGE: u64 = 2 << 20;

/// First address a program cannot use. The last 64 KiB below the end of the lower half stay empty, so that neither an
/// instruction nor a system call can lie at its very end and leave a return address that is not canonical.
pub const USER_LIMIT: u64 = 0x7fff_ffff_0000;

/// Physical memory appears from here on, with large pages, read-write, never executable.
pub const DIRECT_BASE: u64 = 0xffff_8000_0000_0000;
/// Physical memory beyond this is left alone: one top-level entry's worth.
pub const DIRECT_SIZE: u64 = 512 << 30;

/// Kernel pages and mappings are handed out from here.
pub const RANGE_BASE: u64 = 0xffff_a000_0000_0000;
/// Size of that range: one top-level entry's worth.
pub const RANGE_SIZE: u64 = 512 << 30;

/// The page that x64 drivers read time and tick count from, at an address that the DDI headers compile into them.
pub const SHARED_USER_DATA: u64 = 0xffff_f780_0000_0000;

/// Virtual minus physical address of the image.
pub const IMAGE_BASE: u64 = 0xffff_ffff_8000_0000;

/// What the page tables of the boot stage cover of physical memory.
pub const EARLY_LIMIT: u64 = 1 << 30;

/// Page below 1 MiB in which further processors start.
pub const TRAMPOLINE: u64 = 0x8000;

/// Processors that are supported; a bit mask of them is 64 bits wide.
pub const MAX_PROCESSORS: usize = 64;

/// Whether `[address, address + length)` lies in the part of the address space that programs own.
pub const fn is_user_range(address: u64, length: u64) -> bool {
    match address.checked_add(length) {
        Some(end) => end <= USER_LIMIT,
        None => false,
    }
}

/// Pages that `length` bytes from `address` touch.
pub const fn pages_spanned(address: u64, length: u64) -> u64 {
    ((address % PAGE) + length).div_ceil(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_wraps_around_or_reaches_the_limit_is_not_the_users() {
        assert!(is_user_range(0, USER_LIMIT));
        assert!(!is_user_range(1, USER_LIMIT));
        assert!(!is_user_range(u64::MAX, 2));
        assert!(!is_user_range(DIRECT_BASE, 1));
    }

    #[test]
    fn two_bytes_across_a_boundary_touch_two_pages() {
        assert_eq!(pages_spanned(4095, 2), 2);
        assert_eq!(pages_spanned(4096, 4096), 1);
        assert_eq!(pages_spanned(5, 0), 1);
    }
}
