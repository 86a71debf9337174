//! Driver packages: what Windows needs to install a driver.
//!
//! [`inf`] writes the INF from one typed description; [`image`] checks the driver file. Catalogue and signatures are not here
//! yet: a package made with this crate is unsigned.

pub mod image;
pub mod inf;
