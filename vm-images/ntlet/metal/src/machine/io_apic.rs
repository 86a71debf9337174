//! Wired interrupts: the I/O interrupt controllers (I/O APIC), and switching off the legacy ones.
//! Register layout: Intel 82093AA data sheet.

use super::sync::{Lock, Once};
use super::{cpu, interrupts, kernel_memory};
use crate::acpi::{self, MAX_IO_APICS};
use kernel::hal::{Caching, Irql, LineShape};

const SELECT: usize = 0x00;
const WINDOW: usize = 0x10;
const VERSION: u32 = 1;
const FIRST_ENTRY: u32 = 0x10;
const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

/// Wired interrupts that are kept track of.
const MAX_LINES: usize = 256;

struct Controller {
    registers: *mut u32,
    first_gsi: u32,
    inputs: u32,
}

struct Controllers {
    list: [Option<Controller>; MAX_IO_APICS],
    /// Vector of each connected line.
    vectors: [Option<u8>; MAX_LINES],
}

// SAFETY: the pointers lead to registers that any processor may use; the lock around this orders the accesses.
unsafe impl Send for Controllers {}

static CONTROLLERS: Lock<Controllers> =
    Lock::new(Controllers { list: [const { None }; MAX_IO_APICS], vectors: [None; MAX_LINES] });
static TABLES: Once<acpi::Tables> = Once::new();

impl Controller {
    fn read(&self, register: u32) -> u32 {
        // SAFETY: the mapping covers the two registers; the caller holds the lock, so the selection is ours.
        unsafe {
            self.registers.byte_add(SELECT).write_volatile(register);
            self.registers.byte_add(WINDOW).read_volatile()
        }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: as for reading.
        unsafe {
            self.registers.byte_add(SELECT).write_volatile(register);
            self.registers.byte_add(WINDOW).write_volatile(value);
        }
    }
}

impl Controllers {
    /// Controller and first register of a line's entry.
    fn entry(&self, gsi: u32) -> Option<(&Controller, u32)> {
        self.list.iter().flatten().find_map(|controller| {
            let input = gsi.checked_sub(controller.first_gsi).filter(|&input| input < controller.inputs)?;
            Some((controller, FIRST_ENTRY + 2 * input))
        })
    }
}

/// Masks the legacy controllers and every input of those that the tables name.
pub(crate) fn start(tables: &acpi::Tables) {
    switch_off_legacy_controllers();
    let mut controllers = CONTROLLERS.lock();
    for (slot, found) in controllers.list.iter_mut().zip(tables.io_apics()) {
        let Some(registers) = kernel_memory::map_physical(found.address, 0x20, Caching::Uncached) else { continue };
        let mut controller = Controller { registers: registers.as_ptr().cast(), first_gsi: found.first_gsi, inputs: 0 };
        controller.inputs = (controller.read(VERSION) >> 16 & 0xff) + 1;
        (0..controller.inputs).for_each(|input| controller.write(FIRST_ENTRY + 2 * input, MASKED));
        *slot = Some(controller);
    }
    drop(controllers);
    TABLES.set(tables.clone());
}

/// Moves the two 8259s' vectors away from exceptions, for a spurious one cannot be masked, and masks them.
fn switch_off_legacy_controllers() {
    const OUT_OF_THE_WAY: u32 = 0xf0;
    for (command, data, cascade) in [(0x20, 0x21, 4), (0xa0, 0xa1, 2)] {
        port(command, 0x11);
        port(data, OUT_OF_THE_WAY);
        port(data, cascade);
        port(data, 1);
        port(data, 0xff);
    }
}

fn port(port: u16, value: u32) {
    cpu::port_write(port, 1, value);
}

/// Routes a line to a new vector at `irql` on this processor, masked. A line that is connected keeps its vector; asking for it at
/// another IRQL fails.
pub(crate) fn connect(gsi: u32, irql: Irql, shape: LineShape) -> Option<u8> {
    let mut controllers = CONTROLLERS.lock();
    let known = *controllers.vectors.get(gsi as usize)?;
    if known.is_some() {
        return known.filter(|vector| vector >> 4 == irql);
    }
    controllers.entry(gsi)?;
    let (vector, processor) = interrupts::allocate(irql, 1)?;
    controllers.vectors[gsi as usize] = Some(vector);
    // Where the firmware says how a line is wired, it knows better than the caller.
    let said = TABLES.get().overrides().iter().find(|line| line.gsi == gsi);
    let level = said.and_then(|line| line.level).unwrap_or(shape.level);
    let active_low = said.and_then(|line| line.active_low).unwrap_or(shape.active_low);
    let flags = if level { LEVEL } else { 0 } | if active_low { ACTIVE_LOW } else { 0 };
    let (controller, entry) = controllers.entry(gsi)?;
    controller.write(entry, MASKED);
    controller.write(entry + 1, processor << 24);
    controller.write(entry, MASKED | flags | u32::from(vector));
    Some(vector)
}

/// Masks or unmasks a line. Lines that are not connected stay masked.
pub(crate) fn mask(gsi: u32, masked: bool) {
    let controllers = CONTROLLERS.lock();
    if !matches!(controllers.vectors.get(gsi as usize), Some(Some(_))) {
        return;
    }
    if let Some((controller, entry)) = controllers.entry(gsi) {
        let value = controller.read(entry) & !MASKED;
        controller.write(entry, if masked { value | MASKED } else { value });
    }
}

/// Forgets lines whose vector was given back, and masks them.
pub(crate) fn release(vector: u8) {
    let mut controllers = CONTROLLERS.lock();
    for gsi in 0..MAX_LINES {
        if controllers.vectors[gsi] == Some(vector) {
            if let Some((controller, entry)) = controllers.entry(gsi as u32) {
                controller.write(entry, MASKED);
            }
            controllers.vectors[gsi] = None;
        }
    }
}

/// Global system interrupt of an ISA interrupt.
pub(crate) fn isa_line(isa: u8) -> u32 {
    TABLES.get().isa_line(isa)
}
