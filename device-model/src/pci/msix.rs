//! MSI-X: the table of vectors, their pending bits, and when a message may go out.

use super::Link;

/// Bytes of one table entry.
const ENTRY: usize = 16;
/// Bit 0 of an entry's last word: the vector is masked.
const MASKED: u32 = 1;

/// Table and pending bits of one function.
pub(super) struct MsixTable {
    entries: Vec<[u32; 4]>,
    pending: Vec<u64>,
    pba_offset: u64,
}

impl MsixTable {
    pub(super) fn new(vectors: u16) -> Self {
        let mut table = Self {
            entries: vec![[0; 4]; usize::from(vectors)],
            pending: vec![0; usize::from(vectors).div_ceil(64)],
            pba_offset: bar_size(vectors) / 2,
        };
        table.reset();
        table
    }

    pub(super) fn reset(&mut self) {
        self.entries.fill([0, 0, 0, MASKED]);
        self.pending.fill(0);
    }

    /// Send the message of `vector`, or keep it pending if `allowed` is not given or the vector is masked.
    pub(super) fn raise(&mut self, vector: u16, allowed: bool, link: &mut dyn Link) {
        let index = usize::from(vector);
        let Some(entry) = self.entries.get(index) else {
            tracing::warn!(vector, "the device raised a vector it does not have");
            return;
        };
        let masked = entry[3] & MASKED != 0 && !link.masks_vectors();
        if allowed && !masked {
            link.message(vector, u64::from(entry[1]) << 32 | u64::from(entry[0]), entry[2]);
        } else {
            self.pending[index / 64] |= 1 << (index % 64);
        }
    }

    /// Send what is pending and no longer held back.
    pub(super) fn deliver_pending(&mut self, allowed: bool, link: &mut dyn Link) {
        if !allowed || self.pending.iter().all(|&word| word == 0) {
            return;
        }
        for index in 0..self.entries.len() {
            let bit = 1 << (index % 64);
            if self.pending[index / 64] & bit != 0 {
                self.pending[index / 64] &= !bit;
                self.raise(index as u16, true, link);
            }
        }
    }

    /// Read from the BAR. What is neither table nor pending bits reads as zero.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = self.byte(at);
        }
    }

    /// Write to the BAR: only whole words of the table take effect.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        if data.len() < 4 || !offset.is_multiple_of(4) {
            return;
        }
        for (word, bytes) in (offset / 4..).zip(data.chunks_exact(4)) {
            let index = word as usize;
            if let Some(entry) = self.entries.get_mut(index / 4) {
                let value = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                entry[index % 4] = if index % 4 == 3 { value & MASKED } else { value };
            }
        }
    }

    fn byte(&self, at: u64) -> u8 {
        if at >= self.pba_offset {
            let index = (at - self.pba_offset) as usize;
            return self.pending.get(index / 8).map_or(0, |word| word.to_le_bytes()[index % 8]);
        }
        let index = at as usize;
        self.entries.get(index / ENTRY).map_or(0, |entry| entry[index % ENTRY / 4].to_le_bytes()[index % 4])
    }
}

/// Size of the BAR: half for the table, half for the pending bits, at least a page.
pub(super) fn bar_size(vectors: u16) -> u64 {
    (u64::from(vectors) * ENTRY as u64 * 2).next_power_of_two().max(0x1000)
}
