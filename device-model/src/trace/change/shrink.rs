//! A shorter trace that fails the same way: first without what a replay does not look at, then without its end, then without whatever it
//! turns out not to need (delta debugging), as long as there is time.

use std::collections::HashMap;

use super::super::replay::Story;
use super::super::{Level, What};

/// Which events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept(Vec<bool>);

impl Kept {
    /// All of them.
    pub fn all(story: &Story) -> Self {
        Self(vec![true; story.len()])
    }

    /// Their numbers.
    pub fn events(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().filter(|(_, kept)| **kept).map(|(number, _)| number)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().filter(|kept| **kept).count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Events that belong together: a chain from taken to given, or one event alone.
type Unit = Vec<usize>;

/// The fewest events found that fail the same way as all of them. `fails` tries some; `is_over` says when to stop trying. `at` is the event
/// at which the replay failed, if that is known.
///
/// # Errors
/// What keeps a try from coming to an answer.
pub fn shrink<E>(
    story: &Story,
    at: Option<u64>,
    mut fails: impl FnMut(&Kept) -> Result<bool, E>,
    mut is_over: impl FnMut() -> bool,
) -> Result<Kept, E> {
    let mut best = Kept::all(story);
    let mut attempt = |best: &mut Kept, drop: &mut dyn FnMut(usize) -> bool| -> Result<bool, E> {
        let fewer = Kept(best.0.iter().enumerate().map(|(number, kept)| *kept && !drop(number)).collect());
        let shorter = fewer.len() < best.len() && fails(&fewer)?;
        if shorter {
            *best = fewer;
        }
        Ok(shorter)
    };
    attempt(&mut best, &mut |number| !matters(story, number))?;
    // What comes after the failing event cannot be its cause.
    if let Some(at) = at {
        attempt(&mut best, &mut |number| number as u64 > at)?;
    }
    let mut pieces = 2;
    loop {
        let units = units(story, &best);
        if units.len() < 2 || pieces > units.len() {
            return Ok(best);
        }
        let size = units.len().div_ceil(pieces);
        let mut progress = false;
        // From the end: what comes last explains least.
        for piece in units.chunks(size).rev() {
            if is_over() {
                return Ok(best);
            }
            let mut drop = vec![false; story.len()];
            piece.iter().flatten().for_each(|number| drop[*number] = true);
            progress |= attempt(&mut best, &mut |number| drop[number])?;
        }
        if size == 1 && !progress {
            return Ok(best);
        }
        if !progress {
            pieces *= 2;
        }
    }
}

/// Whether a replay looks at an event at all.
fn matters(story: &Story, number: usize) -> bool {
    let what = story.event(number).what;
    match story.header().level {
        Level::Virtio => matches!(
            what,
            What::Taken { .. }
                | What::Given { .. }
                | What::Reset
                | What::QueueReset { .. }
                | What::NeedsReset
                | What::Start { .. }
                | What::DeviceRead { .. }
                | What::DeviceWrite { .. }
                | What::SharedRead { .. }
        ),
        Level::Bus => matches!(
            what,
            What::Read { .. }
                | What::Write { .. }
                | What::DmaRead { .. }
                | What::DmaWrite { .. }
                | What::Interrupt { .. }
                | What::Pin { .. }
                | What::Reset
        ),
    }
}

/// The events that are kept, in units.
fn units(story: &Story, kept: &Kept) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut taken: HashMap<(u16, u16), usize> = HashMap::new();
    for number in kept.events() {
        match story.event(number).what {
            What::Taken { queue, head, .. } => {
                taken.insert((queue, head), units.len());
                units.push(vec![number]);
            }
            What::Given { queue, head, .. } => match taken.remove(&(queue, head)) {
                Some(unit) => units[unit].push(number),
                None => units.push(vec![number]),
            },
            _ => units.push(vec![number]),
        }
    }
    units
}
