//! The PnP manager: device nodes, what is enumerated below a bus, which driver a device gets, starting and removing.
//!
//! Everything that changes the tree runs under one lock, [`engine::Guard`], at `PASSIVE_LEVEL`; drivers are called under it, as on
//! Windows, where one thread does this work. What drivers may call from anywhere only queues an event for that thread.

pub(crate) mod arbiter;
mod bus_interface;
pub(crate) mod engine;
pub(crate) mod enumerate;
pub(crate) mod events;
pub(crate) mod install;
pub(crate) mod interface;
pub(crate) mod irps;
pub(crate) mod node;
pub(crate) mod notification;
pub(crate) mod pci;
pub(crate) mod properties;
mod reenumerate;
pub(crate) mod remove;
pub(crate) mod resources;
pub(crate) mod root;
pub(crate) mod service;
pub(crate) mod start;

#[cfg(test)]
mod tests;
