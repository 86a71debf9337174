//! Files that programs have opened: when the last handle is closed, the file's clients go.
//!
//! A client may be on its way from a queue to a seat, or back, when its file is closed, and is then missed by the callback that looks for the
//! file's clients. So the file is marked before that look, and whoever puts a client somewhere looks at the mark: where the seats' or the
//! queue's lock has it that one of the two sees the other.

use core::sync::atomic::{AtomicBool, Ordering};

use wdf::{Device, FileRef, FileWatch, Passive, Request};
use zerocopy::FromZeros;

use crate::filter::Filter;
use crate::{carriers, readers};

/// The context of a file object.
#[derive(FromZeros)]
pub(crate) struct File {
    closed: AtomicBool,
}

wdf::context!(File);

impl FileWatch for File {
    type Device = Filter;

    fn cleanup(&self, device: Device<'_, Filter>, file: wdf::File<'_>, _passive: Passive<'_>) {
        self.closed.store(true, Ordering::Release);
        carriers::cancel_of_file(device, file);
        readers::cancel_of_file(device, file);
    }
}

/// The file that a request came through, for when somebody else has the request.
pub(crate) fn file_of(request: &Request) -> Option<FileRef> {
    request.file().map(wdf::File::keep)
}

/// Whether the last handle of a file is gone. Requests that came without a file have none to be closed.
pub(crate) fn is_closed(file: Option<&FileRef>) -> bool {
    file.and_then(|file| file.file().watched::<File>()).is_some_and(|file| file.closed.load(Ordering::Acquire))
}
