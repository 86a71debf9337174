//! The vfio-user messages as bytes: headers, bodies, capabilities. Knows no device and no socket.
//!
//! Layouts follow the vfio-user protocol, version 0.1; flag values are those of Linux's VFIO, from vfio-bindings.

use serde::Deserialize;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::serve::socket::MAX_FDS;

/// Bytes of a message header.
pub const HEADER_SIZE: usize = size_of::<Header>();
/// Most data bytes of one region access.
pub const MAX_TRANSFER: usize = 1 << 20;
/// Largest message this server takes: a region write of that size.
pub const MAX_MESSAGE: usize = HEADER_SIZE + size_of::<RegionAccess>() + MAX_TRANSFER;

/// Bits 0 to 3 of [`Header::flags`]: the message's type.
pub const FLAG_TYPE: u32 = 0xf;
/// The type of a reply. A command has type 0.
pub const FLAG_REPLY: u32 = 1;
/// The sender wants no reply.
pub const FLAG_NO_REPLY: u32 = 1 << 4;
/// The reply reports an error.
pub const FLAG_ERROR: u32 = 1 << 5;

/// Map range of a DMA_MAP: the device may read.
pub const DMA_READ: u32 = 1 << 0;
/// The device may write.
pub const DMA_WRITE: u32 = 1 << 1;

/// Numbers of the commands: of those that a client sends, and of two that this server sends.
pub mod command {
    /// Negotiate version and capabilities.
    pub const VERSION: u16 = 1;
    /// Map guest memory.
    pub const DMA_MAP: u16 = 2;
    /// Unmap guest memory.
    pub const DMA_UNMAP: u16 = 3;
    /// What the device has.
    pub const GET_INFO: u16 = 4;
    /// What a region is.
    pub const GET_REGION_INFO: u16 = 5;
    /// What an interrupt index is.
    pub const GET_IRQ_INFO: u16 = 7;
    /// Set interrupts up, mask or trigger them.
    pub const SET_IRQS: u16 = 8;
    /// Read a region.
    pub const REGION_READ: u16 = 9;
    /// Write a region.
    pub const REGION_WRITE: u16 = 10;
    /// Read guest memory: the server asks.
    pub const DMA_READ: u16 = 11;
    /// Write guest memory: the server asks.
    pub const DMA_WRITE: u16 = 12;
    /// Reset the device.
    pub const RESET: u16 = 13;
}

/// The beginning of each message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// Chosen by the sender; a reply repeats it.
    pub id: u16,
    /// What is asked.
    pub command: u16,
    /// Bytes of the message, this header included.
    pub size: u32,
    /// `FLAG_…`.
    pub flags: u32,
    /// Error number of an error reply.
    pub error: u32,
}

/// Body of DMA_MAP.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmaMap {
    /// Bytes of this body.
    pub argsz: u32,
    /// `DMA_READ`, `DMA_WRITE`.
    pub flags: u32,
    /// Offset in the file.
    pub offset: u64,
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

/// Body of DMA_UNMAP and of its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmaUnmap {
    /// Bytes of this body.
    pub argsz: u32,
    /// VFIO's unmap flags.
    pub flags: u32,
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

/// Body of GET_INFO and of its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceInfo {
    /// Bytes of this body.
    pub argsz: u32,
    /// VFIO's device flags.
    pub flags: u32,
    /// Number of regions.
    pub regions: u32,
    /// Number of interrupt indexes.
    pub irqs: u32,
}

/// Body of GET_REGION_INFO and of its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionInfo {
    /// Bytes the client has room for; in the reply, bytes it needs.
    pub argsz: u32,
    /// VFIO's region flags.
    pub flags: u32,
    /// Which region.
    pub index: u32,
    /// Offset of the first capability from the start of this body.
    pub cap_offset: u32,
    /// Bytes of the region.
    pub size: u64,
    /// Offset of the region in its file.
    pub offset: u64,
}

/// Capability of a region of which parts can be mapped; areas follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SparseCapability {
    /// VFIO's number of this capability.
    pub id: u16,
    /// 1.
    pub version: u16,
    /// Offset of the next capability.
    pub next: u32,
    /// Number of areas.
    pub areas: u32,
    /// Zero.
    pub reserved: u32,
}

/// One area that can be mapped.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SparseArea {
    /// Offset in the region.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// Body of GET_IRQ_INFO and of its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IrqInfo {
    /// Bytes of this body.
    pub argsz: u32,
    /// VFIO's interrupt flags.
    pub flags: u32,
    /// Which index.
    pub index: u32,
    /// Number of interrupts at that index.
    pub count: u32,
}

/// Body of SET_IRQS; data may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetIrqs {
    /// Bytes of this body, data included.
    pub argsz: u32,
    /// VFIO's data and action flags.
    pub flags: u32,
    /// Which index.
    pub index: u32,
    /// First interrupt.
    pub start: u32,
    /// Number of interrupts.
    pub count: u32,
}

/// Body of REGION_READ and REGION_WRITE and of their replies; data may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionAccess {
    /// Offset in the region.
    pub offset: u64,
    /// Which region.
    pub region: u32,
    /// Bytes of data.
    pub count: u32,
}

/// Body of DMA_READ and DMA_WRITE and of their replies; data may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmaAccess {
    /// Guest address.
    pub address: u64,
    /// Bytes of data.
    pub count: u64,
}

/// Body of VERSION; the capabilities follow as JSON, with a NUL at the end.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Version {
    /// Major version: must be equal.
    pub major: u16,
    /// Minor version: the smaller one counts.
    pub minor: u16,
}

/// What the client says it can do, as far as this server cares.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClientVersion {
    capabilities: ClientCapabilities,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct ClientCapabilities {
    max_msg_fds: u64,
    max_data_xfer_size: u64,
    #[serde(rename = "max_dma_maps")]
    _max_dma_maps: u64,
    #[serde(rename = "pgsizes")]
    _page_sizes: u64,
    #[serde(rename = "migration")]
    _migration: ClientMigration,
}

/// This server does not migrate, but a client that says nonsense about it may mean something else by the rest, too.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClientMigration {
    #[serde(rename = "pgsize")]
    _page_size: u64,
    #[serde(rename = "max_bitmap_size")]
    _max_bitmap_size: u64,
}

impl Default for ClientCapabilities {
    fn default() -> Self {
        Self {
            max_msg_fds: 1,
            max_data_xfer_size: MAX_TRANSFER as u64,
            _max_dma_maps: 65535,
            _page_sizes: 4096,
            _migration: ClientMigration::default(),
        }
    }
}

/// More descriptors in one message than any client could mean: the C library's limit.
const MAX_CLIENT_FDS: u64 = 1024;

/// What both sides settled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Minor version.
    pub minor: u16,
    /// Data bytes that the client takes in one message.
    pub max_transfer: usize,
    /// Whether the client takes a descriptor with a reply.
    pub takes_fds: bool,
}

/// The only major version there is, and the highest minor version this server speaks.
pub const VERSION: Version = Version { major: 0, minor: 1 };

/// Read the client's VERSION body. `None` if it is not one, or asks for another major version.
pub fn parse_version(body: &[u8]) -> Option<Agreement> {
    let (version, text) = Version::read_from_prefix(body).ok()?;
    if version.major != VERSION.major {
        return None;
    }
    let client = match text.split_last() {
        None => ClientVersion::default(),
        Some((0, json)) => serde_json::from_slice::<ClientVersion>(json).ok()?,
        Some(_) => return None,
    };
    let max_transfer = usize::try_from(client.capabilities.max_data_xfer_size).unwrap_or(usize::MAX).min(MAX_TRANSFER);
    if max_transfer == 0 || client.capabilities.max_msg_fds > MAX_CLIENT_FDS {
        return None;
    }
    Some(Agreement { minor: version.minor.min(VERSION.minor), max_transfer, takes_fds: client.capabilities.max_msg_fds > 0 })
}

/// This server's capabilities, as they follow the version in the reply.
pub fn server_capabilities(max_dma_maps: usize) -> String {
    let capabilities = serde_json::json!({
        "capabilities": {
            "max_msg_fds": MAX_FDS,
            "max_data_xfer_size": MAX_TRANSFER,
            "max_dma_maps": max_dma_maps,
            "pgsizes": 4096,
        }
    });
    format!("{capabilities}\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(major: u16, minor: u16, text: &[u8]) -> Vec<u8> {
        [Version { major, minor }.as_bytes(), text].concat()
    }

    #[test]
    fn the_smaller_minor_version_and_the_smaller_transfer_count() {
        let agreed = parse_version(&body(0, 7, b"{\"capabilities\":{\"max_data_xfer_size\":4096,\"max_msg_fds\":8}}\0")).unwrap();

        assert_eq!(agreed, Agreement { minor: 1, max_transfer: 4096, takes_fds: true });
        assert_eq!(parse_version(&body(0, 0, b"")).unwrap().minor, 0);
    }

    #[test]
    fn a_version_without_capabilities_gets_the_protocols_defaults() {
        let expected = Agreement { minor: 1, max_transfer: MAX_TRANSFER, takes_fds: true };

        for text in [&b""[..], b"{}\0", b"{\"capabilities\":{}}\0", b"{\"capabilities\":{\"migration\":{\"pgsize\":4096}}}\0"] {
            assert_eq!(parse_version(&body(0, 1, text)), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        assert_eq!(parse_version(&[]), None);
        assert_eq!(parse_version(&[0, 0, 1]), None);
        assert_eq!(parse_version(&body(1, 0, b"{}\0")), None);
        for text in [
            &b"{}"[..],
            b"\0",
            b"{\0",
            b"[]\0x",
            br#"{ "capabilities: { } }"#,
            b"{ \"capabilities: { } }\0",
            b"{\"capabilities\":7}\0",
            b"{\"capabilities\":\"23\"}\0",
            b"{\"capabilities\":{\"max_msg_fds\":-1}}\0",
            b"{\"capabilities\":{\"max_msg_fds\":\"foo\"}}\0",
            b"{\"capabilities\":{\"max_msg_fds\":1025}}\0",
            b"{\"capabilities\":{\"max_data_xfer_size\":0}}\0",
            b"{\"capabilities\":{\"max_data_xfer_size\":18446744073709551616}}\0",
            b"{\"capabilities\":{\"max_dma_maps\":\"many\"}}\0",
            b"{\"capabilities\":{\"pgsizes\":[4096]}}\0",
            b"{\"capabilities\":{\"migration\":\"23\"}}\0",
            b"{\"capabilities\":{\"migration\":{\"pgsize\":\"foo\"}}}\0",
            b"{\"capabilities\":{\"migration\":{\"pgsize\":-1}}}\0",
        ] {
            assert_eq!(parse_version(&body(0, 1, text)), None, "{}", text.escape_ascii());
        }
        let nested = [vec![b'['; 100_000], vec![0]].concat();
        assert_eq!(parse_version(&body(0, 1, &nested)), None);
    }
}
