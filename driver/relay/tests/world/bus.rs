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
}

thread_local! {
    static BUS: RefCell<Bus> = RefCell::default();
}

/// Everything answers until read `gone_from`, except the register at offset `mute`.
pub(crate) fn begin(gone_from: Option<usize>, mute: Option<usize>) {
    wdf::mmio::bus::answered_by(answers);
    BUS.set(Bus { reads: Vec::new(), gone_from, mute });
}

/// Addresses of the registers that were read since [`begin`], in order.
pub(crate) fn reads() -> Vec<usize> {
    BUS.with_borrow(|bus| bus.reads.clone())
}

fn answers(address: usize) -> bool {
    BUS.with_borrow_mut(|bus| {
        bus.reads.push(address);
        bus.gone_from.is_none_or(|gone| bus.reads.len() <= gone) && bus.mute != Some(address % BAR_BYTES)
    })
}
