//! Which events are wanted.

use super::Describe;
use crate::trace::{Event, Kind, What};

/// Which events are wanted: those that all of this agrees to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// These kinds; all if empty.
    pub kinds: Vec<Kind>,
    /// From this event on.
    pub from: u64,
    /// Before this event.
    pub to: Option<u64>,
    /// From this device time on, in nanoseconds.
    pub since: u64,
    /// Before this device time.
    pub until: Option<u64>,
    /// Registers whose name or place contains this.
    pub register: Option<String>,
    /// This queue.
    pub queue: Option<u16>,
    /// Chains with this tag.
    pub tag: Option<u64>,
}

impl Filter {
    /// Whether nothing after this event can be wanted.
    pub fn is_over(&self, number: u64, time: u64) -> bool {
        self.to.is_some_and(|to| number >= to) || self.until.is_some_and(|until| time >= until)
    }

    /// Whether an event is wanted.
    pub fn wants(&self, number: u64, event: &Event<'_>, describe: &Describe) -> bool {
        let kind = event.what.kind();
        let register = || match event.what {
            What::Read { bar, offset, .. } | What::Write { bar, offset, .. } => Some(describe.place(bar, offset)),
            _ => None,
        };
        let queue = match event.what {
            What::Taken { queue, .. } | What::Given { queue, .. } | What::QueueReset { queue } => Some(queue),
            _ => None,
        };
        let tag = match event.what {
            What::Taken { tag, .. } => tag,
            // A reply begins with the tag of its command.
            What::Given { data, .. } => data.first_chunk().map(|tag| u64::from_le_bytes(*tag)),
            _ => None,
        };
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && number >= self.from
            && event.time >= self.since
            && !self.is_over(number, event.time)
            && self.queue.is_none_or(|wanted| queue == Some(wanted))
            && self.tag.is_none_or(|wanted| tag == Some(wanted))
            && self.register.as_ref().is_none_or(|wanted| register().is_some_and(|name| name.contains(wanted)))
    }
}
