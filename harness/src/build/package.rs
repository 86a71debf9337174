//! Putting the driver package together: `relay.sys`, its PDB, and the INF that crate `driver-package` writes.
//!
//! Catalogue and signatures are not made yet; a guest that checks them needs a signed package.

use std::fs;
use std::path::Path;

use driver_package::inf::Inf;

use crate::error::{AtPath as _, Outcome, Problem};
use crate::files::write_whole;

/// Copies driver and symbols to `folder` and writes the INF. Each file is replaced whole.
///
/// # Errors
/// The disk's; a driver file that is no PE file for the kernel.
pub fn assemble(driver: &Path, symbols: &Path, folder: &Path) -> Outcome<()> {
    fs::create_dir_all(folder).at("create", folder)?;
    let image = super::read(driver)?;
    driver_package::image::check(&image).map_err(|error| {
        Problem::failed(format!("{} is no driver file", driver.display()))
            .because(error.to_string())
            .so("check the linker arguments in harness/src/build/link.rs")
    })?;
    let inf = Inf::relay(driver_package::inf::build_time());
    for (name, content) in
        [("relay.sys", image), ("relay.pdb", super::read(symbols)?), ("relay.inf", inf.to_string().into_bytes())]
    {
        let path = folder.join(name);
        write_whole(&path, &content).at("write", &path)?;
    }
    Ok(())
}
