//! Reading and checking PKCS#7 signatures of anybody: whether the content is the one that was signed, by whom, and up to which
//! certificate the chain leads. Whether a certificate is trusted is the guest's matter; revocation and time stamps are not looked at.

use der::asn1::ObjectIdentifier;
use der::referenced::OwnedToRef as _;
use der::{Decode as _, Encode as _};
use rsa::RsaPublicKey;
use rsa::pkcs1v15::Pkcs1v15Sign;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::ext::pkix::ExtendedKeyUsage;

use crate::asn1::{Cursor, Element, Malformed, malformed, tag};
use crate::oid;

/// Longest chain that is followed.
const LONGEST_CHAIN: usize = 8;
/// Most certificates that are read from one signature.
const MOST_CERTIFICATES: usize = 64;

/// What is signed, and the signature of the first signer.
#[derive(Clone, Debug)]
pub struct Signed<'a> {
    pub(crate) content_type: ObjectIdentifier,
    pub(crate) content: Element<'a>,
    certificates: Vec<Element<'a>>,
    /// None in a file that was made to be signed, and was not.
    signer: Option<SignerParts<'a>>,
}

#[derive(Clone, Debug)]
struct SignerParts<'a> {
    issuer: &'a [u8],
    serial: &'a [u8],
    digest: ObjectIdentifier,
    attributes: Option<Element<'a>>,
    algorithm: ObjectIdentifier,
    signature: &'a [u8],
}

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// The certificate's holder.
    pub holder: String,
    /// The last certificate of the chain.
    pub root: String,
    /// Whether the last certificate is signed by itself.
    pub complete: bool,
    /// The certificate's file.
    pub certificate: Vec<u8>,
    /// Name of the digest algorithm.
    pub digest: &'static str,
}

/// Why a signature does not hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// There is room for a signature, and none in it.
    #[error("nobody signed it")]
    Unsigned,
    /// The content has been changed.
    #[error("the signed content is not the one that was signed")]
    Content,
    /// The signature is another key's, or was changed.
    #[error("the signature does not fit the certificate's key")]
    Signature,
    /// The certificate is missing.
    #[error("the signer's certificate is not in the signature")]
    NoCertificate,
    /// The certificate says that it is for other purposes.
    #[error("the signer's certificate is not for signing code")]
    NotForCode,
    /// A certificate is not what its issuer signed.
    #[error("the certificate of {0} is not the one that its issuer signed")]
    Chain(String),
    /// Something that this checker does not know.
    #[error("{0} is unknown to this checker")]
    Unknown(String),
    /// Not DER, or other structures.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl<'a> Signed<'a> {
    /// Reads SignedData.
    ///
    /// # Errors
    /// It is none.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut outer = Element::first(bytes, "signature")?.expect(tag::SEQUENCE, "signature")?.parts();
        if outer.next("content type")?.oid("content type")? != oid::SIGNED_DATA {
            return Err(malformed("not SignedData"));
        }
        let wrapper = outer.take(tag::explicit(0), "signed data")?;
        let mut parts = wrapper.parts().take(tag::SEQUENCE, "signed data")?.parts();
        parts.take(tag::INTEGER, "version")?;
        parts.take(tag::SET, "digest algorithms")?;
        let mut content = parts.take(tag::SEQUENCE, "content")?.parts();
        let content_type = content.next("type of the content")?.oid("type of the content")?;
        let content = content.take(tag::explicit(0), "content")?.parts().next("content")?;
        let mut certificates = Vec::new();
        if let Some(set) = parts.take_if(tag::explicit(0), "certificates")? {
            let mut set = set.parts();
            while !set.is_empty() && certificates.len() < MOST_CERTIFICATES {
                certificates.push(set.next("certificate")?);
            }
        }
        parts.take_if(tag::explicit(1), "revocation lists")?;
        let mut signers = parts.take(tag::SET, "signers")?.parts();
        let signer = if signers.is_empty() { None } else { Some(SignerParts::read(signers.take(tag::SEQUENCE, "signer")?)?) };
        Ok(Self { content_type, content, certificates, signer })
    }

    /// Checks content, signature and chain.
    ///
    /// # Errors
    /// The first reason why the signature does not hold.
    pub fn check(&self) -> Result<By, Broken> {
        let signer = self.signer.as_ref().ok_or(Broken::Unsigned)?;
        let digest = Hash::of(signer.digest)?;
        let message = match signer.attributes {
            None => self.content.contents.to_vec(),
            Some(attributes) => {
                self.check_attributes(attributes, digest)?;
                // What is signed is the set with a set's tag, which the file replaces by a number.
                let mut message = attributes.whole.to_vec();
                message[0] = tag::SET;
                message
            }
        };
        let hash = match signer.algorithm {
            oid::RSA => digest,
            other => Hash::of_signature(other)?,
        };
        let known: Vec<Known<'_>> = self.certificates.iter().filter_map(|element| Known::read(element.whole)).collect();
        let own = known.iter().find(|known| known.is(signer.issuer, signer.serial)).ok_or(Broken::NoCertificate)?;
        if !hash.holds(&own.key()?, &message, signer.signature) {
            return Err(Broken::Signature);
        }
        if !own.is_for_code() {
            return Err(Broken::NotForCode);
        }
        let (root, complete) = chain(own, &known)?;
        let holder = own.certificate.tbs_certificate.subject.to_string();
        Ok(By { holder, root, complete, certificate: own.whole.to_vec(), digest: digest.name() })
    }

    fn check_attributes(&self, attributes: Element<'_>, digest: Hash) -> Result<(), Broken> {
        let value = |wanted: ObjectIdentifier| -> Result<Element<'_>, Malformed> {
            for attribute in attributes.parts().all("attributes")? {
                let mut parts = attribute.expect(tag::SEQUENCE, "attribute")?.parts();
                if parts.next("attribute")?.oid("attribute")? == wanted {
                    return parts.take(tag::SET, "attribute")?.parts().next("attribute");
                }
            }
            Err(malformed(format!("no signed attribute {wanted}")))
        };
        if value(oid::CONTENT_TYPE)?.oid("content type")? != self.content_type {
            return Err(Broken::Content);
        }
        if value(oid::MESSAGE_DIGEST)?.contents != digest.digest(self.content.contents) {
            return Err(Broken::Content);
        }
        Ok(())
    }
}

impl<'a> SignerParts<'a> {
    fn read(signer: Element<'a>) -> Result<Self, Malformed> {
        let mut parts = signer.parts();
        parts.take(tag::INTEGER, "signer's version")?;
        let mut identity = parts.take(tag::SEQUENCE, "signer's identity")?.parts();
        let issuer = identity.take(tag::SEQUENCE, "issuer")?.whole;
        let serial = identity.take(tag::INTEGER, "serial number")?.contents;
        let algorithm = |parts: &mut Cursor<'a>, what| parts.take(tag::SEQUENCE, what)?.parts().next(what)?.oid(what);
        let digest = algorithm(&mut parts, "digest algorithm")?;
        let attributes = parts.take_if(tag::explicit(0), "signed attributes")?;
        let algorithm = algorithm(&mut parts, "signature algorithm")?;
        let signature = parts.take(tag::OCTETS, "signature")?.contents;
        Ok(Self { issuer, serial, digest, attributes, algorithm, signature })
    }
}

/// A certificate as the file has it, and as it reads.
struct Known<'a> {
    whole: &'a [u8],
    /// The part that its issuer signed.
    signed: &'a [u8],
    certificate: Certificate,
}

impl<'a> Known<'a> {
    /// `None` for what cannot be read: a set may hold certificates of kinds that nobody asks for.
    fn read(whole: &'a [u8]) -> Option<Self> {
        let certificate = Certificate::from_der(whole).ok()?;
        // It says twice how it is signed; only one of the two is signed itself.
        if certificate.signature_algorithm != certificate.tbs_certificate.signature {
            return None;
        }
        let signed = Element::first(whole, "certificate").ok()?.parts().next("certificate").ok()?.whole;
        Some(Self { whole, signed, certificate })
    }

    fn is(&self, issuer: &[u8], serial: &[u8]) -> bool {
        let inner = &self.certificate.tbs_certificate;
        inner.issuer.to_der().is_ok_and(|own| own == issuer) && inner.serial_number.as_bytes() == serial
    }

    fn key(&self) -> Result<RsaPublicKey, Broken> {
        let key = self.certificate.tbs_certificate.subject_public_key_info.owned_to_ref();
        RsaPublicKey::try_from(key).map_err(|error| Broken::Unknown(format!("the certificate's key ({error})")))
    }

    /// Whether it is signed by `issuer`; none when that has another name, or signs in a way that is not known here.
    fn is_signed_by(&self, issuer: &Known<'_>) -> Option<bool> {
        let named = self.certificate.tbs_certificate.issuer == issuer.certificate.tbs_certificate.subject;
        let hash = Hash::of_signature(self.certificate.signature_algorithm.oid).ok().filter(|_| named)?;
        let (key, signature) = (issuer.key().ok()?, self.certificate.signature.as_bytes()?);
        Some(hash.holds(&key, self.signed, signature))
    }

    /// Without a list of purposes it is for all of them.
    fn is_for_code(&self) -> bool {
        match self.certificate.tbs_certificate.get::<ExtendedKeyUsage>() {
            Ok(None) => true,
            Ok(Some((_, purposes))) => purposes.0.contains(&oid::CODE_SIGNING),
            Err(_) => false,
        }
    }
}

/// The last certificate's holder on the way up, and whether it is signed by itself.
///
/// # Errors
/// A certificate whose issuer is there and did not sign it.
fn chain(first: &Known<'_>, known: &[Known<'_>]) -> Result<(String, bool), Broken> {
    let mut last = first;
    for _ in 0..LONGEST_CHAIN {
        if last.is_signed_by(last) == Some(true) {
            return Ok((last.certificate.tbs_certificate.subject.to_string(), true));
        }
        let mut issuers = known.iter().map(|candidate| (candidate, last.is_signed_by(candidate)));
        match issuers.find(|(_, signed)| *signed == Some(true)) {
            Some((issuer, _)) => last = issuer,
            None if known.iter().any(|candidate| last.is_signed_by(candidate) == Some(false)) => {
                return Err(Broken::Chain(last.certificate.tbs_certificate.subject.to_string()));
            }
            None => break,
        }
    }
    Ok((last.certificate.tbs_certificate.issuer.to_string(), false))
}

/// The digest algorithms that signatures use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(crate) fn of(algorithm: ObjectIdentifier) -> Result<Self, Broken> {
        match algorithm {
            oid::SHA1 => Ok(Self::Sha1),
            oid::SHA256 => Ok(Self::Sha256),
            oid::SHA384 => Ok(Self::Sha384),
            oid::SHA512 => Ok(Self::Sha512),
            other => Err(Broken::Unknown(format!("digest algorithm {other}"))),
        }
    }

    fn of_signature(algorithm: ObjectIdentifier) -> Result<Self, Broken> {
        match algorithm {
            oid::SHA1_WITH_RSA => Ok(Self::Sha1),
            oid::SHA256_WITH_RSA => Ok(Self::Sha256),
            oid::SHA384_WITH_RSA => Ok(Self::Sha384),
            oid::SHA512_WITH_RSA => Ok(Self::Sha512),
            other => Err(Broken::Unknown(format!("signature algorithm {other}"))),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    /// The Authenticode digest of a PE file.
    pub(crate) fn of_image(self, image: &[u8]) -> Result<Vec<u8>, Malformed> {
        match self {
            Self::Sha1 => crate::authenticode::digest::<Sha1>(image),
            Self::Sha256 => crate::authenticode::digest::<Sha256>(image),
            Self::Sha384 => crate::authenticode::digest::<Sha384>(image),
            Self::Sha512 => crate::authenticode::digest::<Sha512>(image),
        }
    }

    /// Whether `signature` is the key's under `message`.
    fn holds(self, key: &RsaPublicKey, message: &[u8], signature: &[u8]) -> bool {
        let padding = match self {
            Self::Sha1 => Pkcs1v15Sign::new::<Sha1>(),
            Self::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
            Self::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
            Self::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
        };
        key.verify(padding, &self.digest(message), signature).is_ok()
    }
}
