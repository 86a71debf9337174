//! The bytes of a trace: header, blocks, index, trailer. docs/trace-format.md tells the same in words, and a test holds one to the other.

use crc::{CRC_32_ISCSI, Crc, Table};

/// Version of the format that this code writes; the only one it reads.
pub const VERSION: u16 = 1;
/// First bytes of a trace.
pub(super) const MAGIC: [u8; 8] = *b"rigtrace";
/// First bytes of a block.
pub(super) const BLOCK_MAGIC: [u8; 4] = *b"BLK1";
/// First bytes of the trailer.
pub(super) const TRAILER_MAGIC: [u8; 8] = *b"rigindex";

/// Bytes of the file's header before its text.
pub(super) const FILE_HEADER: usize = 16;
/// Bytes of a block's header.
pub(super) const BLOCK_HEADER: usize = 40;
/// Bytes of the trailer.
pub(super) const TRAILER: usize = 20;
/// Bytes of an entry of the index.
pub(super) const INDEX_ENTRY: usize = 24;

/// Longest text of the header.
pub(super) const MAX_HEADER: usize = 1 << 20;
/// Most bytes of a block, stored or not: what a reader must have room for.
pub const MAX_BLOCK: usize = 4 << 20;
/// Most bytes of data of one event; what an event held beyond them is not in the trace.
pub const MAX_DATA: usize = 2 << 20;
/// Most entries of the index; a longer trace has every second, fourth ... block in it.
pub(super) const MAX_INDEX: usize = MAX_BLOCK / INDEX_ENTRY / 2;

/// What a block holds.
pub(super) const HOLDS_EVENTS: u8 = 0;
pub(super) const HOLDS_INDEX: u8 = 1;
/// How its bytes are stored.
pub(super) const STORED_PLAIN: u8 = 0;
pub(super) const STORED_ZSTD: u8 = 1;

const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// CRC-32C of some parts, one behind the other: by the processor's own instruction where it has one.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the instructions, as it has just said.
        return !parts.iter().fold(u32::MAX, |sum, part| unsafe { by_instruction(sum, part) });
    }
    by_table(parts)
}

fn by_table(parts: &[&[u8]]) -> u32 {
    let mut digest = CRC.digest();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize()
}

/// Go on with a sum that is not inverted at its end yet.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn by_instruction(sum: u32, bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    let (words, rest) = bytes.as_chunks();
    let mut wide = u64::from(sum);
    for word in words {
        wide = _mm_crc32_u64(wide, u64::from_le_bytes(*word));
    }
    let mut sum = wide as u32;
    for byte in rest {
        sum = _mm_crc32_u8(sum, *byte);
    }
    sum
}

/// Why a trace cannot be read, or no further.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The operating system's refusal.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// Some other file.
    #[error("this is no trace: it does not begin with \"rigtrace\"")]
    NoTrace,
    /// A trace of another version.
    #[error("the trace is of version {0}, this program reads version {VERSION}: use the program that wrote it")]
    Version(u16),
    /// The header is damaged.
    #[error("the trace's header is damaged: {0}")]
    Header(String),
    /// The file ends inside a block: whoever wrote it was killed, or the file was cut.
    #[error("the trace ends in the middle of a block, at byte {offset}: {events} events before it are intact")]
    Cut {
        /// Where the block begins.
        offset: u64,
        /// Events before it.
        events: u64,
    },
    /// A block is not as its checksum says, or says nonsense.
    #[error("the block at byte {offset} is damaged ({reason}): {events} events before it are intact")]
    Block {
        /// Where it begins.
        offset: u64,
        /// Events before it.
        events: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// The header of a block, and where things are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    /// Bytes that follow the header.
    pub(super) stored: u32,
    /// Bytes after decompression.
    pub(super) raw: u32,
    /// Events in it; for an index, its entries.
    pub(super) count: u32,
    pub(super) first_event: u64,
    /// Device time from which the first event counts.
    pub(super) base_time: u64,
    pub(super) storage: u8,
    pub(super) holds: u8,
    pub(super) checksum: u32,
}

impl BlockHeader {
    /// The first 36 bytes: all but the checksum.
    pub(super) fn head(&self) -> [u8; BLOCK_HEADER - 4] {
        let mut bytes = [0; BLOCK_HEADER - 4];
        bytes[..4].copy_from_slice(&BLOCK_MAGIC);
        bytes[4..8].copy_from_slice(&self.stored.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.raw.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_event.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base_time.to_le_bytes());
        bytes[32] = self.storage;
        bytes[33] = self.holds;
        bytes
    }

    /// Read a header; the reason if it says nonsense.
    pub(super) fn parse(bytes: &[u8; BLOCK_HEADER]) -> Result<Self, String> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if bytes[..4] != BLOCK_MAGIC {
            return Err("no block begins here".into());
        }
        let header = Self {
            stored: word(4),
            raw: word(8),
            count: word(12),
            first_event: long(16),
            base_time: long(24),
            storage: bytes[32],
            holds: bytes[33],
            checksum: word(36),
        };
        for (name, length) in [("stored", header.stored), ("unpacked", header.raw)] {
            if length as usize > MAX_BLOCK {
                return Err(format!("it claims {length} {name} bytes, more than {MAX_BLOCK}"));
            }
        }
        if header.storage == STORED_PLAIN && header.stored != header.raw {
            return Err("two lengths for bytes that are not packed".into());
        }
        if header.storage > STORED_ZSTD || header.holds > HOLDS_INDEX || bytes[34..36] != [0, 0] {
            return Err("an unknown kind of block".into());
        }
        Ok(header)
    }
}

/// A place in the file from which reading can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) offset: u64,
    pub(super) first_event: u64,
    pub(super) base_time: u64,
}

impl IndexEntry {
    pub(super) fn bytes(&self) -> [u8; INDEX_ENTRY] {
        let mut bytes = [0; INDEX_ENTRY];
        for (part, value) in bytes.chunks_exact_mut(8).zip([self.offset, self.first_event, self.base_time]) {
            part.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Self { offset: long(0)?, first_event: long(8)?, base_time: long(16)? })
    }
}

/// The trailer of a trace whose index is at `offset`.
pub(super) fn trailer(offset: u64) -> [u8; TRAILER] {
    let mut bytes = [0; TRAILER];
    bytes[..8].copy_from_slice(&TRAILER_MAGIC);
    bytes[8..16].copy_from_slice(&offset.to_le_bytes());
    let sum = checksum(&[&bytes[..16]]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Where a trailer says that the index is.
pub(super) fn parse_trailer(bytes: &[u8; TRAILER]) -> Option<u64> {
    let sum = u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
    let valid = bytes[..8] == TRAILER_MAGIC && checksum(&[&bytes[..16]]) == sum;
    valid.then(|| u64::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]]))
}

/// A trace whose only block holds `content`, whatever that is; lengths and checksums are right. For fuzzing.
pub(crate) fn around(content: &[u8], packed: bool) -> Vec<u8> {
    let text = br#"{"level":"bus","device":"x"}"#;
    let mut bytes = MAGIC.to_vec();
    bytes.extend([VERSION.to_le_bytes(), [0; 2]].concat());
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text);
    bytes.extend(checksum(&[&bytes]).to_le_bytes());
    let stored = content.len() as u32;
    let (storage, raw) =
        if packed { (STORED_ZSTD, stored.saturating_mul(8).min(MAX_BLOCK as u32)) } else { (STORED_PLAIN, stored) };
    let block = BlockHeader { stored, raw, count: u32::MAX, first_event: 0, base_time: 0, storage, holds: 0, checksum: 0 };
    let head = block.head();
    bytes.extend(head);
    bytes.extend(checksum(&[&head, content]).to_le_bytes());
    bytes.extend(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_checksum_is_the_tables_however_the_bytes_are_cut() {
        let bytes: Vec<u8> = (0..1000_u32).map(|index| (index * 7) as u8).collect();
        for length in [0, 1, 7, 8, 9, 64, 999] {
            for cut in [0, length / 3, length] {
                let parts = [&bytes[..cut], &bytes[cut..length]];
                assert_eq!(checksum(&parts), by_table(&parts), "{length} bytes cut at {cut}");
            }
        }
        assert_eq!(checksum(&[b"123456789"]), 0xe306_9283, "the check value of the catalogue");
    }
}
