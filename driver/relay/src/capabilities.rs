//! Where a virtio device's registers are: the vendor capabilities in its PCI configuration space. Pure; whatever the device says there is
//! checked for sense, and the walk ends however its pointers run.

use wdf::{NTSTATUS, Result};

/// Vendor-specific capability.
const VENDOR: u8 = 0x09;
/// Offset of the first capability's pointer, and of the status register that says whether there is one.
const POINTER: u32 = 0x34;
const STATUS: u32 = 0x06;
const STATUS_HAS_LIST: u16 = 1 << 4;
const FIRST_BAR: u32 = 0x10;
const BARS: usize = 6;
/// Capabilities start behind the header, and there is no room for more than this many.
const FIRST_CAPABILITY: u8 = 0x40;
const MOST_CAPABILITIES: usize = 48;

/// What a virtio capability is about.
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;

/// A stretch of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) bar: usize,
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// Where everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) common: Place,
    pub(crate) notify: Place,
    pub(crate) notify_multiplier: usize,
    pub(crate) isr: Place,
    pub(crate) device: Place,
    /// Address of each BAR as it is programmed; none for I/O and for the upper halves of 64-bit BARs.
    pub(crate) bars: [Option<u64>; BARS],
}

/// Reads of configuration space.
pub(crate) trait Config {
    fn read<const N: usize>(&self, offset: u32) -> Result<[u8; N]>;
}

impl Config for wdf::pci::ConfigSpace {
    fn read<const N: usize>(&self, offset: u32) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// Finds the registers of a modern virtio device.
///
/// # Errors
/// `STATUS_DEVICE_CONFIGURATION_ERROR` when the device is none, or says nonsense.
pub(crate) fn find(config: &impl Config) -> Result<Layout> {
    if u16::from_le_bytes(config.read(STATUS)?) & STATUS_HAS_LIST == 0 {
        return Err(NTSTATUS::DEVICE_CONFIGURATION_ERROR);
    }
    let mut places = [None; 4];
    let mut multiplier = 0;
    let [mut at] = config.read(POINTER)?;
    for _ in 0..MOST_CAPABILITIES {
        at &= !3;
        if at < FIRST_CAPABILITY {
            break;
        }
        let [id, next, length, kind] = config.read(at.into())?;
        let first = places.get(usize::from(kind).wrapping_sub(1)).is_some_and(Option::is_none);
        // Of several capabilities of one kind, the first is the device's preferred one.
        if id == VENDOR && length >= 16 && (COMMON..=DEVICE).contains(&kind) && first {
            places[usize::from(kind) - 1] = Some(place(config, at)?);
            if kind == NOTIFY && length >= 20 {
                multiplier = u32::from_le_bytes(config.read(u32::from(at) + 16)?);
            }
        }
        at = next;
    }
    let [Some(common), Some(notify), Some(isr), Some(device)] = places else {
        return Err(NTSTATUS::DEVICE_CONFIGURATION_ERROR);
    };
    const { assert!(COMMON == 1 && NOTIFY == 2 && ISR == 3 && DEVICE == 4) };
    Ok(Layout { common, notify, notify_multiplier: multiplier as usize, isr, device, bars: bars(config)? })
}

fn place(config: &impl Config, at: u8) -> Result<Place> {
    let [bar] = config.read(u32::from(at) + 4)?;
    let offset = u32::from_le_bytes(config.read(u32::from(at) + 8)?) as usize;
    let length = u32::from_le_bytes(config.read(u32::from(at) + 12)?) as usize;
    if usize::from(bar) >= BARS {
        return Err(NTSTATUS::DEVICE_CONFIGURATION_ERROR);
    }
    Ok(Place { bar: bar.into(), offset, length })
}

fn bars(config: &impl Config) -> Result<[Option<u64>; BARS]> {
    let mut bars = [None; BARS];
    let mut index = 0;
    while index < BARS {
        let low = read_bar(config, index)?;
        let is_memory = low & 1 == 0;
        let is_64_bit = is_memory && low & 0b110 == 0b100 && index + 1 < BARS;
        if is_memory {
            let high = if is_64_bit { read_bar(config, index + 1)? } else { 0 };
            bars[index] = Some(u64::from(high) << 32 | u64::from(low & !0xf)).filter(|address| *address != 0);
        }
        index += if is_64_bit { 2 } else { 1 };
    }
    Ok(bars)
}

fn read_bar(config: &impl Config, index: usize) -> Result<u32> {
    config.read(FIRST_BAR + 4 * index as u32).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes([u8; 256]);

    impl Config for Bytes {
        fn read<const N: usize>(&self, offset: u32) -> Result<[u8; N]> {
            let at = offset as usize;
            self.0.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).ok_or(NTSTATUS::DEVICE_NOT_CONNECTED)
        }
    }

    fn capability(bytes: &mut [u8; 256], at: usize, next: u8, kind: u8, bar: u8, offset: u32) {
        bytes[at..at + 5].copy_from_slice(&[VENDOR, next, 20, kind, bar]);
        bytes[at + 8..at + 12].copy_from_slice(&offset.to_le_bytes());
        bytes[at + 12..at + 16].copy_from_slice(&0x1000_u32.to_le_bytes());
        bytes[at + 16..at + 20].copy_from_slice(&4_u32.to_le_bytes());
    }

    fn device() -> [u8; 256] {
        let mut bytes = [0; 256];
        bytes[STATUS as usize] = 0x10;
        bytes[POINTER as usize] = 0x40;
        capability(&mut bytes, 0x40, 0x54, COMMON, 4, 0);
        capability(&mut bytes, 0x54, 0x68, NOTIFY, 4, 0x3000);
        capability(&mut bytes, 0x68, 0x7c, ISR, 4, 0x1000);
        capability(&mut bytes, 0x7c, 0, DEVICE, 4, 0x2000);
        bytes[0x10..0x14].copy_from_slice(&0xfebd_0000_u32.to_le_bytes());
        bytes[0x20..0x28].copy_from_slice(&0x38_0000_000c_u64.to_le_bytes());
        bytes
    }

    #[test]
    fn the_four_places_and_the_bars_are_found() {
        let layout = find(&Bytes(device())).expect("a modern device");
        assert_eq!(layout.common, Place { bar: 4, offset: 0, length: 0x1000 });
        assert_eq!((layout.notify.offset, layout.notify_multiplier), (0x3000, 4));
        assert_eq!((layout.isr.offset, layout.device.offset), (0x1000, 0x2000));
        assert_eq!(layout.bars, [Some(0xfebd_0000), None, None, None, Some(0x38_0000_0000), None]);
    }

    #[test]
    fn the_first_of_two_capabilities_of_one_kind_counts() {
        let mut bytes = device();
        bytes[0x7d] = 0x90;
        capability(&mut bytes, 0x90, 0, COMMON, 2, 0x500);
        assert_eq!(find(&Bytes(bytes)).map(|layout| layout.common.bar), Ok(4));
    }

    #[test]
    fn a_list_that_runs_in_a_circle_ends() {
        let mut bytes = device();
        bytes[0x55] = 0x40;
        assert_eq!(find(&Bytes(bytes)), Err(NTSTATUS::DEVICE_CONFIGURATION_ERROR));
    }

    #[test]
    fn a_bar_number_that_does_not_exist_is_refused() {
        let mut bytes = device();
        bytes[0x44] = 6;
        assert_eq!(find(&Bytes(bytes)), Err(NTSTATUS::DEVICE_CONFIGURATION_ERROR));
    }

    #[test]
    fn a_device_that_is_gone_reads_all_ones_and_is_refused() {
        assert!(find(&Bytes([0xff; 256])).is_err());
    }
}
