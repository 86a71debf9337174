//! The lines of the guest's log that nobody waits for. A byte on COM1 costs a guest microseconds, and what drivers remember of their last
//! requests is a hundred thousand bytes: ntlet keeps it in its memory (`vm-images/ntlet/kernel/src/log.rs`), and it is fetched here when
//! the guest has ended.

use std::path::Path;

use crate::dump::symbol_in;
use crate::memory::GuestMemory;

/// The symbol of [`Header`] in the image.
const SYMBOL: &str = "ntlet_late_log";
/// What asks a kernel to keep such lines.
pub const WORD: &str = "late-log=memory";
/// What a header begins with.
const SIGNATURE: u64 = u64::from_le_bytes(*b"lateLOG1");
/// Most bytes that are believed.
const MOST: u64 = 16 << 20;

/// The physical address of the header in a guest that boots `image`; `None`: it keeps no such lines.
#[must_use]
pub fn place_in(image: &Path) -> Option<u64> {
    symbol_in(image, SYMBOL).ok()
}

/// The lines in the memory of a guest, whose header is at `place`. Empty where there is none: the guest may not have come so far.
#[must_use]
pub fn lines(memory: &GuestMemory, place: u64) -> Vec<u8> {
    let word = |number: u64| {
        let mut bytes = [0; 8];
        memory.read(place.checked_add(8 * number)?, &mut bytes).ok().map(|()| u64::from_le_bytes(bytes))
    };
    let header = || Some((word(0)?, word(1)?, word(2)?, word(3)?));
    match header() {
        Some((SIGNATURE, physical, room, written)) if written <= room && room <= MOST => {
            let mut lines = vec![0; written as usize];
            if memory.read(physical, &mut lines).is_ok() { lines } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// A guest with this header at 0x1000, and `text` at 0x2000.
    fn guest(header: [u64; 4], text: &[u8]) -> GuestMemory {
        let memory = GuestMemory::new(1).unwrap();
        let file = File::from(memory.as_fd().try_clone_to_owned().unwrap());
        let header: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        file.write_all_at(&header, 0x1000).unwrap();
        file.write_all_at(text, 0x2000).unwrap();
        memory
    }

    #[test]
    fn as_much_is_fetched_as_was_written() {
        assert_eq!(lines(&guest([SIGNATURE, 0x2000, 0x1000, 5], b"line\nold"), 0x1000), b"line\n");
    }

    #[test]
    fn what_a_guest_makes_up_is_nothing() {
        for header in [
            [0, 0x2000, 0x1000, 5],
            [SIGNATURE, 0x2000, 4, 5],
            [SIGNATURE, 0x2000, u64::MAX, u64::MAX],
            [SIGNATURE, 0xf_fffe, 0x1000, 5],
            [SIGNATURE, u64::MAX, 0x1000, 5],
        ] {
            assert!(lines(&guest(header, b"line\n"), 0x1000).is_empty(), "{header:x?}");
        }
        for place in [0xf_fff0, 1 << 40, u64::MAX] {
            assert!(lines(&guest([SIGNATURE, 0x2000, 0x1000, 5], b"line\n"), place).is_empty());
        }
    }
}
