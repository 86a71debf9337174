//! The bus: registers that read all ones, all of them from some moment on or one of them always, whatever is written. One bus a thread, since a test's
//! driver runs in the test's thread.

use std::cell::RefCell;

use super::hardware::BAR_BYTES;

#[derive(Default)]
struct Bus {
    /// Addresses of the registers that were read, in order.
    reads: Vec<usize>,
    /// From this read on nothing answers.
    gone_from: Option<usize>,
    /// This register, by its offset, does not answer.
    mute: Option<usize>,
    /// The next register that is read still has what it had before it was written last: this.
    unheard: Option<u8>,
}

thread_local! {
    static BUS: RefCell<Bus> = RefCell::default();
}

/// Everything answers until read `gone_from`, except the register at offset `mute`.
pub(crate) fn begin(gone_from: Option<usize>, mute: Option<usize>) {
    wdf::mmio::bus::answered_by(answers);
    BUS.set(Bus { gone_from, mute, ..Bus::default() });
}

/// The device was away when the register that is read next was written, and is back: the register has still this value.
pub(crate) fn lose_the_last_write(value: u8) {
    BUS.with_borrow_mut(|bus| bus.unheard = Some(value));
}

/// Addresses of the registers that were read since [`begin`], in order.
pub(crate) fn reads() -> Vec<usize> {
    BUS.with_borrow(|bus| bus.reads.clone())
}

fn answers(address: usize) -> bool {
    BUS.with_borrow_mut(|bus| {
        bus.reads.push(address);
        if let Some(value) = bus.unheard.take() {
            // SAFETY: the address of a register, which is plain memory here and about to be read.
            unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(value) };
        }
        bus.gone_from.is_none_or(|gone| bus.reads.len() <= gone) && bus.mute != Some(address % BAR_BYTES)
    })
}
