//! The text of an INF: sections, lines, fields, quoting, continuation, string tokens. The file may be anything; what it makes the
//! parser hold is bounded by the limits below.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Largest file that is read.
const MAX_BYTES: usize = 1 << 20;
/// Most lines with contents.
const MAX_LINES: usize = 1 << 14;
/// Longest field, string tokens replaced.
const MAX_FIELD: usize = 4096;
/// Most text in all that string tokens are replaced by.
const MAX_REPLACED: usize = 4 << 20;

/// Why a file is no usable INF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InfError {
    /// Line, from 1; 0 where none is at fault.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) reason: String,
}

impl InfError {
    pub(super) fn new(line: usize, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

impl fmt::Display for InfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.reason),
            line => write!(f, "line {line}: {}", self.reason),
        }
    }
}

/// One line of a section: `key = field, field, …`, or fields alone. String tokens are already replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// What stands before the equals sign.
    pub(crate) key: Option<String>,
    /// The comma-separated fields.
    pub(crate) fields: Vec<String>,
    /// Where it begins in the file.
    pub(crate) number: usize,
}

impl Line {
    /// Field `index`, or nothing where the line is shorter.
    pub(crate) fn field(&self, index: usize) -> &str {
        self.fields.get(index).map_or("", String::as_str)
    }
}

/// A parsed file.
#[derive(Clone, Debug)]
pub(crate) struct Inf {
    /// By their names in lower case. Sections of one name are one.
    sections: Sections,
}

type Sections = BTreeMap<String, Vec<Line>>;

/// The section with the string tokens.
const STRINGS: &str = "strings";

impl Inf {
    /// Parses a file in UTF-8 or in UTF-16 with a byte order mark, and checks that `[Version]` names Windows.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, InfError> {
        let text = decode(bytes)?;
        let mut inf = Self { sections: sections(&text)? };
        inf.replace_tokens()?;
        let signature = inf.value("Version", "Signature").unwrap_or_default();
        let known = ["$WINDOWS NT$", "$CHICAGO$", "$WINDOWS 95$"];
        if !known.iter().any(|name| name.eq_ignore_ascii_case(signature)) {
            return Err(InfError::new(0, "[Version] has no Signature = \"$WINDOWS NT$\""));
        }
        Ok(inf)
    }

    /// Whether a section of that name exists.
    pub(crate) fn has_section(&self, name: &str) -> bool {
        self.sections.contains_key(&name.to_ascii_lowercase())
    }

    /// The lines of a section; sections of one name count as one.
    pub(crate) fn lines(&self, name: &str) -> core::slice::Iter<'_, Line> {
        self.sections.get(&name.to_ascii_lowercase()).map_or(&[][..], Vec::as_slice).iter()
    }

    /// The lines of a section that have this key.
    pub(crate) fn lines_with_key<'a>(&'a self, section: &str, key: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines(section).filter(move |line| line.key.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(key)))
    }

    /// The first field of the first line with this key.
    pub(crate) fn value<'a>(&'a self, section: &'a str, key: &'a str) -> Option<&'a str> {
        self.lines_with_key(section, key).next().map(|line| line.field(0))
    }

    /// Replaces `%token%` everywhere by what `[Strings]` gives it.
    fn replace_tokens(&mut self) -> Result<(), InfError> {
        let mut strings: BTreeMap<String, String> = BTreeMap::new();
        for line in self.lines(STRINGS) {
            if let Some(key) = &line.key {
                strings.entry(key.to_ascii_lowercase()).or_insert_with(|| line.fields.join(","));
            }
        }
        let mut left = MAX_REPLACED;
        for line in self.sections.iter_mut().filter(|(name, _)| *name != STRINGS).flat_map(|(_, lines)| lines) {
            let number = line.number;
            for text in line.key.iter_mut().chain(&mut line.fields).filter(|text| text.contains('%')) {
                *text = replaced(text, &strings).map_err(|reason| InfError::new(number, reason))?;
                left = left
                    .checked_sub(text.len())
                    .ok_or_else(|| InfError::new(number, "the file is too large once its string tokens are replaced"))?;
            }
        }
        Ok(())
    }
}

/// `text` with its tokens replaced. An unknown token stays as it is, as do directory numbers such as `%13%`.
fn replaced(text: &str, strings: &BTreeMap<String, String>) -> Result<String, &'static str> {
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        result.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        let Some(end) = after.find('%') else {
            rest = &rest[start..];
            break;
        };
        let token = &after[..end];
        match strings.get(&token.to_ascii_lowercase()) {
            _ if token.is_empty() => result.push('%'),
            Some(value) => result.push_str(value),
            None => {
                result.push('%');
                result.push_str(token);
                result.push('%');
            }
        }
        rest = &after[end + 1..];
        if result.len() > MAX_FIELD {
            return Err("a field is too long once its string tokens are replaced");
        }
    }
    result.push_str(rest);
    Ok(result)
}

fn decode(bytes: &[u8]) -> Result<String, InfError> {
    if bytes.len() > MAX_BYTES {
        return Err(InfError::new(0, "the file is larger than 1 MiB"));
    }
    match bytes {
        [0xff, 0xfe, rest @ ..] => {
            let units: Vec<u16> = rest.as_chunks().0.iter().map(|&pair| u16::from_le_bytes(pair)).collect();
            Ok(String::from_utf16_lossy(&units))
        }
        [0xef, 0xbb, 0xbf, rest @ ..] => Ok(String::from_utf8_lossy(rest).into_owned()),
        // Older files are in a code page; what is no ASCII there stands in comments and names only.
        _ => Ok(String::from_utf8_lossy(bytes).into_owned()),
    }
}

/// Cuts the text into sections. Lines before the first section are ignored.
fn sections(text: &str) -> Result<Sections, InfError> {
    let mut sections = Sections::new();
    let mut current: Option<String> = None;
    let mut count = 0;
    let mut lines = text.lines().enumerate();
    while let Some((index, physical)) = lines.next() {
        let number = index + 1;
        let mut logical = String::from(without_comment(physical).trim());
        let mut quoted = has_open_quote(&logical);
        while logical.ends_with('\\') && !quoted {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            let next = without_comment(next).trim();
            logical.push_str(next);
            quoted ^= has_open_quote(next);
        }
        if logical.is_empty() || logical.contains('\0') {
            continue;
        }
        count += 1;
        if count > MAX_LINES {
            return Err(InfError::new(number, "the file has too many lines"));
        }
        if let Some(rest) = logical.strip_prefix('[') {
            let name = rest.split(']').next().filter(|_| rest.contains(']'));
            let name = name.ok_or_else(|| InfError::new(number, "a section name has no closing bracket"))?;
            let name = name.trim().trim_matches('"').to_ascii_lowercase();
            sections.entry(name.clone()).or_default();
            current = Some(name);
        } else if let Some(lines) = current.as_ref().and_then(|name| sections.get_mut(name)) {
            lines.push(line(&logical, number)?);
        }
    }
    Ok(sections)
}

fn has_open_quote(text: &str) -> bool {
    text.matches('"').count() % 2 == 1
}

/// The line up to a semicolon that is not in quotes.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (index, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            ';' if !quoted => return &line[..index],
            _ => {}
        }
    }
    line
}

fn line(text: &str, number: usize) -> Result<Line, InfError> {
    let equals = unquoted(text, '=');
    let key = equals.map(|at| unquote(text[..at].trim()));
    let mut rest = equals.map_or(text, |at| &text[at + 1..]);
    let mut fields = Vec::new();
    loop {
        let comma = unquoted(rest, ',');
        let field = unquote(rest[..comma.unwrap_or(rest.len())].trim());
        if field.len() > MAX_FIELD {
            return Err(InfError::new(number, "a field is too long"));
        }
        fields.push(field);
        match comma {
            Some(at) => rest = &rest[at + 1..],
            None => break,
        }
    }
    Ok(Line { key, fields, number })
}

/// Where `wanted` first stands outside quotes.
fn unquoted(text: &str, wanted: char) -> Option<usize> {
    let mut quoted = false;
    for (index, character) in text.char_indices() {
        if character == '"' {
            quoted = !quoted;
        } else if character == wanted && !quoted {
            return Some(index);
        }
    }
    None
}

/// Takes quotes away; a doubled quote inside them is one quote.
fn unquote(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        if character != '"' {
            result.push(character);
        } else if quoted && characters.peek() == Some(&'"') {
            characters.next();
            result.push('"');
        } else {
            quoted = !quoted;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "[Version]\nSignature=\"$Windows NT$\"\n";

    fn parse(body: &str) -> Inf {
        Inf::parse(format!("{HEAD}{body}").as_bytes()).unwrap()
    }

    #[test]
    fn quotes_commas_comments_and_continuation_are_read_as_documented() {
        let inf = parse("[A]\nkey = \"a, \"\"b\"\"; c\", second ; comment\nlong = one, \\\n  two\n");
        let lines: Vec<&Line> = inf.lines("a").collect();
        assert_eq!(lines[0].fields, ["a, \"b\"; c", "second"]);
        assert_eq!(lines[1].fields, ["one", "two"]);
    }

    #[test]
    fn tokens_are_replaced_and_directory_numbers_stay() {
        let inf = parse("[A]\n%Name% = %13%\\x.sys, 100%%\n[Strings]\nName = \"The name\"\n");
        let line = inf.lines("A").next().unwrap();
        assert_eq!(line.key.as_deref(), Some("The name"));
        assert_eq!(line.fields, ["%13%\\x.sys", "100%"]);
    }

    #[test]
    fn sections_of_one_name_count_as_one_whatever_their_case() {
        let inf = parse("[A]\nx=1\n[b]\n[a]\ny=2\n");
        assert_eq!(inf.value("A", "Y"), Some("2"));
        assert!(inf.has_section("B"));
    }

    #[test]
    fn utf16_is_read_by_its_mark() {
        let mut bytes = vec![0xff, 0xfe];
        bytes.extend(HEAD.encode_utf16().flat_map(u16::to_le_bytes));
        assert!(Inf::parse(&bytes).is_ok());
    }

    #[test]
    fn a_file_without_signature_or_with_an_open_bracket_is_refused() {
        assert!(Inf::parse(b"[Version]\nClass=System\n").unwrap_err().reason.contains("Signature"));
        assert_eq!(Inf::parse(b"[Version\n").unwrap_err().line, 1);
    }

    #[test]
    fn tokens_that_grow_without_end_are_refused() {
        let big = "x".repeat(3000);
        let body = format!("{HEAD}[A]\nk = %s%%s%\n[Strings]\ns = {big}\n");
        assert!(Inf::parse(body.as_bytes()).unwrap_err().reason.contains("too long"));
    }

    #[test]
    fn a_file_that_would_grow_a_thousandfold_is_refused() {
        let body = format!("{HEAD}[A]\n{}[Strings]\ns = {}\n", "k = %s%\n".repeat(2000), "x".repeat(3000));
        assert!(Inf::parse(body.as_bytes()).unwrap_err().reason.contains("too large"));
    }
}
