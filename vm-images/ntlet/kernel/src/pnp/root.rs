//! The root of the device tree: the physical devices that no bus reports, which are the PCI host bridge and what an INF or the
//! executive enumerates at the root.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::PoStartNextPowerIrp;
use wdf_sys::wdm::{DEVICE_OBJECT, DRIVER_OBJECT, IRP, current_stack_location};

use super::engine::Guard;
use super::node::{Description, Node, Stage};
use super::pci::function::{target_relation, unanswered};
use super::pci::{complete_with, pool_strings};
use super::{reenumerate, remove, start};
use crate::io::{device, driver, irp as packet};
use crate::object::{ObjectRef, name};

/// Driver object of the devices here.
static DRIVER: AtomicPtr<DRIVER_OBJECT> = AtomicPtr::new(core::ptr::null_mut());
static NEXT: AtomicU32 = AtomicU32::new(1);

/// What a root device answers.
#[derive(Clone, Debug)]
struct RootDevice {
    /// `ROOT\RELAY`.
    device_id: String,
    instance_id: String,
    hardware_ids: Vec<String>,
    restarts: Restarts,
}

/// How often a device has been removed and found again, and when that began, in units of 100 ns of uptime.
#[derive(Clone, Copy, Debug, Default)]
struct Restarts {
    since: u64,
    count: u32,
}

impl Restarts {
    /// Most restarts within [`Self::PERIOD`]: the framework of Windows asks no more often.
    const MOST: u32 = 5;
    const PERIOD: u64 = 10 * 10_000_000;

    /// One more; `None` when there were enough.
    fn next(self, now: u64) -> Option<Self> {
        if self.count == 0 || now.saturating_sub(self.since) > Self::PERIOD {
            return Some(Self { since: now, count: 1 });
        }
        (self.count < Self::MOST).then_some(Self { count: self.count + 1, ..self })
    }
}

/// Makes the driver and the root node.
pub(crate) fn create() -> Result<Arc<Node>, NTSTATUS> {
    let object = driver::create("PnpManager")?;
    let driver: *mut DRIVER_OBJECT = object.into_raw().cast();
    // SAFETY: the driver object is new; its reference stays for ever.
    unsafe {
        for major in [IRP_MJ_PNP, IRP_MJ_POWER, IRP_MJ_SYSTEM_CONTROL] {
            (*driver).MajorFunction[usize::from(major)] = Some(dispatch);
        }
    }
    DRIVER.store(driver, Ordering::Release);
    let pdo = create_device(RootDevice {
        device_id: "HTREE\\ROOT".into(),
        instance_id: "0".into(),
        hardware_ids: Vec::new(),
        restarts: Restarts::default(),
    })?;
    let description = Description { instance_path: "HTREE\\ROOT\\0".into(), ..Description::default() };
    let node = Node::create(pdo, None, description);
    node.set_stage(Stage::Started);
    Ok(node)
}

/// Adds a device below the root, as `devcon install` does, and as the executive does for the PCI host bridge.
pub(crate) fn add(root: &Arc<Node>, device_id: &str, hardware_ids: &[&str]) -> Result<Arc<Node>, NTSTATUS> {
    let number = root.state.lock().children.iter().filter(|child| child.instance_path.starts_with(device_id)).count();
    let instance_id = alloc::format!("{number:04}");
    let hardware_ids: Vec<String> = hardware_ids.iter().map(|&id| id.into()).collect();
    let pdo = create_device(RootDevice {
        device_id: device_id.into(),
        instance_id: instance_id.clone(),
        hardware_ids: hardware_ids.clone(),
        restarts: Restarts::default(),
    })?;
    let instance_path = alloc::format!("{device_id}\\{instance_id}");
    let description = Description { instance_path, hardware_ids, ..Description::default() };
    let node = Node::create(pdo, Some(root.clone()), description);
    root.state.lock().children.push(node.clone());
    Ok(node)
}

/// Removes a device as if it had been pulled, and puts a new one of the same name in its place.
pub(super) fn reenumerate(guard: &Guard, node: &Arc<Node>) {
    crate::log!("{}: removed and found again, as its driver wishes", node.instance_path);
    node.state.lock().comes_back = true;
    if remove::surprise(guard, node) {
        come_back(guard, node);
    }
}

/// Puts a new device in the place of one that [`reenumerate`] has removed, once that is gone.
pub(super) fn come_back(guard: &Guard, node: &Arc<Node>) {
    let Some(parent) = &node.parent else { return };
    // SAFETY: only devices of this driver hand out the interface that leads here; the node keeps its device.
    let mut contents = unsafe { (**(*node.pdo()).DeviceExtension.cast::<*const RootDevice>()).clone() };
    let Some(restarts) = contents.restarts.next(crate::hal().uptime()) else {
        return crate::log!("{}: {} restarts in a short time are enough; it stays away", node.instance_path, Restarts::MOST);
    };
    contents.restarts = restarts;
    let description = Description {
        instance_path: node.instance_path.clone(),
        hardware_ids: node.hardware_ids.clone(),
        ..Description::default()
    };
    match create_device(contents) {
        Ok(pdo) => {
            let again = Node::create(pdo, Some(parent.clone()), description);
            parent.state.lock().children.push(again.clone());
            start::configure(guard, &again);
        }
        Err(status) => crate::log!("{}: it does not come back: {status}", node.instance_path),
    }
}

fn create_device(contents: RootDevice) -> Result<ObjectRef, NTSTATUS> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let parameters = device::Parameters {
        extension: size_of::<*const RootDevice>() as u32,
        device_type: FILE_DEVICE_UNKNOWN,
        characteristics: FILE_DEVICE_SECURE_OPEN,
        name: Some(name::wide(&alloc::format!("\\Device\\ROOT{number:04x}"))),
        ..device::Parameters::default()
    };
    // SAFETY: the driver object exists for ever; the new device is ours.
    unsafe {
        let device = device::create(DRIVER.load(Ordering::Acquire), parameters)?;
        *(*device).DeviceExtension.cast::<*const RootDevice>() = Box::into_raw(Box::new(contents));
        (*device).Flags |= DO_BUS_ENUMERATED_DEVICE | DO_POWER_PAGABLE;
        (*device).Flags &= !DO_DEVICE_INITIALIZING;
        Ok(ObjectRef::from_borrowed(device.cast()))
    }
}

/// # Safety
/// Called as a dispatch routine.
unsafe extern "win64" fn dispatch(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager sends requests to live devices of this driver only; the extension was set at creation.
    unsafe {
        let location = current_stack_location(irp);
        let contents = &**(*device).DeviceExtension.cast::<*const RootDevice>();
        match ((*location).MajorFunction, (*location).MinorFunction) {
            (IRP_MJ_POWER, minor) => {
                PoStartNextPowerIrp(irp);
                let is_known = matches!(minor, IRP_MN_SET_POWER | IRP_MN_QUERY_POWER);
                if is_known { packet::complete(irp, NTSTATUS::SUCCESS, 0) } else { unanswered(irp) }
            }
            (IRP_MJ_PNP, IRP_MN_QUERY_ID) => {
                let (strings, is_list) = match (*location).Parameters.QueryId.IdType {
                    BUS_QUERY_DEVICE_ID => (Vec::from([contents.device_id.clone()]), false),
                    BUS_QUERY_HARDWARE_IDS if !contents.hardware_ids.is_empty() => (contents.hardware_ids.clone(), true),
                    BUS_QUERY_INSTANCE_ID => (Vec::from([contents.instance_id.clone()]), false),
                    _ => return unanswered(irp),
                };
                complete_with(irp, pool_strings(&strings, is_list))
            }
            (IRP_MJ_PNP, IRP_MN_QUERY_INTERFACE) => reenumerate::query(device, irp, location),
            (IRP_MJ_PNP, IRP_MN_QUERY_CAPABILITIES) => {
                let capabilities = (*location).Parameters.DeviceCapabilities.Capabilities;
                (*capabilities).Flags |= 1 << 6;
                (*capabilities).DeviceState = [POWER_DEVICE_D3; 7];
                (*capabilities).DeviceState[0] = POWER_DEVICE_UNSPECIFIED;
                (*capabilities).DeviceState[POWER_SYSTEM_WORKING as usize] = POWER_DEVICE_D0;
                packet::complete(irp, NTSTATUS::SUCCESS, 0)
            }
            (IRP_MJ_PNP, IRP_MN_QUERY_DEVICE_RELATIONS)
                if (*location).Parameters.QueryDeviceRelations.Type == TARGET_DEVICE_RELATION =>
            {
                target_relation(device, irp)
            }
            (
                IRP_MJ_PNP,
                IRP_MN_START_DEVICE
                | IRP_MN_QUERY_REMOVE_DEVICE
                | IRP_MN_REMOVE_DEVICE
                | IRP_MN_CANCEL_REMOVE_DEVICE
                | IRP_MN_STOP_DEVICE
                | IRP_MN_QUERY_STOP_DEVICE
                | IRP_MN_CANCEL_STOP_DEVICE
                | IRP_MN_SURPRISE_REMOVAL,
            ) => packet::complete(irp, NTSTATUS::SUCCESS, 0),
            _ => unanswered(irp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_comes_back_five_times_in_ten_seconds_and_no_more() {
        let mut restarts = Restarts::default();
        for _ in 0..Restarts::MOST {
            restarts = restarts.next(1_000).unwrap();
        }
        assert!(restarts.next(1_000 + Restarts::PERIOD).is_none());
        assert_eq!(restarts.next(1_001 + Restarts::PERIOD).unwrap().count, 1);
    }
}
