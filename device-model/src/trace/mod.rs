//! Traces: what a device was asked and what it did, written once and read for ever.
//!
//! `format` knows the bytes (docs/trace-format.md tells them one by one), `event` what they mean; [`Writer`] and [`Reader`] stream them.
//! [`Recorder`] and [`RecordingVirtio`] are devices around devices that write a trace; `import` makes one of other programs' logs; `tap` of what a
//! client and a server say to each other. `look` shows traces to people, `change` makes others of them, `replay` to drivers.

pub mod change;
pub mod import;
pub mod look;
pub mod replay;
pub mod tap;

mod event;
mod format;
mod header;
mod reader;
mod record;
mod writer;

#[cfg(test)]
mod tests;

pub use self::event::{Event, Kind, What};
pub(crate) use self::format::around;
pub use self::format::{MAX_BLOCK, MAX_DATA, TraceError, VERSION};
pub use self::header::{BarShape, CapabilityShape, Decoding, Header, Level, VirtioShape};
pub use self::reader::{Ending, Reader};
pub use self::record::{Recorder, RecordingVirtio, Trace, virtio_header};
pub use self::writer::{Compression, Writer};
