//! System calls: numbers, names, and the way from a program's registers to a service.
//!
//! The numbers are ntlet's own: programs call through `ntdll.dll`, whose stubs are made when a program is loaded.

pub(crate) mod apc;
mod event;
mod file;
pub(crate) mod information;
mod memory;
mod process;
mod time;
pub(crate) mod timer;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::{USER_MODE, bug_check};
use wdf_sys::wdm::functions::KeAreApcsDisabled;

use crate::bug_check::bug_check;
use crate::entry::SystemCallFrame;
use crate::hal;
use crate::hal::PASSIVE_LEVEL;
use crate::memory::user;

/// Most arguments of a service.
const MAX_ARGUMENTS: usize = 11;
/// Arguments that come in registers.
const IN_REGISTERS: usize = 4;
/// Where the others begin, from the program's stack pointer.
const ON_STACK: u64 = 0x28;

/// What a service is called with.
type Arguments = [u64; MAX_ARGUMENTS];

/// A service: its name, how many arguments it has, and what it does.
#[derive(Debug)]
struct Service {
    name: &'static str,
    arguments: usize,
    run: Run,
}

/// What a service does.
#[derive(Debug)]
enum Run {
    /// Its work; the result is its status.
    Plain(fn(&Arguments) -> NTSTATUS),
    /// It says where the program goes on.
    Resuming(fn(&mut SystemCallFrame, &Arguments) -> NTSTATUS),
}

macro_rules! services {
    ($($name:ident/$arguments:literal = $kind:ident $function:path,)*) => {
        static SERVICES: &[Service] =
            &[$(Service { name: stringify!($name), arguments: $arguments, run: Run::$kind($function) },)*];
    };
}

services! {
    NtClose/1 = Plain file::close,
    NtCreateFile/11 = Plain file::create,
    NtOpenFile/6 = Plain file::open,
    NtDeviceIoControlFile/10 = Plain file::device_control,
    NtReadFile/9 = Plain file::read,
    NtWriteFile/9 = Plain file::write,
    NtCancelIoFile/2 = Plain file::cancel,
    NtCancelIoFileEx/3 = Plain file::cancel_ex,
    NtCancelSynchronousIoFile/3 = Plain file::cancel_synchronous,
    NtQueryInformationFile/5 = Plain file::query_information,
    NtSetInformationFile/5 = Plain file::set_information,
    NtCreateIoCompletion/4 = Plain file::create_port,
    NtSetIoCompletion/5 = Plain file::post_to_port,
    NtRemoveIoCompletion/5 = Plain file::remove_from_port,
    NtCreateEvent/5 = Plain event::create,
    NtSetEvent/2 = Plain event::set,
    NtResetEvent/2 = Plain event::reset,
    NtClearEvent/1 = Plain event::clear,
    NtWaitForSingleObject/3 = Plain event::wait_one,
    NtWaitForMultipleObjects/5 = Plain event::wait_many,
    NtCreateTimer/4 = Plain timer::create,
    NtSetTimer/7 = Plain timer::set,
    NtCancelTimer/2 = Plain timer::cancel,
    NtDelayExecution/2 = Plain time::delay,
    NtYieldExecution/0 = Plain time::yield_processor,
    NtQuerySystemTime/1 = Plain time::system_time,
    NtQueryPerformanceCounter/2 = Plain time::performance_counter,
    NtTestAlert/0 = Plain apc::test_alert,
    NtQueueApcThread/5 = Plain apc::queue_to_thread,
    NtContinue/2 = Resuming apc::resume,
    NtDisplayString/1 = Plain process::display_string,
    NtCreateThreadEx/11 = Plain process::create_thread,
    NtTerminateThread/2 = Plain process::terminate_thread,
    NtTerminateProcess/2 = Plain process::terminate_process,
    NtQueryInformationProcess/5 = Plain process::query_process,
    NtQuerySystemInformation/4 = Plain process::query_system,
    NtInitiatePowerAction/4 = Plain process::initiate_power_action,
    NtSetSystemPowerState/3 = Plain process::initiate_power_action,
    NtAllocateVirtualMemory/6 = Plain memory::allocate,
    NtFreeVirtualMemory/4 = Plain memory::free,
    NtProtectVirtualMemory/5 = Plain memory::protect,
}

/// Number of a service, for the stubs of `ntdll.dll`.
pub(crate) fn number(name: &str) -> Option<u32> {
    SERVICES.iter().position(|service| service.name == name).map(|at| at as u32)
}

/// How many services there are; their numbers are those below.
pub(crate) fn count() -> u32 {
    SERVICES.len() as u32
}

/// Runs a system call; the result goes into `frame.rax`.
pub(crate) fn dispatch(frame: &mut SystemCallFrame) {
    let status = usize::try_from(frame.rax).ok().and_then(|number| SERVICES.get(number)).map_or(
        NTSTATUS::INVALID_SYSTEM_SERVICE,
        |service| match arguments(frame, service.arguments) {
            Ok(arguments) => match service.run {
                Run::Plain(run) => run(&arguments),
                Run::Resuming(run) => run(frame, &arguments),
            },
            Err(status) => status,
        },
    );
    check_state(frame.rip);
    frame.rax = u64::from(status.bits());
    apc::before_user_mode(frame);
}

/// A thread goes back to its program at `PASSIVE_LEVEL` and outside critical regions. Where a driver's callback has left something else
/// behind, the guest stops here, as Windows does.
fn check_state(rip: u64) {
    let irql = hal().irql();
    if irql != PASSIVE_LEVEL {
        bug_check(bug_check::IRQL_GT_ZERO_AT_SYSTEM_SERVICE, [rip, irql.into(), 0, 0]);
    }
    // SAFETY: reads the thread's own state.
    if unsafe { KeAreApcsDisabled() } != 0 {
        bug_check(bug_check::APC_INDEX_MISMATCH, [rip, 0, 1, 1]);
    }
}

/// The arguments, those on the program's stack by copy.
fn arguments(frame: &SystemCallFrame, count: usize) -> Result<Arguments, NTSTATUS> {
    let mut arguments = [0; MAX_ARGUMENTS];
    arguments[..IN_REGISTERS].copy_from_slice(&[frame.r10, frame.rdx, frame.r8, frame.r9]);
    if let Some(on_stack) = count.checked_sub(IN_REGISTERS).filter(|&count| count != 0) {
        let mut bytes = [0; 8 * (MAX_ARGUMENTS - IN_REGISTERS)];
        let bytes = &mut bytes[..8 * on_stack];
        let address = core::ptr::with_exposed_provenance(frame.rsp.wrapping_add(ON_STACK) as usize);
        // SAFETY: in user mode any address may be given.
        unsafe { user::read(USER_MODE, bytes, address)? };
        for (argument, raw) in arguments[IN_REGISTERS..].iter_mut().zip(bytes.as_chunks().0) {
            *argument = u64::from_le_bytes(*raw);
        }
    }
    Ok(arguments)
}

/// A pointer of the program. It is only ever passed to [`user`].
fn pointer<T>(argument: u64) -> *mut T {
    core::ptr::with_exposed_provenance_mut(argument as usize)
}

/// Reads a program's structure.
fn get<T: Copy>(argument: u64) -> Result<T, NTSTATUS> {
    // SAFETY: in user mode any address may be given; the types read here are integers and structures of the ABI.
    unsafe { user::get(USER_MODE, pointer::<T>(argument)) }
}

/// Writes a program's structure.
fn put<T: Copy>(argument: u64, value: &T) -> Result<(), NTSTATUS> {
    // SAFETY: in user mode any address may be given; the types written here are integers and structures of the ABI.
    unsafe { user::put(USER_MODE, pointer::<T>(argument), value) }
}

/// As [`put`], for results that the program may not want.
fn put_optional<T: Copy>(argument: u64, value: &T) -> Result<(), NTSTATUS> {
    if argument == 0 { Ok(()) } else { put(argument, value) }
}

/// A status out of a result.
fn status(result: Result<(), NTSTATUS>) -> NTSTATUS {
    result.err().unwrap_or(NTSTATUS::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_a_number_and_no_name_stands_twice() {
        for (index, service) in SERVICES.iter().enumerate() {
            assert_eq!(number(service.name), Some(index as u32));
            assert!(service.arguments <= MAX_ARGUMENTS);
        }
        assert_eq!(number("NtNothing"), None);
    }
}
