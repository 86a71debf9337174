//! The WdfWmi… functions, and the name of the resource that describes a driver's blocks.

use alloc::vec::Vec;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wdf_sys::wdf::{WDF_OBJECT_ATTRIBUTES, WDF_WMI_INSTANCE_CONFIG, WDF_WMI_PROVIDER_CONFIG, WDF_WMI_PROVIDER_CONTROL};
use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{ExAllocatePool2, ExFreePoolWithTag, IoWMIDeviceObjectToProviderId, IoWMIWriteEvent};
use wdf_sys::{BOOLEAN, NTSTATUS, WDFDEVICE, WDFWMIINSTANCE, WDFWMIPROVIDER};

use super::node::{self, INSTANCE_DATA, INSTANCE_INDEX};
use super::{EVENT_ONLY, EXPENSIVE, Instance, Provider, TRACING};
use crate::call::{Call, ddi};
use crate::device::Device;
use crate::device_init::copy_units;
use crate::object::attributes::Rules;
use crate::object::{Attributes, Ref};
use crate::sync::{APC_LEVEL, DISPATCH_LEVEL, PASSIVE_LEVEL, SpinLock};

/// Largest event.
const MOST_EVENT_BYTES: usize = 0x1_0000;

fn create_provider(
    call: &Call,
    device: &Ref<Device>,
    config: *const WDF_WMI_PROVIDER_CONFIG,
    attributes: &Attributes,
) -> Result<Ref<Provider>, NTSTATUS> {
    let config = call.sized(config, &[])?;
    let is_valid = config.Flags & !(EVENT_ONLY | EXPENSIVE | TRACING) == 0
        // Neither collects data, so that it can not be expensive.
        && !(config.Flags & EXPENSIVE != 0 && config.Flags & (EVENT_ONLY | TRACING) != 0);
    if !is_valid {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    if device.is_control() {
        return Err(NTSTATUS::INVALID_DEVICE_REQUEST);
    }
    if device.wmi.provider(&config.Guid).is_some() {
        return Err(NTSTATUS::OBJECT_NAME_COLLISION);
    }
    let body = Provider {
        config,
        instances: SpinLock::new(Vec::new()),
        has_listeners: AtomicBool::new(false),
        has_readers: AtomicBool::new(false),
        tracing_handle: AtomicU64::new(0),
    };
    let provider = crate::object::create(call.globals, attributes, Some(device.any()), body)?;
    let is_kept = {
        let mut providers = device.wmi.providers.lock();
        providers.try_reserve(1).is_ok() && {
            providers.push(provider.clone());
            true
        }
    };
    if !is_kept {
        provider.abandon();
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    Ok(provider)
}

fn create_instance(
    call: &Call,
    device: &Ref<Device>,
    config: WDF_WMI_INSTANCE_CONFIG,
    provider: &Ref<Provider>,
    attributes: &Attributes,
) -> Result<Ref<Instance>, NTSTATUS> {
    let is_of_device = provider.any().ancestor::<Device>().is_some_and(|other| other.any().raw() == device.any().raw());
    let asks = config.EvtWmiInstanceQueryInstance.is_some()
        || config.EvtWmiInstanceSetInstance.is_some()
        || config.EvtWmiInstanceSetItem.is_some()
        || config.EvtWmiInstanceExecuteMethod.is_some()
        || config.UseContextForQuery != 0;
    if !is_of_device || (provider.is(EVENT_ONLY) && asks) {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let answer = if config.UseContextForQuery != 0 {
        let context = attributes.context.as_ref().filter(|context| !context.unique_type.is_null());
        let context = context.ok_or(NTSTATUS::INVALID_PARAMETER)?;
        Some((context.unique_type, context.size))
    } else {
        None
    };
    let register = config.Register != 0;
    let instance = crate::object::create(call.globals, attributes, Some(provider.any()), Instance { config, answer })?;
    if register && let Err(status) = instance.register() {
        instance.abandon();
        return Err(status);
    }
    Ok(instance)
}

/// The provider that a configuration names, or a new one by the configuration in it; whether it is new.
fn provider_of(call: &Call, device: &Ref<Device>, config: &WDF_WMI_INSTANCE_CONFIG) -> Result<(Ref<Provider>, bool), NTSTATUS> {
    match (call.optional_object::<Provider>(config.Provider), config.ProviderConfig.is_null()) {
        (Some(provider), true) => Ok((provider, false)),
        (None, false) => create_provider(call, device, config.ProviderConfig, &Attributes::NONE).map(|provider| (provider, true)),
        _ => Err(NTSTATUS::INVALID_PARAMETER),
    }
}

/// Writes an event of a registered instance.
fn fire(call: &Call, instance: &Ref<Instance>, data: &[u8]) -> Result<(), NTSTATUS> {
    const DATA: usize = 64;
    let provider = instance.provider().ok_or(NTSTATUS::INVALID_DEVICE_STATE)?;
    let device = instance.any().ancestor::<Device>().ok_or(NTSTATUS::INVALID_DEVICE_STATE)?;
    let index = instance.index(&provider).ok_or(NTSTATUS::INVALID_DEVICE_REQUEST)?;
    let size = DATA.checked_add(data.len()).filter(|&size| size <= MOST_EVENT_BYTES).ok_or(NTSTATUS::BUFFER_OVERFLOW)?;
    // SAFETY: an ordinary allocation, zeroed; the result is checked.
    let block = unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, size, call.globals.tag()) };
    if block.is_null() {
        return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
    }
    // SAFETY: the block has this size and is ours.
    let bytes = unsafe { core::slice::from_raw_parts_mut(block.cast::<u8>(), size) };
    let flags =
        WNODE_FLAG_SINGLE_INSTANCE | WNODE_FLAG_EVENT_ITEM | WNODE_FLAG_STATIC_INSTANCE_NAMES | WNODE_FLAG_PDO_INSTANCE_NAMES;
    node::put(bytes, 0, size as u32);
    // SAFETY: our device object.
    node::put(bytes, node::PROVIDER_ID, unsafe { IoWMIDeviceObjectToProviderId(device.wdm()) });
    node::put_guid(bytes, node::GUID_AT, &provider.config.Guid);
    node::put(bytes, node::FLAGS, flags);
    node::put(bytes, INSTANCE_INDEX, index);
    node::put(bytes, INSTANCE_DATA, DATA as u32);
    node::put(bytes, INSTANCE_DATA + 4, data.len() as u32);
    bytes[DATA..].copy_from_slice(data);
    // SAFETY: a whole node in pool; it is WMI's if this succeeds.
    unsafe { IoWMIWriteEvent(block).ok().inspect_err(|_| ExFreePoolWithTag(block, call.globals.tag())) }
}

ddi! {
    fn WdfDeviceAssignMofResourceName(call, device: WDFDEVICE, name: *const UNICODE_STRING) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        match call.string(name).and_then(copy_units) {
            Ok(name) => {
                let old = core::mem::replace(&mut *device.wmi.resource.lock(), name);
                drop(old);
                NTSTATUS::SUCCESS
            }
            Err(status) => status,
        }
    }

    fn WdfWmiProviderCreate(call, device: WDFDEVICE, config: *mut WDF_WMI_PROVIDER_CONFIG, attributes: *mut WDF_OBJECT_ATTRIBUTES, provider: *mut WDFWMIPROVIDER) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write(provider, WDFWMIPROVIDER::NULL);
        let device = call.object::<Device>(device);
        let created = Attributes::read(call, attributes, Rules::PARENT_FORBIDDEN)
            .and_then(|attributes| create_provider(call, &device, config, &attributes));
        call.created(provider, created)
    }

    fn WdfWmiProviderGetDevice(call, provider: WDFWMIPROVIDER) -> WDFDEVICE {
        call.object::<Provider>(provider).any().ancestor::<Device>().map_or(WDFDEVICE::NULL, |device| device.handle())
    }

    fn WdfWmiProviderIsEnabled(call, provider: WDFWMIPROVIDER, control: WDF_WMI_PROVIDER_CONTROL) -> BOOLEAN {
        let provider = call.object::<Provider>(provider);
        let mark = match control {
            WDF_WMI_PROVIDER_CONTROL::WdfWmiEventControl => &provider.has_listeners,
            WDF_WMI_PROVIDER_CONTROL::WdfWmiInstanceControl => &provider.has_readers,
            _ => return 0,
        };
        mark.load(Ordering::Acquire).into()
    }

    fn WdfWmiProviderGetTracingHandle(call, provider: WDFWMIPROVIDER) -> u64 {
        call.object::<Provider>(provider).tracing_handle.load(Ordering::Acquire)
    }

    fn WdfWmiInstanceCreate(call, device: WDFDEVICE, config: *mut WDF_WMI_INSTANCE_CONFIG, attributes: *mut WDF_OBJECT_ATTRIBUTES, instance: *mut WDFWMIINSTANCE) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        call.write_optional(instance, WDFWMIINSTANCE::NULL);
        let device = call.object::<Device>(device);
        let created = Attributes::read(call, attributes, Rules::PARENT_FORBIDDEN).and_then(|attributes| {
            let config = call.sized(config, &[])?;
            let (provider, is_new) = provider_of(call, &device, &config)?;
            create_instance(call, &device, config, &provider, &attributes).inspect_err(|_| {
                if is_new {
                    provider.abandon();
                }
            })
        });
        let mut unwanted = WDFWMIINSTANCE::NULL;
        call.created(if instance.is_null() { &raw mut unwanted } else { instance }, created)
    }

    fn WdfWmiInstanceRegister(call, instance: WDFWMIINSTANCE) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        call.object::<Instance>(instance).register().err().unwrap_or(NTSTATUS::SUCCESS)
    }

    fn WdfWmiInstanceDeregister(call, instance: WDFWMIINSTANCE) {
        call.irql_at_most(PASSIVE_LEVEL);
        let _ = call.object::<Instance>(instance).deregister();
    }

    fn WdfWmiInstanceGetDevice(call, instance: WDFWMIINSTANCE) -> WDFDEVICE {
        call.object::<Instance>(instance).any().ancestor::<Device>().map_or(WDFDEVICE::NULL, |device| device.handle())
    }

    fn WdfWmiInstanceGetProvider(call, instance: WDFWMIINSTANCE) -> WDFWMIPROVIDER {
        call.object::<Instance>(instance).provider().map_or(WDFWMIPROVIDER::NULL, |provider| provider.handle())
    }

    fn WdfWmiInstanceFireEvent(call, instance: WDFWMIINSTANCE, size: u32, data: *mut c_void) -> NTSTATUS {
        call.irql_at_most(APC_LEVEL);
        let instance = call.object::<Instance>(instance);
        fire(call, &instance, call.bytes(data, size as usize)).err().unwrap_or(NTSTATUS::SUCCESS)
    }
}
