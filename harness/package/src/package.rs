//! Making a package: INF, signed driver, symbols, signed catalogue, certificate. The same inputs and the same key make the same bytes.

use crate::catalogue::{self, Listed};
use crate::finding::{Finding, Severity};
use crate::inf::Inf;
use crate::key::{KeyError, Signer};
use crate::{authenticode, repeatable, verify};

/// A file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The driver file cannot be signed or listed.
    #[error("the driver file cannot be signed: {0}")]
    Driver(#[from] crate::asn1::Malformed),
    /// The certificate cannot be written.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The package breaks the rules that every package is held to.
    #[error("the package breaks {} rules, first: {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Rules(Vec<Finding>),
}

/// A linked driver and its symbols.
#[derive(Clone, Debug)]
pub struct Driver {
    /// Its file.
    pub image: Vec<u8>,
    /// Its PDB.
    pub symbols: Vec<u8>,
}

/// Makes the package that `inf` describes out of a linked driver and its symbols. It is held to the rules of [`verify`], and
/// none may be broken, not even one of those that only warn.
///
/// # Errors
/// See [`Refused`].
pub fn make(inf: Inf, driver: Vec<u8>, symbols: Vec<u8>, signer: &Signer) -> Result<Vec<File>, Refused> {
    make_of_several(inf, vec![Driver { image: driver, symbols }], signer)
}

/// As [`make`], of the drivers of all services of `inf`, in the order of [`Inf::services`].
///
/// # Errors
/// See [`Refused`]. A missing driver breaks a rule.
pub fn make_of_several(mut inf: Inf, drivers: Vec<Driver>, signer: &Signer) -> Result<Vec<File>, Refused> {
    let named = |ending: &str| format!("{}.{ending}", inf.service);
    let (inf_name, catalogue_name, certificate_name) = (named("inf"), named("cat"), named("cer"));
    inf.catalogue = Some(catalogue_name.clone());
    let mut files = vec![File { name: inf_name, content: inf.to_string().into_bytes() }];
    let mut symbols = Vec::new();
    for (service, mut driver) in inf.services().zip(drivers) {
        repeatable::settle(&mut driver.image, &mut driver.symbols)?;
        files.push(File { name: format!("{service}.sys"), content: authenticode::sign(&driver.image, signer)? });
        symbols.push(File { name: format!("{service}.pdb"), content: driver.symbols });
    }
    let listed: Vec<Listed<'_>> = files
        .iter()
        .enumerate()
        .map(|(index, file)| Listed { name: &file.name, content: &file.content, is_image: index > 0 })
        .collect();
    let ids: Vec<String> = inf.models.iter().map(|model| model.hardware_id.clone()).collect();
    let catalogue = catalogue::write(&listed, &ids, inf.date, signer)?;
    files.extend(symbols);
    files.push(File { name: catalogue_name, content: catalogue });
    files.push(File { name: certificate_name, content: signer.certificate_der()? });
    let broken: Vec<Finding> =
        verify::files(&files, inf.date).findings.all().iter().filter(|one| one.severity > Severity::Note).cloned().collect();
    if broken.is_empty() { Ok(files) } else { Err(Refused::Rules(broken)) }
}
