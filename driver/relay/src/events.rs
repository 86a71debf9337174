//! Events: the device writes them into posted buffers, the driver keeps a backlog, readers wait in a manual queue.
//!
//! Back-pressure: a buffer is posted again only when its event had room in the backlog. When nobody reads, the backlog fills, the buffers
//! run out, and the device counts what it loses.

use protocol::hardware::{Event, QUEUE_EVENT};
use wdf::{Fifo, NTSTATUS, QueueEvents, Result};

use crate::memory::EVENT_RING;
use crate::relay::{Phase, Relay};
use crate::ring::Ring;

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
    /// A bit for each buffer that the device has.
    posted: u64,
}

impl Backlog {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { events: Fifo::new(BACKLOG)?, posted: 0 })
    }

    /// Room for events that no posted buffer has a claim to.
    fn unclaimed(&self) -> usize {
        self.events.room().saturating_sub(self.posted.count_ones() as usize)
    }

    /// The device was reset and has no buffers any more. Events that came before stay.
    pub(crate) fn device_reset(&mut self) {
        self.posted = 0;
    }

    /// Picks a buffer that the device does not have, when there is room for its event.
    fn next_to_post(&mut self, ring_size: u16) -> Option<u16> {
        let buffers = u32::from(ring_size).min(BUFFERS as u32);
        let free = (!self.posted).trailing_zeros();
        if free >= buffers || self.unclaimed() == 0 {
            return None;
        }
        self.posted |= 1 << free;
        u16::try_from(free).ok()
    }

    /// The device gave buffer `head` back. Whether it had it.
    fn take_back(&mut self, head: u16) -> bool {
        let bit = 1_u64.checked_shl(head.into()).unwrap_or(0);
        let had = self.posted & bit != 0;
        self.posted &= !bit;
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
        while let Some(index) = state.backlog.next_to_post(state.events.size()) {
            let buffer = relay.memory.event(usize::from(index)).span(size_of::<Event>());
            state.events.offer_writable(index, buffer);
            doorbell = true;
        }
        doorbell = doorbell && Ring::wants_doorbell(&state.events);
    }
    if doorbell {
        relay.ring_doorbell(QUEUE_EVENT);
    }
}

/// The device has written events.
pub(crate) fn arrived(relay: &Relay) {
    let sound = loop {
        let mut state = relay.state.lock();
        let used = match state.events.take_used() {
            Ok(None) => break true,
            Ok(Some(used)) => used,
            Err(_) => break false,
        };
        if !state.backlog.take_back(used.head) {
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

/// Brings events and readers together, as long as there are both.
pub(crate) fn deliver(relay: &Relay) {
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
                if let Err(refused) = request.requeue() {
                    relay.complete(refused.request, Err(refused.status));
                }
            }
        }
    }
    post(relay);
}

/// A file is closed: its readers go.
pub(crate) fn cancel_of_file(relay: &Relay, file: wdf::FileId) {
    while let Ok(request) = relay.readers.retrieve_of(file) {
        relay.complete(request, Err(NTSTATUS::CANCELLED));
    }
}
