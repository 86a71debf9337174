//! Whom processes, threads and images are reported to: `PsSetCreateProcessNotifyRoutine` and its kin, and finding a process by its number.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

use wdf_sys::wdm::functions::KeDelayExecutionThread;
use wdf_sys::wdm::{CLIENT_ID, UNICODE_STRING};
use wdf_sys::{BOOLEAN, HANDLE, NTSTATUS};

use super::{PROCESS, Process, SYSTEM_ID, list, of_thread};
use crate::dispatcher::thread::{self as kernel_thread, Thread};
use crate::loader::modules;
use crate::object::{ObjectRef, name};

/// Most routines of each kind, as on Windows.
const MOST: usize = 64;

/// A routine, and how many calls of it are under way. Whoever takes it away waits for those.
struct Slot {
    routine: AtomicUsize,
    calls: AtomicUsize,
}

/// The routines of one kind.
struct Routines([Slot; MOST]);

static PROCESSES: Routines = Routines::new();
static PROCESSES_EX: Routines = Routines::new();
static THREADS: Routines = Routines::new();
static IMAGES: Routines = Routines::new();

impl Routines {
    const fn new() -> Self {
        Self([const { Slot { routine: AtomicUsize::new(0), calls: AtomicUsize::new(0) } }; MOST])
    }

    fn add(&self, routine: usize) -> NTSTATUS {
        if routine == 0 || self.0.iter().any(|slot| slot.routine.load(Ordering::Acquire) == routine) {
            return NTSTATUS::INVALID_PARAMETER;
        }
        let free = |slot: &&Slot| slot.routine.compare_exchange(0, routine, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        // Documented for a table that is full, too.
        if self.0.iter().find(free).is_some() { NTSTATUS::SUCCESS } else { NTSTATUS::INVALID_PARAMETER }
    }

    fn remove(&self, routine: usize) -> NTSTATUS {
        let taken =
            |slot: &&Slot| routine != 0 && slot.routine.compare_exchange(routine, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let Some(slot) = self.0.iter().find(taken) else { return NTSTATUS::PROCEDURE_NOT_FOUND };
        while slot.calls.load(Ordering::Acquire) != 0 {
            let mut millisecond = -10_000;
            // SAFETY: at PASSIVE_LEVEL, as the documentation demands.
            let _ = unsafe { KeDelayExecutionThread(0, 0, &raw mut millisecond) };
        }
        NTSTATUS::SUCCESS
    }

    fn change(&self, routine: usize, is_removal: BOOLEAN) -> NTSTATUS {
        if is_removal == 0 { self.add(routine) } else { self.remove(routine) }
    }

    /// Calls `call` with the address of each routine.
    fn each(&self, mut call: impl FnMut(usize)) {
        for slot in &self.0 {
            if slot.routine.load(Ordering::Relaxed) == 0 {
                continue;
            }
            slot.calls.fetch_add(1, Ordering::AcqRel);
            let routine = slot.routine.load(Ordering::Acquire);
            if routine != 0 {
                call(routine);
            }
            slot.calls.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

type ProcessRoutine = unsafe extern "win64" fn(HANDLE, HANDLE, BOOLEAN);
type ProcessRoutineEx = unsafe extern "win64" fn(*mut c_void, HANDLE, *mut CreateInfo);
type ThreadRoutine = unsafe extern "win64" fn(HANDLE, HANDLE, BOOLEAN);
type ImageRoutine = unsafe extern "win64" fn(*mut UNICODE_STRING, HANDLE, *mut ImageInfo);

/// `PS_CREATE_NOTIFY_INFO`.
#[repr(C)]
struct CreateInfo {
    size: usize,
    /// Bit 0: the file was opened under the image's name.
    flags: u32,
    parent: HANDLE,
    creator: CLIENT_ID,
    /// Programs come from the archive, which has no file objects.
    file: *mut c_void,
    image: *const UNICODE_STRING,
    command_line: *const UNICODE_STRING,
    creation_status: NTSTATUS,
}
const _: () = assert!(size_of::<CreateInfo>() == 72);

/// `IMAGE_INFO`.
#[derive(Debug)]
#[repr(C)]
struct ImageInfo {
    /// The addressing mode in the low byte; bit 8 for an image of the system.
    properties: u32,
    base: *mut c_void,
    selector: u32,
    size: usize,
    section: u32,
}
const _: () = assert!(size_of::<ImageInfo>() == 40);
const ADDRESSING_MODE: u32 = 3;
const SYSTEM_MODE: u32 = 1 << 8;

fn number(id: usize) -> HANDLE {
    core::ptr::without_provenance_mut(id)
}

/// A process is there and has not begun. A routine may forbid it.
pub(super) fn process_created(process: &ObjectRef) -> Result<(), NTSTATUS> {
    let Some(body) = process.get::<Process>(&PROCESS) else { return Ok(()) };
    let units = name::wide(&body.name);
    let image = UNICODE_STRING::new(&units).unwrap_or_default();
    let parent = number(super::id_of(super::current()) as usize);
    PROCESSES.each(|routine| {
        // SAFETY: registered as a routine of this type; at PASSIVE_LEVEL.
        unsafe { core::mem::transmute::<usize, ProcessRoutine>(routine)(parent, number(body.id), 1) };
    });
    let thread = kernel_thread::current();
    // SAFETY: the running thread is alive.
    let creator = CLIENT_ID { UniqueProcess: parent, UniqueThread: number(unsafe { (*thread).id() }) };
    let mut info = CreateInfo {
        size: size_of::<CreateInfo>(),
        flags: 1,
        parent,
        creator,
        file: null_mut(),
        image: &raw const image,
        command_line: &raw const image,
        creation_status: NTSTATUS::SUCCESS,
    };
    PROCESSES_EX.each(|routine| {
        // SAFETY: as above; the structure is there during the call.
        unsafe { core::mem::transmute::<usize, ProcessRoutineEx>(routine)(process.body(), number(body.id), &raw mut info) };
    });
    if info.creation_status.is_success() { Ok(()) } else { Err(info.creation_status) }
}

/// A process has ended, with its last thread, which is the current one.
pub(super) fn process_ended(process: &Process) {
    let parent = number(SYSTEM_ID);
    PROCESSES.each(|routine| {
        // SAFETY: as above.
        unsafe { core::mem::transmute::<usize, ProcessRoutine>(routine)(parent, number(process.id), 0) };
    });
    let body = (&raw const *process).cast_mut().cast();
    PROCESSES_EX.each(|routine| {
        // SAFETY: as above. The end of a process comes without a structure.
        unsafe { core::mem::transmute::<usize, ProcessRoutineEx>(routine)(body, number(process.id), null_mut()) };
    });
}

/// A thread has been made, by the current one, or ends, and is the current one.
pub(crate) fn thread(thread: *mut Thread, is_created: bool) {
    THREADS.each(|routine| {
        // SAFETY: registered as a routine of this type; the thread is alive; at PASSIVE_LEVEL.
        unsafe {
            let process = super::id_of(of_thread(thread.cast())) as usize;
            let id = number((*thread).id());
            core::mem::transmute::<usize, ThreadRoutine>(routine)(number(process), id, is_created.into());
        }
    });
}

/// An image lies in memory: a program's, or (process 0) a driver's.
pub(crate) fn image_loaded(file: &str, process: usize, base: usize, size: usize) {
    let units = name::wide(file);
    let mut full_name = UNICODE_STRING::new(&units).unwrap_or_default();
    let properties = ADDRESSING_MODE | if process == 0 { SYSTEM_MODE } else { 0 };
    IMAGES.each(|routine| {
        let base = core::ptr::with_exposed_provenance_mut(base);
        let mut info = ImageInfo { properties, base, selector: 0, size, section: 0 };
        // SAFETY: as above; name and structure are there during the call.
        unsafe {
            core::mem::transmute::<usize, ImageRoutine>(routine)(&raw mut full_name, number(process), &raw mut info);
        }
    });
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsSetCreateProcessNotifyRoutine(NotifyRoutine: usize, Remove: BOOLEAN) -> NTSTATUS {
    PROCESSES.change(NotifyRoutine, Remove)
}

/// Only for drivers whose image is linked with `/INTEGRITYCHECK`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsSetCreateProcessNotifyRoutineEx(NotifyRoutine: usize, Remove: BOOLEAN) -> NTSTATUS {
    if Remove == 0 && !is_of_checked_image(NotifyRoutine) {
        return NTSTATUS::ACCESS_DENIED;
    }
    PROCESSES_EX.change(NotifyRoutine, Remove)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsSetCreateProcessNotifyRoutineEx2(
    NotifyType: i32,
    NotifyInformation: usize,
    Remove: BOOLEAN,
) -> NTSTATUS {
    /// `PsCreateProcessNotifySubsystems`, the only one there is.
    const SUBSYSTEMS: i32 = 0;
    if NotifyType != SUBSYSTEMS {
        return NTSTATUS::INVALID_PARAMETER;
    }
    // SAFETY: the caller's promise.
    unsafe { PsSetCreateProcessNotifyRoutineEx(NotifyInformation, Remove) }
}

/// Whether an address lies in an image with `IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY`.
fn is_of_checked_image(address: usize) -> bool {
    const FORCE_INTEGRITY: u16 = 0x80;
    let Some(module) = modules::find(address) else { return false };
    // SAFETY: the image is loaded, its headers stay mapped, and they were checked when it was.
    unsafe {
        let base: *const u8 = core::ptr::with_exposed_provenance(module.base());
        let headers = base.add(base.add(0x3c).cast::<u32>().read_unaligned() as usize);
        headers.add(0x18 + 0x46).cast::<u16>().read_unaligned() & FORCE_INTEGRITY != 0
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsSetCreateThreadNotifyRoutine(NotifyRoutine: usize) -> NTSTATUS {
    THREADS.add(NotifyRoutine)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsRemoveCreateThreadNotifyRoutine(NotifyRoutine: usize) -> NTSTATUS {
    THREADS.remove(NotifyRoutine)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsSetLoadImageNotifyRoutine(NotifyRoutine: usize) -> NTSTATUS {
    IMAGES.add(NotifyRoutine)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsRemoveLoadImageNotifyRoutine(NotifyRoutine: usize) -> NTSTATUS {
    IMAGES.remove(NotifyRoutine)
}

/// The process with a number, with a reference for the caller.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsLookupProcessByProcessId(ProcessId: HANDLE, Process: *mut *mut c_void) -> NTSTATUS {
    let found = list::find(|process| {
        // SAFETY: what is in the list has not been dropped yet.
        let id = unsafe { (*process).id };
        // SAFETY: as above; one whose last reference is gone stays gone.
        (id == ProcessId.addr()).then(|| unsafe { ObjectRef::from_living(process.cast_mut().cast()) }).flatten()
    });
    match found {
        Some(found) => {
            // SAFETY: the caller's promise: a place for the process.
            unsafe { Process.write(found.into_raw()) };
            NTSTATUS::SUCCESS
        }
        None => NTSTATUS::INVALID_CID,
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsGetProcessId(Process: *mut c_void) -> HANDLE {
    number(super::id_of(Process) as usize)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsGetProcessExitStatus(Process: *mut super::Process) -> NTSTATUS {
    // SAFETY: the caller's promise: a process object.
    unsafe { (*Process).exit_status() }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsGetThreadProcess(Thread: *mut c_void) -> *mut c_void {
    of_thread(Thread)
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn PsGetThreadProcessId(Thread: *mut c_void) -> HANDLE {
    number(super::id_of(of_thread(Thread)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routine_is_registered_once_and_called_until_it_is_removed() {
        let routines = Routines::new();
        let called = |routines: &Routines| {
            let mut called = Vec::new();
            routines.each(|routine| called.push(routine));
            called
        };
        assert_eq!((routines.add(1), routines.add(2), routines.add(1)), {
            (NTSTATUS::SUCCESS, NTSTATUS::SUCCESS, NTSTATUS::INVALID_PARAMETER)
        });
        assert_eq!(called(&routines), [1, 2]);
        assert_eq!((routines.remove(1), routines.remove(1)), (NTSTATUS::SUCCESS, NTSTATUS::PROCEDURE_NOT_FOUND));
        assert_eq!(called(&routines), [2]);
        for routine in 3..=65 {
            assert_eq!(routines.add(routine), NTSTATUS::SUCCESS);
        }
        assert_eq!(routines.add(66), NTSTATUS::INVALID_PARAMETER, "the table is full");
    }
}
