//! Commands: from a queue into a slot, onto the hardware, and back.

use core::ops::Range;

use protocol::hardware::{CommandHeader, QUEUE_COMMAND, Reply};
use wdf::{
    Bytes, Canceled, Device, File, IoControl, NTSTATUS, OnCancel, OnDeviceControl, OnStop, QueueEvents, Refused, Request, Result,
    Stopping, TakenBack,
};

use crate::files;
use crate::memory::{BULK_SLOTS, COMMAND_SLOTS};
use crate::plan::{Plan, Source, answer_length};
use crate::relay::{Flight, Phase, Relay, count};
use crate::slots::{Landing, Ticket};
use crate::sort::plan_of;
use crate::watchdog;

/// The context of both command queues, small and bulk.
pub(crate) struct Commands;

wdf::context!(Commands);

impl QueueEvents for Commands {
    type Device = Relay;
}

impl OnDeviceControl for Commands {
    fn device_control(&self, device: Device<'_, Relay>, request: Request, control: IoControl) {
        let relay = device.context();
        match plan_of(&request, control) {
            Ok(plan) => start(relay, request, &plan),
            Err(status) => relay.complete(request, Err(status)),
        }
    }
}

const fn slots_for(plan: &Plan) -> Range<usize> {
    if plan.is_bulk() { 0..BULK_SLOTS } else { BULK_SLOTS..COMMAND_SLOTS }
}

/// Sends a command. The copy happens outside of the lock: the slot is reserved, so that the memory is ours.
fn start(relay: &Relay, mut request: Request, plan: &Plan) {
    let ticket = match reserve(relay, plan) {
        Ok(Some(ticket)) => ticket,
        Ok(None) => return send_back(relay, request),
        Err(status) => return relay.complete(request, Err(status)),
    };
    let tag = plan.tag.unwrap_or_else(|| relay.new_tag());
    if let Err(status) = write_command(relay, &mut request, plan, ticket, tag) {
        relay.state.lock().commands.slots.release(ticket);
        return relay.complete(request, Err(status));
    }
    let file = files::file_of(&request);
    let cancelable = match request.mark_cancelable::<CommandCancel>(ticket.number()) {
        Ok(cancelable) => cancelable,
        Err(Refused { request, status }) => {
            relay.state.lock().commands.slots.release(ticket);
            return relay.complete(request, Err(status));
        }
    };
    let flight =
        Flight { request: cancelable, file, tag, room: plan.slot_room(), returns_answer: plan.returns_answer, due: None };
    match launch(relay, plan, ticket, flight) {
        Ok(true) => relay.ring_doorbell(QUEUE_COMMAND),
        Ok(false) => {}
        Err((flight, Refusal::PowerGoes)) => {
            if let TakenBack::Request(request) = flight.request.take_back() {
                send_back(relay, request);
            }
        }
        Err((flight, Refusal::For(status))) => relay.end_flight(flight, Err(status)),
    }
}

/// A slot; none when power is about to go.
fn reserve(relay: &Relay, plan: &Plan) -> Result<Option<Ticket>> {
    let mut state = relay.state.lock();
    match state.phase {
        Phase::Running => {
            let descriptors = usize::from(state.commands.ring.size());
            let Range { start, end } = slots_for(plan);
            let ticket = state.commands.slots.reserve(start..end.min(descriptors / 2));
            ticket.map(Some).ok_or(NTSTATUS::DEVICE_BUSY)
        }
        Phase::Stopping => Ok(None),
        Phase::Off | Phase::Broken => Err(NTSTATUS::DEVICE_NOT_READY),
    }
}

/// The queue of this request stops, and has asked for its requests before we had this one in a slot: it goes to where it came from, to be
/// presented when power is back. A queue that is being removed does not take it, and nobody waits for one whose file is closed. Should the file be
/// closed only now, it ends when it is presented again.
fn send_back(relay: &Relay, request: Request) {
    if files::is_closed(files::file_of(&request).as_ref()) {
        return relay.complete(request, Err(NTSTATUS::CANCELLED));
    }
    if let Err(refused) = request.forward(&relay.sorted) {
        relay.complete(refused.request, Err(NTSTATUS::CANCELLED));
    }
}

fn write_command(relay: &Relay, request: &mut Request, plan: &Plan, ticket: Ticket, tag: u64) -> Result<()> {
    let (readable, _) = relay.memory.command(ticket.index())?;
    let mut target = readable.bytes_mut()?;
    target.write(0, &plan.header(tag))?;
    if plan.payload == 0 {
        return Ok(());
    }
    let copy = |target: &mut wdf::BytesMut<'_>, source: Bytes<'_>, offset| {
        target.copy_from(size_of::<CommandHeader>(), source.slice(offset, plan.payload)?)
    };
    match plan.source {
        Source::Input(offset) => copy(&mut target, request.input()?, offset),
        Source::Second => copy(&mut target, request.output()?.as_bytes(), 0),
    }
}

/// Why a flight is not launched.
enum Refusal {
    /// It is to come again when power is back.
    PowerGoes,
    /// Its request ends with this, if somebody else does not end it.
    For(NTSTATUS),
}

/// Puts a flight on the hardware, and tells whether the doorbell is to be rung; or gives it back, and the slot too.
fn launch(relay: &Relay, plan: &Plan, ticket: Ticket, mut flight: Flight) -> Result<bool, (Flight, Refusal)> {
    let memory = relay.memory.command(ticket.index()).map_err(Refusal::For);
    // Under the lock, which cancel and cleanup callbacks take too: from here on they find the flight in its slot.
    let mut state = relay.state.lock();
    let (readable, writable) = match memory.and_then(|memory| may_launch(state.phase, &flight).map(|()| memory)) {
        Ok(memory) => memory,
        Err(refusal) => {
            state.commands.slots.release(ticket);
            return Err((flight, refusal));
        }
    };
    count(&relay.counters.submitted);
    let readable = readable.span(size_of::<CommandHeader>() + plan.payload);
    let writable = writable.span(size_of::<Reply>() + plan.slot_room());
    flight.due = watchdog::due(&state, plan);
    state.commands.slots.launch(ticket, flight);
    state.commands.ring.offer_pair(&relay.memory.command_ring, ticket.head(), readable, writable);
    Ok(state.commands.ring.wants_doorbell(&relay.memory.command_ring))
}

fn may_launch(phase: Phase, flight: &Flight) -> Result<(), Refusal> {
    match phase {
        Phase::Running if flight.request.is_canceled() || files::is_closed(flight.file.as_ref()) => {
            Err(Refusal::For(NTSTATUS::CANCELLED))
        }
        Phase::Running => Ok(()),
        Phase::Stopping => Err(Refusal::PowerGoes),
        Phase::Off | Phase::Broken => Err(Refusal::For(NTSTATUS::DEVICE_NOT_READY)),
    }
}

/// Most answers that are taken from the ring under one hold of the lock.
const BATCH: usize = 8;

/// A chain that came back, with the request it answers.
struct Answer {
    ticket: Ticket,
    flight: Flight,
    written: u32,
}

/// The device has answered commands.
pub(crate) fn answered(relay: &Relay) {
    loop {
        let mut batch = [const { None }; BATCH];
        let (sound, taken) = collect(relay, &mut batch);
        for answer in batch.into_iter().flatten() {
            finish(relay, answer);
        }
        if !sound {
            return relay.give_up_hardware("the device broke the rules of the command queue");
        }
        if taken < BATCH {
            return;
        }
    }
}

/// Fills `batch`; whether the device kept the rules, and how many chains it gave back.
fn collect(relay: &Relay, batch: &mut [Option<Answer>; BATCH]) -> (bool, usize) {
    let mut state = relay.state.lock();
    let lane = &mut state.commands;
    for (taken, place) in batch.iter_mut().enumerate() {
        let used = match lane.ring.take_used(&relay.memory.command_ring) {
            Ok(Some(used)) => used,
            Ok(None) => return (true, taken),
            Err(_) => return (false, taken),
        };
        match lane.slots.land(used.head) {
            Landing::Answer(ticket, flight) => *place = Some(Answer { ticket, flight, written: used.written }),
            Landing::Nobody => {}
            Landing::Wrong => return (false, taken),
        }
    }
    (true, BATCH)
}

/// Completes a command with what the device answered.
fn finish(relay: &Relay, answer: Answer) {
    let Answer { ticket, flight, written } = answer;
    let Flight { request, tag, room, returns_answer, .. } = flight;
    let done = match request.take_back() {
        TakenBack::Request(mut request) => {
            let outcome = read_answer(relay, &mut request, ticket, tag, written, room, returns_answer);
            Some((request, outcome))
        }
        TakenBack::Canceled(request) => {
            count(&relay.counters.completed);
            request.complete();
            None
        }
        TakenBack::CallbackHasIt => None,
    };
    relay.state.lock().commands.slots.release(ticket);
    // Completed last: whoever waits for this request finds its slot free.
    if let Some((request, outcome)) = done {
        relay.complete(request, outcome);
    }
}

fn read_answer(
    relay: &Relay,
    request: &mut Request,
    ticket: Ticket,
    tag: u64,
    written: u32,
    room: usize,
    returns_answer: bool,
) -> Result<usize> {
    let (_, writable) = relay.memory.command(ticket.index())?;
    let answer = writable.bytes()?;
    // One read, then checks on the copy: the device may change its mind.
    let reply: [u8; size_of::<Reply>()] = answer.read(0)?;
    let reply = zerocopy::transmute!(reply);
    let length = answer_length(&reply, tag, written, room)?;
    if returns_answer && length != 0 {
        request.output()?.copy_from(0, answer.slice(size_of::<Reply>(), length)?)?;
    }
    Ok(length)
}

/// A command is cancelled.
pub(crate) struct CommandCancel;

impl OnCancel for CommandCancel {
    type Device = Relay;

    fn canceled(device: Device<'_, Relay>, request: Canceled, ticket: u64) {
        let relay = device.context();
        let flight = {
            let mut state = relay.state.lock();
            abandon(&mut state.commands.slots, Ticket::from_number(ticket))
        };
        if flight.is_some() {
            count(&relay.counters.cancelled_on_hardware);
        }
        drop(flight);
        count(&relay.counters.completed);
        request.complete();
        crate::admin::send_aborts(relay);
    }
}

type CommandSlots = crate::slots::Slots<wdf::PoolArray<crate::slots::Slot<Flight>>>;

/// Takes a flight out of its slot. Its tag is aborted, unless another command on the hardware has the same.
fn abandon(slots: &mut CommandSlots, ticket: Ticket) -> Option<Flight> {
    let flight = slots.abandon(ticket, |flight| Some(flight.tag))?;
    if slots.any(|other| other.tag == flight.tag) {
        slots.forget_abort(flight.tag);
    }
    Some(flight)
}

/// A file is closed: its commands are cancelled, also those that nobody asked to cancel.
pub(crate) fn cancel_of_file(relay: &Relay, file: File<'_>) {
    loop {
        let flight = {
            let mut state = relay.state.lock();
            state.commands.slots.abandon_first(|flight| flight.is_of(file), |flight| Some(flight.tag))
        };
        let Some(flight) = flight else { break };
        count(&relay.counters.cancelled_on_hardware);
        relay.end_flight(flight, Err(NTSTATUS::CANCELLED));
    }
    crate::admin::send_aborts(relay);
}

impl OnStop for Commands {
    fn stop(&self, device: Device<'_, Relay>, stopping: Stopping<'_>) {
        let relay = device.context();
        let id = stopping.id();
        crate::stop::quiesce(relay);
        // No abort: the device has been halted.
        let flight = relay.state.lock().commands.slots.abandon_first(|flight| flight.request.id() == id, |_| None);
        crate::stop::settle(relay, stopping, flight);
    }
}
