//! What a debugger needs of a machine beyond [`crate::hal::Hal`].

use kd::context::SpecialRegisters;

/// The machine as a debugger sees it. Every method may be called at any IRQL, with every lock held by somebody who stands still:
/// none takes one, and none faults.
pub trait DebugMachine: Sync {
    /// This processor's control registers and their like.
    fn special_registers(&self, registers: &mut SpecialRegisters);
    /// Loads debug registers: DR0 to DR3, DR6, DR7.
    fn load_debug_registers(&self, registers: &[u64; 6]);
    /// Reads memory at a virtual address as this processor sees it, as far as it is ordinary memory. Returns how many bytes.
    fn read_virtual(&self, address: u64, buffer: &mut [u8]) -> usize;
    /// Writes memory at a virtual address, whatever its protection. Returns how many bytes.
    fn write_virtual(&self, address: u64, data: &[u8]) -> usize;
    /// Reads ordinary memory at a physical address. Returns how many bytes.
    fn read_physical(&self, address: u64, buffer: &mut [u8]) -> usize;
    /// Writes ordinary memory at a physical address. Returns how many bytes.
    fn write_physical(&self, address: u64, data: &[u8]) -> usize;
    /// Reads a model-specific register of this processor. `None`: it is none of those that every processor has, so that reading it may fault.
    fn read_model_specific(&self, register: u32) -> Option<u64>;
    /// Writes one. `false`: it is none that may be written without a fault.
    fn write_model_specific(&self, register: u32, value: u64) -> bool;
    /// Calls `visit` with each range of ordinary memory: first address and the one after the last.
    fn each_range_of_memory(&self, visit: &mut dyn FnMut(u64, u64));
    /// Asks every other processor to call [`crate::entry::held`], whatever it does. Returns the mask of those asked.
    fn hold_other_processors(&self) -> u64;
    /// Restarts the machine.
    fn reset(&self) -> !;
}
