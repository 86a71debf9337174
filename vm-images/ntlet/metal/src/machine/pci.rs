//! PCI configuration space, memory-mapped (ECAM) where the firmware says so, else through ports; and where INTx pins end.

use super::sync::{Lock, Once};
use super::{cpu, io_apic, kernel_memory, memory};
use crate::acpi::Tables;
use crate::wiring::{self, Ich9Routes, ROUTES_OFFSET, ROUTES_SIZE};
use kernel::hal::{Caching, PciAddress};

/// Configuration space of one function, memory-mapped and through ports.
const FUNCTION_SIZE: usize = 4096;
const PORT_SIZE: usize = 256;
const ADDRESS_PORT: u16 = 0xcf8;
const DATA_PORT: u16 = 0xcfc;

const HEADER_TYPE: u16 = 0x0e;
const SECONDARY_BUS: u16 = 0x19;
const INTERRUPT_LINE: u16 = 0x3c;

enum Access {
    /// First and last bus, and where bus 0 lies.
    Memory {
        first_bus: u8,
        last_bus: u8,
        base: *mut u8,
    },
    Ports(Lock<()>),
}

// SAFETY: the pointer leads to configuration space, which any processor may use.
unsafe impl Send for Access {}
// SAFETY: as above.
unsafe impl Sync for Access {}

static ACCESS: Once<Access> = Once::new();
static ROUTES: Once<Option<Ich9Routes>> = Once::new();

/// Finds configuration space.
pub(crate) fn start(tables: &Tables) {
    let mapped = tables.configuration.and_then(|space| {
        let offset = u64::from(space.first_bus) << 20;
        let size = (u64::from(space.last_bus - space.first_bus) + 1) << 20;
        let base = memory::map_aperture(space.address.checked_add(offset)?, size)?;
        Some(Access::Memory { first_bus: space.first_bus, last_bus: space.last_bus, base: base.wrapping_sub(offset as usize) })
    });
    ACCESS.set(mapped.unwrap_or(Access::Ports(Lock::new(()))));
    ROUTES.set(read_routes());
}

/// Length of the next access at `offset`: 1, 2 or 4 bytes, naturally aligned.
fn width(offset: usize, remaining: usize) -> usize {
    [4, 2].into_iter().find(|width| offset.is_multiple_of(*width) && remaining >= *width).unwrap_or(1)
}

/// Splits `[offset, offset + length)` into natural accesses: offset of each, and its place in the buffer.
fn accesses(offset: usize, length: usize) -> impl Iterator<Item = (usize, core::ops::Range<usize>)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let width = (done < length).then(|| width(offset + done, length - done))?;
        done += width;
        Some((offset + done - width, done - width..done))
    })
}

/// The register at `offset` of a function, if memory-mapped configuration space covers it.
fn register(access: &Access, address: PciAddress, offset: usize) -> Option<*mut u8> {
    let Access::Memory { first_bus, last_bus, base } = access else { return None };
    let function =
        usize::from(address.bus) << 20 | usize::from(address.device & 31) << 15 | usize::from(address.function & 7) << 12;
    (*first_bus..=*last_bus).contains(&address.bus).then(|| base.wrapping_add(function + offset))
}

/// What the address port takes.
fn port_address(address: PciAddress, offset: usize) -> u32 {
    let function = u32::from(address.bus) << 16 | u32::from(address.device & 31) << 11 | u32::from(address.function & 7) << 8;
    1 << 31 | function | offset as u32 & 0xfc
}

fn read_register(address: PciAddress, offset: usize, width: usize) -> u32 {
    let access = ACCESS.get();
    match (register(access, address, offset), access) {
        // SAFETY: inside the mapped aperture, naturally aligned.
        (Some(register), _) => unsafe {
            match width {
                1 => u32::from(register.read_volatile()),
                2 => u32::from(register.cast::<u16>().read_volatile()),
                _ => register.cast::<u32>().read_volatile(),
            }
        },
        (None, Access::Ports(lock)) if offset < PORT_SIZE => {
            let _selected = lock.lock();
            cpu::port_write(ADDRESS_PORT, 4, port_address(address, offset));
            cpu::port_read(DATA_PORT + (offset as u16 & 3), width as u8)
        }
        _ => u32::MAX,
    }
}

fn write_register(address: PciAddress, offset: usize, width: usize, value: u32) {
    let access = ACCESS.get();
    match (register(access, address, offset), access) {
        // SAFETY: inside the mapped aperture, naturally aligned.
        (Some(register), _) => unsafe {
            match width {
                1 => register.write_volatile(value as u8),
                2 => register.cast::<u16>().write_volatile(value as u16),
                _ => register.cast::<u32>().write_volatile(value),
            }
        },
        (None, Access::Ports(lock)) if offset < PORT_SIZE => {
            let _selected = lock.lock();
            cpu::port_write(ADDRESS_PORT, 4, port_address(address, offset));
            cpu::port_write(DATA_PORT + (offset as u16 & 3), width as u8, value);
        }
        _ => {}
    }
}

/// Reads configuration space; `false` when no function answers.
pub(crate) fn read(address: PciAddress, offset: u16, buffer: &mut [u8]) -> bool {
    buffer.fill(0xff);
    let offset = usize::from(offset);
    let reachable = buffer.len().min(FUNCTION_SIZE.saturating_sub(offset));
    for (offset, place) in accesses(offset, reachable) {
        let width = place.len();
        buffer[place].copy_from_slice(&read_register(address, offset, width).to_le_bytes()[..width]);
    }
    // All ones is an honest value of many registers, but never of the vendor id.
    buffer.iter().any(|&byte| byte != 0xff) || read_register(address, 0, 2) != 0xffff
}

/// Writes configuration space.
pub(crate) fn write(address: PciAddress, offset: u16, data: &[u8]) {
    let offset = usize::from(offset);
    let reachable = data.len().min(FUNCTION_SIZE.saturating_sub(offset));
    for (offset, place) in accesses(offset, reachable) {
        let mut value = [0; 4];
        value[..place.len()].copy_from_slice(&data[place.clone()]);
        write_register(address, offset, place.len(), u32::from_le_bytes(value));
    }
}

/// Routes of the chip set's own devices, if this is an ICH9.
fn read_routes() -> Option<Ich9Routes> {
    const BRIDGE: PciAddress = PciAddress { bus: 0, device: 31, function: 0 };
    const ICH9_LPC: u32 = 0x2918_8086;
    const ROOT_COMPLEX_BASE: usize = 0xf0;
    if read_register(BRIDGE, 0, 4) != ICH9_LPC {
        return None;
    }
    let base = read_register(BRIDGE, ROOT_COMPLEX_BASE, 4);
    let enabled = base & 1 != 0;
    let registers = kernel_memory::map_physical(u64::from(base & !0x3fff) + ROUTES_OFFSET, ROUTES_SIZE, Caching::Uncached);
    let registers = registers.filter(|_| enabled)?;
    let mut routes = [0; ROUTES_SIZE];
    for (index, bytes) in routes.chunks_exact_mut(2).enumerate() {
        // SAFETY: inside the mapping, aligned to two bytes.
        bytes.copy_from_slice(&unsafe { registers.cast::<u16>().add(index).read_volatile() }.to_le_bytes());
    }
    kernel_memory::unmap(registers, ROUTES_SIZE);
    Some(Ich9Routes(routes))
}

/// The bridge whose secondary bus is `bus`, looked for on lower buses.
fn bridge_to(bus: u8) -> Option<PciAddress> {
    const BRIDGE: u32 = 1;
    // Firmware numbers buses depth first: a bridge lies on a lower bus than the one behind it.
    for upper in (0..bus).rev() {
        for device in 0..32 {
            for function in 0..8 {
                let address = PciAddress { bus: upper, device, function };
                let kind = read_register(address, usize::from(HEADER_TYPE), 1);
                if function == 0 && (kind == 0xff || kind & 0x80 == 0 && kind & 0x7f != BRIDGE) {
                    break;
                }
                if kind & 0x7f == BRIDGE
                    && kind != 0xff
                    && read_register(address, usize::from(SECONDARY_BUS), 1) == u32::from(bus)
                {
                    return Some(address);
                }
            }
        }
    }
    None
}

/// Global system interrupt that a function's pin (1 to 4) arrives as.
pub(crate) fn line(address: PciAddress, pin: u8) -> Option<u32> {
    if !(1..=4).contains(&pin) {
        return None;
    }
    let (mut at, mut pin_there) = (address, pin);
    if ROUTES.get().is_some() {
        while at.bus != 0 {
            let bridge = bridge_to(at.bus)?;
            pin_there = wiring::swizzle(at.device, pin_there);
            at = bridge;
        }
    }
    match ROUTES.get() {
        Some(routes) => Some(routes.line(at.device, pin_there)),
        // Without a known chip set: what firmware wrote for the legacy controller, which I/O APICs have on the same number.
        None => match read_register(address, usize::from(INTERRUPT_LINE), 1) as u8 {
            0 | 0xff => None,
            isa => Some(io_apic::isa_line(isa)),
        },
    }
}
