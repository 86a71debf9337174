//! The small disk beside the install media: the answer file, and whatever the guest is to find at its first start. One FAT partition, which
//! every Windows reads, written without outside tools. The same files make the same disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

/// Bytes of a sector.
const SECTOR: u64 = 512;
/// Sector at which the partition begins: 1 MiB, as every partitioning tool has it.
const BEGIN: u32 = 2048;
/// Where that is, in bytes.
pub(super) const PARTITION: u64 = BEGIN as u64 * SECTOR;
/// Cluster of a large disk.
const LARGE_CLUSTER: u32 = 32 << 10;
/// Room beside the files: tables, folders, clusters that are not full.
const ROOM: u64 = 16 << 20;
/// FAT16 and FAT32 whose sectors are counted, not found by heads and cylinders.
const PARTITION_16: u8 = 0x0e;
const PARTITION_32: u8 = 0x0c;
/// Most bytes of all files: beyond that the partition would not be FAT16.
const MOST: u64 = 1 << 30;
/// Name of the volume, and its number.
const LABEL: [u8; 11] = *b"RIG ANSWERS";
const SERIAL: u32 = 0x5249_4721;

/// Writes a disk with these files. A name may lead through folders, separated by `/`.
///
/// # Errors
/// The disk's; names that FAT does not take; more than fits.
pub fn write(path: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    write_to(File::options().read(true).write(true).create(true).truncate(true).open(path)?, files)
}

/// [`write()`] to an empty file.
///
/// # Errors
/// As [`write()`].
pub fn write_to<N: AsRef<str>, C: AsRef<[u8]>>(disk: File, files: &[(N, C)]) -> io::Result<()> {
    let content: u64 = files.iter().map(|(_, content)| content.as_ref().len() as u64).sum();
    if content > MOST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    make(disk, content + content / 8 + ROOM, files, PARTITION_16, FormatVolumeOptions::new().fat_type(FatType::Fat16))
}

/// A disk of `bytes` bytes, some gigabytes, for what the guest writes. What nobody writes takes no room.
///
/// # Errors
/// The disk's.
pub fn write_large<N: AsRef<str>, C: AsRef<[u8]>>(disk: File, bytes: u64, files: &[(N, C)]) -> io::Result<()> {
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat32).bytes_per_cluster(LARGE_CLUSTER);
    make(disk, bytes, files, PARTITION_32, options)
}

fn make<N: AsRef<str>, C: AsRef<[u8]>>(
    mut disk: File,
    bytes: u64,
    files: &[(N, C)],
    kind: u8,
    options: FormatVolumeOptions,
) -> io::Result<()> {
    let sectors = u32::try_from(bytes.div_ceil(SECTOR)).map_err(io::Error::other)?;
    disk.set_len((u64::from(BEGIN) + u64::from(sectors)) * SECTOR)?;
    disk.write_all(&partition_table(sectors, kind))?;
    let mut partition = Partition { disk, length: u64::from(sectors) * SECTOR, at: 0 };
    fatfs::format_volume(&mut partition, options.volume_label(LABEL).volume_id(SERIAL))?;
    let volume = FileSystem::new(Buffered(BufWriter::with_capacity(1 << 16, partition)), FsOptions::new())?;
    let mut folders = BTreeSet::new();
    for (name, content) in files {
        let name = name.as_ref();
        for (at, _) in name.match_indices('/') {
            if folders.insert(&name[..at]) {
                volume.root_dir().create_dir(&name[..at])?;
            }
        }
        let mut file = volume.root_dir().create_file(name)?;
        file.write_all(content.as_ref())?;
        file.flush()?;
    }
    volume.unmount()
}

/// A first sector with one partition that begins at [`BEGIN`].
fn partition_table(sectors: u32, kind: u8) -> [u8; SECTOR as usize] {
    let mut table = [0; SECTOR as usize];
    table[440..444].copy_from_slice(&SERIAL.to_le_bytes());
    // The address by head and cylinder is the one that means "see the sector numbers".
    table[447..450].copy_from_slice(&[0xfe, 0xff, 0xff]);
    table[450] = kind;
    table[451..454].copy_from_slice(&[0xfe, 0xff, 0xff]);
    table[454..458].copy_from_slice(&BEGIN.to_le_bytes());
    table[458..462].copy_from_slice(&sectors.to_le_bytes());
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    table
}

/// The partition as a file of its own.
struct Partition {
    disk: File,
    length: u64,
    at: u64,
}

impl Partition {
    /// Goes to the place on the disk, and tells how many of `wanted` bytes the partition still has from there.
    fn seek_disk(&mut self, wanted: usize) -> io::Result<usize> {
        self.disk.seek(SeekFrom::Start(u64::from(BEGIN) * SECTOR + self.at))?;
        Ok(usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX).min(wanted))
    }
}

impl Read for Partition {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = self.seek_disk(into.len())?;
        let done = self.disk.read(&mut into[..most])?;
        self.at += done as u64;
        Ok(done)
    }
}

impl Write for Partition {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let most = self.seek_disk(from.len())?;
        let done = self.disk.write(&from[..most])?;
        self.at += done as u64;
        Ok(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }
}

impl Seek for Partition {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => i64::try_from(at).ok(),
            SeekFrom::End(by) => i64::try_from(self.length).ok().and_then(|end| end.checked_add(by)),
            SeekFrom::Current(by) => i64::try_from(self.at).ok().and_then(|at| at.checked_add(by)),
        };
        self.at = target.and_then(|at| u64::try_from(at).ok()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// Writes that follow each other are collected; a read sees them.
struct Buffered(BufWriter<Partition>);

impl Read for Buffered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.flush()?;
        self.0.get_mut().read(into)
    }
}

impl Write for Buffered {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Buffered {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(files: &[(&str, &[u8])]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.img");
        write(&path, files).unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn files_are_found_again_behind_a_partition_table() {
        let big: Vec<u8> = (0..3_000_000u32).map(|number| number as u8).collect();
        let files: [(&str, &[u8]); 3] =
            [("autounattend.xml", b"<a/>"), ("rig/a long name.txt", b"x"), ("rig/deep/big.bin", &big)];
        let image = disk(&files);
        assert_eq!(&image[510..512], [0x55, 0xaa]);
        let partition = image[1 << 20..].to_vec();
        assert_eq!(partition.len() as u64 / SECTOR, u64::from(u32::from_le_bytes(image[458..462].try_into().unwrap())));
        let volume = FileSystem::new(io::Cursor::new(partition), FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label_as_bytes(), LABEL);
        for (name, content) in files {
            let mut found = Vec::new();
            volume.root_dir().open_file(name).unwrap().read_to_end(&mut found).unwrap();
            assert!(found == content, "{name}");
        }
    }

    #[test]
    fn the_same_files_make_the_same_disk() {
        let files: [(&str, &[u8]); 2] = [("a.txt", b"1"), ("b/c.txt", b"2")];
        assert!(disk(&files) == disk(&files));
    }

    #[test]
    fn a_name_that_fat_does_not_take_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(&folder.path().join("disk"), &[("what?", b"")]).is_err());
    }
}
