//! INF files: which driver a device gets, and what its installation writes.
//!
//! [`text`] turns a file into sections and fields, [`models`] finds the entry that fits a device, [`install`] reads the sections
//! that an installation goes through. Nothing here installs anything; that is `pnp::install`.

mod install;
mod models;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use install::{AddedService, Installation, RegistryRoot, RegistryWrite};
pub(crate) use models::{Match, SystemVersion, best_match, root_ids};
pub(crate) use text::Inf;
