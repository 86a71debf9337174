//! Other answers than the device gave: which, follows from a seed alone.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::super::look::Describe;
use super::super::replay::Story;
use super::super::{Compression, Event, What, Writer};
use crate::dice::Dice;

/// Most answers that one seed changes.
const MOST: u64 = 4;
/// Values that programs like to be wrong about.
const NOTABLE: [u64; 10] = [0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// One answer that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// The event.
    pub event: u64,
    /// What the device did.
    pub was: String,
    /// What it does now.
    pub is: String,
}

/// Write `story` with some of the device's answers changed; what was changed is told. A story without answers is written as it is.
///
/// # Errors
/// The output's.
pub fn mutate(story: &Story, seed: u64, out: impl Write) -> io::Result<Vec<Mutation>> {
    let mut dice = Dice::new(seed);
    let answers: Vec<usize> = (0..story.len()).filter(|number| is_answer(&story.event(*number).what)).collect();
    let count = if answers.is_empty() { 0 } else { 1 + dice.roll() % MOST };
    let mut chosen: BTreeMap<usize, u64> = BTreeMap::new();
    for _ in 0..count {
        chosen.insert(answers[dice.below(answers.len())], dice.roll());
    }
    let describe = Describe::new(story.header(), None);
    let mut told = Vec::new();
    let mut writer = Writer::new(out, story.header(), Compression::None)?;
    for number in 0..story.len() {
        let event = story.event(number);
        let Some(&seed) = chosen.get(&number) else {
            writer.append(event.time, event.own_accord, &event.what)?;
            continue;
        };
        let mut dice = Dice::new(seed);
        let mut data = event.what.data().to_vec();
        let mut length = written(&event.what);
        if length > 0 && (data.is_empty() || dice.below(4) == 0) {
            // What the device says it has written: too little, too much, or what no chain has room for.
            length = [0, length - 1, length.saturating_add(1), NOTABLE[dice.below(NOTABLE.len())] as u32][dice.below(4)];
        } else {
            change(&mut data, &mut dice);
        }
        let changed = Event { what: with(&event.what, &data, length), ..event };
        told.push(Mutation { event: number as u64, was: describe.what(&event.what), is: describe.what(&changed.what) });
        writer.append(changed.time, changed.own_accord, &changed.what)?;
    }
    writer.finish()?;
    Ok(told)
}

/// Whether an event is an answer of the device with something in it that can be changed.
fn is_answer(what: &What<'_>) -> bool {
    match what {
        What::Read { .. } | What::DmaWrite { .. } | What::DeviceRead { .. } | What::SharedRead { .. } => !what.data().is_empty(),
        What::Given { written, .. } => *written > 0 || !what.data().is_empty(),
        _ => false,
    }
}

fn written(what: &What<'_>) -> u32 {
    if let What::Given { written, .. } = what { *written } else { 0 }
}

fn change(data: &mut [u8], dice: &mut Dice) {
    if data.is_empty() {
        return;
    }
    let at = dice.below(data.len());
    match dice.below(4) {
        0 => data[at] ^= 1 << dice.below(8),
        1 => data[at] = dice.roll() as u8,
        2 => {
            // Numbers lie where such numbers lie.
            let width = [1, 2, 4, 8][dice.below(4)].min(data.len());
            let at = (at / width * width).min(data.len() - width);
            data[at..at + width].copy_from_slice(&NOTABLE[dice.below(NOTABLE.len())].to_le_bytes()[..width]);
        }
        _ => data.fill(if dice.below(2) == 0 { 0 } else { 0xff }),
    }
}

/// The same answer with other bytes.
fn with<'a>(what: &What<'a>, data: &'a [u8], written: u32) -> What<'a> {
    match *what {
        What::Read { bar, offset, .. } => What::Read { bar, offset, data },
        What::DmaWrite { address, .. } => What::DmaWrite { address, data },
        What::DeviceRead { offset, .. } => What::DeviceRead { offset, data },
        What::SharedRead { offset, .. } => What::SharedRead { offset, data },
        What::Given { queue, head, .. } => What::Given { queue, head, written, data },
        other => other,
    }
}
