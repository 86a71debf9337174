//! The sentences about queues, proven on the state machine alone. An IRP here is the structure and nothing more; [`Rig::cancel`] does what
//! `IoCancelIrp` does to it.

mod cancelling;
mod changing;
mod dispatching;
mod power;

use core::ffi::c_void;
use core::ptr::{null_mut, without_provenance_mut};

use wdf_sys::wdf::{WdfRequestStopActionPurge, WdfRequestStopActionSuspend, WdfRequestStopRequestCancelable};
use wdf_sys::wdm::{DEVICE_OBJECT, FILE_OBJECT, IRP, KEVENT};
use wdf_sys::{TRUE, WDFQUEUE};

use super::super::entry::{Cancel, Entry, Place, Stop};
use super::{Change, Empty, Kind, Marked, Notify, Power, Rules, State, Step, Unmarked};
use crate::request::irp;

unsafe extern "win64" fn cancel_routine(_: *mut DEVICE_OBJECT, _: *mut IRP) {}
unsafe extern "win64" fn told(_: WDFQUEUE, _: *mut c_void) {}

const SUSPEND: u32 = WdfRequestStopActionSuspend;

/// A queue and the requests it may meet.
#[allow(clippy::vec_box, reason = "the queue keeps pointers to them while the vectors grow")]
struct Rig {
    state: State,
    irps: Vec<Box<IRP>>,
    entries: Vec<Box<Entry>>,
}

fn rules(kind: Kind) -> Rules {
    Rules { kind, power_managed: true, tells_stop: true, tells_resume: true, tells_cancelled: true, cancel_routine }
}

impl Rig {
    fn new(kind: Kind) -> Self {
        Self::with(rules(kind))
    }

    fn with(rules: Rules) -> Self {
        Self { state: State::new(rules, Power::On), irps: Vec::new(), entries: Vec::new() }
    }

    fn request(&mut self) -> *mut Entry {
        self.request_of(null_mut())
    }

    fn request_of(&mut self, file: *mut FILE_OBJECT) -> *mut Entry {
        let mut irp = Box::new(IRP::zeroed());
        let mut entry = Box::new(Entry::new(&raw mut *irp, file));
        let pointer = &raw mut *entry;
        self.irps.push(irp);
        self.entries.push(entry);
        pointer
    }

    /// A request that has come.
    fn insert(&mut self) -> *mut Entry {
        let entry = self.request();
        // SAFETY: entries live as long as the rig.
        assert!(unsafe { self.state.insert(entry) });
        entry
    }

    fn next_presented(&mut self) -> *mut Entry {
        match self.state.next() {
            Step::Present(entry) => entry,
            other => panic!("{other:?}"),
        }
    }

    /// A request that the driver owns.
    fn presented(&mut self) -> *mut Entry {
        let entry = self.insert();
        assert_eq!(self.next_presented(), entry);
        entry
    }

    fn idle(&mut self) {
        assert!(matches!(self.state.next(), Step::None));
    }

    /// IoCancelIrp; whether the cancel routine was there and has been called.
    fn cancel(&mut self, entry: *mut Entry) -> bool {
        // SAFETY: entries and IRPs live as long as the rig.
        unsafe {
            (*(*entry).irp).Cancel = TRUE;
            let taken = irp::disarm((*entry).irp);
            if taken {
                let _ = self.state.irp_cancelled(entry);
            }
            taken
        }
    }

    /// IoCancelIrp on another processor, up to the point where its cancel routine waits for the queue's lock.
    fn cancel_begins(&mut self, entry: *mut Entry) {
        // SAFETY: as above.
        unsafe {
            (*(*entry).irp).Cancel = TRUE;
            assert!(irp::disarm((*entry).irp));
        }
    }

    fn cancel_arrives(&mut self, entry: *mut Entry) -> bool {
        // SAFETY: as above.
        unsafe { self.state.irp_cancelled(entry) }
    }

    fn complete(&mut self, entry: *mut Entry) {
        // SAFETY: as above; the entry is presented.
        unsafe { self.state.leave(entry) };
        self.state.left();
    }

    fn mark(&mut self, entry: *mut Entry) -> Marked {
        // SAFETY: as above.
        unsafe { self.state.mark_cancelable(entry) }
    }

    fn unmark(&mut self, entry: *mut Entry) -> Unmarked {
        // SAFETY: as above.
        unsafe { self.state.unmark_cancelable(entry) }
    }

    fn stop_for_power(&mut self) -> *mut KEVENT {
        let event = without_provenance_mut(0x1000);
        self.state.halt();
        self.state.stop_for_power(SUSPEND, event);
        event
    }

    /// EvtIoStop is called for an entry and acknowledges (or not).
    fn stop(&mut self, expected: *mut Entry, acknowledge: Option<bool>) -> u32 {
        match self.state.next() {
            Step::Stop(entry, flags) => {
                assert_eq!(entry, expected);
                // SAFETY: as above.
                unsafe {
                    if let Some(requeue) = acknowledge {
                        assert!(self.state.acknowledge_stop(entry, requeue));
                    }
                    self.state.stop_returned(entry);
                }
                flags
            }
            other => panic!("{other:?}"),
        }
    }

    fn is_powered_off(&mut self, event: *mut KEVENT) -> bool {
        matches!(self.state.next(), Step::Notify(notify) if notify.event == event)
    }
}

fn place(entry: *mut Entry) -> Place {
    // SAFETY: entries live as long as their rig.
    unsafe { (*entry).place }
}

fn callback() -> Notify {
    Notify { callback: Some(told), context: null_mut(), event: null_mut() }
}
