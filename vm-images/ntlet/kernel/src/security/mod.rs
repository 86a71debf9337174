//! Security descriptors, access control lists and SIDs, as drivers make them, mostly to protect a control device. ntlet keeps what a driver
//! sets, and hands it out again; it asks nobody for permission, as everything here runs for the local system.

pub(crate) mod access;
pub(crate) mod acl;
pub(crate) mod descriptor;
pub(crate) mod device;
pub(crate) mod sid;
#[cfg(test)]
mod tests;
pub(crate) mod well_known;

/// The revision of descriptors and SIDs.
const REVISION: u8 = 1;
