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

/// Events on their way into a trace: a block, and where it stands among the others.
pub(super) struct Block {
    /// Room for the block's header, then the events.
    bytes: Vec<u8>,
    count: u32,
    base_time: u64,
    last_time: u64,
    /// Events in all blocks so far.
    events: u64,
}

impl Block {
    pub(super) fn new() -> Self {
        let mut bytes = Vec::with_capacity(2 * FULL);
        bytes.resize(BLOCK_HEADER, 0);
        Self { bytes, count: 0, base_time: 0, last_time: 0, events: 0 }
    }

    /// Whether there are events in it.
    #[inline]
    pub(super) fn is_dirty(&self) -> bool {
        self.count > 0
    }

    /// Whether an event with so many bytes of data belongs into it, and not into the next one.
    #[inline]
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.count == 0 || self.bytes.len() + length.min(MAX_DATA) <= BLOCK_HEADER + FULL
    }

    /// Append an event, whose data `fill` puts in its place; what [`encode`] returns. A time before the last event's counts as that one's:
    /// device time never goes backwards.
    #[inline]
    pub(super) fn append(
        &mut self,
        time: u64,
        own_accord: bool,
        what: &What<'_>,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> bool,
    ) -> bool {
        if self.count == 0 {
            self.base_time = time.max(self.last_time);
            self.last_time = self.base_time;
        }
        let step = time.saturating_sub(self.last_time);
        let filled = encode(&mut self.bytes, step, own_accord, what, length, fill);
        if filled {
            self.last_time += step;
            self.count += 1;
            self.events += 1;
        }
        filled
    }

    /// Append events that are encoded already, all at the time of the last one.
    pub(super) fn append_encoded(&mut self, bytes: &[u8], events: u32) {
        if self.count == 0 {
            self.base_time = self.last_time;
        }
        self.bytes.extend_from_slice(bytes);
        self.count += events;
        self.events += u64::from(events);
    }

    /// Empty it: what follows goes on where it ended.
    pub(super) fn clear(&mut self) {
        self.bytes.truncate(BLOCK_HEADER);
        self.count = 0;
    }
}

/// The file that blocks go into.
pub(super) struct BlockFile<W: Write> {
    out: W,
    compression: Compression,
    offset: u64,
    index: Vec<IndexEntry>,
    /// Every how many blocks one is put into the index.
    stride: u64,
    blocks: u64,
}

impl<W: Write> BlockFile<W> {
    /// Begin a trace: the header is written at once.
    pub(super) fn new(mut out: W, header: &Header, compression: Compression) -> io::Result<Self> {
        let bytes = header_bytes(header)?;
        out.write_all(&bytes)?;
        Ok(Self { out, compression, offset: bytes.len() as u64, index: Vec::new(), stride: 1, blocks: 0 })
    }

    /// Write a block that holds events.
    pub(super) fn write(&mut self, block: &mut Block) -> io::Result<()> {
        let first_event = block.events - u64::from(block.count);
        if self.blocks.is_multiple_of(self.stride) {
            self.index.push(IndexEntry { offset: self.offset, first_event, base_time: block.base_time });
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
        self.write_block(&mut block.bytes, HOLDS_EVENTS, block.count, first_event, block.base_time)
    }

    /// Write index and trailer; `last` is the block, an empty one, behind all that were written.
    pub(super) fn finish(&mut self, last: &Block) -> io::Result<()> {
        let at = self.offset;
        let mut bytes = vec![0; BLOCK_HEADER];
        for entry in std::mem::take(&mut self.index) {
            bytes.extend_from_slice(&entry.bytes());
        }
        let count = ((bytes.len() - BLOCK_HEADER) / INDEX_ENTRY) as u32;
        self.compression = Compression::None;
        self.write_block(&mut bytes, HOLDS_INDEX, count, last.events, last.last_time)?;
        self.out.write_all(&trailer(at))?;
        self.out.flush()
    }

    /// Write what stands behind the room for the header in `block`.
    fn write_block(&mut self, block: &mut Vec<u8>, holds: u8, count: u32, first_event: u64, base_time: u64) -> io::Result<()> {
        let raw = (block.len() - BLOCK_HEADER) as u32;
        let mut storage = STORED_PLAIN;
        if self.compression == Compression::Zstd {
            let packed = compress_to_vec(&block[BLOCK_HEADER..], CompressionLevel::Fastest);
            if packed.len() < raw as usize {
                block.truncate(BLOCK_HEADER);
                block.extend_from_slice(&packed);
                storage = STORED_ZSTD;
            }
        }
        let stored = (block.len() - BLOCK_HEADER) as u32;
        let header = BlockHeader { stored, raw, count, first_event, base_time, storage, holds, checksum: 0 };
        let head = header.head();
        let sum = checksum(&[&head, &block[BLOCK_HEADER..]]);
        block[..BLOCK_HEADER - 4].copy_from_slice(&head);
        block[BLOCK_HEADER - 4..BLOCK_HEADER].copy_from_slice(&sum.to_le_bytes());
        self.offset += block.len() as u64;
        self.out.write_all(block)
    }
}

/// Appends events to a trace, and writes each block as soon as it is full.
pub struct Writer<W: Write> {
    file: BlockFile<W>,
    block: Block,
    finished: bool,
}

impl<W: Write> Writer<W> {
    /// Begin a trace: the header is written at once.
    ///
    /// # Errors
    /// The output's.
    pub fn new(out: W, header: &Header, compression: Compression) -> io::Result<Self> {
        Ok(Self { file: BlockFile::new(out, header, compression)?, block: Block::new(), finished: false })
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.block.events
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.file.offset
    }

    #[cfg(test)]
    pub(super) fn index_length(&self) -> usize {
        self.file.index.len()
    }

    /// Append an event. A time before the last event's counts as that one's: device time never goes backwards.
    ///
    /// # Errors
    /// The output's, when a block is full.
    #[inline]
    pub fn append(&mut self, time: u64, own_accord: bool, what: &What<'_>) -> io::Result<()> {
        let data = what.data();
        let length = data.len().min(MAX_DATA);
        if !self.block.has_room(length) {
            self.flush()?;
        }
        self.block.append(time, own_accord, what, length, |room| {
            room.copy_from_slice(&data[..length]);
            true
        });
        Ok(())
    }

    /// Write the block under way, if it holds any event.
    ///
    /// # Errors
    /// The output's.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.block.is_dirty() {
            return Ok(());
        }
        let written = self.file.write(&mut self.block);
        self.block.clear();
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
        self.file.finish(&self.block)
    }

    /// The output. What is not finished is lost.
    pub fn into_inner(self) -> W {
        self.file.out
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
