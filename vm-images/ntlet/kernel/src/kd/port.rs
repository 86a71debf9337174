//! The debugger's serial line: a 16550 at COM1, polled, with an interrupt only for the byte that asks the target to stop.

use super::transport::Wire;
use crate::hal;

const BASE: u16 = 0x3f8;
/// Line of COM1.
pub(super) const GSI: u32 = 4;

const DATA: u16 = BASE;
const INTERRUPT_ENABLE: u16 = BASE + 1;
const FIFO_CONTROL: u16 = BASE + 2;
const MODEM_CONTROL: u16 = BASE + 4;
const LINE_STATUS: u16 = BASE + 5;
const INTERRUPT_IDENTITY: u16 = BASE + 2;

const RECEIVED: u32 = 1;
const HOLDING_EMPTY: u32 = 0x20;
/// What a port reads as where there is no device.
const NOBODY: u32 = 0xff;
/// FIFOs on, interrupt at the first byte.
const FIFO_ON: u32 = 0x01;
/// Terminal ready, request to send, and the gate through which interrupts leave the chip.
const MODEM_READY: u32 = 0x0b;
const FIFO_SIZE: usize = 16;
/// Polls after which a line that takes no bytes is given up for this packet; the sender sends it again.
const PATIENCE: u32 = 2_000_000;

/// Lets the chip interrupt when a byte arrives.
pub(super) fn enable_interrupt() {
    hal().port_write(FIFO_CONTROL, 1, FIFO_ON);
    hal().port_write(MODEM_CONTROL, 1, MODEM_READY);
    hal().port_write(INTERRUPT_ENABLE, 1, RECEIVED);
}

/// Tells the chip that its interrupt has been seen.
pub(super) fn acknowledge() {
    hal().port_read(INTERRUPT_IDENTITY, 1);
}

/// The line.
pub(super) struct Com1;

impl Wire for Com1 {
    fn send(&mut self, bytes: &[u8]) {
        let is_empty = || matches!(hal().port_read(LINE_STATUS, 1), status if status != NOBODY && status & HOLDING_EMPTY != 0);
        for piece in bytes.chunks(FIFO_SIZE) {
            if !(0..PATIENCE).any(|_| is_empty()) {
                return;
            }
            piece.iter().for_each(|byte| hal().port_write(DATA, 1, u32::from(*byte)));
        }
    }

    fn receive(&mut self) -> Option<u8> {
        match hal().port_read(LINE_STATUS, 1) {
            NOBODY => None,
            status => (status & RECEIVED != 0).then(|| hal().port_read(DATA, 1) as u8),
        }
    }

    fn now(&mut self) -> u64 {
        hal().uptime()
    }

    fn relax(&mut self) {
        hal().relax();
    }
}
