//! Frames: how a message becomes bytes on the line and comes back.

use crc::{CRC_32_ISCSI, CRC_32_ISO_HDLC, Crc};
use serde::{Deserialize, Serialize};

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// The checksum of the agent's frames: another one, so that each language's frames are noise in the other.
static AGENT_CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Longest frame on the line, its closing zero included. A message that does not fit is refused by [`encode`].
pub const MAX_FRAME: usize = 2048;

/// What COBS adds to the longest frame: a byte for every 254, one to begin with, and the closing zero.
const COBS_OVERHEAD: usize = MAX_FRAME / 254 + 2;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The message or the frame is longer than [`MAX_FRAME`].
    TooLong,
    /// The bytes between two zeros are not COBS.
    Encoding,
    /// The checksum does not match, or the message is not one that this protocol version knows.
    Content,
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "frame longer than the protocol allows",
            Self::Encoding => "frame is not COBS-encoded",
            Self::Content => "frame has a wrong checksum or an unknown message",
        })
    }
}

impl core::error::Error for FrameError {}

/// Writes the frame of `message` to `line` and returns its length.
///
/// # Errors
/// [`FrameError::TooLong`] when it does not fit.
pub fn encode<M: Serialize>(message: &M, line: &mut [u8; MAX_FRAME]) -> Result<usize, FrameError> {
    encode_with(message, &CRC, line)
}

/// [`encode`] for a message of the agent's language.
///
/// # Errors
/// As [`encode`].
pub fn encode_agent<M: Serialize>(message: &M, line: &mut [u8; MAX_FRAME]) -> Result<usize, FrameError> {
    encode_with(message, &AGENT_CRC, line)
}

fn encode_with<M: Serialize>(message: &M, crc: &'static Crc<u32>, line: &mut [u8; MAX_FRAME]) -> Result<usize, FrameError> {
    let mut plain = [0u8; MAX_FRAME - COBS_OVERHEAD];
    let plain = postcard::to_slice_crc32(message, &mut plain, crc.digest()).map_err(|_| FrameError::TooLong)?;
    let length = cobs::encode(plain, line);
    line[length] = 0;
    Ok(length + 1)
}

/// A message of either language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<S, A> {
    /// Of the suites'.
    Suite(S),
    /// Of the agent's.
    Agent(A),
}

/// Collects bytes from the line and yields whole frames.
#[derive(Debug)]
pub struct Decoder {
    buffer: [u8; MAX_FRAME],
    length: usize,
    overrun: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the start of a frame.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: [0; MAX_FRAME], length: 0, overrun: false }
    }

    /// Takes one byte. At the end of a frame returns its message, or why it is none; the decoder is then ready for the next
    /// frame. Empty frames (two zeros in a row) are padding and yield nothing.
    pub fn push<'a, M: Deserialize<'a>>(&'a mut self, byte: u8) -> Option<Result<M, FrameError>> {
        Some(self.collect(byte)?.and_then(|plain| read(plain, &CRC)))
    }

    /// [`Self::push`] for a line on which both languages are spoken.
    pub fn push_either<'a, S: Deserialize<'a>, A: Deserialize<'a>>(
        &'a mut self,
        byte: u8,
    ) -> Option<Result<Word<S, A>, FrameError>> {
        let word = |plain| read(plain, &CRC).map(Word::Suite).or_else(|_| read(plain, &AGENT_CRC).map(Word::Agent));
        Some(self.collect(byte)?.and_then(word))
    }

    /// Takes one byte; at the end of a frame, what is in it, its checksum included.
    fn collect(&mut self, byte: u8) -> Option<Result<&[u8], FrameError>> {
        if byte != 0 {
            match self.buffer.get_mut(self.length) {
                Some(slot) => {
                    *slot = byte;
                    self.length += 1;
                }
                None => self.overrun = true,
            }
            return None;
        }
        let length = core::mem::take(&mut self.length);
        if core::mem::take(&mut self.overrun) {
            return Some(Err(FrameError::TooLong));
        }
        if length == 0 {
            return None;
        }
        let Ok(plain) = cobs::decode_in_place(&mut self.buffer[..length]) else {
            return Some(Err(FrameError::Encoding));
        };
        Some(Ok(&self.buffer[..plain]))
    }
}

fn read<'a, M: Deserialize<'a>>(plain: &'a [u8], crc: &'static Crc<u32>) -> Result<M, FrameError> {
    postcard::from_bytes_crc32(plain, crc.digest()).map_err(|_| FrameError::Content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FromAgent, FromGuest, MAX_OUTPUT, MAX_PIECE, Outcome, Span, ToAgent, ToGuest};

    fn feed(decoder: &mut Decoder, bytes: &[u8]) -> usize {
        bytes.iter().filter(|byte| matches!(decoder.push::<ToGuest<'_>>(**byte), Some(Ok(_)))).count()
    }

    #[test]
    fn a_message_survives_the_line() {
        let mut line = [0; MAX_FRAME];
        let outcome = Outcome::Failed { file: "echo.rs", line: 7, reason: "expected 0, came 1" };
        let message = FromGuest::Finished { test: "device::echo", outcome, duration: 12 };
        let length = encode(&message, &mut line).unwrap();
        let mut decoder = Decoder::new();
        for byte in &line[..length - 1] {
            assert!(decoder.push::<FromGuest<'_>>(*byte).is_none());
        }
        assert_eq!(decoder.push::<FromGuest<'_>>(line[length - 1]), Some(Ok(message)));
    }

    #[test]
    fn noise_costs_at_most_the_frame_it_hits() {
        let mut line = [0; MAX_FRAME];
        let length = encode(&ToGuest::Run { test: "device::echo", seed: 1, span: Span::Moment }, &mut line).unwrap();
        let good = line;
        line[length / 2] ^= 0x40;
        let mut decoder = Decoder::new();
        assert_eq!(feed(&mut decoder, b"garbage"), 0);
        assert_eq!(feed(&mut decoder, &line[..length]), 0, "noise glued to a damaged frame");
        assert_eq!(feed(&mut decoder, &good[..length]), 1);
    }

    #[test]
    fn every_single_bit_flip_is_noticed() {
        let mut line = [0; MAX_FRAME];
        let length = encode(&ToGuest::Run { test: "a::b", seed: 99, span: Span::Moment }, &mut line).unwrap();
        for bit in 0..(length - 1) * 8 {
            let mut damaged = line;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(feed(&mut Decoder::new(), &damaged[..length]), 0, "bit {bit}");
        }
    }

    #[test]
    fn an_endless_frame_is_refused_and_the_next_one_read() {
        let mut decoder = Decoder::new();
        assert_eq!(feed(&mut decoder, &[1; MAX_FRAME * 3]), 0);
        assert_eq!(decoder.push::<ToGuest<'_>>(0), Some(Err(FrameError::TooLong)));
        let mut line = [0; MAX_FRAME];
        let length = encode(&ToGuest::List, &mut line).unwrap();
        assert_eq!(feed(&mut decoder, &line[..length]), 1);
    }

    #[test]
    fn a_message_that_is_too_long_is_refused() {
        let text = core::str::from_utf8(&[b'x'; MAX_FRAME]).unwrap();
        assert_eq!(
            encode(&ToGuest::Run { test: text, seed: 0, span: Span::Moment }, &mut [0; MAX_FRAME]),
            Err(FrameError::TooLong)
        );
    }

    #[test]
    fn a_word_of_one_language_is_never_taken_for_one_of_the_other() {
        let mut line = [0; MAX_FRAME];
        let mut decoder = Decoder::new();
        let length = encode_agent(&ToAgent::Hello { version: 1 }, &mut line).unwrap();
        assert_eq!(feed(&mut decoder, &line[..length]), 0, "the suite does not hear the agent's");
        let mut words = line[..length].to_vec();
        let length = encode(&ToGuest::List, &mut line).unwrap();
        words.extend_from_slice(&line[..length]);
        let mut heard = 0;
        for byte in words {
            match decoder.push_either::<ToGuest<'_>, ToAgent<'_>>(byte) {
                Some(Ok(Word::Agent(ToAgent::Hello { version: 1 }))) => heard += 1,
                Some(Ok(Word::Suite(ToGuest::List))) => heard += 10,
                None => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(heard, 11);
    }

    #[test]
    fn the_longest_piece_and_the_longest_line_fit_into_a_frame() {
        let mut line = [0; MAX_FRAME];
        assert!(encode_agent(&FromAgent::Piece { offset: u64::MAX, bytes: &[0xff; MAX_PIECE] }, &mut line).is_ok());
        let text = core::str::from_utf8(&[b'x'; MAX_OUTPUT]).unwrap();
        assert!(encode_agent(&FromAgent::Output { line: text }, &mut line).is_ok());
    }
}
