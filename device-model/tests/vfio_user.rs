//! The vfio-user server against an independent client, the one of the `vfio_user` crate.

mod common;

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use device_model::memory::{Memory, Region};
use device_model::pci::Function;
use device_model::relay::RelayDevice;
use device_model::serve::listen;
use device_model::serve::vfio_user::Server;
use device_model::testing::*;
use device_model::virtio::pci::VirtioPci;
use protocol::hardware::{CONFIG_MAGIC, Opcode, QUEUE_SIZE, RelayConfig, STATUS_PAGE};
use vfio_bindings::bindings::vfio::*;
use vfio_user::Client;
use vm_memory::{FileOffset, Permissions};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use zerocopy::FromBytes;

const CONFIG_REGION: u32 = VFIO_PCI_CONFIG_REGION_INDEX;
const MEMORY: u64 = 0x40_0000;
const OUT: u64 = 0x10_0000;
const IN: u64 = 0x20_0000;

/// A client with guest memory that the device can reach.
struct Guest {
    client: Client,
    memory: Arc<Memory>,
    file: std::fs::File,
}

impl Guest {
    fn connect(served: &common::Served) -> Self {
        Self::at(&served.socket)
    }

    fn at(socket: &Path) -> Self {
        let mut client = Client::new(socket).expect("the server speaks the protocol");
        let file = tempfile::tempfile().unwrap();
        file.set_len(MEMORY).unwrap();
        client.dma_map(0, 0, MEMORY, file.as_raw_fd()).unwrap();
        let region = Region::from_file(0, MEMORY, Permissions::ReadWrite, FileOffset::new(file.try_clone().unwrap(), 0)).unwrap();
        let memory = Arc::new(Memory::default().with(region).unwrap());
        client.region_write(CONFIG_REGION, 4, &6_u16.to_le_bytes()).unwrap();
        Self { client, memory, file }
    }

    fn enable_msix(&mut self) -> Vec<EventFd> {
        let fds: Vec<_> = (0..4).map(|_| EventFd::new(EFD_NONBLOCK).unwrap()).collect();
        let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
        self.client.set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, flags, 0, 4, &raw).unwrap();
        let at = self.capability(0x11);
        self.client.region_write(CONFIG_REGION, at + 2, &0x8000_u16.to_le_bytes()).unwrap();
        fds
    }

    fn capability(&mut self, id: u8) -> u64 {
        let mut byte = [0];
        self.client.region_read(CONFIG_REGION, 0x34, &mut byte).unwrap();
        loop {
            let at = u64::from(byte[0]);
            assert_ne!(at, 0, "no capability {id:#x}");
            let mut head = [0; 2];
            self.client.region_read(CONFIG_REGION, at, &mut head).unwrap();
            if head[0] == id {
                return at;
            }
            byte[0] = head[1];
        }
    }

    fn start(&mut self) -> DriverQueue {
        let commands = DriverQueue::new(self.memory.clone(), 0x1_0000, QUEUE_SIZE);
        assert_eq!(start_virtio(self, VERSION_1, &[&commands]), RUNNING);
        commands
    }
}

impl Registers for Guest {
    fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        self.client.region_read(bar as u32, offset, data).unwrap();
    }

    fn write(&mut self, bar: usize, offset: u64, data: &[u8]) {
        self.client.region_write(bar as u32, offset, data).unwrap();
    }
}

fn relay() -> common::Served {
    common::serve(VirtioPci::new(RelayDevice::new()))
}

/// Wait for an eventfd, with a deadline.
fn signalled(fd: &EventFd) -> bool {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid entry, and a time-out.
    let ready = unsafe { libc::poll(&mut entry, 1, 5000) };
    ready == 1 && fd.read().is_ok()
}

#[test]
fn the_client_finds_a_pci_device_with_its_regions_and_interrupts() {
    let served = relay();
    let mut client = Client::new(&served.socket).unwrap();

    let sizes: Vec<_> = (0..9).map(|index| client.region(index).unwrap().size).collect();
    assert_eq!(sizes, [0x1000, 0, 0x8000, 0, 0, 0, 0, 4096, 0]);
    assert_eq!(client.get_irq_info(VFIO_PCI_INTX_IRQ_INDEX).unwrap().count, 1);
    assert_eq!(client.get_irq_info(VFIO_PCI_MSIX_IRQ_INDEX).unwrap().count, 4);
    let mut ids = [0; 4];
    client.region_read(CONFIG_REGION, 0, &mut ids).unwrap();
    assert_eq!(ids, [0xf4, 0x1a, 0x55, 0x10]);
}

#[test]
fn an_echo_through_the_socket_raises_the_queues_eventfd() {
    let served = relay();
    let mut guest = Guest::connect(&served);
    let events = guest.enable_msix();
    let mut commands = guest.start();
    let bytes = command(1, Opcode::ECHO, 0, b"over the socket");
    guest.memory.write_at(OUT, &bytes).unwrap();

    commands.add(&[Buffer::Out(OUT, bytes.len() as u32), Buffer::In(IN, 100)]);
    guest.write(BAR, NOTIFY, &[0, 0]);

    assert!(signalled(&events[1]));
    assert_eq!(commands.used(), Some((0, 31)));
    let mut answer = [0; 15];
    guest.memory.read_at(IN + 16, &mut answer).unwrap();
    assert_eq!(&answer, b"over the socket");
    assert!(events[0].read().is_err() && events[2].read().is_err(), "other vectors stay silent");
}

#[test]
fn a_delayed_command_is_answered_after_its_delay() {
    let served = relay();
    let mut guest = Guest::connect(&served);
    let events = guest.enable_msix();
    let mut commands = guest.start();
    guest.memory.write_at(OUT, &command(1, Opcode::DELAY, 20_000, b"")).unwrap();

    let start = Instant::now();
    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    guest.write(BAR, NOTIFY, &[0, 0]);

    assert!(signalled(&events[1]));
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert_eq!(commands.used(), Some((0, 16)));
}

#[test]
fn the_pin_triggers_once_until_it_is_unmasked() {
    let served = relay();
    let mut guest = Guest::connect(&served);
    let pin = EventFd::new(EFD_NONBLOCK).unwrap();
    let set = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    guest.client.set_irqs(VFIO_PCI_INTX_IRQ_INDEX, set, 0, 1, &[pin.as_raw_fd()]).unwrap();
    let mut commands = guest.start();
    guest.memory.write_at(OUT, &command(1, Opcode::ECHO, 0, b"")).unwrap();
    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    guest.write(BAR, NOTIFY, &[0, 0]);
    assert!(signalled(&pin));

    // The level is still high when the client has looked after it.
    let unmask = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK;
    guest.client.set_irqs(VFIO_PCI_INTX_IRQ_INDEX, unmask, 0, 1, &[]).unwrap();
    assert!(signalled(&pin));

    // So it is when a descriptor does the unmasking.
    let unmasker = EventFd::new(EFD_NONBLOCK).unwrap();
    let by_descriptor = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK;
    guest.client.set_irqs(VFIO_PCI_INTX_IRQ_INDEX, by_descriptor, 0, 1, &[unmasker.as_raw_fd()]).unwrap();
    unmasker.write(1).unwrap();
    assert!(signalled(&pin));

    assert_eq!(guest.read8(BAR, ISR), 1);
    guest.client.set_irqs(VFIO_PCI_INTX_IRQ_INDEX, unmask, 0, 1, &[]).unwrap();
    assert!(pin.read().is_err(), "the level is low");
}

#[test]
fn lines_are_masked_unmasked_and_triggered_one_by_one() {
    let served = relay();
    let mut guest = Guest::connect(&served);
    let events = guest.enable_msix();
    let mut set =
        |flags: u32, start: u32, count: u32| guest.client.set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, flags, start, count, &[]).unwrap();

    // A client may trigger a line itself, to try its way.
    set(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 1, 2);
    assert!(events[0].read().is_err() && signalled(&events[1]) && signalled(&events[2]) && events[3].read().is_err());
    // What comes while a line is masked waits for its unmasking.
    set(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK, 1, 1);
    set(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 1, 1);
    assert!(events[1].read().is_err());
    set(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 1, 1);
    assert!(signalled(&events[1]));
    // None at all: every line of the index is taken away.
    set(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0);
    set(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 1, 1);
    assert!(events[1].read().is_err());
}

#[test]
fn memory_that_was_unmapped_is_out_of_reach() {
    let served = relay();
    let mut guest = Guest::connect(&served);
    let commands = guest.start();

    guest.client.dma_unmap(0, MEMORY).unwrap();
    commands.set_available_index(1);
    guest.write(BAR, NOTIFY, &[0, 0]);

    let deadline = Instant::now() + Duration::from_secs(5);
    while guest.read8(BAR, STATUS) & 0x40 == 0 {
        assert!(Instant::now() < deadline, "the device never asks to be reset");
    }
    let offset = guest.file.as_raw_fd();
    guest.client.dma_map(0, 0, MEMORY, offset).unwrap();
    guest.start();
}

#[test]
fn a_device_reset_puts_the_device_back() {
    let served = relay();
    let mut guest = Guest::connect(&served);
    guest.start();

    guest.client.reset().unwrap();

    guest.client.region_write(CONFIG_REGION, 4, &6_u16.to_le_bytes()).unwrap();
    assert_eq!(guest.read8(BAR, STATUS), 0);
}

#[test]
fn a_client_that_reconnects_finds_a_fresh_device() {
    let served = relay();
    for _ in 0..3 {
        let mut guest = Guest::connect(&served);
        assert_eq!(guest.read8(BAR, STATUS), 0);
        guest.start();
        guest.client.shutdown().unwrap();
    }
}

#[test]
fn a_second_client_is_turned_away_and_the_first_goes_on() {
    let served = relay();
    let mut first = Guest::connect(&served);

    assert!(Client::new(&served.socket).is_err());

    assert_eq!(first.read8(BAR, STATUS), 0);
}

#[test]
fn the_status_page_is_read_without_asking_the_device() {
    let served = common::serve(VirtioPci::new(RelayDevice::with_status_page().unwrap()));
    let mut guest = Guest::connect(&served);
    let events = guest.enable_msix();
    let region = guest.client.region(BAR as u32).unwrap();
    let areas: Vec<_> = region.sparse_areas.iter().map(|area| (area.offset, area.size)).collect();
    assert_eq!(areas, [(STATUS_PAGE, 0x1000)]);
    let file = region.file_offset.as_ref().expect("a file comes with the areas").file().try_clone().unwrap();
    let page = Region::from_file(0, 0x1000, Permissions::Read, FileOffset::new(file.try_clone().unwrap(), STATUS_PAGE)).unwrap();
    let page = Memory::default().with(page).unwrap();
    let counters = || {
        let mut bytes = [0; size_of::<RelayConfig>()];
        page.read_at(0, &mut bytes).unwrap();
        RelayConfig::read_from_bytes(&bytes).unwrap()
    };
    assert_eq!((counters().magic, counters().commands_answered), (CONFIG_MAGIC, 0));
    assert!(file.set_len(0).is_err(), "nobody can shorten the file");

    let mut commands = guest.start();
    guest.memory.write_at(OUT, &command(1, Opcode::ECHO, 0, b"")).unwrap();
    commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
    guest.write(BAR, NOTIFY, &[0, 0]);
    assert!(signalled(&events[1]));
    // The interrupt may be seen before the round that raised it has ended; a register access waits for that.
    assert_eq!(guest.read32(BAR, STATUS_PAGE + 24), 1, "answered, by a trapped read");
    assert_eq!(counters().commands_answered, 1);
}

#[test]
fn one_server_serves_several_devices_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();
    let mut server = Server::new();
    let mut sockets = Vec::new();
    for name in ["one", "other"] {
        let (listener, file) = listen(&folder.path().join(name)).unwrap();
        let function = Function::new(Box::new(VirtioPci::new(RelayDevice::new()))).unwrap();
        server.add(name, listener, function).unwrap();
        sockets.push(file);
    }
    let thread = std::thread::spawn(move || server.run(stopped.as_fd()));
    let mut guests: Vec<_> = sockets.iter().map(|socket| Guest::at(socket.path())).collect();

    for guest in &mut guests {
        let events = guest.enable_msix();
        let mut commands = guest.start();
        guest.memory.write_at(OUT, &command(1, Opcode::ECHO, 0, b"")).unwrap();
        commands.add(&[Buffer::Out(OUT, 32), Buffer::In(IN, 16)]);
        guest.write(BAR, NOTIFY, &[0, 0]);
        assert!(signalled(&events[1]));
    }

    for guest in &mut guests {
        assert_eq!(guest.read32(BAR, CONFIG + 16), 1, "each has taken its own command");
    }
    drop(stop);
    thread.join().unwrap().unwrap();
}
