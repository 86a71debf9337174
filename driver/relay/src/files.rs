//! Files: when a program closes its last handle, nothing of it stays on the hardware.

use wdf::{Device, FileEvents, FileId, Passive, Result};

use crate::relay::Relay;
use crate::{commands, events};

/// The context of a file object.
pub(crate) struct File;

wdf::context!(File);

impl FileEvents for File {
    type Device = Relay;

    fn create(_device: Device<'_, Relay>, _file: FileId, _passive: Passive<'_>) -> Result<Self> {
        Ok(Self)
    }

    fn cleanup(&self, device: Device<'_, Relay>, file: FileId, _passive: Passive<'_>) {
        events::cancel_of_file(device.context(), file);
        commands::cancel_of_file(device.context(), file);
    }
}
