//! The files for the guest, as one flat ustar archive in memory; QEMU reads it through an inherited descriptor.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};

/// An archive of `files`, which nobody can change any more.
///
/// # Errors
/// The system's; a name that is too long for the format.
pub fn in_memory<N: AsRef<str>>(files: &[(N, Vec<u8>)]) -> io::Result<OwnedFd> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_path(name.as_ref())?;
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_cksum();
        archive.append(&header, content.as_slice())?;
    }
    let bytes = archive.into_inner()?;
    let memory = rustix::fs::memfd_create("guest files", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(&bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _};

    #[test]
    fn every_file_is_in_the_archive_under_its_name() {
        let fd = in_memory(&[("relay.inf", b"[Version]".to_vec()), ("relay.sys", vec![0x4d; 1000])]).unwrap();
        let mut file = File::from(fd);
        file.rewind().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(&bytes[257..262], b"ustar");
        let mut archive = tar::Archive::new(&*bytes);
        let names: Vec<(String, u64)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().display().to_string(), entry.size())
            })
            .collect();
        assert_eq!(names, [("relay.inf".to_owned(), 9), ("relay.sys".to_owned(), 1000)]);
    }

    #[test]
    fn the_archive_cannot_be_changed() {
        let mut file = File::from(in_memory(&[("a", vec![1])]).unwrap());
        assert!(file.write_all(b"x").is_err());
    }
}
