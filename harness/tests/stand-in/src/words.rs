//! Command lines, INFs and archives, as far as the stand-in reads or writes them. Plain functions, which are tested on the host.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The words of a command line; what is in quotation marks is one.
pub(crate) fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted, mut is_word) = (Vec::new(), String::new(), false, false);
    for letter in command.chars() {
        match letter {
            '"' => (is_quoted, is_word) = (!is_quoted, true),
            ' ' if !is_quoted => {
                if core::mem::take(&mut is_word) {
                    words.push(core::mem::take(&mut word));
                }
            }
            letter => {
                word.push(letter);
                is_word = true;
            }
        }
    }
    if is_word {
        words.push(word);
    }
    words
}

/// Folder, with its last backslash, and name of a path.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rfind('\\').map_or(("", path), |at| path.split_at(at + 1))
}

/// Files that an INF copies, and its catalogue.
pub(crate) struct Inf {
    pub(crate) files: Vec<String>,
    pub(crate) catalogue: Option<String>,
}

/// Reads an INF in ASCII.
pub(crate) fn inf(text: &str) -> Inf {
    let (mut section, mut files, mut catalogue) = ("", Vec::new(), None);
    for line in text.lines().map(|line| line.split(';').next().unwrap_or_default().trim()) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, value)) = line.split_once('=') {
            let is = |name: &str| section.len() >= name.len() && section[..name.len()].eq_ignore_ascii_case(name);
            if is("SourceDisksFiles") {
                files.push(key.trim().to_string());
            } else if is("Version") && key.trim().to_ascii_lowercase().starts_with("catalogfile") {
                catalogue = Some(value.trim().to_string());
            }
        }
    }
    Inf { files, catalogue }
}

/// A flat ustar archive.
pub(crate) fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut archive = Vec::new();
    for (name, content) in files {
        let mut header = [0; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        for (at, width, value) in [(100, 8, 0o644), (108, 8, 0), (116, 8, 0), (124, 12, content.len()), (136, 12, 0)] {
            octal(&mut header[at..at + width], value);
        }
        header[148..156].fill(b' ');
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum = header.iter().map(|byte| usize::from(*byte)).sum();
        octal(&mut header[148..155], sum);
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

/// A number in all places but the last, which is zero.
fn octal(field: &mut [u8], mut value: usize) {
    let last = field.len() - 1;
    field[last] = 0;
    for digit in field[..last].iter_mut().rev() {
        (*digit, value) = (b'0' + (value % 8) as u8, value / 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_is_one_word() {
        assert_eq!(words(r#"certutil.exe -f  "E:\a b.cer" """#), ["certutil.exe", "-f", r"E:\a b.cer", ""]);
        assert_eq!(split(r"E:\x\a.inf"), (r"E:\x\", "a.inf"));
    }

    #[test]
    fn an_infs_files_and_catalogue_are_found() {
        let text = "[Version]\r\nSignature = \"$WINDOWS NT$\"\r\nCatalogFile = a.cat ; signed\r\n[SourceDisksFiles]\r\na.sys = 1\nb.sys=1\n[C]\nx=y\n";
        let Inf { files, catalogue } = inf(text);
        assert_eq!((files.as_slice(), catalogue.as_deref()), (&["a.sys".to_string(), "b.sys".to_string()][..], Some("a.cat")));
    }

    #[test]
    fn an_archive_has_a_header_before_each_file_and_its_sum() {
        let made = archive(&[("a.sys".to_string(), alloc::vec![7; 513])]);
        assert_eq!((made.len(), &made[..5], &made[124..136]), (512 * 5, &b"a.sys"[..], &b"00000001001\0"[..]));
        let sum: u32 =
            made[..512].iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
        assert_eq!(core::str::from_utf8(&made[148..154]).unwrap(), alloc::format!("{sum:06o}"));
    }
}
