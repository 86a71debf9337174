//! The static ACPI tables: which processors, interrupt controllers and buses there are. No AML is interpreted.
//! Specification: ACPI 6.5, chapter 5.2. The tables come from firmware and are checked like any other input.

use crate::boot_info::{Physical, u32_at, u64_at};
use crate::layout::MAX_PROCESSORS;

/// I/O interrupt controllers that are kept.
pub const MAX_IO_APICS: usize = 8;
/// Overrides that are kept: one for each ISA interrupt.
const MAX_OVERRIDES: usize = 16;
/// Tables longer than this are nonsense.
const MAX_TABLE: u32 = 1 << 20;
const HEADER: usize = 36;

/// An I/O interrupt controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoApic {
    /// Physical address of its registers.
    pub address: u64,
    /// Global system interrupt number of its first input.
    pub first_gsi: u32,
}

/// What the firmware says about an interrupt that is not as ISA has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// ISA interrupt number.
    pub isa: u8,
    /// Global system interrupt number it arrives as.
    pub gsi: u32,
    /// Level-triggered, if the firmware says so either way.
    pub level: Option<bool>,
    /// Active low, if the firmware says so either way.
    pub active_low: Option<bool>,
}

/// Memory-mapped PCI configuration space of segment 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigurationSpace {
    /// Physical address of bus 0, whether bus 0 is in the range or not.
    pub address: u64,
    /// First bus.
    pub first_bus: u8,
    /// Last bus.
    pub last_bus: u8,
}

/// What the tables say.
#[derive(Clone, Debug)]
pub struct Tables {
    processors: [u32; MAX_PROCESSORS],
    processor_count: usize,
    io_apics: [IoApic; MAX_IO_APICS],
    io_apic_count: usize,
    overrides: [Override; MAX_OVERRIDES],
    override_count: usize,
    /// Physical address of the local interrupt controllers.
    pub local_apic: u64,
    /// Memory-mapped configuration space.
    pub configuration: Option<ConfigurationSpace>,
    /// Port of the power-management timer.
    pub timer_port: Option<u16>,
    /// Register of the real-time clock that holds the century.
    pub century_register: Option<u8>,
}

/// Why the tables cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcpiError {
    /// The loader gave no root pointer.
    NoRootPointer,
    /// A table lies where it cannot be reached.
    OutOfReach,
    /// Wrong signature, length or checksum of the root pointer or root table.
    BadRoot,
    /// There is no table of interrupt controllers.
    NoInterruptControllers,
}

impl Tables {
    /// Reads the tables that `rsdp` leads to. A table other than the root that is damaged is left out.
    ///
    /// # Errors
    /// See [`AcpiError`].
    pub fn read(physical: &impl Physical, rsdp: u64) -> Result<Tables, AcpiError> {
        let mut tables = Tables {
            processors: [0; MAX_PROCESSORS],
            processor_count: 0,
            io_apics: [IoApic::default(); MAX_IO_APICS],
            io_apic_count: 0,
            overrides: [Override::default(); MAX_OVERRIDES],
            override_count: 0,
            local_apic: 0,
            configuration: None,
            timer_port: None,
            century_register: None,
        };
        let (root, width) = find_root(physical, rsdp)?;
        let header = read_header(physical, root).ok_or(AcpiError::BadRoot)?;
        let mut entry = [0; 8];
        for offset in (HEADER as u64..u64::from(u32_at(&header, 4))).step_by(width) {
            if !physical.read(root + offset, &mut entry[..width]) {
                return Err(AcpiError::OutOfReach);
            }
            let address = if width == 8 { u64_at(&entry, 0) } else { u64::from(u32_at(&entry, 0)) };
            if let Some(header) = read_header(physical, address) {
                let length = u64::from(u32_at(&header, 4));
                match &header[..4] {
                    b"APIC" => tables.read_interrupt_controllers(physical, address, length),
                    b"MCFG" => tables.read_configuration_spaces(physical, address, length),
                    b"FACP" => tables.read_fixed_hardware(physical, address, length),
                    _ => {}
                }
            }
        }
        if tables.local_apic == 0 || tables.processor_count == 0 {
            return Err(AcpiError::NoInterruptControllers);
        }
        Ok(tables)
    }

    /// Local interrupt controller ids of the usable processors.
    pub fn processors(&self) -> &[u32] {
        &self.processors[..self.processor_count]
    }

    /// I/O interrupt controllers.
    pub fn io_apics(&self) -> &[IoApic] {
        &self.io_apics[..self.io_apic_count]
    }

    /// Overrides of ISA interrupts.
    pub fn overrides(&self) -> &[Override] {
        &self.overrides[..self.override_count]
    }

    /// Global system interrupt that an ISA interrupt arrives as.
    pub fn isa_line(&self, isa: u8) -> u32 {
        self.overrides().iter().find(|line| line.isa == isa).map_or(u32::from(isa), |line| line.gsi)
    }

    fn read_interrupt_controllers(&mut self, physical: &impl Physical, table: u64, length: u64) {
        let mut address = [0; 4];
        if length < 44 || !physical.read(table + HEADER as u64, &mut address) {
            return;
        }
        self.local_apic = u64::from(u32_at(&address, 0));
        let mut offset = 44;
        while offset + 2 <= length {
            let mut entry = [0; 16];
            if !physical.read(table + offset, &mut entry[..2]) {
                return;
            }
            let size = u64::from(entry[1]);
            if size < 2 || offset + size > length {
                return;
            }
            let kept = size.min(16) as usize;
            if physical.read(table + offset, &mut entry[..kept]) {
                self.add_controller(&entry[..kept]);
            }
            offset += size;
        }
    }

    fn add_controller(&mut self, entry: &[u8]) {
        const ENABLED: u32 = 1;
        match (entry[0], entry.len()) {
            (0, 8..) if u32_at(entry, 4) & ENABLED != 0 => self.add_processor(u32::from(entry[3])),
            (9, 16..) if u32_at(entry, 8) & ENABLED != 0 => self.add_processor(u32_at(entry, 4)),
            (1, 12..) => {
                let controller = IoApic { address: u64::from(u32_at(entry, 4)), first_gsi: u32_at(entry, 8) };
                push(&mut self.io_apics, &mut self.io_apic_count, controller);
            }
            (2, 10..) => {
                let flags = entry[8];
                let line = Override {
                    isa: entry[3],
                    gsi: u32_at(entry, 4),
                    active_low: [None, Some(false), None, Some(true)][usize::from(flags & 3)],
                    level: [None, Some(false), None, Some(true)][usize::from(flags >> 2 & 3)],
                };
                push(&mut self.overrides, &mut self.override_count, line);
            }
            (5, 12..) => self.local_apic = u64_at(entry, 4),
            _ => {}
        }
    }

    fn add_processor(&mut self, id: u32) {
        if !self.processors().contains(&id) {
            push(&mut self.processors, &mut self.processor_count, id);
        }
    }

    fn read_configuration_spaces(&mut self, physical: &impl Physical, table: u64, length: u64) {
        let mut entry = [0; 16];
        for offset in (44..).step_by(16).take_while(|offset| offset + 16 <= length) {
            if physical.read(table + offset, &mut entry) && entry[8..10] == [0, 0] && entry[10] <= entry[11] {
                self.configuration =
                    Some(ConfigurationSpace { address: u64_at(&entry, 0), first_bus: entry[10], last_bus: entry[11] });
                return;
            }
        }
    }

    fn read_fixed_hardware(&mut self, physical: &impl Physical, table: u64, length: u64) {
        let mut fields = [0; 116];
        let kept = length.min(116) as usize;
        if length >= 109 && physical.read(table, &mut fields[..kept]) {
            // PM_TMR_BLK; 0 when there is none.
            self.timer_port = u16::try_from(u32_at(&fields, 76)).ok().filter(|&port| port != 0);
            self.century_register = Some(fields[108]).filter(|&register| register != 0 && register < 128);
        }
    }
}

fn push<T>(list: &mut [T], count: &mut usize, item: T) {
    if let Some(slot) = list.get_mut(*count) {
        *slot = item;
        *count += 1;
    }
}

/// Address of the root table and size of its entries.
fn find_root(physical: &impl Physical, rsdp: u64) -> Result<(u64, usize), AcpiError> {
    if rsdp == 0 {
        return Err(AcpiError::NoRootPointer);
    }
    let mut pointer = [0; 36];
    if !physical.read(rsdp, &mut pointer[..20]) {
        return Err(AcpiError::OutOfReach);
    }
    if &pointer[..8] != b"RSD PTR " || sum(&pointer[..20]) != 0 {
        return Err(AcpiError::BadRoot);
    }
    if pointer[15] >= 2 && physical.read(rsdp, &mut pointer) && sum(&pointer) == 0 && u64_at(&pointer, 24) != 0 {
        return Ok((u64_at(&pointer, 24), 8));
    }
    Ok((u64::from(u32_at(&pointer, 16)), 4))
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The header of a table whose length is sane and whose checksum is right.
fn read_header(physical: &impl Physical, table: u64) -> Option<[u8; HEADER]> {
    let mut header = [0; HEADER];
    table.checked_add(u64::from(MAX_TABLE))?;
    if !physical.read(table, &mut header) {
        return None;
    }
    let length = u32_at(&header, 4);
    if !(HEADER as u32..=MAX_TABLE).contains(&length) {
        return None;
    }
    let mut total = 0u8;
    let mut piece = [0; 256];
    for offset in (0..length).step_by(piece.len()) {
        let piece = &mut piece[..256.min(length - offset) as usize];
        if !physical.read(table + u64::from(offset), piece) {
            return None;
        }
        total = total.wrapping_add(sum(piece));
    }
    (total == 0).then_some(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot_info::tests::Bytes;

    fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut table = vec![0; HEADER];
        table[..4].copy_from_slice(signature);
        table[4..8].copy_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
        table.extend(body);
        table[9] = 0u8.wrapping_sub(sum(&table));
        table
    }

    fn madt() -> Vec<u8> {
        let mut body = 0xfee0_0000u32.to_le_bytes().to_vec();
        body.extend([1, 0, 0, 0]);
        body.extend([0, 8, 0, 0, 1, 0, 0, 0]); // processor 0
        body.extend([0, 8, 1, 3, 1, 0, 0, 0]); // processor with id 3
        body.extend([0, 8, 2, 4, 0, 0, 0, 0]); // disabled
        body.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
        body.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]); // ISA 0 -> 2
        body.extend([2, 10, 0, 10, 10, 0, 0, 0, 0x0d, 0]); // ISA 10: level, active high
        table(b"APIC", &body)
    }

    fn mcfg() -> Vec<u8> {
        let mut body = vec![0; 8];
        body.extend(0xb000_0000u64.to_le_bytes());
        body.extend([0, 0, 0, 255, 0, 0, 0, 0]);
        table(b"MCFG", &body)
    }

    fn fadt() -> Vec<u8> {
        let mut body = vec![0; 129 - HEADER];
        body[76 - HEADER..80 - HEADER].copy_from_slice(&0x608u32.to_le_bytes());
        body[108 - HEADER] = 0x32;
        table(b"FACP", &body)
    }

    /// Memory with a version-0 root pointer at 16 and these tables.
    fn firmware(tables: &[Vec<u8>]) -> Bytes {
        let mut memory = Bytes(vec![0; 0x4000]);
        let mut root = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            let address = 0x1000 + index * 0x400;
            memory.put(address, table);
            root.extend((address as u32).to_le_bytes());
        }
        memory.put(0x200, &self::table(b"RSDT", &root));
        let mut pointer = *b"RSD PTR \0TESTER\0\0\0\0\0";
        pointer[16..].copy_from_slice(&0x200u32.to_le_bytes());
        pointer[8] = 0u8.wrapping_sub(sum(&pointer));
        memory.put(16, &pointer);
        memory
    }

    #[test]
    fn the_tables_of_a_pc_are_understood() {
        let tables = Tables::read(&firmware(&[madt(), mcfg(), fadt()]), 16).unwrap();

        assert_eq!(tables.processors(), [0, 3]);
        assert_eq!(tables.local_apic, 0xfee0_0000);
        assert_eq!(tables.io_apics(), [IoApic { address: 0xfec0_0000, first_gsi: 0 }]);
        assert_eq!((tables.isa_line(0), tables.isa_line(3)), (2, 3));
        let ten = Override { isa: 10, gsi: 10, level: Some(true), active_low: Some(false) };
        assert_eq!(tables.overrides()[1], ten);
        let space = ConfigurationSpace { address: 0xb000_0000, first_bus: 0, last_bus: 255 };
        assert_eq!(tables.configuration, Some(space));
        assert_eq!((tables.timer_port, tables.century_register), (Some(0x608), Some(0x32)));
    }

    #[test]
    fn a_damaged_table_is_left_out() {
        let mut damaged = mcfg();
        damaged[50] ^= 1;

        let tables = Tables::read(&firmware(&[madt(), damaged]), 16).unwrap();

        assert_eq!(tables.configuration, None);
    }

    #[test]
    fn entries_that_reach_beyond_their_table_or_have_no_length_end_the_list() {
        for (kind, size) in [(0u8, 200u8), (0, 0), (1, 1)] {
            let mut body = madt()[HEADER..].to_vec();
            body.extend([kind, size]);

            let tables = Tables::read(&firmware(&[table(b"APIC", &body)]), 16).unwrap();

            assert_eq!(tables.processors().len(), 2);
        }
    }

    #[test]
    fn a_missing_or_damaged_root_is_an_error_with_a_name() {
        let mut damaged = firmware(&[madt()]);
        damaged.0[20] ^= 1;

        assert_eq!(Tables::read(&damaged, 16).unwrap_err(), AcpiError::BadRoot);
        assert_eq!(Tables::read(&damaged, 0).unwrap_err(), AcpiError::NoRootPointer);
        assert_eq!(Tables::read(&damaged, u64::MAX).unwrap_err(), AcpiError::OutOfReach);
        assert_eq!(Tables::read(&firmware(&[mcfg()]), 16).unwrap_err(), AcpiError::NoInterruptControllers);
    }
}
