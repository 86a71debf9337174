//! The machine as the executive sees it ([`Hal`]) and as a test does ([`Machine`]).

use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec;

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::NonNull;

use super::child;
use super::clocked::{self, Processor};
use super::memory::Memory;
use super::pci::{Functions, PciFunction};
use super::stacks;
use crate::entry::Boot;
use crate::hal::{
    AddressSpace, Caching, Context, Ending, Hal, InterruptMessage, Irql, LineShape, PciAddress, Protection, UserFault, UserStart,
};
use crate::processor::Kpcr;

/// System time at the machine's start: the first second of 2020.
const BOOT_TIME: u64 = 132_223_104_000_000_000;
/// Address that messages are written to.
const MESSAGE_ADDRESS: u64 = 0xfee0_0000;

/// What the first thread of the system runs.
type Main = fn(&Boot);

/// What the machine consists of.
pub(super) struct State {
    pub(super) processors: Vec<Processor>,
    pub(super) current: usize,
    pub(super) now: u64,
    /// Where the main loop goes on.
    pub(super) main_stack: u64,
    pub(super) boot: Option<(Boot, Main)>,
    memory: Memory,
    functions: Functions,
    /// The processor that each vector goes to.
    vectors: BTreeMap<u8, usize>,
    /// Vector of each connected line, whether it is masked, and whether it is active.
    lines: BTreeMap<u32, Line>,
}

#[derive(Clone, Copy)]
struct Line {
    vector: u8,
    masked: bool,
    active: bool,
}

struct Cell(UnsafeCell<Option<State>>);

// SAFETY: a run has one thread.
unsafe impl Sync for Cell {}

static STATE: Cell = Cell(UnsafeCell::new(None));

/// Uses the machine's state. What is done with it must not call the executive.
pub(super) fn with<R>(body: impl FnOnce(&mut State) -> R) -> R {
    // SAFETY: one thread, and no use inside another, as said above.
    body(unsafe { (*STATE.0.get()).as_mut() }.expect("the machine was created"))
}

impl State {
    /// The processor whose turn it is.
    pub(super) fn processor(&mut self) -> &mut Processor {
        &mut self.processors[self.current]
    }

    pub(super) fn has_devices(&self) -> bool {
        !self.functions.is_empty()
    }

    fn take_vector(&mut self, irql: Irql, affinity: u64) -> Option<u8> {
        if !(3..=12).contains(&irql) {
            return None;
        }
        let processor = (0..self.processors.len()).find(|number| affinity >> number & 1 != 0)?;
        let vector = (irql << 4..=irql << 4 | 15).find(|vector| !self.vectors.contains_key(vector))?;
        self.vectors.insert(vector, processor);
        Some(vector)
    }

    fn raise(&mut self, vector: u8) {
        if let Some(&processor) = self.vectors.get(&vector) {
            self.processors[processor].raise(vector);
        }
    }

    /// Raises lines that are active and not masked.
    pub(super) fn drive_lines(&mut self) {
        let driving: Vec<u8> = self.lines.values().filter(|line| line.active && !line.masked).map(|line| line.vector).collect();
        driving.into_iter().for_each(|vector| self.raise(vector));
    }
}

/// Makes the machine of this process.
pub(super) fn create(processors: u32) -> &'static dyn Hal {
    assert!((1..=64).contains(&processors), "a machine has 1 to 64 processors, not {processors}");
    let state = State {
        processors: (0..processors).map(Processor::new).collect(),
        current: processors as usize - 1,
        now: 0,
        main_stack: 0,
        boot: None,
        memory: Memory::new(),
        functions: Functions::new(),
        vectors: BTreeMap::new(),
        lines: BTreeMap::new(),
    };
    // SAFETY: one thread, before anything uses the machine.
    unsafe { *STATE.0.get() = Some(state) };
    &HANDLE
}

/// Starts it: this stack becomes the main loop's.
pub(super) fn start(boot: Boot, main: Main) -> ! {
    with(|machine| machine.boot = Some((boot, main)));
    clocked::turns()
}

/// First address and size of this program's code and data, for back traces.
pub(super) fn image() -> (usize, usize) {
    unsafe extern "C" {
        static __executable_start: u8;
        static end: u8;
    }
    let (first, last) = ((&raw const __executable_start).addr(), (&raw const end).addr());
    (first, last - first)
}

/// Lets every device do what it would have done meanwhile; whether any did something. A device may use the machine, so it is taken
/// out while it does.
pub(super) fn poll_devices() -> bool {
    let addresses: Vec<PciAddress> = with(|machine| machine.functions.keys().copied().collect());
    let mut active = false;
    for address in addresses {
        let Some(mut function) = with(|machine| machine.functions.remove(&address)) else { continue };
        active |= function.poll(&HANDLE);
        with(|machine| {
            machine.functions.entry(address).or_insert(function);
        });
    }
    with(State::drive_lines);
    active
}

/// What a test can do with the machine it runs on.
#[derive(Debug)]
pub struct Machine(());

static HANDLE: Machine = Machine(());

pub(super) fn handle() -> &'static Machine {
    &HANDLE
}

impl Machine {
    /// Plugs a PCI function in.
    pub fn add_function(&self, address: PciAddress, function: Box<dyn PciFunction>) {
        with(|machine| machine.functions.insert(address, function));
    }

    /// Pulls a PCI function out: configuration accesses find nothing there any more.
    pub fn remove_function(&self, address: PciAddress) {
        // Dropped outside: it may use the machine.
        let function = with(|machine| machine.functions.remove(&address));
        drop(function);
    }

    /// Makes device memory at a physical address, zeroed; the result is how the device itself reaches it.
    pub fn add_device_memory(&self, physical: u64, bytes: usize) -> NonNull<u8> {
        with(|machine| machine.memory.add_device(physical, bytes))
    }

    /// Raises the interrupt of a message that a device writes.
    pub fn send_message(&self, data: u32) {
        with(|machine| machine.raise(data as u8));
    }

    /// Makes a wired interrupt active or inactive.
    pub fn set_line(&self, gsi: u32, active: bool) {
        with(|machine| {
            if let Some(line) = machine.lines.get_mut(&gsi) {
                line.active = active;
            }
            machine.drive_lines();
        });
    }

    /// The virtual time, in units of 100 ns; asking takes none.
    #[must_use]
    pub fn now(&self) -> u64 {
        with(|machine| machine.now)
    }

    /// Reads physical memory, as a device does.
    pub fn read_memory(&self, physical: u64, buffer: &mut [u8]) {
        let mapped =
            with(|machine| machine.memory.map_physical(physical, buffer.len())).expect("there is memory at that address");
        // SAFETY: mapped with this length just now.
        unsafe { buffer.as_mut_ptr().copy_from_nonoverlapping(mapped.as_ptr(), buffer.len()) };
        with(|machine| machine.memory.unmap(mapped.as_ptr().addr()));
    }

    /// Writes physical memory, as a device does.
    pub fn write_memory(&self, physical: u64, data: &[u8]) {
        let mapped = with(|machine| machine.memory.map_physical(physical, data.len())).expect("there is memory at that address");
        // SAFETY: mapped with this length just now.
        unsafe { mapped.as_ptr().copy_from_nonoverlapping(data.as_ptr(), data.len()) };
        with(|machine| machine.memory.unmap(mapped.as_ptr().addr()));
    }
}

impl Hal for Machine {
    fn processor_count(&self) -> u32 {
        with(|machine| machine.processors.len() as u32)
    }

    fn current_processor(&self) -> u32 {
        with(|machine| machine.current as u32)
    }

    fn control_region(&self) -> NonNull<Kpcr> {
        NonNull::new(with(|machine| machine.processor().region)).expect("a processor has a control region")
    }

    fn irql(&self) -> Irql {
        with(|machine| machine.processor().irql)
    }

    fn set_irql(&self, irql: Irql) {
        clocked::set_irql(irql);
    }

    fn request_software_interrupt(&self, processor: u32, irql: Irql) {
        with(|machine| machine.processors[processor as usize].ask_for_software_interrupt(irql));
        clocked::deliver();
    }

    fn disable_interrupts(&self) -> bool {
        with(|machine| core::mem::replace(&mut machine.processor().interrupts, false))
    }

    fn restore_interrupts(&self, were_enabled: bool) {
        if were_enabled {
            with(|machine| machine.processor().interrupts = true);
            clocked::deliver();
        }
    }

    fn wait_for_interrupt(&self) {
        clocked::wait_for_interrupt();
    }

    fn relax(&self) {
        clocked::relax();
    }

    /// Nothing to do: the others go on only when this one gives way, and one that reports a bug check does not.
    fn freeze_other_processors(&self) {}

    fn uptime(&self) -> u64 {
        with(|machine| {
            machine.now += clocked::ASK;
            machine.now
        })
    }

    fn boot_time(&self) -> u64 {
        BOOT_TIME
    }

    fn performance_counter(&self) -> (u64, u64) {
        (self.uptime(), 10_000_000)
    }

    fn arm_clock(&self, deadline: u64) {
        with(|machine| machine.processor().deadline = deadline);
    }

    unsafe fn prepare_context(
        &self,
        context: &mut Context,
        stack: &mut [u8],
        entry: extern "win64" fn(*mut c_void) -> !,
        argument: *mut c_void,
    ) {
        // SAFETY: the caller's promise.
        unsafe { stacks::prepare_context(context, stack, entry, argument) };
    }

    unsafe fn switch(&self, from: *mut Context, to: *const Context) {
        let interrupts = with(|machine| machine.processor().interrupts);
        // A thread that begins finds them enabled; one that goes on puts back what it had.
        with(|machine| machine.processor().interrupts = true);
        // SAFETY: the caller's promise.
        unsafe { stacks::switch(&raw mut (*from).stack_pointer, (*to).stack_pointer) };
        with(|machine| machine.processor().interrupts = interrupts);
    }

    unsafe fn enter_user_mode(&self, _start: &UserStart) -> ! {
        panic!("the simulated machine has no user mode")
    }

    fn memory(&self) -> (u64, u64) {
        with(|machine| machine.memory.counts())
    }

    fn allocate_pages(&self, pages: usize, protection: Protection) -> Option<NonNull<u8>> {
        with(|machine| machine.memory.allocate(pages, protection, u64::MAX))
    }

    fn allocate_contiguous(&self, pages: usize, limit: u64) -> Option<NonNull<u8>> {
        with(|machine| machine.memory.allocate(pages, Protection::ReadWrite, limit))
    }

    unsafe fn free_pages(&self, start: NonNull<u8>, _pages: usize) {
        with(|machine| machine.memory.release(start.as_ptr().addr()));
    }

    unsafe fn protect_pages(&self, start: NonNull<u8>, pages: usize, protection: Protection) {
        with(|machine| machine.memory.protect(start.as_ptr().addr(), pages, protection));
    }

    fn physical_address(&self, address: *const c_void) -> Option<u64> {
        with(|machine| machine.memory.physical(address.addr()))
    }

    fn map_physical(&self, physical: u64, length: usize, _caching: Caching) -> Option<NonNull<u8>> {
        with(|machine| machine.memory.map_physical(physical, length))
    }

    fn map_frames(&self, frames: &[u64]) -> Option<NonNull<u8>> {
        with(|machine| machine.memory.map_frames(frames))
    }

    unsafe fn unmap(&self, start: NonNull<u8>, _length: usize) {
        with(|machine| machine.memory.unmap(start.as_ptr().addr()));
    }

    fn is_mapped(&self, address: *const c_void, length: usize, write: bool) -> bool {
        with(|machine| machine.memory.is_mapped(address.addr(), length, write))
    }

    fn create_address_space(&self) -> Option<AddressSpace> {
        None
    }

    fn destroy_address_space(&self, _space: AddressSpace) {}

    fn load_address_space(&self, _space: AddressSpace) {}

    fn map_user(&self, _space: AddressSpace, _address: u64, _pages: usize, _protection: Protection) -> Option<()> {
        None
    }

    fn protect_user(&self, _space: AddressSpace, _address: u64, _pages: usize, _protection: Protection) -> Option<()> {
        None
    }

    fn unmap_user(&self, _space: AddressSpace, _address: u64, _pages: usize) {}

    fn user_frame(&self, _address: u64, _write: bool) -> Option<u64> {
        None
    }

    fn copy_from_user(&self, _to: &mut [u8], _from: u64) -> Result<(), UserFault> {
        Err(UserFault)
    }

    fn copy_to_user(&self, _to: u64, _from: &[u8]) -> Result<(), UserFault> {
        Err(UserFault)
    }

    fn allocate_message(&self, irql: Irql, affinity: u64) -> Option<InterruptMessage> {
        let vector = with(|machine| machine.take_vector(irql, affinity))?;
        Some(InterruptMessage { vector, address: MESSAGE_ADDRESS, data: u32::from(vector) })
    }

    fn free_message(&self, vector: u8) {
        with(|machine| {
            machine.lines.retain(|_, line| line.vector != vector);
            machine.vectors.remove(&vector)
        });
    }

    fn connect_line(&self, gsi: u32, irql: Irql, _shape: LineShape) -> Option<u8> {
        with(|machine| {
            if let Some(line) = machine.lines.get(&gsi) {
                return Some(line.vector).filter(|vector| vector >> 4 == irql);
            }
            let vector = machine.take_vector(irql, 1)?;
            machine.lines.insert(gsi, Line { vector, masked: true, active: false });
            Some(vector)
        })
    }

    fn mask_line(&self, gsi: u32, masked: bool) {
        with(|machine| {
            if let Some(line) = machine.lines.get_mut(&gsi) {
                line.masked = masked;
            }
            machine.drive_lines();
        });
        clocked::deliver();
    }

    fn port_read(&self, _port: u16, width: u8) -> u32 {
        u32::MAX >> (32 - 8 * u32::from(width.clamp(1, 4)))
    }

    fn port_write(&self, _port: u16, _width: u8, _value: u32) {}

    fn pci_read(&self, address: PciAddress, offset: u16, buffer: &mut [u8]) -> bool {
        with(|machine| match machine.functions.get_mut(&address) {
            Some(function) => {
                function.read_configuration(offset, buffer);
                true
            }
            None => {
                buffer.fill(0xff);
                false
            }
        })
    }

    fn pci_write(&self, address: PciAddress, offset: u16, data: &[u8]) {
        with(|machine| {
            if let Some(function) = machine.functions.get_mut(&address) {
                function.write_configuration(offset, data);
            }
        });
    }

    /// As on the q35 board: four lines, shared by device number.
    fn pci_line(&self, address: PciAddress, pin: u8) -> Option<u32> {
        (1..=4).contains(&pin).then(|| 16 + (u32::from(address.device) + u32::from(pin) - 1) % 4)
    }

    fn log(&self, bytes: &[u8]) {
        child::append_log(bytes);
    }

    fn channel_write(&self, bytes: &[u8]) {
        child::append_channel(bytes);
    }

    fn end(&self, ending: Ending) -> ! {
        child::end(ending)
    }
}
