//! The framed messages between the harness and a guest, on a serial line (COM2 of the guest).
//!
//! A frame is the postcard form of one message followed by its CRC-32, all of it COBS-encoded, ended by a zero byte: a reader
//! that starts in the middle, or meets noise, is in step again at the next zero. No frame is longer than [`MAX_FRAME`].
#![no_std]

mod frame;
mod message;

pub use frame::{Decoder, FrameError, MAX_FRAME, encode};
pub use message::{Ask, Bounds, Expected, FromGuest, LogLevel, Needs, Outcome, PROTOCOL_VERSION, ToGuest};
