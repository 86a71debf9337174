//! System power: every device to sleep, the processors too, and everything back; and off at the end.

use alloc::sync::Arc;
use alloc::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{DEVICE_OBJECT, IO_STACK_LOCATION, POWER_STATE};

use super::request::PATIENCE;
use crate::dispatcher::asleep;
use crate::io::wait;
use crate::pnp::engine::{self, Guard};
use crate::pnp::node::{Node, Stage};
use crate::system_call::timer;

/// `POWER_ACTION`: sleep, shutdown.
const ACTION_SLEEP: i32 = 2;
const ACTION_SHUTDOWN: i32 = 4;

/// Every started device, parents before children.
fn started() -> Vec<Arc<Node>> {
    let all = engine::root().map(|root| root.descendants()).unwrap_or_default();
    all.into_iter().filter(|node| node.stage() == Stage::Started).collect()
}

/// A system power request to the top of a stack.
fn send(device: *mut DEVICE_OBJECT, minor: u8, state: i32, action: i32) -> NTSTATUS {
    let fill = |_, location: *mut IO_STACK_LOCATION| {
        // SAFETY: the location is the request's own.
        unsafe {
            (*location).Parameters.Power.Type = SYSTEM_POWER_STATE;
            (*location).Parameters.Power.State = POWER_STATE { SystemState: state };
            (*location).Parameters.Power.ShutdownType = action;
        }
    };
    // SAFETY: the node has a reference to its device.
    unsafe { wait::send(device, (IRP_MJ_POWER, minor), NTSTATUS::NOT_SUPPORTED, PATIENCE, fill).status() }
}

/// Asks every device whether the system may sleep, puts them and the processors to sleep, and wakes all of it when a timer of a program
/// says so. A device that refuses ends it.
pub(crate) fn sleep_and_wake(_guard: &Guard, state: i32) -> Result<(), NTSTATUS> {
    let nodes = started();
    for node in nodes.iter().rev() {
        let status = send(node.pdo(), IRP_MN_QUERY_POWER, state, ACTION_SLEEP);
        // A stack without an opinion lets the system sleep.
        if !status.is_success() && status != NTSTATUS::NOT_SUPPORTED {
            crate::log!("{}: the system must not sleep: {status}", node.instance_path);
            wake(&nodes);
            return Err(status);
        }
    }
    for node in nodes.iter().rev() {
        let status = send(node.pdo(), IRP_MN_SET_POWER, state, ACTION_SLEEP);
        if !status.is_success() {
            crate::log!("{}: not asleep: {status}", node.instance_path);
        }
    }
    match timer::next_wake() {
        Some(until) => asleep::sleep(until),
        // This machine has no button that it listens to.
        None => crate::log!("no timer is to wake the system: it wakes at once"),
    }
    wake(&nodes);
    Ok(())
}

fn wake(nodes: &[Arc<Node>]) {
    for node in nodes {
        let status = send(node.pdo(), IRP_MN_SET_POWER, POWER_SYSTEM_WORKING, ACTION_SLEEP);
        if !status.is_success() {
            crate::log!("{}: not awake: {status}", node.instance_path);
        }
    }
}

/// Tells every device that is left that the system goes off.
pub(crate) fn shut_down(_guard: &Guard) {
    for node in started().iter().rev() {
        let status = send(node.pdo(), IRP_MN_SET_POWER, POWER_SYSTEM_SHUTDOWN, ACTION_SHUTDOWN);
        if !status.is_success() {
            crate::log!("{}: not off: {status}", node.instance_path);
        }
    }
}
