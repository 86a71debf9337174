//! Carriers: driver-created requests that carry clients' commands, one journey after the other.
//!
//! A journey: the client is retrieved from the waiting queue, its input is copied, it is made cancelable and seated, the carrier is formatted
//! and sent. Back in the completion routine: the client is taken back and answered, the carrier is reused, and goes on with the next client.

use protocol::io;
use wdf::{
    CancelHandle, Cancelable, Canceled, Completed, Created, Device, File, FileRef, Formatted, IoControl, Memory, NTSTATUS,
    NewDevice, OnCancel, OnCompletion, OnQueueReady, OnStop, PoolArray, QueueEvents, Request, Result, SendOptions, SpinLock,
    StopAction, Stopping, TakenBack, Unsent,
};

use crate::files;
use crate::filter::Filter;
use crate::seats::{Seat, Seats, Ticket};

/// Carriers.
const CARRIERS: usize = 16;
/// Bytes of each buffer of a carrier: the largest small command, with its structure.
const BUFFER: usize = 4096 + size_of::<io::Command>();

/// Whether an I/O control is carried. The rest is sent on as it is: administration too, which must not wait for carriers whose commands it is to
/// release.
pub(crate) fn carries(control: IoControl) -> bool {
    matches!(control.code, io::ECHO | io::COMMAND) && control.input_length <= BUFFER && control.output_length <= BUFFER
}

/// The context of a carrier: its seat's number. Its buffers are in [`Carriers`].
pub(crate) struct Carrier {
    seat: usize,
}

wdf::context!(Carrier);

/// A client on its journey.
struct Client {
    request: Cancelable,
    file: Option<FileRef>,
}

type Back = (Completed<Carrier>, Result<usize>);
type Table = Seats<PoolArray<Seat<Created<Carrier>, Client, Back>>>;

/// What the lock protects.
struct State {
    seats: Table,
    /// Power is about to go: clients that are not on a journey yet go back to their queue.
    stopping: bool,
    /// Someone wanted a carrier, and none was idle. Whoever lays one to rest next looks for clients again: those that came, or the power that
    /// came back for them, between the look into the queue and the rest.
    missed: bool,
}

impl State {
    fn depart(&mut self) -> Option<(Ticket, Created<Carrier>)> {
        let departed = self.seats.depart();
        self.missed |= departed.is_none();
        departed
    }

    /// The carrier is idle again. Whether to look for clients again.
    fn rest(&mut self, seat: usize, carrier: Created<Carrier>) -> bool {
        self.seats.rest(seat, carrier);
        core::mem::take(&mut self.missed)
    }
}

/// All carriers of a device.
pub(crate) struct Carriers {
    state: SpinLock<State>,
    handles: PoolArray<CancelHandle>,
    /// For each seat, what the carrier gives and what it gets.
    buffers: PoolArray<(Memory, Memory)>,
}

impl Carriers {
    pub(crate) fn new(device: &NewDevice<Filter>) -> Result<Self> {
        let seats = PoolArray::try_new(CARRIERS, |seat| Created::new(device.target(), Carrier { seat }).map(Seat::new))?;
        let seats: Table = Seats::new(seats);
        let handle = |seat| seats.idle_at(seat).map(Created::cancel_handle).ok_or(NTSTATUS::INTERNAL_ERROR);
        Ok(Self {
            handles: PoolArray::try_new(CARRIERS, handle)?,
            buffers: PoolArray::try_new(CARRIERS, |_| Ok((Memory::new(BUFFER)?, Memory::new(BUFFER)?)))?,
            state: SpinLock::new(State { seats, stopping: false, missed: false })?,
        })
    }

    /// Power is back.
    pub(crate) fn power_is_back(&self) {
        self.state.lock().stopping = false;
    }
}

/// The context of the queue of clients that wait for a carrier.
pub(crate) struct Waiting;

wdf::context!(Waiting);

impl QueueEvents for Waiting {
    type Device = Filter;
}

impl OnQueueReady for Waiting {
    fn ready(&self, device: Device<'_, Filter>) {
        fill(device);
    }
}

impl OnStop for Waiting {
    fn stop(&self, device: Device<'_, Filter>, stopping: Stopping<'_>) {
        let id = stopping.id();
        let purged = {
            let mut state = device.carriers.state.lock();
            state.stopping = true;
            let Some((ticket, client)) = state.seats.journey_of(|client| client.request.id() == id) else { return };
            match stopping.action() {
                // The driver below keeps what it has until power is back, and so do we.
                StopAction::Suspend => {
                    stopping.keep_cancelable(&client.request);
                    return;
                }
                StopAction::Purge => state.seats.hold(ticket).then_some(ticket),
            }
        };
        if let Some(ticket) = purged {
            cancel_held(device, ticket.seat);
        }
    }
}

/// Sends idle carriers off with waiting clients, as long as there are both.
pub(crate) fn fill(device: Device<'_, Filter>) {
    loop {
        let departed = device.carriers.state.lock().depart();
        let Some((ticket, carrier)) = departed else { return };
        if !travel(device, ticket, carrier) {
            return;
        }
    }
}

/// Sends one carrier off with one client after the other, until it is on its way, or nobody waits. Whether to look for more clients.
fn travel(device: Device<'_, Filter>, mut ticket: Ticket, mut carrier: Created<Carrier>) -> bool {
    loop {
        let Ok(request) = device.waiting.retrieve() else {
            return device.carriers.state.lock().rest(ticket.seat, carrier);
        };
        carrier = match set_off(device, ticket, carrier, request) {
            SetOff::Gone => return true,
            SetOff::Stopping(carrier) => return device.carriers.state.lock().rest(ticket.seat, carrier),
            SetOff::Here(carrier) => carrier,
        };
        let next = device.carriers.state.lock().seats.depart_again(ticket.seat);
        let Some(next) = next else { return false };
        ticket = next;
    }
}

/// What came of sending a carrier off.
enum SetOff {
    /// It is on its way; or it was lost, which was said.
    Gone,
    /// It is back already, its client answered.
    Here(Created<Carrier>),
    /// Power is about to go: the client is back in its queue.
    Stopping(Created<Carrier>),
}

fn set_off(device: Device<'_, Filter>, ticket: Ticket, carrier: Created<Carrier>, request: Request) -> SetOff {
    let carriers = &device.context().carriers;
    let (input, output) = &carriers.buffers[ticket.seat];
    let control = match request.control().and_then(|control| copy_in(&request, input).map(|()| control)) {
        Ok(control) => control,
        Err(status) => {
            request.complete(status);
            return SetOff::Here(carrier);
        }
    };
    let target = device.target();
    let (given, got) = (Some((input, control.input_length)), Some((output, control.output_length)));
    // Formatted before its client boards: what can fail without the driver below fails while nobody else knows of the journey.
    let carrier = match carrier.format_control(target, control.code, given, got) {
        Ok(formatted) => formatted,
        Err(Unsent { request: carrier, status }) => {
            request.complete(status);
            return SetOff::Here(carrier);
        }
    };
    let file = files::file_of(&request);
    let client = match request.mark_cancelable::<ClientCancel>(ticket.number()) {
        Ok(request) => Client { request, file },
        Err(refused) => {
            refused.complete();
            return stay(device, ticket, carrier).map_or(SetOff::Gone, SetOff::Here);
        }
    };
    if let Err((client, why)) = board(carriers, ticket, client) {
        send_back(client);
        let here = if why == Ashore::PowerGoes { SetOff::Stopping } else { SetOff::Here };
        return stay(device, ticket, carrier).map_or(SetOff::Gone, here);
    }
    // A carrier that came back while it was being sent, or could not be sent at all, goes on here, not on top of the send.
    let back = match carrier.send(target, SendOptions::default()) {
        Ok(()) => carriers.state.lock().seats.release(ticket.seat),
        Err(Unsent { request, status }) => {
            let mut state = carriers.state.lock();
            let early = state.seats.arrive(ticket.seat, (request, Err(status)));
            early.or_else(|| state.seats.release(ticket.seat))
        }
    };
    match back.and_then(|(back, client)| land(device, ticket.seat, back, client)) {
        Some(carrier) => SetOff::Here(carrier),
        None => SetOff::Gone,
    }
}

/// Ends a journey on which nobody went. A cancel that is under way keeps the carrier until it is over, and goes on with it.
fn stay(device: Device<'_, Filter>, ticket: Ticket, carrier: Formatted<Carrier>) -> Option<Created<Carrier>> {
    let back = (carrier.give_up(), Err(NTSTATUS::CANCELLED));
    let arrived = device.carriers.state.lock().seats.arrive(ticket.seat, back);
    arrived.and_then(|(back, client)| land(device, ticket.seat, back, client))
}

fn copy_in(request: &Request, input: &Memory) -> Result<()> {
    input.bytes_mut().copy_from(0, request.input()?)
}

/// Why a client does not board.
#[derive(PartialEq, Eq)]
enum Ashore {
    PowerGoes,
    FileClosed,
}

/// Seats the client, and holds the seat; or gives the client back. Under the lock that those take who look for clients to cancel: from here on
/// they find it.
fn board(carriers: &Carriers, ticket: Ticket, client: Client) -> Result<(), (Client, Ashore)> {
    let mut state = carriers.state.lock();
    if state.stopping {
        return Err((client, Ashore::PowerGoes));
    }
    if files::is_closed(client.file.as_ref()) {
        return Err((client, Ashore::FileClosed));
    }
    // The seat of a journey that has just begun is empty.
    state.seats.board(ticket, client).map_err(|client| (client, Ashore::PowerGoes))?;
    state.seats.hold(ticket);
    Ok(())
}

/// Puts a client that did not board back into its queue, unless nobody waits for it. Should its file be closed only now, the client ends when
/// it is to board again.
fn send_back(client: Client) {
    let TakenBack::Request(request) = client.request.take_back() else { return };
    if files::is_closed(client.file.as_ref()) {
        request.complete(NTSTATUS::CANCELLED);
    } else if let Err(refused) = request.requeue() {
        refused.complete();
    }
}

impl OnCompletion for Carrier {
    type Device = Filter;

    fn completed(device: Device<'_, Filter>, request: Completed<Self>, outcome: Result<usize>) {
        let seat = request.seat;
        let arrived = device.carriers.state.lock().seats.arrive(seat, (request, outcome));
        if let Some((back, client)) = arrived {
            go_on(device, seat, back, client);
        }
    }
}

/// A carrier has come back for good: answers its client and sends it off with the next one.
fn go_on(device: Device<'_, Filter>, seat: usize, back: Back, client: Option<Client>) {
    let Some(carrier) = land(device, seat, back, client) else { return };
    let next = device.carriers.state.lock().seats.depart_again(seat);
    if let Some(ticket) = next
        && travel(device, ticket, carrier)
    {
        fill(device);
    }
}

/// Answers the client and makes the carrier a new request.
fn land(device: Device<'_, Filter>, seat: usize, back: Back, client: Option<Client>) -> Option<Created<Carrier>> {
    let (carrier, outcome) = back;
    answer(device, seat, client, outcome);
    carrier.reuse().inspect_err(|status| wdf::log!("relayflt: a carrier cannot be reused: {status}")).ok()
}

fn answer(device: Device<'_, Filter>, seat: usize, client: Option<Client>, outcome: Result<usize>) {
    match client.map(|client| client.request.take_back()) {
        Some(TakenBack::Request(mut request)) => {
            let (_, output) = &device.context().carriers.buffers[seat];
            let outcome = outcome.and_then(|length| copy_out(&mut request, output, length));
            request.complete_with(outcome);
        }
        Some(TakenBack::Canceled(request)) => request.complete(),
        Some(TakenBack::CallbackHasIt) | None => {}
    }
}

fn copy_out(request: &mut Request, output: &Memory, length: usize) -> Result<usize> {
    if length != 0 {
        request.output()?.copy_from(0, output.bytes().slice(0, length)?)?;
    }
    Ok(length)
}

/// A client is cancelled: it is answered at once, and its carrier is cancelled.
struct ClientCancel;

impl OnCancel for ClientCancel {
    type Device = Filter;

    fn canceled(device: Device<'_, Filter>, request: Canceled, ticket: u64) {
        let ticket = Ticket::from_number(ticket);
        let (client, held) = {
            let mut state = device.carriers.state.lock();
            (state.seats.alight(ticket), state.seats.hold(ticket))
        };
        drop(client);
        request.complete();
        if held {
            cancel_held(device, ticket.seat);
        }
    }
}

/// Cancels the carrier of a seat that the caller holds, and gives the hold back.
fn cancel_held(device: Device<'_, Filter>, seat: usize) {
    device.carriers.handles[seat].cancel();
    let arrived = device.carriers.state.lock().seats.release(seat);
    if let Some((back, client)) = arrived {
        go_on(device, seat, back, client);
    }
}

/// Cancels every carrier that `which` picks by its client.
fn cancel_which(device: Device<'_, Filter>, which: impl Fn(Option<&Client>) -> bool) {
    for seat in 0..CARRIERS {
        let held = {
            let mut state = device.carriers.state.lock();
            state.seats.journey_at(seat, &which).is_some_and(|ticket| state.seats.hold(ticket))
        };
        if held {
            cancel_held(device, seat);
        }
    }
}

/// The device is going: nothing stays with the driver below.
pub(crate) fn cancel_all(device: Device<'_, Filter>) {
    cancel_which(device, |_| true);
}

/// A file is closed: its clients go.
pub(crate) fn cancel_of_file(device: Device<'_, Filter>, file: File<'_>) {
    cancel_which(device, |client| client.and_then(|client| client.file.as_ref()).is_some_and(|own| own.file().id() == file.id()));
}
