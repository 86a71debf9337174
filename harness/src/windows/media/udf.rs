//! UDF (ECMA-167), as far as install media use it: one partition, written once, files in short or long extents or inside their entry.

use std::fs::File;

use super::extents::{DiscFile, Extent};
use super::{LONGEST_FOLDER, MOST_ENTRIES, MediaError, SECTOR, sector, u16_at, u32_at, u64_at};

/// Where the anchor lies that leads to everything else.
const ANCHOR: u64 = 256;
/// Most sectors of the volume's description that are read.
const MOST_DESCRIPTORS: u64 = 64;
/// Most pieces of one file, and most blocks of their list.
const MOST_EXTENTS: usize = 100_000;
const MOST_CONTINUATIONS: usize = 1_000;

/// Tag identifiers.
mod tag {
    pub(super) const ANCHOR: u16 = 2;
    pub(super) const PARTITION: u16 = 5;
    pub(super) const LOGICAL_VOLUME: u16 = 6;
    pub(super) const TERMINATOR: u16 = 8;
    pub(super) const FILE_SET: u16 = 256;
    pub(super) const FILE_IDENTIFIER: u16 = 257;
    pub(super) const EXTENT_LIST: u16 = 258;
    pub(super) const FILE: u16 = 261;
    pub(super) const EXTENDED_FILE: u16 = 266;
}

/// A disc with a UDF file system.
pub(super) struct Udf<'a> {
    disc: &'a File,
    /// First sector of the partition, and how many it has.
    start: u64,
    length: u64,
    /// The root folder's entry.
    root: u32,
}

/// A file's or folder's entry.
struct Entry {
    is_folder: bool,
    length: u64,
    extents: Vec<Extent>,
}

impl<'a> Udf<'a> {
    /// `None`: there is no UDF file system on the disc.
    pub(super) fn open(disc: &'a File) -> Result<Option<Self>, MediaError> {
        let Some(anchor) = sector(disc, ANCHOR)?.filter(|anchor| is_tagged(anchor, tag::ANCHOR)) else { return Ok(None) };
        let (bytes, first) = (u64::from(u32_at(&anchor, 16)), u64::from(u32_at(&anchor, 20)));
        let (mut partition, mut volume) = (None, None);
        for number in 0..(bytes / SECTOR).min(MOST_DESCRIPTORS) {
            let Some(found) = sector(disc, first + number)? else { break };
            match u16_at(&found, 0) {
                tag::PARTITION if is_tagged(&found, tag::PARTITION) => partition = Some(found),
                tag::LOGICAL_VOLUME if is_tagged(&found, tag::LOGICAL_VOLUME) => volume = Some(found),
                tag::TERMINATOR => break,
                _ => {}
            }
        }
        let (Some(partition), Some(volume)) = (partition, volume) else {
            return Err(MediaError::Damaged("no description of its volume and partition"));
        };
        if u64::from(u32_at(&volume, 212)) != SECTOR {
            return Err(MediaError::Unusual("blocks of another size than 2048"));
        }
        if u32_at(&volume, 268) != 1 || volume[440] != 1 {
            return Err(MediaError::Unusual("several partitions, or one that is mapped"));
        }
        let (start, length) = (u64::from(u32_at(&partition, 188)), u64::from(u32_at(&partition, 192)));
        let mut udf = Self { disc, start, length, root: 0 };
        let set = udf.block(u32_at(&volume, 252))?;
        if !is_tagged(&set, tag::FILE_SET) {
            return Err(MediaError::Damaged("no description of its files"));
        }
        udf.root = u32_at(&set, 404);
        Ok(Some(udf))
    }

    /// Sectors of the disc up to the partition's end.
    pub(super) const fn sectors(&self) -> u64 {
        self.start + self.length
    }

    /// A file by its path, whatever the case of its letters.
    pub(super) fn find(&self, path: &str) -> Result<Option<DiscFile<'a>>, MediaError> {
        let mut entry = self.entry(self.root)?;
        for name in path.split('/') {
            if !entry.is_folder {
                return Ok(None);
            }
            match self.look_up(&entry, name)? {
                Some(block) => entry = self.entry(block)?,
                None => return Ok(None),
            }
        }
        Ok((!entry.is_folder).then(|| DiscFile::new(self.disc, entry.extents, entry.length)))
    }

    /// The block of the entry of `name` in a folder.
    fn look_up(&self, folder: &Entry, name: &str) -> Result<Option<u32>, MediaError> {
        let content = DiscFile::new(self.disc, folder.extents.clone(), folder.length).read_all(LONGEST_FOLDER)?;
        let mut rest = &content[..];
        for _ in 0..MOST_ENTRIES {
            if rest.len() < 38 {
                return Ok(None);
            }
            if u16_at(rest, 0) != tag::FILE_IDENTIFIER {
                return Err(MediaError::Damaged("a folder's entry has no mark"));
            }
            let begin = 38 + usize::from(u16_at(rest, 36));
            let end = begin + usize::from(rest[19]);
            let identifier = rest.get(begin..end).ok_or(MediaError::Damaged("a name reaches beyond its folder"))?;
            // Deleted entries and the one of the folder above are no names.
            if rest[18] & 0b1100 == 0 && text(identifier).eq_ignore_ascii_case(name) {
                return Ok(Some(u32_at(rest, 24)));
            }
            rest = rest.get(end.next_multiple_of(4)..).unwrap_or_default();
        }
        Err(MediaError::Damaged("a folder without end"))
    }

    fn entry(&self, block: u32) -> Result<Entry, MediaError> {
        let bytes = self.block(block)?;
        let list = match u16_at(&bytes, 0) {
            tag::FILE if is_tagged(&bytes, tag::FILE) => 176,
            tag::EXTENDED_FILE if is_tagged(&bytes, tag::EXTENDED_FILE) => 216,
            _ => return Err(MediaError::Damaged("a file has no entry")),
        };
        let begin = (u32_at(&bytes, list - 8) as usize).saturating_add(list);
        let end = begin.saturating_add(u32_at(&bytes, list - 4) as usize);
        let descriptors = bytes.get(begin..end).ok_or(MediaError::Damaged("a file's entry is larger than its block"))?;
        let length = u64_at(&bytes, 56);
        let extents = match u16_at(&bytes, 34) & 7 {
            0 => self.extents(descriptors, 8)?,
            1 => self.extents(descriptors, 16)?,
            // The content lies in the entry itself.
            3 => {
                let offset = (self.start + u64::from(block)) * SECTOR + begin as u64;
                vec![Extent { offset: Some(offset), length: descriptors.len() as u64 }]
            }
            _ => return Err(MediaError::Unusual("files in extended extents")),
        };
        Ok(Entry { is_folder: bytes[27] == 4, length, extents })
    }

    /// The pieces that descriptors of `size` bytes list; the list may go on in further blocks.
    fn extents(&self, first: &[u8], size: usize) -> Result<Vec<Extent>, MediaError> {
        let mut extents = Vec::new();
        let mut list = first.to_vec();
        for _ in 0..MOST_CONTINUATIONS {
            let mut next = None;
            for descriptor in list.chunks_exact(size) {
                let (word, block) = (u32_at(descriptor, 0), u32_at(descriptor, 4));
                let length = u64::from(word & 0x3fff_ffff);
                match word >> 30 {
                    _ if length == 0 => break,
                    0 => extents.push(Extent { offset: Some((self.start + u64::from(block)) * SECTOR), length }),
                    1 | 2 => extents.push(Extent { offset: None, length }),
                    _ => {
                        next = Some(block);
                        break;
                    }
                }
                if extents.len() > MOST_EXTENTS {
                    return Err(MediaError::Damaged("a file in too many pieces"));
                }
            }
            let Some(block) = next else { return Ok(extents) };
            let bytes = self.block(block)?;
            let end = 24usize.saturating_add(u32_at(&bytes, 20) as usize);
            let more = bytes.get(24..end).filter(|_| is_tagged(&bytes, tag::EXTENT_LIST));
            list = more.ok_or(MediaError::Damaged("the list of a file's pieces breaks off"))?.to_vec();
        }
        Err(MediaError::Damaged("a list of pieces without end"))
    }

    /// A block of the partition.
    fn block(&self, number: u32) -> Result<[u8; SECTOR as usize], MediaError> {
        let number = u64::from(number);
        if number >= self.length {
            return Err(MediaError::Damaged("a block outside the partition"));
        }
        sector(self.disc, self.start + number)?.ok_or(MediaError::Damaged("it ends too early; the download may be incomplete"))
    }
}

/// Whether a descriptor begins with this tag, and the tag's checksum is right.
fn is_tagged(bytes: &[u8], identifier: u16) -> bool {
    let sum = bytes[..16].iter().enumerate().filter(|(at, _)| *at != 4).fold(0u8, |sum, (_, byte)| sum.wrapping_add(*byte));
    u16_at(bytes, 0) == identifier && bytes[4] == sum
}

/// A name: a first byte that says how many bits a character has, then the characters.
fn text(identifier: &[u8]) -> String {
    match identifier.split_first() {
        Some((8, narrow)) => narrow.iter().map(|byte| char::from(*byte)).collect(),
        Some((16, wide)) => {
            let units = wide.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        _ => String::new(),
    }
}
