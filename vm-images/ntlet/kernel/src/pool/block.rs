//! One block: its header, the mark behind its last byte, and what can be wrong with them.

use core::ptr::NonNull;

use wdf_sys::wdm::constants::bug_check;

use super::HEADER;
use crate::bug_check::bug_check;

/// Class of blocks on pages of their own.
pub(super) const LARGE: u8 = 0xff;
/// Bytes behind the block that tell whether it was overrun.
pub(super) const MARK_SIZE: usize = 8;

/// Mixed into headers and marks, so that neither is met by accident.
const LIVE: u32 = 0x6c69_7665;
const FREED: u32 = 0x6672_6565;
const MARK: u64 = 0xfade_0ff5_e7b1_0c4d;

/// What lies before a block.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub(super) struct Header {
    size: u32,
    tag: u32,
    /// Slot of the module that the block is for.
    owner: u8,
    class: u8,
    /// Distance from the start of the block's cell to the header, in 16 bytes.
    shift: u16,
    /// Over all of the above and the address.
    check: u32,
}

const _: () = assert!(size_of::<Header>() == 16);

impl Header {
    pub(super) fn size(&self) -> usize {
        self.size as usize
    }

    pub(super) fn tag(&self) -> u32 {
        self.tag
    }

    pub(super) fn owner(&self) -> usize {
        usize::from(self.owner)
    }

    pub(super) fn class(&self) -> u8 {
        self.class
    }

    pub(super) fn shift(&self) -> usize {
        usize::from(self.shift) * 16
    }

    fn check_of(&self, address: usize, state: u32) -> u32 {
        let fields = u64::from(self.size) << 32 | u64::from(self.tag);
        let more = u64::from(self.owner) << 24 | u64::from(self.class) << 16 | u64::from(self.shift);
        let mixed = (fields ^ (address as u64).rotate_left(17) ^ more).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32 ^ state
    }
}

/// What is wrong with a block that is to be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No block begins there.
    NoBlock,
    /// It was freed before.
    FreedBefore,
    /// It has another tag.
    OtherTag(u32),
    /// Something was written behind its end.
    Overrun,
}

impl Fault {
    /// The bug check that says so; parameters as documented for `BAD_POOL_CALLER` and `BAD_POOL_HEADER`.
    pub(super) fn bug_check(self, address: usize, tag: u32) -> ! {
        let address = address as u64;
        match self {
            Self::NoBlock => bug_check(bug_check::BAD_POOL_CALLER, [0x46, address, 0, 0]),
            Self::FreedBefore => bug_check(bug_check::BAD_POOL_CALLER, [0x7, u64::from(tag), 0, address]),
            Self::OtherTag(allocated) => bug_check(bug_check::BAD_POOL_CALLER, [0xa, address, allocated.into(), tag.into()]),
            Self::Overrun => bug_check(bug_check::BAD_POOL_HEADER, [0x20, address - HEADER as u64, address, 0]),
        }
    }
}

fn header_of(body: NonNull<u8>) -> *mut Header {
    body.as_ptr().wrapping_sub(HEADER).cast()
}

/// Writes header and mark of a new block.
///
/// # Safety
/// There is room for a header before `body`, and for `size` bytes and a mark behind.
pub(super) unsafe fn write(body: NonNull<u8>, size: usize, tag: u32, owner: usize, class: u8, shift: usize) {
    let mut header = Header { size: size as u32, tag, owner: owner as u8, class, shift: (shift / 16) as u16, check: 0 };
    header.check = header.check_of(body.as_ptr().addr(), LIVE);
    // SAFETY: the caller's promise.
    unsafe {
        header_of(body).write(header);
        body.add(size).cast::<u64>().write_unaligned(MARK);
    }
}

/// The header of a live block, if nothing is wrong with it and it has the tag.
///
/// # Safety
/// The bytes of a header before `body` are mapped.
pub(super) unsafe fn check(body: NonNull<u8>, tag: Option<u32>) -> Result<Header, Fault> {
    /// Set in a tag by whoever wants frees without a tag refused; not part of the name.
    const PROTECTED: u32 = 0x8000_0000;
    let address = body.as_ptr().addr();
    // SAFETY: the caller's promise.
    let header = unsafe { header_of(body).read() };
    if header.check != header.check_of(address, LIVE) {
        return Err(if header.check == header.check_of(address, FREED) { Fault::FreedBefore } else { Fault::NoBlock });
    }
    if let Some(tag) = tag.filter(|&tag| (tag ^ header.tag) & !PROTECTED != 0) {
        let _ = tag;
        return Err(Fault::OtherTag(header.tag));
    }
    // SAFETY: the header is sound, so that a mark follows the block.
    let mark = unsafe { body.add(header.size()).cast::<u64>().read_unaligned() };
    if mark == MARK { Ok(header) } else { Err(Fault::Overrun) }
}

/// Makes the header say that the block is free.
///
/// # Safety
/// `body` is a live block.
pub(super) unsafe fn mark_as_freed(body: NonNull<u8>) {
    // SAFETY: the caller's promise.
    unsafe {
        let header = header_of(body);
        (*header).check = (*header).check_of(body.as_ptr().addr(), FREED);
    }
}
