//! The device: what its context holds, and how it comes and goes with hardware and power.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use protocol::hardware::{CONFIG_MAGIC, CONFIG_VERSION, QUEUE_ADMIN, QUEUE_COMMAND, QUEUE_COUNT, QUEUE_EVENT};
use protocol::io::DriverCounters;
use wdf::dma::CommonBuffer;
use wdf::pci::ConfigSpace;
use wdf::resources::{Resource, Resources};
use wdf::{
    Cancelable, Device, DeviceEvents, File, FileRef, Interrupt, NTSTATUS, Passive, PoolArray, PowerState, Published, Queue,
    QueueBuilder, Request, Result, SpinLock, Timer, WaitLock, Work, WorkItem,
};

use crate::admin::Admin;
use crate::capabilities;
use crate::commands::Commands;
use crate::events::{Backlog, Events};
use crate::interrupts::{Signalling, Vector};
use crate::memory::{self, ADMIN_RING, ADMIN_SLOTS, COMMAND_RING, COMMAND_SLOTS, EVENT_RING, Memory};
use crate::registers::Registers;
use crate::ring::Ring;
use crate::self_test::{SelfTest, SelfTests};
use crate::slots::{Slot, Slots};
use crate::watchdog::{self, Watchdog};

/// Small commands that may be with the driver at one time. Fewer than there are slots: the rest are for commands that were cancelled
/// but that the device still has.
const MOST_COMMANDS: u32 = 96;
/// The same for administration commands.
const MOST_ADMINS: u32 = 24;

/// A request that the device has, and what its answer is checked against.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) request: Cancelable,
    pub(crate) file: Option<FileRef>,
    pub(crate) tag: u64,
    pub(crate) room: usize,
    pub(crate) returns_answer: bool,
    /// The look of the watchdog after which the answer is overdue.
    pub(crate) due: Option<u64>,
}

impl Flight {
    pub(crate) fn is_of(&self, file: File<'_>) -> bool {
        self.file.as_ref().is_some_and(|own| own.file().id() == file.id())
    }
}

/// One virtqueue with the requests in it.
pub(crate) struct Lane {
    pub(crate) ring: Ring,
    pub(crate) slots: Slots<PoolArray<Slot<Flight>>>,
}

/// Whether the hardware can be given work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No power, or no hardware.
    Off,
    /// Working.
    Running,
    /// Power is about to go: presented requests go back.
    Stopping,
    /// The device broke the rules or asked for a reset, and has not had it yet.
    Broken,
}

/// What the spin lock protects.
pub(crate) struct State {
    pub(crate) phase: Phase,
    /// Looks of the watchdog.
    pub(crate) looks: u64,
    pub(crate) commands: Lane,
    pub(crate) admin: Lane,
    pub(crate) events: Ring,
    pub(crate) backlog: Backlog,
}

/// The context of a relay device.
pub(crate) struct Relay {
    pub(crate) registers: Published<Registers>,
    pub(crate) state: SpinLock<State>,
    pub(crate) memory: Memory,
    pub(crate) sorted: Queue<crate::sort::Sort>,
    pub(crate) small: Queue<Commands>,
    pub(crate) bulk: Queue<Commands>,
    pub(crate) admin: Queue<Admin>,
    pub(crate) readers: Queue<Events>,
    pub(crate) self_tests: Queue<SelfTests>,
    pub(crate) self_test: SelfTest,
    pub(crate) counters: Counters,
    pub(crate) signalling: AtomicU8,
    /// Tags of commands whose callers gave none.
    pub(crate) next_tag: AtomicU64,
    /// Whether the device has power. Held while it is started and stopped.
    power: WaitLock<bool>,
    recovery: WorkItem<Recovery>,
    watchdog: Timer<Watchdog>,
    interrupts: [Interrupt<Vector>; 4],
}

wdf::context!(Relay);

/// [`DriverCounters`], counting.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) presented: AtomicU64,
    pub(crate) forwarded: AtomicU64,
    pub(crate) submitted: AtomicU64,
    pub(crate) completed: AtomicU64,
    pub(crate) cancelled_on_hardware: AtomicU64,
    /// By vector.
    pub(crate) interrupts: [AtomicU64; 4],
}

impl Counters {
    pub(crate) fn snapshot(&self, signalling: Signalling) -> DriverCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let interrupts_by_vector = self.interrupts.each_ref().map(read);
        DriverCounters {
            presented: read(&self.presented),
            forwarded: read(&self.forwarded),
            submitted: read(&self.submitted),
            completed: read(&self.completed),
            cancelled_on_hardware: read(&self.cancelled_on_hardware),
            interrupts: interrupts_by_vector.iter().sum(),
            interrupts_by_vector,
            vectors: signalling.count(),
        }
    }
}

/// Adds one to a counter.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Relay {
    /// The context of a new device, for which nothing is made yet.
    ///
    /// Not inlined: the context is large, and the places that it is moved through would not fit into one frame of a kernel stack.
    #[inline(never)]
    pub(crate) fn new() -> Result<Self> {
        let lane = |slots| Ok(Lane { ring: Ring::new(), slots: Slots::new(PoolArray::new(slots, |_| Slot::new())?) });
        let state = State {
            phase: Phase::Off,
            looks: 0,
            commands: lane(COMMAND_SLOTS)?,
            admin: lane(ADMIN_SLOTS)?,
            events: Ring::new(),
            backlog: Backlog::new()?,
        };
        Ok(Self {
            registers: Published::new(),
            state: SpinLock::new(state)?,
            memory: Memory::new(),
            sorted: Queue::unmade(),
            small: Queue::unmade(),
            bulk: Queue::unmade(),
            admin: Queue::unmade(),
            readers: Queue::unmade(),
            self_tests: Queue::unmade(),
            self_test: SelfTest::new()?,
            counters: Counters::default(),
            signalling: AtomicU8::new(Signalling::Line as u8),
            next_tag: AtomicU64::new(0),
            power: WaitLock::new(false)?,
            recovery: WorkItem::unmade(),
            watchdog: Timer::unmade(),
            interrupts: [const { Interrupt::unmade() }; 4],
        })
    }

    /// Makes everything that lives as long as the device object.
    pub(crate) fn make(device: Device<'_, Self>, passive: Passive<'_>) -> Result<()> {
        memory::allocate(device, passive)?;
        let presents = QueueBuilder::parallel().default_queue().on_device_control();
        presents.create(device, |relay| &relay.sorted, crate::sort::Sort)?;
        let small = QueueBuilder::parallel_up_to(MOST_COMMANDS).on_device_control().on_stop();
        small.create(device, |relay| &relay.small, Commands)?;
        let bulk = QueueBuilder::sequential().on_device_control().on_stop();
        bulk.create(device, |relay| &relay.bulk, Commands)?;
        let admin = QueueBuilder::parallel_up_to(MOST_ADMINS).on_device_control().on_stop();
        admin.create(device, |relay| &relay.admin, Admin)?;
        QueueBuilder::manual().power_managed(false).create(device, |relay| &relay.readers, Events)?;
        let self_tests = QueueBuilder::sequential().power_managed(false).on_device_control();
        self_tests.create(device, |relay| &relay.self_tests, SelfTests)?;
        WorkItem::<Recovery>::create(device, |relay| &relay.recovery)?;
        Timer::<Watchdog>::create(device, |relay| &relay.watchdog, Some(watchdog::PERIOD))?;
        for index in 0..4 {
            Interrupt::create(device, |relay| &relay.interrupts[usize::from(index)], Vector { index }, passive)?;
        }
        Ok(())
    }

    /// Completes a request: with a byte count, or with an error.
    pub(crate) fn complete(&self, request: Request, outcome: Result<usize>) {
        count(&self.counters.completed);
        request.complete_with(outcome);
    }

    /// A tag that no caller chose: callers' tags rarely have the highest bit set, and those of the driver always have.
    pub(crate) fn new_tag(&self) -> u64 {
        1 << 63 | self.next_tag.fetch_add(1, Ordering::Relaxed)
    }

    /// Rings the doorbell of a queue.
    pub(crate) fn ring_doorbell(&self, queue: u16) {
        if let Some(registers) = self.registers.get() {
            registers.ring_doorbell(queue);
        }
    }

    /// The device broke the rules, or asks for it: everything that it has fails, and it is reset.
    pub(crate) fn give_up_hardware(&self, why: &str) {
        {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Running | Phase::Stopping) {
                return;
            }
            state.phase = Phase::Broken;
        }
        wdf::log!("relay: {why}; the device is reset");
        self.fail_flights(NTSTATUS::DEVICE_HARDWARE_ERROR);
        self.recovery.enqueue();
    }

    /// Completes every request that the device has.
    fn fail_flights(&self, status: NTSTATUS) {
        loop {
            let flight = {
                let mut state = self.state.lock();
                let state = &mut *state;
                let any = |_: &Flight| true;
                let first = state.commands.slots.abandon_first(any, |_| None);
                first.or_else(|| state.admin.slots.abandon_first(any, |_| None))
            };
            let Some(flight) = flight else { return };
            self.end_flight(flight, Err(status));
        }
    }

    /// Completes the request of a flight that has left its slot, unless it is being cancelled.
    pub(crate) fn end_flight(&self, flight: Flight, outcome: Result<usize>) {
        match flight.request.take_back() {
            wdf::TakenBack::Request(request) => self.complete(request, outcome),
            wdf::TakenBack::Canceled(request) => {
                count(&self.counters.completed);
                request.complete();
            }
            wdf::TakenBack::CallbackHasIt => {}
        }
    }

    /// Takes whatever is in the used rings.
    pub(crate) fn take_answers(&self) {
        crate::commands::answered(self);
        crate::events::arrived(self);
        crate::admin::answered(self);
    }

    /// Resets the device and sets it up from nothing.
    fn start_hardware(&self, passive: Passive<'_>) -> Result<()> {
        let registers = self.registers.get().ok_or(NTSTATUS::DEVICE_NOT_READY)?;
        registers.reset_patiently(passive)?;
        registers.negotiate()?;
        if registers.queues() < QUEUE_COUNT {
            return Err(NTSTATUS::DEVICE_CONFIGURATION_ERROR);
        }
        let [config, command, event, admin] = Signalling::load(&self.signalling).vectors();
        registers.set_config_vector(config)?;
        {
            let mut state = self.state.lock();
            let state = &mut *state;
            state.commands.slots.device_reset();
            state.admin.slots.device_reset();
            state.backlog.device_reset();
            let Memory { command_ring, event_ring, admin_ring, .. } = &self.memory;
            set_up(&registers, (&mut state.commands.ring, command_ring), QUEUE_COMMAND, COMMAND_RING, command)?;
            set_up(&registers, (&mut state.events, event_ring), QUEUE_EVENT, EVENT_RING, event)?;
            set_up(&registers, (&mut state.admin.ring, admin_ring), QUEUE_ADMIN, ADMIN_RING, admin)?;
        }
        let relay = registers.config()?;
        if relay.magic != CONFIG_MAGIC || relay.version != CONFIG_VERSION {
            return Err(NTSTATUS::REVISION_MISMATCH);
        }
        registers.go();
        self.state.lock().phase = Phase::Running;
        Ok(())
    }

    /// Stops the device; what it had is nobody's afterwards.
    fn stop_hardware(&self, passive: Passive<'_>) {
        self.state.lock().phase = Phase::Off;
        if let Some(registers) = self.registers.get()
            && let Err(status) = registers.reset(passive)
            && status != NTSTATUS::DEVICE_NOT_CONNECTED
        {
            wdf::log!("relay: the device does not reset: {status}");
        }
        // Events that came until now are for their readers, whenever those come.
        self.take_answers();
        // The framework has waited for every request; one that is still here was forgotten by its queue.
        self.fail_flights(NTSTATUS::DEVICE_POWERED_OFF);
        let mut state = self.state.lock();
        state.commands.slots.device_reset();
        state.admin.slots.device_reset();
    }
}

/// Restarts a ring in its memory and tells the device of it.
fn set_up(registers: &Registers, (ring, memory): (&mut Ring, &CommonBuffer), queue: u16, most: u16, vector: u16) -> Result<()> {
    let largest = registers.largest(queue);
    // The device says a power of two; what is smaller than this, or no power of two, is no answer at all.
    if !largest.is_power_of_two() || largest < 8 {
        return Err(NTSTATUS::DEVICE_CONFIGURATION_ERROR);
    }
    ring.restart(memory, largest.min(most));
    registers.set_up(queue, ring.size(), ring.addresses(memory.logical_address()), vector)
}

impl DeviceEvents for Relay {
    fn prepare_hardware(device: Device<'_, Self>, resources: Resources<'_>, passive: Passive<'_>) -> Result<()> {
        let is_message = |(_, resource)| matches!(resource, Resource::Interrupt { message: true });
        let messages = resources.iter().filter(|pair| is_message(*pair)).count();
        Signalling::for_messages(messages).store(&device.signalling);
        let layout = capabilities::find(&ConfigSpace::of(device, passive)?)?;
        let registers = Registers::map(layout, resources)?;
        device.registers.publish(registers).map_err(|_| NTSTATUS::INVALID_DEVICE_STATE)
    }

    fn d0_entry(device: Device<'_, Self>, _from: PowerState, passive: Passive<'_>) -> Result<()> {
        let mut powered = device.power.lock(passive);
        let outcome = device.start_hardware(passive);
        *powered = outcome.is_ok();
        if let Err(status) = outcome {
            wdf::log!("relay: the device does not start: {status}");
            if let Some(registers) = device.registers.get() {
                registers.fail();
            }
        }
        outcome
    }

    fn interrupts_enabled(device: Device<'_, Self>, _from: PowerState, _passive: Passive<'_>) -> Result<()> {
        crate::events::post(device.context());
        device.watchdog.start(watchdog::PERIOD);
        Ok(())
    }

    fn interrupts_disabling(device: Device<'_, Self>, _to: PowerState, passive: Passive<'_>) -> Result<()> {
        device.watchdog.stop_and_wait(passive);
        Ok(())
    }

    fn d0_exit(device: Device<'_, Self>, _to: PowerState, passive: Passive<'_>) -> Result<()> {
        let mut powered = device.power.lock(passive);
        *powered = false;
        device.stop_hardware(passive);
        Ok(())
    }

    fn release_hardware(device: Device<'_, Self>, passive: Passive<'_>) -> Result<()> {
        drop(device.registers.withdraw(passive));
        Ok(())
    }
}

/// Resets a device that broke the rules, and starts it again.
pub(crate) struct Recovery;

impl Work for Recovery {
    type Device = Relay;

    fn run(device: Device<'_, Relay>, passive: Passive<'_>) {
        let powered = device.power.lock(passive);
        if !*powered || device.state.lock().phase != Phase::Broken {
            return;
        }
        if let Err(status) = device.start_hardware(passive) {
            wdf::log!("relay: the device does not start again: {status}");
            device.set_failed(true);
            return;
        }
        crate::events::post(device.context());
    }
}
