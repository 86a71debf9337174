//! What a program of somebody else's says, in a file that it cannot make as large as it likes: the beginning and the end of it, and between
//! them how much was left out.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};

/// Bytes of the beginning that are kept.
const HEAD: usize = 32 << 20;
/// Bytes of the end that are kept.
const TAIL: usize = 4 << 20;
/// How long a program that has ended may keep its output open through somebody who has not.
const MOMENT: Duration = Duration::from_secs(1);

/// A file that is written as its program speaks; the end of it when the program has ended. Dropping this waits for that, a moment at most.
#[derive(Debug)]
pub struct Capped {
    ended: Receiver<()>,
}

impl Capped {
    /// What is written to the descriptor is appended to `file`.
    ///
    /// # Errors
    /// The system's.
    pub fn new(file: File) -> io::Result<(Self, OwnedFd)> {
        let (output, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let (end, ended) = channel();
        std::thread::Builder::new().name("log".into()).spawn(move || {
            // A full disk ends the log, not what is logged: the rest is read and dropped.
            let mut output = File::from(output);
            if copy(&mut output, file, HEAD, TAIL).is_err() {
                let _ = io::copy(&mut output, &mut io::sink());
            }
            drop(end);
        })?;
        Ok((Self { ended }, input))
    }

    /// The program has ended: wait until all that it said is in the file.
    pub fn settle(&self) {
        let _ = self.ended.recv_timeout(MOMENT);
    }
}

impl Drop for Capped {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Copy to the end, but no more than the first `head` and the last `tail` bytes.
fn copy(from: &mut impl io::Read, mut to: impl io::Write, head: usize, tail: usize) -> io::Result<()> {
    let mut from = io::BufReader::with_capacity(64 << 10, from);
    io::copy(&mut from.by_ref().take(head as u64), &mut to)?;
    let (mut kept, mut cut) = (VecDeque::new(), 0_u64);
    let mut chunk = [0; 16 << 10];
    loop {
        let count = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        kept.extend(&chunk[..count]);
        let excess = kept.len().saturating_sub(tail);
        kept.drain(..excess);
        cut += excess as u64;
    }
    if cut > 0 {
        writeln!(to, "\n[… {cut} bytes are left out here: a log keeps its beginning and its end …]")?;
    }
    let (older, newer) = kept.as_slices();
    to.write_all(older)?;
    to.write_all(newer)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn copied(text: &[u8]) -> String {
        let mut out = Vec::new();
        copy(&mut &text[..], &mut out, 10, 5).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_fits_is_kept_whole_and_of_the_rest_the_beginning_and_the_end() {
        assert_eq!(copied(b""), "");
        assert_eq!(copied(b"0123456789abcde"), "0123456789abcde");

        let long = copied(b"0123456789LEFT OUTabcde");

        assert!(long.starts_with("0123456789\n[… 8 bytes are left out here"), "{long}");
        assert!(long.ends_with("…]\nabcde"), "{long}");
    }

    #[test]
    fn a_program_that_never_stops_talking_fills_no_disk_and_its_last_words_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (capped, input) = Capped::new(File::create(&path).unwrap()).unwrap();

        let mut input = File::from(input);
        let line = [b'x'; 1 << 20];
        for _ in 0..(HEAD + TAIL) / line.len() + 10 {
            input.write_all(&line).unwrap();
        }
        input.write_all(b"last words").unwrap();
        drop(input);
        drop(capped);

        let size = std::fs::metadata(&path).unwrap().len() as usize;
        assert!((HEAD + TAIL..HEAD + TAIL + 1000).contains(&size), "{size}");
        assert!(std::fs::read(&path).unwrap().ends_with(b"last words"));
    }
}
