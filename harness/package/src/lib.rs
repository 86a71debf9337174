//! Driver packages: what Windows needs to install a driver, and whether a folder holds it.
//!
//! Making: [`inf`] writes the INF from one typed description; [`authenticode`] signs the driver file; [`catalogue`] lists the
//! package's files with their digests; [`package`] puts all of it together with the test certificate of [`key`].
//!
//! Checking: [`verify`] looks at a folder, whoever made it, with the rules of [`image`] (PE), [`inf::rules`], [`catalogue`] and
//! [`signature`], and explains each [`finding`]. It reads files of strangers: every length is checked, nothing panics.
//!
//! Nothing here builds drivers or talks to a guest.

mod asn1;
pub mod authenticode;
pub mod catalogue;
pub mod finding;
pub mod image;
pub mod inf;
pub mod key;
mod oid;
pub mod package;
mod pkcs7;
mod repeatable;
pub mod signature;
pub mod verify;

pub use asn1::Malformed;
