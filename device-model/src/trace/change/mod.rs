//! Traces made of traces: with other answers of the device (`mutate`), or with less in them (`shrink`).

mod mutate;
mod shrink;

#[cfg(test)]
mod tests;

use std::io::{self, Write};

pub use self::mutate::{Mutation, mutate};
pub use self::shrink::{Kept, shrink};

use super::replay::Story;
use super::{Compression, Writer};

/// Write the events of a story that are kept.
///
/// # Errors
/// The output's.
pub fn write_part(story: &Story, kept: &Kept, out: impl Write) -> io::Result<()> {
    let mut writer = Writer::new(out, story.header(), Compression::None)?;
    for number in kept.events() {
        let event = story.event(number);
        writer.append(event.time, event.own_accord, &event.what)?;
    }
    writer.finish()
}
