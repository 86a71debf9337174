//! Faults on purpose: wrappers round any PCI device ([`Faulty`]) and any virtio device ([`FaultyVirtio`]), following a [`Plan`].
//!
//! A plan is seeded: the same plan, device and driver give the same faults. Each injected fault is logged with its device time and cause.

mod pci;
mod plan;
mod virtio;

#[cfg(test)]
mod tests;

pub use self::pci::Faulty;
pub use self::plan::{Fault, Kind, Plan, PlanError};
pub use self::virtio::FaultyVirtio;
