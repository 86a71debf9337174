//! WMI: providers of data and events that a driver makes for its device, and their instances. The device registers with the kernel when it has
//! started and has something to say; [`irp`] answers what WMI asks then, [`functions`] is what drivers call.

pub(crate) mod functions;
pub(crate) mod irp;
mod node;

use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wdf_sys::wdf::{WDF_OBJECT_CONTEXT_TYPE_INFO, WDF_WMI_INSTANCE_CONFIG, WDF_WMI_PROVIDER_CONFIG};
use wdf_sys::wdm::constants::{WMIREG_ACTION_DEREGISTER, WMIREG_ACTION_REGISTER, WMIREG_ACTION_REREGISTER};
use wdf_sys::wdm::functions::IoWMIRegistrationControl;
use wdf_sys::{GUID, NTSTATUS, WDFWMIINSTANCE, WDFWMIPROVIDER};

use crate::device::Device;
use crate::object::{Body, Kind, Ref, context};
use crate::sync::SpinLock;

/// Flags of a provider.
const EVENT_ONLY: u32 = 1;
const EXPENSIVE: u32 = 2;
const TRACING: u32 = 4;

/// What a device has of WMI.
pub(crate) struct Wmi {
    providers: SpinLock<Vec<Ref<Provider>>>,
    /// Name of the resource that describes the blocks.
    resource: SpinLock<Vec<u16>>,
    /// The device is started, so that it may register.
    may_register: AtomicBool,
    is_registered: AtomicBool,
}

impl Wmi {
    pub(crate) const fn new() -> Self {
        Self {
            providers: SpinLock::new(Vec::new()),
            resource: SpinLock::new(Vec::new()),
            may_register: AtomicBool::new(false),
            is_registered: AtomicBool::new(false),
        }
    }

    /// The device has started.
    pub(crate) fn start(&self, device: &Ref<Device>) {
        self.may_register.store(true, Ordering::Release);
        let has_instances = self.providers.lock().iter().any(|provider| !provider.instances.lock().is_empty());
        if has_instances {
            self.register(device);
        }
    }

    /// The device is being removed: no further requests, and none under way when this returns. PASSIVE_LEVEL.
    pub(crate) fn stop(&self, device: &Ref<Device>) {
        self.may_register.store(false, Ordering::Release);
        if self.is_registered.swap(false, Ordering::AcqRel) {
            // SAFETY: our device object, which was registered.
            let status = unsafe { IoWMIRegistrationControl(device.wdm(), WMIREG_ACTION_DEREGISTER) };
            if !status.is_success() {
                crate::report!(device.any().globals(), "IoWMIRegistrationControl: {status}");
            }
        }
    }

    /// What there is to say has changed: registers, or has WMI ask again.
    fn register(&self, device: &Ref<Device>) {
        if !self.may_register.load(Ordering::Acquire) {
            return;
        }
        let was = self.is_registered.swap(true, Ordering::AcqRel);
        let action = if was { WMIREG_ACTION_REREGISTER } else { WMIREG_ACTION_REGISTER };
        // SAFETY: our device object, whose dispatch routine takes WMI's requests.
        let status = unsafe { IoWMIRegistrationControl(device.wdm(), action) };
        if !status.is_success() {
            self.is_registered.store(was, Ordering::Release);
            crate::report!(device.any().globals(), "IoWMIRegistrationControl: {status}");
        }
    }

    /// Lets the providers go.
    pub(crate) fn clear(&self) {
        let providers = core::mem::take(&mut *self.providers.lock());
        drop(providers);
    }

    /// The provider of a block.
    fn provider(&self, guid: &GUID) -> Option<Ref<Provider>> {
        self.providers.lock().iter().find(|provider| provider.config.Guid == *guid).cloned()
    }

    /// Providers that have instances, and how many.
    fn provided(&self) -> Vec<(Ref<Provider>, u32)> {
        let providers = self.providers.lock().clone();
        let counted = providers.into_iter().map(|provider| {
            let count = provider.instances.lock().len() as u32;
            (provider, count)
        });
        counted.filter(|(_, count)| *count != 0).collect()
    }
}

/// Body of a WDFWMIPROVIDER.
pub(crate) struct Provider {
    config: WDF_WMI_PROVIDER_CONFIG,
    /// Those that are registered; the position is WMI's number of the instance.
    instances: SpinLock<Vec<Ref<Instance>>>,
    has_listeners: AtomicBool,
    has_readers: AtomicBool,
    tracing_handle: AtomicU64,
}

impl Body for Provider {
    type Handle = WDFWMIPROVIDER;
    const KIND: Kind = Kind::WmiProvider;

    fn before_children(this: &Ref<Self>) {
        if let Some(device) = this.any().ancestor::<Device>() {
            let gone = {
                let mut providers = device.wmi.providers.lock();
                let at = providers.iter().position(|provider| provider.any().raw() == this.any().raw());
                at.map(|at| providers.remove(at))
            };
            drop(gone);
        }
    }

    fn after_cleanup(this: &Ref<Self>) {
        let instances = core::mem::take(&mut *this.instances.lock());
        drop(instances);
    }
}

impl Provider {
    fn is(&self, flag: u32) -> bool {
        self.config.Flags & flag != 0
    }

    /// The registered instance with WMI's number.
    fn instance(&self, index: u32) -> Option<Ref<Instance>> {
        self.instances.lock().get(index as usize).cloned()
    }
}

/// The context that an instance was created with: its type and size.
type OwnContext = (*const WDF_OBJECT_CONTEXT_TYPE_INFO, usize);

/// Body of a WDFWMIINSTANCE.
pub(crate) struct Instance {
    config: WDF_WMI_INSTANCE_CONFIG,
    /// Set when the context is what a query is answered with.
    answer: Option<OwnContext>,
}

// SAFETY: the pointers in it are identities and callbacks, or not used after creation.
unsafe impl Send for Instance {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Instance {}

impl Body for Instance {
    type Handle = WDFWMIINSTANCE;
    const KIND: Kind = Kind::WmiInstance;

    fn before_cleanup(this: &Ref<Self>) {
        let _ = this.deregister();
    }
}

impl Ref<Instance> {
    fn provider(&self) -> Option<Ref<Provider>> {
        self.any().ancestor::<Provider>()
    }

    /// WMI's number of it, while it is registered.
    fn index(&self, provider: &Provider) -> Option<u32> {
        let index = provider.instances.lock().iter().position(|other| other.any().raw() == self.any().raw())?;
        Some(index as u32)
    }

    /// Makes it known to WMI.
    fn register(&self) -> Result<(), NTSTATUS> {
        let provider = self.provider().ok_or(NTSTATUS::INVALID_DEVICE_STATE)?;
        {
            let mut instances = provider.instances.lock();
            if instances.iter().any(|other| other.any().raw() == self.any().raw()) {
                return Err(NTSTATUS::OBJECT_NAME_COLLISION);
            }
            instances.try_reserve(1).map_err(|_| NTSTATUS::INSUFFICIENT_RESOURCES)?;
            instances.push(self.clone());
        }
        if let Some(device) = self.any().ancestor::<Device>() {
            device.wmi.register(&device);
        }
        Ok(())
    }

    /// Takes it back; whether it was registered.
    fn deregister(&self) -> bool {
        let Some(provider) = self.provider() else { return false };
        let gone = {
            let mut instances = provider.instances.lock();
            let at = instances.iter().position(|other| other.any().raw() == self.any().raw());
            at.map(|at| instances.remove(at))
        };
        let was_registered = gone.is_some();
        if let Some(device) = self.any().ancestor::<Device>().filter(|_| was_registered) {
            let is_known = device.wmi.is_registered.load(Ordering::Acquire);
            if is_known {
                device.wmi.register(&device);
            }
        }
        drop(gone);
        was_registered
    }

    /// Answers a query: bytes written, or what went wrong and how many bytes it takes.
    fn query(&self, provider: &Provider, buffer: &mut [u8]) -> Result<usize, (NTSTATUS, usize)> {
        let least = provider.config.MinInstanceBufferSize as usize;
        if let Some((unique_type, size)) = self.answer {
            if buffer.len() < size.max(least) {
                return Err((NTSTATUS::BUFFER_TOO_SMALL, size.max(least)));
            }
            let memory = context::find(self.any(), unique_type).ok_or((NTSTATUS::INVALID_DEVICE_STATE, 0))?;
            // SAFETY: the context has this size and lives as long as the object; documented, it is copied without any lock.
            unsafe { core::ptr::copy_nonoverlapping(memory.cast::<u8>(), buffer.as_mut_ptr(), size) };
            return Ok(size);
        }
        let Some(callback) = self.config.EvtWmiInstanceQueryInstance else {
            return Err((NTSTATUS::INVALID_DEVICE_REQUEST, 0));
        };
        if buffer.len() < least {
            return Err((NTSTATUS::BUFFER_TOO_SMALL, least));
        }
        let (room, place) = (buffer.len() as u32, buffer.as_mut_ptr().cast::<c_void>());
        let mut used = 0;
        // SAFETY: the driver's callback, with its own instance and a buffer of that size.
        let status = self.any().guarded(callback as usize, || unsafe { callback(self.handle(), room, place, &raw mut used) });
        let used = used as usize;
        match status {
            status if status.is_success() && used <= buffer.len() => Ok(used),
            status if status.is_success() => Err((NTSTATUS::DATA_ERROR, 0)),
            status => Err((status, used)),
        }
    }
}
