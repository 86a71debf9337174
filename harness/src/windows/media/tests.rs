use super::*;
use std::io::Write as _;

/// A file with this content.
fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

/// A WIM file with one edition in its list.
fn wim(edition: &str, build: u32) -> Vec<u8> {
    let text = format!(
        "\u{feff}<WIM><IMAGE INDEX=\"1\"><NAME>{edition}</NAME><DISPLAYNAME>A Test</DISPLAYNAME><WINDOWS><ARCH>9</ARCH><VERSION><BUILD>{build}</BUILD></VERSION></WINDOWS></IMAGE></WIM>"
    );
    let text: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut bytes = vec![0; 208];
    bytes[..8].copy_from_slice(b"MSWIM\0\0\0");
    bytes[40..44].copy_from_slice(&[1, 0, 1, 0]);
    bytes[72..80].copy_from_slice(&(text.len() as u64).to_le_bytes());
    bytes[80..88].copy_from_slice(&208u64.to_le_bytes());
    bytes.extend(text);
    bytes
}

/// A record of a folder.
fn record(name: &str, sector: u32, length: usize, flags: u8) -> Vec<u8> {
    let mut record = vec![0; (33 + name.len()).next_multiple_of(2)];
    record[0] = record.len() as u8;
    record[2..6].copy_from_slice(&sector.to_le_bytes());
    record[10..14].copy_from_slice(&(length as u32).to_le_bytes());
    (record[25], record[32]) = (flags, name.len() as u8);
    record[33..33 + name.len()].copy_from_slice(name.as_bytes());
    record
}

/// An ISO 9660 disc: a root folder, SOURCES with an image in two pieces, EFI/BOOT with a loader.
fn iso(image: &[u8]) -> Vec<u8> {
    let mut disc = vec![0; 40 * 2048];
    let mut put = |sector: usize, bytes: &[u8]| disc[sector * 2048..sector * 2048 + bytes.len()].copy_from_slice(bytes);
    let mut descriptor = vec![0; 2048];
    (descriptor[0], descriptor[6]) = (1, 1);
    descriptor[1..6].copy_from_slice(b"CD001");
    descriptor[80..84].copy_from_slice(&40u32.to_le_bytes());
    descriptor[156..190].copy_from_slice(&record("\0", 20, 2048, 2));
    put(16, &descriptor);
    put(17, b"\xffCD001\x01");
    put(20, &[record("SOURCES", 21, 2048, 2), record("EFI", 22, 2048, 2)].concat());
    let split = 100.min(image.len());
    put(21, &[record("INSTALL.WIM;1", 30, split, 0x80), record("INSTALL.WIM;1", 31, image.len() - split, 0)].concat());
    put(22, &record("BOOT", 23, 2048, 2));
    put(23, &record("BOOTX64.EFI;1", 24, 2, 0));
    put(24, b"MZ");
    put(30, &image[..split]);
    put(31, &image[split..]);
    disc
}

#[test]
fn an_iso_9660_disc_is_read_and_its_editions_are_listed() {
    let file = file(&iso(&wim("Windows Test", 26100)));
    let media = Media::inspect(file.path()).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!((media.file_system, media.image), ("ISO 9660", "sources/install.wim"));
    assert_eq!(media.edition("windows TEST").unwrap().build, 26100);
    assert_eq!(media.edition("a test").unwrap().build, 26100);
    let problem = media.edition("Windows Home").unwrap_err();
    assert!(problem.to_string().contains("it holds \"Windows Test\""), "{problem}");
}

#[test]
fn what_is_no_disc_is_named() {
    for (content, words) in [
        (&b""[..], "empty"),
        (b"<!DOCTYPE html><html><head>", "web page"),
        (b"\n<HTML>", "web page"),
        (b"QFI\xfb\0\0\0\x03", "qcow2"),
        (b"MSWIM\0\0\0", "bare WIM"),
        (b"something else", "incomplete"),
    ] {
        let file = file(content);
        let problem = Media::inspect(file.path()).unwrap_err();
        assert!(problem.why().contains(words), "{problem}");
        assert_eq!(problem.exit(), crate::error::Exit::Environment);
    }
    assert_eq!(Media::inspect(Path::new("/no/such.iso")).unwrap_err().exit(), crate::error::Exit::Usage);
}

#[test]
fn a_disc_that_is_cut_off_or_damaged_anywhere_is_an_error_and_nothing_worse() {
    let whole = iso(&wim("Windows Test", 26100));
    for length in (0..whole.len()).step_by(1021) {
        let file = file(&whole[..length]);
        let problem = Media::inspect(file.path()).unwrap_err();
        assert!(length <= 17 * 2048 || problem.why().contains("cut off"), "cut off at {length}: {problem}");
    }
    for at in (16 * 2048..25 * 2048).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        let file = file(&damaged);
        drop(Media::inspect(file.path()));
    }
}
