//! Binding, WdfDriverCreate, the verifier's setting, and the way out.

use std::ptr::null_mut;

use kernel::sim::{self, Outcome, Simulation};
use wdf_sys::bind::WDF_BIND_INFO;
use wdf_sys::wdf::functions::*;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::*;
use wdf_sys::wdm::*;
use wdf_sys::*;

use crate::rig::{self, Driver};

fn add_nothing(_: *mut WDFDEVICE_INIT) -> NTSTATUS {
    NTSTATUS::SUCCESS
}

#[test]
fn a_driver_binds_creates_its_object_and_unloads_with_nothing_left() {
    rig::with_driver(Simulation::new(), add_nothing, |rig| {
        let object = rig.driver.kernel.object();
        assert!(ddi!((*object).DriverUnload).is_some());
        assert_eq!(rig.add_device(), NTSTATUS::SUCCESS);
        assert!(ddi!((*object).DeviceObject).is_null(), "it added no device");
    });
}

#[test]
fn the_log_of_events_is_printed_when_the_driver_goes_each_line_as_documented() {
    let outcome = rig::with_driver(Simulation::new(), add_nothing, |_| ());
    let lines: Vec<&str> =
        outcome.log.lines().filter_map(|line| line.split_once("] ")?.1.strip_prefix("kmdf sample: ")).collect();
    assert!(!lines.is_empty(), "{}", outcome.log);
    for (ordinal, line) in lines.iter().enumerate() {
        let mut fields = line.split(' ');
        assert_eq!(fields.next(), Some(format!("#{ordinal}").as_str()), "{line}");
        let time = fields.next().and_then(|time| time.strip_prefix('@')).expect("the time is second");
        assert!(time.parse::<f64>().is_ok_and(|time| time >= 0.0), "{line}");
        assert!(fields.next().is_some_and(|name| !name.is_empty() && !name.contains('=')), "{line}");
        assert!(fields.next().is_some_and(|object| object.starts_with("0x")), "{line}");
        assert!(fields.all(|detail| detail.split('=').count() == 2), "{line}");
    }
    assert!(lines.iter().any(|line| line.contains(" created 0x")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains(" destroyed 0x")), "{lines:?}");
}

#[test]
fn a_second_driver_object_is_refused_and_the_rule_is_named() {
    let outcome = rig::with_driver(Simulation::new(), add_nothing, |rig| {
        assert_eq!(rig.driver.create().bits(), 0xc000_0183);
    });
    assert!(outcome.has_logged("VIOLATION of DriverCreate"), "{}", outcome.log);
}

/// More entries than any table has.
const ROOM: usize = 460;

#[test]
fn drivers_up_to_1_13_get_a_copy_of_the_table_as_long_as_they_know_it() {
    sim::run(|_| {
        let bind = ddi!(std::mem::transmute::<*const (), rig::Bind>(rig::export("WdfVersionBind")));
        let unbind = ddi!(std::mem::transmute::<*const (), rig::Unbind>(rig::export("WdfVersionUnbind")));
        for (minor, count) in [(9, 396), (11, 432), (13, 438)] {
            let driver = sim::Driver::create(&format!("old{minor}")).unwrap();
            let mut table = [usize::MAX; ROOM];
            let mut info = WDF_BIND_INFO {
                Size: 48,
                Component: rig::COMPONENT.as_ptr(),
                Major: 1,
                Minor: minor,
                FuncCount: count,
                FuncTable: table.as_mut_ptr().cast(),
                ..WDF_BIND_INFO::zeroed()
            };
            let mut path = UNICODE_STRING::new(driver.registry_path()).unwrap();
            let mut globals = null_mut();
            assert_eq!(ddi!(bind(driver.object(), &mut path, &mut info, &mut globals)), NTSTATUS::SUCCESS);
            let (known, rest) = table.split_at(count as usize);
            assert!(known.iter().all(|&function| function != 0 && function != usize::MAX), "1.{minor}");
            assert!(rest.iter().all(|&untouched| untouched == usize::MAX), "1.{minor}: nothing is written behind the table");
            assert_eq!(ddi!(unbind(&mut path, &mut info, globals)), NTSTATUS::SUCCESS);
        }
    });
}

/// Every right on a key.
const KEY_ALL_ACCESS: u32 = 0xf_003f;

/// Writes a number, such as `VerifierOn`, into the framework's key of a service.
pub(crate) fn write_setting(driver: &sim::Driver, name: &str, value: u32) {
    let mut handle = null_mut();
    for part in ["", "\\Parameters", "\\Parameters\\Wdf"] {
        let path: Vec<u16> = driver.registry_path().iter().copied().chain(part.encode_utf16()).collect();
        let mut path = UNICODE_STRING::new(&path).unwrap();
        let mut attributes = OBJECT_ATTRIBUTES::zeroed();
        attributes.Length = size_of::<OBJECT_ATTRIBUTES>() as u32;
        attributes.ObjectName = &raw mut path;
        attributes.Attributes = OBJ_KERNEL_HANDLE;
        let status = ddi!(ZwCreateKey(&mut handle, KEY_ALL_ACCESS, &mut attributes, 0, null_mut(), 0, null_mut()));
        assert_eq!(status, NTSTATUS::SUCCESS, "{part}");
    }
    let name: Vec<u16> = name.encode_utf16().collect();
    let mut name = UNICODE_STRING::new(&name).unwrap();
    let mut value = value;
    let status = ddi!(ZwSetValueKey(handle, &mut name, 0, REG_DWORD, (&raw mut value).cast(), 4));
    assert_eq!(status, NTSTATUS::SUCCESS);
    assert_eq!(ddi!(ZwClose(handle)), NTSTATUS::SUCCESS);
}

/// A driver whose key says this calls WdfDriverCreate twice.
fn create_twice(settings: &[(&str, u32)]) -> Outcome {
    Simulation::new().run(|_| {
        let kernel = sim::Driver::create("sample").unwrap();
        settings.iter().for_each(|&(name, value)| write_setting(&kernel, name, value));
        let driver = Driver::bind(kernel).unwrap();
        assert_eq!(driver.create(), NTSTATUS::SUCCESS);
        assert_eq!(driver.create().bits(), 0xc000_0183);
        driver.unload();
    })
}

#[test]
fn the_verifier_is_what_the_drivers_key_says_and_on_if_it_says_nothing() {
    let is_verified = |settings: &[(&str, u32)]| create_twice(settings).expect_shutdown().has_logged("VIOLATION");
    assert!(is_verified(&[]));
    assert!(is_verified(&[("VerifierOn", 1), ("DbgBreakOnError", 0)]));
    assert!(!is_verified(&[("VerifierOn", 0)]));
}

#[test]
fn a_verifier_that_is_set_breaks_unless_the_key_says_that_it_does_not() {
    // Nobody is there to break to.
    create_twice(&[("VerifierOn", 1)]).expect_bug_check(bug_check::SYSTEM_THREAD_EXCEPTION_NOT_HANDLED);
}

#[test]
fn an_object_whose_reference_is_not_given_back_is_reported_at_unload() {
    let outcome = sim::run(|_| {
        let driver = Driver::bind(sim::Driver::create("sample").unwrap()).unwrap();
        assert_eq!(driver.create(), NTSTATUS::SUCCESS);
        let mut object = WDFOBJECT::NULL;
        assert_eq!(ddi!(WdfObjectCreate(null_mut(), &mut object)), NTSTATUS::SUCCESS);
        ddi!(WdfObjectReferenceActual(object, null_mut(), 0, null_mut()));
        driver.unload();
    });
    assert!(outcome.has_logged("VIOLATION of ObjectLeaked"), "{}", outcome.log);
}
