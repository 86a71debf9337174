//! The device: its context, how it comes and goes with hardware and power, and the requests on it.

use gadget_protocol::{BUSY, DONE, IDENTITY, MAGIC, OPERAND, RESULT, SQUARE, STATUS};
use wdf::mmio::IoMapping;
use wdf::resources::{Resource, Resources};
use wdf::{
    Cancelable, Canceled, Device, DeviceEvents, InService, Interrupt, InterruptEvents, IoControl, NTSTATUS, OnCancel,
    OnDeviceControl, OnStop, Passive, PowerState, Published, Queue, QueueBuilder, QueueEvents, Refused, Request, RequestId, Result,
    SpinLock, StopAction, Stopping, TakenBack,
};

/// What the spin lock protects.
struct State {
    /// Whether the hardware can be given work.
    powered: bool,
    /// The request that the hardware works on.
    flight: Option<Cancelable>,
}

/// The context of a device.
pub struct Gadget {
    registers: Published<IoMapping>,
    state: SpinLock<State>,
    queue: Queue<Requests>,
    interrupt: Interrupt<Vector>,
}

wdf::context!(Gadget);

impl Gadget {
    /// The context of a new device; queue and interrupt are not made yet.
    pub fn new() -> Result<Self> {
        Ok(Self {
            registers: Published::new(),
            state: SpinLock::new(State { powered: false, flight: None })?,
            queue: Queue::unmade(),
            interrupt: Interrupt::unmade(),
        })
    }

    /// Makes what belongs to the device. The framework deletes it with the device, so that it can be used from the context alone.
    pub fn make(device: Device<'_, Self>, passive: Passive<'_>) -> Result<()> {
        let queue = QueueBuilder::sequential().default_queue().on_device_control().on_stop();
        queue.create(device, |gadget| &gadget.queue, Requests)?;
        Interrupt::create(device, |gadget| &gadget.interrupt, Vector, passive)
    }

    /// Reads a register; all ones when the hardware is gone.
    fn read(&self, register: usize) -> u32 {
        self.registers.get().map_or(u32::MAX, |registers| registers.read(register))
    }

    fn write(&self, register: usize, value: u32) {
        if let Some(registers) = self.registers.get() {
            registers.write(register, value);
        }
    }

    /// Gives `request` to the hardware.
    fn start(&self, request: Request, operand: u32) {
        let cancelable = match request.mark_cancelable::<Cancel>(0) {
            Ok(cancelable) => cancelable,
            Err(Refused { request, status }) => return request.complete(status),
        };
        let mut state = self.state.lock();
        // A cancel callback that came first found nothing here.
        if state.powered && !cancelable.is_canceled() {
            state.flight = Some(cancelable);
            self.write(OPERAND, operand);
            return;
        }
        drop(state);
        if let TakenBack::Request(request) = cancelable.take_back() {
            request.complete(NTSTATUS::DEVICE_NOT_READY);
        }
    }

    /// Takes the hardware's request away from it, if it is `wanted`.
    fn give_up(&self, wanted: RequestId) -> Option<Cancelable> {
        let mut state = self.state.lock();
        let flight = state.flight.take_if(|flight| flight.id() == wanted)?;
        self.write(STATUS, BUSY | DONE);
        Some(flight)
    }
}

/// The context of the queue: it needs none.
pub struct Requests;

wdf::context!(Requests);

impl QueueEvents for Requests {
    type Device = Gadget;
}

impl OnDeviceControl for Requests {
    fn device_control(&self, device: Device<'_, Gadget>, request: Request, control: IoControl) {
        let operand = match control.code {
            SQUARE if control.output_length < size_of::<u32>() => Err(NTSTATUS::BUFFER_TOO_SMALL),
            SQUARE => request.input().and_then(|input| input.read(0)),
            _ => Err(NTSTATUS::INVALID_DEVICE_REQUEST),
        };
        match operand {
            Ok(operand) => device.start(request, operand),
            Err(status) => request.complete(status),
        }
    }
}

/// A request that the hardware has is cancelled.
struct Cancel;

impl OnCancel for Cancel {
    type Device = Gadget;

    fn canceled(device: Device<'_, Gadget>, request: Canceled, _ticket: u64) {
        drop(device.give_up(request.id()));
        request.complete();
    }
}

impl OnStop for Requests {
    fn stop(&self, device: Device<'_, Gadget>, stopping: Stopping<'_>) {
        if stopping.action() == StopAction::Purge {
            // A request that is on its way to the hardware is not to arrive there: nobody would call it back.
            device.state.lock().powered = false;
        }
        // Without a flight the request is being completed, or is on its way.
        let Some(flight) = device.give_up(stopping.id()) else { return };
        match (flight.take_back(), stopping.action()) {
            // Power will come back, and the queue present the request again.
            (TakenBack::Request(request), StopAction::Suspend) => {
                if let Err(request) = stopping.requeue(request) {
                    request.complete(NTSTATUS::CANCELLED);
                }
            }
            (TakenBack::Request(request), StopAction::Purge) => request.complete(NTSTATUS::CANCELLED),
            (TakenBack::Canceled(request), _) => request.complete(),
            (TakenBack::CallbackHasIt, _) => {}
        }
    }
}

/// The context of the interrupt: it needs none.
struct Vector;

wdf::context!(Vector);

impl InterruptEvents for Vector {
    type Device = Gadget;

    fn isr(&self, device: Device<'_, Gadget>, interrupt: InService<'_>, _message: u32) -> bool {
        let status = device.read(STATUS);
        // All ones: the hardware is gone.
        let ours = status != u32::MAX && status & DONE != 0;
        if ours {
            device.write(STATUS, DONE);
            interrupt.queue_dpc();
        }
        ours
    }

    fn dpc(&self, device: Device<'_, Gadget>) {
        let (flight, square) = {
            let mut state = device.state.lock();
            // The interrupt may have been for a request that has been cancelled since; the hardware works on the next one then.
            let done = device.read(STATUS) & BUSY == 0;
            (state.flight.take_if(|_| done), device.read(RESULT))
        };
        let Some(TakenBack::Request(mut request)) = flight.map(Cancelable::take_back) else { return };
        let outcome = request.output().and_then(|mut output| output.write(0, &square));
        request.complete_with(outcome.map(|()| size_of::<u32>()));
    }
}

impl DeviceEvents for Gadget {
    fn prepare_hardware(device: Device<'_, Self>, resources: Resources<'_>, _passive: Passive<'_>) -> Result<()> {
        let memory = resources.iter().find_map(|(_, translated)| match translated {
            Resource::Memory(memory) => Some(memory),
            _ => None,
        });
        let registers = IoMapping::new(memory.ok_or(NTSTATUS::DEVICE_CONFIGURATION_ERROR)?)?;
        device.registers.publish(registers).map_err(|_| NTSTATUS::INVALID_DEVICE_STATE)
    }

    fn d0_entry(device: Device<'_, Self>, _from: PowerState, _passive: Passive<'_>) -> Result<()> {
        if device.read(IDENTITY) != MAGIC {
            return Err(NTSTATUS::DEVICE_HARDWARE_ERROR);
        }
        device.write(STATUS, BUSY | DONE);
        device.state.lock().powered = true;
        Ok(())
    }

    fn d0_exit(device: Device<'_, Self>, _to: PowerState, _passive: Passive<'_>) -> Result<()> {
        device.state.lock().powered = false;
        device.write(STATUS, BUSY | DONE);
        Ok(())
    }

    fn release_hardware(device: Device<'_, Self>, passive: Passive<'_>) -> Result<()> {
        drop(device.registers.withdraw(passive));
        Ok(())
    }
}
