//! File objects: one for each time a program opens the device.

use core::marker::PhantomData;

use wdf_sys::WDFFILEOBJECT;
use zerocopy::FromZeros;

use crate::Result;
use crate::context::{self, Context};
use crate::device::{Device, DeviceEvents};
use crate::irql::Passive;
use crate::object::{dereference, reference};

/// Names a file object, to be compared with others that are there at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(usize);

/// A file object, for as long as something is known to keep it: the callback that was given it, a request that came through it, a [`FileRef`].
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    handle: WDFFILEOBJECT,
    keeper: PhantomData<&'a ()>,
}

impl<'a> File<'a> {
    /// # Safety
    /// The handle is valid for `'a`.
    pub(crate) const unsafe fn new(handle: WDFFILEOBJECT) -> Self {
        Self { handle, keeper: PhantomData }
    }

    pub(crate) const fn handle(self) -> WDFFILEOBJECT {
        self.handle
    }

    /// Names this file object.
    #[must_use]
    pub fn id(self) -> FileId {
        FileId(self.handle.0 as usize)
    }

    /// What [`FileEvents::create`] made for it. None before that, and when the device's files carry something else.
    #[must_use]
    pub fn context<F: FileEvents>(self) -> Option<&'a F> {
        // SAFETY: the handle is valid for `'a`.
        unsafe { context::get(self.handle.object()) }
    }

    /// What a filter has of it. None when the device's files carry something else.
    #[must_use]
    pub fn watched<F: FileWatch>(self) -> Option<&'a F> {
        // SAFETY: the handle is valid for `'a`.
        unsafe { context::slot(self.handle.object()) }?.get_or_zeroed()
    }

    /// Keeps the object, also when the file is closed meanwhile.
    #[must_use]
    pub fn keep(self) -> FileRef {
        reference(self.handle.object());
        FileRef { handle: self.handle }
    }
}

/// A counted reference to a file object: it keeps the object and its context, but does not keep the file open. For as long as one request is
/// worked on; a device that goes waits for it.
#[derive(Debug)]
pub struct FileRef {
    handle: WDFFILEOBJECT,
}

// SAFETY: a file object's handle is good on any thread, and kept valid by the reference.
unsafe impl Send for FileRef {}
// SAFETY: as above; contexts are `Sync`.
unsafe impl Sync for FileRef {}

impl FileRef {
    /// The file object.
    #[must_use]
    pub const fn file(&self) -> File<'_> {
        // SAFETY: the reference keeps it for as long as this value is borrowed.
        unsafe { File::new(self.handle) }
    }
}

impl Drop for FileRef {
    fn drop(&mut self) {
        dereference(self.handle.object());
    }
}

/// What a file object is told. `Self` is the file object's context.
#[allow(unused_variables, reason = "the defaults ignore what they are told")]
pub trait FileEvents: Context {
    /// The context of the devices whose files these are.
    type Device: DeviceEvents;

    /// `EvtDeviceFileCreate`: someone opens the device. The result becomes the file's context.
    ///
    /// # Errors
    /// An error fails the opening with that status.
    fn create(device: Device<'_, Self::Device>, file: File<'_>, passive: Passive<'_>) -> Result<Self>;

    /// `EvtFileCleanup`: the last handle is gone. Requests of the file may still be on their way, and should end soon: those that a queue has
    /// are cancelled by the framework, those that the driver has are the driver's. One that is at this moment between a queue and the place
    /// where this callback looks is missed by it; mark the file in its context first, and look at the mark where requests are put there.
    fn cleanup(&self, device: Device<'_, Self::Device>, file: File<'_>, passive: Passive<'_>) {}

    /// `EvtFileClose`: the last request of the file is gone too. The context is dropped after this.
    fn close(&self, device: Device<'_, Self::Device>, file: File<'_>, passive: Passive<'_>) {}
}

/// What a driver hears of file objects that it lets others create: a filter. `Self` is the file object's context; as nobody makes it, it begins as
/// zeroes.
#[allow(unused_variables, reason = "the defaults ignore what they are told")]
pub trait FileWatch: Context + FromZeros {
    /// The context of the devices whose files these are.
    type Device: DeviceEvents;

    /// `EvtFileCleanup`: the last handle is gone. See [`FileEvents::cleanup`].
    fn cleanup(&self, device: Device<'_, Self::Device>, file: File<'_>, passive: Passive<'_>) {}

    /// `EvtFileClose`: the last request of the file is gone too.
    fn close(&self, device: Device<'_, Self::Device>, file: File<'_>, passive: Passive<'_>) {}
}
