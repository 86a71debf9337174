//! What a trace says of itself before its first event: the device, the level it was recorded at, and notes of whoever recorded it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::device::{BAR_COUNT, Bar, BarKind, Capability, Identity, Msix};

/// Where the recorder stood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Around a PCI device: registers, DMA, interrupts.
    #[default]
    Bus,
    /// Around a virtio device: chains and device configuration. What registers and interrupts there are beside them is the transport's.
    Virtio,
}

/// The text of a header.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Where the recorder stood.
    pub level: Level,
    /// Name of the device.
    pub device: String,
    /// Vendor and device id, subsystem's vendor and device id.
    #[serde(default)]
    pub ids: [u16; 4],
    /// Class, subclass and programming interface.
    #[serde(default)]
    pub class: u32,
    /// Revision.
    #[serde(default)]
    pub revision: u8,
    /// Base address registers.
    #[serde(default)]
    pub bars: [Option<BarShape>; BAR_COUNT],
    /// BAR and number of vectors of MSI-X.
    #[serde(default)]
    pub msix: Option<(usize, u16)>,
    /// Whether there is an interrupt pin.
    #[serde(default)]
    pub pin: bool,
    /// Capabilities.
    #[serde(default)]
    pub capabilities: Vec<CapabilityShape>,
    /// The virtio device, if it is one.
    #[serde(default)]
    pub virtio: Option<VirtioShape>,
    /// Whatever else the recorder's user wants to be known: the run, its seed, the driver.
    #[serde(default)]
    pub notes: BTreeMap<String, String>,
}

/// A base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BarShape {
    /// `memory32`, `memory64` or `ports`.
    pub kind: Decoding,
    /// Bytes.
    pub size: u64,
    /// Whether reads have no side effect.
    #[serde(default)]
    pub prefetchable: bool,
}

/// What a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoding {
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere.
    Memory64,
    /// Ports.
    Ports,
}

/// A capability in configuration space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityShape {
    /// Its id.
    pub id: u8,
    /// What follows id and pointer.
    pub body: Vec<u8>,
    /// Bits that can be written.
    #[serde(default)]
    pub writable: Vec<u8>,
}

/// A virtio device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioShape {
    /// Virtio device id.
    pub id: u16,
    /// Largest size of each queue.
    pub queue_sizes: Vec<u16>,
    /// Feature bits of the device, without the transport's.
    pub features: u64,
    /// Bytes of device configuration.
    pub config_size: usize,
}

impl Header {
    /// The header of a PCI device.
    pub fn of_device(name: &str, identity: &Identity) -> Self {
        let shape = |bar: Bar| BarShape { kind: decoding(bar.kind), size: bar.size, prefetchable: bar.prefetchable };
        Self {
            level: Level::Bus,
            device: name.to_owned(),
            ids: [identity.vendor, identity.device, identity.subsystem_vendor, identity.subsystem],
            class: identity.class,
            revision: identity.revision,
            bars: identity.bars.map(|bar| bar.map(shape)),
            msix: identity.msix.map(|msix| (msix.bar, msix.vectors)),
            pin: identity.pin,
            capabilities: identity
                .capabilities
                .iter()
                .map(|found| CapabilityShape { id: found.id, body: found.body.clone(), writable: found.writable.clone() })
                .collect(),
            virtio: None,
            notes: BTreeMap::new(),
        }
    }

    /// The header and one more note.
    #[must_use]
    pub fn with_note(mut self, name: &str, value: impl Into<String>) -> Self {
        self.notes.insert(name.to_owned(), value.into());
        self
    }

    /// The device as it said it was. Its live capabilities are gone: a trace cannot answer for them.
    pub fn identity(&self) -> Identity {
        let bar = |shape: BarShape| Bar { kind: shape.kind.into(), size: shape.size, prefetchable: shape.prefetchable };
        Identity {
            vendor: self.ids[0],
            device: self.ids[1],
            subsystem_vendor: self.ids[2],
            subsystem: self.ids[3],
            class: self.class,
            revision: self.revision,
            bars: self.bars.map(|shape| shape.map(bar)),
            msix: self.msix.map(|(bar, vectors)| Msix { bar, vectors }),
            pin: self.pin,
            capabilities: self
                .capabilities
                .iter()
                .map(|found| Capability { id: found.id, body: found.body.clone(), writable: found.writable.clone(), live: false })
                .collect(),
        }
    }
}

fn decoding(kind: BarKind) -> Decoding {
    match kind {
        BarKind::Memory32 => Decoding::Memory32,
        BarKind::Memory64 => Decoding::Memory64,
        BarKind::Ports => Decoding::Ports,
    }
}

impl From<Decoding> for BarKind {
    fn from(decoding: Decoding) -> Self {
        match decoding {
            Decoding::Memory32 => Self::Memory32,
            Decoding::Memory64 => Self::Memory64,
            Decoding::Ports => Self::Ports,
        }
    }
}
