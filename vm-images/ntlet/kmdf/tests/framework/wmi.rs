//! WMI: what a driver provides for its device is what a consumer in the guest gets, by the kernel's own functions.

use std::ffi::c_void;
use std::ptr::null_mut;

use wdf_sys::wdf::functions::*;
use wdf_sys::wdf::*;
use wdf_sys::wdm::UNICODE_STRING;
use wdf_sys::wdm::functions::*;
use wdf_sys::*;

use crate::rig::{Place, create_device, device, journal, note, settle, with_device};

unsafe extern "win64" {
    fn IoWMIOpenBlock(guid: *const GUID, access: u32, object: *mut *mut c_void) -> NTSTATUS;
    fn IoWMISetNotificationCallback(
        object: *mut c_void,
        callback: Option<unsafe extern "win64" fn(*mut c_void, *mut c_void)>,
        context: *mut c_void,
    ) -> NTSTATUS;
    fn IoWMIQueryAllData(object: *mut c_void, length: *mut u32, buffer: *mut c_void) -> NTSTATUS;
    fn IoWMISetSingleInstance(
        object: *mut c_void,
        name: *mut UNICODE_STRING,
        version: u32,
        size: u32,
        value: *mut c_void,
    ) -> NTSTATUS;
    fn IoWMISetSingleItem(
        object: *mut c_void,
        name: *mut UNICODE_STRING,
        item: u32,
        version: u32,
        size: u32,
        value: *mut c_void,
    ) -> NTSTATUS;
    fn IoWMIExecuteMethod(
        object: *mut c_void,
        name: *mut UNICODE_STRING,
        method: u32,
        input: u32,
        output: *mut u32,
        buffer: *mut u8,
    ) -> NTSTATUS;
}

const DATA: GUID = GUID::new((1, 2, 3, [4; 8]));
const EVENT: GUID = GUID::new((2, 2, 3, [4; 8]));
const EVERYTHING: u32 = 0x17;

static PROVIDER: Place = Place::new();
static INSTANCE: Place = Place::new();
static EVENTS: Place = Place::new();

fn instance() -> WDFWMIINSTANCE {
    WDFWMIINSTANCE(INSTANCE.get())
}

unsafe extern "win64" fn query(_: WDFWMIINSTANCE, room: u32, buffer: *mut c_void, used: *mut u32) -> NTSTATUS {
    ddi!(used.write(8));
    if room < 8 {
        return NTSTATUS::BUFFER_TOO_SMALL;
    }
    ddi!(buffer.cast::<u64>().write_unaligned(0x1122));
    NTSTATUS::SUCCESS
}

unsafe extern "win64" fn set(_: WDFWMIINSTANCE, size: u32, buffer: *mut c_void) -> NTSTATUS {
    note(format!("set {size} {:#x}", ddi!(buffer.cast::<u64>().read_unaligned())));
    NTSTATUS::SUCCESS
}

unsafe extern "win64" fn set_item(_: WDFWMIINSTANCE, item: u32, size: u32, _: *mut c_void) -> NTSTATUS {
    note(format!("item {item} {size}"));
    NTSTATUS::WMI_ITEMID_NOT_FOUND
}

unsafe extern "win64" fn execute(
    _: WDFWMIINSTANCE,
    method: u32,
    input: u32,
    room: u32,
    buffer: *mut c_void,
    used: *mut u32,
) -> NTSTATUS {
    note(format!("method {method} {input}"));
    ddi!(used.write(8));
    if room < 8 {
        return NTSTATUS::BUFFER_TOO_SMALL;
    }
    let number = ddi!(buffer.cast::<u32>().read_unaligned());
    ddi!(buffer.cast::<u64>().write_unaligned(u64::from(number) + 1));
    NTSTATUS::SUCCESS
}

unsafe extern "win64" fn control(_: WDFWMIPROVIDER, what: WDF_WMI_PROVIDER_CONTROL, enable: BOOLEAN) -> NTSTATUS {
    note(format!("control {} {enable}", what.0));
    NTSTATUS::SUCCESS
}

fn provider_config(guid: GUID, flags: u32) -> WDF_WMI_PROVIDER_CONFIG {
    WDF_WMI_PROVIDER_CONFIG {
        Size: size_of::<WDF_WMI_PROVIDER_CONFIG>() as u32,
        Guid: guid,
        Flags: flags,
        EvtWmiProviderFunctionControl: Some(control),
        ..WDF_WMI_PROVIDER_CONFIG::zeroed()
    }
}

fn instance_config() -> WDF_WMI_INSTANCE_CONFIG {
    WDF_WMI_INSTANCE_CONFIG {
        Size: size_of::<WDF_WMI_INSTANCE_CONFIG>() as u32,
        Register: TRUE,
        ..WDF_WMI_INSTANCE_CONFIG::zeroed()
    }
}

fn create(config: &mut WDF_WMI_INSTANCE_CONFIG) -> (NTSTATUS, WDFWMIINSTANCE) {
    let mut created = WDFWMIINSTANCE::NULL;
    (ddi!(WdfWmiInstanceCreate(device(), config, null_mut(), &mut created)), created)
}

fn add(init: *mut WDFDEVICE_INIT) -> NTSTATUS {
    let status = create_device(init, None);
    let mut config = provider_config(DATA, 2);
    let mut provider = WDFWMIPROVIDER::NULL;
    assert_eq!(ddi!(WdfWmiProviderCreate(device(), &mut config, null_mut(), &mut provider)), NTSTATUS::SUCCESS);
    PROVIDER.set(provider.0);
    let (made, data) = create(&mut WDF_WMI_INSTANCE_CONFIG {
        Provider: provider,
        EvtWmiInstanceQueryInstance: Some(query),
        EvtWmiInstanceSetInstance: Some(set),
        EvtWmiInstanceSetItem: Some(set_item),
        EvtWmiInstanceExecuteMethod: Some(execute),
        ..instance_config()
    });
    assert_eq!(made, NTSTATUS::SUCCESS);
    INSTANCE.set(data.0);
    let mut events = provider_config(EVENT, 1);
    let (made, events) = create(&mut WDF_WMI_INSTANCE_CONFIG { ProviderConfig: &raw mut events, ..instance_config() });
    assert_eq!(made, NTSTATUS::SUCCESS);
    EVENTS.set(events.0);
    status
}

/// Opens a block, once its provider is known: a worker asks for it.
fn open(guid: &GUID) -> *mut c_void {
    let mut object = null_mut();
    while !ddi!(IoWMIOpenBlock(guid, EVERYTHING & !4, &mut object)).is_success() {
        settle();
    }
    object
}

fn all_data(block: *mut c_void) -> Result<Vec<u8>, NTSTATUS> {
    let (mut length, mut buffer) = (4096, vec![0u8; 4096]);
    ddi!(IoWMIQueryAllData(block, &mut length, buffer.as_mut_ptr().cast())).ok()?;
    buffer.truncate(length as usize);
    Ok(buffer)
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

#[test]
fn a_consumer_reads_changes_and_calls_the_drivers_instance() {
    with_device(add, |_| {
        let block = open(&DATA);
        let enabled = WDF_WMI_PROVIDER_CONTROL::WdfWmiInstanceControl;
        assert_eq!(ddi!(WdfWmiProviderIsEnabled(WDFWMIPROVIDER(PROVIDER.get()), enabled)), TRUE, "its data is expensive");
        assert_eq!(journal(), ["control 2 1"]);
        let node = all_data(block).unwrap();
        let at = number(&node, 60);
        assert_eq!((number(&node, 52), number(&node, 64), number(&node, at)), (1, 8, 0x1122));
        let mut name = UNICODE_STRING::zeroed();
        let mut value = 0x33u64;
        let place = (&raw mut value).cast::<c_void>();
        assert_eq!(ddi!(IoWMISetSingleInstance(block, &mut name, 1, 8, place)), NTSTATUS::SUCCESS);
        assert_eq!(ddi!(IoWMISetSingleItem(block, &mut name, 3, 1, 4, place)), NTSTATUS::WMI_ITEMID_NOT_FOUND);
        let (mut room, mut data) = (8, 5u64.to_le_bytes());
        assert_eq!(ddi!(IoWMIExecuteMethod(block, &mut name, 7, 4, &mut room, data.as_mut_ptr())), NTSTATUS::SUCCESS);
        assert_eq!((room, u64::from_le_bytes(data)), (8, 6));
        assert_eq!(journal(), ["set 8 0x33", "item 3 4", "method 7 4"]);
        ddi!(ObfDereferenceObject(block));
        settle();
        assert_eq!(journal(), ["control 2 0"]);
        assert_eq!(ddi!(WdfWmiProviderIsEnabled(WDFWMIPROVIDER(PROVIDER.get()), enabled)), FALSE);
    });
}

unsafe extern "win64" fn hear(node: *mut c_void, _: *mut c_void) {
    let size = ddi!(node.cast::<u32>().read()) as usize;
    let node = ddi!(std::slice::from_raw_parts(node.cast::<u8>(), size));
    let at = number(node, 56);
    note(format!("heard {:?}", &node[at..at + number(node, 60)]));
}

#[test]
fn whoever_listens_hears_the_drivers_events() {
    with_device(add, |_| {
        let mut block = null_mut();
        assert_eq!(ddi!(IoWMIOpenBlock(&EVENT, 4, &mut block)), NTSTATUS::SUCCESS);
        assert_eq!(ddi!(IoWMISetNotificationCallback(block, Some(hear), null_mut())), NTSTATUS::SUCCESS);
        settle();
        assert_eq!(journal(), ["control 1 1"]);
        let events = WDFWMIINSTANCE(EVENTS.get());
        let mut byte = 7u8;
        assert_eq!(ddi!(WdfWmiInstanceFireEvent(events, 1, (&raw mut byte).cast())), NTSTATUS::SUCCESS);
        settle();
        assert_eq!(journal(), ["heard [7]"]);
        ddi!(ObfDereferenceObject(block));
        settle();
        assert_eq!(journal(), ["control 1 0"]);
        assert_eq!(ddi!(WdfWmiInstanceFireEvent(events, 1, (&raw mut byte).cast())), NTSTATUS::SUCCESS, "nobody hears it");
        settle();
        assert_eq!(journal(), [""; 0]);
    });
}

#[test]
fn an_instance_that_is_taken_back_is_not_asked_any_more() {
    with_device(add, |_| {
        let block = open(&DATA);
        assert_eq!(ddi!(WdfWmiInstanceRegister(instance())), NTSTATUS::OBJECT_NAME_COLLISION, "it is registered");
        ddi!(WdfWmiInstanceDeregister(instance()));
        settle();
        assert_eq!(all_data(block).unwrap_err(), NTSTATUS::WMI_GUID_NOT_FOUND);
        let fired = ddi!(WdfWmiInstanceFireEvent(instance(), 0, null_mut()));
        assert_eq!(fired, NTSTATUS::INVALID_DEVICE_REQUEST);
        assert_eq!(ddi!(WdfWmiInstanceRegister(instance())), NTSTATUS::SUCCESS);
        settle();
        assert!(all_data(block).is_ok());
        assert_eq!(ddi!(WdfWmiInstanceGetDevice(instance())), device());
        assert_eq!(ddi!(WdfWmiInstanceGetProvider(instance())).0, PROVIDER.get());
        assert_eq!(ddi!(WdfWmiProviderGetDevice(WDFWMIPROVIDER(PROVIDER.get()))), device());
        ddi!(ObfDereferenceObject(block));
        settle();
    });
}

#[test]
fn configurations_that_contradict_themselves_are_refused() {
    with_device(add, |_| {
        let provider = |config: &mut WDF_WMI_PROVIDER_CONFIG| {
            let mut created = WDFWMIPROVIDER::NULL;
            ddi!(WdfWmiProviderCreate(device(), config, null_mut(), &mut created))
        };
        assert_eq!(provider(&mut provider_config(DATA, 0)), NTSTATUS::OBJECT_NAME_COLLISION);
        let other = GUID::new((5, 5, 5, [5; 8]));
        assert_eq!(provider(&mut provider_config(other, 3)), NTSTATUS::INVALID_PARAMETER, "events alone are not expensive");
        assert_eq!(provider(&mut provider_config(other, 8)), NTSTATUS::INVALID_PARAMETER);
        let mut short = WDF_WMI_PROVIDER_CONFIG { Size: 12, ..provider_config(other, 0) };
        assert_eq!(provider(&mut short), NTSTATUS::INFO_LENGTH_MISMATCH);
        assert_eq!(create(&mut instance_config()).0, NTSTATUS::INVALID_PARAMETER, "neither provider nor configuration");
        let mut events = provider_config(other, 1);
        let mut asked = WDF_WMI_INSTANCE_CONFIG {
            ProviderConfig: &raw mut events,
            EvtWmiInstanceQueryInstance: Some(query),
            ..instance_config()
        };
        assert_eq!(create(&mut asked).0, NTSTATUS::INVALID_PARAMETER, "nobody asks for events");
        let mut plain = provider_config(other, 0);
        let mut bare = WDF_WMI_INSTANCE_CONFIG { ProviderConfig: &raw mut plain, UseContextForQuery: TRUE, ..instance_config() };
        assert_eq!(create(&mut bare).0, NTSTATUS::INVALID_PARAMETER, "there is no context");
        // What failed has left no provider of that identity behind.
        assert_eq!(provider(&mut provider_config(other, 0)), NTSTATUS::SUCCESS);
    });
}
