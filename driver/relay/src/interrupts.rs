//! Interrupts: which vector means what, and what to do then.

use core::sync::atomic::{AtomicU8, Ordering};

use wdf::{Device, InService, InterruptEvents};

use crate::registers::NO_VECTOR;
use crate::relay::{Relay, count};
use crate::{admin, commands, events};

/// How the device interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Signalling {
    /// By a line, shared with other devices.
    Line,
    /// By one message for everything.
    OneMessage,
    /// By a message for configuration changes and one for each queue.
    Messages,
}

impl Signalling {
    pub(crate) const fn for_messages(messages: usize) -> Self {
        match messages {
            0 => Self::Line,
            1..4 => Self::OneMessage,
            _ => Self::Messages,
        }
    }

    pub(crate) fn load(from: &AtomicU8) -> Self {
        match from.load(Ordering::Relaxed) {
            1 => Self::OneMessage,
            2 => Self::Messages,
            _ => Self::Line,
        }
    }

    pub(crate) fn store(self, to: &AtomicU8) {
        to.store(self as u8, Ordering::Relaxed);
    }

    /// How many vectors there are.
    pub(crate) const fn count(self) -> u64 {
        match self {
            Self::Line => 0,
            Self::OneMessage => 1,
            Self::Messages => 4,
        }
    }

    /// Vectors of configuration changes, commands, events, administration.
    pub(crate) const fn vectors(self) -> [u16; 4] {
        match self {
            Self::Line => [NO_VECTOR; 4],
            Self::OneMessage => [0; 4],
            Self::Messages => [0, 1, 2, 3],
        }
    }
}

/// The context of an interrupt object.
pub(crate) struct Vector {
    pub(crate) index: u8,
}

wdf::context!(Vector);

impl InterruptEvents for Vector {
    type Device = Relay;

    fn isr(&self, device: Device<'_, Relay>, interrupt: InService<'_>, _message: u32) -> bool {
        let by_line = Signalling::load(&device.signalling) == Signalling::Line;
        if by_line && !device.registers.get().is_some_and(|registers| registers.take_line_interrupt()) {
            return false;
        }
        if let Some(counter) = device.counters.interrupts.get(usize::from(self.index)) {
            count(counter);
        }
        interrupt.queue_dpc();
        true
    }

    fn dpc(&self, device: Device<'_, Relay>) {
        let relay = device.context();
        let separate = Signalling::load(&relay.signalling) == Signalling::Messages;
        let concerns = |vector| !separate || self.index == vector;
        if concerns(0) && relay.registers.get().is_some_and(|registers| registers.needs_reset()) {
            relay.give_up_hardware("the device asks for a reset");
        }
        if concerns(1) {
            commands::answered(relay);
        }
        if concerns(2) {
            events::arrived(relay);
        }
        if concerns(3) {
            admin::answered(relay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_messages_than_vectors_share_the_first() {
        assert_eq!(Signalling::for_messages(3).vectors(), [0; 4]);
        assert_eq!(Signalling::for_messages(4).vectors(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_line_uses_no_vector() {
        assert_eq!(Signalling::for_messages(0).vectors(), [NO_VECTOR; 4]);
    }
}
