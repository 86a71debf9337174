//! Who has which slot: a slot is a place in shared memory and a fixed pair of descriptors, `2n` and `2n + 1` for slot `n`. Pure.
//!
//! ```text
//!   Free -> Filling -> Flying -> Draining -> Free      the usual way
//!                 \         \
//!                  Free      Orphan -> Free            its request went another way; the device still has the memory
//! ```

use core::ops::{DerefMut, Range};

/// One slot.
#[derive(Debug)]
pub(crate) struct Slot<F> {
    state: State<F>,
    /// Counts the uses of this slot, so that a late caller is not taken for the present one.
    generation: u32,
}

#[derive(Debug)]
enum State<F> {
    Free,
    /// Someone writes the command.
    Filling,
    /// The device has it.
    Flying(F),
    /// The device has it, and nobody waits for the answer. The tag is to be aborted, when there is one.
    Orphan(Option<u64>),
    /// Someone reads the answer.
    Draining,
}

impl<F> Slot<F> {
    pub(crate) const fn new() -> Self {
        Self { state: State::Free, generation: 0 }
    }
}

/// One use of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    index: u16,
    generation: u32,
}

impl Ticket {
    pub(crate) const fn index(self) -> usize {
        self.index as usize
    }

    /// The first of the slot's two descriptors.
    pub(crate) const fn head(self) -> u16 {
        2 * self.index
    }

    /// As one number, to travel with a request.
    pub(crate) const fn number(self) -> u64 {
        (self.generation as u64) << 16 | self.index as u64
    }

    pub(crate) const fn from_number(number: u64) -> Self {
        Self { index: number as u16, generation: (number >> 16) as u32 }
    }
}

/// What a chain that came back means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Landing<F> {
    /// It answers this; the slot drains until it is released.
    Answer(Ticket, F),
    /// Nobody waits for it; the slot is free.
    Nobody,
    /// The device did not have it.
    Wrong,
}

/// All slots of one virtqueue.
#[derive(Debug)]
pub(crate) struct Slots<S> {
    slots: S,
}

impl<F, S: DerefMut<Target = [Slot<F>]>> Slots<S> {
    pub(crate) const fn new(slots: S) -> Self {
        Self { slots }
    }

    /// Takes a free slot out of `range`.
    pub(crate) fn reserve(&mut self, range: Range<usize>) -> Option<Ticket> {
        let end = range.end.min(self.slots.len());
        let index = (range.start..end).find(|index| matches!(self.slots[*index].state, State::Free))?;
        let slot = &mut self.slots[index];
        slot.state = State::Filling;
        slot.generation = slot.generation.wrapping_add(1);
        Some(Ticket { index: u16::try_from(index).ok()?, generation: slot.generation })
    }

    fn get(&mut self, ticket: Ticket) -> Option<&mut Slot<F>> {
        self.slots.get_mut(ticket.index()).filter(|slot| slot.generation == ticket.generation)
    }

    /// The command is written and the device gets it.
    pub(crate) fn launch(&mut self, ticket: Ticket, flight: F) {
        if let Some(slot) = self.get(ticket) {
            slot.state = State::Flying(flight);
        }
    }

    /// As [`launch`](Self::launch), of a command whose answer nobody waits for.
    pub(crate) fn launch_orphan(&mut self, ticket: Ticket) {
        if let Some(slot) = self.get(ticket) {
            slot.state = State::Orphan(None);
        }
    }

    /// Gives a slot back that is filling or draining.
    pub(crate) fn release(&mut self, ticket: Ticket) {
        if let Some(slot) = self.get(ticket).filter(|slot| matches!(slot.state, State::Filling | State::Draining)) {
            slot.state = State::Free;
        }
    }

    /// The device gave back the chain that begins with descriptor `head`.
    pub(crate) fn land(&mut self, head: u16) -> Landing<F> {
        if !head.is_multiple_of(2) {
            return Landing::Wrong;
        }
        let index = head / 2;
        let Some(slot) = self.slots.get_mut(usize::from(index)) else { return Landing::Wrong };
        match core::mem::replace(&mut slot.state, State::Draining) {
            State::Flying(flight) => Landing::Answer(Ticket { index, generation: slot.generation }, flight),
            State::Orphan(_) => {
                slot.state = State::Free;
                Landing::Nobody
            }
            other => {
                slot.state = other;
                Landing::Wrong
            }
        }
    }

    /// Takes the flight of `ticket`, if it is still in the air; the slot is orphaned, its tag `abort` to be aborted.
    pub(crate) fn abandon(&mut self, ticket: Ticket, abort: impl FnOnce(&F) -> Option<u64>) -> Option<F> {
        abandon(self.get(ticket)?, abort)
    }

    /// As [`abandon`](Self::abandon), the first flight that `which` picks.
    pub(crate) fn abandon_first(&mut self, which: impl Fn(&F) -> bool, abort: impl FnOnce(&F) -> Option<u64>) -> Option<F> {
        let picked = |slot: &&mut Slot<F>| matches!(&slot.state, State::Flying(flight) if which(flight));
        abandon(self.slots.iter_mut().find(picked)?, abort)
    }

    /// Whether any flight is such as `which` says.
    pub(crate) fn any(&self, which: impl Fn(&F) -> bool) -> bool {
        self.slots.iter().any(|slot| matches!(&slot.state, State::Flying(flight) if which(flight)))
    }

    /// The tag of an orphan that is to be aborted; told once.
    pub(crate) fn next_abort(&mut self) -> Option<u64> {
        self.slots.iter_mut().find_map(|slot| match &mut slot.state {
            State::Orphan(abort) => abort.take(),
            _ => None,
        })
    }

    /// An abort could not be sent now: `tag` is to be told again.
    pub(crate) fn put_back_abort(&mut self, tag: u64) {
        if let Some(abort) = self.slots.iter_mut().find_map(|slot| match &mut slot.state {
            State::Orphan(abort @ None) => Some(abort),
            _ => None,
        }) {
            *abort = Some(tag);
        }
    }

    /// `tag` is not to be aborted after all.
    pub(crate) fn forget_abort(&mut self, tag: u64) {
        for slot in self.slots.iter_mut() {
            if let State::Orphan(abort) = &mut slot.state {
                *abort = abort.filter(|other| *other != tag);
            }
        }
    }

    /// The device was reset and has nothing any more.
    pub(crate) fn device_reset(&mut self) {
        for slot in self.slots.iter_mut() {
            if matches!(slot.state, State::Orphan(_)) {
                slot.state = State::Free;
            }
        }
    }
}

fn abandon<F>(slot: &mut Slot<F>, abort: impl FnOnce(&F) -> Option<u64>) -> Option<F> {
    let State::Flying(flight) = &slot.state else { return None };
    let abort = abort(flight);
    match core::mem::replace(&mut slot.state, State::Orphan(abort)) {
        State::Flying(flight) => Some(flight),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(count: usize) -> Slots<Vec<Slot<&'static str>>> {
        Slots::new((0..count).map(|_| Slot::new()).collect())
    }

    #[test]
    fn a_flight_lands_once() {
        let mut slots = slots(2);
        let ticket = slots.reserve(0..2).expect("all are free");
        slots.launch(ticket, "a");
        assert_eq!(slots.land(ticket.head()), Landing::Answer(ticket, "a"));
        assert_eq!(slots.land(ticket.head()), Landing::Wrong);
    }

    #[test]
    fn a_draining_slot_is_not_given_out() {
        let mut slots = slots(1);
        let ticket = slots.reserve(0..1).expect("it is free");
        slots.launch(ticket, "a");
        let _ = slots.land(ticket.head());
        assert_eq!(slots.reserve(0..1), None);
        slots.release(ticket);
        assert!(slots.reserve(0..1).is_some());
    }

    #[test]
    fn an_abandoned_slot_is_free_only_when_the_device_gives_it_back() {
        let mut slots = slots(1);
        let ticket = slots.reserve(0..1).expect("it is free");
        slots.launch(ticket, "a");
        assert_eq!(slots.abandon(ticket, |_| Some(7)), Some("a"));
        assert_eq!(slots.reserve(0..1), None);
        assert_eq!(slots.next_abort(), Some(7));
        assert_eq!(slots.next_abort(), None);
        assert_eq!(slots.land(ticket.head()), Landing::Nobody);
        assert!(slots.reserve(0..1).is_some());
    }

    #[test]
    fn a_late_ticket_does_not_touch_the_slots_next_use() {
        let mut slots = slots(1);
        let old = slots.reserve(0..1).expect("it is free");
        slots.release(old);
        let new = slots.reserve(0..1).expect("it is free again");
        slots.launch(new, "new");
        assert_eq!(slots.abandon(old, |_| None), None);
        slots.release(old);
        assert_eq!(slots.land(new.head()), Landing::Answer(new, "new"));
    }

    #[test]
    fn odd_descriptors_and_those_beyond_the_slots_are_wrong() {
        let mut slots = slots(1);
        assert_eq!(slots.land(1), Landing::Wrong);
        assert_eq!(slots.land(2), Landing::Wrong);
        assert_eq!(slots.land(0), Landing::Wrong);
    }

    #[test]
    fn a_reserved_slot_that_the_device_claims_to_return_is_wrong_and_stays_reserved() {
        let mut slots = slots(1);
        let ticket = slots.reserve(0..1).expect("it is free");
        assert_eq!(slots.land(ticket.head()), Landing::Wrong);
        slots.launch(ticket, "a");
        assert_eq!(slots.land(ticket.head()), Landing::Answer(ticket, "a"));
    }

    #[test]
    fn a_ticket_survives_its_journey_as_a_number() {
        let ticket = Ticket { index: 0xfffe, generation: 0x8000_0001 };
        assert_eq!(Ticket::from_number(ticket.number()), ticket);
    }

    #[test]
    fn a_reset_frees_orphans_and_nothing_else() {
        let mut slots = slots(2);
        let orphan = slots.reserve(0..2).expect("free");
        slots.launch(orphan, "a");
        let _ = slots.abandon(orphan, |_| None);
        let filling = slots.reserve(0..2).expect("free");
        slots.device_reset();
        assert_eq!(slots.reserve(0..2).map(Ticket::index), Some(orphan.index()));
        slots.release(filling);
        assert_eq!(slots.reserve(0..2).map(Ticket::index), Some(filling.index()));
    }
}
