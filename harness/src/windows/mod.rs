//! Windows images: from the user's own install media to a guest that runs the suites.
//!
//! What can be known before an hour of installing: what the media hold ([`media`], [`wim`]), what is to be made of them
//! ([`recipe`]), and the answers that Setup will find ([`answer`], on the disk of [`answer_disk`]). Media and recipes come from outside and
//! may be anything: nothing here trusts a length, an offset or a count in them. Then the installation ([`install`]) on a machine of its own
//! ([`pc`], [`qcow2`]), the finished images ([`store`]), what such a guest is given for a run
//! ([`payload`]), and its way to a debugger ([`cable`]).

pub mod answer;
pub mod answer_disk;
pub mod cable;
pub mod drivers;
pub mod install;
pub mod media;
pub mod payload;
pub mod pc;
pub mod qcow2;
pub mod recipe;
pub mod scratch;
pub mod store;
pub mod wim;
