//! Authenticode: the digest of a PE file, and the signature in its certificate table.
//!
//! The digest covers the file without its checksum, without the directory entry of the certificate table, and without that table,
//! so that signing does not change it.

use sha2::{Digest, Sha256};

use crate::asn1::{self, Malformed, malformed, tag};
use crate::image::checksum;
use crate::key::Signer;
use crate::oid;
use crate::pkcs7;

/// Directory number of the certificate table.
const CERTIFICATES: usize = 4;
/// Entries begin at multiples of this.
const ALIGNMENT: usize = 8;
/// Length, revision and type before each certificate.
const ENTRY_HEADER: usize = 8;
/// Revision 2, PKCS#7 SignedData.
const REVISION_AND_TYPE: [u8; 4] = [0x00, 0x02, 0x02, 0x00];

/// Where the fields lie that signing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Offset of the four bytes of the checksum.
    pub checksum: usize,
    /// Offset of the directory entry of the certificate table.
    pub entry: usize,
    /// Offset and length of the certificate table, if there is one; within the file.
    pub table: Option<(usize, usize)>,
}

impl Layout {
    /// Finds them.
    ///
    /// # Errors
    /// The headers are not a PE file's, or point outside it.
    pub fn of(image: &[u8]) -> Result<Self, Malformed> {
        let short = || malformed("the headers end too early");
        let header = number(image, 0x3c).ok_or_else(short)?;
        let is = |offset: Option<usize>, mark: &[u8]| {
            offset.and_then(|offset| image.get(offset..)).is_some_and(|bytes| bytes.starts_with(mark))
        };
        if !is(Some(0), b"MZ") || !is(Some(header), b"PE\0\0") {
            return Err(malformed("no PE signature"));
        }
        let optional = header + 24;
        let directories = if is(Some(optional), &[0x0b, 0x02]) {
            optional + 112
        } else if is(Some(optional), &[0x0b, 0x01]) {
            optional + 96
        } else {
            return Err(malformed("neither PE32 nor PE32+"));
        };
        if number(image, directories - 4).ok_or_else(short)? <= CERTIFICATES {
            return Err(malformed("no room for a certificate table in the headers"));
        }
        let entry = directories + CERTIFICATES * 8;
        let (start, length) = (number(image, entry).ok_or_else(short)?, number(image, entry + 4).ok_or_else(short)?);
        let table = match (start, length) {
            (0, 0) => None,
            _ if start < entry + 8 || image.len() < start || image.len() - start < length => {
                return Err(malformed("the certificate table lies outside the file"));
            }
            place => Some(place),
        };
        Ok(Self { checksum: optional + 64, entry, table })
    }
}

fn number(image: &[u8], offset: usize) -> Option<usize> {
    let bytes = image.get(offset..offset.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

/// The Authenticode digest of a PE file.
///
/// # Errors
/// It is no PE file.
pub fn digest<D: Digest>(image: &[u8]) -> Result<Vec<u8>, Malformed> {
    let layout = Layout::of(image)?;
    let mut digest = D::new();
    let mut parts = vec![(0, layout.checksum), (layout.checksum + 4, layout.entry)];
    match layout.table {
        None => parts.push((layout.entry + 8, image.len())),
        Some((start, length)) => parts.extend([(layout.entry + 8, start), (start + length, image.len())]),
    }
    for (start, end) in parts {
        digest.update(image.get(start..end).ok_or_else(|| malformed("the headers overlap"))?);
    }
    // A table begins at a multiple of eight; the digest of a file without one is that of the file once it is signed.
    if layout.table.is_none() {
        digest.update(&[0; ALIGNMENT][..padding(image.len())]);
    }
    Ok(digest.finalize().to_vec())
}

fn padding(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT) - length
}

/// `SpcIndirectDataContent` of a file: what kind it is, and its SHA-256 digest.
pub(crate) fn indirect_data(is_image: bool, digest: &[u8]) -> Vec<u8> {
    // A link to no file: [2] { [0] "" }.
    let nowhere = asn1::element(tag::explicit(2), &asn1::element(tag::implicit(0), &[]));
    let kind = if is_image {
        let no_flags = asn1::element(tag::BIT_STRING, &[0]);
        let data = asn1::of(tag::SEQUENCE, &[&no_flags, &asn1::element(tag::explicit(0), &nowhere)]);
        asn1::of(tag::SEQUENCE, &[&asn1::oid(oid::PE_IMAGE_DATA), &data])
    } else {
        asn1::of(tag::SEQUENCE, &[&asn1::oid(oid::FLAT_DATA), &nowhere])
    };
    let digest = asn1::of(tag::SEQUENCE, &[&asn1::algorithm(oid::SHA256), &asn1::element(tag::OCTETS, digest)]);
    asn1::of(tag::SEQUENCE, &[&kind, &digest])
}

/// The file with a signature by `signer` in place of any it had, and with a checksum that fits.
///
/// # Errors
/// It is no PE file, or has something behind its certificate table.
pub fn sign(image: &[u8], signer: &Signer) -> Result<Vec<u8>, Malformed> {
    let layout = Layout::of(image)?;
    let end = match layout.table {
        Some((start, length)) if start + length != image.len() => {
            return Err(malformed("something follows the certificate table"));
        }
        Some((start, _)) => start,
        None => image.len(),
    };
    let mut signed = image[..end].to_vec();
    signed.resize(end + padding(end), 0);
    signed[layout.entry..layout.entry + 8].fill(0);
    let content = indirect_data(true, &digest::<Sha256>(&signed)?);
    let signature = pkcs7::sign(oid::INDIRECT_DATA, &content, signer).map_err(|error| malformed(error.to_string()))?;
    let start = signed.len();
    let length = (ENTRY_HEADER + signature.len()).next_multiple_of(ALIGNMENT);
    let as_field = |value: usize| u32::try_from(value).map(u32::to_le_bytes).map_err(|_| malformed("over 4 GiB"));
    signed.extend(as_field(length)?);
    signed.extend(REVISION_AND_TYPE);
    signed.extend(signature);
    signed.resize(start + length, 0);
    signed[layout.entry..layout.entry + 4].copy_from_slice(&as_field(start)?);
    signed[layout.entry + 4..layout.entry + 8].copy_from_slice(&as_field(length)?);
    let sum = checksum(&signed, layout.checksum);
    signed[layout.checksum..layout.checksum + 4].copy_from_slice(&sum.to_le_bytes());
    Ok(signed)
}

/// The first PKCS#7 signature in the certificate table; `None` when the file is not signed.
///
/// # Errors
/// It is no PE file, or its table is damaged.
pub fn signature(image: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let Some((start, length)) = Layout::of(image)?.table else {
        return Ok(None);
    };
    if start % ALIGNMENT != 0 {
        return Err(malformed("the certificate table does not begin at a multiple of eight"));
    }
    if start + length != image.len() {
        return Err(malformed("the certificate table is not at the end of the file"));
    }
    let table = &image[start..];
    let entry = number(table, 0).ok_or_else(|| malformed("the certificate table is too short"))?;
    if entry < ENTRY_HEADER || table.len() < entry || table[4..ENTRY_HEADER] != REVISION_AND_TYPE {
        return Err(malformed("the certificate table's first entry is no PKCS#7 signature within the table"));
    }
    Ok(Some(&table[ENTRY_HEADER..entry]))
}

/// The digest that a signature's content claims: the algorithm and its value.
///
/// # Errors
/// The content is no `SpcIndirectDataContent`.
pub(crate) fn claimed_digest(content: asn1::Element<'_>) -> Result<(der::asn1::ObjectIdentifier, Vec<u8>), Malformed> {
    let mut parts = content.expect(tag::SEQUENCE, "indirect data")?.parts();
    parts.take(tag::SEQUENCE, "kind of file")?;
    let mut info = parts.take(tag::SEQUENCE, "digest information")?.parts();
    let algorithm = info.take(tag::SEQUENCE, "digest algorithm")?.parts().next("digest algorithm")?.oid("digest algorithm")?;
    Ok((algorithm, info.take(tag::OCTETS, "digest")?.contents.to_vec()))
}
