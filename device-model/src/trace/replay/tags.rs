//! Tags that a driver makes up: a request may have another one now, as long as all that tells of it says the same.

use std::borrow::Cow;
use std::collections::HashMap;

/// Where tags are looked for: at the beginning of what the device reads or writes.
const BEGINNING: usize = 64;
const WORD: usize = 8;

/// What recorded tags are called now.
#[derive(Default)]
pub(super) struct Tags(HashMap<u64, u64>);

impl Tags {
    /// Recorded bytes as they are with today's tags.
    pub(super) fn now<'a>(&self, then: &'a [u8]) -> Cow<'a, [u8]> {
        let mut bytes = Cow::Borrowed(then);
        if self.0.is_empty() {
            return bytes;
        }
        for at in words(then) {
            if let Some(now) = self.0.get(&word(then, at)) {
                bytes.to_mut()[at..at + WORD].copy_from_slice(&now.to_le_bytes());
            }
        }
        bytes
    }

    /// The same if the request whose tag was `tag` had another one: the one that stands in its place in `now`. With that one.
    pub(super) fn renamed(&self, tag: u64, then: &[u8], now: &[u8]) -> Option<(Vec<u8>, u64)> {
        let at = words(then).find(|at| word(then, *at) == tag && at + WORD <= now.len())?;
        let mut bytes = self.now(then).into_owned();
        bytes[at..at + WORD].copy_from_slice(&now[at..at + WORD]);
        Some((bytes, word(now, at)))
    }

    /// A request has come again, and has this tag now.
    pub(super) fn learn(&mut self, then: u64, now: u64) {
        if then == now {
            self.0.remove(&then);
        } else {
            self.0.insert(then, now);
        }
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = usize> {
    (0..bytes.len().min(BEGINNING) / WORD).map(|number| number * WORD)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + WORD].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
