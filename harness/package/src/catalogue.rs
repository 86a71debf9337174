//! The catalogue (.cat): a signed list of a package's files with their digests, version 2 as Windows 10 and later have it. Version 1,
//! which names its members by text, is read too.

use chrono::{DateTime, Utc};
use der::asn1::ObjectIdentifier;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::asn1::{self, Element, Malformed, malformed, tag};
use crate::authenticode::{self, claimed_digest, indirect_data};
use crate::key::Signer;
use crate::signature::{Broken, By, Signed};
use crate::{oid, pkcs7};

/// What Windows' own tool sets on every named value.
const NAMED_FLAGS: u32 = 0x1001_0001;
/// Attribute "OSAttr": Windows NT 10.0.
const SYSTEM: &str = "2:10.0";
/// Extension "OS": Windows 10 and later, x64.
const SYSTEMS: &str = "_v100_X64";
/// Most members and extensions that are read.
const MOST: usize = 4096;

/// A file that a catalogue is to list.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is in it.
    pub content: &'a [u8],
    /// Whether it is a PE file, whose digest leaves its signature out.
    pub is_image: bool,
}

/// Writes and signs a catalogue. The list's identifier follows from the members, so that the same files make the same catalogue.
///
/// # Errors
/// A file that should be a PE file is none.
pub fn write(files: &[Listed<'_>], hardware_ids: &[String], date: i64, signer: &Signer) -> Result<Vec<u8>, Malformed> {
    let mut members = Vec::new();
    for file in files {
        let (long, short) = if file.is_image {
            (authenticode::digest::<Sha256>(file.content)?, authenticode::digest::<Sha1>(file.content)?)
        } else {
            (Sha256::digest(file.content).to_vec(), Sha1::digest(file.content).to_vec())
        };
        members.push((long.clone(), member(file, &long, Some(&long))));
        members.push((short.clone(), member(file, &short, None)));
    }
    members.sort();
    let members: Vec<u8> = members.into_iter().flat_map(|(_, member)| member).collect();
    let mut extensions = extension("OS", SYSTEMS);
    for (number, id) in hardware_ids.iter().enumerate() {
        extensions.extend(extension(&format!("HWID{}", number + 1), &id.to_lowercase()));
    }
    let identifier = Sha256::new().chain_update(&members).chain_update(&extensions).finalize();
    let time = DateTime::<Utc>::from_timestamp(date, 0).unwrap_or_default().format("%y%m%d%H%M%SZ").to_string();
    let content = asn1::of(
        tag::SEQUENCE,
        &[
            &asn1::element(tag::SEQUENCE, &asn1::oid(oid::CATALOGUE_LIST)),
            &asn1::element(tag::OCTETS, &identifier[..16]),
            &asn1::element(tag::UTC_TIME, time.as_bytes()),
            &asn1::algorithm(oid::CATALOGUE_MEMBER_2),
            &asn1::element(tag::SEQUENCE, &members),
            &asn1::element(tag::explicit(0), &asn1::element(tag::SEQUENCE, &extensions)),
        ],
    );
    pkcs7::sign(oid::TRUST_LIST, &content, signer).map_err(|error| malformed(error.to_string()))
}

fn member(file: &Listed<'_>, name: &[u8], digest: Option<&[u8]>) -> Vec<u8> {
    let kind = asn1::element(tag::implicit(if file.is_image { 0 } else { 2 }), &[]);
    let mut attributes = vec![
        attribute(oid::MEMBER_INFO_2, &kind),
        attribute(oid::NAME_VALUE, &named("OSAttr", SYSTEM)),
        attribute(oid::NAME_VALUE, &named("File", &file.name.to_lowercase())),
    ];
    attributes.extend(digest.map(|digest| attribute(oid::INDIRECT_DATA, &indirect_data(file.is_image, digest))));
    asn1::of(tag::SEQUENCE, &[&asn1::element(tag::OCTETS, name), &asn1::set_of(attributes)])
}

fn attribute(identifier: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    asn1::of(tag::SEQUENCE, &[&asn1::oid(identifier), &asn1::element(tag::SET, value)])
}

fn extension(name: &str, value: &str) -> Vec<u8> {
    asn1::of(tag::SEQUENCE, &[&asn1::oid(oid::NAME_VALUE), &asn1::element(tag::OCTETS, &named(name, value))])
}

fn named(name: &str, value: &str) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let value: Vec<u8> = value.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    asn1::of(
        tag::SEQUENCE,
        &[
            &asn1::element(tag::BMP_STRING, &name),
            &asn1::element(tag::INTEGER, &NAMED_FLAGS.to_be_bytes()),
            &asn1::element(tag::OCTETS, &value),
        ],
    )
}

/// One entry of a catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The digest that it is found by.
    pub digest: Vec<u8>,
    /// The file's name, if it has one.
    pub file: Option<String>,
    /// Which systems it is for.
    pub systems: Option<String>,
    /// The digest in its indirect data, which must be that of the file too.
    pub indirect: Option<Vec<u8>>,
}

/// A catalogue that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// 1 or 2.
    pub version: u8,
    /// Its entries.
    pub members: Vec<Member>,
    /// Its named values: "OS", "HWID1" and so on.
    pub named: Vec<(String, String)>,
    /// Who signed it, or why the signature does not hold.
    pub signature: Result<By, Broken>,
}

impl Catalogue {
    /// Reads a catalogue and checks its signature.
    ///
    /// # Errors
    /// It is no catalogue.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let signed = Signed::read(bytes)?;
        if signed.content_type != oid::TRUST_LIST {
            return Err(malformed(format!("what is signed is {}, not a list of files", signed.content_type)));
        }
        let mut parts = signed.content.expect(tag::SEQUENCE, "list")?.parts();
        if parts.take(tag::SEQUENCE, "use of the list")?.parts().next("use")?.oid("use")? != oid::CATALOGUE_LIST {
            return Err(malformed("the list is no catalogue"));
        }
        parts.take(tag::OCTETS, "identifier of the list")?;
        parts.next("date of the list")?;
        let algorithm = parts.take(tag::SEQUENCE, "kind of members")?.parts().next("kind of members")?;
        let version = match algorithm.oid("kind of members")? {
            oid::CATALOGUE_MEMBER_1 => 1,
            oid::CATALOGUE_MEMBER_2 => 2,
            other => return Err(malformed(format!("members of kind {other} are unknown"))),
        };
        let mut members = Vec::new();
        if let Some(list) = parts.take_if(tag::SEQUENCE, "members")? {
            for element in bounded(list, "members")? {
                members.push(Member::read(element, version)?);
            }
        }
        let mut named = Vec::new();
        if let Some(wrapper) = parts.take_if(tag::explicit(0), "extensions")? {
            for element in bounded(wrapper.parts().take(tag::SEQUENCE, "extensions")?, "extensions")? {
                let parts = element.parts().all("extension")?;
                if parts.first().is_some_and(|first| first.oid("extension") == Ok(oid::NAME_VALUE)) {
                    let value = parts.last().ok_or_else(|| malformed("an extension is empty"))?;
                    named.push(read_named(Element::first(value.contents, "named value")?)?);
                }
            }
        }
        Ok(Self { version, members, named, signature: signed.check() })
    }

    /// Whether an entry has the digest, and where the entry has a second one, that one too.
    #[must_use]
    pub fn lists(&self, digest: &[u8]) -> bool {
        let fits = |member: &Member| {
            let same = |second: &Vec<u8>| second.len() != digest.len() || second == digest;
            member.digest == digest && member.indirect.as_ref().is_none_or(same)
        };
        self.members.iter().any(fits)
    }

    /// The hardware ids, in lower case.
    pub fn hardware_ids(&self) -> impl Iterator<Item = &str> {
        self.named.iter().filter(|(name, _)| name.starts_with("HWID")).map(|(_, value)| value.as_str())
    }
}

fn bounded<'a>(list: Element<'a>, what: &str) -> Result<Vec<Element<'a>>, Malformed> {
    let (mut parts, mut elements) = (list.parts(), Vec::new());
    while !parts.is_empty() {
        if elements.len() == MOST {
            return Err(malformed(format!("more than {MOST} {what}")));
        }
        elements.push(parts.next(what)?);
    }
    Ok(elements)
}

impl Member {
    fn read(element: Element<'_>, version: u8) -> Result<Self, Malformed> {
        let mut parts = element.expect(tag::SEQUENCE, "member")?.parts();
        let name = parts.take(tag::OCTETS, "member's digest")?;
        let digest = match version {
            1 => from_hex(&name.utf16(u16::from_le_bytes)).unwrap_or_default(),
            _ => name.contents.to_vec(),
        };
        let mut member = Self { digest, ..Self::default() };
        for attribute in bounded(parts.take(tag::SET, "member's attributes")?, "attributes")? {
            let mut parts = attribute.expect(tag::SEQUENCE, "attribute")?.parts();
            let kind = parts.next("attribute")?.oid("attribute")?;
            let value = parts.take(tag::SET, "attribute")?.parts().next("attribute")?;
            if kind == oid::INDIRECT_DATA {
                member.indirect = Some(claimed_digest(value)?.1);
            } else if kind == oid::NAME_VALUE {
                match read_named(value)? {
                    (name, text) if name.eq_ignore_ascii_case("File") => member.file = Some(text),
                    (name, text) if name.eq_ignore_ascii_case("OSAttr") => member.systems = Some(text),
                    _ => {}
                }
            }
        }
        Ok(member)
    }
}

fn read_named(element: Element<'_>) -> Result<(String, String), Malformed> {
    let mut parts = element.expect(tag::SEQUENCE, "named value")?.parts();
    let name = parts.take(tag::BMP_STRING, "name of a value")?.utf16(u16::from_be_bytes);
    parts.take(tag::INTEGER, "flags of a value")?;
    Ok((name, parts.take(tag::OCTETS, "named value")?.utf16(u16::from_le_bytes)))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    Some(digits?.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::tests::signer;

    fn catalogue() -> Vec<u8> {
        let files = [Listed { name: "Relay.INF", content: b"[Version]", is_image: false }];
        write(&files, &[r"PCI\VEN_1AF4&DEV_1055".to_owned()], 1_767_225_600, signer()).unwrap()
    }

    #[test]
    fn a_catalogue_lists_each_file_by_both_digests_and_is_signed_by_its_maker() {
        let catalogue = Catalogue::read(&catalogue()).unwrap();
        assert_eq!((catalogue.version, catalogue.members.len()), (2, 2));
        assert!(catalogue.lists(&Sha256::digest(b"[Version]")) && catalogue.lists(&Sha1::digest(b"[Version]")));
        assert!(!catalogue.lists(&Sha256::digest(b"[version]")));
        assert!(catalogue.members.iter().all(|member| member.file.as_deref() == Some("relay.inf")));
        assert_eq!(catalogue.hardware_ids().collect::<Vec<_>>(), [r"pci\ven_1af4&dev_1055"]);
        assert_eq!(catalogue.signature.unwrap().holder, "CN=wdfrig test signing");
    }

    #[test]
    fn the_same_files_make_the_same_catalogue() {
        assert_eq!(catalogue(), catalogue());
    }

    #[test]
    fn a_changed_hardware_id_breaks_the_signature() {
        let good = catalogue();
        let name: Vec<u8> = "HWID1".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let list = good.windows(name.len()).position(|bytes| bytes == name).unwrap();
        let mut bad = good.clone();
        bad[list + 1] ^= 1;
        assert_eq!(Catalogue::read(&bad).unwrap().signature, Err(Broken::Content));
    }

    #[test]
    fn no_truncation_and_no_single_wrong_byte_panics() {
        let good = catalogue();
        for length in 0..good.len() {
            assert!(Catalogue::read(&good[..length]).is_err(), "{length}");
        }
        // Not every one, since each check costs an RSA operation.
        for (index, flip) in (0..good.len()).step_by(7).flat_map(|index| [(index, 0xff), (index, 0x80), (index, 1)]) {
            let mut bad = good.clone();
            bad[index] ^= flip;
            let _ = Catalogue::read(&bad);
        }
    }
}
