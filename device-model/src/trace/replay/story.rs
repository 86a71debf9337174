//! A whole trace in memory, as it is packed in the file.

use std::io::Read;

use super::super::event::{decode, encode_whole};
use super::super::{Event, Header, Reader, TraceError};

/// Most bytes of a story.
const MOST_BYTES: usize = 1 << 30;
/// Most events: a packed trace of few bytes may hold any number, and a replay keeps some hundred bytes for each.
const MOST_EVENTS: usize = 8 << 20;

/// A whole trace.
pub struct Story {
    header: Header,
    bytes: Vec<u8>,
    /// Where each event is, and its time.
    places: Vec<(u32, u64)>,
}

/// Why a trace cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// It cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// It is too long.
    #[error(
        "the trace holds more than {} MiB or {MOST_EVENTS} events, too much to replay: record fewer tests in one run",
        MOST_BYTES >> 20
    )]
    Long,
}

impl Story {
    /// Read a trace to its end.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn read(reader: &mut Reader<impl Read>) -> Result<Self, StoryError> {
        let mut story = Self { header: reader.header().clone(), bytes: Vec::new(), places: Vec::new() };
        while let Some(event) = reader.next()? {
            if story.bytes.len() >= MOST_BYTES || story.places.len() >= MOST_EVENTS {
                return Err(StoryError::Long);
            }
            story.places.push((story.bytes.len() as u32, event.time));
            encode_whole(&mut story.bytes, 0, event.own_accord, &event.what);
        }
        Ok(story)
    }

    /// What the trace says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Add to what it says of itself.
    pub fn add_note(&mut self, name: &str, value: String) {
        self.header.notes.insert(name.to_owned(), value);
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// One event.
    pub fn event(&self, number: usize) -> Event<'_> {
        let (at, time) = self.places[number];
        let mut time_of_this = time;
        let event = decode(&mut &self.bytes[at as usize..], &mut time_of_this);
        event.expect("the story's bytes were encoded here")
    }
}
