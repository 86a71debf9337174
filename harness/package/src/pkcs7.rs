//! Writing PKCS#7 SignedData as Authenticode wants it: version 1, the content an element of its own instead of an octet
//! string, one signer, SHA-256 with RSA. No time: a test signature is valid as long as its certificate.

use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos};
use der::asn1::{Any, Null, ObjectIdentifier, OctetString, SetOfVec};
use der::{Decode as _, Encode as _};
use sha2::{Digest as _, Sha256};
use x509_cert::attr::Attribute;
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::asn1::{Element, of, oid as encoded_oid, tag};
use crate::key::Signer;
use crate::oid;

/// Signs `content`, one DER element. The digest covers what is in the element, without its tag and length.
pub(crate) fn sign(content_type: ObjectIdentifier, content: &[u8], signer: &Signer) -> der::Result<Vec<u8>> {
    let inner = Element::first(content, "content").map_err(|_| der::ErrorKind::Failed)?.contents;
    let digest = Sha256::digest(inner);
    let statement = of(tag::SEQUENCE, &[&encoded_oid(oid::INDIVIDUAL_SIGNING)]);
    let attributes = SetOfVec::try_from(vec![
        attribute(oid::CONTENT_TYPE, &content_type.to_der()?)?,
        attribute(oid::MESSAGE_DIGEST, &OctetString::new(digest.as_slice())?.to_der()?)?,
        attribute(oid::OPUS_INFO, &of(tag::SEQUENCE, &[]))?,
        attribute(oid::STATEMENT_TYPE, &statement)?,
    ])?;
    let signature = signer.sign(&attributes.to_der()?).map_err(|_| der::ErrorKind::Failed)?;
    let certificate = signer.certificate();
    let info = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: certificate.tbs_certificate.issuer.clone(),
            serial_number: certificate.tbs_certificate.serial_number.clone(),
        }),
        digest_alg: algorithm(oid::SHA256)?,
        signed_attrs: Some(attributes),
        signature_algorithm: algorithm(oid::RSA)?,
        signature: OctetString::new(signature)?,
        unsigned_attrs: None,
    };
    let signed = SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::try_from(vec![algorithm(oid::SHA256)?])?,
        encap_content_info: EncapsulatedContentInfo { econtent_type: content_type, econtent: Some(Any::from_der(content)?) },
        certificates: Some(SetOfVec::try_from(vec![CertificateChoices::Certificate(certificate.clone())])?.into()),
        crls: None,
        signer_infos: SignerInfos(SetOfVec::try_from(vec![info])?),
    };
    ContentInfo { content_type: oid::SIGNED_DATA, content: Any::encode_from(&signed)? }.to_der()
}

fn attribute(identifier: ObjectIdentifier, value: &[u8]) -> der::Result<Attribute> {
    Ok(Attribute { oid: identifier, values: SetOfVec::try_from(vec![Any::from_der(value)?])? })
}

fn algorithm(identifier: ObjectIdentifier) -> der::Result<AlgorithmIdentifierOwned> {
    Ok(AlgorithmIdentifierOwned { oid: identifier, parameters: Some(Any::encode_from(&Null)?) })
}
