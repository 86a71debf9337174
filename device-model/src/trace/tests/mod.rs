mod bytes;
mod recording;

use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex};

use super::*;

/// An event that owns its data, to compare with.
type Owned = (u64, bool, String);

fn owned(event: &Event<'_>) -> Owned {
    (event.time, event.own_accord, format!("{:?}", event.what))
}

/// All events up to the end or the first error, and what ended them.
fn read(bytes: &[u8]) -> (Vec<Owned>, Result<Option<Ending>, TraceError>) {
    let mut reader = match Reader::new(Cursor::new(bytes)) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut events = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(event)) => events.push(owned(&event)),
            Ok(None) => return (events, Ok(reader.ending())),
            Err(error) => {
                assert!(matches!(reader.next(), Ok(None)), "nothing comes after an error");
                return (events, Err(error));
            }
        }
    }
}

/// A file that other hands can look into while it is written.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
