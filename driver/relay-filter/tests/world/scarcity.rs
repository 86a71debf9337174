//! What the driver has taken from the kernel and not given back, and allocations that fail when the test says so. One account a thread, since a
//! test's driver runs in the test's thread.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::c_void;

use wdf_sys::WDFOBJECT;
use wdf_sys::wdf::WDF_OBJECT_ATTRIBUTES;

type Callback = Option<unsafe extern "win64" fn(WDFOBJECT)>;

/// An object, and what is to be called when it is cleaned up and when it is destroyed.
#[derive(Clone, Copy)]
struct Object {
    handle: usize,
    cleanup: Callback,
    destroy: Callback,
}

#[derive(Default)]
struct Account {
    /// Allocations so far, of memory and of objects.
    allocations: usize,
    /// The allocation that fails.
    fails: Option<usize>,
    memory: HashSet<usize>,
    /// In the order of their making.
    objects: Vec<Object>,
}

thread_local! {
    static ACCOUNT: RefCell<Account> = RefCell::default();
}

fn with<R>(act: impl FnOnce(&mut Account) -> R) -> R {
    ACCOUNT.with_borrow_mut(act)
}

/// Begins a new account, in which allocation `fails` (counted from 0) fails.
pub(crate) fn begin(fails: Option<usize>) {
    with(|account| *account = Account { fails, ..Account::default() });
}

/// Allocation `after` (0 is the next one) fails.
pub(crate) fn fail(after: Option<usize>) {
    with(|account| account.fails = after.map(|after| account.allocations + after));
}

/// Memory and objects that the driver still has.
pub(crate) fn left_behind() -> usize {
    with(|account| account.memory.len() + account.objects.len())
}

/// Whether the next allocation succeeds.
pub(super) fn allocate() -> bool {
    with(|account| {
        account.allocations += 1;
        account.fails != Some(account.allocations - 1)
    })
}

pub(super) fn took_memory(address: usize) {
    with(|account| account.memory.insert(address));
}

pub(super) fn gave_memory(address: usize) {
    assert!(with(|account| account.memory.remove(&address)), "memory is freed that the driver does not have");
}

pub(super) fn made(handle: usize, attributes: *const WDF_OBJECT_ATTRIBUTES) {
    // SAFETY: the driver passes valid attributes, or none.
    let (cleanup, destroy) = unsafe { attributes.as_ref() }
        .map_or((None, None), |attributes| (attributes.EvtCleanupCallback, attributes.EvtDestroyCallback));
    with(|account| account.objects.push(Object { handle, cleanup, destroy }));
}

/// Calls back for an object.
fn call(callback: Callback, handle: usize) {
    if let Some(callback) = callback {
        // SAFETY: the object lives for ever; the callback is the one that the driver gave for it.
        unsafe { callback(WDFOBJECT(handle as *mut c_void)) };
    }
}

/// An object is deleted: its context is dropped.
pub(super) fn destroy(handle: usize) {
    let object = with(|account| {
        let at = account.objects.iter().position(|object| object.handle == handle).expect("an object is deleted once");
        account.objects.remove(at)
    });
    call(object.cleanup, handle);
    call(object.destroy, handle);
}

/// A device goes, and all that belongs to it, its own context last: what is left afterwards, the driver forgot.
pub(super) fn destroy_device(device: usize, belongs: impl Fn(usize) -> bool) {
    let objects = with(|account| account.objects.clone());
    let children: Vec<Object> = objects.into_iter().filter(|object| belongs(object.handle)).collect();
    // All are cleaned up before the first is destroyed.
    for child in children.iter().rev() {
        call(child.cleanup, child.handle);
        with(|account| {
            account.objects.iter_mut().filter(|other| other.handle == child.handle).for_each(|other| other.cleanup = None)
        });
    }
    children.into_iter().rev().for_each(|child| destroy(child.handle));
    destroy(device);
}
