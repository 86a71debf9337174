//! Requests on their way down and up: completion routines by the book, cancellation, and misuse.

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeInitializeEvent, KeReadStateEvent, KeWaitForSingleObject};
use wdf_sys::wdm::{
    DEVICE_OBJECT, IO_STATUS_BLOCK, IRP, KEVENT, copy_current_stack_location_to_next, mark_irp_pending, set_completion_routine,
    skip_current_stack_location,
};

use super::{attach, held, hold, journal, new_device, new_driver, note, succeed};
use crate::io::build::IoBuildDeviceIoControlRequest;
use crate::io::call::IofCallDriver;
use crate::io::cancel::{IoCancelIrp, IoReleaseCancelSpinLock, exchange_routine};
use crate::io::complete::IofCompleteRequest;
use crate::io::device::state;
use crate::io::irp::{IoAllocateIrp, IoFreeIrp, IoReuseIrp, complete, first_location, set_status};
use crate::io::wait;
use crate::io::watch::Patience;
use crate::sim::{self, Simulation};

/// A buffered control code of no meaning.
const CONTROL: u32 = 0x22 << 16 | 0x800 << 2;

fn below(device: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT {
    // SAFETY: devices of these tests live as long as their run.
    unsafe { (*state(device)).attached_to }
}

unsafe extern "win64" fn upper_done(device: *mut DEVICE_OBJECT, irp: *mut IRP, _: *mut c_void) -> NTSTATUS {
    // SAFETY: called with a live request.
    unsafe {
        note(if (*irp).PendingReturned != 0 { "upper: pending" } else { "upper: at once" });
        assert!(!device.is_null());
        if (*irp).PendingReturned != 0 {
            mark_irp_pending(irp);
        }
    }
    NTSTATUS::SUCCESS
}

unsafe extern "win64" fn upper(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the request was sent here, and there is a device below.
    unsafe {
        copy_current_stack_location_to_next(irp);
        set_completion_routine(irp, Some(upper_done), null_mut());
        IofCallDriver(below(device), irp)
    }
}

unsafe extern "win64" fn skipping(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: as above.
    unsafe {
        skip_current_stack_location(irp);
        IofCallDriver(below(device), irp)
    }
}

unsafe extern "win64" fn sender_done(device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    assert!(device.is_null(), "the sender of a new request has no device");
    // SAFETY: called with a live request.
    note(&format!("sender: {} {}", unsafe { (*irp).IoStatus.status() }, context.addr()));
    NTSTATUS::MORE_PROCESSING_REQUIRED
}

/// A request of our own to the top of a stack.
fn request(top: *mut DEVICE_OBJECT) -> *mut IRP {
    // SAFETY: the device is alive, the request new.
    unsafe {
        let irp = IoAllocateIrp((*top).StackSize, 0);
        first_location(irp, IRP_MJ_DEVICE_CONTROL, 0);
        set_completion_routine(irp, Some(sender_done), core::ptr::without_provenance_mut(3));
        irp
    }
}

#[test]
fn completion_routines_run_from_the_bottom_up_and_the_last_may_keep_the_request() {
    sim::run(|_| {
        let bottom = new_device(new_driver("bottom", Some(succeed)), None);
        let top = new_device(new_driver("top", Some(upper)), None);
        attach(top, bottom);
        let irp = request(top);
        // SAFETY: the request is ours, before and after.
        unsafe {
            assert_eq!(IofCallDriver(top, irp), NTSTATUS::SUCCESS);
            assert_eq!((*irp).CurrentLocation, (*irp).StackCount + 1);
            IoFreeIrp(irp);
        }
        assert_eq!(journal(), ["upper: at once", "sender: STATUS_SUCCESS 3"]);
    });
}

#[test]
fn pending_is_passed_on_through_a_driver_that_skipped_its_location() {
    sim::run(|_| {
        let bottom = new_device(new_driver("bottom", Some(hold)), None);
        let middle = new_device(new_driver("middle", Some(skipping)), None);
        let top = new_device(new_driver("top", Some(upper)), None);
        attach(middle, bottom);
        attach(top, middle);
        let irp = request(top);
        // SAFETY: the request is ours, then the bottom driver's, then ours again.
        unsafe {
            assert_eq!(IofCallDriver(top, irp), NTSTATUS::PENDING);
            assert!(journal().is_empty());
            let _ = complete(held(), NTSTATUS::UNSUCCESSFUL, 0);
            IoFreeIrp(irp);
        }
        assert_eq!(journal(), ["upper: pending", "sender: STATUS_UNSUCCESSFUL 3"]);
    });
}

#[test]
fn a_routine_that_asked_for_success_only_is_not_called_on_failure() {
    unsafe extern "win64" fn picky(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the request was sent here, and there is a device below.
        unsafe {
            copy_current_stack_location_to_next(irp);
            set_completion_routine(irp, Some(upper_done), null_mut());
            (*wdf_sys::wdm::next_stack_location(irp)).Control = SL_INVOKE_ON_SUCCESS;
            IofCallDriver(below(device), irp)
        }
    }
    unsafe extern "win64" fn fail(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the request was sent here.
        unsafe { complete(irp, NTSTATUS::UNSUCCESSFUL, 0) }
    }
    sim::run(|_| {
        let bottom = new_device(new_driver("bottom", Some(fail)), None);
        let top = new_device(new_driver("top", Some(picky)), None);
        attach(top, bottom);
        let irp = request(top);
        // SAFETY: the request is ours.
        let _ = unsafe { IofCallDriver(top, irp) };
        assert_eq!(journal(), ["sender: STATUS_UNSUCCESSFUL 3"]);
    });
}

#[test]
fn a_request_is_used_again_after_it_came_back() {
    sim::run(|_| {
        let device = new_device(new_driver("only", Some(succeed)), None);
        let irp = request(device);
        // SAFETY: the request is ours each time.
        unsafe {
            let _ = IofCallDriver(device, irp);
            IoReuseIrp(irp, NTSTATUS::NOT_SUPPORTED);
            assert_eq!((*irp).IoStatus.status(), NTSTATUS::NOT_SUPPORTED);
            first_location(irp, IRP_MJ_READ, 0);
            set_completion_routine(irp, Some(sender_done), core::ptr::without_provenance_mut(4));
            let _ = IofCallDriver(device, irp);
            IoFreeIrp(irp);
        }
        assert_eq!(journal(), ["sender: STATUS_SUCCESS 3", "sender: STATUS_SUCCESS 4"]);
    });
}

unsafe extern "win64" fn on_cancel(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: called with the cancel lock held, for a request that this driver holds.
    unsafe {
        IoReleaseCancelSpinLock((*irp).CancelIrql);
        let _ = complete(irp, NTSTATUS::CANCELLED, 0);
    }
}

unsafe extern "win64" fn hold_cancelable(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the request was sent here.
    unsafe {
        exchange_routine(irp, Some(on_cancel));
        hold(device, irp)
    }
}

#[test]
fn cancelling_calls_the_routine_once_and_tells_whether_it_did() {
    sim::run(|_| {
        let device = new_device(new_driver("holder", Some(hold_cancelable)), None);
        let irp = request(device);
        // SAFETY: the request stays allocated, as its sender's routine keeps it.
        unsafe {
            assert_eq!(IofCallDriver(device, irp), NTSTATUS::PENDING);
            assert_eq!(IoCancelIrp(irp), 1);
            assert_eq!(IoCancelIrp(irp), 0);
            assert_eq!((*irp).Cancel, 1);
            IoFreeIrp(irp);
        }
        assert_eq!(journal(), ["sender: STATUS_CANCELLED 3"]);
        assert_eq!(crate::hal().irql(), 0);
    });
}

#[test]
fn a_built_request_reports_by_event_and_status_block_and_copies_what_came_back() {
    unsafe extern "win64" fn answer(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: a buffered request with eight bytes of buffer.
        unsafe {
            let buffer: *mut u8 = (*irp).AssociatedIrp.SystemBuffer.cast();
            assert_eq!(buffer.read(), 1);
            buffer.write_bytes(9, 8);
            set_status(irp, NTSTATUS::SUCCESS, 8);
            hold(null_mut(), irp)
        }
    }
    sim::run(|_| {
        let device = new_device(new_driver("answer", Some(answer)), None);
        let (mut input, mut output) = ([1u8; 4], [0u8; 8]);
        let mut event = KEVENT::zeroed();
        let mut block = IO_STATUS_BLOCK::zeroed();
        // SAFETY: buffers, event and block live until the request is done.
        unsafe {
            KeInitializeEvent(&raw mut event, NOTIFICATION_EVENT, 0);
            let (input, output) = (input.as_mut_ptr().cast(), output.as_mut_ptr().cast());
            let irp = IoBuildDeviceIoControlRequest(CONTROL, device, input, 4, output, 8, 0, &raw mut event, &raw mut block);
            assert_eq!(IofCallDriver(device, irp), NTSTATUS::PENDING);
            assert_eq!(KeReadStateEvent(&raw mut event), 0);
            IofCompleteRequest(held(), 0);
            let _ = KeWaitForSingleObject((&raw mut event).cast(), EXECUTIVE, KERNEL_MODE, 0, null_mut());
        }
        assert_eq!((block.status(), block.Information), (NTSTATUS::SUCCESS, 8));
        assert_eq!(output, [9; 8]);
    });
}

#[test]
fn more_information_than_there_is_room_for_is_not_copied() {
    unsafe extern "win64" fn boast(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the request was sent here.
        unsafe {
            set_status(irp, NTSTATUS::SUCCESS, 1 << 30);
            hold(null_mut(), irp)
        }
    }
    sim::run(|_| {
        let device = new_device(new_driver("boast", Some(boast)), None);
        let mut output = [[0u8; 4]; 2];
        let mut event = KEVENT::zeroed();
        let mut block = IO_STATUS_BLOCK::zeroed();
        // SAFETY: buffers, event and block live until the request is done.
        unsafe {
            KeInitializeEvent(&raw mut event, NOTIFICATION_EVENT, 0);
            let output = output[0].as_mut_ptr().cast();
            let irp = IoBuildDeviceIoControlRequest(CONTROL, device, null_mut(), 0, output, 4, 0, &raw mut event, &raw mut block);
            let _ = IofCallDriver(device, irp);
            IofCompleteRequest(held(), 0);
            let _ = KeWaitForSingleObject((&raw mut event).cast(), EXECUTIVE, KERNEL_MODE, 0, null_mut());
        }
        assert_eq!(output[1], [0; 4]);
    });
}

#[test]
fn completing_a_request_twice_stops_the_guest() {
    let outcome = Simulation::new().run(|_| {
        let device = new_device(new_driver("twice", Some(hold)), None);
        let irp = request(device);
        // SAFETY: completing the request again is what is tested.
        unsafe {
            let _ = IofCallDriver(device, irp);
            let _ = complete(held(), NTSTATUS::SUCCESS, 0);
            // The sender's routine kept the request, and still the driver completes it once more.
            let _ = complete(held(), NTSTATUS::SUCCESS, 0);
        }
    });
    outcome.expect_bug_check(bug_check::MULTIPLE_IRP_COMPLETE_REQUESTS);
}

#[test]
fn a_request_without_a_location_left_stops_the_guest() {
    unsafe extern "win64" fn forward(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
        // SAFETY: the request was sent here, and there is a device below.
        unsafe { IofCallDriver(below(device), irp) }
    }
    let outcome = Simulation::new().run(|_| {
        let bottom = new_device(new_driver("bottom", Some(succeed)), None);
        let top = new_device(new_driver("top", Some(forward)), None);
        attach(top, bottom);
        // SAFETY: one location for two drivers is what is tested.
        unsafe {
            let irp = IoAllocateIrp(1, 0);
            first_location(irp, IRP_MJ_READ, 0);
            let _ = IofCallDriver(top, irp);
        }
    });
    outcome.expect_bug_check(bug_check::NO_MORE_IRP_STACK_LOCATIONS);
}

#[test]
fn completing_with_a_cancel_routine_still_set_stops_the_guest() {
    let outcome = Simulation::new().run(|_| {
        let device = new_device(new_driver("careless", Some(hold_cancelable)), None);
        let irp = request(device);
        // SAFETY: completing the request as it is is what is tested.
        unsafe {
            let _ = IofCallDriver(device, irp);
            let _ = complete(held(), NTSTATUS::SUCCESS, 0);
        }
    });
    outcome.expect_bug_check(bug_check::CANCEL_STATE_IN_COMPLETED_IRP);
}

/// Returns with the IRQL raised, as a driver does that forgets to release a spin lock.
unsafe extern "win64" fn come_back_raised(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    crate::hal().set_irql(2);
    // SAFETY: the request was sent here.
    unsafe { crate::io::irp::complete(irp, NTSTATUS::SUCCESS, 0) }
}

#[test]
fn a_dispatch_routine_that_returns_at_another_irql_is_a_bug_check() {
    let outcome = Simulation::new().run(|_| {
        let device = new_device(new_driver("raised", Some(come_back_raised)), None);
        // SAFETY: the device is alive.
        unsafe { wait::send(device, (IRP_MJ_CLEANUP, 0), NTSTATUS::SUCCESS, Patience::Endless, |_, _| {}) };
    });
    let parameters = outcome.expect_bug_check(bug_check::DRIVER_VERIFIER_IOMANAGER_VIOLATION);
    assert_eq!((parameters[0], parameters[2], parameters[3]), (5, 0, 2));
}
