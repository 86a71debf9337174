//! Where two traces part, and where they meet again.
//!
//! Two recordings of one thing differ in times, in descriptor numbers and in addresses; these are not compared. Where an event differs, the
//! nearest place is sought at which both go on alike; what lies before it is only in one of them.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read;

use super::Describe;
use crate::trace::{Event, Reader, TraceError, What};

/// Events in which both must agree to have met again.
const ALIKE: usize = 3;
/// How far the meeting place may be, in events of both together.
const WINDOW: usize = 512;

/// What is only in one of the traces, or where they part for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// An event that only the first has.
    Left(String),
    /// An event that only the second has.
    Right(String),
    /// They go on alike from these events on.
    Meet(u64, u64),
    /// They do not meet again within the window; the rest is not compared.
    Parted,
}

/// The sum of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parting {
    /// Events that are alike.
    pub alike: u64,
    /// The first events that differ.
    pub first: Option<(u64, u64)>,
    /// Events only in the first, and only in the second.
    pub only: (u64, u64),
}

struct Side<'a, R> {
    reader: &'a mut Reader<R>,
    /// Events read ahead: what identifies each, and its line.
    ahead: VecDeque<(u64, String)>,
    number: u64,
}

impl<R: Read> Side<'_, R> {
    /// Read ahead until there are so many, or no more.
    fn fill(&mut self, wanted: usize, describe: &Describe) -> Result<(), TraceError> {
        while self.ahead.len() < wanted {
            let number = self.reader.position();
            let Some(event) = self.reader.next()? else { break };
            let entry = (identity(&event), describe.line(number, &event));
            self.ahead.push_back(entry);
        }
        Ok(())
    }

    fn take(&mut self) -> Option<String> {
        self.number += 1;
        self.ahead.pop_front().map(|(_, line)| line)
    }
}

/// Compare two traces; `tell` hears of each difference in order.
///
/// # Errors
/// What keeps a trace from being read on.
pub fn diff<A: Read, B: Read>(
    left: &mut Reader<A>,
    right: &mut Reader<B>,
    describe: &Describe,
    mut tell: impl FnMut(Difference),
) -> Result<Parting, TraceError> {
    let mut sum = Parting::default();
    let mut left = Side { reader: left, ahead: VecDeque::new(), number: 0 };
    let mut right = Side { reader: right, ahead: VecDeque::new(), number: 0 };
    loop {
        left.fill(1, describe)?;
        right.fill(1, describe)?;
        match (left.ahead.front(), right.ahead.front()) {
            (None, None) => return Ok(sum),
            (Some((a, _)), Some((b, _))) if a == b => {
                left.take();
                right.take();
                sum.alike += 1;
                continue;
            }
            _ => {}
        }
        sum.first = sum.first.or(Some((left.number, right.number)));
        left.fill(WINDOW, describe)?;
        right.fill(WINDOW, describe)?;
        let at_end = left.ahead.len() < WINDOW && right.ahead.len() < WINDOW;
        let meeting = meeting(&left.ahead, &right.ahead, at_end);
        let (skip_left, skip_right) = meeting.unwrap_or((left.ahead.len(), right.ahead.len()));
        (0..skip_left).filter_map(|_| left.take()).for_each(|line| tell(Difference::Left(line)));
        (0..skip_right).filter_map(|_| right.take()).for_each(|line| tell(Difference::Right(line)));
        sum.only.0 += skip_left as u64;
        sum.only.1 += skip_right as u64;
        if meeting.is_none() && (skip_left == WINDOW || skip_right == WINDOW) {
            tell(Difference::Parted);
            return Ok(sum);
        }
        tell(Difference::Meet(left.number, right.number));
    }
}

/// How many events to skip on each side so that both go on alike: the fewest together.
fn meeting(left: &VecDeque<(u64, String)>, right: &VecDeque<(u64, String)>, at_end: bool) -> Option<(usize, usize)> {
    let alike = |a: usize, b: usize| {
        let (rest_left, rest_right) = (left.len() - a, right.len() - b);
        // At the end of both, fewer than three are enough.
        let needed = if at_end && rest_left == rest_right { ALIKE.min(rest_left) } else { ALIKE };
        rest_left >= needed && rest_right >= needed && (0..needed).all(|step| left[a + step].0 == right[b + step].0)
    };
    (1..=left.len() + right.len()).find_map(|sum| {
        let first = sum.saturating_sub(right.len());
        (first..=sum.min(left.len())).map(|a| (a, sum - a)).find(|&(a, b)| alike(a, b))
    })
}

/// What makes an event the same in two traces.
fn identity(event: &Event<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    event.what.kind().hash(&mut hasher);
    match event.what {
        What::Read { bar, offset, data } | What::Write { bar, offset, data } => (bar, offset, data).hash(&mut hasher),
        What::ConfigRead { offset, data }
        | What::ConfigWrite { offset, data }
        | What::DeviceRead { offset, data }
        | What::DeviceWrite { offset, data }
        | What::SharedRead { offset, data } => (offset, data).hash(&mut hasher),
        What::DmaRead { data, .. } | What::DmaWrite { data, .. } | What::Note { text: data } => data.hash(&mut hasher),
        What::DmaFailed { length, write, .. } => (length, write).hash(&mut hasher),
        What::Interrupt { vector } => vector.hash(&mut hasher),
        What::Pin { level } => level.hash(&mut hasher),
        What::Reset | What::NeedsReset => {}
        What::Power { state } => state.hash(&mut hasher),
        What::Taken { queue, tag, readable, writable, data, .. } => (queue, tag, readable, writable, data).hash(&mut hasher),
        What::Given { queue, written, data, .. } => (queue, written, data).hash(&mut hasher),
        What::QueueReset { queue } => queue.hash(&mut hasher),
        What::Start { features } => features.hash(&mut hasher),
    }
    hasher.finish()
}
