//! What the loader hands over, and PCI and device interrupts, with devices that QEMU has: `edu` (INTx and MSI) wherever there are some, `e1000e` (MSI-X).
//! A machine without them fails these checks: they are there to be run.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use kernel::hal::{Caching, InterruptMessage, LineShape, PciAddress};

use super::{BOOT, Check, MILLISECOND, Outcome, check, hal, log, on_device, wait_until};

pub(super) const CHECKS: &[Check] = &[
    ("command line and archive arrive whole", hand_over_is_whole),
    ("configuration space reads what is there, and ones where nothing is", configuration_space_reads),
    ("configuration space keeps what is written to it, in any width", configuration_space_writes),
    ("vectors run out, come back, and stand for their IRQL", vectors_are_finite),
    ("every edu device interrupts through its INTx pin", wired_interrupts_come),
    ("a masked line is silent until it is unmasked", masked_lines_are_silent),
    ("every edu device interrupts by MSI on the processor asked for", messages_come),
    ("an e1000e interrupts by MSI-X", table_messages_come),
];

const EDU: u32 = 0x11e8_1234;
const E1000E: u32 = 0x10d3_8086;
const ICH9_LPC: PciAddress = PciAddress { bus: 0, device: 31, function: 0 };

const COMMAND: u16 = 4;
const MEMORY_AND_MASTER: u16 = 6;
const INTX_DISABLED: u16 = 1 << 10;

static COUNT: AtomicU32 = AtomicU32::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);
/// Registers of the device that interrupts, for its handler.
static REGISTERS: AtomicU64 = AtomicU64::new(0);

fn read32(address: PciAddress, offset: u16) -> u32 {
    let mut value = [0; 4];
    hal().pci_read(address, offset, &mut value);
    u32::from_le_bytes(value)
}

fn read8(address: PciAddress, offset: u16) -> u8 {
    (read32(address, offset & !3) >> (8 * (offset & 3))) as u8
}

fn write16(address: PciAddress, offset: u16, value: u16) {
    hal().pci_write(address, offset, &value.to_le_bytes());
}

/// Functions with an id, on any bus of the first four.
fn functions(id: u32) -> impl Iterator<Item = PciAddress> {
    let all =
        (0..4).flat_map(|bus| (0..32).flat_map(move |device| (0..8).map(move |function| PciAddress { bus, device, function })));
    all.filter(move |&address| read32(address, 0) == id)
}

/// Offset of a capability.
fn capability(address: PciAddress, id: u8) -> Option<u16> {
    let mut offset = u16::from(read8(address, 0x34));
    for _ in 0..48 {
        if offset == 0 {
            return None;
        }
        if read8(address, offset) == id {
            return Some(offset);
        }
        offset = u16::from(read8(address, offset + 1));
    }
    None
}

/// Maps a memory BAR.
fn map(address: PciAddress, bar: u16, length: usize) -> Option<NonNull<u8>> {
    let low = read32(address, 0x10 + 4 * bar);
    let high = if low & 6 == 4 { u64::from(read32(address, 0x14 + 4 * bar)) } else { 0 };
    hal().map_physical(high << 32 | u64::from(low & !15), length, Caching::Uncached)
}

fn register(base: NonNull<u8>, offset: usize) -> *mut u32 {
    base.as_ptr().wrapping_add(offset).cast()
}

fn write(base: NonNull<u8>, offset: usize, value: u32) {
    // SAFETY: a register of a device whose BAR is mapped; the offsets are the device's.
    unsafe { register(base, offset).write_volatile(value) };
}

fn read(base: NonNull<u8>, offset: usize) -> u32 {
    // SAFETY: as for writing.
    unsafe { register(base, offset).read_volatile() }
}

/// The archive has as many bytes as the command line's word `bytes=` says, and each byte follows from its place.
fn hand_over_is_whole() -> Outcome {
    let boot = BOOT.get();
    let told = boot.command_line.split(' ').find_map(|word| word.strip_prefix("bytes="));
    let expected = told.and_then(|number| number.parse().ok()).unwrap_or(0);
    check!(boot.archive.len() == expected, "the archive has another length than the command line says");
    let right = boot.archive.iter().enumerate().all(|(place, &byte)| byte == (place % 251) as u8);
    check!(right, "the archive has other bytes");
    Ok(())
}

fn configuration_space_reads() -> Outcome {
    let mut bytes = [0; 6];
    check!(hal().pci_read(ICH9_LPC, 0, &mut bytes) && bytes[..4] == [0x86, 0x80, 0x18, 0x29], "the chip set is not an ICH9");
    let mut one = [0];
    check!(hal().pci_read(ICH9_LPC, 3, &mut one) && one == [0x29], "a single byte cannot be read");
    let nobody = PciAddress { bus: 0, device: 17, function: 5 };
    let mut ones = [0; 7];
    check!(!hal().pci_read(nobody, 1, &mut ones) && ones == [0xff; 7], "an empty slot answers");
    check!(!hal().pci_read(PciAddress { bus: 255, device: 31, function: 7 }, 0, &mut ones), "an empty bus answers");
    let mut across = [0; 8];
    check!(hal().pci_read(ICH9_LPC, 4092, &mut across) && across[4..] == [0xff; 4], "beyond the end there is something");
    Ok(())
}

fn configuration_space_writes() -> Outcome {
    let edu = functions(EDU).next();
    check!(edu.is_some(), "QEMU has no `-device edu`");
    let edu = edu.expect("checked above");
    const LINE: u16 = 0x3c;
    let before = read8(edu, LINE);
    hal().pci_write(edu, LINE, &[0x5a]);
    let after = read32(edu, LINE);
    hal().pci_write(edu, LINE, &[before]);
    check!(after as u8 == 0x5a && read8(edu, LINE) == before, "the interrupt line does not keep a byte");
    check!(after >> 8 == read32(edu, LINE) >> 8, "its neighbours changed");
    Ok(())
}

fn vectors_are_finite() -> Outcome {
    let mut taken: [Option<InterruptMessage>; 17] = core::array::from_fn(|_| hal().allocate_message(9, 1));
    let last = taken[16].take();
    let right = taken.iter().flatten().all(|message| message.vector >> 4 == 9 && message.data == u32::from(message.vector));
    let count = taken.iter().flatten().inspect(|message| hal().free_message(message.vector)).count();
    check!(last.is_none() && count == 16 && right, "they are not the sixteen of their IRQL");
    let again = hal().allocate_message(9, 1);
    check!(again.is_some_and(|message| message.address == 0xfee0_0000), "they do not come back");
    hal().free_message(again.map_or(0, |message| message.vector));
    check!(hal().allocate_message(9, 0).is_none() && hal().allocate_message(9, 1 << 63).is_none(), "no processor has one");
    check!(hal().allocate_message(2, 1).is_none() && hal().allocate_message(13, 1).is_none(), "another IRQL has one");
    Ok(())
}

/// Offsets of edu's registers: identification, raise, acknowledge.
const EDU_ID: usize = 0;
const EDU_RAISE: usize = 0x60;
const EDU_STATUS: usize = 0x24;
const EDU_ACKNOWLEDGE: usize = 0x64;

/// Counts an interrupt of an edu device, notes vector, IRQL and processor, and quiets the device.
fn on_edu(vector: u8) {
    let Some(registers) = NonNull::new(REGISTERS.load(Ordering::SeqCst) as *mut u8) else { return };
    SEEN.store(u64::from(vector) | u64::from(hal().irql()) << 8 | u64::from(hal().current_processor()) << 16, Ordering::SeqCst);
    write(registers, EDU_ACKNOWLEDGE, read(registers, EDU_STATUS));
    COUNT.fetch_add(1, Ordering::SeqCst);
}

/// Maps an edu device and readies it for interrupts.
fn open(edu: PciAddress) -> Result<NonNull<u8>, super::Failure> {
    write16(edu, COMMAND, MEMORY_AND_MASTER);
    let registers = map(edu, 0, 0x1000);
    check!(registers.is_some(), "its registers cannot be mapped");
    let registers = registers.expect("checked above");
    check!(read(registers, EDU_ID) & 0xffff == 0xed, "its registers are not there");
    REGISTERS.store(registers.as_ptr() as u64, Ordering::SeqCst);
    COUNT.store(0, Ordering::SeqCst);
    Ok(registers)
}

fn close(registers: NonNull<u8>) {
    REGISTERS.store(0, Ordering::SeqCst);
    // SAFETY: the check is done with the device.
    unsafe { hal().unmap(registers, 0x1000) };
}

const PCI_LINE: LineShape = LineShape { level: true, active_low: true };

fn wired_interrupts_come() -> Outcome {
    let mut devices = 0;
    for edu in functions(EDU) {
        devices += 1;
        let registers = open(edu)?;
        let gsi = hal().pci_line(edu, read8(edu, 0x3d));
        check!(gsi.is_some(), "its pin leads nowhere");
        let gsi = gsi.expect("checked above");
        log!("     edu at {:02x}:{:02x}.{}: GSI {gsi}, interrupt line {}", edu.bus, edu.device, edu.function, read8(edu, 0x3c));
        let vector = hal().connect_line(gsi, 6, PCI_LINE);
        check!(vector.is_some_and(|vector| vector >> 4 == 6), "its line cannot be connected");
        let vector = vector.unwrap_or(0);
        check!(hal().connect_line(gsi, 6, PCI_LINE) == Some(vector), "a second time its line has another vector");
        check!(hal().connect_line(gsi, 7, PCI_LINE).is_none(), "its line has two IRQLs");
        hal().mask_line(gsi, false);
        let came = on_device(on_edu, || {
            (1..=3).all(|round| {
                write(registers, EDU_RAISE, 1);
                wait_until(|| COUNT.load(Ordering::SeqCst) == round)
            })
        });
        hal().mask_line(gsi, true);
        hal().free_message(vector);
        write16(edu, COMMAND, INTX_DISABLED);
        close(registers);
        check!(came, "its interrupt does not come, or comes once only");
        check!(SEEN.load(Ordering::SeqCst) & 0xffff == u64::from(vector) | 6 << 8, "another vector or IRQL came");
    }
    check!(devices != 0, "QEMU has no `-device edu`");
    Ok(())
}

fn masked_lines_are_silent() -> Outcome {
    let edu = functions(EDU).next();
    check!(edu.is_some(), "QEMU has no `-device edu`");
    let edu = edu.expect("checked above");
    let registers = open(edu)?;
    let gsi = hal().pci_line(edu, read8(edu, 0x3d)).unwrap_or(0);
    let vector = hal().connect_line(gsi, 6, PCI_LINE).unwrap_or(0);
    let (early, came) = on_device(on_edu, || {
        write(registers, EDU_RAISE, 1);
        let began = hal().uptime();
        wait_until(|| hal().uptime() > began + 5 * MILLISECOND);
        let early = COUNT.load(Ordering::SeqCst);
        hal().mask_line(gsi, false);
        (early, wait_until(|| COUNT.load(Ordering::SeqCst) == 1))
    });
    hal().free_message(vector);
    close(registers);
    check!(early == 0, "it is not silent");
    check!(came, "unmasked, it stays silent");
    Ok(())
}

fn messages_come() -> Outcome {
    const MSI: u8 = 5;
    for edu in functions(EDU) {
        let found = capability(edu, MSI);
        check!(found.is_some(), "it has no MSI capability");
        let at = found.unwrap_or(0);
        for processor in 0..hal().processor_count() {
            let registers = open(edu)?;
            let message = hal().allocate_message(7, 1 << processor);
            check!(message.is_some(), "there is no vector");
            let message = message.expect("checked above");
            hal().pci_write(edu, at + 4, &message.address.to_le_bytes());
            write16(edu, at + 12, message.data as u16);
            write16(edu, at + 2, 1);
            let came = on_device(on_edu, || {
                (1..=3).all(|round| {
                    write(registers, EDU_RAISE, 1);
                    wait_until(|| COUNT.load(Ordering::SeqCst) == round)
                })
            });
            write16(edu, at + 2, 0);
            hal().free_message(message.vector);
            close(registers);
            check!(came, "its message does not come");
            let expected = u64::from(message.vector) | 7 << 8 | u64::from(processor) << 16;
            check!(SEEN.load(Ordering::SeqCst) == expected, "another vector or IRQL came, or on another processor");
        }
    }
    Ok(())
}

fn table_messages_come() -> Outcome {
    const MSI_X: u8 = 0x11;
    // Registers of the 82574: interrupt cause set, mask set, vector allocation; and the cause "receive queue 0".
    const CAUSE_SET: usize = 0xc8;
    const MASK_SET: usize = 0xd0;
    const VECTORS: usize = 0xe4;
    const RECEIVE_QUEUE0: u32 = 1 << 20;
    const VALID: u32 = 8;
    let card = functions(E1000E).next();
    check!(card.is_some(), "QEMU has no `-device e1000e`");
    let card = card.expect("checked above");
    write16(card, COMMAND, MEMORY_AND_MASTER);
    let at = capability(card, MSI_X);
    check!(at.is_some(), "it has no MSI-X capability");
    let at = at.unwrap_or(0);
    let table = read32(card, at + 4);
    let (registers, entries) = (map(card, 0, 0x1000), map(card, (table & 7) as u16, 0x1000));
    let message = hal().allocate_message(8, u64::MAX);
    check!(registers.is_some() && entries.is_some() && message.is_some(), "registers, table or vector cannot be had");
    let (registers, entries) = (registers.expect("checked above"), entries.expect("checked above"));
    let message = message.expect("checked above");
    let entry = (table & !7) as usize;
    for (index, word) in [message.address as u32, (message.address >> 32) as u32, message.data, 0].into_iter().enumerate() {
        write(entries, entry + 4 * index, word);
    }
    write16(card, at + 2, 1 << 15);
    write(registers, VECTORS, VALID);
    write(registers, MASK_SET, RECEIVE_QUEUE0);
    SEEN.store(0, Ordering::SeqCst);
    let came = on_device(
        |vector| SEEN.store(u64::from(vector), Ordering::SeqCst),
        || {
            write(registers, CAUSE_SET, RECEIVE_QUEUE0);
            wait_until(|| SEEN.load(Ordering::SeqCst) == u64::from(message.vector))
        },
    );
    write16(card, at + 2, 0);
    hal().free_message(message.vector);
    // SAFETY: the check is done with the device.
    unsafe {
        hal().unmap(registers, 0x1000);
        hal().unmap(entries, 0x1000);
    }
    check!(came, "its message does not come");
    Ok(())
}
