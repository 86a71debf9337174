//! A slot behind a PCI Express port: whether there is a card in it, its button, its power and its light (PCI Express Base
//! Specification, 6.7). What it means for the devices behind the port is [`super::bus`]'s.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU16, Ordering};

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{KeDelayExecutionThread, KeFlushQueuedDpcs, KeInitializeDpc, KeInsertQueueDpc};
use wdf_sys::wdm::{DEVICE_OBJECT, KDPC, PKDEFERRED_ROUTINE};
use wdf_sys::{BOOLEAN, KINTERRUPT, NTSTATUS};

use super::configuration::Configuration;
use crate::interrupt::{self, IoDisconnectInterrupt};
use crate::lock::SpinLock;

const SLOT_CONTROL: u16 = 0x18;
const SLOT_STATUS: u16 = 0x1a;

const BUTTON_PRESSED: u16 = 0x0001;
const PRESENCE_CHANGED: u16 = 0x0008;
const COMMAND_COMPLETED: u16 = 0x0010;
const IS_OCCUPIED: u16 = 0x0040;
const LINK_CHANGED: u16 = 0x0100;
/// What interrupts are asked for; in the control register, with the bit for all of them, and in the status register.
const ENABLE_EVENTS: u16 = 0x1000 | 0x0020 | 0x0008 | 0x0001;
const EVENTS: u16 = BUTTON_PRESSED | PRESENCE_CHANGED | LINK_CHANGED;

const LIGHT: u16 = 0x0300;
const LIGHT_ON: u16 = 0x0100;
const LIGHT_BLINKS: u16 = 0x0200;
const POWER_OFF: u16 = 0x0400;

/// How long the port may take over a command or a link, in milliseconds.
const PATIENCE: u32 = 1000;

/// What has happened to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    /// Something was put in or pulled out, or the link went up or down.
    pub(super) is_changed: bool,
    /// Somebody wants to take the card out, or wants the one put in to be used.
    pub(super) is_button_pressed: bool,
}

/// A slot.
#[derive(Debug)]
pub(super) struct Slot {
    port: Configuration<'static>,
    express: u16,
    pending: AtomicU16,
    interrupt: AtomicPtr<KINTERRUPT>,
    dpc: core::cell::UnsafeCell<KDPC>,
    /// Commands are given one after the other.
    commands: SpinLock<()>,
}

// SAFETY: the DPC is used through the dispatcher's functions only, everything else is atomic or behind the lock.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    /// The slot behind a port, if there is one whose card may come and go.
    pub(super) fn behind(port: Configuration<'static>) -> Option<Self> {
        Some(Self {
            express: port.slot()?,
            port,
            pending: AtomicU16::new(0),
            interrupt: AtomicPtr::new(null_mut()),
            dpc: core::cell::UnsafeCell::new(KDPC::zeroed()),
            commands: SpinLock::new(()),
        })
    }

    /// Has `routine` called with `context`, as a DPC, when something happens to the slot of the port whose device is `pdo`.
    ///
    /// # Safety
    /// `self` stays where it is, and `context` what it is, until [`Self::ignore`].
    pub(super) unsafe fn watch(
        &self,
        pdo: *mut DEVICE_OBJECT,
        routine: PKDEFERRED_ROUTINE,
        context: *mut c_void,
    ) -> Result<(), NTSTATUS> {
        // SAFETY: the caller's promise.
        let object = unsafe {
            KeInitializeDpc(self.dpc.get(), routine, context);
            interrupt::connect_device(pdo, Some(interrupted), core::ptr::from_ref(self).cast_mut().cast())?
        };
        self.interrupt.store(object, Ordering::Release);
        self.port.write_16(self.express + SLOT_STATUS, EVENTS);
        self.command(ENABLE_EVENTS, 0);
        Ok(())
    }

    /// Undoes [`Self::watch`]. The routine does not run any more when this returns.
    pub(super) fn ignore(&self) {
        let object = self.interrupt.swap(null_mut(), Ordering::AcqRel);
        if object.is_null() {
            return;
        }
        self.command(0, ENABLE_EVENTS);
        // SAFETY: the object was connected by `watch`; the caller is at PASSIVE_LEVEL.
        unsafe {
            IoDisconnectInterrupt(object);
            KeFlushQueuedDpcs();
        }
    }

    /// What has happened since the last call; `None` for nothing.
    pub(super) fn take(&self) -> Option<Happened> {
        let events = self.pending.swap(0, Ordering::AcqRel);
        (events != 0).then_some(Happened {
            is_changed: events & (PRESENCE_CHANGED | LINK_CHANGED) != 0,
            is_button_pressed: events & BUTTON_PRESSED != 0,
        })
    }

    /// Whether there is a card in it.
    pub(super) fn is_occupied(&self) -> bool {
        self.status() & IS_OCCUPIED != 0
    }

    /// Switches the card on and waits for its link; what happens to the slot on the way is no news.
    pub(super) fn power_on(&self) {
        self.command(LIGHT_BLINKS, LIGHT | POWER_OFF);
        if !wait_for(|| self.port.link_is_up(self.express)) {
            crate::log!("the card in the slot of PCI bus {} does not answer", self.port.read_8(0x19));
        }
        self.port.write_16(self.express + SLOT_STATUS, EVENTS);
        self.pending.store(0, Ordering::Release);
        self.command(LIGHT_ON, LIGHT);
    }

    /// Switches the card off: it may be taken out.
    pub(super) fn power_off(&self) {
        self.command(LIGHT | POWER_OFF, 0);
    }

    /// Shows that the slot is busy, or that it goes on as before.
    pub(super) fn blink(&self, is_busy: bool) {
        self.command(if is_busy { LIGHT_BLINKS } else { LIGHT_ON }, LIGHT);
    }

    fn status(&self) -> u16 {
        self.port.read_16(self.express + SLOT_STATUS)
    }

    /// Changes the control register, the bits of `clear` before those of `set`, and waits until the port has done so.
    fn command(&self, set: u16, clear: u16) {
        {
            let _guard = self.commands.lock();
            let control = self.express + SLOT_CONTROL;
            let old = self.port.read_16(control);
            let new = old & !clear | set;
            if new == old {
                return;
            }
            self.port.write_16(self.express + SLOT_STATUS, COMMAND_COMPLETED);
            self.port.write_16(control, new);
        }
        if self.port.slot_confirms_commands(self.express) {
            wait_for(|| self.status() & COMMAND_COMPLETED != 0);
        }
    }
}

/// Waits until something is so; `false` when it takes too long. At `PASSIVE_LEVEL`.
fn wait_for(is_so: impl Fn() -> bool) -> bool {
    for _ in 0..PATIENCE {
        if is_so() {
            return true;
        }
        let mut interval = -10_000;
        // SAFETY: the caller is at PASSIVE_LEVEL.
        let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw mut interval) };
    }
    is_so()
}

/// # Safety
/// Connected by [`Slot::watch`], with the slot as context.
unsafe extern "win64" fn interrupted(_interrupt: *mut KINTERRUPT, context: *mut c_void) -> BOOLEAN {
    // SAFETY: the slot stays where it is while its interrupt is connected.
    let slot: &Slot = unsafe { super::from_context(context) };
    let events = slot.status();
    // A port that does not answer has been pulled itself.
    if events == u16::MAX || events & EVENTS == 0 {
        return 0;
    }
    slot.port.write_16(slot.express + SLOT_STATUS, events & EVENTS);
    slot.pending.fetch_or(events & EVENTS, Ordering::AcqRel);
    // SAFETY: the DPC was initialised by `watch`.
    unsafe { KeInsertQueueDpc(slot.dpc.get(), null_mut(), null_mut()) };
    1
}
