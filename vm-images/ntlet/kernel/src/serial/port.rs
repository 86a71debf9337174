//! The 16550 behind COM2: registers, interrupt routine, and what happens after an interrupt.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::{
    IoConnectInterruptEx, KeCancelTimer, KeInitializeDpc, KeInitializeTimer, KeInsertQueueDpc, KeSetTimer,
};
use wdf_sys::wdm::{
    DEVICE_OBJECT, IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS, IO_CONNECT_INTERRUPT_PARAMETERS, IRP, KDPC, KTIMER,
};
use wdf_sys::{BOOLEAN, KINTERRUPT, NTSTATUS};

use super::port_of;
use super::queue::{Queues, Timeouts};
use crate::hal;
use crate::hal::LineShape;
use crate::interrupt;
use crate::io::irp as packet;
use crate::lock::{InterruptLock, SpinLock};

/// First port of COM2, and its line.
const BASE: u16 = 0x2f8;
const GSI: u32 = 3;

const DATA: u16 = BASE;
const INTERRUPT_ENABLE: u16 = BASE + 1;
const INTERRUPT_IDENTITY: u16 = BASE + 2;
const FIFO_CONTROL: u16 = BASE + 2;
const LINE_CONTROL: u16 = BASE + 3;
const MODEM_CONTROL: u16 = BASE + 4;
const LINE_STATUS: u16 = BASE + 5;
const MODEM_STATUS: u16 = BASE + 6;

const ENABLE_RECEIVED: u32 = 1;
const ENABLE_TRANSMITTED: u32 = 2;
const STATUS_RECEIVED: u32 = 0x01;
const STATUS_OVERRUN: u32 = 0x02;
const STATUS_HOLDING_EMPTY: u32 = 0x20;
const DIVISOR_LATCH: u32 = 0x80;
const EIGHT_BITS: u32 = 3;
/// Terminal ready, request to send, and the gate through which interrupts leave the chip.
const MODEM_READY: u32 = 0x0b;
/// FIFOs on, both emptied, interrupt at 8 bytes.
const FIFO_ON: u32 = 0x87;
/// Bytes that fit into the chip once it is empty.
const FIFO_SIZE: usize = 16;
/// Most rounds of one interrupt: a chip that always has more is left for the next.
const MAX_ROUNDS: usize = 256;

/// Bytes that came in and were not read yet.
const RING: usize = 16 << 10;

/// What the interrupt routine fills.
struct Received {
    bytes: [u8; RING],
    first: usize,
    count: usize,
    lost: usize,
    enabled: u32,
}

/// The port.
pub(super) struct Port {
    received: InterruptLock<Received>,
    pub(super) queues: SpinLock<Queues>,
    dpc: UnsafeCell<KDPC>,
    timer: UnsafeCell<KTIMER>,
    timer_dpc: UnsafeCell<KDPC>,
}

// SAFETY: DPCs and the timer are used through the dispatcher's functions only; everything else is behind locks.
unsafe impl Sync for Port {}

/// COM2.
pub(super) static PORT: Port = Port {
    received: InterruptLock::new(Received { bytes: [0; RING], first: 0, count: 0, lost: 0, enabled: 0 }),
    queues: SpinLock::new(Queues::new()),
    dpc: UnsafeCell::new(KDPC::zeroed()),
    timer: UnsafeCell::new(KTIMER::zeroed()),
    timer_dpc: UnsafeCell::new(KDPC::zeroed()),
};

fn read(port: u16) -> u32 {
    hal().port_read(port, 1)
}

fn write(port: u16, value: u32) {
    hal().port_write(port, 1, value);
}

impl Port {
    /// Sets the chip up and connects its interrupt. Called once.
    pub(super) fn start(&'static self, device: *mut DEVICE_OBJECT) -> Result<*const Self, NTSTATUS> {
        let context: *mut c_void = (&raw const *self).cast_mut().cast();
        // SAFETY: nobody uses the DPCs and the timer yet; they are statics.
        unsafe {
            KeInitializeDpc(self.dpc.get(), Some(after_interrupt), context);
            KeInitializeTimer(self.timer.get());
            KeInitializeDpc(self.timer_dpc.get(), Some(timed_out), context);
        }
        write(INTERRUPT_ENABLE, 0);
        write(LINE_CONTROL, DIVISOR_LATCH | EIGHT_BITS);
        write(DATA, 1);
        write(INTERRUPT_ENABLE, 0);
        write(LINE_CONTROL, EIGHT_BITS);
        write(FIFO_CONTROL, FIFO_ON);
        write(MODEM_CONTROL, MODEM_READY);
        let shape = LineShape { level: false, active_low: false };
        let assigned = interrupt::assign_line(GSI, shape).ok_or(NTSTATUS::INSUFFICIENT_RESOURCES)?;
        let mut object: *mut KINTERRUPT = null_mut();
        let mut parameters = IO_CONNECT_INTERRUPT_PARAMETERS::zeroed();
        parameters.Version = CONNECT_FULLY_SPECIFIED;
        parameters.FullySpecified = IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS {
            PhysicalDeviceObject: device,
            InterruptObject: &raw mut object,
            ServiceRoutine: Some(on_interrupt),
            ServiceContext: context,
            SynchronizeIrql: assigned.irql,
            Vector: u32::from(assigned.vector),
            Irql: assigned.irql,
            InterruptMode: LATCHED,
            ProcessorEnableMask: assigned.affinity as usize,
            ..IO_CONNECT_INTERRUPT_FULLY_SPECIFIED_PARAMETERS::zeroed()
        };
        // SAFETY: the parameters are complete; routine and context live for ever.
        unsafe { IoConnectInterruptEx(&raw mut parameters) }.ok()?;
        self.enable(ENABLE_RECEIVED, 0);
        Ok(self)
    }

    /// Sets and clears interrupt enable bits.
    fn enable(&self, set: u32, clear: u32) {
        let mut received = self.received.lock();
        let enabled = (received.enabled | set) & !clear;
        if enabled != received.enabled {
            received.enabled = enabled;
            write(INTERRUPT_ENABLE, enabled);
        }
    }

    /// A program opens the port: settings are those of a new one.
    pub(super) fn open(&self) {
        self.queues.lock().timeouts = Timeouts::default();
    }

    /// Bytes that can be read now.
    pub(super) fn available(&self) -> usize {
        self.received.lock().count
    }

    /// Takes received bytes.
    pub(super) fn take(&self, buffer: &mut [u8]) -> usize {
        let mut received = self.received.lock();
        let count = buffer.len().min(received.count);
        for slot in &mut buffer[..count] {
            *slot = received.bytes[received.first];
            received.first = (received.first + 1) % RING;
        }
        received.count -= count;
        count
    }

    /// Throws received bytes away.
    pub(super) fn discard(&self) {
        self.received.lock().count = 0;
    }

    /// Puts bytes into the chip, as many as it takes now.
    pub(super) fn transmit(&self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() && read(LINE_STATUS) & STATUS_HOLDING_EMPTY != 0 {
            for &byte in bytes[sent..].iter().take(FIFO_SIZE) {
                write(DATA, u32::from(byte));
                sent += 1;
            }
        }
        sent
    }

    /// Wants an interrupt when the chip takes more bytes, or does not any more.
    pub(super) fn want_transmitted(&self, is_wanted: bool) {
        if is_wanted { self.enable(ENABLE_TRANSMITTED, 0) } else { self.enable(0, ENABLE_TRANSMITTED) }
    }

    /// Sets the time at which the first read is looked at again, or none.
    pub(super) fn set_timer(&self, after: Option<i64>) {
        // SAFETY: timer and DPC were initialised in `start`.
        unsafe {
            match after {
                Some(interval) => KeSetTimer(self.timer.get(), -interval.max(1), self.timer_dpc.get()),
                None => KeCancelTimer(self.timer.get()),
            };
        }
    }

    /// Modem status, for programs that ask.
    pub(super) fn modem_status(&self) -> u32 {
        read(MODEM_STATUS)
    }

    /// Completes what can be completed now.
    pub(super) fn run(&self) {
        loop {
            let mut finished = self.queues.lock().advance(self);
            if finished.is_empty() {
                return;
            }
            for done in finished.drain(..) {
                // SAFETY: the queue gave the IRP up; nobody else has it.
                let _ = unsafe { packet::complete(done.irp, done.status, done.information) };
            }
        }
    }

    /// Queues a read or write.
    ///
    /// # Safety
    /// The IRP is ours.
    pub(super) unsafe fn queue(&self, irp: *mut IRP, is_read: bool) -> NTSTATUS {
        // SAFETY: the caller's promise.
        let queued = unsafe { self.queues.lock().insert(irp, is_read) };
        match queued {
            Ok(()) => {
                self.run();
                NTSTATUS::PENDING
            }
            // SAFETY: the queue did not take the IRP.
            Err(status) => unsafe { packet::complete(irp, status, 0) },
        }
    }

    /// Cancels everything that waits.
    pub(super) fn cancel_all(&self) {
        let finished = self.queues.lock().take_all();
        for irp in finished {
            // SAFETY: the queue gave the IRP up; nobody else has it.
            let _ = unsafe { packet::complete(irp, NTSTATUS::CANCELLED, 0) };
        }
    }
}

/// # Safety
/// Called at an interrupt, with the port as context.
unsafe extern "win64" fn on_interrupt(_: *mut KINTERRUPT, context: *mut c_void) -> BOOLEAN {
    let port = port_of(context);
    let mut received = port.received.lock();
    let mut is_ours = false;
    for _ in 0..MAX_ROUNDS {
        // Bit 0 clear means that something waits; reading it also takes back a transmitter interrupt.
        if read(INTERRUPT_IDENTITY) & 1 != 0 {
            break;
        }
        is_ours = true;
        let mut line = read(LINE_STATUS);
        while line & STATUS_RECEIVED != 0 {
            let byte = read(DATA) as u8;
            if line & STATUS_OVERRUN != 0 || received.count == RING {
                received.lost += 1;
            }
            if received.count < RING {
                let at = (received.first + received.count) % RING;
                received.bytes[at] = byte;
                received.count += 1;
            }
            line = read(LINE_STATUS);
        }
        read(MODEM_STATUS);
    }
    drop(received);
    if is_ours {
        // SAFETY: the DPC was initialised in `start`.
        unsafe { KeInsertQueueDpc(port.dpc.get(), null_mut(), null_mut()) };
    }
    u8::from(is_ours)
}

/// # Safety
/// Called as a DPC, with the port as context.
unsafe extern "win64" fn after_interrupt(_: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    port_of(context).run();
}

/// # Safety
/// Called as a DPC, with the port as context.
unsafe extern "win64" fn timed_out(_: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    port_of(context).run();
}
