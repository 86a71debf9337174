//! What a consumer opens: a block, by its GUID. While somebody wants its events or its data, its providers are told so.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use wdf_sys::wdm::KEVENT;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeInitializeEvent, KeSetEvent, KeWaitForSingleObject};
use wdf_sys::{GUID, NTSTATUS};

use super::registration::{self, Block, Provider};
use crate::lock::SpinLock;
use crate::object::{self, ObjectRef, ObjectType};

/// Rights to a block.
pub(super) const QUERY: u32 = 1;
pub(super) const SET: u32 = 2;
const NOTIFICATION: u32 = 4;
pub(super) const EXECUTE: u32 = 0x10;
/// What the generic rights stand for.
const GENERIC: u32 = 0xf000_0000;
const EVERYTHING: u32 = 0x1fff;

/// `WMI_NOTIFICATION_CALLBACK`.
pub(super) type Notify = unsafe extern "win64" fn(*mut c_void, *mut c_void);

/// Open blocks.
static OPEN_BLOCK: ObjectType = ObjectType { deletes_at_passive_level: true, ..ObjectType::of::<OpenBlock>("WmiGuid") };

/// A block that a consumer has opened.
pub(super) struct OpenBlock {
    pub(super) guid: GUID,
    pub(super) access: u32,
    is_collecting: bool,
    listener: SpinLock<Option<Arc<Listener>>>,
}

/// Whoever wants the events of a block.
pub(super) struct Listener {
    pub(super) guid: GUID,
    pub(super) routine: Notify,
    pub(super) context: usize,
}

static LISTENERS: SpinLock<Vec<Arc<Listener>>> = SpinLock::new(Vec::new());

/// What of a block somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Events,
    Data,
}

impl Wish {
    /// The request that tells a provider.
    const fn minor(self, is_wanted: bool) -> u8 {
        match (self, is_wanted) {
            (Self::Events, true) => IRP_MN_ENABLE_EVENTS,
            (Self::Events, false) => IRP_MN_DISABLE_EVENTS,
            (Self::Data, true) => IRP_MN_ENABLE_COLLECTION,
            (Self::Data, false) => IRP_MN_DISABLE_COLLECTION,
        }
    }

    /// Whether a provider of the block is told at all: of data only one to whom collecting it is expensive.
    const fn concerns(self, block: &Block) -> bool {
        matches!(self, Self::Events) || block.flags & WMIREG_FLAG_EXPENSIVE != 0
    }
}

/// How many want what of which block.
static WISHES: SpinLock<Vec<(GUID, Wish, usize)>> = SpinLock::new(Vec::new());

/// Changes of wishes are told one after the other, so that a provider hears them in order.
struct Turn(UnsafeCell<KEVENT>);

// SAFETY: the event is used through the dispatcher's functions only.
unsafe impl Sync for Turn {}

static TURN: Turn = Turn(UnsafeCell::new(KEVENT::zeroed()));
static IS_READY: AtomicBool = AtomicBool::new(false);

struct Guard;

/// Waits for the turn. `PASSIVE_LEVEL`.
fn turn() -> Guard {
    static MAKING: SpinLock<()> = SpinLock::new(());
    // SAFETY: the event is initialised once, under the lock, before anybody waits for it.
    unsafe {
        if !IS_READY.load(Ordering::Acquire) {
            let _guard = MAKING.lock();
            if !IS_READY.load(Ordering::Acquire) {
                KeInitializeEvent(TURN.0.get(), SYNCHRONIZATION_EVENT, 1);
                IS_READY.store(true, Ordering::Release);
            }
        }
        let _ = KeWaitForSingleObject(TURN.0.get().cast(), EXECUTIVE, KERNEL_MODE, 0, null_mut());
    }
    Guard
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: the event was initialised by `turn`.
        unsafe { KeSetEvent(TURN.0.get(), 0, 0) };
    }
}

/// One more, or one less, wants something of a block; providers hear of the first and of the last.
fn wish(guid: &GUID, wish: Wish, is_wanted: bool) {
    let _turn = turn();
    let changes = {
        let mut wishes = WISHES.lock();
        let at = wishes.iter().position(|(other, what, _)| other == guid && *what == wish);
        match (at, is_wanted) {
            (Some(at), true) => {
                wishes[at].2 += 1;
                false
            }
            (None, true) => {
                wishes.push((*guid, wish, 1));
                true
            }
            (Some(at), false) => {
                wishes[at].2 -= 1;
                let is_last = wishes[at].2 == 0;
                if is_last {
                    wishes.swap_remove(at);
                }
                is_last
            }
            (None, false) => false,
        }
    };
    if changes {
        for (provider, block) in registration::providers_of(guid) {
            tell(&provider, &block, wish, is_wanted);
        }
    }
}

fn tell(provider: &Provider, block: &Block, wish: Wish, is_wanted: bool) {
    if wish.concerns(block)
        && let Err(status) = provider.ask(wish.minor(is_wanted), &block.guid, &mut [0; super::wnode::HEADER])
    {
        crate::log!("a WMI provider refused to {} its {wish:?}: {status}", if is_wanted { "enable" } else { "disable" });
    }
}

/// Lets `make` make blocks known, and tells their provider what somebody wants of those that are new.
pub(super) fn publish(provider: &Provider, fresh: &[Block], make: impl FnOnce()) {
    let _turn = turn();
    make();
    for block in fresh {
        for wish in [Wish::Events, Wish::Data] {
            let is_wanted = WISHES.lock().iter().any(|(guid, what, _)| *guid == block.guid && *what == wish);
            if is_wanted {
                tell(provider, block, wish, true);
            }
        }
    }
}

/// Whoever wants the events of a block.
pub(super) fn listeners_of(guid: &GUID) -> Vec<Arc<Listener>> {
    LISTENERS.lock().iter().filter(|listener| listener.guid == *guid).cloned().collect()
}

impl Drop for OpenBlock {
    fn drop(&mut self) {
        let listener = self.listener.lock().take();
        if let Some(listener) = listener {
            LISTENERS.lock().retain(|other| !Arc::ptr_eq(other, &listener));
            wish(&self.guid, Wish::Events, false);
        }
        if self.is_collecting {
            wish(&self.guid, Wish::Data, false);
        }
    }
}

/// The open block at an address, when the caller may do what it wants with it.
///
/// # Safety
/// `object` is an object that the caller has a reference to.
pub(super) unsafe fn opened<'a>(object: *mut c_void, access: u32) -> Result<&'a OpenBlock, NTSTATUS> {
    // SAFETY: the caller's promise; what is none is found out.
    let is_block = unsafe { object::is_object(object) && core::ptr::eq(object::type_of(object), &OPEN_BLOCK) };
    if !is_block {
        return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
    }
    // SAFETY: as checked.
    let block = unsafe { &*object.cast::<OpenBlock>() };
    if block.access & access == access { Ok(block) } else { Err(NTSTATUS::ACCESS_DENIED) }
}

/// # Safety
/// As the documentation of IoWMIOpenBlock demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMIOpenBlock(
    DataBlockGuid: *const GUID,
    DesiredAccess: u32,
    DataBlockObject: *mut *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let guid = unsafe { *DataBlockGuid };
    let access = if DesiredAccess & GENERIC != 0 { EVERYTHING } else { DesiredAccess };
    // Events can be waited for before anybody provides them, data cannot.
    if access & NOTIFICATION == 0 && registration::providers_of(&guid).is_empty() {
        return NTSTATUS::WMI_GUID_NOT_FOUND;
    }
    let is_collecting = access & QUERY != 0;
    let block = OpenBlock { guid, access, is_collecting, listener: SpinLock::new(None) };
    match ObjectRef::new(&OPEN_BLOCK, block) {
        Ok(object) => {
            if is_collecting {
                wish(&guid, Wish::Data, true);
            }
            // SAFETY: the caller's promise.
            unsafe { *DataBlockObject = object.into_raw() };
            NTSTATUS::SUCCESS
        }
        Err(status) => status,
    }
}

/// # Safety
/// As the documentation of IoWMISetNotificationCallback demands.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn IoWMISetNotificationCallback(
    Object: *mut c_void,
    Callback: Option<Notify>,
    Context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the caller's promise.
    let block = match unsafe { opened(Object, NOTIFICATION) } {
        Ok(block) => block,
        Err(status) => return status,
    };
    let Some(routine) = Callback else { return NTSTATUS::INVALID_PARAMETER };
    let listener = Arc::new(Listener { guid: block.guid, routine, context: Context.expose_provenance() });
    let before = block.listener.lock().replace(listener.clone());
    let is_first = before.is_none();
    {
        let mut listeners = LISTENERS.lock();
        listeners.retain(|other| before.as_ref().is_none_or(|before| !Arc::ptr_eq(other, before)));
        listeners.push(listener);
    }
    if is_first {
        wish(&block.guid, Wish::Events, true);
    }
    NTSTATUS::SUCCESS
}
