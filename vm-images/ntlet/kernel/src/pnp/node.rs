//! Device nodes: what the PnP manager knows of a device.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;

use wdf_sys::wdm::DEVICE_OBJECT;

use super::resources::Resource;
use crate::interrupt::Assigned;
use crate::io::device;
use crate::lock::SpinLock;
use crate::object::ObjectRef;

/// How far a device has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its bus has reported it.
    Enumerated,
    /// Its drivers have been loaded and have attached their devices.
    Added,
    /// Started.
    Started,
    /// It was pulled; waits until nobody has it open.
    SurpriseRemoved,
    /// Its stack has been removed.
    Removed,
}

/// Why a device does not work; numbers as in Windows' device manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It could not be started.
    FailedStart = 10,
    /// There are no resources for it.
    NoResources = 12,
    /// No INF names it.
    NoDriver = 28,
    /// A driver's `AddDevice` failed.
    FailedAdd = 31,
    /// A driver could not be loaded.
    FailedDriverEntry = 37,
    /// A driver reported that the device has failed.
    FailedPostStart = 43,
    /// It is gone.
    DeviceGone = 45,
}

/// What changes in a node.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) stage: Stage,
    pub(crate) problem: Option<Problem>,
    pub(crate) children: Vec<Arc<Node>>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) interrupts: Vec<Assigned>,
    /// It is to be found again when it is gone.
    pub(crate) comes_back: bool,
    /// Services whose drivers have devices in the stack, for unloading.
    pub(crate) services: Vec<String>,
}

/// A device.
#[derive(Debug)]
pub(crate) struct Node {
    pdo: ObjectRef,
    pub(crate) parent: Option<Arc<Node>>,
    /// `PCI\VEN_…\3&…&0&10`.
    pub(crate) instance_path: String,
    pub(crate) hardware_ids: Vec<String>,
    pub(crate) compatible_ids: Vec<String>,
    pub(crate) description: String,
    pub(crate) location: String,
    pub(crate) state: SpinLock<State>,
}

// SAFETY: the references to device objects are counted, everything that changes is behind the lock.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

/// What a bus says about a new device.
#[derive(Debug, Default)]
pub(crate) struct Description {
    pub(crate) instance_path: String,
    pub(crate) hardware_ids: Vec<String>,
    pub(crate) compatible_ids: Vec<String>,
    pub(crate) description: String,
    pub(crate) location: String,
}

impl Node {
    /// A node for a physical device object, which then knows its node.
    pub(crate) fn create(pdo: ObjectRef, parent: Option<Arc<Node>>, description: Description) -> Arc<Self> {
        let Description { instance_path, hardware_ids, compatible_ids, description, location } = description;
        let state = State {
            stage: Stage::Enumerated,
            problem: None,
            children: Vec::new(),
            resources: Vec::new(),
            interrupts: Vec::new(),
            comes_back: false,
            services: Vec::new(),
        };
        let state = SpinLock::new(state);
        let node = Arc::new(Self { pdo, parent, instance_path, hardware_ids, compatible_ids, description, location, state });
        let pointer = Arc::into_raw(node.clone());
        let _guard = device::DATABASE.lock();
        // SAFETY: the node has a reference to the PDO; the count that the raw pointer stands for is given back in `forget`.
        unsafe { (*device::state(node.pdo())).node = pointer.cast_mut().cast() };
        drop(_guard);
        node
    }

    /// The physical device object.
    pub(crate) fn pdo(&self) -> *mut DEVICE_OBJECT {
        self.pdo.body().cast()
    }

    /// Where the device has its registry key, below `\Registry`.
    pub(crate) fn key(&self) -> String {
        alloc::format!("{}\\{}", crate::registry::ENUM, self.instance_path)
    }

    /// Where its `Device Parameters` are.
    pub(crate) fn parameters_key(&self) -> String {
        alloc::format!("{}\\Device Parameters", self.key())
    }

    /// Where its driver has its key, if a driver was installed.
    pub(crate) fn driver_key(&self) -> Option<String> {
        let driver = crate::registry::get_string(&self.key(), "Driver")?;
        Some(alloc::format!("{}\\{driver}", crate::registry::CLASS))
    }

    /// How far it has come.
    pub(crate) fn stage(&self) -> Stage {
        self.state.lock().stage
    }

    /// Sets how far it has come.
    pub(crate) fn set_stage(&self, stage: Stage) {
        self.state.lock().stage = stage;
    }

    /// Records and logs why it does not work.
    pub(crate) fn fail(&self, problem: Problem, reason: core::fmt::Arguments<'_>) {
        self.state.lock().problem = Some(problem);
        crate::log!("{}: {reason} (problem {})", self.instance_path, problem as u32);
    }

    /// The physical device object forgets its node.
    pub(crate) fn forget(&self) {
        let pointer = {
            let _guard = device::DATABASE.lock();
            // SAFETY: the node has a reference to the PDO.
            unsafe { core::mem::replace(&mut (*device::state(self.pdo())).node, core::ptr::null_mut()) }
        };
        if !pointer.is_null() {
            // SAFETY: the pointer was made by `Arc::into_raw` in `create`, and is given back once.
            drop(unsafe { Arc::from_raw(pointer.cast_const().cast::<Self>()) });
        }
    }

    /// Every node below this one, parents before children.
    pub(crate) fn descendants(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut list = Vec::from([self.clone()]);
        let mut next = 0;
        while next < list.len() {
            let children = list[next].state.lock().children.clone();
            list.extend(children);
            next += 1;
        }
        list
    }
}

/// The node of a physical device object, if it is one.
///
/// # Safety
/// `pdo` is a live device object or null.
pub(crate) unsafe fn of(pdo: *mut DEVICE_OBJECT) -> Option<Arc<Node>> {
    if pdo.is_null() {
        return None;
    }
    let _guard = device::DATABASE.lock();
    // SAFETY: the caller's promise; the pointer is one of `Arc::into_raw`, and is taken away under the same lock.
    unsafe {
        let pointer: *const c_void = (*device::state(pdo)).node;
        if pointer.is_null() {
            return None;
        }
        let pointer: *const Node = pointer.cast();
        Arc::increment_strong_count(pointer);
        Some(Arc::from_raw(pointer))
    }
}
