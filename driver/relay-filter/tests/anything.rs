//! Anything in any order, also between two steps of the filter, against an oracle that knows what may come of each client.
//!
//! A planned happening stands for another processor: it begins and ends in a gap in which the filter holds no lock. What the oracle
//! demands after every step: nobody waits while a carrier is idle, nobody stays whose file is closed, no cancel reaches a client that nobody cancelled, no answer reaches
//! another client, nothing is completed twice, what power took is kept or back in its queue. At the end everything is over, every event has
//! been read once, and the filter has given everything back.

mod world;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use proptest::prelude::*;
use protocol::hardware::Event;
use protocol::io;
use wdf_sys::NTSTATUS;
use zerocopy::{FromBytes, IntoBytes};

use world::{Device, Request, gaps, scarcity};

const CARRIERS: usize = 16;
const READERS: usize = 4;

#[derive(Clone, Debug)]
enum Happening {
    Send {
        file: usize,
    },
    Read {
        file: usize,
    },
    Cancel(usize),
    /// The driver below completes one of what it has; what was cancelled it may complete as cancelled.
    Complete {
        index: usize,
        how: How,
    },
    /// A program closes its file; whether it, or the system, cancels its requests one by one before that.
    Close {
        file: usize,
        cancels: bool,
    },
    Suspend,
    Resume,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Well,
    Badly,
}

#[derive(Clone, Debug)]
enum Step {
    Happens(Happening),
    /// The second one in a gap of the first.
    Meanwhile(Happening, usize, Happening),
    /// What is sent is refused from now on, or no longer.
    Refuse(bool),
    /// An allocation fails, some time from now.
    Scarcity(usize),
    /// The driver below completes what it gets from now on at once, or no longer.
    AtOnce(bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (0..3_usize).prop_map(|file| Happening::Send { file }),
        2 => (0..3_usize).prop_map(|file| Happening::Read { file }),
        4 => any::<usize>().prop_map(Happening::Cancel),
        8 => (any::<usize>(), prop_oneof![4 => Just(How::Well), 1 => Just(How::Badly)])
            .prop_map(|(index, how)| Happening::Complete { index, how }),
        1 => (0..3_usize, any::<bool>()).prop_map(|(file, cancels)| Happening::Close { file, cancels }),
        1 => Just(Happening::Suspend),
        2 => Just(Happening::Resume),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => happening().prop_map(Step::Happens),
        9 => (happening(), 0..24_usize, happening()).prop_map(|(first, gap, second)| Step::Meanwhile(first, gap, second)),
        1 => any::<bool>().prop_map(Step::Refuse),
        1 => (0..6_usize).prop_map(Step::Scarcity),
        1 => any::<bool>().prop_map(Step::AtOnce),
    ]
}

/// A client, and why it may end otherwise than the driver below says.
#[derive(Clone)]
struct Client {
    request: Request,
    file: usize,
    reads: bool,
    cancelled: bool,
}

struct Scene {
    device: Device,
    clients: RefCell<Vec<Client>>,
    /// The file that each of the three programs has open.
    files: RefCell<[usize; 3]>,
    closed: RefCell<HashSet<usize>>,
    next_file: Cell<usize>,
    /// How the driver below completed what carried each client.
    answers: RefCell<HashMap<usize, Vec<NTSTATUS>>>,
    events: Cell<u64>,
    asleep: Cell<bool>,
    changing_power: Cell<bool>,
    /// Refusals, lack of memory or completion at once may be behind an error.
    errors: Cell<bool>,
    readers_failed: Cell<bool>,
    wrong: RefCell<Vec<String>>,
}

impl Scene {
    fn new() -> Self {
        scarcity::begin(None);
        Self {
            device: Device::reading(),
            clients: RefCell::default(),
            files: RefCell::new([0, 1, 2]),
            closed: RefCell::default(),
            next_file: Cell::new(3),
            answers: RefCell::default(),
            events: Cell::new(0),
            asleep: Cell::new(false),
            changing_power: Cell::new(false),
            errors: Cell::new(false),
            readers_failed: Cell::new(false),
            wrong: RefCell::default(),
        }
    }

    fn perform(self: &Rc<Self>, step: Step) {
        match step {
            Step::Happens(happening) => self.happen(happening),
            Step::Meanwhile(first, gap, second) => {
                let scene = Rc::clone(self);
                gaps::plan(gap, move || scene.happen(second));
                self.happen(first);
                gaps::flush();
            }
            Step::Refuse(refuses) => {
                self.errors.set(self.errors.get() || refuses);
                self.readers_failed.set(self.readers_failed.get() || refuses);
                self.device.refuse(refuses.then_some(NTSTATUS::DEVICE_NOT_READY));
            }
            Step::Scarcity(after) => {
                self.errors.set(true);
                self.readers_failed.set(true);
                scarcity::fail(Some(after));
            }
            Step::AtOnce(at_once) => {
                self.errors.set(self.errors.get() || at_once);
                self.readers_failed.set(self.readers_failed.get() || at_once);
                self.device.complete_at_once(at_once.then_some(NTSTATUS::DEVICE_NOT_READY));
            }
        }
        self.look();
    }

    fn happen(&self, happening: Happening) {
        match happening {
            Happening::Send { file } => self.send(file, false),
            Happening::Read { file } => self.send(file, true),
            Happening::Cancel(pick) => {
                let request = {
                    let mut clients = self.clients.borrow_mut();
                    let mut under_way: Vec<&mut Client> = clients.iter_mut().filter(|client| !client.is_over()).collect();
                    let count = under_way.len().max(1);
                    let Some(client) = under_way.get_mut(pick % count) else { return };
                    // A program cancels a request once; the system does no more than that, either.
                    if core::mem::replace(&mut client.cancelled, true) {
                        return;
                    }
                    client.request
                };
                request.cancel();
            }
            Happening::Complete { index, how } => {
                let below = self.device.below_count();
                if let Some(request) = self.device.below_at(index % below.max(1)) {
                    self.complete(request, how);
                }
            }
            Happening::Close { file, cancels } => self.close(file, cancels),
            // The system changes a device's power in one thread.
            Happening::Suspend | Happening::Resume if self.changing_power.get() => {}
            Happening::Suspend => {
                if !self.asleep.replace(true) {
                    self.changing_power.set(true);
                    let clients = self.requests();
                    self.device.suspend(&clients);
                    self.changing_power.set(false);
                }
            }
            Happening::Resume => {
                if self.asleep.get() && self.requests().into_iter().all(Request::has_left_power) {
                    self.changing_power.set(true);
                    self.asleep.set(false);
                    self.device.resume();
                    self.changing_power.set(false);
                }
            }
        }
    }

    fn requests(&self) -> Vec<Request> {
        self.clients.borrow().iter().map(|client| client.request).collect()
    }

    fn send(&self, program: usize, reads: bool) {
        let (number, file) = (self.clients.borrow().len(), self.files.borrow()[program]);
        let input = if reads { vec![] } else { number.to_le_bytes().to_vec() };
        let (code, room) = if reads { (io::READ_EVENT, size_of::<Event>()) } else { (io::ECHO, input.len()) };
        // It is known before it is on its way: what happens meanwhile may concern it.
        let prepared = self.device.prepare(file, code, &input, room);
        self.clients.borrow_mut().push(Client { request: prepared, file, reads, cancelled: false });
        self.device.present(prepared);
    }

    fn complete(&self, request: Request, how: How) {
        let (code, input, cancels) = request.with(|parts| (parts.code, parts.input.clone(), parts.cancels));
        let status = match how {
            How::Badly if cancels != 0 => NTSTATUS::CANCELLED,
            How::Badly => NTSTATUS::DATA_ERROR,
            How::Well => NTSTATUS::SUCCESS,
        };
        if code == io::READ_EVENT {
            let event = Event { sequence: self.events.get(), ..Event::default() };
            if status.is_success() {
                self.events.set(self.events.get() + 1);
                return request.complete(status, event.as_bytes());
            }
            self.readers_failed.set(true);
            return request.complete(status, &[]);
        }
        let number = usize::from_le_bytes(input.clone().try_into().expect("a carrier carries a number"));
        if cancels != 0 && !self.clients.borrow()[number].cancelled {
            // Not here: this may be a gap, inside of calls that cannot be unwound.
            self.wrong.borrow_mut().push(format!("client {number} is cancelled below, and nobody cancelled it"));
        }
        self.answers.borrow_mut().entry(number).or_default().push(status);
        let answer: Vec<u8> = if status.is_success() { input.iter().rev().copied().collect() } else { vec![] };
        request.complete(status, &answer);
    }

    fn close(&self, program: usize, cancels: bool) {
        // Whoever still sends meanwhile has opened the device anew.
        let next = self.next_file.replace(self.next_file.get() + 1);
        let file = core::mem::replace(&mut self.files.borrow_mut()[program], next);
        let mut cancelled = Vec::new();
        for client in self.clients.borrow_mut().iter_mut().filter(|client| client.file == file && !client.is_over()) {
            if !core::mem::replace(&mut client.cancelled, true) {
                cancelled.push(client.request);
            }
        }
        // The system may cancel what it can, then the last handle is gone.
        for request in cancelled.into_iter().filter(|_| cancels) {
            request.cancel();
        }
        self.device.close(file);
        self.closed.borrow_mut().insert(file);
    }

    /// What has to be so after every step.
    fn look(&self) {
        assert_eq!(*self.wrong.borrow(), [] as [&str; 0]);
        let clients = self.clients.borrow();
        for (number, client) in clients.iter().enumerate() {
            if let Some((status, bytes)) = client.request.outcome() {
                self.judge(number, client, status, &bytes);
            }
        }
        let closed = self.closed.borrow();
        for (number, client) in clients.iter().enumerate().filter(|(_, client)| closed.contains(&client.file)) {
            // What has no power to be looked at waits for it in its queue.
            let sleeps = self.asleep.get() && !client.reads && client.request.is_queued();
            let is_ending = client.is_over() || sleeps || self.device.is_cancelled_below(io::ECHO, &number.to_le_bytes());
            assert!(is_ending, "client {number} stays after its file was closed");
        }
        let waiting = clients.iter().filter(|client| !client.reads && client.request.is_queued()).count();
        if self.asleep.get() {
            assert!(
                clients.iter().all(|client| client.request.has_left_power()),
                "power goes with a request in the filter's hands"
            );
        } else {
            let away = self.device.below_with(io::ECHO);
            assert!(waiting == 0 || away == CARRIERS, "{waiting} clients wait and {away} carriers are away");
        }
    }

    fn judge(&self, number: usize, client: &Client, status: NTSTATUS, bytes: &[u8]) {
        let answers = self.answers.borrow();
        let answers = answers.get(&number).map_or(&[][..], Vec::as_slice);
        let is_right = match status {
            NTSTATUS::CANCELLED => client.cancelled,
            NTSTATUS::SUCCESS if client.reads => bytes.len() == size_of::<Event>(),
            NTSTATUS::SUCCESS => answers.contains(&status) && bytes.iter().rev().copied().eq(number.to_le_bytes()),
            NTSTATUS::DEVICE_NOT_READY | NTSTATUS::INSUFFICIENT_RESOURCES => self.errors.get(),
            status => !client.reads && answers.contains(&status),
        };
        assert!(is_right, "client {number} ended with {status} {bytes:?}; below: {answers:?}");
    }

    /// Everything goes well from now on: all that was sent ends, and the filter gives back what it has.
    fn end(self: &Rc<Self>) {
        self.device.refuse(None);
        self.device.complete_at_once(None);
        scarcity::fail(None);
        // The readers that failed rest until power comes back.
        self.happen(Happening::Suspend);
        self.happen(Happening::Resume);
        while let Some(carrier) = self.device.take_below(io::ECHO) {
            self.complete(carrier, How::Well);
            self.look();
        }
        let carried_are_over = self.clients.borrow().iter().all(|client| client.reads || client.is_over());
        assert!(carried_are_over, "a client is left behind");
        self.drain_events();
        self.remove();
    }

    /// Reads until nobody is answered at once any more: each event came to one client, or went with one that was closed or cancelled.
    fn drain_events(&self) {
        loop {
            self.send(0, true);
            if self.clients.borrow().last().is_some_and(|client| !client.is_over()) {
                break;
            }
        }
        let clients = self.clients.borrow();
        let outcomes = clients.iter().filter(|client| client.reads).filter_map(|client| client.request.outcome());
        let mut read: Vec<u64> = outcomes
            .filter(|(status, _)| status.is_success())
            .map(|(_, bytes)| Event::read_from_bytes(&bytes).expect("a whole event").sequence)
            .collect();
        read.sort_unstable();
        assert!(read.into_iter().eq(0..self.events.get()), "an event is lost, or came twice");
        assert_eq!(self.device.below_with(io::READ_EVENT), READERS, "a reader is lost");
    }

    fn remove(&self) {
        for client in self.clients.borrow_mut().iter_mut() {
            client.cancelled = true;
        }
        let clients = self.requests();
        self.device.remove(&clients);
        while let Some(request) = self.device.below() {
            request.complete(NTSTATUS::CANCELLED, &[]);
        }
        assert!(self.clients.borrow().iter().all(Client::is_over), "a client outlives the device");
        self.device.destroy();
        assert_eq!(scarcity::left_behind(), 0, "the filter keeps something");
    }
}

impl Client {
    fn is_over(&self) -> bool {
        self.request.outcome().is_some()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn whatever_happens_every_client_ends_once_as_it_should(steps in proptest::collection::vec(step(), 0..60)) {
        let scene = Rc::new(Scene::new());
        for step in steps {
            scene.perform(step);
        }
        scene.end();
    }

    #[test]
    fn more_clients_than_carriers_with_anything_in_between(
        count in 17..40_usize,
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let scene = Rc::new(Scene::new());
        for _ in 0..count {
            scene.perform(Step::Happens(Happening::Send { file: 0 }));
        }
        for step in steps {
            scene.perform(step);
        }
        scene.end();
    }
}
