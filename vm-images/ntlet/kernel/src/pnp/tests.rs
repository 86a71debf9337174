//! The PnP manager and the PCI bus driver over the simulated machine: a function that is plugged in, started, and pulled.

use std::boxed::Box;
use std::string::String;
use std::vec::Vec;

use core::ptr::null_mut;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::KeDelayExecutionThread;
use wdf_sys::wdm::{
    BUS_INTERFACE_STANDARD, CM_PARTIAL_RESOURCE_DESCRIPTOR, CM_RESOURCE_LIST, DEVICE_OBJECT, DRIVER_OBJECT, IRP, UNICODE_STRING,
    current_stack_location, skip_current_stack_location,
};

use super::events::IoInvalidateDeviceRelations;
use super::interface::{IoRegisterDeviceInterface, IoSetDeviceInterfaceState};
use super::node::{Node, Problem, Stage};
use super::properties::IoGetDeviceProperty;
use super::{engine, install, irps, node, remove, service};
use crate::hal::PciAddress;
use crate::io::{call, device, driver, wait};
use crate::lock::SpinLock;
use crate::object::name::lossy;
use crate::sim::{self, ConfigurationSpace, Machine, PciFunction};
use crate::system;

const ADDRESS: PciAddress = PciAddress { bus: 0, device: 3, function: 0 };
const REGISTERS: u64 = 0xfe00_0000;
const SIZE: u32 = 0x1000;
const TABLE: usize = 0x800;
const VECTORS: usize = 4;

const INF: &str = "[Version]\nSignature=\"$WINDOWS NT$\"\nClass=System\nClassGuid={4d36e97d-e325-11ce-bfc1-08002be10318}\n\
[Manufacturer]\nT=Models,NTamd64\n[Models.NTamd64]\n\"Test device\"=Install,PCI\\VEN_1AF4&DEV_1055\n[Install.NT]\n\
[Install.NT.Services]\nAddService=tested,2,Service\n[Service]\nServiceBinary=%13%\\tested.sys\n[Install.NT.HW]\nAddReg=Msi\n[Msi]\n\
HKR,Interrupt Management\\MessageSignaledInterruptProperties,MSISupported,0x00010001,1\n";

/// A function with one memory register that holds an MSI-X table.
struct TestFunction(ConfigurationSpace);

impl TestFunction {
    fn new() -> Self {
        let mut space = ConfigurationSpace::default();
        let mut put = |at: usize, bytes: &[u8]| space.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x00, &[0xf4, 0x1a, 0x55, 0x10]);
        put(0x06, &[0x10, 0]);
        put(0x08, &[1, 0, 0x80, 7]);
        put(0x10, &(REGISTERS as u32).to_le_bytes());
        put(0x2c, &[0xf4, 0x1a, 0x00, 0x11]);
        put(0x34, &[0x40]);
        put(0x40, &[0x11, 0, VECTORS as u8 - 1, 0]);
        put(0x44, &(TABLE as u32).to_le_bytes());
        space.writable[0x04] = 7;
        space.writable[0x05] = 4;
        space.writable[0x10..0x14].copy_from_slice(&(!(SIZE - 1)).to_le_bytes());
        space.writable[0x43] = 0xc0;
        Self(space)
    }
}

impl PciFunction for TestFunction {
    fn read_configuration(&mut self, offset: u16, buffer: &mut [u8]) {
        self.0.read(offset, buffer);
    }

    fn write_configuration(&mut self, offset: u16, data: &[u8]) {
        self.0.write(offset, data);
    }

    fn poll(&mut self, _: &Machine) -> bool {
        false
    }
}

static JOURNAL: SpinLock<Vec<String>> = SpinLock::new(Vec::new());
/// What the test driver answers to the start and to the query for removal.
static ANSWERS: SpinLock<[NTSTATUS; 2]> = SpinLock::new([NTSTATUS::SUCCESS; 2]);

/// A function driver that notes its PnP requests and passes them down.
unsafe extern "win64" fn dispatch(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the request was sent to a live device of this driver.
    unsafe {
        let location = current_stack_location(irp);
        let below = (*device::state(device)).attached_to;
        let (major, minor) = ((*location).MajorFunction, (*location).MinorFunction);
        if major != IRP_MJ_PNP {
            return crate::io::irp::complete(irp, NTSTATUS::SUCCESS, 0);
        }
        JOURNAL.lock().push(wait::function_name((major, minor)));
        let answers = *ANSWERS.lock();
        let refusal = match minor {
            IRP_MN_START_DEVICE => {
                note_resources((*location).Parameters.StartDevice.AllocatedResourcesTranslated);
                answers[0]
            }
            IRP_MN_QUERY_REMOVE_DEVICE => answers[1],
            _ => NTSTATUS::SUCCESS,
        };
        if !refusal.is_success() {
            return crate::io::irp::complete(irp, refusal, 0);
        }
        skip_current_stack_location(irp);
        let status = call::IofCallDriver(below, irp);
        if minor == IRP_MN_REMOVE_DEVICE {
            device::IoDetachDevice(below);
            device::IoDeleteDevice(device);
        }
        status
    }
}

static RESOURCES: SpinLock<Vec<(u8, u16, u64)>> = SpinLock::new(Vec::new());

/// Keeps type, flags, and start or vector of each descriptor.
unsafe fn note_resources(list: *mut CM_RESOURCE_LIST) {
    // SAFETY: the list of a start request is as long as it says.
    unsafe {
        let partial = &raw const (*list).List[0].PartialResourceList;
        let first = (&raw const (*partial).PartialDescriptors).cast::<CM_PARTIAL_RESOURCE_DESCRIPTOR>();
        for index in 0..(*partial).Count as usize {
            let descriptor = first.add(index).read_unaligned();
            let value = match descriptor.Type {
                CM_RESOURCE_TYPE_INTERRUPT => u64::from(descriptor.u.Interrupt.Vector),
                _ => descriptor.u.Memory.Start as u64,
            };
            RESOURCES.lock().push((descriptor.Type, descriptor.Flags, value));
        }
    }
}

unsafe extern "win64" fn add_device(driver: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    JOURNAL.lock().push("AddDevice".into());
    // SAFETY: called by the PnP manager.
    unsafe {
        let device = device::create(driver, device::Parameters::default()).unwrap();
        assert!(!device::IoAttachDeviceToDeviceStack(device, pdo).is_null());
        (*device).Flags &= !DO_DEVICE_INITIALIZING;
    }
    NTSTATUS::SUCCESS
}

/// Plugs the function in and starts devices; the function's node.
fn start(machine: &Machine) -> std::sync::Arc<Node> {
    machine.add_device_memory(REGISTERS, SIZE as usize);
    machine.add_function(ADDRESS, Box::new(TestFunction::new()));
    let driver = driver::create("tested").unwrap();
    // SAFETY: the driver object is new.
    unsafe {
        let object: *mut DRIVER_OBJECT = driver.body().cast();
        (*object).MajorFunction = [Some(dispatch); 28];
        (*(*object).DriverExtension).AddDevice = Some(add_device);
    }
    service::add("tested", driver);
    install::add_package(INF);
    engine::initialize();
    system::start_devices().unwrap();
    let all = engine::root().unwrap().descendants();
    all.into_iter().find(|node| node.instance_path.starts_with("PCI\\VEN_1AF4")).expect("the function was found")
}

/// A query for relations, as the journal has it.
const RELATIONS: &str = "IRP_MJ_PNP, minor function 0x07";

fn journal() -> Vec<String> {
    core::mem::take(&mut *JOURNAL.lock())
}

fn pause() {
    let mut interval = -1_000_000;
    // SAFETY: the test is a system thread at PASSIVE_LEVEL.
    let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
}

#[test]
fn a_device_is_added_and_started_with_the_requests_that_windows_sends() {
    sim::run(|machine| {
        let node = start(machine);
        assert_eq!(node.stage(), Stage::Started);
        assert!(node.instance_path.starts_with("PCI\\VEN_1AF4&DEV_1055&SUBSYS_11001AF4&REV_01\\3&"));
        assert!(node.instance_path.ends_with("&0&18"));
        let minor = |number: u8| format!("IRP_MJ_PNP, minor function {number:#04x}");
        assert_eq!(
            journal(),
            [
                "AddDevice".into(),
                minor(IRP_MN_QUERY_RESOURCE_REQUIREMENTS),
                minor(IRP_MN_FILTER_RESOURCE_REQUIREMENTS),
                "IRP_MN_START_DEVICE".into(),
                minor(IRP_MN_QUERY_CAPABILITIES),
                minor(IRP_MN_QUERY_PNP_DEVICE_STATE),
                minor(IRP_MN_QUERY_DEVICE_RELATIONS),
            ]
        );
    });
}

#[test]
fn registers_and_one_message_a_vector_are_handed_over_and_programmed() {
    sim::run(|machine| {
        start(machine);
        let resources = RESOURCES.lock().clone();
        assert_eq!(resources[0], (CM_RESOURCE_TYPE_MEMORY, 0, REGISTERS));
        assert_eq!(resources[1].0, 0x81);
        let messages: Vec<_> = resources[2..].to_vec();
        assert_eq!(messages.len(), VECTORS);
        assert!(messages.iter().all(|&(kind, flags, _)| (kind, flags) == (CM_RESOURCE_TYPE_INTERRUPT, 3)));
        for (index, (_, _, vector)) in messages.iter().enumerate() {
            let mut entry = [0; 16];
            machine.read_memory(REGISTERS + (TABLE + 16 * index) as u64, &mut entry);
            assert_eq!(u64::from(entry[8]), *vector, "the data of the simulated machine's messages is their vector");
            assert_eq!(entry[12] & 1, 0, "unmasked");
        }
        let mut command = [0; 2];
        crate::hal().pci_read(ADDRESS, 4, &mut command);
        assert_eq!(u16::from_le_bytes(command), 0x406, "memory, bus master, no INTx");
    });
}

#[test]
fn a_pulled_device_gets_surprise_removal_then_removal_and_its_node_goes() {
    sim::run(|machine| {
        let node = start(machine);
        let bus = node.parent.clone().unwrap();
        journal();
        machine.remove_function(ADDRESS);
        // SAFETY: the bus's device is alive.
        unsafe { IoInvalidateDeviceRelations(bus.pdo(), BUS_RELATIONS) };
        pause();
        assert_eq!(journal(), ["IRP_MN_SURPRISE_REMOVAL", "IRP_MN_REMOVE_DEVICE"]);
        assert!(bus.state.lock().children.is_empty());
    });
}

#[test]
fn a_driver_may_refuse_removal_and_is_told_that_it_does_not_come() {
    sim::run(|machine| {
        let node = start(machine);
        let guard = engine::lock();
        journal();
        ANSWERS.lock()[1] = NTSTATUS::UNSUCCESSFUL;
        assert_eq!(remove::orderly(&guard, core::slice::from_ref(&node)), Err(NTSTATUS::UNSUCCESSFUL));
        assert_eq!(journal(), [RELATIONS, "IRP_MN_QUERY_REMOVE_DEVICE", "IRP_MN_CANCEL_REMOVE_DEVICE"]);
        ANSWERS.lock()[1] = NTSTATUS::SUCCESS;
        assert_eq!(remove::orderly(&guard, core::slice::from_ref(&node)), Ok(()));
        assert_eq!(journal(), [RELATIONS, "IRP_MN_QUERY_REMOVE_DEVICE", "IRP_MN_REMOVE_DEVICE"]);
        let mut command = [0; 2];
        crate::hal().pci_read(ADDRESS, 4, &mut command);
        assert_eq!(command[0] & 7, 0, "nothing decoded, no bus mastering");
    });
}

#[test]
fn a_device_that_does_not_start_is_removed_and_has_a_problem() {
    sim::run(|machine| {
        ANSWERS.lock()[0] = NTSTATUS::IO_DEVICE_ERROR;
        let node = start(machine);
        assert_eq!(node.state.lock().problem, Some(Problem::FailedStart));
        assert_eq!(journal().last().unwrap(), "IRP_MN_REMOVE_DEVICE");
        assert!(node.state.lock().interrupts.is_empty());
    });
}

#[test]
fn an_interface_is_a_link_while_it_is_enabled() {
    sim::run(|machine| {
        let node = start(machine);
        let class = wdf_sys::GUID::new((1, 2, 3, [4; 8]));
        let mut link = UNICODE_STRING::zeroed();
        // SAFETY: the node's device is alive, the string a local.
        unsafe {
            assert!(IoRegisterDeviceInterface(node.pdo(), &raw const class, null_mut(), &raw mut link).is_success());
            let path = link.units();
            assert!(lossy(path).starts_with("\\??\\PCI#VEN_1AF4&DEV_1055"));
            assert_eq!(driver::namespace().find(path, false).err(), Some(NTSTATUS::OBJECT_NAME_NOT_FOUND));
            assert!(IoSetDeviceInterfaceState(&raw mut link, 1).is_success());
            assert_eq!(driver::namespace().find(path, false).unwrap().object.body().cast(), node.pdo());
            assert_eq!(IoSetDeviceInterfaceState(&raw mut link, 1), NTSTATUS::OBJECT_NAME_EXISTS);
            assert!(IoSetDeviceInterfaceState(&raw mut link, 0).is_success());
            assert!(driver::namespace().find(path, false).is_err());
        }
    });
}

#[test]
fn the_bus_interface_reads_configuration_space_and_properties_name_the_device() {
    sim::run(|machine| {
        let node = start(machine);
        let mut interface = BUS_INTERFACE_STANDARD::zeroed();
        let address = &raw mut interface;
        let class = GUID_BUS_INTERFACE_STANDARD;
        let block = irps::send(node.pdo(), IRP_MN_QUERY_INTERFACE, |location| {
            // SAFETY: the interface outlives the request.
            unsafe {
                (*location).Parameters.QueryInterface.InterfaceType = &raw const class;
                (*location).Parameters.QueryInterface.Size = size_of::<BUS_INTERFACE_STANDARD>() as u16;
                (*location).Parameters.QueryInterface.Version = 1;
                (*location).Parameters.QueryInterface.Interface = address.cast();
            }
        });
        assert_eq!(block.status(), NTSTATUS::SUCCESS);
        let mut ids = [0u8; 4];
        let mut buffer = [0u16; 64];
        let mut length = 0;
        // SAFETY: buffers are locals; the interface was filled in.
        unsafe {
            let read = interface.GetBusData.unwrap();
            assert_eq!(read(interface.Context, PCI_WHICHSPACE_CONFIG, ids.as_mut_ptr().cast(), 0, 4), 4);
            assert_eq!(read(interface.Context, PCI_WHICHSPACE_CONFIG, ids.as_mut_ptr().cast(), 5000, 4), 0);
            interface.InterfaceDereference.unwrap()(interface.Context);
            let status = IoGetDeviceProperty(node.pdo(), 0x0, 128, buffer.as_mut_ptr().cast(), &raw mut length);
            assert_eq!(status, NTSTATUS::SUCCESS);
            assert_eq!(
                IoGetDeviceProperty(node.pdo(), 0x0, 2, buffer.as_mut_ptr().cast(), &raw mut length),
                NTSTATUS::BUFFER_TOO_SMALL
            );
            assert!(node::of(null_mut()).is_none());
        }
        assert_eq!(ids, [0xf4, 0x1a, 0x55, 0x10]);
        assert_eq!(lossy(&buffer[..length as usize / 2 - 1]), "Test device");
    });
}
