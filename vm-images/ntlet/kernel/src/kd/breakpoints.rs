//! Breakpoints that a debugger has set: `int3` in the place of a byte that is kept.

use super::DebugMachine;

/// As many as Windows keeps.
const MOST: usize = 32;
const INT3: u8 = 0xcc;

#[derive(Clone, Copy)]
struct Breakpoint {
    address: u64,
    original: u8,
    is_set: bool,
}

/// The table.
pub(super) struct Breakpoints([Breakpoint; MOST]);

impl Breakpoints {
    pub(super) const fn new() -> Self {
        Self([Breakpoint { address: 0, original: 0, is_set: false }; MOST])
    }

    /// Sets one and returns its handle, counted from 1. `None`: no memory there, one there already, or too many.
    pub(super) fn set(&mut self, machine: &dyn DebugMachine, address: u64) -> Option<u32> {
        if self.0.iter().any(|known| known.is_set && known.address == address) {
            return None;
        }
        let index = self.0.iter().position(|known| !known.is_set)?;
        let mut original = [0];
        let is_written = machine.read_virtual(address, &mut original) == 1 && machine.write_virtual(address, &[INT3]) == 1;
        is_written.then(|| {
            self.0[index] = Breakpoint { address, original: original[0], is_set: true };
            index as u32 + 1
        })
    }

    /// Removes one by its handle; `false` when there is none.
    pub(super) fn remove(&mut self, machine: &dyn DebugMachine, handle: u32) -> bool {
        let known = (handle as usize).checked_sub(1).and_then(|index| self.0.get_mut(index)).filter(|known| known.is_set);
        known.is_some_and(|known| {
            known.is_set = false;
            restore(machine, known);
            true
        })
    }

    /// Removes those in a range, as Windows does with the code that a state change shows. Whether there were any.
    pub(super) fn remove_range(&mut self, machine: &dyn DebugMachine, start: u64, length: u64) -> bool {
        let mut found = false;
        for known in self.0.iter_mut().filter(|known| known.is_set && known.address.wrapping_sub(start) < length) {
            (known.is_set, found) = (false, true);
            restore(machine, known);
        }
        found
    }
}

/// Puts the byte back, unless the memory is gone or somebody else's by now.
fn restore(machine: &dyn DebugMachine, known: &Breakpoint) {
    let mut now = [0];
    if machine.read_virtual(known.address, &mut now) == 1 && now[0] == INT3 {
        machine.write_virtual(known.address, &[known.original]);
    }
}
