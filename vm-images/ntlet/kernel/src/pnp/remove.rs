//! Removal: asked for and orderly, or after the device has gone.

use alloc::sync::Arc;
use alloc::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::DEVICE_OBJECT;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::KeDelayExecutionThread;

use super::engine::Guard;
use super::node::{Node, Problem, Stage};
use super::{interface, irps, notification, service, start};
use crate::hal;
use crate::io::device;

/// How long a removed device may stay open, in units of 100 ns, before its removal is put off.
const OPEN_DEADLINE: u64 = 60 * 10_000_000;

/// Removes a device that is there, and everything below it. A driver may refuse; so does an open handle.
pub(crate) fn orderly(_guard: &Guard, node: &Arc<Node>) -> Result<(), NTSTATUS> {
    let mut list = node.descendants();
    list.reverse();
    for (index, member) in list.iter().enumerate() {
        if !matches!(member.stage(), Stage::Added | Stage::Started) {
            continue;
        }
        let mut status = irps::simple(member.pdo(), IRP_MN_QUERY_REMOVE_DEVICE);
        if status.is_success() && is_open(member.pdo()) {
            status = NTSTATUS::DEVICE_BUSY;
        }
        if !status.is_success() {
            crate::log!("{}: not removed: {status}", member.instance_path);
            for asked in list[..=index].iter().rev() {
                irps::simple(asked.pdo(), IRP_MN_CANCEL_REMOVE_DEVICE).ok().ok();
            }
            return Err(status);
        }
    }
    for member in &list {
        finish(member);
    }
    Ok(())
}

/// Removes a device that has gone, and everything below it.
pub(crate) fn surprise(_guard: &Guard, node: &Arc<Node>) {
    surprise_unlocked(node);
}

/// As [`surprise`], for callers that hold the lock already without having it at hand.
pub(crate) fn surprise_unlocked(node: &Arc<Node>) {
    let list = node.descendants();
    for member in &list {
        if member.stage() == Stage::Started {
            member.set_stage(Stage::SurpriseRemoved);
            set_removed(member.pdo());
            irps::simple(member.pdo(), IRP_MN_SURPRISE_REMOVAL).ok().ok();
            interface::disable_all(member.pdo());
            notification::target_removed(member.pdo());
            member.state.lock().problem = Some(Problem::DeviceGone);
        }
    }
    for member in list.iter().rev() {
        // The last request comes when nobody has the device open any more.
        wait_until_closed(member);
        finish(member);
    }
}

/// Opening any device of the stack fails from now on.
fn set_removed(pdo: *mut DEVICE_OBJECT) {
    for_each_in_stack(pdo, |member| {
        // SAFETY: devices of a stack are alive while it stands; the lock is held.
        unsafe { (*device::state(member)).is_removed = true };
    });
}

/// Calls `visit` with every device of a stack, the lowest first, the database locked.
fn for_each_in_stack(pdo: *mut DEVICE_OBJECT, mut visit: impl FnMut(*mut DEVICE_OBJECT)) {
    let _guard = device::DATABASE.lock();
    let mut member = pdo;
    while !member.is_null() {
        visit(member);
        // SAFETY: attached devices are alive, and links change only under the lock.
        member = unsafe { (*member).AttachedDevice };
    }
}

/// Whether anyone has a device of the stack open.
fn is_open(pdo: *mut DEVICE_OBJECT) -> bool {
    let mut count = 0;
    // SAFETY: as above.
    for_each_in_stack(pdo, |member| count += unsafe { (*member).ReferenceCount });
    count != 0
}

fn wait_until_closed(node: &Node) {
    let started = hal().uptime();
    while is_open(node.pdo()) {
        if hal().uptime().saturating_sub(started) > OPEN_DEADLINE {
            return crate::log!("{}: still open {} s after it was pulled", node.instance_path, OPEN_DEADLINE / 10_000_000);
        }
        let mut interval = -10_000;
        // SAFETY: the current thread is at PASSIVE_LEVEL.
        let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
    }
}

/// `IRP_MN_REMOVE_DEVICE`, and what the node held is given back.
fn finish(node: &Arc<Node>) {
    let stage = node.stage();
    if stage == Stage::Removed {
        return;
    }
    let _ = irps::simple(node.pdo(), IRP_MN_REMOVE_DEVICE);
    // What a driver has left enabled.
    interface::disable_all(node.pdo());
    start::release_resources(node);
    let services = {
        let mut state = node.state.lock();
        state.stage = Stage::Removed;
        state.children.clear();
        core::mem::take(&mut state.services)
    };
    interface::forget(node.pdo());
    if stage == Stage::SurpriseRemoved
        && let Some(parent) = &node.parent
    {
        parent.state.lock().children.retain(|child| !Arc::ptr_eq(child, node));
        node.forget();
    }
    let names: Vec<_> = services.into_iter().rev().collect();
    names.iter().for_each(|name| service::unload_if_idle(name));
}

/// Removes the whole tree for the shutdown, the youngest first. A driver that refuses is asked no further.
pub(crate) fn all(guard: &Guard, root: &Arc<Node>) {
    let children = root.state.lock().children.clone();
    for child in children.iter().rev() {
        if let Err(status) = orderly(guard, child) {
            crate::log!("{}: stays until the end: {status}", child.instance_path);
        }
    }
}
