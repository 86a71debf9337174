//! Making a link repeatable. The linker gives driver and symbols an id and times that it computes from the symbols and from what it was called with;
//! here they follow from the driver alone. Hashes of cargo's in the names of objects are blanked.

use object::LittleEndian as LE;
use object::pe::IMAGE_DIRECTORY_ENTRY_DEBUG;
use object::read::pe::PeFile64;
use sha2::{Digest as _, Sha256};

use crate::asn1::{Malformed, malformed};
use crate::authenticode::Layout;

/// Offset of the checksum in the optional header.
const CHECKSUM_IN_HEADER: usize = 64;
/// Length of the header before it.
const FILE_HEADER: usize = 20;
/// Length of an entry of the debug directory.
const ENTRY: usize = 28;
/// Type of the entry that names the symbols.
const CODEVIEW: u32 = 2;
/// Most entries that are read; linkers write two or three.
const MOST_ENTRIES: usize = 16;
/// Length of the id that driver and symbols share.
const ID: usize = 16;
/// Length of the hash in the name of an object.
const CARGO_HASH: usize = 16;

/// Gives driver and symbols an id and times that follow from the driver. The checksum is left wrong: signing corrects it.
///
/// # Errors
/// The driver is no PE file, or the symbols are not its own.
pub(crate) fn settle(driver: &mut [u8], symbols: &mut [u8]) -> Result<(), Malformed> {
    let checksum = Layout::of(driver)?.checksum;
    // The time is the second field of the file header, twenty bytes that end where the optional header begins.
    let mut times = vec![checksum - CHECKSUM_IN_HEADER - FILE_HEADER + 4];
    let mut id_place = None;
    for entry in debug_entries(driver)? {
        times.push(entry + 4);
        let field = |offset| number(driver, entry + offset);
        if field(12) == Some(CODEVIEW as usize) {
            id_place = field(24).and_then(|data| data.checked_add(4));
        }
    }
    let old = match id_place {
        None => None,
        Some(place) => Some(driver.get(place..place + ID).ok_or_else(outside)?.to_vec()),
    };
    let mut own = vec![(checksum, 4)];
    own.extend(times.iter().map(|place| (*place, 4)).chain(id_place.map(|place| (place, ID))));
    for (place, length) in own {
        driver.get_mut(place..place + length).ok_or_else(outside)?.fill(0);
    }
    let digest = Sha256::digest(&*driver);
    let (id, time) = (&digest[..ID], &digest[ID..ID + 4]);
    for place in times {
        driver[place..place + 4].copy_from_slice(time);
    }
    let (Some(place), Some(old)) = (id_place, old) else {
        return Ok(());
    };
    driver[place..place + ID].copy_from_slice(id);
    blank_cargo_hashes(symbols);
    rename(symbols, &old, id, time)
}

fn outside() -> Malformed {
    malformed("the debug directory points outside the file")
}

fn number(image: &[u8], offset: usize) -> Option<usize> {
    let bytes = image.get(offset..offset.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

/// Offsets of the debug directory's entries.
fn debug_entries(driver: &[u8]) -> Result<Vec<usize>, Malformed> {
    let file = PeFile64::parse(driver).map_err(|error| malformed(error.to_string()))?;
    let Some(directory) = file.data_directory(IMAGE_DIRECTORY_ENTRY_DEBUG).filter(|place| place.size.get(LE) != 0) else {
        return Ok(Vec::new());
    };
    let (start, length) = directory.file_range(&file.section_table()).map_err(|error| malformed(error.to_string()))?;
    let count = (length as usize / ENTRY).min(MOST_ENTRIES);
    let entries: Vec<usize> = (0..count).map(|index| start as usize + index * ENTRY).collect();
    if entries.last().is_some_and(|last| driver.len() < last + ENTRY) { Err(outside()) } else { Ok(entries) }
}

/// Cargo adds a hash to the names of objects that says, among other things, in which folder they were made: `relay-0123456789abcdef.…`. Nothing looks
/// them up by name.
fn blank_cargo_hashes(symbols: &mut [u8]) {
    for start in 0..symbols.len().saturating_sub(CARGO_HASH + 1) {
        let [b'-', hash @ .., b'.'] = &mut symbols[start..start + CARGO_HASH + 2] else { continue };
        if hash.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            hash.fill(b'0');
        }
    }
}

/// Replaces the id in the symbols, and the time that stands before it with a counter in between.
fn rename(symbols: &mut [u8], old: &[u8], id: &[u8], time: &[u8]) -> Result<(), Malformed> {
    let places: Vec<usize> = symbols.windows(ID).enumerate().filter(|(_, bytes)| *bytes == old).map(|(place, _)| place).collect();
    match places[..] {
        [place] if place >= 8 => {
            symbols[place..place + ID].copy_from_slice(id);
            symbols[place - 8..place - 4].copy_from_slice(time);
            Ok(())
        }
        _ => Err(malformed("the symbols do not carry the driver's id, so they are not its own")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hash_in_the_name_of_an_object_is_blanked() {
        let mut symbols =
            *b"relay-a889b978408cb240.relay.6fa65438c1bf531a-cgu.0 x-0123456789abcde. y-0123456789ABCDEF. -fedcba9876543210.";
        blank_cargo_hashes(&mut symbols);
        let expected =
            b"relay-0000000000000000.relay.6fa65438c1bf531a-cgu.0 x-0123456789abcde. y-0123456789ABCDEF. -0000000000000000.";
        assert_eq!(symbols, *expected);
    }

    #[test]
    fn symbols_of_another_driver_are_refused() {
        assert!(rename(&mut [0; 64], &[1; ID], &[2; ID], &[3; 4]).is_err());
        let mut symbols = [0; 64];
        symbols[20..20 + ID].fill(1);
        rename(&mut symbols, &[1; ID], &[2; ID], &[3; 4]).unwrap();
        assert_eq!((&symbols[12..16], &symbols[20..36]), (&[3; 4][..], &[2; ID][..]));
    }
}
