//! WIM files: the list of Windows editions that install media hold. Only the header and the XML text are read; both are never compressed.

use std::io;

use super::media::DiscFile;

/// Longest XML text that is read; real ones have some kilobytes an edition.
const LONGEST_LIST: usize = 16 << 20;
const HEADER: usize = 208;
/// Where the header says where the XML text lies.
const LIST: usize = 72;
/// Flag of a resource that is compressed.
const COMPRESSED: u8 = 4;
/// `PROCESSOR_ARCHITECTURE_AMD64`.
const AMD64: &str = "9";

/// One installable Windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    /// Its number in the file, from 1.
    pub index: u32,
    /// Its name, as Setup's answer file names it.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Build of the system.
    pub build: u32,
    /// Whether it is for x64.
    pub is_x64: bool,
    /// Bytes that it takes once installed.
    pub bytes: u64,
}

/// Why a WIM file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WimError {
    /// The disk's.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// Another format.
    #[error("it does not begin as a WIM file does")]
    NoWim,
    /// Split over several files.
    #[error("it is part {0} of {1}; media in one piece are needed")]
    Split(u16, u16),
    /// The list is not where the header says.
    #[error("its list of editions is damaged: {0}")]
    List(String),
}

/// The editions of a WIM or ESD file.
///
/// # Errors
/// It is none, or damaged.
pub fn editions(file: &DiscFile<'_>) -> Result<Vec<Edition>, WimError> {
    let mut header = [0; HEADER];
    match file.read_at(0, &mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(WimError::NoWim),
        other => other?,
    }
    if !header.starts_with(b"MSWIM\0\0\0") {
        return Err(WimError::NoWim);
    }
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if half(42) > 1 {
        return Err(WimError::Split(half(40), half(42)));
    }
    let number = |at: usize| header[at..at + 8].iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let length = number(LIST) & 0x00ff_ffff_ffff_ffff;
    if header[LIST + 7] & COMPRESSED != 0 {
        return Err(WimError::List("it is compressed".to_owned()));
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST_LIST && *length >= 2);
    let mut bytes = vec![0; length.ok_or_else(|| WimError::List("it has an impossible length".to_owned()))?];
    file.read_at(number(LIST + 8), &mut bytes)?;
    parse(&bytes)
}

/// Reads the XML text.
fn parse(bytes: &[u8]) -> Result<Vec<Edition>, WimError> {
    let damaged = |why: &str| WimError::List(why.to_owned());
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let text = String::from_utf16(&units).map_err(|_| damaged("it is not UTF-16"))?;
    let text = text.trim_start_matches('\u{feff}').trim_end_matches('\0');
    let document = roxmltree::Document::parse(text).map_err(|error| damaged(&error.to_string()))?;
    let mut editions = Vec::new();
    for image in document.root_element().children().filter(|node| node.has_tag_name("IMAGE")) {
        let value = |path: &[&str]| {
            let found = path.iter().try_fold(image, |node, name| node.children().find(|child| child.has_tag_name(*name)));
            found.and_then(|node| node.text()).unwrap_or_default().trim()
        };
        editions.push(Edition {
            index: image
                .attribute("INDEX")
                .and_then(|index| index.parse().ok())
                .ok_or_else(|| damaged("an image without number"))?,
            name: crate::console::printable(value(&["NAME"])),
            title: crate::console::printable(value(&["DISPLAYNAME"])),
            build: value(&["WINDOWS", "VERSION", "BUILD"]).parse().unwrap_or(0),
            is_x64: value(&["WINDOWS", "ARCH"]) == AMD64,
            bytes: value(&["TOTALBYTES"]).parse().unwrap_or(0),
        });
    }
    if editions.is_empty() { Err(damaged("it names no image")) } else { Ok(editions) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn an_edition_has_number_name_build_and_size() {
        let found = parse(&utf16(
            "<WIM><TOTALBYTES>9</TOTALBYTES><IMAGE INDEX=\"2\"><NAME>Windows X</NAME><DISPLAYNAME>X for you</DISPLAYNAME><TOTALBYTES>123</TOTALBYTES>\
             <WINDOWS><ARCH>9</ARCH><VERSION><MAJOR>10</MAJOR><BUILD>26100</BUILD></VERSION></WINDOWS></IMAGE></WIM>",
        ));
        let edition = Edition {
            index: 2,
            name: "Windows X".to_owned(),
            title: "X for you".to_owned(),
            build: 26100,
            is_x64: true,
            bytes: 123,
        };
        assert_eq!(found.unwrap(), [edition]);
    }

    #[test]
    fn a_list_that_is_none_is_an_error() {
        for text in ["", "<WIM></WIM>", "<WIM><IMAGE/></WIM>", "<WIM>"] {
            assert!(parse(&utf16(text)).is_err(), "{text}");
        }
        assert!(parse(&[0, 0xd8, 0, 0]).is_err(), "half a character");
    }
}
