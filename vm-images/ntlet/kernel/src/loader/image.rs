//! A PE32+ file's headers, checked: what is returned here lies inside the file and inside the image, whatever the file says.
//! Format: "PE Format" in Microsoft's documentation.

use core::fmt;

use crate::hal::PAGE_SIZE;

/// Largest image that is loaded.
const LARGEST_IMAGE: usize = 64 << 20;
/// Most sections, as Windows has it.
const MOST_SECTIONS: usize = 96;
/// Directories that are known.
const DIRECTORIES: usize = 16;

/// Numbers of directories.
pub(crate) mod directory {
    pub(crate) const EXPORT: usize = 0;
    pub(crate) const IMPORT: usize = 1;
    pub(crate) const EXCEPTION: usize = 3;
    pub(crate) const RELOCATION: usize = 5;
    pub(crate) const LOAD_CONFIGURATION: usize = 10;
}

const MACHINE_X64: u16 = 0x8664;
const PE32_PLUS: u16 = 0x20b;
const FILE_EXECUTABLE: u16 = 0x0002;
const FILE_RELOCATIONS_STRIPPED: u16 = 0x0001;

/// Subsystem of drivers and native programs.
pub const SUBSYSTEM_NATIVE: u16 = 1;

/// Why a file is no image that can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// The file ends before what its headers speak of.
    Truncated(&'static str),
    /// Not a PE file at all.
    NotPe,
    /// For another processor.
    Machine(u16),
    /// Not PE32+.
    Magic(u16),
    /// A header field contradicts others.
    Header(&'static str),
    /// A section lies where it cannot.
    Section(usize, &'static str),
    /// A table inside the image is damaged.
    Table(&'static str),
    /// The checksum in the header does not fit the file.
    Checksum {
        /// In the header.
        header: u32,
        /// Of the file.
        file: u32,
    },
    /// The image has to lie at an address that is not free.
    FixedBase,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(what) => write!(f, "the file ends inside its {what}"),
            Self::NotPe => f.write_str("the file is no PE image"),
            Self::Machine(machine) => write!(f, "the image is for machine {machine:#06x}, not for x64 (0x8664)"),
            Self::Magic(magic) => write!(f, "the optional header is of kind {magic:#06x}, not PE32+ (0x20b)"),
            Self::Header(what) => write!(f, "the headers contradict themselves: {what}"),
            Self::Section(number, what) => write!(f, "section {number} {what}"),
            Self::Table(what) => write!(f, "the {what} is damaged"),
            Self::Checksum { header, file } => {
                write!(f, "the checksum is {header:#010x} in the header and {file:#010x} of the file; link with /RELEASE")
            }
            Self::FixedBase => f.write_str("the image has no relocations and its own address is not free; link without /FIXED"),
        }
    }
}

impl core::error::Error for ImageError {}

/// One section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name, padded with zeros.
    pub name: [u8; 8],
    /// Offset in the image.
    pub address: u32,
    /// Bytes it takes in the image, from the file or zero.
    pub size: u32,
    /// Bytes that come from the file.
    pub file_size: u32,
    /// Where those begin.
    pub file_offset: u32,
    /// What may be done with it.
    pub characteristics: u32,
}

impl Section {
    const CODE: u32 = 0x20;
    const DISCARDABLE: u32 = 0x0200_0000;
    const EXECUTE: u32 = 0x2000_0000;
    const WRITE: u32 = 0x8000_0000;

    /// Whether code may run there.
    #[must_use]
    pub fn is_executable(&self) -> bool {
        self.characteristics & (Self::EXECUTE | Self::CODE) != 0
    }

    /// Whether it may be written to.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.characteristics & Self::WRITE != 0
    }

    /// Whether it is not needed after the driver's entry point has returned.
    #[must_use]
    pub fn is_discardable(&self) -> bool {
        self.characteristics & Self::DISCARDABLE != 0
    }

    /// Pages it takes.
    #[must_use]
    pub fn pages(&self) -> usize {
        (self.size as usize).div_ceil(PAGE_SIZE)
    }

    /// Its name as text.
    #[must_use]
    pub fn name(&self) -> &str {
        let length = self.name.iter().position(|&byte| byte == 0).unwrap_or(8);
        core::str::from_utf8(&self.name[..length]).unwrap_or("?")
    }
}

/// A file whose headers are sound.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    file: &'a [u8],
    sections: [Section; MOST_SECTIONS],
    section_count: usize,
    directories: [(u32, u32); DIRECTORIES],
    /// Bytes of headers, which are part of the image.
    pub header_size: u32,
    /// Bytes of address space, whole pages.
    pub size: u32,
    /// Address it was linked for.
    pub base: u64,
    /// Offset of the entry point, 0 for none.
    pub entry: u32,
    /// What kind of program it is.
    pub subsystem: u16,
    /// Flags such as "can lie anywhere".
    pub dll_characteristics: u16,
    /// When it was linked.
    pub time_stamp: u32,
    /// Stack that a program wants.
    pub stack_reserve: u64,
    is_fixed: bool,
}

/// A field of a byte slice.
pub(crate) fn field<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// A 16-bit field.
pub(crate) fn field_u16(bytes: &[u8], offset: usize) -> Option<u16> {
    field(bytes, offset).map(u16::from_le_bytes)
}

/// A 32-bit field.
pub(crate) fn field_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    field(bytes, offset).map(u32::from_le_bytes)
}

/// A 64-bit field.
pub(crate) fn field_u64(bytes: &[u8], offset: usize) -> Option<u64> {
    field(bytes, offset).map(u64::from_le_bytes)
}

const EMPTY: Section = Section { name: [0; 8], address: 0, size: 0, file_size: 0, file_offset: 0, characteristics: 0 };

impl<'a> Image<'a> {
    /// Reads and checks the headers of a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(file: &'a [u8]) -> Result<Self, ImageError> {
        if field_u16(file, 0) != Some(u16::from_le_bytes(*b"MZ")) {
            return Err(ImageError::NotPe);
        }
        let start = field_u32(file, 0x3c).ok_or(ImageError::Truncated("DOS header"))? as usize;
        if field_u32(file, start) != Some(u32::from_le_bytes(*b"PE\0\0")) {
            return Err(ImageError::NotPe);
        }
        let headers = &file[start + 4..];
        let truncated = ImageError::Truncated("headers");
        let machine = field_u16(headers, 0).ok_or(truncated)?;
        if machine != MACHINE_X64 {
            return Err(ImageError::Machine(machine));
        }
        let section_count = usize::from(field_u16(headers, 2).ok_or(truncated)?);
        let optional_size = usize::from(field_u16(headers, 16).ok_or(truncated)?);
        let characteristics = field_u16(headers, 18).ok_or(truncated)?;
        if characteristics & FILE_EXECUTABLE == 0 {
            return Err(ImageError::Header("the file is not marked as executable"));
        }
        let optional = headers.get(20..20 + optional_size).ok_or(truncated)?;
        let magic = field_u16(optional, 0).ok_or(truncated)?;
        if magic != PE32_PLUS {
            return Err(ImageError::Magic(magic));
        }
        let table = start + 4 + 20 + optional_size;
        let mut image = Self::from_optional_header(file, optional, characteristics)?;
        image.time_stamp = field_u32(headers, 4).ok_or(truncated)?;
        image.check_header_size(table + section_count * 40)?;
        image.read_sections(&file[table.min(file.len())..], section_count)?;
        image.check_inside()?;
        image.check_checksum(start + 4 + 20 + 64)?;
        Ok(image)
    }

    fn from_optional_header(file: &'a [u8], optional: &[u8], characteristics: u16) -> Result<Self, ImageError> {
        let short = ImageError::Truncated("optional header");
        let number = |offset| field_u32(optional, offset).ok_or(short);
        let large = |offset| field_u64(optional, offset).ok_or(short);
        let (section_alignment, file_alignment) = (number(32)?, number(36)?);
        if section_alignment as usize != PAGE_SIZE {
            return Err(ImageError::Header("sections are not aligned to pages of 4096 bytes"));
        }
        if !file_alignment.is_power_of_two() || file_alignment > section_alignment {
            return Err(ImageError::Header("the file alignment is no power of two up to a page"));
        }
        let base = large(24)?;
        if !base.is_multiple_of(0x1_0000) {
            return Err(ImageError::Header("the base address is no multiple of 64 KiB"));
        }
        let size = number(56)?;
        if size == 0 || size as usize > LARGEST_IMAGE {
            return Err(ImageError::Header("the image size is zero or more than 64 MiB"));
        }
        let mut directories = [(0, 0); DIRECTORIES];
        let count = (number(108)? as usize).min(DIRECTORIES);
        for (index, place) in directories.iter_mut().enumerate().take(count) {
            *place = (number(112 + index * 8)?, number(116 + index * 8)?);
        }
        Ok(Self {
            file,
            sections: [EMPTY; MOST_SECTIONS],
            section_count: 0,
            directories,
            header_size: number(60)?,
            size: size.next_multiple_of(PAGE_SIZE as u32),
            base,
            entry: number(16)?,
            subsystem: field_u16(optional, 68).ok_or(short)?,
            dll_characteristics: field_u16(optional, 70).ok_or(short)?,
            time_stamp: 0,
            stack_reserve: large(72)?,
            is_fixed: characteristics & FILE_RELOCATIONS_STRIPPED != 0,
        })
    }

    fn check_header_size(&self, least: usize) -> Result<(), ImageError> {
        let size = self.header_size as usize;
        if size < least {
            return Err(ImageError::Header("the headers are larger than their own size says"));
        }
        if size > self.file.len() {
            return Err(ImageError::Truncated("headers"));
        }
        if self.header_size > self.size {
            return Err(ImageError::Header("the headers are larger than the image"));
        }
        Ok(())
    }

    fn read_sections(&mut self, table: &[u8], count: usize) -> Result<(), ImageError> {
        if count == 0 || count > MOST_SECTIONS {
            return Err(ImageError::Header("no sections, or more than 96"));
        }
        let mut end = (self.header_size as usize).next_multiple_of(PAGE_SIZE);
        for number in 0..count {
            let entry = table.get(number * 40..number * 40 + 40).ok_or(ImageError::Truncated("section table"))?;
            let value = |offset| field_u32(entry, offset).unwrap_or(0);
            let (virtual_size, address, raw_size, raw_offset) = (value(8), value(12), value(16), value(20));
            let size = if virtual_size == 0 { raw_size } else { virtual_size };
            let section = Section {
                name: field(entry, 0).unwrap_or_default(),
                address,
                size,
                // A section's bytes in the file are rounded up; what exceeds the section is padding.
                file_size: raw_size.min(size),
                file_offset: raw_offset,
                characteristics: value(36),
            };
            if address as usize != end || !(address as usize).is_multiple_of(PAGE_SIZE) {
                return Err(ImageError::Section(number, "does not follow the one before it"));
            }
            end = end.saturating_add((size as usize).next_multiple_of(PAGE_SIZE));
            if size == 0 || end > self.size as usize {
                return Err(ImageError::Section(number, "is empty or reaches beyond the image"));
            }
            let file_end = u64::from(raw_offset) + u64::from(section.file_size);
            if section.file_size != 0 && file_end > self.file.len() as u64 {
                return Err(ImageError::Section(number, "reaches beyond the end of the file"));
            }
            self.sections[number] = section;
        }
        self.section_count = count;
        Ok(())
    }

    /// Entry point and directories must lie where they can.
    fn check_inside(&self) -> Result<(), ImageError> {
        if self.entry != 0 && !self.section_at(self.entry).is_some_and(Section::is_executable) {
            return Err(ImageError::Header("the entry point is not in a section with code"));
        }
        // The fifth directory, of certificates, holds a file offset and is not part of the image.
        let in_image = self.directories.iter().enumerate().filter(|&(number, _)| number != 4);
        for (_, &(address, size)) in in_image {
            if u64::from(address) + u64::from(size) > u64::from(self.size) {
                return Err(ImageError::Header("a directory reaches beyond the image"));
            }
        }
        Ok(())
    }

    /// The checksum of `/RELEASE`: 16-bit words added with carry, the field itself left out, plus the file's length. Zero means none.
    fn check_checksum(&self, offset: usize) -> Result<(), ImageError> {
        let header = field_u32(self.file, offset).ok_or(ImageError::Truncated("optional header"))?;
        if header == 0 {
            return Ok(());
        }
        let words = self.file.chunks(2).map(|word| u16::from_le_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
        let skipped = [offset / 2, offset / 2 + 1];
        let sum = words.enumerate().filter(|(index, _)| !skipped.contains(index)).fold(0u32, |sum, (_, word)| {
            let sum = sum + u32::from(word);
            (sum & 0xffff) + (sum >> 16)
        });
        let file = ((sum & 0xffff) + (sum >> 16)).wrapping_add(self.file.len() as u32);
        if file == header { Ok(()) } else { Err(ImageError::Checksum { header, file }) }
    }

    /// The sections in order.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections[..self.section_count]
    }

    /// The section that an offset lies in.
    #[must_use]
    pub fn section_at(&self, offset: u32) -> Option<&Section> {
        self.sections().iter().find(|section| offset.wrapping_sub(section.address) < section.size)
    }

    /// Offset and size of a directory; `None` when there is none.
    #[must_use]
    pub fn directory(&self, number: usize) -> Option<(u32, u32)> {
        self.directories.get(number).copied().filter(|&(address, size)| address != 0 && size != 0)
    }

    /// Whether it can lie at no other address than its own.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// Headers as they are in the file.
    #[must_use]
    pub fn headers(&self) -> &'a [u8] {
        &self.file[..self.header_size as usize]
    }

    /// A section's bytes in the file.
    #[must_use]
    pub fn bytes_of(&self, section: &Section) -> &'a [u8] {
        let start = section.file_offset as usize;
        if section.file_size == 0 { &[] } else { &self.file[start..start + section.file_size as usize] }
    }
}
