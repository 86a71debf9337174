//! PnP and power of a device: what the device keeps for them. The order of callbacks, apart from devices and IRPs, is in
//! [`sequence`]; what each step does in [`steps`]; PnP IRPs in [`irp`]; power IRPs in [`power`]; states in [`state`].

pub(crate) mod capabilities;
pub(crate) mod functions;
pub(crate) mod idle;
pub(crate) mod irp;
pub(crate) mod power;
pub(crate) mod sequence;
pub(crate) mod state;
pub(crate) mod steps;
mod watchdog;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, Ordering};

use wdf_sys::NTSTATUS;
use wdf_sys::wdf::{WDF_DEVICE_PNP_STATE, WDF_DEVICE_POWER_POLICY_STATE, WDF_DEVICE_POWER_STATE};
use wdf_sys::wdm::{IRP, REENUMERATE_SELF_INTERFACE_STANDARD};

use crate::dma::Enabler;
use crate::interrupt::Interrupt;
use crate::object::Ref;
use crate::resources::CmList;
use crate::sync::{PassiveLock, SpinLock};

/// What is done with hardware, so that each thing is undone once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// EvtDevicePrepareHardware was called, and EvtDeviceReleaseHardware not yet.
    pub(crate) prepared: bool,
    /// The device is in D0.
    pub(crate) powered: bool,
    /// EvtDeviceSelfManagedIoInit was called (whatever it returned).
    pub(crate) self_managed: bool,
    /// EvtDeviceSelfManagedIoFlush was called since.
    pub(crate) flushed: bool,
}

/// `REENUMERATE_SELF_INTERFACE_STANDARD`, held with its reference.
pub(crate) struct Reenumerate(pub(crate) REENUMERATE_SELF_INTERFACE_STANDARD);

// SAFETY: the interface's functions may be called from any thread, by its definition.
unsafe impl Send for Reenumerate {}

impl Drop for Reenumerate {
    fn drop(&mut self) {
        if let Some(dereference) = self.0.InterfaceDereference {
            // SAFETY: the bus handed it out referenced.
            unsafe { dereference(self.0.Context) };
        }
    }
}

/// PnP and power of one device.
pub(crate) struct Machine {
    /// Held through every start, stop, removal and power change: one at a time.
    pub(crate) progress: PassiveLock<Progress>,
    pnp_state: AtomicI32,
    power_state: AtomicI32,
    policy_state: AtomicI32,
    in_d0: AtomicBool,
    /// `DEVICE_POWER_STATE` that the last D-IRP set.
    pub(crate) device_power: AtomicU8,
    pub(crate) owns_policy: bool,
    /// What WdfDeviceSetFailed asked for: 0, or a `WDF_DEVICE_FAILED_ACTION`.
    pub(crate) failed_action: AtomicI32,
    /// In order of creation, which is the order in which resources are assigned and callbacks are called.
    pub(crate) interrupts: SpinLock<Vec<Ref<Interrupt>>>,
    pub(crate) enablers: SpinLock<Vec<Ref<Enabler>>>,
    pub(crate) resources: SpinLock<Option<(Ref<CmList>, Ref<CmList>)>>,
    /// EvtDevicePrepareHardware runs: interrupts may be created, with resources.
    pub(crate) preparing: AtomicBool,
    /// The system power state change that goes on, a `POWER_ACTION`.
    pub(crate) system_action: AtomicI32,
    pub(crate) deferred_power: power::Deferred,
    /// WdfDeviceStopIdle calls that WdfDeviceResumeIdle has not undone.
    pub(crate) keep_awake: AtomicI32,
    /// How to have the device removed and found again, from the bus; none where the bus cannot.
    pub(crate) reenumerate: SpinLock<Option<Reenumerate>>,
    pub(crate) idle: idle::Idle,
    /// The system power IRP that waits for the device's.
    pub(crate) system_irp: AtomicPtr<IRP>,
    /// The PnP IRP that changes the device's state now; null for none.
    pub(crate) changing_irp: AtomicPtr<IRP>,
}

impl Machine {
    pub(crate) fn new(owns_policy: bool) -> Self {
        Self {
            progress: PassiveLock::uninitialized(Progress::default()),
            pnp_state: AtomicI32::new(WDF_DEVICE_PNP_STATE::WdfDevStatePnpObjectCreated.0),
            power_state: AtomicI32::new(WDF_DEVICE_POWER_STATE::WdfDevStatePowerObjectCreated.0),
            policy_state: AtomicI32::new(WDF_DEVICE_POWER_POLICY_STATE::WdfDevStatePwrPolObjectCreated.0),
            in_d0: AtomicBool::new(false),
            device_power: AtomicU8::new(wdf_sys::wdm::constants::POWER_DEVICE_D3 as u8),
            owns_policy,
            failed_action: AtomicI32::new(0),
            interrupts: SpinLock::new(Vec::new()),
            enablers: SpinLock::new(Vec::new()),
            resources: SpinLock::new(None),
            preparing: AtomicBool::new(false),
            system_action: AtomicI32::new(0),
            deferred_power: power::Deferred::new(),
            keep_awake: AtomicI32::new(0),
            reenumerate: SpinLock::new(None),
            idle: idle::Idle::uninitialized(),
            system_irp: AtomicPtr::new(core::ptr::null_mut()),
            changing_irp: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Makes the locks usable, where they stay.
    pub(crate) fn initialize(&self) {
        self.progress.initialize();
    }

    pub(crate) fn is_in_d0(&self) -> bool {
        self.in_d0.load(Ordering::Acquire)
    }

    pub(crate) fn set_in_d0(&self, in_d0: bool) {
        self.in_d0.store(in_d0, Ordering::Release);
    }

    pub(crate) fn pnp_state(&self) -> WDF_DEVICE_PNP_STATE {
        WDF_DEVICE_PNP_STATE(self.pnp_state.load(Ordering::Acquire))
    }

    pub(crate) fn power_state(&self) -> WDF_DEVICE_POWER_STATE {
        WDF_DEVICE_POWER_STATE(self.power_state.load(Ordering::Acquire))
    }

    pub(crate) fn policy_state(&self) -> WDF_DEVICE_POWER_POLICY_STATE {
        WDF_DEVICE_POWER_POLICY_STATE(self.policy_state.load(Ordering::Acquire))
    }

    /// Whether the device has been started and not been stopped, removed or failed since.
    pub(crate) fn is_started(&self) -> bool {
        matches!(
            self.pnp_state(),
            WDF_DEVICE_PNP_STATE::WdfDevStatePnpStarted
                | WDF_DEVICE_PNP_STATE::WdfDevStatePnpQueryRemovePending
                | WDF_DEVICE_PNP_STATE::WdfDevStatePnpQueryStopPending
        )
    }

    /// Whether interrupts and DMA enablers may still be created: not once the device has started.
    pub(crate) fn is_before_start(&self) -> bool {
        matches!(self.pnp_state(), WDF_DEVICE_PNP_STATE::WdfDevStatePnpObjectCreated | WDF_DEVICE_PNP_STATE::WdfDevStatePnpInit)
    }

    /// Copies of the interrupts, to call them without the lock.
    pub(crate) fn interrupts(&self) -> Result<Vec<Ref<Interrupt>>, NTSTATUS> {
        snapshot(&self.interrupts)
    }

    pub(crate) fn enablers(&self) -> Result<Vec<Ref<Enabler>>, NTSTATUS> {
        snapshot(&self.enablers)
    }

    /// Lets go of every object: the device is being deleted.
    pub(crate) fn forget(&self) {
        let interrupts = core::mem::take(&mut *self.interrupts.lock());
        let enablers = core::mem::take(&mut *self.enablers.lock());
        let resources = self.resources.lock().take();
        let reenumerate = self.reenumerate.lock().take();
        drop((interrupts, enablers, resources, reenumerate));
    }
}

/// The references in a list, copied so that the lock need not be held.
fn snapshot<T: crate::object::Body>(list: &SpinLock<Vec<Ref<T>>>) -> Result<Vec<Ref<T>>, NTSTATUS> {
    let list = list.lock();
    let mut copy = Vec::new();
    copy.try_reserve_exact(list.len()).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
    copy.extend(list.iter().cloned());
    Ok(copy)
}
