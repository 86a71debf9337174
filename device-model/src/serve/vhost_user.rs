//! A virtio device behind vhost-user: the virtual machine has the registers, this side has the queues and the configuration space.
//!
//! The protocol is vhost-user-backend's. This module lends the rings to the device and keeps device time with a timer. A connection has a
//! device of its own, so that a virtual machine that comes back finds one after power-on. Device time goes on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::vhost_user::{Error as ProtocolError, Listener};
use vhost_user_backend::{Error as DaemonError, VhostUserBackend, VhostUserDaemon, VringMutex, VringState, VringT};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier};
use vmm_sys_util::timerfd::TimerFd;

use crate::memory::Memory;
use crate::virtio::{QueueSet, Queues, VirtioDevice};

/// VHOST_USER_F_PROTOCOL_FEATURES: the feature bit that says there are protocol features to ask for.
const PROTOCOL_FEATURES: u64 = 1 << 30;
const TRANSPORT_FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC | PROTOCOL_FEATURES;
/// Most queues of a device on this transport.
const MAX_QUEUES: usize = 8;

type Ring = VringMutex<GuestMemoryAtomic<GuestMemoryMmap>>;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{0}")]
    System(#[from] io::Error),
    /// vhost-user-backend did.
    #[error("vhost-user: {0}")]
    Daemon(DaemonError),
    /// The device has more queues than this transport serves.
    #[error("vhost-user: a device here has at most {MAX_QUEUES} queues")]
    TooManyQueues,
}

/// Serve devices made by `device` to whoever connects to `listener`, one client at a time, until `stop` becomes readable.
pub fn serve<V: VirtioDevice + 'static>(
    listener: &UnixListener,
    device: impl Fn() -> V,
    stop: BorrowedFd<'_>,
) -> Result<(), Error> {
    listener.set_nonblocking(true)?;
    let started = Instant::now();
    loop {
        if wait_for_one_of(stop, listener.as_fd())? == Ready::Stop {
            return Ok(());
        }
        let backend = Arc::new(Backend::new(device(), started)?);
        let mut daemon =
            VhostUserDaemon::new("vhost-user".into(), backend.clone(), GuestMemoryAtomic::new(GuestMemoryMmap::new()))
                .map_err(Error::Daemon)?;
        let handlers = daemon.get_epoll_handlers();
        let timer = backend.lock().timer.as_raw_fd();
        for handler in &handlers {
            handler.register_listener(timer, EventSet::IN, backend.timer_event())?;
        }
        daemon.start(&mut Listener::from(listener.try_clone()?)).map_err(Error::Daemon)?;
        tracing::info!("a client has connected");
        let ready = serve_one(daemon, stop)?;
        let now = backend.now();
        backend.lock().reset(now);
        if ready == Ready::Stop {
            return Ok(());
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    Stop,
    Other,
}

/// Wait for the end of a connection, or end it when told to stop.
fn serve_one<V: VirtioDevice + 'static>(
    mut daemon: VhostUserDaemon<Arc<Backend<V>>>,
    stop: BorrowedFd<'_>,
) -> Result<Ready, Error> {
    let shutdown = daemon.shutdown_handle();
    let (ended, end) = UnixStream::pair()?;
    let watcher = std::thread::spawn(move || {
        let result = daemon.wait();
        drop(end);
        result
    });
    let ready = wait_for_one_of(stop, ended.as_fd())?;
    if let Some(shutdown) = shutdown {
        shutdown.shutdown();
    }
    match watcher.join() {
        Ok(Ok(()) | Err(DaemonError::HandleRequest(ProtocolError::Disconnected | ProtocolError::PartialMessage))) => {
            tracing::info!("the client has gone");
        }
        Ok(Err(error)) => tracing::warn!(%error, "the connection failed"),
        Err(_) => tracing::error!("the thread of the connection panicked"),
    }
    Ok(ready)
}

/// Wait until one of two descriptors is readable or closed.
fn wait_for_one_of(stop: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<Ready> {
    let mut entries = [stop, other].map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    loop {
        // SAFETY: the array is valid for its length.
        let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, -1) };
        if ready > 0 {
            return Ok(if entries[0].revents != 0 { Ready::Stop } else { Ready::Other });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// A device with what it needs between two events.
struct Backend<V> {
    state: Mutex<State<V>>,
    queues: usize,
    started: Instant,
}

struct State<V> {
    device: V,
    features: u64,
    running: bool,
    memory: Arc<Memory>,
    timer: TimerFd,
    /// Device time for which the timer is set.
    timer_due: Option<u64>,
    /// Queues to look at again, because the last round had to end.
    again: u64,
    /// Queues that the client has started.
    active: u64,
}

impl<V: VirtioDevice> Backend<V> {
    fn new(device: V, started: Instant) -> Result<Self, Error> {
        let queues = device.queue_sizes().len();
        if queues > MAX_QUEUES {
            return Err(Error::TooManyQueues);
        }
        let timer = TimerFd::new().map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
        let state =
            State { device, features: 0, running: false, memory: Memory::empty(), timer, timer_due: None, again: 0, active: 0 };
        Ok(Self { state: Mutex::new(state), queues, started })
    }

    /// What the event loop calls the timer: the number after the queues is taken by the loop itself.
    fn timer_event(&self) -> u64 {
        self.queues as u64 + 1
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}

/// The rings that are running, locked for one round.
struct Rings<'a>([Option<MutexGuard<'a, VringState<GuestMemoryAtomic<GuestMemoryMmap>>>>; MAX_QUEUES]);

impl QueueSet for &mut Rings<'_> {
    fn queue(&mut self, index: u16) -> Option<&mut Queue> {
        let ring = self.0.get_mut(usize::from(index))?.as_mut()?;
        (ring.is_enabled() && ring.get_queue().ready()).then(|| ring.get_queue_mut())
    }
}

impl<V: VirtioDevice> State<V> {
    fn work(&mut self, notified: u64, rings: &[Ring], now: u64) {
        if !self.running {
            self.running = true;
            self.device.start(self.features);
        }
        let notified = notified | std::mem::take(&mut self.again);
        let mut rings = Rings(std::array::from_fn(|index| rings.get(index).map(VringT::get_mut)));
        let memory = self.memory.clone();
        let mut queues = Queues::new(&mut rings, &memory, now);
        let count = self.device.queue_sizes().len() as u16;
        for index in (0..count).filter(|index| notified & 1 << index != 0) {
            tracing::trace!(queue = index, "notified");
            self.active |= 1 << index;
            queues.quiet(index);
            self.device.notified(index, &mut queues);
            if queues.exhausted() || (queues.drained(index) && queues.listen(index)) {
                self.again |= 1 << index;
            }
        }
        queues.refill();
        self.device.wake(&mut queues);
        let interrupts = (0..count).filter(|&index| queues.wants_interrupt(index)).fold(0_u64, |mask, index| mask | 1 << index);
        if queues.broken() {
            // vhost-user has no way to ask for a reset; the client notices that its queue stands still.
            tracing::error!("a ring is unusable: the device waits for its reset");
        }
        for index in (0..usize::from(count)).filter(|index| interrupts & 1 << index != 0) {
            if let Some(ring) = &rings.0[index]
                && let Err(error) = ring.signal_used_queue()
            {
                tracing::debug!(queue = index, %error, "an interrupt could not be signalled");
            }
        }
        self.set_timer(now);
    }

    fn set_timer(&mut self, now: u64) {
        let due = if self.again != 0 { Some(now) } else { self.device.next_wake() };
        if due == self.timer_due {
            return;
        }
        self.timer_due = due;
        let set = match due {
            // A zero time would disarm the timer.
            Some(due) => self.timer.reset(Duration::from_nanos(due.saturating_sub(now).max(1)), None),
            None => self.timer.clear(),
        };
        if let Err(error) = set {
            tracing::error!(%error, "the timer cannot be set");
        }
    }

    fn reset(&mut self, now: u64) {
        self.device.reset(now);
        self.running = false;
        self.again = 0;
        self.active = 0;
        self.set_timer(now);
    }
}

impl<V: VirtioDevice> VhostUserBackend for Backend<V> {
    type Bitmap = ();
    type Vring = Ring;

    fn num_queues(&self) -> usize {
        self.queues
    }

    fn max_queue_size(&self) -> usize {
        self.lock().device.queue_sizes().iter().copied().max().map_or(0, usize::from)
    }

    fn features(&self) -> u64 {
        self.lock().device.features() | TRANSPORT_FEATURES
    }

    fn acked_features(&self, features: u64) {
        self.lock().features = features & !PROTOCOL_FEATURES;
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG | VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK
    }

    fn reset_device(&self) {
        let now = self.now();
        self.lock().reset(now);
    }

    fn set_event_idx(&self, _enabled: bool) {
        // The rings are told by vhost-user-backend; the device need not know.
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let mut state = self.lock();
        let (offset, size) = (offset as usize, size as usize);
        // vhost has checked both against the protocol's 256 bytes. What lies behind the device's configuration reads as zero.
        let mut data = vec![0; size];
        let inside = state.device.config_size().saturating_sub(offset).min(size);
        if inside > 0 {
            state.device.read_config(offset, &mut data[..inside]);
        }
        tracing::trace!("read device configuration at {offset:#x}: {data:02x?}");
        data
    }

    fn set_config(&self, offset: u32, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        if (offset as usize).checked_add(data.len()).is_none_or(|end| end > state.device.config_size()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        tracing::trace!("write device configuration at {offset:#x}: {data:02x?}");
        state.device.write_config(offset as usize, data);
        Ok(())
    }

    fn update_memory(&self, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
        let table = Memory::from_mmap(&memory.memory()).map_err(io::Error::other)?;
        self.lock().memory = Arc::new(table);
        Ok(())
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    fn stop_vring(&self, index: u32) -> io::Result<()> {
        let now = self.now();
        let mut state = self.lock();
        state.device.reset_queue(index as u16);
        state.again &= !(1 << index);
        state.active &= !(1 << index);
        // The client stops every ring when the driver resets the device; there is no message for the reset itself.
        if state.active == 0 {
            state.reset(now);
        }
        Ok(())
    }

    fn handle_event(&self, event: u16, _set: EventSet, rings: &[Ring], _thread: usize) -> io::Result<()> {
        let now = self.now();
        let mut state = self.lock();
        if u64::from(event) == self.timer_event() {
            // Setting a timer takes its expiry back; reading it could block, if another thread has set it since.
            let _ = state.timer.clear();
            state.timer_due = None;
            state.work(0, rings, now);
        } else {
            state.work(1 << event, rings, now);
        }
        Ok(())
    }
}
