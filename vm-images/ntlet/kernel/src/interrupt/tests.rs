//! Interrupts on the simulated machine.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::{CONNECT_FULLY_SPECIFIED, CONNECT_LINE_BASED, CONNECT_MESSAGE_BASED, bug_check};
use wdf_sys::wdm::{IO_CONNECT_INTERRUPT_PARAMETERS, IO_DISCONNECT_INTERRUPT_PARAMETERS};
use wdf_sys::{BOOLEAN, KINTERRUPT, NTSTATUS};

use super::*;
use crate::sim::{self, Machine, Simulation};

const PCI_LINE: LineShape = LineShape { level: true, active_low: true };

static COUNT: AtomicU32 = AtomicU32::new(0);
static MACHINE: Mutex<Option<&'static Machine>> = Mutex::new(None);

fn parameters(assigned: &Assigned, interrupt: &mut *mut KINTERRUPT, level: bool, share: bool) -> IO_CONNECT_INTERRUPT_PARAMETERS {
    let mut parameters = IO_CONNECT_INTERRUPT_PARAMETERS::zeroed();
    parameters.Version = CONNECT_FULLY_SPECIFIED;
    let specified = &mut parameters.FullySpecified;
    specified.InterruptObject = interrupt;
    specified.ServiceRoutine = Some(count);
    specified.ServiceContext = core::ptr::without_provenance_mut(7);
    specified.Vector = assigned.vector.into();
    specified.Irql = assigned.irql;
    specified.SynchronizeIrql = assigned.irql;
    specified.InterruptMode = i32::from(!level);
    specified.ShareVector = share.into();
    specified.ProcessorEnableMask = assigned.affinity as usize;
    parameters
}

fn connect(mut parameters: IO_CONNECT_INTERRUPT_PARAMETERS) -> NTSTATUS {
    // SAFETY: parameters of the form that their version says, with places that stay until this returns.
    unsafe { IoConnectInterruptEx(&mut parameters) }
}

unsafe extern "win64" fn count(_: *mut KINTERRUPT, context: *mut c_void) -> BOOLEAN {
    assert_eq!((hal().irql() >= 3, context.addr()), (true, 7));
    COUNT.fetch_add(1, Ordering::SeqCst);
    if let Some(machine) = *MACHINE.lock().unwrap() {
        machine.set_line(16, false);
    }
    1
}

unsafe extern "win64" fn not_mine(_: *mut KINTERRUPT, _: *mut c_void) -> BOOLEAN {
    0
}

fn message_data(assigned: &Assigned) -> u32 {
    match assigned.source {
        Source::Message(message) => message.data,
        Source::Line(_) => panic!("a message was asked for"),
    }
}

#[test]
fn a_message_calls_its_service_routine_at_its_irql() {
    sim::run(|machine| {
        let assigned = assign_message(1).unwrap();
        let mut interrupt = null_mut();
        assert_eq!(connect(parameters(&assigned, &mut interrupt, false, false)), NTSTATUS::SUCCESS);
        machine.send_message(message_data(&assigned));
        hal().relax();
        assert_eq!(COUNT.load(Ordering::SeqCst), 1);
        // Held back while the lock is held, as by KeSynchronizeExecution.
        // SAFETY: a connected interrupt.
        unsafe {
            let irql = KeAcquireInterruptSpinLock(interrupt);
            machine.send_message(message_data(&assigned));
            hal().relax();
            assert_eq!((COUNT.load(Ordering::SeqCst), hal().irql()), (1, assigned.irql));
            KeReleaseInterruptSpinLock(interrupt, irql);
        }
        assert_eq!(COUNT.load(Ordering::SeqCst), 2);
        // SAFETY: a connected interrupt that is not used any more.
        unsafe { IoDisconnectInterrupt(interrupt) };
        machine.send_message(message_data(&assigned));
        hal().relax();
        assert_eq!(COUNT.load(Ordering::SeqCst), 2);
        release(assigned.vector);
    });
}

#[test]
fn a_vector_that_is_not_assigned_or_not_shared_cannot_be_connected() {
    sim::run(|_| {
        let assigned = assign_message(1).unwrap();
        let (mut first, mut second) = (null_mut(), null_mut());
        assert_eq!(connect(parameters(&assigned, &mut first, false, false)), NTSTATUS::SUCCESS);
        assert_eq!(connect(parameters(&assigned, &mut second, false, false)), NTSTATUS::INVALID_PARAMETER);
        let other = Assigned { vector: assigned.vector + 1, ..assigned };
        assert_eq!(connect(parameters(&other, &mut second, false, false)), NTSTATUS::INVALID_PARAMETER);
        let wrong_level = Assigned { irql: assigned.irql + 1, ..assigned };
        assert_eq!(connect(parameters(&wrong_level, &mut second, false, true)), NTSTATUS::INVALID_PARAMETER);
    });
}

#[test]
fn a_shared_line_asks_until_one_knows_it() {
    sim::run(|machine| {
        // SAFETY: the machine lives as long as the run.
        *MACHINE.lock().unwrap() = Some(unsafe { &*core::ptr::from_ref(machine) });
        let assigned = assign_line(16, PCI_LINE).unwrap();
        assert_eq!(assign_line(16, PCI_LINE), Some(assigned), "two devices have it");
        let (mut first, mut second) = (null_mut(), null_mut());
        let mut of_first = parameters(&assigned, &mut first, true, true);
        of_first.FullySpecified.ServiceRoutine = Some(not_mine);
        assert_eq!(connect(of_first), NTSTATUS::SUCCESS);
        assert_eq!(connect(parameters(&assigned, &mut second, true, true)), NTSTATUS::SUCCESS);
        machine.set_line(16, true);
        hal().relax();
        assert_eq!(COUNT.load(Ordering::SeqCst), 1);
        // SAFETY: connected interrupts that are not used any more.
        unsafe {
            IoDisconnectInterrupt(first);
            IoDisconnectInterrupt(second);
        }
        machine.set_line(16, true);
        hal().relax();
        assert_eq!(COUNT.load(Ordering::SeqCst), 1, "the line is masked");
    });
}

#[test]
fn a_line_that_nobody_knows_is_masked_and_named() {
    let outcome = sim::run(|machine| {
        let assigned = assign_line(16, PCI_LINE).unwrap();
        let mut interrupt = null_mut();
        let mut parameters = parameters(&assigned, &mut interrupt, true, true);
        parameters.FullySpecified.ServiceRoutine = Some(not_mine);
        assert_eq!(connect(parameters), NTSTATUS::SUCCESS);
        machine.set_line(16, true);
        hal().relax();
    });
    assert!(outcome.has_logged("interrupt storm: line 16"), "{}", outcome.log);
}

unsafe extern "win64" fn count_message(_: *mut KINTERRUPT, _: *mut c_void, message: u32) -> BOOLEAN {
    COUNT.fetch_add(100 + message, Ordering::SeqCst);
    1
}

/// Parameters for a device, as the documentation lays them out: PDO, place, routine, context, lock, level, fall-back.
#[repr(C)]
struct ByDevice(u32, *mut c_void, *mut *mut c_void, *const c_void, *mut c_void, *mut usize, u8, u8, *const c_void);

#[test]
fn a_device_with_messages_is_connected_by_its_pdo() {
    sim::run(|machine| {
        let pdo = core::ptr::without_provenance_mut::<c_void>(0x1000);
        let assigned: Vec<_> = (0..3).map(|_| assign_message(1).unwrap()).collect();
        set_device_interrupts(pdo.addr(), assigned.clone());
        let mut table = null_mut();
        let routine = count_message as *const c_void;
        let mut by_device =
            ByDevice(CONNECT_MESSAGE_BASED, pdo, &mut table, routine, null_mut(), null_mut(), 0, 0, count as *const c_void);
        // SAFETY: parameters of the form that their version says.
        assert_eq!(unsafe { IoConnectInterruptEx((&raw mut by_device).cast()) }, NTSTATUS::SUCCESS);
        for (number, one) in assigned.iter().enumerate() {
            machine.send_message(message_data(one));
            hal().relax();
            assert_eq!(COUNT.swap(0, Ordering::SeqCst), 100 + number as u32);
        }
        // SAFETY: the table has the documented form.
        unsafe {
            let words = table.cast::<u64>();
            assert_eq!(words.read(), u64::from(assigned[0].irql) | 3 << 32);
            assert_eq!(words.add(1 + 6).read(), 0xfee0_0000, "address of the second message");
            let mut done = IO_DISCONNECT_INTERRUPT_PARAMETERS { Version: CONNECT_MESSAGE_BASED, ConnectionContext: table };
            IoDisconnectInterruptEx(&mut done);
        }
    });
}

#[test]
fn a_device_without_messages_falls_back_to_its_line() {
    sim::run(|machine| {
        let pdo = core::ptr::without_provenance_mut::<c_void>(0x1000);
        // SAFETY: the machine lives as long as the run.
        *MACHINE.lock().unwrap() = Some(unsafe { &*core::ptr::from_ref(machine) });
        let mut place = null_mut();
        let routine = count_message as *const c_void;
        let context = core::ptr::without_provenance_mut(7);
        let mut by_device =
            ByDevice(CONNECT_MESSAGE_BASED, pdo, &mut place, routine, context, null_mut(), 0, 0, count as *const c_void);
        // SAFETY: parameters of the form that their version says.
        unsafe {
            assert_eq!(IoConnectInterruptEx((&raw mut by_device).cast()), NTSTATUS::NOT_FOUND);
            set_device_interrupts(pdo.addr(), std::vec![assign_line(16, PCI_LINE).unwrap()]);
            assert_eq!(IoConnectInterruptEx((&raw mut by_device).cast()), NTSTATUS::SUCCESS);
        }
        assert_eq!(by_device.0, CONNECT_LINE_BASED);
        machine.set_line(16, true);
        hal().relax();
        assert_eq!(COUNT.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_service_routine_that_comes_back_at_another_irql_is_a_bug_check() {
    unsafe extern "win64" fn lower(_: *mut KINTERRUPT, _: *mut c_void) -> BOOLEAN {
        hal().set_irql(2);
        1
    }
    let outcome = Simulation::new().run(|machine| {
        let assigned = assign_message(1).unwrap();
        let mut interrupt = null_mut();
        let mut parameters = parameters(&assigned, &mut interrupt, false, false);
        parameters.FullySpecified.ServiceRoutine = Some(lower);
        assert_eq!(connect(parameters), NTSTATUS::SUCCESS);
        machine.send_message(message_data(&assigned));
        hal().relax();
    });
    outcome.expect_bug_check(bug_check::IRQL_UNEXPECTED_VALUE);
}
