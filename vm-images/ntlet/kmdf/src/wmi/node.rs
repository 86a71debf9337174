//! WNODE structures, as the framework reads and fills them.

use wdf_sys::GUID;
use wdf_sys::wdm::constants::WNODE_FLAG_TOO_SMALL;

/// Size of a `WNODE_TOO_SMALL`.
const TOO_SMALL: usize = 56;
/// Offsets in a `WNODE_HEADER`.
pub(super) const PROVIDER_ID: usize = 4;
/// For a trace block: the session's handle.
pub(super) const SESSION: usize = 8;
pub(super) const GUID_AT: usize = 24;
pub(super) const FLAGS: usize = 44;
/// Of a `WNODE_TOO_SMALL`.
const SIZE_NEEDED: usize = 48;

/// Of `WNODE_ALL_DATA`.
pub(super) const DATA_OFFSET: usize = 48;
pub(super) const INSTANCE_COUNT: usize = 52;
pub(super) const INSTANCES: usize = 60;

/// Of what is about one instance.
pub(super) const INSTANCE_INDEX: usize = 52;
/// Number of the item or method.
pub(super) const NUMBER: usize = 56;
/// Where the offset of an instance's data is, and of an item's or a method's. The size follows.
pub(super) const INSTANCE_DATA: usize = 56;
pub(super) const ITEM_DATA: usize = 60;

pub(super) fn number(node: &[u8], at: usize) -> Option<u32> {
    let field = node.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

/// Writes a number; beyond the end nothing happens.
pub(super) fn put(node: &mut [u8], at: usize, value: u32) {
    if let Some(field) = node.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

pub(super) fn put_guid(node: &mut [u8], at: usize, guid: &GUID) {
    if let Some(field) = node.get_mut(at..at + 16) {
        // SAFETY: sixteen bytes.
        unsafe { field.as_mut_ptr().cast::<GUID>().write_unaligned(*guid) };
    }
}

/// From the data on, all of the node; the field says where.
pub(super) fn room(node: &mut [u8], field: usize) -> Option<&mut [u8]> {
    let at = number(node, field)? as usize;
    node.get_mut(at..)
}

/// The data: as much of it as its size says.
pub(super) fn data(node: &mut [u8], field: usize) -> Option<&mut [u8]> {
    let at = number(node, field)? as usize;
    let size = number(node, field + 4)? as usize;
    node.get_mut(at..at.checked_add(size)?)
}

/// Says how much room it takes; the node's length then.
pub(super) fn too_small(node: &mut [u8], needed: usize) -> usize {
    let flags = number(node, FLAGS).unwrap_or(0) | WNODE_FLAG_TOO_SMALL;
    put(node, FLAGS, flags);
    put(node, 0, TOO_SMALL as u32);
    put(node, SIZE_NEEDED, u32::try_from(needed).unwrap_or(u32::MAX));
    TOO_SMALL.min(node.len())
}
