//! What drivers ask of the PnP manager from anywhere: done later, by a worker, in order.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::DEVICE_OBJECT;
use wdf_sys::wdm::constants::{BUS_RELATIONS, EJECTION_RELATIONS, IRP_MN_EJECT};

use super::engine::Guard;
use super::node::{Node, Stage};
use super::{engine, enumerate, irps, node, remove, root, start};
use crate::io::device;
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
    /// Remove the device in order and let it go.
    Eject(ObjectRef),
    /// The last handle of a device that was pulled has been closed.
    Closed(ObjectRef),
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
        let (Event::Relations(device)
        | Event::State(device)
        | Event::Reenumerate(device)
        | Event::Eject(device)
        | Event::Closed(device)) = &event;
        // SAFETY: the event has a reference to the device.
        let Some(found) = (unsafe { node::of(device.body().cast()) }) else { continue };
        match event {
            Event::Relations(_) => enumerate::bus(&guard, &found),
            Event::State(_) if found.stage() == Stage::Started => {
                start::check_state(&found);
            }
            Event::Reenumerate(_) if found.stage() == Stage::Started => root::reenumerate(&guard, &found),
            Event::State(_) | Event::Reenumerate(_) => {}
            Event::Eject(_) => eject(&guard, &found),
            Event::Closed(_) => remove::go_on(&guard, &found),
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

/// Removes a device, and what can leave only together with it, in order; then its bus lets them go. A refusal is logged.
fn eject(guard: &Guard, node: &Arc<Node>) {
    let related = irps::query_relations(node.pdo(), EJECTION_RELATIONS).unwrap_or_default();
    let mut nodes = Vec::from([node.clone()]);
    // SAFETY: the bus returned references to the devices.
    nodes.extend(related.iter().filter_map(|device| unsafe { node::of(device.body().cast()) }));
    if remove::orderly(guard, &nodes).is_err() {
        return;
    }
    let status = irps::simple(node.pdo(), IRP_MN_EJECT);
    if !status.is_success() {
        crate::log!("{}: removed, but its bus does not let it go: {status}", node.instance_path);
    }
}

/// The last handle of a device of a stack that was pulled has been closed.
///
/// # Safety
/// `device` is alive.
pub(crate) unsafe fn last_handle_closed(device: *mut DEVICE_OBJECT) {
    // SAFETY: the caller's promise; the reference is ours.
    queue(Event::Closed(unsafe { ObjectRef::from_owned(device::IoGetDeviceAttachmentBaseRef(device).cast()) }));
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
/// As the documentation of IoRequestDeviceEject demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoRequestDeviceEject(PhysicalDeviceObject: *mut DEVICE_OBJECT) {
    if !PhysicalDeviceObject.is_null() {
        // SAFETY: the caller's promise.
        queue(Event::Eject(unsafe { ObjectRef::from_borrowed(PhysicalDeviceObject.cast()) }));
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
