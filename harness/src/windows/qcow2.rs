//! Empty qcow2 images (version 3): a disk that grows as it is written, alone or as the changes to another image, which stays as it is.
//!
//! QEMU does everything else with them. An empty one is five structures in four clusters, so no tool is needed to make it.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes of a cluster, as a power of two; QEMU's own choice.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// What one entry of the first table covers: a table of the second level, one cluster of 8-byte entries.
const COVERED: u64 = CLUSTER / 8 * CLUSTER;
/// The first table has one cluster here.
const LARGEST: u64 = COVERED * (CLUSTER / 8);
const HEADER: u32 = 104;
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// References are counted in 16 bits.
const REFERENCE_ORDER: u32 = 4;
/// Longest name of an image behind another one, by the format's rules.
const LONGEST_NAME: usize = 1023;

/// Makes `file`, which is empty, an image of `size` bytes, all zero or as the qcow2 image `backing` has them.
///
/// # Errors
/// The disk's; a size or a name that the format does not take.
pub fn create(file: &File, size: u64, backing: Option<&Path>) -> io::Result<()> {
    let invalid = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if size == 0 || !size.is_multiple_of(512) || size > LARGEST {
        return invalid("a disk has whole sectors, and at most four terabytes");
    }
    let name = backing.map_or(&[][..], |path| path.as_os_str().as_bytes());
    // QEMU takes a relative path from where the image is, not from where anybody is who makes one.
    let is_plain = |path: &Path| path.is_absolute() || path.components().count() == 1;
    if name.len() > LONGEST_NAME || !backing.is_none_or(is_plain) {
        return invalid("the image behind is named by an absolute path that is not too long, or by the name of a file beside");
    }
    // Clusters: header, table of reference counts, one block of them, first table.
    let [counts, block, first] = [1, 2, 3].map(|cluster| cluster * CLUSTER);
    let extension: &[u8] = if backing.is_some() { b"qcow2\0\0\0" } else { &[] };
    let name_at = u64::from(HEADER) + if extension.is_empty() { 8 } else { 8 + 8 + 8 };
    let mut header = Vec::new();
    let word = |header: &mut Vec<u8>, value: u32| header.extend_from_slice(&value.to_be_bytes());
    let long = |header: &mut Vec<u8>, value: u64| header.extend_from_slice(&value.to_be_bytes());
    header.extend_from_slice(b"QFI\xfb");
    word(&mut header, 3);
    long(&mut header, if name.is_empty() { 0 } else { name_at });
    word(&mut header, name.len() as u32);
    word(&mut header, CLUSTER_BITS);
    long(&mut header, size);
    // No encryption.
    word(&mut header, 0);
    word(&mut header, u32::try_from(size.div_ceil(COVERED)).map_err(io::Error::other)?);
    long(&mut header, first);
    long(&mut header, counts);
    word(&mut header, 1);
    // No snapshots, no features.
    header.extend_from_slice(&[0; 4 + 8 + 8 + 8 + 8]);
    word(&mut header, REFERENCE_ORDER);
    word(&mut header, HEADER);
    if !extension.is_empty() {
        word(&mut header, BACKING_FORMAT);
        word(&mut header, 5);
        header.extend_from_slice(extension);
    }
    header.extend_from_slice(&[0; 8]);
    header.extend_from_slice(name);
    file.write_all_at(&header, 0)?;
    file.write_all_at(&block.to_be_bytes(), counts)?;
    // The four clusters are used once each.
    file.write_all_at(&[0, 1, 0, 1, 0, 1, 0, 1], block)?;
    file.set_len(first + CLUSTER)
}

/// Size of the disk in an image.
///
/// # Errors
/// The disk's; it is none.
pub fn size_of(path: &Path) -> io::Result<u64> {
    let mut start = [0; 32];
    File::open(path)?.read_exact_at(&mut start, 0)?;
    if !start.starts_with(b"QFI\xfb") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no qcow2 image"));
    }
    Ok(start[24..].iter().fold(0, |size, byte| size << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_says_how_large_its_disk_is_and_what_is_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let [base, over] = ["base", "over"].map(|name| folder.path().join(name));
        let new = |path: &Path| File::options().read(true).write(true).create_new(true).open(path).unwrap();
        create(&new(&base), 64 << 30, None).unwrap();
        create(&new(&over), 64 << 30, Some(&base)).unwrap();
        assert_eq!((size_of(&base).unwrap(), size_of(&over).unwrap()), (64 << 30, 64 << 30));
        let bytes = std::fs::read(&over).unwrap();
        let at = u64::from_be_bytes(bytes[8..16].try_into().unwrap()) as usize;
        let length = u32::from_be_bytes(bytes[16..20].try_into().unwrap()) as usize;
        assert_eq!(&bytes[at..at + length], base.as_os_str().as_bytes());
        assert_eq!(bytes.len() as u64, 4 * CLUSTER);
    }

    #[test]
    fn a_size_or_a_name_that_the_format_does_not_take_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        for size in [0, 513, LARGEST + 512] {
            assert!(create(&file, size, None).is_err(), "{size}");
        }
        assert!(create(&file, 512, Some(Path::new("folder/base"))).is_err());
        assert!(size_of(Path::new("/dev/null")).is_err());
    }
}
