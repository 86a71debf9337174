//! The registers of the device, and the only place that touches them. Offsets are those of the virtio specification, 4.1.4.3.
//!
//! There is no `unsafe` even here: `wdf::mmio` checks every access against the mapping. What no checker sees is that addresses written to
//! the queue registers are where the device will write; they come from common buffers and from nowhere else.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use protocol::hardware::RelayConfig;
use wdf::mmio::{IoMapping, Register};
use wdf::resources::Resource;
use wdf::resources::Resources;
use wdf::{NTSTATUS, Passive, Result};
use zerocopy::{FromBytes, IntoBytes};

use crate::capabilities::{Layout, Place};
use crate::ring::Addresses;

const DEVICE_FEATURE_SELECT: usize = 0;
const DEVICE_FEATURE: usize = 4;
const DRIVER_FEATURE_SELECT: usize = 8;
const DRIVER_FEATURE: usize = 12;
const CONFIG_VECTOR: usize = 16;
const QUEUES: usize = 18;
const STATUS: usize = 20;
const CONFIG_GENERATION: usize = 21;
const QUEUE_SELECT: usize = 22;
const QUEUE_SIZE: usize = 24;
const QUEUE_VECTOR: usize = 26;
const QUEUE_ENABLE: usize = 28;
const QUEUE_NOTIFY_OFFSET: usize = 30;
const QUEUE_DESCRIPTORS: usize = 32;
const QUEUE_AVAILABLE: usize = 40;
const QUEUE_USED: usize = 48;
const COMMON_LENGTH: usize = 56;

const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const NEEDS_RESET: u8 = 64;
const FAILED: u8 = 128;
/// What every register of a device reads that is gone.
const GONE: u8 = 0xff;

/// `VIRTIO_F_VERSION_1` and `VIRTIO_F_ACCESS_PLATFORM`, in the upper half of the features. The second costs us nothing: all
/// addresses are logical addresses of the system's DMA interface.
const VERSION_1: u32 = 1 << 0;
const ACCESS_PLATFORM: u32 = 1 << 1;

/// No interrupt.
pub(crate) const NO_VECTOR: u16 = 0xffff;

/// How long a device may take to reset itself.
const RESET_STEPS: u32 = 200;
const RESET_STEP: Duration = Duration::from_millis(5);

/// Looks at a device that is to halt at once: a millisecond's worth.
const HALT_LOOKS: u32 = 100;

/// Most bytes of one BAR that are mapped; no register of a relay device lies beyond.
const MOST_MAPPED: u64 = 16 << 20;
/// Tries to read a configuration that the device keeps changing.
const CONFIG_TRIES: u32 = 16;

/// No doorbell.
const NOWHERE: usize = usize::MAX;

/// A mapped BAR and its number.
struct Bar {
    number: usize,
    mapping: IoMapping,
}

/// The mapped registers.
pub(crate) struct Registers {
    bars: [Option<Bar>; 4],
    layout: Layout,
    /// Offset of each queue's doorbell behind `layout.notify`; [`NOWHERE`] until the queue is set up.
    doorbells: [AtomicUsize; 3],
}

impl Registers {
    /// Maps the BARs that the registers are in.
    pub(crate) fn map(layout: Layout, resources: Resources<'_>) -> Result<Self> {
        let mut registers = Self { bars: [const { None }; 4], layout, doorbells: [const { AtomicUsize::new(NOWHERE) }; 3] };
        let wanted = [layout.common, layout.notify, layout.isr, layout.device];
        let mut free = 0;
        for place in wanted {
            if registers.bar(place.bar).is_some() {
                continue;
            }
            registers.bars[free] = Some(Bar { number: place.bar, mapping: map_bar(layout, place.bar, resources)? });
            free += 1;
        }
        for (place, least) in [(layout.common, COMMON_LENGTH), (layout.isr, 1), (layout.device, size_of::<RelayConfig>())] {
            let mapped = registers.bar(place.bar).map_or(0, IoMapping::len);
            let end = place.offset.checked_add(least).ok_or(NTSTATUS::DEVICE_CONFIGURATION_ERROR)?;
            if place.length < least || end > mapped {
                return Err(NTSTATUS::DEVICE_CONFIGURATION_ERROR);
            }
        }
        Ok(registers)
    }

    fn bar(&self, number: usize) -> Option<&IoMapping> {
        self.bars.iter().flatten().find(|bar| bar.number == number).map(|bar| &bar.mapping)
    }

    fn read<T: Register>(&self, place: Place, offset: usize) -> T {
        self.bar(place.bar).map_or(T::ALL_ONES, |bar| bar.read(place.offset.wrapping_add(offset)))
    }

    fn write<T: Register>(&self, place: Place, offset: usize, value: T) {
        if let Some(bar) = self.bar(place.bar) {
            bar.write(place.offset.wrapping_add(offset), value);
        }
    }

    fn common<T: Register>(&self, offset: usize) -> T {
        self.read(self.layout.common, offset)
    }

    fn set_common<T: Register>(&self, offset: usize, value: T) {
        self.write(self.layout.common, offset, value);
    }

    fn set_common_64(&self, offset: usize, value: u64) {
        self.set_common(offset, value as u32);
        self.set_common(offset + 4, (value >> 32) as u32);
    }

    /// Stops the device. When this returns `Ok` it reads and writes no memory any more.
    ///
    /// # Errors
    /// `STATUS_DEVICE_NOT_CONNECTED` when it is gone, `STATUS_IO_TIMEOUT` when it does not answer.
    pub(crate) fn reset(&self, passive: Passive<'_>) -> Result<()> {
        self.set_common(STATUS, 0_u8);
        for _ in 0..RESET_STEPS {
            match self.common::<u8>(STATUS) {
                0 => return Ok(()),
                GONE => return Err(NTSTATUS::DEVICE_NOT_CONNECTED),
                _ => wdf::time::sleep(RESET_STEP, passive),
            }
        }
        Err(NTSTATUS::IO_TIMEOUT)
    }

    /// As [`reset`](Self::reset), without sleeping. Whether the device stopped, or is gone: then it writes no memory any more.
    pub(crate) fn halt(&self) -> bool {
        self.set_common(STATUS, 0_u8);
        (0..HALT_LOOKS).any(|_| matches!(self.common::<u8>(STATUS), 0 | GONE))
    }

    /// As [`reset`](Self::reset), of a device that may be gone for a moment.
    ///
    /// # Errors
    /// As [`reset`](Self::reset), when the moment is over.
    pub(crate) fn reset_patiently(&self, passive: Passive<'_>) -> Result<()> {
        let mut was_told_again = false;
        for _ in 0..RESET_STEPS {
            match self.reset(passive) {
                Err(NTSTATUS::DEVICE_NOT_CONNECTED) => wdf::time::sleep(RESET_STEP, passive),
                // It may have been away when it was told, and back when it was looked at: then it has not heard of the reset.
                Err(NTSTATUS::IO_TIMEOUT) if !was_told_again => was_told_again = true,
                outcome => return outcome,
            }
        }
        Err(NTSTATUS::DEVICE_NOT_CONNECTED)
    }

    /// Agrees on features with a device that was just reset.
    ///
    /// # Errors
    /// `STATUS_NOT_SUPPORTED` when it is no modern device, or wants what we do not have.
    pub(crate) fn negotiate(&self) -> Result<()> {
        self.set_common(STATUS, ACKNOWLEDGE);
        self.set_common(STATUS, ACKNOWLEDGE | DRIVER);
        self.set_common(DEVICE_FEATURE_SELECT, 1_u32);
        let offered: u32 = self.common(DEVICE_FEATURE);
        if offered & VERSION_1 == 0 || offered == u32::MAX {
            return Err(NTSTATUS::NOT_SUPPORTED);
        }
        self.set_common(DRIVER_FEATURE_SELECT, 0_u32);
        self.set_common(DRIVER_FEATURE, 0_u32);
        self.set_common(DRIVER_FEATURE_SELECT, 1_u32);
        self.set_common(DRIVER_FEATURE, offered & (VERSION_1 | ACCESS_PLATFORM));
        self.set_common(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        let status: u8 = self.common(STATUS);
        if status == GONE || status & FEATURES_OK == 0 {
            return Err(NTSTATUS::NOT_SUPPORTED);
        }
        Ok(())
    }

    /// Number of virtqueues.
    pub(crate) fn queues(&self) -> u16 {
        self.common(QUEUES)
    }

    /// Largest size of virtqueue `queue`.
    pub(crate) fn largest(&self, queue: u16) -> u16 {
        self.set_common(QUEUE_SELECT, queue);
        self.common(QUEUE_SIZE)
    }

    /// Sets up virtqueue `queue`.
    ///
    /// # Errors
    /// `STATUS_DEVICE_CONFIGURATION_ERROR` when its doorbell is nowhere, `STATUS_INSUFFICIENT_RESOURCES` when it has no such vector.
    pub(crate) fn set_up(&self, queue: u16, size: u16, at: Addresses, vector: u16) -> Result<()> {
        self.set_common(QUEUE_SELECT, queue);
        self.set_common(QUEUE_SIZE, size);
        self.set_common(QUEUE_VECTOR, vector);
        if self.common::<u16>(QUEUE_VECTOR) != vector {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        self.set_common_64(QUEUE_DESCRIPTORS, at.descriptors);
        self.set_common_64(QUEUE_AVAILABLE, at.available);
        self.set_common_64(QUEUE_USED, at.used);
        let notify = self.layout.notify;
        let offset = usize::from(self.common::<u16>(QUEUE_NOTIFY_OFFSET)).checked_mul(self.layout.notify_multiplier);
        let mapped = self.bar(notify.bar).map_or(0, IoMapping::len).saturating_sub(notify.offset).min(notify.length);
        let inside = offset.filter(|offset| offset.checked_add(2).is_some_and(|end| end <= mapped));
        let doorbell = self.doorbells.get(usize::from(queue)).ok_or(NTSTATUS::INVALID_PARAMETER)?;
        doorbell.store(inside.ok_or(NTSTATUS::DEVICE_CONFIGURATION_ERROR)?, Ordering::Release);
        self.set_common(QUEUE_ENABLE, 1_u16);
        Ok(())
    }

    /// Sets the vector of configuration changes.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` when the device has no such vector.
    pub(crate) fn set_config_vector(&self, vector: u16) -> Result<()> {
        self.set_common(CONFIG_VECTOR, vector);
        if self.common::<u16>(CONFIG_VECTOR) == vector { Ok(()) } else { Err(NTSTATUS::INSUFFICIENT_RESOURCES) }
    }

    /// Lets the device work.
    pub(crate) fn go(&self) {
        self.set_common(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// Tells the device that we gave up on it.
    pub(crate) fn fail(&self) {
        self.set_common(STATUS, FAILED);
    }

    /// Whether the device asks to be reset, or is gone (which reads the same).
    pub(crate) fn needs_reset(&self) -> bool {
        self.common::<u8>(STATUS) & NEEDS_RESET != 0
    }

    /// Tells the device to look at virtqueue `queue`.
    pub(crate) fn ring_doorbell(&self, queue: u16) {
        let offset = self.doorbells.get(usize::from(queue)).map_or(NOWHERE, |doorbell| doorbell.load(Ordering::Acquire));
        if offset != NOWHERE {
            self.write(self.layout.notify, offset, queue);
        }
    }

    /// Whether the device has raised its interrupt line; reading it lowers the line.
    pub(crate) fn take_line_interrupt(&self) -> bool {
        let isr: u8 = self.read(self.layout.isr, 0);
        isr != 0 && isr != GONE
    }

    /// The device-specific configuration, all of one moment.
    ///
    /// # Errors
    /// `STATUS_DEVICE_NOT_CONNECTED` when the device is gone, `STATUS_RETRY` when it does not keep still.
    pub(crate) fn config(&self) -> Result<RelayConfig> {
        for _ in 0..CONFIG_TRIES {
            let before: u8 = self.common(CONFIG_GENERATION);
            let mut words = [0_u32; size_of::<RelayConfig>() / 4];
            for (index, word) in words.iter_mut().enumerate() {
                *word = self.read(self.layout.device, 4 * index);
            }
            if self.common::<u8>(STATUS) == GONE {
                return Err(NTSTATUS::DEVICE_NOT_CONNECTED);
            }
            if self.common::<u8>(CONFIG_GENERATION) == before {
                return RelayConfig::read_from_bytes(words.as_bytes()).map_err(|_| NTSTATUS::INTERNAL_ERROR);
            }
        }
        Err(NTSTATUS::RETRY)
    }
}

/// Finds the resource that is BAR `number`, by its address as the bus sees it, and maps it.
fn map_bar(layout: Layout, number: usize, resources: Resources<'_>) -> Result<IoMapping> {
    let address = layout.bars.get(number).copied().flatten().ok_or(NTSTATUS::DEVICE_CONFIGURATION_ERROR)?;
    for (raw, translated) in resources.iter() {
        if let (Resource::Memory(raw), Resource::Memory(translated)) = (raw, translated)
            && raw.start() == address
            && translated.length() <= MOST_MAPPED
        {
            return IoMapping::new(translated);
        }
    }
    Err(NTSTATUS::DEVICE_CONFIGURATION_ERROR)
}
