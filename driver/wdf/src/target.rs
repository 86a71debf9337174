//! I/O targets: where requests are sent.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::{WDFDEVICE, WDFIOTARGET};

use crate::device::{Device, DeviceEvents, NewDevice};
use crate::irql::Passive;
use crate::place::{Kept, Place, Vacancy};
use crate::queue::{Queue, QueueEvents};
use crate::{NTSTATUS, Result, context, string};

/// An I/O target, for as long as its owner is there.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    handle: WDFIOTARGET,
    is_remote: bool,
    owner: PhantomData<&'a ()>,
}

/// What becomes of requests that are at a target when it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentIo {
    /// They are cancelled, and waited for.
    Cancel,
    /// They are waited for.
    Wait,
    /// They stay there.
    Leave,
}

/// How a request is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// The request is cancelled when it takes longer; it then ends with `STATUS_IO_TIMEOUT`.
    pub timeout: Option<Duration>,
    /// The request is sent even when the target is stopped.
    pub ignore_target_state: bool,
}

impl SendOptions {
    pub(crate) fn raw(self, more_flags: u32) -> WDF_REQUEST_SEND_OPTIONS {
        let mut options = WDF_REQUEST_SEND_OPTIONS::new(more_flags);
        if let Some(timeout) = self.timeout {
            options.Flags |= WDF_REQUEST_SEND_OPTION_TIMEOUT;
            options.Timeout = crate::time::relative(timeout);
        }
        if self.ignore_target_state {
            options.Flags |= WDF_REQUEST_SEND_OPTION_IGNORE_TARGET_STATE;
        }
        options
    }
}

impl<'a> Target<'a> {
    pub(crate) const fn handle(self) -> WDFIOTARGET {
        self.handle
    }

    pub(crate) fn address(self) -> usize {
        self.handle.0 as usize
    }

    /// # Safety
    /// The handle is valid for `'a`.
    pub(crate) const unsafe fn new(handle: WDFIOTARGET) -> Self {
        Self { handle, is_remote: false, owner: PhantomData }
    }

    /// Whether it is in another device stack than the requests that queues present, whose file objects mean nothing there.
    pub(crate) const fn is_remote(self) -> bool {
        self.is_remote
    }

    /// Sends what was held while the target was stopped, and takes requests again.
    ///
    /// # Errors
    /// What the framework says.
    pub fn start(self) -> Result<()> {
        // SAFETY: the handle is valid for `'a`.
        unsafe { WdfIoTargetStart(self.handle) }.ok()
    }

    /// Holds requests from now on. Waits for those that were sent, unless they are to stay.
    pub fn stop(self, sent: SentIo, passive: Passive<'_>) {
        passive.check();
        let action = match sent {
            SentIo::Cancel => WDF_IO_TARGET_SENT_IO_ACTION::WdfIoTargetCancelSentIo,
            SentIo::Wait => WDF_IO_TARGET_SENT_IO_ACTION::WdfIoTargetWaitForSentIoToComplete,
            SentIo::Leave => WDF_IO_TARGET_SENT_IO_ACTION::WdfIoTargetLeaveSentIoPending,
        };
        // SAFETY: the handle is valid for `'a`; at PASSIVE_LEVEL.
        unsafe { WdfIoTargetStop(self.handle, action) };
    }

    /// Cancels everything that was sent, waits for it, and fails requests from now on, until [`start`](Self::start).
    pub fn purge(self, passive: Passive<'_>) {
        passive.check();
        // SAFETY: the handle is valid for `'a`; at PASSIVE_LEVEL.
        unsafe { WdfIoTargetPurge(self.handle, WDF_IO_TARGET_PURGE_IO_ACTION::WdfIoTargetPurgeIoAndWait) };
    }

    /// What the target does with requests now.
    #[must_use]
    pub fn state(self) -> WDF_IO_TARGET_STATE {
        // SAFETY: the handle is valid for `'a`.
        unsafe { WdfIoTargetGetState(self.handle) }
    }

    pub(crate) fn device(self) -> WDFDEVICE {
        // SAFETY: the handle is valid for `'a`.
        unsafe { WdfIoTargetGetDevice(self.handle) }
    }
}

impl<D> NewDevice<D> {
    /// The next driver below.
    #[must_use]
    pub fn target(&self) -> Target<'_> {
        // SAFETY: the device is valid, and its target with it.
        unsafe { Target::new(WdfDeviceGetIoTarget(self.handle())) }
    }
}

impl<'a, D: DeviceEvents> Device<'a, D> {
    /// The next driver below.
    #[must_use]
    pub fn target(self) -> Target<'a> {
        // SAFETY: the device is valid for `'a`, and its target with it.
        unsafe { Target::new(WdfDeviceGetIoTarget(self.handle())) }
    }

    /// The device's own queues, as a target. None unless [`allow_self_target`](crate::DeviceInit::allow_self_target) was called.
    #[must_use]
    pub fn self_target(self) -> Option<Target<'a>> {
        // SAFETY: the device is valid for `'a`.
        let handle = unsafe { WdfDeviceGetSelfIoTarget(self.handle()) };
        // SAFETY: as above, and its target with it.
        (!handle.is_null()).then(|| unsafe { Target::new(handle) })
    }
}

impl Target<'_> {
    /// Has what is sent to this target, a device's [own](crate::Device::self_target), come to `queue` instead of the default queue.
    ///
    /// # Errors
    /// What the framework says.
    pub fn assign_queue<Q: QueueEvents>(self, queue: &Queue<Q>) -> Result<()> {
        let queue = queue.handle()?;
        // SAFETY: both are valid; that they belong to one device, the framework checks.
        unsafe { WdfIoTargetSelfAssignDefaultIoQueue(self.handle, queue) }.ok()
    }
}

/// Another device, opened by name once. It is kept in the context of the device that opens it, and is closed with that, or by [`close`](Self::close).
#[derive(Debug)]
pub struct RemoteTarget {
    place: Place,
    /// It has been opened, or is being opened.
    opened: AtomicBool,
}

impl RemoteTarget {
    /// A target that is not made yet: nothing can be sent to it until [`create`](Self::create) and [`open`](Self::open).
    #[must_use]
    pub const fn unmade() -> Self {
        Self { place: Place::empty(), opened: AtomicBool::new(false) }
    }

    /// Makes the target that the device's context keeps `at` a field of its own. It is not open yet.
    ///
    /// # Errors
    /// As [`Timer::create`](crate::Timer::create).
    pub fn create<D: DeviceEvents>(device: Device<'_, D>, at: impl Fn(&D) -> &Self) -> Result<()> {
        let (_, vacancy) = Vacancy::find(device, at, |target| &target.place)?;
        let mut handle = WDFIOTARGET::NULL;
        let mut attributes = context::kept_attributes::<Kept>();
        // SAFETY: the device is valid; the attributes are copied. The target is the device's child.
        unsafe { WdfIoTargetCreate(device.handle(), &raw mut attributes, &raw mut handle) }.ok()?;
        // SAFETY: just created with these attributes, as a child of the device.
        unsafe { vacancy.fill(handle.object(), Kept, handle.0) }
    }

    fn handle(&self) -> Result<WDFIOTARGET> {
        self.place.require().map(|handle| WDFIOTARGET(handle.as_ptr()))
    }

    /// Opens `name` for `access` (an access mask such as `GENERIC_READ`).
    ///
    /// # Errors
    /// What the framework or the device says. `STATUS_INVALID_DEVICE_STATE` for a target that was opened before, also when it has been closed since:
    /// a request may have been formatted for what it was.
    pub fn open(&self, name: &[u16], access: u32, passive: Passive<'_>) -> Result<()> {
        passive.check();
        let target = self.handle()?;
        let mut parameters = WDF_IO_TARGET_OPEN_PARAMS::new(WDF_IO_TARGET_OPEN_TYPE::WdfIoTargetOpenByName);
        parameters.TargetDeviceName = string::counted(name)?;
        parameters.DesiredAccess = access;
        parameters.CreateDisposition = wdf_sys::wdm::constants::FILE_OPEN;
        if self.opened.swap(true, Ordering::AcqRel) {
            return Err(NTSTATUS::INVALID_DEVICE_STATE);
        }
        // SAFETY: the target is valid, and not open; at PASSIVE_LEVEL; the name is copied.
        let opened = unsafe { WdfIoTargetOpen(target, &raw mut parameters) }.ok();
        if opened.is_err() {
            self.opened.store(false, Ordering::Release);
        }
        opened
    }

    /// A target of the tests' table.
    #[cfg(test)]
    pub(crate) const fn fake(handle: WDFIOTARGET) -> Self {
        Self { place: Place::holding(handle.0), opened: AtomicBool::new(true) }
    }

    /// The target, to send to; what is not open fails what it is sent.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_STATE` when it is not made yet, or gone.
    pub fn target(&self) -> Result<Target<'_>> {
        self.handle().map(|handle| Target { handle, is_remote: true, owner: PhantomData })
    }

    /// Closes the device: cancels what was sent, and waits for it.
    pub fn close(&self, passive: Passive<'_>) {
        passive.check();
        if let Ok(target) = self.handle() {
            // SAFETY: the target is valid; at PASSIVE_LEVEL. It stays an object of its device.
            unsafe { WdfIoTargetClose(target) };
        }
    }
}

/// A status as a result of an operation that transferred `information` bytes.
pub(crate) fn outcome(status: NTSTATUS, information: usize) -> Result<usize> {
    status.ok().map(|()| information)
}
