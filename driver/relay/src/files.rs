//! Files: when a program closes its last handle, nothing of it stays on the hardware.
//!
//! A request may be on its way from a queue to a slot, or back, when its file is closed, and is then missed by the callback that looks for the
//! file's requests. So the file is marked before that look, and whoever has put a request somewhere, or is about to, looks at the mark: under
//! the lock that the look takes too, so that one of the two sees the other.

use core::sync::atomic::{AtomicBool, Ordering};

use wdf::{Device, FileEvents, FileRef, Passive, Request, Result};

use crate::relay::Relay;
use crate::{commands, events};

/// The context of a file object.
#[derive(Default)]
pub(crate) struct File {
    closed: AtomicBool,
}

wdf::context!(File);

impl FileEvents for File {
    type Device = Relay;

    fn create(_device: Device<'_, Relay>, _file: wdf::File<'_>, _passive: Passive<'_>) -> Result<Self> {
        Ok(Self::default())
    }

    fn cleanup(&self, device: Device<'_, Relay>, file: wdf::File<'_>, _passive: Passive<'_>) {
        self.closed.store(true, Ordering::Release);
        events::cancel_of_file(device.context(), file);
        commands::cancel_of_file(device.context(), file);
    }
}

/// The file that a request came through, for when somebody else has the request.
pub(crate) fn file_of(request: &Request) -> Option<FileRef> {
    request.file().map(wdf::File::keep)
}

/// Whether the last handle of a file is gone. Requests that came without a file have none to be closed.
pub(crate) fn is_closed(file: Option<&FileRef>) -> bool {
    file.and_then(|file| file.file().context::<File>()).is_some_and(|file| file.closed.load(Ordering::Acquire))
}
