//! Windows images: from the user's own install media to a guest that runs the suites.
//!
//! Here lives what can be known before an hour of installing: what the media hold ([`media`], [`wim`]), what is to be made of them
//! ([`recipe`]), and the answers that Setup will find ([`answer`], on the disk of [`answer_disk`]). Media and recipes come from outside and
//! may be anything: nothing here trusts a length, an offset or a count in them.

pub mod answer;
pub mod answer_disk;
pub mod media;
pub mod recipe;
pub mod wim;
