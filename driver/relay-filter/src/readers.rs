//! A continuous reader of events: a few driver-created requests that wait for events at the driver below, each used again as soon as it has
//! brought one, as long as there is room for the next.

use protocol::hardware::Event;
use protocol::io;
use wdf::{
    CancelHandle, Completed, Created, Device, Fifo, File, FileRef, Memory, NTSTATUS, NewDevice, OnCompletion, PoolArray,
    QueueEvents, Result, SendOptions, SpinLock, Turn,
};

use crate::files;
use crate::filter::Filter;

/// Requests that wait for events.
const READERS: usize = 4;
/// Events that wait for clients.
const BACKLOG: usize = 64;

/// The context of a reader: its number.
pub(crate) struct Reader {
    index: usize,
}

wdf::context!(Reader);

/// Where a reader is.
enum Place {
    /// Here, to be sent.
    Ready(Created<Reader>),
    /// Here, until [`start`].
    Resting(Created<Reader>),
    /// Sent, or being sent.
    Away,
}

/// What the lock protects.
struct State {
    places: PoolArray<Place>,
    events: Fifo<Event>,
    /// Whether readers rest when they come back.
    stopped: bool,
    /// Whether someone is sending readers: who comes back meanwhile is sent by them, not on top of their send.
    sending: bool,
    /// Whoever brings events and clients together.
    delivery: Turn,
}

impl State {
    /// A reader to send, when there is room for what it brings.
    fn next(&mut self) -> Option<(usize, Created<Reader>)> {
        let away = self.places.iter().filter(|place| matches!(place, Place::Away)).count();
        if self.stopped || self.events.room() <= away {
            return None;
        }
        let ready = |place: &&mut Place| matches!(place, Place::Ready(_));
        match core::mem::replace(self.places.iter_mut().find(ready)?, Place::Away) {
            Place::Ready(reader) => Some((reader.index, reader)),
            Place::Resting(_) | Place::Away => None,
        }
    }

    fn put(&mut self, reader: Created<Reader>, ready: bool) {
        let index = reader.index;
        if let Some(place) = self.places.get_mut(index) {
            *place = if ready && !self.stopped { Place::Ready(reader) } else { Place::Resting(reader) };
        }
    }
}

/// All readers of a device.
pub(crate) struct Readers {
    state: SpinLock<State>,
    handles: PoolArray<CancelHandle>,
    buffers: PoolArray<Memory>,
}

impl Readers {
    pub(crate) fn new(device: &NewDevice<Filter>) -> Result<Self> {
        let reader = |index| Created::new(device.target(), Reader { index }).map(Place::Resting);
        let places = PoolArray::try_new(READERS, reader)?;
        let handle = |index: usize| match &places[index] {
            Place::Resting(reader) => Ok(reader.cancel_handle()),
            Place::Ready(_) | Place::Away => Err(NTSTATUS::INTERNAL_ERROR),
        };
        Ok(Self {
            handles: PoolArray::try_new(READERS, handle)?,
            buffers: PoolArray::try_new(READERS, |_| Memory::new(size_of::<Event>()))?,
            state: SpinLock::new(State {
                places,
                events: Fifo::new(BACKLOG)?,
                stopped: true,
                sending: false,
                delivery: Turn::new(),
            })?,
        })
    }
}

/// The context of the queue of clients that wait for an event.
pub(crate) struct WaitingReaders;

wdf::context!(WaitingReaders);

impl QueueEvents for WaitingReaders {
    type Device = Filter;
}

/// Begins to read, or begins again.
pub(crate) fn start(device: Device<'_, Filter>) {
    {
        let mut state = device.readers.state.lock();
        state.stopped = false;
        for place in state.places.iter_mut() {
            if matches!(place, Place::Resting(_)) {
                // Away for the moment in between only: the lock is held.
                if let Place::Resting(reader) = core::mem::replace(place, Place::Away) {
                    *place = Place::Ready(reader);
                }
            }
        }
    }
    send(device);
}

/// Stops reading: readers come back, and rest.
pub(crate) fn stop(device: Device<'_, Filter>) {
    device.readers.state.lock().stopped = true;
    for (index, handle) in device.readers.handles.iter().enumerate() {
        let away = matches!(device.readers.state.lock().places[index], Place::Away);
        if away {
            handle.cancel();
        }
    }
}

/// Sends readers, as long as there are some and there is room for what they bring.
fn send(device: Device<'_, Filter>) {
    let readers = &device.context().readers;
    let target = device.target();
    {
        let mut state = readers.state.lock();
        if state.sending {
            return;
        }
        state.sending = true;
    }
    loop {
        let next = {
            let mut state = readers.state.lock();
            let next = state.next();
            state.sending = next.is_some();
            next
        };
        let Some((index, reader)) = next else { return };
        let buffer = &readers.buffers[index];
        let formatted = reader.format_control(target, io::READ_EVENT, None, Some((buffer, buffer.len())));
        let (reader, status) = match formatted {
            Ok(formatted) => match formatted.send(target, SendOptions::default()) {
                Ok(()) => continue,
                Err(unsent) => (unsent.request.reuse(), unsent.status),
            },
            Err(unsent) => (Ok(unsent.request), unsent.status),
        };
        if let Ok(reader) = reader {
            // A cancel that came too late for the journey before sticks to the request until it is reused, as it now was.
            readers.state.lock().put(reader, status == NTSTATUS::CANCELLED);
        }
    }
}

impl OnCompletion for Reader {
    type Device = Filter;

    fn completed(device: Device<'_, Filter>, request: Completed<Self>, outcome: Result<usize>) {
        let readers = &device.context().readers;
        let buffer = &readers.buffers[request.index];
        let whole = outcome == Ok(size_of::<Event>());
        let event = if whole { buffer.bytes().read::<Event>(0).ok() } else { None };
        let Ok(reader) = request.reuse() else { return };
        {
            let mut state = readers.state.lock();
            if let Some(event) = event {
                // The reader was only sent with room for its event.
                let _ = state.events.push(event);
            }
            // After an error it rests until power or hardware come back: to ask again at once would be to ask for ever.
            state.put(reader, whole);
        }
        deliver(device);
        send(device);
    }
}

/// Brings events and clients together, as long as there are both. One at a time does so: two would take clients in one order and events in
/// the other.
pub(crate) fn deliver(device: Device<'_, Filter>) {
    if !device.readers.state.lock().delivery.take() {
        return;
    }
    loop {
        deliver_what_there_is(device);
        if device.readers.state.lock().delivery.give_up() {
            break;
        }
    }
    send(device);
}

fn deliver_what_there_is(device: Device<'_, Filter>) {
    while !device.readers.state.lock().events.is_empty() {
        let Ok(mut request) = device.waiting_readers.retrieve() else { break };
        let event = device.readers.state.lock().events.pop();
        match event {
            Some(event) => {
                let outcome = request.output().and_then(|mut output| output.write(0, &event)).map(|()| size_of::<Event>());
                request.complete_with(outcome);
            }
            // Someone else took the event meanwhile, and the next one may have come while the request was out of the queue: look again.
            None => {
                let file = files::file_of(&request);
                if let Err(refused) = request.requeue() {
                    refused.complete();
                }
                let_go_if_closed(device, file.as_ref());
            }
        }
    }
}

/// A file is closed: its clients that wait for an event go.
pub(crate) fn cancel_of_file(device: Device<'_, Filter>, file: File<'_>) {
    while let Ok(request) = device.waiting_readers.retrieve_of(file) {
        request.complete(NTSTATUS::CANCELLED);
    }
}

/// For whoever has put a client into the queue: its file may have been closed while the client was in no queue.
pub(crate) fn let_go_if_closed(device: Device<'_, Filter>, file: Option<&FileRef>) {
    if let Some(file) = file.filter(|file| files::is_closed(Some(file))) {
        cancel_of_file(device, file.file());
    }
}
