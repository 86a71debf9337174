//! Windows Management Instrumentation as drivers see it: who provides which blocks of data and events, and those in the guest who ask.
//!
//! `registration` keeps what drivers register and asks them for their blocks; `block` is what a consumer opens, `query` what it asks, `event`
//! how it is told. `library` is `WMILIB.SYS`. `wnode` knows the structures. No program can ask here: consumers are drivers, by the
//! `IoWMI…` functions.

pub(crate) mod block;
pub(crate) mod event;
pub(crate) mod library;
pub(crate) mod names;
pub(crate) mod query;
pub(crate) mod registration;
#[cfg(test)]
mod tests;
mod wnode;
