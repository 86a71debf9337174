//! What the executive needs from a machine, as one trait: processors and IRQL, time, thread contexts, memory, interrupts, ports,
//! PCI configuration and a console.
//!
//! `metal` implements it over hardware; `crate::sim` implements it inside one Linux process, for tests and later for the `sim`
//! rig. The executive and the framework know no hardware but this. The trait has mechanism only: every policy (who runs, what
//! a fault means, which driver gets an interrupt) is the executive's.
//!
//! The other direction, what a machine tells the executive, are the functions of [`crate::entry`].

use core::ffi::c_void;
use core::ptr::NonNull;

/// Interrupt request level, as on x64: what CR8 holds.
pub type Irql = u8;

/// Ordinary thread execution.
pub const PASSIVE_LEVEL: Irql = 0;
/// APC delivery.
pub const APC_LEVEL: Irql = 1;
/// DPCs and the dispatcher.
pub const DISPATCH_LEVEL: Irql = 2;
/// The clock interrupt.
pub const CLOCK_LEVEL: Irql = 13;
/// Inter-processor interrupts.
pub const IPI_LEVEL: Irql = 14;
/// Everything masked.
pub const HIGH_LEVEL: Irql = 15;

/// Size of a page.
pub const PAGE_SIZE: usize = 4096;

/// What a range of pages may be used for. Never writable and executable at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Touching it is a fault.
    None,
    /// Read.
    Read,
    /// Read and write.
    ReadWrite,
    /// Read and execute.
    ReadExecute,
}

/// How a mapping of device memory is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Device registers.
    Uncached,
    /// Frame buffers.
    WriteCombined,
    /// Memory shared with a device that snoops.
    Cached,
}

/// A user address space; the machine's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressSpace(pub u64);

/// A user address that could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserFault;

/// Where a device writes to raise a message-signalled interrupt, and the vector it arrives as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptMessage {
    /// Vector handed to [`crate::entry::device_interrupt`]; its IRQL is `vector >> 4`.
    pub vector: u8,
    /// Bus address to write to.
    pub address: u64,
    /// Data to write.
    pub data: u32,
}

/// A wired interrupt's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineShape {
    /// Level-triggered (PCI) rather than edge-triggered (ISA).
    pub level: bool,
    /// Active low (PCI) rather than active high (ISA).
    pub active_low: bool,
}

/// A PCI function's address. Segment 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciAddress {
    /// Bus.
    pub bus: u8,
    /// Device on the bus, below 32.
    pub device: u8,
    /// Function of the device, below 8.
    pub function: u8,
}

/// Saved state of a thread that does not run. Written and read by [`Hal::switch`] alone.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Context {
    /// Stack pointer below which callee-saved state lies.
    pub stack_pointer: u64,
    /// Top of the kernel stack: where interrupts and system calls from user mode begin.
    pub kernel_stack_top: u64,
    /// User address space to be in, 0 for none (keep whichever is loaded).
    pub address_space: u64,
    /// User thread environment block: GS base in user mode.
    pub teb: u64,
}

/// State to enter user mode with.
#[derive(Clone, Copy, Debug)]
pub struct UserStart {
    /// First instruction.
    pub instruction_pointer: u64,
    /// Stack pointer.
    pub stack_pointer: u64,
    /// First argument (RCX).
    pub argument: u64,
    /// Second argument (RDX).
    pub argument2: u64,
}

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest has done what it was asked for.
    Shutdown,
    /// A bug check has been reported.
    BugCheck,
}

/// The machine. One static instance, handed to [`crate::entry::start`] and reached through [`crate::hal()`].
///
/// Unless a method says otherwise it may be called at any IRQL, on any processor, and does not block.
pub trait Hal: Sync {
    // Processors and IRQL.

    /// Number of processors that were started.
    fn processor_count(&self) -> u32;
    /// The processor this code runs on. Stable only at `DISPATCH_LEVEL` or above.
    fn current_processor(&self) -> u32;
    /// The current processor's control region (what GS points to in kernel mode), laid out as [`crate::processor::Kpcr`].
    fn control_region(&self) -> NonNull<crate::processor::Kpcr>;
    /// Current IRQL.
    fn irql(&self) -> Irql;
    /// Sets the IRQL. Lowering it delivers pending software interrupts above the new level before it returns.
    fn set_irql(&self, irql: Irql);
    /// Asks for [`crate::entry::software_interrupt`] at `irql` (`APC_LEVEL` or `DISPATCH_LEVEL`) on `processor`, as soon as its IRQL is below.
    fn request_software_interrupt(&self, processor: u32, irql: Irql);
    /// Masks all interrupts on this processor and returns whether they were enabled.
    fn disable_interrupts(&self) -> bool;
    /// Undoes [`Hal::disable_interrupts`] with what it returned.
    fn restore_interrupts(&self, were_enabled: bool);
    /// Waits for an interrupt. Called at `PASSIVE_LEVEL` by idle threads with interrupts masked; enables them and waits in one step.
    fn wait_for_interrupt(&self);
    /// A hint inside a spinning loop.
    fn relax(&self);
    /// Stops every other processor for good; for bug checks. Does not wait for a processor that does not answer.
    fn freeze_other_processors(&self);

    // Time.

    /// Time since the machine started, in units of 100 ns. Monotonic across processors.
    fn uptime(&self) -> u64;
    /// System time when [`Hal::uptime`] was zero: units of 100 ns since 1601.
    fn boot_time(&self) -> u64;
    /// A counter for measuring, and its frequency in hertz.
    fn performance_counter(&self) -> (u64, u64);
    /// Asks for [`crate::entry::clock_interrupt`] on this processor once [`Hal::uptime`] has reached `deadline`. Replaces the earlier
    /// request; `u64::MAX` means none.
    fn arm_clock(&self, deadline: u64);

    // Threads.

    /// Prepares `context` so that the first switch to it calls `entry(argument)` at the top of `stack`, at `DISPATCH_LEVEL`,
    /// interrupts enabled. `entry` never returns.
    ///
    /// # Safety
    /// The stack is unused, 16-byte aligned, and outlives the thread.
    unsafe fn prepare_context(
        &self,
        context: &mut Context,
        stack: &mut [u8],
        entry: extern "win64" fn(*mut c_void) -> !,
        argument: *mut c_void,
    );
    /// Saves the running thread in `from` and continues `to`. Called at `DISPATCH_LEVEL`. Loads `to`'s address space and TEB.
    ///
    /// # Safety
    /// `from` belongs to the running thread; `to` was prepared or saved, runs nowhere, and both outlive the switch.
    unsafe fn switch(&self, from: *mut Context, to: *const Context);
    /// Leaves the kernel for user mode in the current thread, for the first time. System calls come back through
    /// [`crate::entry::system_call`].
    ///
    /// # Safety
    /// The current thread's context has an address space and a kernel stack that nothing else on the stack is needed of.
    unsafe fn enter_user_mode(&self, start: &UserStart) -> !;

    // Kernel memory.

    /// Free and total physical pages.
    fn memory(&self) -> (u64, u64);
    /// New zeroed kernel pages, contiguous in virtual addresses. `None` when memory has run out.
    fn allocate_pages(&self, pages: usize, protection: Protection) -> Option<NonNull<u8>>;
    /// New zeroed kernel pages, read-write, contiguous in physical memory, wholly below `limit`.
    fn allocate_contiguous(&self, pages: usize, limit: u64) -> Option<NonNull<u8>>;
    /// Gives back what one of the two allocators returned, whole.
    ///
    /// # Safety
    /// Nothing refers to the pages any more.
    unsafe fn free_pages(&self, start: NonNull<u8>, pages: usize);
    /// Changes the protection of allocated pages.
    ///
    /// # Safety
    /// Nothing relies on the old protection.
    unsafe fn protect_pages(&self, start: NonNull<u8>, pages: usize, protection: Protection);
    /// Physical address of a mapped kernel or current user address.
    fn physical_address(&self, address: *const c_void) -> Option<u64>;
    /// Maps a range of physical addresses, device or memory. The result points at `physical` itself, not at its page.
    fn map_physical(&self, physical: u64, length: usize, caching: Caching) -> Option<NonNull<u8>>;
    /// Maps page frames, given as frame numbers, next to each other in kernel addresses, read-write.
    fn map_frames(&self, frames: &[u64]) -> Option<NonNull<u8>>;
    /// Undoes [`Hal::map_physical`] or [`Hal::map_frames`].
    ///
    /// # Safety
    /// Nothing refers to the mapping any more.
    unsafe fn unmap(&self, start: NonNull<u8>, length: usize);
    /// Whether `length` bytes at a kernel address are mapped (and writable, if asked): for diagnosis, never for permission.
    fn is_mapped(&self, address: *const c_void, length: usize, write: bool) -> bool;

    // User memory. A machine without user mode returns `None` and `UserFault`.

    /// A new, empty user address space.
    fn create_address_space(&self) -> Option<AddressSpace>;
    /// Gives back an address space and all its pages. It must not be loaded anywhere.
    fn destroy_address_space(&self, space: AddressSpace);
    /// Loads an address space on this processor.
    fn load_address_space(&self, space: AddressSpace);
    /// Backs user addresses with new zeroed pages.
    fn map_user(&self, space: AddressSpace, address: u64, pages: usize, protection: Protection) -> Option<()>;
    /// Changes the protection of backed user addresses.
    fn protect_user(&self, space: AddressSpace, address: u64, pages: usize, protection: Protection) -> Option<()>;
    /// Gives pages back.
    fn unmap_user(&self, space: AddressSpace, address: u64, pages: usize);
    /// Frame number behind a user address in the current space, if mapped with at least this permission.
    fn user_frame(&self, address: u64, write: bool) -> Option<u64>;
    /// Copies from the current user address space, whatever the address.
    ///
    /// # Errors
    /// [`UserFault`] when any byte is not readable user memory; `to` then has undefined contents.
    fn copy_from_user(&self, to: &mut [u8], from: u64) -> Result<(), UserFault>;
    /// Copies to the current user address space, whatever the address.
    ///
    /// # Errors
    /// [`UserFault`] when any byte is not writable user memory; a part may have been written.
    fn copy_to_user(&self, to: u64, from: &[u8]) -> Result<(), UserFault>;

    // Interrupts, ports, PCI.

    /// Reserves a vector at `irql` (3 to 12) on a processor of `affinity` for one message.
    fn allocate_message(&self, irql: Irql, affinity: u64) -> Option<InterruptMessage>;
    /// Gives a vector back.
    fn free_message(&self, vector: u8);
    /// Routes a wired interrupt (global system interrupt number) to a newly reserved vector at `irql`, masked until [`Hal::mask_line`].
    fn connect_line(&self, gsi: u32, irql: Irql, shape: LineShape) -> Option<u8>;
    /// Masks or unmasks a wired interrupt.
    fn mask_line(&self, gsi: u32, masked: bool);
    /// Reads an I/O port; `width` is 1, 2 or 4.
    fn port_read(&self, port: u16, width: u8) -> u32;
    /// Writes an I/O port; `width` is 1, 2 or 4.
    fn port_write(&self, port: u16, width: u8, value: u32);
    /// Reads configuration space; what is not there reads as ones. `false` when no function answers.
    fn pci_read(&self, address: PciAddress, offset: u16, buffer: &mut [u8]) -> bool;
    /// Writes configuration space.
    fn pci_write(&self, address: PciAddress, offset: u16, data: &[u8]);
    /// The wired interrupt (global system interrupt number) of a function's INTx pin (1 to 4).
    fn pci_line(&self, address: PciAddress, pin: u8) -> Option<u32>;

    // Debugger, console and end.

    /// What a debugger and crash dumps need besides. `None`: this machine has no debugger.
    fn debug(&self) -> Option<&dyn crate::kd::DebugMachine> {
        None
    }

    /// Writes to the log (COM1). The caller serialises.
    fn log(&self, bytes: &[u8]);
    /// Writes to the guest channel (COM2) without its driver; for bug checks.
    fn channel_write(&self, bytes: &[u8]);
    /// Ends the machine.
    fn end(&self, ending: Ending) -> !;
}
