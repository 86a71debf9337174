//! Reads a trace as a stream: one block in memory, whatever the file's length. Nothing the file claims is believed before it is checked.

use std::io::{self, Read, Seek, SeekFrom};

use ruzstd::decoding::FrameDecoder;

use super::event::{Event, decode};
use super::format::*;
use super::header::Header;

/// How a trace that could be read to its end has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its index: whoever wrote it came to an end in order.
    Finished,
    /// Without one: the writer was stopped between two blocks, and up to a block of events may be missing.
    Unfinished,
}

/// Reads events, one after the other.
pub struct Reader<R> {
    input: R,
    header: Header,
    /// Where the first block begins.
    start: u64,
    /// Where the block after this one begins.
    offset: u64,
    stored: Vec<u8>,
    raw: Vec<u8>,
    at: usize,
    left: u32,
    time: u64,
    events: u64,
    block_start: u64,
    ending: Option<Ending>,
    failed: bool,
    decoder: FrameDecoder,
}

impl<R: Read> Reader<R> {
    /// Read the header.
    ///
    /// # Errors
    /// Why this is no trace.
    pub fn new(mut input: R) -> Result<Self, TraceError> {
        let (header, start) = read_header(&mut input)?;
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(2 * MAX_BLOCK as u64);
        Ok(Self {
            input,
            header,
            start,
            offset: start,
            stored: Vec::new(),
            raw: Vec::new(),
            at: 0,
            left: 0,
            time: 0,
            events: 0,
            block_start: start,
            ending: None,
            failed: false,
            decoder,
        })
    }

    /// What the trace says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Number of the next event, counted from 0.
    pub fn position(&self) -> u64 {
        self.events
    }

    /// How the trace ended; `None` before its end has been reached.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The next event; `None` at the end, and after an error.
    ///
    /// # Errors
    /// Why there are no more, although the trace has not ended.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend what it holds")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, TraceError> {
        if self.left == 0 && !self.load()? {
            return Ok(None);
        }
        let mut rest = &self.raw[self.at..];
        let found = decode(&mut rest, &mut self.time);
        let rest = rest.len();
        let Some(event) = found else {
            return Err(damage(&mut self.failed, &mut self.left, self.block_start, self.events, "an event that is none"));
        };
        self.at = self.raw.len() - rest;
        self.left -= 1;
        self.events += 1;
        if self.left == 0 && rest > 0 {
            return Err(damage(&mut self.failed, &mut self.left, self.block_start, self.events, "bytes behind its last event"));
        }
        Ok(Some(event))
    }

    /// Bring the next block of events into memory; `false` at the end.
    fn load(&mut self) -> Result<bool, TraceError> {
        if self.failed || self.ending.is_some() {
            return Ok(false);
        }
        match self.next_block() {
            Ok(Some(header)) if header.holds == HOLDS_EVENTS => {
                self.at = 0;
                self.left = header.count;
                self.time = header.base_time;
                Ok(true)
            }
            Ok(Some(_)) => {
                let mut bytes = [0; TRAILER];
                let whole = read_full(&mut self.input, &mut bytes)? == TRAILER && parse_trailer(&bytes).is_some();
                self.ending = Some(if whole { Ending::Finished } else { Ending::Unfinished });
                Ok(false)
            }
            Ok(None) => {
                self.ending = Some(Ending::Unfinished);
                Ok(false)
            }
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        }
    }

    /// Read, check and unpack a block into `self.raw`; `None` at the end of the file.
    fn next_block(&mut self) -> Result<Option<BlockHeader>, TraceError> {
        let (offset, events) = (self.offset, self.events);
        self.block_start = offset;
        let damaged = |reason: String| TraceError::Block { offset, events, reason };
        let cut = TraceError::Cut { offset, events };
        let mut head = [0; BLOCK_HEADER];
        match read_full(&mut self.input, &mut head)? {
            0 => return Ok(None),
            BLOCK_HEADER => {}
            _ => return Err(cut),
        }
        let header = BlockHeader::parse(&head).map_err(damaged)?;
        let stored = header.stored as usize;
        self.stored.resize(stored, 0);
        if read_full(&mut self.input, &mut self.stored)? < stored {
            return Err(cut);
        }
        self.offset += (BLOCK_HEADER + stored) as u64;
        if checksum(&[&head[..BLOCK_HEADER - 4], &self.stored]) != header.checksum {
            return Err(damaged("its checksum is wrong".into()));
        }
        if header.storage == STORED_ZSTD {
            self.raw.resize(header.raw as usize, 0);
            // The room is what the header claims, and no more than a block may have: a bomb finds no more.
            match self.decoder.decode_all(&self.stored, &mut self.raw) {
                Ok(length) if length == self.raw.len() => {}
                Ok(length) => return Err(damaged(format!("{} bytes were packed, {length} came out", header.raw))),
                Err(error) => return Err(damaged(error.to_string())),
            }
        } else {
            std::mem::swap(&mut self.raw, &mut self.stored);
        }
        if header.holds == HOLDS_EVENTS && (header.first_event != events || header.count == 0) {
            return Err(damaged(format!("it begins with event {}, but {events} is next", header.first_event)));
        }
        Ok(Some(header))
    }
}

/// Why the block under way cannot be read on. Nothing is read after it.
fn damage(failed: &mut bool, left: &mut u32, offset: u64, events: u64, reason: &str) -> TraceError {
    (*failed, *left) = (true, 0);
    TraceError::Block { offset, events, reason: reason.to_owned() }
}

impl<R: Read + Seek> Reader<R> {
    /// Go on with the block that holds event `number`, or as near before it as the index knows; the caller skips the rest. Without an
    /// index, or with one that lies, reading goes on from the beginning: that is slower and never wrong.
    ///
    /// # Errors
    /// The input's.
    pub fn seek(&mut self, number: u64) -> Result<(), TraceError> {
        let entry = self.nearest(number)?;
        let (offset, events) = entry.unwrap_or((self.start, 0));
        self.input.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        self.events = events;
        (self.at, self.left, self.ending, self.failed) = (0, 0, None, false);
        if events > 0 && !self.load().is_ok_and(|loaded| loaded) {
            // What the index promised is not there.
            self.input.seek(SeekFrom::Start(self.start))?;
            self.offset = self.start;
            self.events = 0;
            (self.at, self.left, self.ending, self.failed) = (0, 0, None, false);
        }
        Ok(())
    }

    /// Offset and first event of the last block in the index that begins at or before `number`.
    fn nearest(&mut self, number: u64) -> Result<Option<(u64, u64)>, TraceError> {
        let length = self.input.seek(SeekFrom::End(0))?;
        let Some(at) = length.checked_sub(TRAILER as u64).filter(|at| *at >= self.start) else { return Ok(None) };
        self.input.seek(SeekFrom::Start(at))?;
        let mut bytes = [0; TRAILER];
        if read_full(&mut self.input, &mut bytes)? < TRAILER {
            return Ok(None);
        }
        let Some(offset) = parse_trailer(&bytes).filter(|offset| (self.start..at).contains(offset)) else { return Ok(None) };
        self.input.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        let index = match self.next_block() {
            Ok(Some(header)) if header.holds == HOLDS_INDEX => std::mem::take(&mut self.raw),
            Ok(_) | Err(TraceError::Block { .. } | TraceError::Cut { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let entries = index.chunks_exact(INDEX_ENTRY).filter_map(IndexEntry::parse);
        let mut before = entries.filter(|entry| entry.first_event <= number && (self.start..at).contains(&entry.offset));
        Ok(before.next_back().map(|entry| (entry.offset, entry.first_event)))
    }
}

fn read_header(input: &mut impl Read) -> Result<(Header, u64), TraceError> {
    let mut head = [0; FILE_HEADER];
    if read_full(input, &mut head)? < FILE_HEADER || head[..8] != MAGIC {
        return Err(TraceError::NoTrace);
    }
    let version = u16::from_le_bytes([head[8], head[9]]);
    if version != VERSION {
        return Err(TraceError::Version(version));
    }
    let length = u32::from_le_bytes([head[12], head[13], head[14], head[15]]) as usize;
    if length > MAX_HEADER {
        return Err(TraceError::Header(format!("it claims {length} bytes of text, more than {MAX_HEADER}")));
    }
    let mut text = vec![0; length + 4];
    if read_full(input, &mut text)? < text.len() {
        return Err(TraceError::Header("the file ends in it".into()));
    }
    let (text, sum) = text.split_at(length);
    if checksum(&[&head, text]).to_le_bytes() != sum {
        return Err(TraceError::Header("its checksum is wrong".into()));
    }
    let header = serde_json::from_slice(text).map_err(|error| TraceError::Header(error.to_string()))?;
    Ok((header, (FILE_HEADER + length + 4) as u64))
}

/// Fill `into` as far as the input reaches.
fn read_full(input: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match input.read(&mut into[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
