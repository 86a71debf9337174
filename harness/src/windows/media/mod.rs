//! Install media: an ISO file, its file system, and which Windows it holds.
//!
//! Microsoft's media have a UDF file system, and an ISO 9660 one that holds nothing but a note; media that somebody has remade may have
//! it the other way round. Both are read, UDF first.

mod extents;
mod iso9660;
mod udf;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Outcome, Problem};

use super::wim::{self, Edition};
pub use extents::DiscFile;

/// Bytes of a sector of a disc.
const SECTOR: u64 = 2048;
/// Deepest folder that is looked into, and most entries of one.
const MOST_ENTRIES: usize = 20_000;
/// Most bytes of one folder.
const LONGEST_FOLDER: usize = 16 << 20;
/// Places where media keep the images that Setup installs.
const IMAGES: [&str; 2] = ["sources/install.wim", "sources/install.esd"];
/// Where remade media keep them in pieces.
const SPLIT: &str = "sources/install.swm";
/// What UEFI starts.
const LOADER: &str = "efi/boot/bootx64.efi";

/// Why a disc cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The disk's.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// Structures that contradict themselves or lie outside.
    #[error("its file system is damaged: {0}")]
    Damaged(&'static str),
    /// Something that install media do not have.
    #[error("its file system has {0}, which install media do not have")]
    Unusual(&'static str),
}

/// What install media hold.
#[derive(Debug)]
pub struct Media {
    /// The file.
    pub path: PathBuf,
    /// The file system that was read.
    pub file_system: &'static str,
    /// The file with the images.
    pub image: &'static str,
    /// What can be installed.
    pub editions: Vec<Edition>,
}

impl Media {
    /// Looks into an ISO file.
    ///
    /// # Errors
    /// What the file is instead of install media, and what to do.
    pub fn inspect(path: &Path) -> Outcome<Self> {
        let named = |why: String| wrong(path, "no Windows install medium", why);
        let file = open(path)?;
        let disc = Disc::open(&file).map_err(|error| named(error.to_string()))?;
        let Some(disc) = disc else { return Err(named(what_else(&file))) };
        disc.is_whole(&file).map_err(named)?;
        let explain = |error: MediaError| named(error.to_string());
        for name in IMAGES {
            let Some(image) = disc.find(name).map_err(explain)? else { continue };
            let editions = wim::editions(&image).map_err(|error| named(format!("{name}: {error}")))?;
            if disc.find(LOADER).map_err(explain)?.is_none() {
                return Err(named(format!("it has no {LOADER}, so that UEFI cannot start it")));
            }
            return Ok(Self { path: path.to_path_buf(), file_system: disc.name(), image: name, editions });
        }
        if disc.find(SPLIT).map_err(explain)?.is_some() {
            return Err(Problem::environment(format!("{} has its Windows in pieces", path.display()))
                .because(format!("it has {SPLIT}, which this reads no list of editions from"))
                .so("use media in one piece, or put the pieces together (wimlib-imagex join) and make the ISO file again"));
        }
        Err(named(format!("its {} file system has neither {}", disc.name(), IMAGES.join(" nor "))))
    }

    /// The edition of this name, or of this name for people.
    ///
    /// # Errors
    /// The media do not have it; names those that they have.
    pub fn edition(&self, name: &str) -> Outcome<&Edition> {
        let by = |of: fn(&Edition) -> &str| self.editions.iter().find(|edition| of(edition).eq_ignore_ascii_case(name));
        by(|edition| &edition.name).or_else(|| by(|edition| &edition.title)).ok_or_else(|| {
            let names: Vec<String> = self.editions.iter().map(|edition| format!("\"{}\"", edition.name)).collect();
            Problem::usage(format!("{} does not hold \"{name}\"", self.path.display()))
                .because(format!("it holds {}", names.join(", ")))
                .so("choose one of them with --edition")
        })
    }
}

/// Whether a disc has this file, whatever the case of its letters.
///
/// # Errors
/// What the file is instead of a disc.
pub fn has(path: &Path, name: &str) -> Outcome<bool> {
    let named = |why: String| wrong(path, "no disc that can be read", why);
    let file = open(path)?;
    let disc = Disc::open(&file).map_err(|error| named(error.to_string()))?;
    let Some(disc) = disc else { return Err(named(what_else(&file))) };
    disc.find(name).map(|found| found.is_some()).map_err(|error| named(error.to_string()))
}

fn open(path: &Path) -> Outcome<File> {
    File::open(path).map_err(|error| {
        Problem::usage(format!("{} cannot be opened", path.display()))
            .because(error.to_string())
            .so("name an ISO file that exists")
    })
}

fn wrong(path: &Path, what: &str, why: String) -> Problem {
    Problem::environment(format!("{} is {what}", path.display()))
        .because(why)
        .so("download the ISO file again and compare its SHA-256 with the publisher's")
}

/// A disc with a file system that we read.
enum Disc<'a> {
    Udf(udf::Udf<'a>),
    Iso(iso9660::Iso9660<'a>),
}

impl<'a> Disc<'a> {
    /// `None`: no file system that discs have.
    fn open(file: &'a File) -> Result<Option<Self>, MediaError> {
        if let Some(udf) = udf::Udf::open(file)? {
            return Ok(Some(Self::Udf(udf)));
        }
        Ok(iso9660::Iso9660::open(file)?.map(Self::Iso))
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Udf(_) => "UDF",
            Self::Iso(_) => "ISO 9660",
        }
    }

    /// Whether the file has all that its file system speaks of.
    fn is_whole(&self, file: &File) -> Result<(), String> {
        let sectors = match self {
            Self::Udf(udf) => udf.sectors(),
            Self::Iso(iso) => iso.sectors(),
        };
        let there = file.metadata().map_err(|error| error.to_string())?.len();
        let wanted = sectors.saturating_mul(SECTOR);
        (there >= wanted).then_some(()).ok_or_else(|| {
            format!("it is cut off: it has {there} bytes, its file system has {wanted}; the download may be incomplete")
        })
    }

    /// A file by its path, whatever the case of its letters.
    fn find(&self, path: &str) -> Result<Option<DiscFile<'a>>, MediaError> {
        match self {
            Self::Udf(udf) => udf.find(path),
            Self::Iso(iso) => iso.find(path),
        }
    }
}

/// What a file is that is no disc, as far as its first bytes tell.
fn what_else(file: &File) -> String {
    let mut start = [0; 512];
    let length = file.read_at(&mut start, 0).unwrap_or(0);
    let start = &start[..length];
    let text = String::from_utf8_lossy(start).to_ascii_lowercase();
    if length == 0 {
        return "the file is empty".to_owned();
    }
    if text.contains("<html") || text.contains("<!doctype") {
        return "it is a web page that was saved under the name of an ISO file".to_owned();
    }
    let known: [(&[u8], &str); 6] = [
        (b"MSWIM\0\0\0", "it is a bare WIM file; the ISO file it came in is needed"),
        (b"QFI\xfb", "it is a qcow2 disk image"),
        (b"conectix", "it is a VHD disk image"),
        (b"vhdxfile", "it is a VHDX disk image"),
        (b"PK\x03\x04", "it is a ZIP archive"),
        (b"MZ", "it is a Windows program"),
    ];
    let found = known.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, what)| (*what).to_owned());
    found.unwrap_or_else(|| "it has no file system that discs have; the download may be incomplete".to_owned())
}

/// Reads a little-endian number.
fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    bytes.get(offset..offset + 2).map_or(0, |part| u16::from_le_bytes([part[0], part[1]]))
}

/// Reads a little-endian number.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from(u16_at(bytes, offset)) | u32::from(u16_at(bytes, offset + 2)) << 16
}

/// Reads a little-endian number.
fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from(u32_at(bytes, offset)) | u64::from(u32_at(bytes, offset + 4)) << 32
}

/// Reads one sector; `None` behind the end of the file.
fn sector(file: &File, number: u64) -> io::Result<Option<[u8; SECTOR as usize]>> {
    let mut bytes = [0; SECTOR as usize];
    let Some(offset) = number.checked_mul(SECTOR) else { return Ok(None) };
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
