//! ISO 9660 (ECMA-119) with files in several extents; of its extensions, Joliet, whose names are whole.

use std::fs::File;

use super::extents::{DiscFile, Extent};
use super::{LONGEST_FOLDER, MOST_ENTRIES, MediaError, SECTOR, sector, u32_at};

/// First sector of the volume's description, and most sectors of it that are read.
const FIRST: u64 = 16;
const MOST_DESCRIPTORS: u64 = 32;
/// Where a volume descriptor holds the record of the root folder.
const ROOT: usize = 156;
/// Where it says how many sectors the volume has.
const SPACE: usize = 80;
const RECORD: usize = 34;

/// A disc with an ISO 9660 file system.
pub(super) struct Iso9660<'a> {
    disc: &'a File,
    root: Found,
    is_joliet: bool,
    sectors: u64,
}

/// What a folder's record says of a file or folder.
#[derive(Clone, Debug)]
struct Found {
    is_folder: bool,
    extents: Vec<Extent>,
}

impl Found {
    fn length(&self) -> u64 {
        self.extents.iter().fold(0, |sum, extent| sum.saturating_add(extent.length))
    }
}

impl<'a> Iso9660<'a> {
    /// `None`: there is no ISO 9660 file system on the disc.
    pub(super) fn open(disc: &'a File) -> Result<Option<Self>, MediaError> {
        let mut best = None;
        for number in FIRST..FIRST + MOST_DESCRIPTORS {
            let Some(found) = sector(disc, number)?.filter(|found| &found[1..6] == b"CD001") else { break };
            let is_joliet = found[0] == 2 && matches!(&found[88..91], b"%/@" | b"%/C" | b"%/E");
            if is_joliet || (found[0] == 1 && best.is_none()) {
                let root = Found { is_folder: true, extents: vec![extent(&found[ROOT..ROOT + RECORD])] };
                best = Some(Self { disc, root, is_joliet, sectors: u32_at(&found, SPACE).into() });
            }
            if found[0] == 255 {
                break;
            }
        }
        Ok(best)
    }

    /// Sectors of the volume.
    pub(super) const fn sectors(&self) -> u64 {
        self.sectors
    }

    /// A file by its path, whatever the case of its letters.
    pub(super) fn find(&self, path: &str) -> Result<Option<DiscFile<'a>>, MediaError> {
        let mut found = self.root.clone();
        for name in path.split('/') {
            if !found.is_folder {
                return Ok(None);
            }
            match self.look_up(&found, name)? {
                Some(next) => found = next,
                None => return Ok(None),
            }
        }
        let length = found.length();
        Ok((!found.is_folder).then(|| DiscFile::new(self.disc, found.extents, length)))
    }

    fn look_up(&self, folder: &Found, name: &str) -> Result<Option<Found>, MediaError> {
        let content = DiscFile::new(self.disc, folder.extents.clone(), folder.length()).read_all(LONGEST_FOLDER)?;
        let (mut at, mut extents) = (0, Vec::new());
        for _ in 0..MOST_ENTRIES {
            let Some(length) = content.get(at).copied().map(usize::from) else { return Ok(None) };
            if length == 0 {
                // Records do not cross sectors; the rest of this one is empty.
                at = (at + 1).next_multiple_of(SECTOR as usize);
                continue;
            }
            let record = content.get(at..at + length).filter(|record| record.len() >= RECORD);
            let record = record.ok_or(MediaError::Damaged("a folder's record is cut off"))?;
            at += length;
            let identifier = record.get(33..33 + usize::from(record[32]));
            let identifier = identifier.ok_or(MediaError::Damaged("a name is longer than its record"))?;
            if !self.text(identifier).eq_ignore_ascii_case(name) {
                continue;
            }
            extents.push(extent(record));
            let goes_on = record[25] & 0x80 != 0;
            if !goes_on {
                return Ok(Some(Found { is_folder: record[25] & 2 != 0, extents }));
            }
        }
        Err(MediaError::Damaged("a folder without end"))
    }

    /// A name without its version.
    fn text(&self, identifier: &[u8]) -> String {
        let whole: String = if self.is_joliet {
            let units = identifier.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        } else {
            identifier.iter().map(|byte| char::from(*byte)).collect()
        };
        whole.split(';').next().unwrap_or_default().trim_end_matches('.').to_owned()
    }
}

/// The piece of the disc that a record names.
fn extent(record: &[u8]) -> Extent {
    Extent { offset: Some(u64::from(u32_at(record, 2)) * SECTOR), length: u64::from(u32_at(record, 10)) }
}
