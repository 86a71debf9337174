//! Drivers that are part of the test's program, and so have no file that they would be loaded from.

use std::format;
use std::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::DRIVER_OBJECT;

use crate::io::driver;
use crate::object::{ObjectRef, name};
use crate::registry;

/// What a driver's entry is called with: its object, and the key of its service. To be dropped when the driver has unloaded itself.
#[derive(Debug)]
pub struct Driver {
    object: ObjectRef,
    registry_path: Vec<u16>,
}

impl Driver {
    /// A new driver object `\Driver\<service>`, and a key for the service.
    ///
    /// # Errors
    /// When there is such a driver already.
    pub fn create(service: &str) -> Result<Self, NTSTATUS> {
        let key = format!("{}\\{service}", registry::SERVICES);
        registry::create(&key)?;
        Ok(Self { object: driver::create(service)?, registry_path: name::wide(&format!("\\Registry\\{key}")) })
    }

    /// The driver object.
    #[must_use]
    pub fn object(&self) -> *mut DRIVER_OBJECT {
        self.object.body().cast()
    }

    /// Path of the service's key.
    #[must_use]
    pub fn registry_path(&self) -> &[u16] {
        &self.registry_path
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        driver::remove_name(&self.object);
    }
}
