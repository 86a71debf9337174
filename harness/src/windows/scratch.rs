//! The disk on which a guest leaves what is fetched from it when it has gone: gigabytes in seconds, where a serial line takes hours.
//!
//! The guest may write anything there. Whatever it claims, no more is read than the disk has, and nothing is written outside the one file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use fatfs::{FileSystem, FsOptions};

use super::answer_disk::{PARTITION, write_large};
use crate::dump::write_sparsely;
use crate::files::write_whole_by;

/// By this file at its root the guest finds the disk.
pub const MARK: &str = "rig-scratch.txt";
/// Bytes of the disk: enough for the longest file that FAT32 has.
const SIZE: u64 = 4608 << 20;
/// What is copied at a time.
const BLOCK: usize = 1 << 20;

/// A disk without a name, made in `folder`.
///
/// # Errors
/// The disk's.
pub fn create(folder: &Path) -> io::Result<File> {
    let disk = tempfile::tempfile_in(folder)?;
    write_large(disk.try_clone()?, SIZE, &[(MARK, "what is left here is fetched")])?;
    Ok(disk)
}

/// Takes a file of the disk, once no guest writes to it any more; returns its length.
///
/// # Errors
/// There is no such file, or the file system is damaged; the disk's. No file is left then.
pub fn take(disk: &File, name: &str, to: &Path) -> io::Result<u64> {
    let length = disk.metadata()?.len().saturating_sub(PARTITION);
    let volume = FileSystem::new(Volume { disk, length, at: 0, left: 2 * length }, FsOptions::new())?;
    let mut file = volume.root_dir().open_file(name)?;
    let mut taken = 0;
    write_whole_by(to, |copy| {
        let mut block = vec![0; BLOCK];
        loop {
            let filled = fill(&mut file, &mut block)?;
            write_sparsely(copy, &block[..filled])?;
            taken += filled as u64;
            if filled < BLOCK {
                return copy.set_len(taken);
            }
        }
    })?;
    Ok(taken)
}

/// Reads until the buffer is full or the file at its end; returns how much.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            length => filled += length,
        }
    }
    Ok(filled)
}

/// The disk's partition, which can only be read.
struct Volume<'a> {
    disk: &'a File,
    length: u64,
    at: u64,
    /// How much may still be read: a chain of clusters that leads in a circle comes to an end, too.
    left: u64,
}

impl Read for Volume<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX).min(into.len());
        let done = self.disk.read_at(&mut into[..most], PARTITION + self.at)?;
        self.left = self.left.checked_sub(1 + done as u64).ok_or_else(|| io::Error::other("its file system leads in circles"))?;
        self.at += done as u64;
        Ok(done)
    }
}

impl Write for Volume<'_> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Volume<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As much as a guest leaves.
    fn disk_with(content: &[u8]) -> File {
        let disk = tempfile::tempfile().unwrap();
        write_large(disk.try_clone().unwrap(), SIZE, &[(MARK, &b""[..]), ("MEMORY.DMP", content)]).unwrap();
        disk
    }

    #[test]
    fn a_file_that_a_guest_has_left_is_taken_and_zeros_take_no_room() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let mut content = vec![0; 3 * BLOCK + 4096];
        content[2 * BLOCK + 5] = 7;
        let disk = disk_with(&content);
        assert!(disk.metadata().unwrap().blocks() * 512 < 32 << 20, "the disk is sparse");
        let to = folder.path().join("dump.dmp");
        assert_eq!(take(&disk, "MEMORY.DMP", &to).unwrap(), content.len() as u64);
        assert!(std::fs::read(&to).unwrap() == content);
        assert!(std::fs::metadata(&to).unwrap().blocks() * 512 <= 64 << 10);
        assert!(take(&disk, "OTHER.DMP", &folder.path().join("other")).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn whatever_a_guest_writes_over_the_disk_the_reader_comes_to_an_end(
            changes in proptest::collection::vec((0_u64..4 << 20, any::<u32>()), 1..200),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let disk = disk_with(&vec![9; 1 << 20]);
            for (at, value) in changes {
                disk.write_all_at(&value.to_le_bytes(), PARTITION + at / 4 * 4).unwrap();
            }
            let small = Volume { disk: &disk, length: SIZE, at: 0, left: 8 << 20 };
            if let Ok(volume) = FileSystem::new(small, FsOptions::new()) {
                let file = volume.root_dir().open_file("MEMORY.DMP");
                let _ = file.and_then(|mut file| io::copy(&mut file, &mut io::sink()));
            }
            drop(folder);
        }
    }
}
