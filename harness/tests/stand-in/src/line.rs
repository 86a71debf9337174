//! COM2, by its registers.

use core::arch::asm;

use channel::{Decoder, FromAgent, FromGuest, MAX_FRAME, ToAgent, ToGuest, Word, encode, encode_agent};

const COM2: u16 = 0x2f8;
const FIFO_CONTROL: u16 = COM2 + 2;
const LINE_STATUS: u16 = COM2 + 5;
/// The queues on and empty.
const FIFO: u8 = 7;
const HAS_BYTE: u8 = 1;
const CAN_TAKE: u8 = 0x20;

/// Says something as the agent. The firmware has a console on this line, too: what it has written ends at the zero before the frame.
pub(crate) fn agent(message: &FromAgent<'_>) {
    send(0);
    let mut frame = [0; MAX_FRAME];
    let length = encode_agent(message, &mut frame).expect("a message that fits");
    frame[..length].iter().for_each(|byte| send(*byte));
}

/// Says something as the suite.
pub(crate) fn suite(message: &FromGuest<'_>) {
    let mut frame = [0; MAX_FRAME];
    let length = encode(message, &mut frame).expect("a message that fits");
    frame[..length].iter().for_each(|byte| send(*byte));
}

/// The port's other direction.
pub(crate) struct Ear(Decoder);

impl Ear {
    pub(crate) fn open() -> Self {
        out(FIFO_CONTROL, FIFO);
        Self(Decoder::new())
    }

    /// Waits for the next word of either language.
    pub(crate) fn hear<T>(&mut self, read: impl FnOnce(Word<ToGuest<'_>, ToAgent<'_>>) -> T) -> T {
        loop {
            while inb(LINE_STATUS) & HAS_BYTE == 0 {
                core::hint::spin_loop();
            }
            if let Some(Ok(word)) = self.0.push_either(inb(COM2)) {
                return read(word);
            }
        }
    }
}

fn send(byte: u8) {
    while inb(LINE_STATUS) & CAN_TAKE == 0 {
        core::hint::spin_loop();
    }
    out(COM2, byte);
}

fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: registers of COM2, which nobody else uses: reading them touches no memory.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

fn out(port: u16, value: u8) {
    // SAFETY: as above.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}
