//! Threads, waits, timers, DPCs and APCs on the simulated machine. Helpers here, the tests in the files.

mod apcs;
mod dpcs;
mod locks;
mod resources;
mod scheduling;
mod signals;
mod timers;

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use std::boxed::Box;
use std::sync::Mutex;

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::KERNEL_MODE;

use super::thread::create_system_thread;
use super::wait::{KeDelayExecutionThread, KeWaitForSingleObject};
use crate::object::ObjectRef;

/// Units of 100 ns.
pub(super) const MILLISECOND: i64 = 10_000;

/// A kernel object in memory of the test's, at an address that stays.
pub(super) struct Object<T>(Box<UnsafeCell<T>>);

impl<T> Object<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Box::new(UnsafeCell::new(value)))
    }

    pub(super) fn get(&self) -> *mut T {
        self.0.get()
    }

    pub(super) fn any(&self) -> *mut c_void {
        self.0.get().cast()
    }
}

// SAFETY: kernel objects are made for being shared by threads; the kernel guards them.
unsafe impl<T> Sync for Object<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Object<T> {}

/// What happened, in order, from several threads.
pub(super) struct Journal(Mutex<Vec<&'static str>>);

impl Journal {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub(super) fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    pub(super) fn take(&self) -> Vec<&'static str> {
        core::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Starts a thread with a closure.
pub(super) fn spawn(priority: u8, body: impl FnOnce() + Send + 'static) -> ObjectRef {
    extern "win64" fn run(context: *mut c_void) {
        // SAFETY: made from such a box below, once.
        let body = unsafe { Box::from_raw(context.cast::<Box<dyn FnOnce() + Send>>()) };
        body();
    }
    let body: Box<Box<dyn FnOnce() + Send>> = Box::new(Box::new(body));
    create_system_thread(run, Box::into_raw(body).cast(), priority).unwrap()
}

/// Waits for one object in kernel mode; the time-out is in milliseconds.
pub(super) fn wait_for(object: *mut c_void, milliseconds: Option<i64>) -> NTSTATUS {
    let mut timeout = milliseconds.map(|time| -time * MILLISECOND);
    let timeout = timeout.as_mut().map_or(null_mut(), core::ptr::from_mut);
    // SAFETY: the tests pass initialised objects that outlive the wait.
    unsafe { KeWaitForSingleObject(object, 0, KERNEL_MODE, 0, timeout) }
}

/// Waits until a thread has ended.
pub(super) fn join(thread: &ObjectRef) {
    assert_eq!(wait_for(thread.body(), None), NTSTATUS::SUCCESS);
}

/// Lets time pass.
pub(super) fn sleep(milliseconds: i64) {
    let mut interval = -milliseconds * MILLISECOND;
    // SAFETY: a time.
    assert_eq!(unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &mut interval) }, NTSTATUS::SUCCESS);
}
