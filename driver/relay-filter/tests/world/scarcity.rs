//! What the driver has taken from the kernel and not given back, and allocations that fail when the test says so. One account a thread, since a
//! test's driver runs in the test's thread.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::c_void;

use wdf_sys::WDFOBJECT;
use wdf_sys::wdf::WDF_OBJECT_ATTRIBUTES;

type Destroy = unsafe extern "win64" fn(WDFOBJECT);

#[derive(Default)]
struct Account {
    /// Allocations so far, of memory and of objects.
    allocations: usize,
    /// The allocation that fails.
    fails: Option<usize>,
    memory: HashSet<usize>,
    /// Objects in the order of their making, with what is to be called when they are destroyed.
    objects: Vec<(usize, Option<Destroy>)>,
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

pub(super) fn made(object: usize, attributes: *const WDF_OBJECT_ATTRIBUTES) {
    // SAFETY: the driver passes valid attributes, or none.
    let destroy = unsafe { attributes.as_ref() }.and_then(|attributes| attributes.EvtDestroyCallback);
    with(|account| account.objects.push((object, destroy)));
}

/// An object is deleted: its context is dropped.
pub(super) fn destroy(object: usize) {
    let (_, destroy) = with(|account| {
        let at = account.objects.iter().position(|(other, _)| *other == object).expect("an object is deleted once");
        account.objects.remove(at)
    });
    if let Some(destroy) = destroy {
        // SAFETY: the object lives for ever; the callback is the one that the driver gave for it.
        unsafe { destroy(WDFOBJECT(object as *mut c_void)) };
    }
}

/// A device goes, and all that belongs to it, its own context last: what is left afterwards, the driver forgot.
pub(super) fn destroy_device(device: usize, belongs: impl Fn(usize) -> bool) {
    let objects: Vec<usize> = with(|account| account.objects.iter().map(|(object, _)| *object).collect());
    let children: Vec<usize> = objects.into_iter().filter(|object| belongs(*object)).collect();
    children.into_iter().rev().for_each(destroy);
    destroy(device);
}
