//! Each kind of object that belongs to a device, over the fake table: before it is made, in its place, after it was deleted, and in places that are none.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use wdf_sys::{WDFDEVICE, WDFREQUEST};

use super::*;
use crate::dma::{CommonBuffer, DmaEnabler};
use crate::{
    Dispatch, Dpc, InService, Interrupt, InterruptEvents, Passive, Queue, QueueBuilder, QueueEvents, RemoteTarget, Timer, Work,
    WorkItem, fake, trampoline, utf16,
};

/// What is asked of each object, and what comes of it.
#[derive(Debug, PartialEq, Eq)]
struct Answers {
    queued: u32,
    retrieved: NTSTATUS,
    is_open: bool,
    opened: Result<()>,
    loaded: Option<u16>,
    stored: bool,
    bytes: usize,
}

/// A context with one of each, which asks all of them when it is dropped.
struct Home {
    queue: Queue<Calls>,
    timer: Timer<Act>,
    dpc: Dpc<Act>,
    item: WorkItem<Act>,
    interrupt: Interrupt<Line>,
    buffer: CommonBuffer,
    remote: RemoteTarget,
    last: Arc<Mutex<Option<Answers>>>,
}

impl Home {
    fn new(last: &Arc<Mutex<Option<Answers>>>) -> Self {
        Self {
            queue: Queue::unmade(),
            timer: Timer::unmade(),
            dpc: Dpc::unmade(),
            item: WorkItem::unmade(),
            interrupt: Interrupt::unmade(),
            buffer: CommonBuffer::unmade(),
            remote: RemoteTarget::unmade(),
            last: Arc::clone(last),
        }
    }

    fn ask_all(&self) -> Answers {
        let passive = Passive::assume();
        self.timer.start(Duration::from_millis(1));
        self.timer.stop();
        self.dpc.enqueue();
        self.item.enqueue();
        drop(self.interrupt.lock());
        self.queue.stop();
        let answers = Answers {
            queued: self.queue.state().queued,
            retrieved: self.queue.retrieve().expect_err("the fake queue has none"),
            is_open: self.remote.target().is_ok(),
            opened: self.remote.open(utf16!(r"\Device\Other"), 0, passive),
            loaded: self.buffer.load(2),
            stored: self.buffer.store(2, 7_u16),
            bytes: self.buffer.bytes(0, 8).map_or(0, |bytes| bytes.len()),
        };
        self.remote.close(passive);
        answers
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        *self.last.lock().expect("no panic in here") = Some(self.ask_all());
    }
}

crate::context!(Home);
impl DeviceEvents for Home {}

struct Calls;
crate::context!(Calls);
impl QueueEvents for Calls {
    type Device = Home;
}

struct Act;
impl Dispatch for Act {
    type Device = Home;
    fn run(_: Device<'_, Home>) {}
}
impl Work for Act {
    type Device = Home;
    fn run(_: Device<'_, Home>, _: Passive<'_>) {}
}

struct Line;
crate::context!(Line);
impl InterruptEvents for Line {
    type Device = Home;
    fn isr(&self, _: Device<'_, Home>, _: InService<'_>, _: u32) -> bool {
        false
    }
}

/// What becomes of questions to objects that are not there.
const NOTHING: Answers = Answers {
    queued: 0,
    retrieved: NTSTATUS::INVALID_DEVICE_STATE,
    is_open: false,
    opened: Err(NTSTATUS::INVALID_DEVICE_STATE),
    loaded: None,
    stored: false,
    bytes: 0,
};

/// A device with a context of empty places, which outlives the test unless that deletes it.
fn device() -> (WDFREQUEST, Device<'static, Home>, Arc<Mutex<Option<Answers>>>) {
    let (object, last) = (fake::request(), Arc::default());
    // SAFETY: the fake table knows every object, for ever.
    let installed = unsafe { context::install(WDFDEVICE(object.0).object(), Home::new(&last)) };
    assert!(installed.is_ok());
    fake::destroy_with(object, trampoline::destroy::<Home>);
    // SAFETY: as above.
    let device = unsafe { Device::from_handle(WDFDEVICE(object.0)) }.expect("it has its context");
    (object, device, last)
}

fn make_all(device: Device<'_, Home>) -> Result<()> {
    let passive = Passive::assume();
    QueueBuilder::manual().create(device, |home| &home.queue, Calls)?;
    Timer::<Act>::create(device, |home| &home.timer, None)?;
    Dpc::<Act>::create(device, |home| &home.dpc)?;
    WorkItem::<Act>::create(device, |home| &home.item)?;
    Interrupt::create(device, |home| &home.interrupt, Line, passive)?;
    RemoteTarget::create(device, |home| &home.remote)?;
    DmaEnabler::new(device, 64, passive)?.common_buffer(|home| &home.buffer, 64)
}

#[test]
fn nothing_is_asked_of_objects_that_are_not_made_yet() {
    let (object, device, _) = device();
    assert_eq!(device.ask_all(), NOTHING);
    assert_eq!(fake::calls(object), Vec::<String>::new());
}

#[test]
fn objects_in_their_places_do_as_they_are_asked() {
    let (object, device, _) = device();
    assert_eq!(make_all(device), Ok(()));
    let answers = device.ask_all();
    let there = Answers {
        queued: 3,
        retrieved: NTSTATUS::NO_MORE_ENTRIES,
        is_open: true,
        opened: Ok(()),
        loaded: Some(0),
        stored: true,
        bytes: 8,
    };
    assert_eq!(answers, there);
    let calls: Vec<_> = fake::children(object).into_iter().map(fake::calls).collect();
    let expected: [&[&str]; 7] = [
        &["Stop", "State", "Retrieve"],
        &["Start -10000", "Stop"],
        &["Enqueue"],
        &["Enqueue"],
        &["AcquireLock", "ReleaseLock"],
        &["Open", "Close"],
        &["CreateBuffer"],
    ];
    assert_eq!(calls, expected);
}

#[test]
fn what_the_drop_of_a_context_asks_of_deleted_objects_is_not_done() {
    let (object, device, last) = device();
    assert_eq!(make_all(device), Ok(()));
    let objects = fake::children(object);
    let before: Vec<_> = objects.iter().map(|object| fake::calls(*object)).collect();
    fake::delete_tree(object);
    assert_eq!(last.lock().expect("no panic in here").take(), Some(NOTHING));
    let after: Vec<_> = objects.iter().map(|object| fake::calls(*object)).collect();
    assert_eq!(after, before);
}

#[test]
fn a_place_outside_of_the_context_is_none() {
    static ELSEWHERE: Timer<Act> = Timer::unmade();
    let (object, device, _) = device();
    let (_, other, _) = self::device();
    assert_eq!(Timer::create(device, |_| &ELSEWHERE, None), Err(NTSTATUS::INVALID_PARAMETER));
    assert_eq!(Timer::create(device, |_| &other.context().timer, None), Err(NTSTATUS::INVALID_PARAMETER));
    assert_eq!(fake::calls(object), Vec::<String>::new());
}

#[test]
fn a_place_holds_one_object() {
    let (object, device, _) = device();
    assert_eq!(WorkItem::<Act>::create(device, |home| &home.item), Ok(()));
    assert_eq!(WorkItem::<Act>::create(device, |home| &home.item), Err(NTSTATUS::INVALID_DEVICE_STATE));
    assert_eq!(fake::calls(object), ["CreateWorkItem"]);
}

#[test]
fn an_object_that_cannot_be_made_leaves_its_place_empty() {
    for function in
        ["CreateQueue", "CreateTimer", "CreateDpc", "CreateWorkItem", "CreateInterrupt", "CreateTarget", "CreateEnabler"]
    {
        let (object, device, _) = device();
        fake::answer(object, function, NTSTATUS::INSUFFICIENT_RESOURCES);
        assert_eq!(make_all(device), Err(NTSTATUS::INSUFFICIENT_RESOURCES), "{function}");
        fake::answer(object, function, NTSTATUS::SUCCESS);
        let made = fake::children(object).len();
        assert!(made < 7 && fake::calls(object).len() == made + 1, "{function}");
    }
}

#[test]
fn a_remote_target_is_opened_once_and_deleted_with_its_device_alone() {
    let (object, device, _) = device();
    let (name, passive) = (utf16!(r"\Device\Other"), Passive::assume());
    assert_eq!(RemoteTarget::create(device, |home| &home.remote), Ok(()));
    let target = fake::children(object)[0];
    fake::answer(target, "Open", NTSTATUS::OBJECT_NAME_INVALID);
    assert_eq!(device.remote.open(name, 0, passive), Err(NTSTATUS::OBJECT_NAME_INVALID));
    fake::answer(target, "Open", NTSTATUS::SUCCESS);
    assert_eq!(device.remote.open(name, 0, passive), Ok(()));
    assert_eq!(device.remote.open(name, 0, passive), Err(NTSTATUS::INVALID_DEVICE_STATE));
    device.remote.close(passive);
    assert_eq!(device.remote.open(name, 0, passive), Err(NTSTATUS::INVALID_DEVICE_STATE));
    fake::delete_tree(object);
    assert_eq!(fake::calls(target), ["Open", "Open", "Close"], "nobody deletes it but the framework");
}
