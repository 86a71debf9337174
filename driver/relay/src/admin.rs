//! The administration queue: the callers' commands, and the driver's own aborts of commands that were cancelled.

use protocol::hardware::{AdminCommand, AdminOpcode, AdminReply, QUEUE_ADMIN};
use protocol::io;
use wdf::{
    Canceled, Device, IoControl, NTSTATUS, OnCancel, OnDeviceControl, OnStop, QueueEvents, Refused, Request, Result, Stopping,
};

use crate::plan::meaning;
use crate::relay::{Flight, Phase, Relay, State, count};
use crate::slots::{Landing, Ticket};
use crate::watchdog;

/// The context of the administration queue.
pub(crate) struct Admin;

wdf::context!(Admin);

impl QueueEvents for Admin {
    type Device = Relay;
}

impl OnDeviceControl for Admin {
    fn device_control(&self, device: Device<'_, Relay>, request: Request, _control: IoControl) {
        let relay = device.context();
        match command_of(relay, &request) {
            Ok(command) => start(relay, request, &command),
            Err(status) => relay.complete(request, Err(status)),
        }
    }
}

fn command_of(relay: &Relay, request: &Request) -> Result<AdminCommand> {
    let admin: io::Admin = request.input()?.read(0)?;
    if admin.reserved != 0 {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let opcode = AdminOpcode(admin.opcode);
    Ok(AdminCommand { tag: relay.new_tag(), opcode, reserved: 0, target: admin.target, argument: admin.argument })
}

fn start(relay: &Relay, request: Request, command: &AdminCommand) {
    let reserved = {
        let mut state = relay.state.lock();
        reserve(&mut state, Purpose::Request)
    };
    let ticket = match reserved {
        Ok(ticket) => ticket,
        Err(status) => return refuse(relay, request, status),
    };
    let cancelable = match request.mark_cancelable::<AdminCancel>(ticket.number()) {
        Ok(cancelable) => cancelable,
        Err(Refused { request, status }) => {
            relay.state.lock().admin.slots.release(ticket);
            return relay.complete(request, Err(status));
        }
    };
    // No file: the device answers these at once, so that nobody has to look for them.
    let flight = Flight { request: cancelable, file: None, tag: command.tag, room: 0, returns_answer: false, due: None };
    match launch(relay, ticket, flight, command) {
        Ok(true) => relay.ring_doorbell(QUEUE_ADMIN),
        Ok(false) => {}
        Err(flight) => match flight.request.take_back() {
            wdf::TakenBack::Request(request) => refuse(relay, request, NTSTATUS::DEVICE_NOT_READY),
            wdf::TakenBack::Canceled(request) => {
                count(&relay.counters.completed);
                request.complete();
            }
            wdf::TakenBack::CallbackHasIt => {}
        },
    }
}

/// Ends a request that the hardware did not take: when power is about to go it waits in the default queue until power is back.
fn refuse(relay: &Relay, request: Request, status: NTSTATUS) {
    if relay.state.lock().phase != Phase::Stopping {
        return relay.complete(request, Err(status));
    }
    if let Err(refused) = request.forward(&relay.sorted) {
        relay.complete(refused.request, Err(NTSTATUS::CANCELLED));
    }
}

/// What a slot is for. Requests have one half of the slots and the driver's own aborts the other, so that neither can starve the other.
#[derive(Clone, Copy)]
enum Purpose {
    Request,
    Abort,
}

fn reserve(state: &mut State, purpose: Purpose) -> Result<Ticket> {
    if state.phase != Phase::Running {
        return Err(NTSTATUS::DEVICE_NOT_READY);
    }
    // Two descriptors a slot.
    let slots = usize::from(state.admin.ring.size()) / 2;
    let range = match purpose {
        Purpose::Request => 0..slots / 2,
        Purpose::Abort => slots / 2..slots,
    };
    state.admin.slots.reserve(range).ok_or(NTSTATUS::DEVICE_BUSY)
}

fn launch(relay: &Relay, ticket: Ticket, mut flight: Flight, command: &AdminCommand) -> Result<bool, Flight> {
    let mut state = relay.state.lock();
    if state.phase != Phase::Running || flight.request.is_canceled() || write(relay, ticket, command).is_err() {
        state.admin.slots.release(ticket);
        return Err(flight);
    }
    count(&relay.counters.submitted);
    flight.due = Some(watchdog::in_time(&state));
    state.admin.slots.launch(ticket, flight);
    Ok(offer(relay, &mut state, ticket))
}

fn write(relay: &Relay, ticket: Ticket, command: &AdminCommand) -> Result<()> {
    relay.memory.admin(ticket.index()).0.bytes_mut()?.write(0, command)
}

fn offer(relay: &Relay, state: &mut State, ticket: Ticket) -> bool {
    let (readable, writable) = relay.memory.admin(ticket.index());
    let (readable, writable) = (readable.span(size_of::<AdminCommand>()), writable.span(size_of::<AdminReply>()));
    state.admin.ring.offer_pair(&relay.memory.admin_ring, ticket.head(), readable, writable);
    state.admin.ring.wants_doorbell(&relay.memory.admin_ring)
}

/// Aborts the commands that nobody waits for any more, as many as there is room for; the rest when the device answers.
pub(crate) fn send_aborts(relay: &Relay) {
    let mut doorbell = false;
    {
        let mut state = relay.state.lock();
        while let Some(tag) = state.commands.slots.next_abort() {
            let Ok(ticket) = reserve(&mut state, Purpose::Abort) else {
                state.commands.slots.put_back_abort(tag);
                break;
            };
            let abort = AdminCommand { tag: relay.new_tag(), opcode: AdminOpcode::ABORT, reserved: 0, target: tag, argument: 0 };
            if write(relay, ticket, &abort).is_err() {
                state.admin.slots.release(ticket);
                break;
            }
            state.admin.slots.launch_orphan(ticket);
            doorbell |= offer(relay, &mut state, ticket);
        }
    }
    if doorbell {
        relay.ring_doorbell(QUEUE_ADMIN);
    }
}

/// The device has answered administration commands.
pub(crate) fn answered(relay: &Relay) {
    loop {
        let landing = {
            let mut state = relay.state.lock();
            match state.admin.ring.take_used(&relay.memory.admin_ring) {
                Ok(None) => break,
                Ok(Some(used)) => (state.admin.slots.land(used.head), used.written),
                Err(_) => (Landing::Wrong, 0),
            }
        };
        match landing {
            (Landing::Answer(ticket, flight), written) => finish(relay, ticket, flight, written),
            (Landing::Nobody, _) => {}
            (Landing::Wrong, _) => return relay.give_up_hardware("the device broke the rules of the administration queue"),
        }
    }
    send_aborts(relay);
}

fn finish(relay: &Relay, ticket: Ticket, flight: Flight, written: u32) {
    let outcome = read_reply(relay, ticket, flight.tag, written);
    relay.state.lock().admin.slots.release(ticket);
    relay.end_flight(flight, outcome.map(|()| 0));
}

fn read_reply(relay: &Relay, ticket: Ticket, tag: u64, written: u32) -> Result<()> {
    let reply: AdminReply = relay.memory.admin(ticket.index()).1.bytes()?.read(0)?;
    if written as usize != size_of::<AdminReply>() || reply.tag != tag {
        return Err(NTSTATUS::DEVICE_HARDWARE_ERROR);
    }
    meaning(reply.status)
}

/// An administration command is cancelled. The device may still carry it out.
pub(crate) struct AdminCancel;

impl OnCancel for AdminCancel {
    type Device = Relay;

    fn canceled(device: Device<'_, Relay>, request: Canceled, ticket: u64) {
        let relay = device.context();
        let flight = relay.state.lock().admin.slots.abandon(Ticket::from_number(ticket), |_| None);
        if flight.is_some() {
            count(&relay.counters.cancelled_on_hardware);
        }
        drop(flight);
        count(&relay.counters.completed);
        request.complete();
    }
}

impl OnStop for Admin {
    fn stop(&self, device: Device<'_, Relay>, stopping: Stopping<'_>) {
        let relay = device.context();
        let id = stopping.id();
        crate::stop::quiesce(relay);
        let flight = relay.state.lock().admin.slots.abandon_first(|flight| flight.request.id() == id, |_| None);
        crate::stop::settle(relay, stopping, flight);
    }
}
