//! What people look at: events as text, sums, the place where two traces part, and files that other programs open.
//!
//! Everything here streams: what is kept does not grow with the trace.

mod diff;
mod export;
mod filter;
mod map;
mod stat;
mod text;

#[cfg(test)]
mod tests;

pub use self::diff::{Difference, Parting, diff};
pub use self::export::{ExportError, json, perfetto, vcd};
pub use self::filter::Filter;
pub use self::map::{MapError, RegisterMap};
pub use self::stat::{Sums, stat};
pub use self::text::Describe;
