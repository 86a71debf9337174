//! What drivers ask of the PnP manager from anywhere: done later, by a worker, in order.

use alloc::collections::VecDeque;
use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::DEVICE_OBJECT;
use wdf_sys::wdm::constants::BUS_RELATIONS;

use super::node::Stage;
use super::{engine, enumerate, node, root, start};
use crate::lock::SpinLock;
use crate::object::ObjectRef;

/// Something to do with a device.
#[derive(Debug)]
enum Event {
    /// Look again at what is on the bus.
    Relations(ObjectRef),
    /// Ask again how the device is.
    State(ObjectRef),
    /// Remove the device by surprise, and find it again.
    Reenumerate(ObjectRef),
}

/// Most events that wait: a driver may ask in a loop.
const MAX_EVENTS: usize = 4096;

static EVENTS: SpinLock<VecDeque<Event>> = SpinLock::new(VecDeque::new());

fn queue(event: Event) {
    {
        let mut events = EVENTS.lock();
        if events.len() >= MAX_EVENTS {
            drop(events);
            return crate::log!("too many PnP events wait; one is lost");
        }
        events.push_back(event);
    }
    crate::work::queue_system_work(run);
}

fn run() {
    let guard = engine::lock();
    loop {
        let Some(event) = EVENTS.lock().pop_front() else { return };
        let (Event::Relations(device) | Event::State(device) | Event::Reenumerate(device)) = &event;
        // SAFETY: the event has a reference to the device.
        let Some(found) = (unsafe { node::of(device.body().cast()) }) else { continue };
        match event {
            Event::Relations(_) => enumerate::bus(&guard, &found),
            Event::State(_) if found.stage() == Stage::Started => {
                start::check_state(&found);
            }
            Event::Reenumerate(_) if found.stage() == Stage::Started => root::reenumerate(&guard, &found),
            Event::State(_) | Event::Reenumerate(_) => {}
        }
    }
}

/// Has a device removed and found again.
///
/// # Safety
/// `device` is a live physical device.
pub(super) unsafe fn reenumerate(device: *mut DEVICE_OBJECT) {
    // SAFETY: the caller's promise.
    queue(Event::Reenumerate(unsafe { ObjectRef::from_borrowed(device.cast()) }));
}

/// # Safety
/// As the documentation of IoInvalidateDeviceRelations demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoInvalidateDeviceRelations(DeviceObject: *mut DEVICE_OBJECT, Type: i32) {
    if Type == BUS_RELATIONS && !DeviceObject.is_null() {
        // SAFETY: the caller's promise.
        queue(Event::Relations(unsafe { ObjectRef::from_borrowed(DeviceObject.cast()) }));
    }
}

/// # Safety
/// As the documentation of IoInvalidateDeviceState demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoInvalidateDeviceState(PhysicalDeviceObject: *mut DEVICE_OBJECT) {
    if !PhysicalDeviceObject.is_null() {
        // SAFETY: the caller's promise.
        queue(Event::State(unsafe { ObjectRef::from_borrowed(PhysicalDeviceObject.cast()) }));
    }
}

/// # Safety
/// As the documentation of IoReportTargetDeviceChangeAsynchronous demands. Custom events are not delivered.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoReportTargetDeviceChangeAsynchronous(
    _PhysicalDeviceObject: *mut DEVICE_OBJECT,
    _NotificationStructure: *mut c_void,
    _Callback: *mut c_void,
    _Context: *mut c_void,
) -> NTSTATUS {
    crate::log!("IoReportTargetDeviceChangeAsynchronous: custom target device events are not supported by ntlet");
    NTSTATUS::NOT_SUPPORTED
}
