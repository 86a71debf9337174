//! What stands below and above the driver under test: a bus driver with one device, written against WDM alone, and the requests that
//! a PnP manager sends to its stack.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::*;
use wdf_sys::wdm::*;
use wdf_sys::*;

use crate::request::Waiter;

/// What the bus does with requests that are neither PnP nor power.
pub(crate) type Lower = fn(*mut IRP) -> NTSTATUS;

static LOWER: Mutex<Option<Lower>> = Mutex::new(None);

/// Sets what the bus does with requests that are neither PnP nor power; it refuses them otherwise.
pub(crate) fn set_lower(lower: Lower) {
    *LOWER.lock().unwrap() = Some(lower);
}

/// Completes a request at the bottom of the stack.
pub(crate) fn complete(irp: *mut IRP, status: NTSTATUS, information: usize) -> NTSTATUS {
    ddi!((*irp).IoStatus = IO_STATUS_BLOCK::new(status, information));
    ddi!(IofCompleteRequest(irp, IO_NO_INCREMENT));
    status
}

/// Requests that [`hold`] keeps, oldest first.
static HELD: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// The place of a request's cancel routine, which is exchanged as `IoSetCancelRoutine` does.
fn cancel_routine(irp: *mut IRP) -> &'static AtomicPtr<c_void> {
    // The request lives as long as somebody holds it, which is while this is used.
    ddi!(AtomicPtr::from_ptr((&raw mut (*irp).CancelRoutine).cast()))
}

unsafe extern "win64" fn cancel_held(_: *mut DEVICE_OBJECT, irp: *mut IRP) {
    ddi!(IoReleaseCancelSpinLock((*irp).CancelIrql));
    HELD.lock().unwrap().retain(|&held| held != irp.addr());
    let _ = complete(irp, NTSTATUS::CANCELLED, 0);
}

/// A [`Lower`] that keeps requests until [`release`], or until they are cancelled.
pub(crate) fn hold(irp: *mut IRP) -> NTSTATUS {
    ddi!(mark_irp_pending(irp));
    HELD.lock().unwrap().push(irp.expose_provenance());
    cancel_routine(irp).store(cancel_held as *mut c_void, Ordering::SeqCst);
    let is_cancelled = ddi!((&raw const (*irp).Cancel).read_volatile()) != 0;
    if is_cancelled && !cancel_routine(irp).swap(null_mut(), Ordering::SeqCst).is_null() {
        HELD.lock().unwrap().retain(|&held| held != irp.addr());
        let _ = complete(irp, NTSTATUS::CANCELLED, 0);
    }
    NTSTATUS::PENDING
}

/// How many requests [`hold`] keeps.
pub(crate) fn held() -> usize {
    HELD.lock().unwrap().len()
}

/// Completes the oldest request that [`hold`] keeps, with success: each byte of its buffer counted up by one.
pub(crate) fn release() {
    let irp: *mut IRP = std::ptr::with_exposed_provenance_mut(HELD.lock().unwrap().remove(0));
    assert!(!cancel_routine(irp).swap(null_mut(), Ordering::SeqCst).is_null(), "nobody has cancelled it");
    // A control with buffered data, as these tests send them.
    let length = ddi!((*current_stack_location(irp)).Parameters.DeviceIoControl.OutputBufferLength) as usize;
    let buffer = ddi!((*irp).AssociatedIrp.SystemBuffer).cast::<u8>();
    if length != 0 {
        ddi!(std::slice::from_raw_parts_mut(buffer, length)).iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
    }
    let _ = complete(irp, NTSTATUS::SUCCESS, length);
}

unsafe extern "win64" fn dispatch(_: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    match ddi!((*current_stack_location(irp)).MajorFunction) {
        IRP_MJ_POWER => {
            ddi!(PoStartNextPowerIrp(irp));
            complete(irp, NTSTATUS::SUCCESS, 0)
        }
        IRP_MJ_PNP => {
            let location = ddi!(*current_stack_location(irp));
            if location.MinorFunction == IRP_MN_DEVICE_USAGE_NOTIFICATION {
                let usage = ddi!(location.Parameters.UsageNotification);
                crate::rig::note(format!("usage {} {}", usage.Type, usage.InPath));
            }
            // What drivers above have put in stays.
            complete(irp, NTSTATUS::SUCCESS, ddi!((*irp).IoStatus.Information))
        }
        IRP_MJ_CREATE | IRP_MJ_CLEANUP | IRP_MJ_CLOSE => complete(irp, NTSTATUS::SUCCESS, 0),
        _ => {
            let lower = *LOWER.lock().unwrap();
            match lower {
                Some(lower) => lower(irp),
                None => complete(irp, NTSTATUS::INVALID_DEVICE_REQUEST, 0),
            }
        }
    }
}

/// Name of the device of the bus.
pub(crate) const NAME: &str = "\\Device\\Sample";

/// A resource list of two: memory and a message-signalled interrupt.
#[repr(C, packed(4))]
struct Resources {
    header: [u32; 5],
    descriptors: [CM_PARTIAL_RESOURCE_DESCRIPTOR; 2],
}

/// The bus driver, its device, and that device's resources.
pub(crate) struct Bus {
    driver: kernel::sim::Driver,
    pdo: *mut DEVICE_OBJECT,
    resources: Box<Resources>,
    /// Vector of the interrupt.
    pub(crate) vector: u8,
}

impl Bus {
    pub(crate) fn create() -> Self {
        let driver = kernel::sim::Driver::create("samplebus").unwrap();
        let object = driver.object();
        ddi!((*object).MajorFunction = [Some(dispatch); 28]);
        let units: Vec<u16> = NAME.encode_utf16().collect();
        let mut name = UNICODE_STRING::new(&units).unwrap();
        let mut pdo = null_mut();
        assert_eq!(ddi!(IoCreateDevice(object, 0, &mut name, FILE_DEVICE_UNKNOWN, 0, FALSE, &mut pdo)), NTSTATUS::SUCCESS);
        ddi!((*pdo).Flags = (*pdo).Flags & !DO_DEVICE_INITIALIZING | DO_BUS_ENUMERATED_DEVICE);
        let interrupt = kernel::interrupt::assign_message(1).expect("there is a vector left");
        let mut descriptors = [CM_PARTIAL_RESOURCE_DESCRIPTOR::zeroed(); 2];
        descriptors[0].Type = CM_RESOURCE_TYPE_MEMORY;
        descriptors[0].u.Memory = CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Memory { Start: 0x8000_0000, Length: 4096 };
        descriptors[1].Type = CM_RESOURCE_TYPE_INTERRUPT;
        descriptors[1].Flags = 3;
        descriptors[1].u.Interrupt = CM_PARTIAL_RESOURCE_DESCRIPTOR_u_Interrupt {
            Level: interrupt.irql.into(),
            Vector: interrupt.vector.into(),
            Affinity: 1,
        };
        let vector = interrupt.vector;
        kernel::interrupt::set_device_interrupts(pdo.expose_provenance(), vec![interrupt]);
        let header = [1, PNP_BUS as u32, 0, 0x0001_0001, 2];
        Self { driver, pdo, resources: Box::new(Resources { header, descriptors }), vector }
    }

    /// The device of the bus.
    pub(crate) fn pdo(&self) -> *mut DEVICE_OBJECT {
        self.pdo
    }

    /// The device on top of the stack.
    pub(crate) fn top(&self) -> *mut DEVICE_OBJECT {
        // The reference is given back at once: the stack stands while the test uses it.
        let top = ddi!(IoGetAttachedDeviceReference(self.pdo));
        ddi!(ObfDereferenceObject(top.cast()));
        top
    }

    /// Another device of the bus, which nobody is attached to.
    pub(crate) fn another(&self) -> *mut DEVICE_OBJECT {
        let mut device = null_mut();
        let driver = self.driver.object();
        assert_eq!(ddi!(IoCreateDevice(driver, 0, null_mut(), FILE_DEVICE_UNKNOWN, 0, FALSE, &mut device)), NTSTATUS::SUCCESS);
        ddi!((*device).Flags = (*device).Flags & !DO_DEVICE_INITIALIZING | DO_BUS_ENUMERATED_DEVICE);
        device
    }

    /// The devices that the stack names as related in a way.
    pub(crate) fn relations(&self, kind: i32) -> Vec<*mut DEVICE_OBJECT> {
        let block = self.send_for_block(IRP_MJ_PNP, IRP_MN_QUERY_DEVICE_RELATIONS, |location| {
            location.Parameters.QueryDeviceRelations.Type = kind;
        });
        let list: *mut DEVICE_RELATIONS = std::ptr::with_exposed_provenance_mut(block.Information);
        if list.is_null() {
            return Vec::new();
        }
        let first = ddi!((&raw const (*list).Objects).cast::<*mut DEVICE_OBJECT>());
        let devices: Vec<_> = (0..ddi!((*list).Count) as usize).map(|at| ddi!(*first.add(at))).collect();
        for device in &devices {
            let _ = ddi!(ObfDereferenceObject(device.cast()));
        }
        ddi!(ExFreePool(list.cast()));
        devices
    }

    /// Tells the stack of a special file.
    pub(crate) fn usage(&self, kind: i32, in_path: bool) -> NTSTATUS {
        self.send(IRP_MJ_PNP, IRP_MN_DEVICE_USAGE_NOTIFICATION, |location| {
            location.Parameters.UsageNotification.Type = kind;
            location.Parameters.UsageNotification.InPath = in_path.into();
        })
    }

    /// Sends a request of the PnP manager's or the power manager's, and waits for it.
    fn send(&self, major: u8, minor: u8, fill: impl FnOnce(&mut IO_STACK_LOCATION)) -> NTSTATUS {
        self.send_for_block(major, minor, fill).status()
    }

    fn send_for_block(&self, major: u8, minor: u8, fill: impl FnOnce(&mut IO_STACK_LOCATION)) -> IO_STATUS_BLOCK {
        send_to(self.top(), major, minor, fill)
    }

    pub(crate) fn pnp(&self, minor: u8) -> NTSTATUS {
        self.send(IRP_MJ_PNP, minor, |_| ())
    }

    pub(crate) fn start(&self) -> NTSTATUS {
        let list = (&raw const *self.resources).cast_mut().cast::<CM_RESOURCE_LIST>();
        self.send(IRP_MJ_PNP, IRP_MN_START_DEVICE, |location| {
            location.Parameters.StartDevice =
                IO_STACK_LOCATION_Parameters_StartDevice { AllocatedResources: list, AllocatedResourcesTranslated: list };
        })
    }

    /// Sets the device's power state.
    pub(crate) fn set_power(&self, state: i32) -> NTSTATUS {
        self.send(IRP_MJ_POWER, IRP_MN_SET_POWER, |location| {
            location.Parameters.Power.Type = DEVICE_POWER_STATE;
            location.Parameters.Power.State = POWER_STATE { DeviceState: state };
        })
    }

    /// Removes the stack above the bus.
    pub(crate) fn remove(&self) {
        assert_eq!(self.pnp(IRP_MN_REMOVE_DEVICE), NTSTATUS::SUCCESS);
        assert!(ddi!((*self.pdo).AttachedDevice).is_null(), "the driver has detached its device");
    }

    /// Asks whether the device can go, and removes it.
    pub(crate) fn query_and_remove(&self) {
        assert_eq!(self.pnp(IRP_MN_QUERY_REMOVE_DEVICE), NTSTATUS::SUCCESS);
        self.remove();
    }
}

/// Sends a PnP request without parameters to a stack, and waits for it.
pub(crate) fn send_pnp(top: *mut DEVICE_OBJECT, minor: u8) -> NTSTATUS {
    send_to(top, IRP_MJ_PNP, minor, |_| ()).status()
}

fn send_to(top: *mut DEVICE_OBJECT, major: u8, minor: u8, fill: impl FnOnce(&mut IO_STACK_LOCATION)) -> IO_STATUS_BLOCK {
    let irp = ddi!(IoAllocateIrp((*top).StackSize, FALSE));
    assert!(!irp.is_null());
    let waiter = Waiter::new();
    ddi!((*irp).IoStatus = IO_STATUS_BLOCK::new(NTSTATUS::NOT_SUPPORTED, 0));
    let location = ddi!(&mut *next_stack_location(irp));
    (location.MajorFunction, location.MinorFunction) = (major, minor);
    fill(location);
    waiter.watch(irp);
    let _ = ddi!(IofCallDriver(top, irp));
    let _ = waiter.wait();
    let block = ddi!((*irp).IoStatus);
    ddi!(IoFreeIrp(irp));
    block
}
