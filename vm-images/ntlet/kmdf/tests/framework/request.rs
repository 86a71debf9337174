//! Requests that come from above: sent to the top of the stack, waited for, cancelled.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::*;
use wdf_sys::wdm::*;
use wdf_sys::*;

use crate::rig::Rig;

/// How long a request may take, in units of 100 ns of the machine's time.
const LIMIT: i64 = -10_000_000 * 30;

/// Waits for the completion of an IRP, which it then takes back.
pub(crate) struct Waiter(Box<Watched>);

struct Watched {
    event: UnsafeCell<KEVENT>,
    status: AtomicI32,
    information: AtomicUsize,
}

unsafe extern "win64" fn completed(_: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    let watched = ddi!(&*context.cast::<Watched>());
    let result = ddi!((*irp).IoStatus);
    watched.status.store(result.status().0, Ordering::SeqCst);
    watched.information.store(result.Information, Ordering::SeqCst);
    ddi!(KeSetEvent(watched.event.get(), 0, FALSE));
    NTSTATUS::MORE_PROCESSING_REQUIRED
}

impl Waiter {
    pub(crate) fn new() -> Self {
        let watched = Box::new(Watched {
            event: UnsafeCell::new(KEVENT::zeroed()),
            status: AtomicI32::new(0),
            information: AtomicUsize::new(0),
        });
        ddi!(KeInitializeEvent(watched.event.get(), NOTIFICATION_EVENT, FALSE));
        Self(watched)
    }

    /// Asks to be told when an IRP, whose next stack location is filled in, is completed.
    pub(crate) fn watch(&self, irp: *mut IRP) {
        ddi!(set_completion_routine(irp, Some(completed), (&raw const *self.0).cast_mut().cast()));
    }

    pub(crate) fn is_done(&self) -> bool {
        ddi!(KeReadStateEvent(self.0.event.get())) != 0
    }

    /// The status that the IRP was completed with.
    pub(crate) fn wait(&self) -> NTSTATUS {
        let mut limit = LIMIT;
        let waited = ddi!(KeWaitForSingleObject(self.0.event.get().cast(), EXECUTIVE, KERNEL_MODE, FALSE, &mut limit));
        assert_eq!(waited, NTSTATUS::SUCCESS, "the request is not completed");
        NTSTATUS(self.0.status.load(Ordering::SeqCst))
    }
}

/// A request with buffered data, sent.
pub(crate) struct Sent {
    irp: *mut IRP,
    waiter: Waiter,
    buffer: Vec<u8>,
    returned: NTSTATUS,
    was_cancelled: AtomicBool,
}

impl Sent {
    /// Sends any request. `buffer` becomes its system buffer.
    pub(crate) fn send(rig: &Rig<'_>, buffer: Vec<u8>, is_cancelled: bool, fill: impl FnOnce(&mut IO_STACK_LOCATION)) -> Self {
        Self::send_with(rig, buffer, 0, is_cancelled, fill)
    }

    /// The same, with flags in its IRP.
    pub(crate) fn send_flagged(rig: &Rig<'_>, buffer: Vec<u8>, flags: u32, fill: impl FnOnce(&mut IO_STACK_LOCATION)) -> Self {
        Self::send_with(rig, buffer, flags, false, fill)
    }

    fn send_with(
        rig: &Rig<'_>,
        buffer: Vec<u8>,
        flags: u32,
        is_cancelled: bool,
        fill: impl FnOnce(&mut IO_STACK_LOCATION),
    ) -> Self {
        let top = rig.bus.top();
        let irp = ddi!(IoAllocateIrp((*top).StackSize, FALSE));
        assert!(!irp.is_null());
        let mut sent =
            Self { irp, waiter: Waiter::new(), buffer, returned: NTSTATUS::SUCCESS, was_cancelled: AtomicBool::new(false) };
        ddi!((*irp).AssociatedIrp.SystemBuffer = sent.buffer.as_mut_ptr().cast());
        ddi!((*irp).Flags |= flags);
        fill(ddi!(&mut *next_stack_location(irp)));
        sent.waiter.watch(irp);
        if is_cancelled {
            sent.cancel();
        }
        sent.returned = ddi!(IofCallDriver(top, irp));
        sent
    }

    /// Sends a device control with the same buffer in and out, its bytes counted from 0.
    pub(crate) fn control(rig: &Rig<'_>, code: u32, length: u32) -> Self {
        Self::send(rig, (0..length).map(|byte| byte as u8).collect(), false, |location| fill_control(location, code, length))
    }

    /// The same, cancelled before it arrives.
    pub(crate) fn cancelled_control(rig: &Rig<'_>, code: u32) -> Self {
        Self::send(rig, Vec::new(), true, |location| fill_control(location, code, 0))
    }

    /// What the driver's dispatch routine returned.
    pub(crate) fn returned(&self) -> NTSTATUS {
        self.returned
    }

    pub(crate) fn is_done(&self) -> bool {
        self.waiter.is_done()
    }

    pub(crate) fn wait(&self) -> NTSTATUS {
        self.waiter.wait()
    }

    pub(crate) fn information(&self) -> usize {
        self.waiter.0.information.load(Ordering::SeqCst)
    }

    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Cancels it. Whether there was anybody to tell.
    pub(crate) fn cancel(&self) -> bool {
        self.was_cancelled.store(true, Ordering::SeqCst);
        ddi!(IoCancelIrp(self.irp)) != 0
    }

    pub(crate) fn irp(&self) -> *mut IRP {
        self.irp
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.is_done(), "a request that is not completed cannot be freed");
            ddi!(IoFreeIrp(self.irp));
        }
    }
}

pub(crate) fn fill_control(location: &mut IO_STACK_LOCATION, code: u32, length: u32) {
    location.MajorFunction = IRP_MJ_DEVICE_CONTROL;
    location.Parameters.DeviceIoControl = IO_STACK_LOCATION_Parameters_DeviceIoControl {
        OutputBufferLength: length,
        InputBufferLength: length,
        IoControlCode: code,
        ..IO_STACK_LOCATION_Parameters_DeviceIoControl::zeroed()
    };
}
