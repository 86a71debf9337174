//! From an enumerated device to a working one: installed, drivers loaded, stack built, resources assigned, started.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::{DEVICE_OBJECT, DRIVER_OBJECT};

use super::engine::Guard;
use super::node::{Node, Problem, Stage};
use super::resources::{Resource, resource_list};
use super::{arbiter, enumerate, install, irps, remove, service};
use crate::interrupt;
use crate::io::watch;
use crate::registry;

/// What a driver reports with `IoInvalidateDeviceState` when its device does not work.
const BROKEN: u32 = PNP_DEVICE_FAILED | PNP_DEVICE_REMOVED | PNP_DEVICE_DISABLED;

/// Takes a new device as far as it comes.
pub(crate) fn configure(guard: &Guard, node: &Arc<Node>) {
    match install::install(node) {
        Ok(true) => {}
        Ok(false) => {
            let id = node.hardware_ids.first().map_or("without an id", String::as_str);
            return node.fail(Problem::NoDriver, format_args!("no driver for {} ({id})", node.description));
        }
        Err(status) => return node.fail(Problem::NoDriver, format_args!("not installed: {status}")),
    }
    if add(node) && start(node) {
        enumerate::bus(guard, node);
    }
}

/// The services of a device's stack, from the bottom up, and which of them is the function driver.
fn stack(node: &Node) -> Vec<(String, bool)> {
    let key = node.key();
    let class = registry::get_string(&key, "ClassGUID").map(|guid| format!("{}\\{guid}", registry::CLASS));
    let filters = |value: &str| {
        let mut list = registry::get_strings(&key, value);
        list.extend(class.iter().flat_map(|class| registry::get_strings(class, value)));
        list
    };
    let mut services: Vec<(String, bool)> = filters("LowerFilters").into_iter().map(|name| (name, false)).collect();
    services.extend(registry::get_string(&key, "Service").map(|name| (name, true)));
    services.extend(filters("UpperFilters").into_iter().map(|name| (name, false)));
    services
}

/// Loads the drivers and has each attach its device.
fn add(node: &Arc<Node>) -> bool {
    let services = stack(node);
    let mut drivers = Vec::new();
    for (name, _) in &services {
        match service::load(name) {
            Ok(driver) => drivers.push(driver),
            Err(status) => {
                node.fail(Problem::FailedDriverEntry, format_args!("the driver {name} is not there: {status}"));
                return false;
            }
        }
    }
    node.state.lock().services = services.iter().map(|(name, _)| name.clone()).collect();
    for ((name, is_function), driver) in services.iter().zip(&drivers) {
        let object: *mut DRIVER_OBJECT = driver.body().cast();
        // SAFETY: the driver is loaded, and the node has a reference to its device.
        let routine = unsafe { (*(*object).DriverExtension).AddDevice };
        let status = match routine {
            // SAFETY: the routine is the driver's own.
            Some(routine) => watch::call("AddDevice", name, routine as usize, || unsafe { routine(object, node.pdo()) }),
            None => NTSTATUS::NOT_SUPPORTED,
        };
        if status.is_success() {
            continue;
        }
        if *is_function {
            node.fail(Problem::FailedAdd, format_args!("AddDevice of {name} failed with {status}"));
            irps::simple(node.pdo(), IRP_MN_REMOVE_DEVICE).ok().ok();
            return false;
        }
        // A filter that fails is left out, on Windows too.
        crate::log!("{}: AddDevice of the filter {name} failed with {status}; it is left out", node.instance_path);
    }
    node.set_stage(Stage::Added);
    true
}

/// Assigns resources and starts the stack.
pub(crate) fn start(node: &Arc<Node>) -> bool {
    let requirements = arbiter::parse(&irps::query_requirements(node.pdo()));
    let assignment = match arbiter::assign(&requirements, crate::hal().processor_count()) {
        Ok(assignment) => assignment,
        Err(missing) => {
            node.fail(Problem::NoResources, format_args!("this requirement cannot be met: {missing:x?}"));
            irps::simple(node.pdo(), IRP_MN_REMOVE_DEVICE).ok().ok();
            return false;
        }
    };
    let (raw, translated) = lists(node, &assignment.resources);
    interrupt::set_device_interrupts(node.pdo().expose_provenance(), assignment.interrupts.clone());
    {
        let mut state = node.state.lock();
        state.resources = assignment.resources;
        state.interrupts = assignment.interrupts;
    }
    let status = irps::start(node.pdo(), &raw, &translated);
    if !status.is_success() {
        node.fail(Problem::FailedStart, format_args!("IRP_MN_START_DEVICE failed with {status}"));
        irps::simple(node.pdo(), IRP_MN_REMOVE_DEVICE).ok().ok();
        release_resources(node);
        node.set_stage(Stage::Enumerated);
        return false;
    }
    {
        let mut state = node.state.lock();
        state.stage = Stage::Started;
        state.problem = None;
    }
    // The harness reads this line when a package brings no suite.
    crate::log!("{}: started", node.instance_path);
    let _ = irps::query_capabilities(node.pdo());
    check_state(node)
}

/// `IRP_MN_QUERY_PNP_DEVICE_STATE`; a device that is reported broken is removed.
pub(crate) fn check_state(node: &Arc<Node>) -> bool {
    let state = irps::query_state(node.pdo());
    if state & BROKEN == 0 {
        return true;
    }
    node.fail(Problem::FailedPostStart, format_args!("its driver reports the device state {state:#x}"));
    remove::surprise_unlocked(node);
    false
}

fn lists(node: &Node, resources: &[Resource]) -> (Vec<u8>, Vec<u8>) {
    // SAFETY: the node has a reference to its device.
    let is_pci = node.instance_path.starts_with("PCI\\") && unsafe { (*node.pdo()).Flags } & DO_BUS_ENUMERATED_DEVICE != 0;
    let interface = if is_pci { PCI_BUS } else { PNP_BUS };
    let list = |is_translated| resource_list(resources, interface, 0, is_translated);
    (list(false), list(true))
}

/// Gives a device's interrupts back.
pub(crate) fn release_resources(node: &Node) {
    let interrupts = {
        let mut state = node.state.lock();
        state.resources.clear();
        core::mem::take(&mut state.interrupts)
    };
    let pdo: *mut DEVICE_OBJECT = node.pdo();
    interrupt::set_device_interrupts(pdo.expose_provenance(), Vec::new());
    arbiter::release(&interrupts);
}
