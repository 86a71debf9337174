//! The text of anybody's INF: sections, lines, strings. What the lines mean is in [`super::rules`].

use std::collections::BTreeMap;

/// Most lines that are read.
const MOST_LINES: usize = 100_000;
/// Most bytes that strings are put in for: a short line can name a long string any number of times.
const MOST_PUT_IN: usize = 16 << 20;

/// One line of a section: `key = value, value` or just values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Number in the file, from 1.
    pub number: usize,
    /// What is before the equals sign, if there is one; strings are put in.
    pub key: Option<String>,
    /// The values between commas, without quotation marks; strings are put in.
    pub values: Vec<String>,
}

impl Line {
    /// Whether it has this key.
    #[must_use]
    pub fn is(&self, key: &str) -> bool {
        self.key.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(key))
    }

    /// A value by its place, empty when it is not there.
    #[must_use]
    pub fn value(&self, index: usize) -> &str {
        self.values.get(index).map_or("", String::as_str)
    }
}

/// A section; parts of the same name are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Its name as it was written first.
    pub name: String,
    /// Number of the line where it begins first.
    pub number: usize,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Where the first line with a key is, by the key in lower case.
    first: BTreeMap<String, usize>,
}

impl Section {
    /// The first line with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Line> {
        self.first.get(&key.to_lowercase()).and_then(|index| self.lines.get(*index))
    }

    fn index(&mut self) {
        for (index, line) in self.lines.iter().enumerate() {
            if let Some(key) = &line.key {
                self.first.entry(key.to_lowercase()).or_insert(index);
            }
        }
    }

    /// All lines with this key.
    pub fn with<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.is(key))
    }
}

/// An INF that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// By name in lower case.
    pub sections: BTreeMap<String, Section>,
    /// Lines that are neither in a section nor the head of one, by number.
    pub stray: Vec<usize>,
    /// Strings that are used and not defined, with the line.
    pub undefined: Vec<(usize, String)>,
    /// How it is written, when Windows does not read that.
    pub encoding: Option<&'static str>,
    /// What of it was not read: it has too many lines, or strings too long.
    pub cut: Option<&'static str>,
}

impl Text {
    /// Reads an INF in UTF-16 with its mark, UTF-8, or an 8-bit code whose upper half nobody needs.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let encoding = match bytes {
            [0xfe, 0xff, ..] => Some("UTF-16 BE"),
            [0xef, 0xbb, 0xbf, ..] => Some("UTF-8 with a mark"),
            _ => None,
        };
        let text = decode(bytes);
        let cut = text.lines().nth(MOST_LINES).map(|_| "it has more than 100,000 lines");
        let mut raw = Self { encoding, cut, ..Self::default() };
        let mut open: Option<String> = None;
        for (number, line) in logical_lines(&text) {
            let head = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
            if let Some((name, _)) = head {
                let key = name.trim().to_lowercase();
                let section = raw.sections.entry(key.clone()).or_default();
                if section.number == 0 {
                    (section.name, section.number) = (name.trim().to_owned(), number);
                }
                open = Some(key);
            } else if let Some(section) = open.as_ref().and_then(|key| raw.sections.get_mut(key)) {
                section.lines.push(split(number, &line));
            } else {
                raw.stray.push(number);
            }
        }
        raw.put_strings_in();
        raw.sections.values_mut().for_each(Section::index);
        raw
    }

    /// A section by name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.get(&name.to_lowercase())
    }

    fn put_strings_in(&mut self) {
        let mut strings = BTreeMap::new();
        for (_, section) in self.sections.iter().filter(|(name, _)| is_strings(name)) {
            for line in &section.lines {
                if let Some(key) = &line.key {
                    strings.entry(key.to_lowercase()).or_insert_with(|| line.values.join(","));
                }
            }
        }
        let (undefined, mut room) = (&mut self.undefined, MOST_PUT_IN);
        for (_, section) in self.sections.iter_mut().filter(|(name, _)| !is_strings(name)) {
            for line in &mut section.lines {
                for text in line.values.iter_mut().chain(&mut line.key) {
                    *text = substitute(text, &strings, &mut room, |name| undefined.push((line.number, name)));
                }
            }
        }
        if room == 0 {
            self.cut = Some("its strings, put in where they are named, take more than 16 MiB");
        }
    }
}

fn is_strings(name: &str) -> bool {
    name == "strings" || name.starts_with("strings.")
}

/// Puts strings in, as long as there is `room`. `%%` is a percent sign, a number stays: it is a directory.
fn substitute(text: &str, strings: &BTreeMap<String, String>, room: &mut usize, mut undefined: impl FnMut(String)) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('%') {
        result.push_str(before);
        let Some((name, after)) = behind.split_once('%') else {
            result.push('%');
            rest = behind;
            continue;
        };
        match strings.get(&name.to_lowercase()) {
            Some(value) => {
                *room = room.saturating_sub(value.len());
                if *room != 0 {
                    result.push_str(value);
                }
            }
            None if name.is_empty() => result.push('%'),
            None => {
                if name.parse::<u32>().is_err() {
                    undefined(name.to_owned());
                }
                result.push_str(&format!("%{name}%"));
            }
        }
        rest = after;
    }
    result + rest
}

fn decode(bytes: &[u8]) -> String {
    let units = |unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, ..] => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => units(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Lines without comments and empty ones; a backslash at the end goes on with the next line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut pending: Option<(usize, String)> = None;
    for (index, line) in text.lines().take(MOST_LINES).enumerate() {
        let line = without_comment(line).trim();
        let (number, mut whole) = pending.take().unwrap_or((index + 1, String::new()));
        match line.strip_suffix('\\') {
            Some(part) => {
                whole.push_str(part);
                pending = Some((number, whole));
            }
            None => {
                whole.push_str(line);
                lines.push((number, whole));
            }
        }
    }
    lines.extend(pending);
    lines.retain(|(_, line)| !line.trim().is_empty());
    lines
}

fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (index, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' if !quoted => return &line[..index],
            _ => {}
        }
    }
    line
}

fn split(number: usize, line: &str) -> Line {
    let mut fields: Vec<String> = vec![String::new()];
    let (mut key, mut quoted) = (None, false);
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let last = fields.len() - 1;
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                fields[last].push('"');
            }
            '"' => quoted = !quoted,
            '=' if !quoted && key.is_none() && last == 0 => key = Some(std::mem::take(&mut fields[0]).trim().to_owned()),
            ',' if !quoted => fields.push(String::new()),
            c => fields[last].push(c),
        }
    }
    let values = fields.into_iter().map(|field| field.trim().to_owned()).collect();
    Line { number, key, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_quotes_strings_and_continued_lines_are_read_as_windows_reads_them() {
        let text = Text::read(
            b"; top\r\n[A] ; note\r\n%Name% = \"x;y, \"\"z\"\"\", 2 ; end\r\nB = %13%\\a, \\\r\n  %No%\r\n[STRINGS]\r\nname=\"The, name\"\r\n",
        );
        let lines = &text.section("a").unwrap().lines;
        assert_eq!(lines[0], Line { number: 3, key: Some("The, name".into()), values: vec!["x;y, \"z\"".into(), "2".into()] });
        assert_eq!(lines[1], Line { number: 4, key: Some("B".into()), values: vec![r"%13%\a".into(), "%No%".into()] });
        assert_eq!(text.undefined, [(4, "No".to_owned())]);
    }

    #[test]
    fn utf_16_with_its_mark_reads_like_utf_8() {
        let source = "[Ä]\r\nb = c\r\n";
        let wide: Vec<u8> = [0xfeff].into_iter().chain(source.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        assert_eq!(Text::read(&wide), Text::read(source.as_bytes()));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, marks in "[\\[\\]%=,;\"\\\\\r\na-c ]{0,200}") {
            let _ = Text::read(&bytes);
            let _ = Text::read(marks.as_bytes());
        }
    }
}
