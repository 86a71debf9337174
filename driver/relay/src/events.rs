//! Events: the device writes them into posted buffers, the driver keeps a backlog, readers wait in a manual queue.
//!
//! Back-pressure: a buffer is posted again only when its event had room in the backlog. When nobody reads, the backlog fills, the buffers
//! run out, and the device counts what it loses.

use protocol::hardware::{Event, QUEUE_EVENT};
use wdf::{Fifo, File, FileRef, NTSTATUS, QueueEvents, Result, Turn};

use crate::files;
use crate::memory::EVENT_RING;
use crate::relay::{Phase, Relay};

/// Events that wait for readers.
const BACKLOG: usize = 256;
const BUFFERS: usize = EVENT_RING as usize;
const _: () = assert!(BUFFERS <= u64::BITS as usize);

/// The context of the readers' queue.
pub(crate) struct Events;

wdf::context!(Events);

impl QueueEvents for Events {
    type Device = Relay;
}

/// Events in the order of their arrival, and which event buffers the device has.
pub(crate) struct Backlog {
    events: Fifo<Event>,
    posted: Posted,
    /// Whoever brings events and readers together.
    delivery: Turn,
}

impl Backlog {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { events: Fifo::new(BACKLOG)?, posted: Posted(0), delivery: Turn::new() })
    }

    /// The device was reset and has no buffers any more. Events that came before stay.
    pub(crate) fn device_reset(&mut self) {
        self.posted = Posted(0);
    }
}

/// Which event buffers the device has: a bit for each.
#[derive(Debug)]
struct Posted(u64);

impl Posted {
    /// Picks one of the first `buffers` buffers that the device does not have, when `room` is for one event more than are posted.
    fn next(&mut self, buffers: u16, room: usize) -> Option<u16> {
        let free = (!self.0).trailing_zeros();
        if free >= u32::from(buffers).min(BUFFERS as u32) || self.0.count_ones() as usize >= room {
            return None;
        }
        self.0 |= 1 << free;
        u16::try_from(free).ok()
    }

    /// The device gave buffer `head` back. Whether it had it.
    fn take_back(&mut self, head: u16) -> bool {
        let bit = 1_u64.checked_shl(head.into()).unwrap_or(0);
        let had = self.0 & bit != 0;
        self.0 &= !bit;
        had
    }
}

/// Posts as many event buffers as there is room for.
pub(crate) fn post(relay: &Relay) {
    let mut doorbell = false;
    {
        let mut state = relay.state.lock();
        if state.phase != Phase::Running {
            return;
        }
        let state = &mut *state;
        while let Some(index) = state.backlog.posted.next(state.events.size(), state.backlog.events.room()) {
            let buffer = relay.memory.event(usize::from(index)).span(size_of::<Event>());
            state.events.offer_writable(&relay.memory.event_ring, index, buffer);
            doorbell = true;
        }
        doorbell = doorbell && state.events.wants_doorbell(&relay.memory.event_ring);
    }
    if doorbell {
        relay.ring_doorbell(QUEUE_EVENT);
    }
}

/// The device has written events.
pub(crate) fn arrived(relay: &Relay) {
    let sound = loop {
        let mut state = relay.state.lock();
        let used = match state.events.take_used(&relay.memory.event_ring) {
            Ok(None) => break true,
            Ok(Some(used)) => used,
            Err(_) => break false,
        };
        if !state.backlog.posted.take_back(used.head) {
            break false;
        }
        let event = relay.memory.event(usize::from(used.head)).bytes().and_then(|bytes| bytes.read::<Event>(0));
        // A buffer that came back without a whole event has none; the gap in the sequence tells the reader.
        if let Ok(event) = event
            && used.written as usize == size_of::<Event>()
        {
            // A buffer was only posted with room for its event.
            let _ = state.backlog.events.push(event);
        }
    };
    if !sound {
        return relay.give_up_hardware("the device broke the rules of the event queue");
    }
    deliver(relay);
}

/// Brings events and readers together, as long as there are both. One at a time does so: two would take readers in one order and events in
/// the other, or complete them so.
pub(crate) fn deliver(relay: &Relay) {
    if !relay.state.lock().backlog.delivery.take() {
        return;
    }
    loop {
        deliver_what_there_is(relay);
        if relay.state.lock().backlog.delivery.give_up() {
            break;
        }
    }
    post(relay);
}

fn deliver_what_there_is(relay: &Relay) {
    while !relay.state.lock().backlog.events.is_empty() {
        let Ok(mut request) = relay.readers.retrieve() else { break };
        let event = relay.state.lock().backlog.events.pop();
        match event {
            Some(event) => {
                let outcome = request.output().and_then(|mut output| output.write(0, &event)).map(|()| size_of::<Event>());
                relay.complete(request, outcome);
            }
            // Someone else took the event meanwhile. The next one may have come while the request was out of the queue: look again.
            None => {
                let file = files::file_of(&request);
                if let Err(refused) = request.requeue() {
                    relay.complete(refused.request, Err(refused.status));
                }
                let_go_if_closed(relay, file.as_ref());
            }
        }
    }
}

/// A file is closed: its readers go.
pub(crate) fn cancel_of_file(relay: &Relay, file: File<'_>) {
    while let Ok(request) = relay.readers.retrieve_of(file) {
        relay.complete(request, Err(NTSTATUS::CANCELLED));
    }
}

/// For whoever has put a reader into the queue: its file may have been closed while the reader was in no queue.
pub(crate) fn let_go_if_closed(relay: &Relay, file: Option<&FileRef>) {
    if let Some(file) = file.filter(|file| files::is_closed(Some(file))) {
        cancel_of_file(relay, file.file());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_posted_once_each_until_none_is_left() {
        let mut posted = Posted(0);
        let picked: Vec<_> = std::iter::from_fn(|| posted.next(4, 100)).collect();
        assert_eq!(picked, [0, 1, 2, 3]);
    }

    #[test]
    fn no_buffer_is_posted_without_room_for_its_event() {
        let mut posted = Posted(0);
        assert_eq!((posted.next(64, 1), posted.next(64, 1)), (Some(0), None));
    }

    #[test]
    fn all_sixty_four_buffers_can_be_out() {
        let mut posted = Posted(0);
        assert_eq!(std::iter::from_fn(|| posted.next(64, 256)).count(), 64);
        assert!(posted.take_back(63));
        assert_eq!(posted.next(64, 256), Some(63));
    }

    #[test]
    fn a_buffer_that_the_device_did_not_have_is_noticed() {
        let mut posted = Posted(0);
        let _ = posted.next(64, 256);
        assert!(posted.take_back(0));
        assert!(!posted.take_back(0));
        assert!(!posted.take_back(64));
        assert!(!posted.take_back(u16::MAX));
    }
}
