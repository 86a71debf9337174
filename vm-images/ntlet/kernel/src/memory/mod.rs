//! Memory as drivers and requests see it: MDLs, device memory, contiguous memory, user buffers, probing.

pub(crate) mod contiguous;
pub(crate) mod map;
pub mod mdl;
pub(crate) mod pages;
pub(crate) mod paging;
pub mod probe;
pub(crate) mod user;
