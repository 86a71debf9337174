//! The filter device: its context, and where each request goes.

use protocol::hardware::Event;
use protocol::io;
use wdf::{
    Device, DeviceEvents, IoControl, NTSTATUS, NewDevice, OnDeviceControl, Passive, PowerState, Queue, QueueBuilder, QueueEvents,
    Request, Result, WDF_REQUEST_TYPE,
};

use crate::carriers::{self, Carriers, Waiting};
use crate::files;
use crate::readers::{self, Readers, WaitingReaders};

/// The context of a filter device.
pub(crate) struct Filter {
    pub(crate) carriers: Carriers,
    pub(crate) readers: Readers,
    /// I/O controls as they come.
    incoming: Queue<Incoming>,
    /// Clients that wait for a carrier.
    pub(crate) waiting: Queue<Waiting>,
    /// Clients that wait for an event.
    pub(crate) waiting_readers: Queue<WaitingReaders>,
}

wdf::context!(Filter);

impl Filter {
    /// The context of a new device, with the requests of its own, and no queues yet.
    pub(crate) fn new(device: &NewDevice<Self>) -> Result<Self> {
        Ok(Self {
            carriers: Carriers::new(device)?,
            readers: Readers::new(device)?,
            incoming: Queue::unmade(),
            waiting: Queue::unmade(),
            waiting_readers: Queue::unmade(),
        })
    }

    /// Makes the queues.
    pub(crate) fn make(device: Device<'_, Self>, passive: Passive<'_>) -> Result<()> {
        let incoming = QueueBuilder::parallel().power_managed(false).on_device_control();
        incoming.create(device, |filter| &filter.incoming, Incoming)?;
        device.incoming.dispatch(WDF_REQUEST_TYPE::WdfRequestTypeDeviceControl, passive)?;
        let waiting = QueueBuilder::manual().power_managed(true).on_stop();
        waiting.create(device, |filter| &filter.waiting, Waiting)?;
        device.waiting.notify_ready()?;
        QueueBuilder::manual().power_managed(false).create(device, |filter| &filter.waiting_readers, WaitingReaders)
    }
}

impl DeviceEvents for Filter {
    fn d0_entry(device: Device<'_, Self>, _from: PowerState, _passive: Passive<'_>) -> Result<()> {
        device.carriers.power_is_back();
        Ok(())
    }

    fn self_managed_init(device: Device<'_, Self>, _passive: Passive<'_>) -> Result<()> {
        readers::start(device);
        Ok(())
    }

    fn self_managed_restart(device: Device<'_, Self>, _passive: Passive<'_>) -> Result<()> {
        readers::start(device);
        // Power is back: clients that came meanwhile may have found the queue asleep.
        carriers::fill(device);
        Ok(())
    }

    fn surprise_removal(device: Device<'_, Self>, _passive: Passive<'_>) {
        readers::stop(device);
        carriers::cancel_all(device);
    }

    fn self_managed_flush(device: Device<'_, Self>, _passive: Passive<'_>) {
        readers::stop(device);
        carriers::cancel_all(device);
    }
}

/// The context of the queue that I/O controls come to.
struct Incoming;

wdf::context!(Incoming);

impl QueueEvents for Incoming {
    type Device = Filter;
}

impl OnDeviceControl for Incoming {
    fn device_control(&self, device: Device<'_, Filter>, request: Request, control: IoControl) {
        let outcome = match control.code {
            io::READ_EVENT if control.output_length < size_of::<Event>() => {
                return request.complete(NTSTATUS::BUFFER_TOO_SMALL);
            }
            io::READ_EVENT => {
                let file = files::file_of(&request);
                let outcome = request.forward(&device.waiting_readers);
                readers::deliver(device);
                readers::let_go_if_closed(device, file.as_ref());
                outcome
            }
            _ if carriers::carries(control) => {
                let outcome = request.forward(&device.waiting);
                carriers::fill(device);
                outcome
            }
            _ => request.send_and_forget(device.target()),
        };
        if let Err(refused) = outcome {
            refused.complete();
        }
    }
}
