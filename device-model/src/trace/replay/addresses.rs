//! Guest addresses that moved: where the pages of the recorded driver's memory are now.
//!
//! A page counts as memory if the recorded device read or wrote it. Where the driver wrote the address of such a page then, in a register or
//! in memory that the device read, it writes the same place of another page now: from the two follows where that page is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::What;
use super::Story;

/// Bits of an address inside a page.
const INSIDE: u64 = 0xfff;
/// Pages that may follow one whose place is known, and be found by it.
const REACH: u64 = 1 << 16;
/// How many writes away the other half of an address may have been written.
const NEAR: usize = 8;

/// What a recorded register write says of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A whole address.
    Whole,
    /// The lower half of one whose upper half is written by another event.
    Low(usize),
    /// The upper half.
    High(usize),
}

/// Where memory was and where it is.
pub(super) struct Addresses {
    /// Pages that the recorded device reached.
    pages: BTreeSet<u64>,
    roles: HashMap<usize, Role>,
    /// What was written where half an address was written, then and now.
    halves: HashMap<usize, (u64, u64)>,
    /// Pages then, and where they are now.
    moved: BTreeMap<u64, u64>,
}

impl Addresses {
    pub(super) fn of(story: &Story) -> Self {
        let mut pages = BTreeSet::new();
        for event in (0..story.len()).map(|number| story.event(number)) {
            if let What::DmaRead { address, data } | What::DmaWrite { address, data } = event.what
                && let Some(last) = address.checked_add((data.len() as u64).saturating_sub(1))
            {
                pages.extend(address / (INSIDE + 1)..=last / (INSIDE + 1));
            }
        }
        let mut found = Self { pages, roles: HashMap::new(), halves: HashMap::new(), moved: BTreeMap::new() };
        found.find_roles(story);
        found
    }

    fn find_roles(&mut self, story: &Story) {
        let writes: Vec<(usize, (u8, u64), &[u8])> = (0..story.len())
            .filter_map(|number| match story.event(number).what {
                What::Write { bar, offset, data } if data.len() >= 4 => Some((number, (bar, offset), data)),
                _ => None,
            })
            .collect();
        for (at, &(number, (bar, offset), data)) in writes.iter().enumerate() {
            let value = value(data);
            if data.len() == 8 {
                if self.is_memory(value) {
                    self.roles.insert(number, Role::Whole);
                }
                continue;
            }
            let near = &writes[at.saturating_sub(NEAR)..writes.len().min(at + NEAR + 1)];
            let upper = near
                .iter()
                .filter(|(_, place, data)| *place == (bar, offset + 4) && data.len() == 4)
                .min_by_key(|(other, ..)| other.abs_diff(number));
            match upper {
                Some(&(other, _, upper)) if self.is_memory(self::value(upper) << 32 | value) => {
                    self.roles.insert(number, Role::Low(other));
                    self.roles.insert(other, Role::High(number));
                }
                _ if self.is_memory(value) => drop(self.roles.entry(number).or_insert(Role::Whole)),
                _ => {}
            }
        }
    }

    /// Whether the recorded device reached the page of an address. The first page is nobody's: small numbers are no addresses.
    fn is_memory(&self, address: u64) -> bool {
        let page = address / (INSIDE + 1);
        page != 0 && self.pages.contains(&page)
    }

    fn learn(&mut self, then: u64, now: u64) {
        self.moved.insert(then / (INSIDE + 1), now / (INSIDE + 1));
    }

    /// Whether a register write is the recorded one, apart from an address that moved by whole pages; remembers where to.
    pub(super) fn alike(&mut self, number: usize, then: &[u8], now: &[u8]) -> bool {
        let Some(role) = self.roles.get(&number).copied().filter(|_| then.len() == now.len()) else { return then == now };
        let (before, after) = (value(then), value(now));
        let in_place = (before ^ after) & INSIDE == 0;
        let (low, high) = match role {
            Role::Whole if in_place => {
                self.learn(before, after);
                return true;
            }
            Role::Low(high) if in_place => (number, high),
            Role::High(low) => (low, number),
            Role::Whole | Role::Low(_) => return false,
        };
        self.halves.insert(number, (before, after));
        if let (Some((low_then, low_now)), Some((high_then, high_now))) = (self.halves.get(&low), self.halves.get(&high)) {
            self.learn(high_then << 32 | low_then, high_now << 32 | low_now);
        }
        true
    }

    /// Whether memory that the device reads holds what it held, apart from addresses that moved by whole pages; remembers where to. `bytes`
    /// says whether those that are no addresses are the same: from this place on, these then, these now.
    pub(super) fn alike_in_memory(
        &mut self,
        address: u64,
        then: &[u8],
        now: &[u8],
        bytes: impl Fn(usize, &[u8], &[u8]) -> bool,
    ) -> bool {
        // Addresses in memory are eight bytes long, or four, and lie where such numbers lie.
        let lead = (address.wrapping_neg() % 8) as usize;
        let mut at = 0;
        let mut same = true;
        while at < then.len() {
            let length = if at < lead { lead } else { 8 }.min(then.len() - at);
            let (before, after) = (&then[at..at + length], &now[at..at + length]);
            if !(length == 8 && self.is_moved(before, after)) {
                let halves = before.chunks(4).zip(after.chunks(4)).enumerate();
                same &= halves.fold(true, |same, (half, (before, after))| {
                    let moved = length == 8 && before != after && self.is_moved(before, after);
                    same && (moved || bytes(at + 4 * half, before, after))
                });
            }
            at += length;
        }
        same
    }

    /// Whether a number in memory was the address of memory then, and can be of the same place now; remembers it.
    fn is_moved(&mut self, then: &[u8], now: &[u8]) -> bool {
        let (then, now) = (value(then), value(now));
        let moved = self.is_memory(then) && (then ^ now) & INSIDE == 0;
        if moved {
            self.learn(then, now);
        }
        moved
    }

    /// Where a recorded address is now; `None` if nothing that the driver wrote tells it.
    pub(super) fn now(&self, address: u64) -> Option<u64> {
        let page = address / (INSIDE + 1);
        let (&before, &moved) = self.moved.range(..=page).next_back()?;
        let reached = page - before < REACH && (before..page).all(|page| self.pages.contains(&page));
        reached.then(|| (moved + (page - before)) * (INSIDE + 1) + (address & INSIDE))
    }

    /// The pieces of a recorded access, none of which goes beyond a page: where in it, how long, and where the piece is now.
    pub(super) fn pieces(&self, address: u64, length: usize) -> Option<Vec<(usize, usize, u64)>> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < length {
            let here = address.checked_add(at as u64)?;
            let piece = ((INSIDE + 1 - (here & INSIDE)) as usize).min(length - at);
            pieces.push((at, piece, self.now(here)?));
            at += piece;
        }
        Some(pieces)
    }
}

fn value(data: &[u8]) -> u64 {
    data.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
