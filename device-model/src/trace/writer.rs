//! Writes a trace: events into a block, a full block into the file with one write, the index when all is over.
//!
//! Whatever ends the writer, a reader finds all blocks that had been written. What is lost is the block under way.

use std::io::{self, Write};

use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::event::{What, encode};
use super::format::*;
use super::header::Header;

/// A block is written when it holds this much.
const FULL: usize = 64 << 10;

/// How blocks are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are: quickest to write.
    #[default]
    None,
    /// By zstd, unless that makes them longer.
    Zstd,
}

/// Appends events to a trace.
pub struct Writer<W: Write> {
    out: W,
    compression: Compression,
    /// Room for the block's header, then the events of the block under way.
    block: Vec<u8>,
    count: u32,
    base_time: u64,
    last_time: u64,
    events: u64,
    offset: u64,
    index: Vec<IndexEntry>,
    /// Every how many blocks one is put into the index.
    stride: u64,
    blocks: u64,
    finished: bool,
}

impl<W: Write> Writer<W> {
    /// Begin a trace: the header is written at once.
    ///
    /// # Errors
    /// The output's.
    pub fn new(mut out: W, header: &Header, compression: Compression) -> io::Result<Self> {
        let bytes = header_bytes(header)?;
        out.write_all(&bytes)?;
        let mut block = Vec::with_capacity(2 * FULL);
        block.resize(BLOCK_HEADER, 0);
        Ok(Self {
            out,
            compression,
            block,
            count: 0,
            base_time: 0,
            last_time: 0,
            events: 0,
            offset: bytes.len() as u64,
            index: Vec::new(),
            stride: 1,
            blocks: 0,
            finished: false,
        })
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.offset
    }

    #[cfg(test)]
    pub(super) fn index_length(&self) -> usize {
        self.index.len()
    }

    /// Whether there are events that are not in the file yet.
    pub fn is_dirty(&self) -> bool {
        self.count > 0
    }

    /// Append an event. A time before the last event's counts as that one's: device time never goes backwards.
    ///
    /// # Errors
    /// The output's, when a block is full.
    #[inline]
    pub fn append(&mut self, time: u64, own_accord: bool, what: &What<'_>) -> io::Result<()> {
        if self.block.len() + what.data().len().min(MAX_DATA) > BLOCK_HEADER + FULL {
            self.flush()?;
        }
        if self.count == 0 {
            self.base_time = time.max(self.last_time);
            self.last_time = self.base_time;
        }
        let step = time.saturating_sub(self.last_time);
        encode(&mut self.block, step, own_accord, what);
        self.last_time += step;
        self.count += 1;
        self.events += 1;
        Ok(())
    }

    /// Append events that are encoded already, all at the time of the last one.
    ///
    /// # Errors
    /// The output's.
    pub(super) fn append_encoded(&mut self, bytes: &[u8], events: u32) -> io::Result<()> {
        if self.block.len() + bytes.len() > BLOCK_HEADER + FULL {
            self.flush()?;
        }
        if self.count == 0 {
            self.base_time = self.last_time;
        }
        self.block.extend_from_slice(bytes);
        self.count += events;
        self.events += u64::from(events);
        Ok(())
    }

    /// Write the block under way, if it holds any event.
    ///
    /// # Errors
    /// The output's.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let first_event = self.events - u64::from(self.count);
        if self.blocks.is_multiple_of(self.stride) {
            self.index.push(IndexEntry { offset: self.offset, first_event, base_time: self.base_time });
        }
        self.blocks += 1;
        if self.index.len() == MAX_INDEX {
            let mut nth = 0;
            self.index.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
            self.stride *= 2;
        }
        let written = self.write_block(HOLDS_EVENTS, self.count, first_event, self.base_time);
        self.block.truncate(BLOCK_HEADER);
        self.count = 0;
        written
    }

    /// Write what is left, then index and trailer. Nothing may be appended afterwards.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.finished {
            return Ok(());
        }
        self.flush()?;
        self.finished = true;
        let at = self.offset;
        for entry in std::mem::take(&mut self.index) {
            self.block.extend_from_slice(&entry.bytes());
        }
        let count = ((self.block.len() - BLOCK_HEADER) / INDEX_ENTRY) as u32;
        self.compression = Compression::None;
        self.write_block(HOLDS_INDEX, count, self.events, self.last_time)?;
        self.out.write_all(&trailer(at))?;
        self.out.flush()
    }

    /// The output. What is not finished is lost.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn write_block(&mut self, holds: u8, count: u32, first_event: u64, base_time: u64) -> io::Result<()> {
        let raw = (self.block.len() - BLOCK_HEADER) as u32;
        let mut storage = STORED_PLAIN;
        if self.compression == Compression::Zstd {
            let packed = compress_to_vec(&self.block[BLOCK_HEADER..], CompressionLevel::Fastest);
            if packed.len() < raw as usize {
                self.block.truncate(BLOCK_HEADER);
                self.block.extend_from_slice(&packed);
                storage = STORED_ZSTD;
            }
        }
        let stored = (self.block.len() - BLOCK_HEADER) as u32;
        let header = BlockHeader { stored, raw, count, first_event, base_time, storage, holds, checksum: 0 };
        let head = header.head();
        let sum = checksum(&[&head, &self.block[BLOCK_HEADER..]]);
        self.block[..BLOCK_HEADER - 4].copy_from_slice(&head);
        self.block[BLOCK_HEADER - 4..BLOCK_HEADER].copy_from_slice(&sum.to_le_bytes());
        self.offset += self.block.len() as u64;
        self.out.write_all(&self.block)
    }
}

fn header_bytes(header: &Header) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(header)?;
    if text.len() > MAX_HEADER {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the header of a trace has more than a mebibyte of text"));
    }
    let mut bytes = Vec::with_capacity(FILE_HEADER + text.len() + 4);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&text);
    let sum = checksum(&[&bytes]);
    bytes.extend_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}
