//! The driver file: whether a PE image is one that the Windows kernel loads. Read with the `object` crate, whose authors
//! know nothing of our linker arguments.

use object::LittleEndian as LE;
use object::pe::{
    IMAGE_FILE_MACHINE_AMD64, IMAGE_SCN_MEM_EXECUTE, IMAGE_SCN_MEM_WRITE, IMAGE_SUBSYSTEM_NATIVE, ImageNtHeaders64,
};
use object::read::pe::{ImageNtHeaders as _, ImageOptionalHeader as _, PeFile64};

/// Offset of the checksum from the start of the PE signature.
const CHECKSUM_IN_HEADERS: usize = 4 + 20 + 64;

/// Why an image is no driver file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADriver {
    /// It is no 64-bit PE file, or a damaged one.
    #[error("not a 64-bit PE file: {0}")]
    NotPe(String),
    /// It is for another processor.
    #[error("machine type {0:#x} is not x86-64")]
    Machine(u16),
    /// It is a program for another subsystem.
    #[error("subsystem {0} is not native")]
    Subsystem(u16),
    /// The kernel refuses a boot driver whose checksum is wrong.
    #[error("the header's checksum is {written:#x}, the file's is {computed:#x}")]
    Checksum {
        /// In the header.
        written: u32,
        /// Of the file.
        computed: u32,
    },
    /// A section is writable and executable at once.
    #[error("section {0} is writable and executable")]
    WritableCode(String),
    /// It exports symbols; some tools call every export of a driver.
    #[error("it exports {0} symbols, a driver exports none")]
    Exports(usize),
}

/// Checks a driver file.
///
/// # Errors
/// The first reason that is found.
pub fn check(image: &[u8]) -> Result<(), NotADriver> {
    let not_pe = |error: object::Error| NotADriver::NotPe(error.to_string());
    let file = PeFile64::parse(image).map_err(not_pe)?;
    let headers: &ImageNtHeaders64 = file.nt_headers();
    let machine = headers.file_header().machine.get(LE);
    if machine != IMAGE_FILE_MACHINE_AMD64 {
        return Err(NotADriver::Machine(machine));
    }
    let subsystem = headers.optional_header().subsystem();
    if subsystem != IMAGE_SUBSYSTEM_NATIVE {
        return Err(NotADriver::Subsystem(subsystem));
    }
    for section in file.section_table().iter() {
        let flags = section.characteristics.get(LE);
        if flags & IMAGE_SCN_MEM_EXECUTE != 0 && flags & IMAGE_SCN_MEM_WRITE != 0 {
            return Err(NotADriver::WritableCode(String::from_utf8_lossy(section.raw_name()).into_owned()));
        }
    }
    if let Some(table) = file.export_table().map_err(not_pe)? {
        let exports = table.exports().map_err(not_pe)?.len();
        if exports != 0 {
            return Err(NotADriver::Exports(exports));
        }
    }
    let written = headers.optional_header().check_sum();
    let field = usize::try_from(file.dos_header().nt_headers_offset()).unwrap_or(0) + CHECKSUM_IN_HEADERS;
    let computed = checksum(image, field);
    if written != computed { Err(NotADriver::Checksum { written, computed }) } else { Ok(()) }
}

/// The PE checksum: the ones'-complement sum of the file's 16-bit words without the four bytes at `field`, plus its length.
fn checksum(image: &[u8], field: usize) -> u32 {
    let mut sum: u64 = 0;
    for (index, pair) in image.chunks(2).enumerate() {
        if !(field..field + 4).contains(&(index * 2)) {
            sum += u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 8;
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u32::try_from(sum + image.len() as u64).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pe_file_is_refused_with_the_readers_reason() {
        assert!(matches!(check(b""), Err(NotADriver::NotPe(_))));
        assert!(matches!(check(b"\x7fELF"), Err(NotADriver::NotPe(_))));
        assert!(matches!(check(&[0x4d; 4096]), Err(NotADriver::NotPe(_))));
    }

    #[test]
    fn a_checksum_leaves_its_own_field_out() {
        let mut image = vec![1u8, 2, 3, 4, 0, 0, 0, 0, 9];
        let computed = checksum(&image, 4);
        assert_eq!(computed, 0x0201 + 0x0403 + 9 + 9);
        image[4..8].copy_from_slice(&computed.to_le_bytes());
        assert_eq!(checksum(&image, 4), computed);
    }
}
