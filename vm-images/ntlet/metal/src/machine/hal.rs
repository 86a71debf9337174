//! The executive's `Hal`: each method leads to the module that does it.

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use super::serial::{COM1, COM2};
use super::{apic, context, cpu, interrupts, io_apic, kernel_memory, memory, pci, processor, time, user_memory};
use crate::vectors;
use kernel::hal::{
    AddressSpace, Caching, Context, Ending, Hal, InterruptMessage, Irql, LineShape, PciAddress, Protection, UserFault, UserStart,
};
use kernel::processor::Kpcr;

/// This machine.
#[derive(Debug)]
pub struct Machine(());

/// The one there is.
pub(crate) static MACHINE: Machine = Machine(());

/// The end is a new start of the machine.
static RESTARTS: AtomicBool = AtomicBool::new(false);

/// From now on the end is a new start of the machine, which whoever has started the kernel then has again.
pub(crate) fn restart_at_end() {
    RESTARTS.store(true, Ordering::Relaxed);
}

/// Ends the machine: by a new start if that is wanted, by the harness's exit device, or standing still where there is none.
pub(crate) fn end(ending: Ending) -> ! {
    const EXIT_PORT: u16 = 0xf4;
    if RESTARTS.load(Ordering::Relaxed) {
        reset();
    }
    let code = match ending {
        Ending::Shutdown => 0x10,
        Ending::BugCheck => 0x11,
    };
    cpu::port_write(EXIT_PORT, 4, code);
    cpu::halt_for_ever()
}

/// Starts the machine again. Memory keeps what is in it.
pub(crate) fn reset() -> ! {
    const RESET_CONTROL: u16 = 0xcf9;
    const FULL_RESET: u32 = 0x0e;
    cpu::port_write(RESET_CONTROL, 1, FULL_RESET);
    cpu::halt_for_ever()
}

impl Hal for Machine {
    fn processor_count(&self) -> u32 {
        processor::started()
    }

    fn current_processor(&self) -> u32 {
        processor::current().index
    }

    fn control_region(&self) -> NonNull<Kpcr> {
        processor::control_region()
    }

    fn irql(&self) -> Irql {
        cpu::task_priority()
    }

    fn set_irql(&self, irql: Irql) {
        cpu::set_task_priority(irql);
    }

    fn request_software_interrupt(&self, processor: u32, irql: Irql) {
        let vector = irql << 4 | 0xf;
        assert!(vector == vectors::APC || vector == vectors::DISPATCH, "IRQL {irql} has no software interrupt");
        // Masked, so that this thread cannot move to another processor between the question and the answer.
        let interrupts = self.disable_interrupts();
        if processor == processor::current().index {
            apic::send_to_self(vector);
        } else if let Some(other) = processor::by_index(processor) {
            apic::send(other.apic_id, vector);
        }
        self.restore_interrupts(interrupts);
    }

    fn disable_interrupts(&self) -> bool {
        let enabled = cpu::interrupts_enabled();
        cpu::disable_interrupts();
        enabled
    }

    fn restore_interrupts(&self, were_enabled: bool) {
        if were_enabled {
            // SAFETY: they were enabled before the matching `disable_interrupts`.
            unsafe { cpu::enable_interrupts() };
        }
    }

    fn wait_for_interrupt(&self) {
        // SAFETY: idle threads hold nothing, which is what this is for.
        unsafe { cpu::enable_interrupts_and_wait() };
    }

    fn relax(&self) {
        core::hint::spin_loop();
    }

    fn freeze_other_processors(&self) {
        interrupts::freeze_others();
    }

    fn uptime(&self) -> u64 {
        time::uptime()
    }

    fn boot_time(&self) -> u64 {
        time::boot_time()
    }

    fn performance_counter(&self) -> (u64, u64) {
        time::performance_counter()
    }

    fn arm_clock(&self, deadline: u64) {
        time::arm(deadline);
    }

    unsafe fn prepare_context(
        &self,
        context: &mut Context,
        stack: &mut [u8],
        entry: extern "win64" fn(*mut c_void) -> !,
        argument: *mut c_void,
    ) {
        // SAFETY: the caller's promise.
        unsafe { context::prepare(context, stack, entry, argument) };
    }

    unsafe fn switch(&self, from: *mut Context, to: *const Context) {
        // SAFETY: the caller's promise.
        unsafe { context::switch(from, to) };
    }

    unsafe fn enter_user_mode(&self, start: &UserStart) -> ! {
        // SAFETY: the caller's promise.
        unsafe { context::enter_user_mode(start) }
    }

    fn memory(&self) -> (u64, u64) {
        memory::counts()
    }

    fn allocate_pages(&self, pages: usize, protection: Protection) -> Option<NonNull<u8>> {
        kernel_memory::allocate_pages(pages, protection)
    }

    fn allocate_contiguous(&self, pages: usize, limit: u64) -> Option<NonNull<u8>> {
        kernel_memory::allocate_contiguous(pages, limit)
    }

    unsafe fn free_pages(&self, start: NonNull<u8>, pages: usize) {
        kernel_memory::free_pages(start, pages);
    }

    unsafe fn protect_pages(&self, start: NonNull<u8>, pages: usize, protection: Protection) {
        kernel_memory::protect_pages(start, pages, protection);
    }

    fn physical_address(&self, address: *const c_void) -> Option<u64> {
        kernel_memory::physical_address(address as u64)
    }

    fn map_physical(&self, physical: u64, length: usize, caching: Caching) -> Option<NonNull<u8>> {
        kernel_memory::map_physical(physical, length, caching)
    }

    fn map_frames(&self, frames: &[u64]) -> Option<NonNull<u8>> {
        kernel_memory::map_frames(frames)
    }

    unsafe fn unmap(&self, start: NonNull<u8>, length: usize) {
        kernel_memory::unmap(start, length);
    }

    fn is_mapped(&self, address: *const c_void, length: usize, write: bool) -> bool {
        kernel_memory::is_mapped(address as u64, length, write)
    }

    fn create_address_space(&self) -> Option<AddressSpace> {
        user_memory::create()
    }

    fn destroy_address_space(&self, space: AddressSpace) {
        user_memory::destroy(space);
    }

    fn load_address_space(&self, space: AddressSpace) {
        let interrupts = self.disable_interrupts();
        context::load_space(space.0);
        self.restore_interrupts(interrupts);
    }

    fn map_user(&self, space: AddressSpace, address: u64, pages: usize, protection: Protection) -> Option<()> {
        user_memory::map(space, address, pages, protection)
    }

    fn protect_user(&self, space: AddressSpace, address: u64, pages: usize, protection: Protection) -> Option<()> {
        user_memory::protect(space, address, pages, protection)
    }

    fn unmap_user(&self, space: AddressSpace, address: u64, pages: usize) {
        user_memory::unmap(space, address, pages);
    }

    fn user_frame(&self, address: u64, write: bool) -> Option<u64> {
        user_memory::frame(address, write)
    }

    fn copy_from_user(&self, to: &mut [u8], from: u64) -> Result<(), UserFault> {
        user_memory::copy_from(to, from)
    }

    fn copy_to_user(&self, to: u64, from: &[u8]) -> Result<(), UserFault> {
        user_memory::copy_to(to, from)
    }

    fn allocate_message(&self, irql: Irql, affinity: u64) -> Option<InterruptMessage> {
        let (vector, apic_id) = interrupts::allocate(irql, affinity)?;
        let message = vectors::message(vector, apic_id).map(|(address, data)| InterruptMessage { vector, address, data });
        if message.is_none() {
            interrupts::release(vector);
        }
        message
    }

    fn free_message(&self, vector: u8) {
        interrupts::release(vector);
    }

    fn connect_line(&self, gsi: u32, irql: Irql, shape: LineShape) -> Option<u8> {
        io_apic::connect(gsi, irql, shape)
    }

    fn mask_line(&self, gsi: u32, masked: bool) {
        io_apic::mask(gsi, masked);
    }

    fn port_read(&self, port: u16, width: u8) -> u32 {
        cpu::port_read(port, width)
    }

    fn port_write(&self, port: u16, width: u8, value: u32) {
        cpu::port_write(port, width, value);
    }

    fn pci_read(&self, address: PciAddress, offset: u16, buffer: &mut [u8]) -> bool {
        pci::read(address, offset, buffer)
    }

    fn pci_write(&self, address: PciAddress, offset: u16, data: &[u8]) {
        pci::write(address, offset, data);
    }

    fn pci_line(&self, address: PciAddress, pin: u8) -> Option<u32> {
        pci::line(address, pin)
    }

    fn debug(&self) -> Option<&dyn kernel::kd::DebugMachine> {
        Some(self)
    }

    fn log(&self, bytes: &[u8]) {
        COM1.write(bytes);
    }

    fn channel_write(&self, bytes: &[u8]) {
        COM2.write(bytes);
    }

    fn end(&self, ending: Ending) -> ! {
        end(ending)
    }
}
