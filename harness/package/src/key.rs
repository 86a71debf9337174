//! The test certificate and its private key. The key is made on first use and stays in a folder of the user's; the certificate
//! follows from the key to the byte, so that nothing but the key has to be kept.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use der::asn1::{Any, BitString, Null, OctetString, UtcTime};
use der::{Encode as _, EncodePem as _};
use rsa::pkcs1v15::Pkcs1v15Sign;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use rsa::{RsaPrivateKey, RsaPublicKey};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use sha2::{Digest as _, Sha256};
use x509_cert::certificate::{Certificate, TbsCertificate, Version};
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier};
use x509_cert::ext::{AsExtension, Extension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use crate::oid;

/// Name of the key's file.
pub const FILE: &str = "test-signing.key";
/// What the certificate calls its holder.
const HOLDER: &str = "CN=wdfrig test signing";
/// Size of the key. Windows refuses less than 2048 for drivers.
const BITS: usize = 2048;
/// Largest key file that is read.
const LARGEST: u64 = 1 << 16;
/// 2020-01-01 and 2049-12-31: a guest's clock may show anything.
const VALID: [u64; 2] = [1_577_836_800, 2_524_521_600];

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The disk says no.
    #[error("{path}: {error}")]
    Disk {
        /// Which file or folder.
        path: PathBuf,
        /// The disk's word.
        error: io::Error,
    },
    /// Others may read it.
    #[error("{0} is open to other users (it has to have mode 0600)")]
    Open(PathBuf),
    /// It is something else.
    #[error("{path} is no RSA private key in PKCS#8: {why}")]
    NotAKey {
        /// Which file.
        path: PathBuf,
        /// The decoder's word.
        why: String,
    },
    /// The arithmetic failed.
    #[error("no key could be made or used: {0}")]
    Crypto(String),
}

/// A private key and the certificate that goes with it.
#[derive(Clone, Debug)]
pub struct Signer {
    key: RsaPrivateKey,
    certificate: Certificate,
}

impl Signer {
    /// The signer whose key lies in `folder`; it is made when it is not there.
    ///
    /// # Errors
    /// The disk's; a file that is no key, or that others can read.
    pub fn of(folder: &Path) -> Result<Self, KeyError> {
        let path = folder.join(FILE);
        let disk = |error| KeyError::Disk { path: path.clone(), error };
        let bytes = match read(&path).map_err(disk)? {
            Some(bytes) => bytes,
            None => {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(disk)?;
                let made = Self::generate()?.to_pkcs8()?;
                write_private(folder, &path, &made).map_err(disk)?;
                // Another process may have been quicker: the file decides.
                read(&path).map_err(disk)?.ok_or_else(|| disk(io::ErrorKind::NotFound.into()))?
            }
        };
        if fs::metadata(&path).map_err(disk)?.mode() & 0o077 != 0 {
            return Err(KeyError::Open(path));
        }
        Self::from_pkcs8(&bytes).map_err(|error| KeyError::NotAKey { path: path.clone(), why: error.to_string() })
    }

    /// A new one, from the system's random numbers.
    ///
    /// # Errors
    /// There are none.
    pub fn generate() -> Result<Self, KeyError> {
        let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, BITS).map_err(crypto)?;
        Self::with(key).map_err(crypto)
    }

    /// The one with this key.
    ///
    /// # Errors
    /// It is no RSA private key in PKCS#8.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::with(RsaPrivateKey::from_pkcs8_der(bytes).map_err(crypto)?).map_err(crypto)
    }

    fn to_pkcs8(&self) -> Result<Vec<u8>, KeyError> {
        Ok(self.key.to_pkcs8_der().map_err(crypto)?.as_bytes().to_vec())
    }

    fn with(key: RsaPrivateKey) -> der::Result<Self> {
        let algorithm = AlgorithmIdentifierOwned { oid: oid::SHA256_WITH_RSA, parameters: Some(Any::encode_from(&Null)?) };
        let tbs_certificate = certificate_for(&key.to_public_key(), algorithm.clone())?;
        let signature = sign(&key, &tbs_certificate.to_der()?).map_err(|_| der::ErrorKind::Failed)?;
        let signature = BitString::from_bytes(&signature)?;
        Ok(Self { key, certificate: Certificate { tbs_certificate, signature_algorithm: algorithm, signature } })
    }

    /// PKCS#1 1.5 with SHA-256: the same message makes the same signature.
    pub(crate) fn sign(&self, message: &[u8]) -> rsa::Result<Vec<u8>> {
        sign(&self.key, message)
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The certificate's file.
    ///
    /// # Errors
    /// None that a certificate made here can cause.
    pub fn certificate_der(&self) -> Result<Vec<u8>, KeyError> {
        self.certificate.to_der().map_err(crypto)
    }

    /// The certificate as text, for tools that want it so.
    ///
    /// # Errors
    /// None that a certificate made here can cause.
    pub fn certificate_pem(&self) -> Result<String, KeyError> {
        self.certificate.to_pem(der::pem::LineEnding::LF).map_err(crypto)
    }
}

fn crypto(error: impl std::fmt::Display) -> KeyError {
    KeyError::Crypto(error.to_string())
}

fn sign(key: &RsaPrivateKey, message: &[u8]) -> rsa::Result<Vec<u8>> {
    key.sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message))
}

/// A certificate that names itself, good for signing code only. Its serial number follows from the key, since Windows tells
/// certificates apart by issuer and serial number.
fn certificate_for(key: &RsaPublicKey, signature: AlgorithmIdentifierOwned) -> der::Result<TbsCertificate> {
    let spki = key.to_public_key_der().map_err(|_| der::ErrorKind::Failed)?;
    let digest = Sha256::digest(spki.as_bytes());
    let mut serial = [0; 16];
    serial.copy_from_slice(&digest[..16]);
    serial[0] = serial[0] & 0x7f | 0x40;
    let holder = Name::from_str(HOLDER)?;
    let time = |seconds| UtcTime::from_unix_duration(Duration::from_secs(seconds)).map(Time::UtcTime);
    let extensions = vec![
        extension(&KeyUsage(KeyUsages::DigitalSignature.into()), &holder)?,
        extension(&ExtendedKeyUsage(vec![oid::CODE_SIGNING]), &holder)?,
        extension(&SubjectKeyIdentifier(OctetString::new(&digest[..20])?), &holder)?,
    ];
    Ok(TbsCertificate {
        version: Version::V3,
        serial_number: SerialNumber::new(&serial)?,
        signature,
        issuer: holder.clone(),
        validity: Validity { not_before: time(VALID[0])?, not_after: time(VALID[1])? },
        subject: holder,
        subject_public_key_info: SubjectPublicKeyInfoOwned::from_key(key.clone()).map_err(|_| der::ErrorKind::Failed)?,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(extensions),
    })
}

fn extension(value: &impl AsExtension, holder: &Name) -> der::Result<Extension> {
    value.to_extension(holder, &[])
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Writes the file whole, for its owner alone; a file that is there stays.
fn write_private(folder: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(unnamed) = rustix::fs::open(folder, flags, Mode::from_raw_mode(0o600)) {
        let mut file = File::from(unnamed);
        file.write_all(content)?;
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        match rustix::fs::linkat(CWD, &source, CWD, path, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => return Ok(()),
            Err(_) => {}
        }
    }
    // For file systems without unnamed files.
    let second = folder.join(format!(".{FILE}.{}", std::process::id()));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&second)?;
    let linked = file.write_all(content).and_then(|()| fs::hard_link(&second, path));
    fs::remove_file(&second)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::OnceLock;

    use super::*;

    /// One key for all tests of this process: making one takes a while.
    pub(crate) fn signer() -> &'static Signer {
        static SIGNER: OnceLock<Signer> = OnceLock::new();
        SIGNER.get_or_init(|| Signer::generate().unwrap())
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_its_certificate_is_always_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let first = Signer::of(&keys).unwrap();
        let second = Signer::of(&keys).unwrap();
        assert_eq!(first.certificate_der().unwrap(), second.certificate_der().unwrap());
        assert_eq!(fs::metadata(keys.join(FILE)).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&keys).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&keys).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, signer().to_pkcs8().unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Signer::of(folder.path()), Err(KeyError::Open(_))));
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        write_private(folder.path(), &folder.path().join(FILE), b"no key").unwrap();
        assert!(matches!(Signer::of(folder.path()), Err(KeyError::NotAKey { .. })));
        assert_eq!(fs::read(folder.path().join(FILE)).unwrap(), b"no key");
    }
}
