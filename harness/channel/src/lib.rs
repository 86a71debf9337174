//! The framed messages between the harness and a guest, on a serial line (COM2 of the guest).
//!
//! A frame is the postcard form of one message followed by its CRC-32, all of it COBS-encoded, ended by a zero byte: a reader
//! that starts in the middle, or meets noise, is in step again at the next zero. No frame is longer than [`MAX_FRAME`].
//!
//! Two languages share the line: the suites' ([`ToGuest`], [`FromGuest`]) and the agent's ([`ToAgent`], [`FromAgent`]).
#![no_std]

mod agent;
mod frame;
mod message;

pub use agent::{AGENT_VERSION, FromAgent, MAX_OUTPUT, MAX_PIECE, ToAgent};
pub use frame::{Decoder, FrameError, MAX_FRAME, Word, encode, encode_agent};
pub use message::{Ask, Bounds, Expected, FromGuest, LogLevel, Needs, Outcome, PROTOCOL_VERSION, Span, ToGuest};
