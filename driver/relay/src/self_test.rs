//! The self test: the driver sends itself an echo through its own queues, by its target on itself, and tells whether it came back in time.
//!
//! Its queue is sequential: one test at a time, with one request that is used again for the next. The queue needs no power, but the echo does: a
//! test that begins without power ends with it, or when the time is over.

use core::time::Duration;

use protocol::io;
use wdf::{
    Completed, Created, Device, IoControl, Memory, NTSTATUS, OnCompletion, OnDeviceControl, QueueEvents, Request, Result,
    SendOptions, SpinLock, Unsent,
};

use crate::relay::Relay;

/// Bytes of the echo.
const BYTES: usize = 64;
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(io::SELF_TEST_SECONDS);

/// The context of the queue of self tests.
pub(crate) struct SelfTests;

wdf::context!(SelfTests);

impl QueueEvents for SelfTests {
    type Device = Relay;
}

/// The context of the echo.
pub(crate) struct Echo;

wdf::context!(Echo);

/// What the lock protects.
#[derive(Default)]
struct State {
    /// The echo, between two tests; none before the first.
    echo: Option<Created<Echo>>,
    /// Whoever asked for the test that is under way.
    client: Option<Request>,
}

/// What a test needs.
pub(crate) struct SelfTest {
    state: SpinLock<State>,
    sent: Memory,
    came: Memory,
}

impl SelfTest {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { state: SpinLock::new(State::default())?, sent: Memory::new(BYTES)?, came: Memory::new(BYTES)? })
    }

    /// What came back is what was sent.
    fn verdict(&self, length: usize) -> Result<()> {
        let (sent, came): ([u8; BYTES], [u8; BYTES]) = (self.sent.bytes().read(0)?, self.came.bytes().read(0)?);
        if length == BYTES && sent == came { Ok(()) } else { Err(NTSTATUS::DEVICE_HARDWARE_ERROR) }
    }
}

impl OnDeviceControl for SelfTests {
    fn device_control(&self, device: Device<'_, Relay>, request: Request, _control: IoControl) {
        let echo = {
            let mut state = device.self_test.state.lock();
            state.client = Some(request);
            state.echo.take()
        };
        if let Err((echo, status)) = begin(device, echo) {
            end(device, echo, Err(status));
        }
    }
}

/// Sends the echo; or gives it back, and why it was not sent.
fn begin(device: Device<'_, Relay>, echo: Option<Created<Echo>>) -> Result<(), (Option<Created<Echo>>, NTSTATUS)> {
    let Some(target) = device.self_target() else { return Err((echo, NTSTATUS::INVALID_DEVICE_STATE)) };
    let test = &device.context().self_test;
    // No two tests send the same.
    let pattern = [device.new_tag(); BYTES / 8];
    let ready = echo.map_or_else(|| Created::new(target, Echo), Ok).map_err(|status| (None, status))?;
    let written = test.sent.bytes_mut().write(0, &pattern).and_then(|()| test.came.bytes_mut().write(0, &[0_u8; BYTES]));
    if let Err(status) = written {
        return Err((Some(ready), status));
    }
    let formatted = ready
        .format_control(target, io::ECHO, Some((&test.sent, BYTES)), Some((&test.came, BYTES)))
        .map_err(|Unsent { request, status }| (Some(request), status))?;
    let options = SendOptions { timeout: Some(PATIENCE), ..SendOptions::default() };
    formatted.send(target, options).map_err(|Unsent { request, status }| (request.reuse().ok(), status))
}

impl OnCompletion for Echo {
    type Device = Relay;

    fn completed(device: Device<'_, Relay>, request: Completed<Self>, outcome: Result<usize>) {
        let verdict = outcome.and_then(|length| device.self_test.verdict(length));
        end(device, request.reuse().ok(), verdict);
    }
}

/// The test is over: its client hears of it, and the queue presents the next one.
fn end(device: Device<'_, Relay>, echo: Option<Created<Echo>>, verdict: Result<()>) {
    let client = {
        let mut state = device.self_test.state.lock();
        state.echo = echo;
        state.client.take()
    };
    if let Some(client) = client {
        device.complete(client, verdict.map(|()| 0));
    }
}
