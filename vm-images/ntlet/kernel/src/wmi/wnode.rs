//! WNODE structures, as bytes: where their fields are, reading and writing them with every offset checked.

use alloc::vec::Vec;

use wdf_sys::GUID;

/// Size of a `WNODE_HEADER`.
pub(super) const HEADER: usize = 48;
/// Size of a `WNODE_TOO_SMALL`.
pub(super) const TOO_SMALL: usize = 56;

/// Offsets in the header.
pub(super) const BUFFER_SIZE: usize = 0;
pub(super) const PROVIDER_ID: usize = 4;
pub(super) const VERSION: usize = 8;
pub(super) const LINKAGE: usize = 12;
pub(super) const GUID_AT: usize = 24;
pub(super) const FLAGS: usize = 44;
/// Of a `WNODE_TOO_SMALL`.
pub(super) const SIZE_NEEDED: usize = 48;

/// Offsets in a `WNODE_ALL_DATA`.
pub(super) mod all {
    pub(in super::super) const DATA_OFFSET: usize = 48;
    pub(in super::super) const COUNT: usize = 52;
    pub(in super::super) const NAME_OFFSETS: usize = 56;
    /// The array of offsets and lengths, or the one size of all instances.
    pub(in super::super) const INSTANCES: usize = 60;
}

/// Offsets in what names one instance: `WNODE_SINGLE_INSTANCE`, `WNODE_SINGLE_ITEM`, `WNODE_METHOD_ITEM`.
pub(super) mod one {
    pub(in super::super) const NAME_OFFSET: usize = 48;
    pub(in super::super) const INDEX: usize = 52;
}

/// What a node about one instance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Instance,
    /// With the number of the item.
    Item(u32),
    /// With the number of the method.
    Method(u32),
}

impl Kind {
    /// Where the offset of the data is; its size follows, and then the variable part.
    pub(super) const fn data_offset_at(self) -> usize {
        match self {
            Self::Instance => 56,
            Self::Item(_) | Self::Method(_) => 60,
        }
    }

    const fn flag(self) -> u32 {
        use wdf_sys::wdm::constants::{WNODE_FLAG_METHOD_ITEM, WNODE_FLAG_SINGLE_INSTANCE, WNODE_FLAG_SINGLE_ITEM};
        match self {
            Self::Instance => WNODE_FLAG_SINGLE_INSTANCE,
            Self::Item(_) => WNODE_FLAG_SINGLE_ITEM,
            Self::Method(_) => WNODE_FLAG_METHOD_ITEM,
        }
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(field.try_into().ok()?))
}

pub(super) fn guid_at(bytes: &[u8], at: usize) -> Option<GUID> {
    let field = bytes.get(at..at.checked_add(16)?)?;
    // SAFETY: sixteen bytes, and every value of them is a GUID.
    Some(unsafe { field.as_ptr().cast::<GUID>().read_unaligned() })
}

/// Writes a number; beyond the end nothing happens.
pub(super) fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

/// The units of a counted string.
pub(super) fn counted(bytes: &[u8], at: usize) -> Option<Vec<u16>> {
    let length = usize::from(u16_at(bytes, at)?);
    let text = bytes.get(at + 2..(at + 2).checked_add(length)?)?;
    Some(text.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
}

/// Appends a counted string; its offset.
pub(super) fn append_counted(bytes: &mut Vec<u8>, units: &[u16]) -> usize {
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    let at = bytes.len();
    bytes.extend_from_slice(&((units.len() * 2) as u16).to_le_bytes());
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    at
}

/// A header for a block with these flags, in a node of `size` bytes.
pub(super) fn new(block: &GUID, provider: u32, flags: u32, size: usize) -> Vec<u8> {
    let mut bytes = alloc::vec![0; size.max(HEADER)];
    put(&mut bytes, BUFFER_SIZE, size as u32);
    put(&mut bytes, PROVIDER_ID, provider);
    put(&mut bytes, VERSION, 1);
    // SAFETY: the node is as long as its header at least.
    unsafe { bytes.as_mut_ptr().add(GUID_AT).cast::<GUID>().write_unaligned(*block) };
    put(&mut bytes, FLAGS, flags);
    bytes
}

/// A node about one instance, by its number where it has a static name and by its name else, with `data` and room for `room` bytes of it.
pub(super) fn about_one(
    block: &GUID,
    provider: u32,
    kind: Kind,
    (index, is_static, name): (u32, bool, &[u16]),
    data: &[u8],
    room: usize,
) -> Vec<u8> {
    use wdf_sys::wdm::constants::WNODE_FLAG_STATIC_INSTANCE_NAMES;
    let flags = kind.flag() | if is_static { WNODE_FLAG_STATIC_INSTANCE_NAMES } else { 0 };
    let field = kind.data_offset_at();
    let mut bytes = new(block, provider, flags, field + 8);
    let name_at = append_counted(&mut bytes, name);
    let data_at = bytes.len().next_multiple_of(8);
    bytes.resize(data_at, 0);
    bytes.extend_from_slice(data);
    bytes.resize(data_at + room.max(data.len()), 0);
    let size = bytes.len() as u32;
    put(&mut bytes, BUFFER_SIZE, size);
    put(&mut bytes, one::NAME_OFFSET, name_at as u32);
    put(&mut bytes, one::INDEX, index);
    if let Kind::Item(number) | Kind::Method(number) = kind {
        put(&mut bytes, 56, number);
    }
    put(&mut bytes, field, data_at as u32);
    put(&mut bytes, field + 4, data.len() as u32);
    bytes
}

/// The data of a node about one instance.
pub(super) fn data_of(bytes: &[u8], kind: Kind) -> Option<&[u8]> {
    let at = u32_at(bytes, kind.data_offset_at())? as usize;
    let size = u32_at(bytes, kind.data_offset_at() + 4)? as usize;
    bytes.get(at..at.checked_add(size)?)
}
