//! Removal: asked for and orderly, or after the device has gone.

use alloc::sync::Arc;
use alloc::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::DEVICE_OBJECT;
use wdf_sys::wdm::constants::*;

use super::engine::Guard;
use super::node::{Node, Problem, Stage};
use super::{enumerate, interface, irps, node, notification, root, service, start};
use crate::io::device;

/// Devices, everything below them, and what their drivers say must be removed with them, parents before children.
fn with_removal_relations(nodes: &[Arc<Node>]) -> Vec<Arc<Node>> {
    let mut list: Vec<Arc<Node>> = nodes.iter().flat_map(Node::descendants).collect();
    let mut at = 0;
    while at < list.len() {
        let related = match list[at].stage() {
            Stage::Added | Stage::Started => irps::query_relations(list[at].pdo(), REMOVAL_RELATIONS).unwrap_or_default(),
            _ => Vec::new(),
        };
        // SAFETY: the drivers returned references to the devices.
        for node in related.iter().filter_map(|device| unsafe { node::of(device.body().cast()) }) {
            for member in node.descendants() {
                if !list.iter().any(|known| Arc::ptr_eq(known, &member)) {
                    list.push(member);
                }
            }
        }
        at += 1;
    }
    list
}

/// Removes devices that are there, and everything below them. A driver may refuse; so does an open handle.
pub(crate) fn orderly(_guard: &Guard, nodes: &[Arc<Node>]) -> Result<(), NTSTATUS> {
    let mut list = with_removal_relations(nodes);
    list.reverse();
    for (index, member) in list.iter().enumerate() {
        if !matches!(member.stage(), Stage::Added | Stage::Started) {
            continue;
        }
        let status = query(member);
        if !status.is_success() {
            crate::log!("{}: not removed: {status}", member.instance_path);
            for asked in list[..=index].iter().rev() {
                irps::simple(asked.pdo(), IRP_MN_CANCEL_REMOVE_DEVICE).ok().ok();
                notification::tell_target(asked.pdo(), &notification::TARGET_REMOVE_CANCELLED).ok().ok();
            }
            return Err(status);
        }
    }
    for member in &list {
        finish(member);
        notification::tell_target(member.pdo(), &notification::TARGET_REMOVE_COMPLETE).ok().ok();
    }
    Ok(())
}

/// Whether a device may go: asks those who watch it, who may close their handles now, then its drivers.
fn query(node: &Node) -> NTSTATUS {
    let mut status = notification::tell_target(node.pdo(), &notification::TARGET_QUERY_REMOVE);
    if status.is_success() {
        status = irps::simple(node.pdo(), IRP_MN_QUERY_REMOVE_DEVICE);
    }
    if status.is_success() && is_open(node.pdo()) { NTSTATUS::DEVICE_BUSY } else { status }
}

/// Removes a device that has gone, and everything below it: told at once, removed when nobody has it open any more. Whether it is
/// removed already.
pub(crate) fn surprise(_guard: &Guard, node: &Arc<Node>) -> bool {
    surprise_unlocked(node)
}

/// As [`surprise`], for callers that hold the lock already without having it at hand.
pub(crate) fn surprise_unlocked(node: &Arc<Node>) -> bool {
    for member in &node.descendants() {
        if member.stage() == Stage::Started {
            member.set_stage(Stage::SurpriseRemoved);
            set_removed(member.pdo());
            irps::simple(member.pdo(), IRP_MN_SURPRISE_REMOVAL).ok().ok();
            interface::disable_all(member.pdo());
            notification::tell_target(member.pdo(), &notification::TARGET_REMOVE_COMPLETE).ok().ok();
            member.state.lock().problem = Some(Problem::DeviceGone);
        }
    }
    finish_closed(node)
}

/// The last handle of a device that was pulled has been closed: removes what waited for that, and looks for what waits in its place.
pub(crate) fn go_on(guard: &Guard, node: &Arc<Node>) {
    let is_pulled = |node: &&Arc<Node>| node.stage() == Stage::SurpriseRemoved;
    let chain = core::iter::successors(Some(node), |node| node.parent.as_ref());
    let Some(top) = chain.take_while(is_pulled).last() else { return };
    if !finish_closed(top) {
        return;
    }
    let comes_back = top.state.lock().comes_back;
    match &top.parent {
        _ if comes_back => root::come_back(guard, top),
        Some(bus) => enumerate::bus(guard, bus),
        None => {}
    }
}

/// Removes a device that has gone and everything below it, children first, as far as nobody has it open; whether that is all of it.
fn finish_closed(node: &Arc<Node>) -> bool {
    let children = node.state.lock().children.clone();
    let mut is_all = true;
    for child in &children {
        is_all &= finish_closed(child);
    }
    if !is_all || node.stage() == Stage::SurpriseRemoved && is_open(node.pdo()) {
        crate::log!("{}: pulled, and still open: its removal waits for the last handle", node.instance_path);
        return false;
    }
    let was_removed = node.stage() == Stage::Removed;
    finish(node);
    if was_removed {
        // Its bus is told once more, now that it has seen for itself that the device is gone.
        irps::simple(node.pdo(), IRP_MN_REMOVE_DEVICE).ok().ok();
    }
    if let Some(parent) = &node.parent {
        parent.state.lock().children.retain(|child| !Arc::ptr_eq(child, node));
    }
    node.forget();
    true
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
    let names: Vec<_> = services.into_iter().rev().collect();
    names.iter().for_each(|name| service::unload_if_idle(name));
}

/// Removes the whole tree for the shutdown, the youngest first. A driver that refuses is asked no further.
pub(crate) fn all(guard: &Guard, root: &Arc<Node>) {
    let children = root.state.lock().children.clone();
    for child in children.iter().rev() {
        if let Err(status) = orderly(guard, core::slice::from_ref(child)) {
            crate::log!("{}: stays until the end: {status}", child.instance_path);
        }
    }
}
