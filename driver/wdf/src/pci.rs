//! A PCI device's configuration space, read through its bus.

use wdf_sys::wdf::functions::WdfFdoQueryForInterface;
use wdf_sys::wdm::BUS_INTERFACE_STANDARD;
use wdf_sys::wdm::constants::{GUID_BUS_INTERFACE_STANDARD, PCI_WHICHSPACE_CONFIG};

use crate::device::{Device, DeviceEvents};
use crate::irql::Passive;
use crate::{NTSTATUS, Result};

/// `BUS_INTERFACE_STANDARD` version.
const VERSION: u16 = 1;

/// The bus's interface for one device; given back when dropped.
pub struct ConfigSpace {
    interface: BUS_INTERFACE_STANDARD,
}

impl ConfigSpace {
    /// Asks the bus of `device`.
    ///
    /// # Errors
    /// `STATUS_NOT_SUPPORTED` when the bus has no such interface.
    pub fn of<D: DeviceEvents>(device: Device<'_, D>, passive: Passive<'_>) -> Result<Self> {
        passive.check();
        let mut interface = BUS_INTERFACE_STANDARD::zeroed();
        let size = size_of::<BUS_INTERFACE_STANDARD>() as u16;
        let guid = GUID_BUS_INTERFACE_STANDARD;
        let to = (&raw mut interface).cast();
        // SAFETY: the device is valid; `size` and `VERSION` are those of the structure behind `to`.
        unsafe { WdfFdoQueryForInterface(device.handle(), &raw const guid, to, size, VERSION, core::ptr::null_mut()) }.ok()?;
        Ok(Self { interface })
    }

    /// Fills `target` from configuration space.
    ///
    /// # Errors
    /// `STATUS_NOT_SUPPORTED` when the bus cannot read, `STATUS_DEVICE_NOT_CONNECTED` when it read less than was asked for.
    pub fn read(&self, offset: u32, target: &mut [u8]) -> Result<()> {
        let read = self.interface.GetBusData.ok_or(NTSTATUS::NOT_SUPPORTED)?;
        let length = u32::try_from(target.len()).map_err(|_| NTSTATUS::INVALID_PARAMETER)?;
        // SAFETY: the interface is ours until it is dereferenced; `target` has `length` bytes.
        let done = unsafe { read(self.interface.Context, PCI_WHICHSPACE_CONFIG, target.as_mut_ptr().cast(), offset, length) };
        if done == length { Ok(()) } else { Err(NTSTATUS::DEVICE_NOT_CONNECTED) }
    }
}

impl Drop for ConfigSpace {
    fn drop(&mut self) {
        if let Some(dereference) = self.interface.InterfaceDereference {
            // SAFETY: the query took the reference that this gives back.
            unsafe { dereference(self.interface.Context) };
        }
    }
}
