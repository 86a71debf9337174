//! File objects: one for each time a program opens the device.

use wdf_sys::WDFFILEOBJECT;

use crate::Result;
use crate::context::Context;
use crate::device::{Device, DeviceEvents};
use crate::irql::Passive;

/// Names a file object for as long as it is open: to find its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(pub(crate) usize);

/// What a file object is told. `Self` is the file object's context.
#[allow(unused_variables, reason = "the defaults ignore what they are told")]
pub trait FileEvents: Context {
    /// The context of the devices whose files these are.
    type Device: DeviceEvents;

    /// `EvtDeviceFileCreate`: someone opens the device. The result becomes the file's context.
    ///
    /// # Errors
    /// An error fails the opening with that status.
    fn create(device: Device<'_, Self::Device>, file: FileId, passive: Passive<'_>) -> Result<Self>;

    /// `EvtFileCleanup`: the last handle is gone; requests of the file may still be on their way, and should end soon.
    fn cleanup(&self, device: Device<'_, Self::Device>, file: FileId, passive: Passive<'_>) {}

    /// `EvtFileClose`: the last request of the file is gone too. The context is dropped after this.
    fn close(&self, device: Device<'_, Self::Device>, file: FileId, passive: Passive<'_>) {}
}

/// What a driver hears of file objects that it lets others create: a filter.
#[allow(unused_variables, reason = "the defaults ignore what they are told")]
pub trait FileWatch: 'static {
    /// The context of the devices whose files these are.
    type Device: DeviceEvents;

    /// `EvtFileCleanup`: the last handle is gone.
    fn cleanup(device: Device<'_, Self::Device>, file: FileId, passive: Passive<'_>) {}

    /// `EvtFileClose`: the last request of the file is gone too.
    fn close(device: Device<'_, Self::Device>, file: FileId, passive: Passive<'_>) {}
}

impl FileId {
    pub(crate) fn of(handle: WDFFILEOBJECT) -> Self {
        Self(handle.0 as usize)
    }
}
