//! The trace is the device: what it answered then, it answers now; what the driver does now is compared with what it did then.
//!
//! A trace is taken whole into memory as a [`Story`], packed as in the file. [`ReplayVirtio`] tells a story of level `virtio`, [`ReplayBus`]
//! one of level `bus`. The device acts at the recorded causal point: what it did because the driver did something, it does as soon as the driver does that again; what
//! it did of its own accord comes as long afterwards as it came then.

mod acts;
mod addresses;
mod bus;
mod rules;
mod story;
mod tags;
mod verdict;
mod virtio;

#[cfg(test)]
mod tests;

pub use self::bus::ReplayBus;
pub use self::rules::{Mode, RuleError, Rules};
pub use self::story::{Story, StoryError};
pub use self::verdict::{Outcome, Verdict};
pub use self::virtio::ReplayVirtio;
