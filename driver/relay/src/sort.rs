//! The default queue: looks at every I/O control, answers what needs no waiting, and forwards the rest to the queue of its kind.

use protocol::hardware::Event;
use protocol::io;
use wdf::{Device, IoControl, NTSTATUS, OnDeviceControl, Queue, QueueEvents, Request, Result};

use crate::files;
use crate::interrupts::Signalling;
use crate::plan;
use crate::relay::{Relay, count};

/// The context of the default queue.
pub(crate) struct Sort;

wdf::context!(Sort);

impl QueueEvents for Sort {
    type Device = Relay;
}

impl OnDeviceControl for Sort {
    fn device_control(&self, device: Device<'_, Relay>, mut request: Request, control: IoControl) {
        let relay = device.context();
        count(&relay.counters.presented);
        match control.code {
            io::QUERY_CONFIG => {
                let outcome = query_config(relay, &mut request);
                relay.complete(request, outcome);
            }
            io::QUERY_COUNTERS => {
                let outcome = answer(&mut request, &relay.counters.snapshot(Signalling::load(&relay.signalling)));
                relay.complete(request, outcome);
            }
            io::READ_EVENT if control.output_length < size_of::<Event>() => {
                relay.complete(request, Err(NTSTATUS::BUFFER_TOO_SMALL));
            }
            io::READ_EVENT => {
                let file = files::file_of(&request);
                forward(relay, request, &relay.readers);
                crate::events::deliver(relay);
                crate::events::let_go_if_closed(relay, file.as_ref());
            }
            io::ADMIN => forward(relay, request, &relay.admin),
            io::SELF_TEST => forward(relay, request, &relay.self_tests),
            _ => match plan_of(&request, control) {
                Ok(plan) if plan.is_bulk() => forward(relay, request, &relay.bulk),
                Ok(_) => forward(relay, request, &relay.small),
                Err(status) => relay.complete(request, Err(status)),
            },
        }
    }
}

/// The plan of a request, with as much of its input as that takes.
pub(crate) fn plan_of(request: &Request, control: IoControl) -> Result<plan::Plan> {
    let input = if control.code == io::COMMAND { request.input()? } else { wdf::Bytes::EMPTY };
    plan::plan(control, input)
}

fn forward<Q: QueueEvents>(relay: &Relay, request: Request, to: &Queue<Q>) {
    // Counted first: the request may be answered before `forward` returns, and its sender may ask for the counters then.
    count(&relay.counters.forwarded);
    if let Err(refused) = request.forward(to) {
        relay.complete(refused.request, Err(refused.status));
    }
}

fn query_config(relay: &Relay, request: &mut Request) -> Result<usize> {
    let config = relay.registers.get().ok_or(NTSTATUS::DEVICE_NOT_READY)?.config()?;
    answer(request, &config)
}

fn answer<T: zerocopy::IntoBytes + zerocopy::Immutable>(request: &mut Request, value: &T) -> Result<usize> {
    request.output()?.write(0, value)?;
    Ok(size_of::<T>())
}
