//! DER, one element at a time. Structures that Microsoft defines have no types in the crates for CMS, and what a signature
//! covers must be taken from the file as it stands, not as we would write it.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode as _, Encode as _, Reader as _, SliceReader};

/// Tags by their octet.
pub(crate) mod tag {
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTETS: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    /// Context-specific and constructed.
    pub(crate) const fn explicit(number: u8) -> u8 {
        0xa0 | number
    }
    /// Context-specific and primitive.
    pub(crate) const fn implicit(number: u8) -> u8 {
        0x80 | number
    }
}

/// The bytes are not the structure that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) String);

/// Why `what` is not there.
pub(crate) fn malformed(what: impl Into<String>) -> Malformed {
    Malformed(what.into())
}

/// One element of DER.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    /// Without tag and length.
    pub(crate) contents: &'a [u8],
    /// With them.
    pub(crate) whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The first element in `bytes`; what follows it is ignored.
    pub(crate) fn first(bytes: &'a [u8], what: &str) -> Result<Self, Malformed> {
        Cursor::new(bytes).next(what)
    }

    /// Its parts.
    pub(crate) fn parts(&self) -> Cursor<'a> {
        Cursor::new(self.contents)
    }

    /// Itself, if it has the tag.
    pub(crate) fn expect(self, tag: u8, what: &str) -> Result<Self, Malformed> {
        if self.tag == tag { Ok(self) } else { Err(malformed(format!("{what}: tag {:#04x}, not {tag:#04x}", self.tag))) }
    }

    /// Its value as an object identifier.
    pub(crate) fn oid(&self, what: &str) -> Result<ObjectIdentifier, Malformed> {
        self.expect(tag::OID, what)?;
        ObjectIdentifier::from_bytes(self.contents).map_err(|error| malformed(format!("{what}: {error}")))
    }

    /// Its value as UTF-16, big-endian as in a BMPString, or little-endian as in Microsoft's octet strings; no terminator.
    pub(crate) fn utf16(&self, unit: fn([u8; 2]) -> u16) -> String {
        let units: Vec<u16> = self.contents.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned()
    }
}

/// Elements that follow each other.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, whatever it is.
    pub(crate) fn next(&mut self, what: &str) -> Result<Element<'a>, Malformed> {
        let read = || -> der::Result<Element<'a>> {
            let whole = SliceReader::new(self.rest)?.tlv_bytes()?;
            let any = AnyRef::from_der(whole)?;
            Ok(Element { tag: any_tag(whole), contents: any.value(), whole })
        };
        let element = read().map_err(|error| malformed(format!("{what}: {error}")))?;
        self.rest = self.rest.get(element.whole.len()..).unwrap_or_default();
        Ok(element)
    }

    /// The next element, which must have the tag.
    pub(crate) fn take(&mut self, tag: u8, what: &str) -> Result<Element<'a>, Malformed> {
        self.next(what)?.expect(tag, what)
    }

    /// The next element if it has the tag.
    pub(crate) fn take_if(&mut self, tag: u8, what: &str) -> Result<Option<Element<'a>>, Malformed> {
        if self.rest.first() == Some(&tag) { self.next(what).map(Some) } else { Ok(None) }
    }

    /// All that are left.
    pub(crate) fn all(mut self, what: &str) -> Result<Vec<Element<'a>>, Malformed> {
        let mut elements = Vec::new();
        while !self.is_empty() {
            elements.push(self.next(what)?);
        }
        Ok(elements)
    }
}

fn any_tag(whole: &[u8]) -> u8 {
    whole.first().copied().unwrap_or(0)
}

/// Writes an element.
pub(crate) fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(contents.len()) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let length = contents.len().to_be_bytes();
            let skipped = length.iter().take_while(|byte| **byte == 0).count();
            // A usize has at most eight bytes.
            #[allow(clippy::cast_possible_truncation)]
            bytes.push(0x80 | (length.len() - skipped) as u8);
            bytes.extend_from_slice(&length[skipped..]);
        }
    }
    bytes.extend_from_slice(contents);
    bytes
}

/// Writes an element out of parts.
pub(crate) fn of(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    element(tag, &parts.concat())
}

/// Writes a SET OF, in DER's order.
pub(crate) fn set_of(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    parts.sort();
    element(tag::SET, &parts.concat())
}

/// Writes an object identifier.
pub(crate) fn oid(identifier: ObjectIdentifier) -> Vec<u8> {
    element(tag::OID, identifier.as_bytes())
}

/// Writes `AlgorithmIdentifier` with NULL for parameters.
pub(crate) fn algorithm(identifier: ObjectIdentifier) -> Vec<u8> {
    let null = der::asn1::Null.to_der().unwrap_or_default();
    of(tag::SEQUENCE, &[&oid(identifier), &null])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_at_every_length_form() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x1_0000] {
            let contents = vec![7; length];
            let written = element(tag::OCTETS, &contents);
            let read = Element::first(&written, "test").unwrap();
            assert_eq!((read.tag, read.contents, read.whole.len()), (tag::OCTETS, &contents[..], written.len()));
        }
    }

    #[test]
    fn a_length_beyond_the_end_and_an_indefinite_one_are_refused() {
        for bytes in [&[0x30, 5, 0][..], &[0x30, 0x80, 0, 0], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30], &[]] {
            assert!(Element::first(bytes, "test").is_err(), "{bytes:02x?}");
        }
    }
}
