//! The hot paths allocate nothing: register accesses and interrupts through the socket, and commands, events and administration through
//! virtqueues, with faults and without. Counted by the allocator itself.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use std::os::fd::AsRawFd;

use device_model::device::{Bar, Bus, Device, Identity, Msix, answer, bars};
use device_model::fault::{Faulty, FaultyVirtio, Kind, Plan};
use device_model::pci::Function;
use device_model::relay::RelayDevice;
use device_model::testing::*;
use device_model::virtio::pci::VirtioPci;
use protocol::hardware::{AdminCommand, AdminOpcode, Opcode, QUEUE_ADMIN, QUEUE_EVENT, QUEUE_SIZE};
use vfio_bindings::bindings::vfio::*;
use vfio_user::Client;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use zerocopy::IntoBytes;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands everything to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    run();
    ALLOCATIONS.get() - before
}

const OUT: u64 = 0x10_0000;
const IN: u64 = 0x20_0000;

/// Everything that the relay hardware does, `count` times: commands of each kind, one held and released, one late, events.
fn work(machine: &mut Machine, queues: &mut [DriverQueue; 3], count: usize) {
    let [commands, events, admin] = queues;
    for _ in 0..count {
        events.add(&[Buffer::In(IN + 0x3_0000, 24)]);
        // Echo, transform and checksum; then one that is held and one that is late.
        for command in 0..5 {
            commands.add(&[Buffer::Out(OUT + command * 0x2000, 4128), Buffer::In(IN + command * 0x2000, 4112)]);
        }
        machine.write(BAR, NOTIFY, &[0, 0]);
        assert!(machine.settle(10));
        // Release the one that is held, and ask for an event.
        for command in 0..2 {
            admin.add(&[Buffer::Out(OUT + 0x2_0000 + command * 0x100, 32), Buffer::In(IN + 0x2_0000, 16)]);
        }
        machine.write(BAR, NOTIFY + 4 * u64::from(QUEUE_ADMIN), &[2, 0]);
        machine.write(BAR, NOTIFY + 4 * u64::from(QUEUE_EVENT), &[1, 0]);
        assert!(machine.settle(10));
        // Twice: what comes late may come later still, as planned.
        for _ in 0..2 {
            machine.wires.now += 2_000_000;
            assert!(machine.settle(10));
        }
        let used = |queue: &mut DriverQueue| std::iter::from_fn(|| queue.used()).count();
        assert_eq!([used(commands), used(events), used(admin)], [5, 1, 2]);
        machine.wires.messages.clear();
    }
}

fn allocations_of(device: Box<dyn Device>) -> usize {
    let mut machine = Machine::new(Function::new(device).unwrap(), 0x40_0000);
    let memory = machine.wires.memory.clone();
    let mut queues = [0, 1, 2].map(|index| DriverQueue::new(memory.clone(), 0x1_0000 + index * DriverQueue::BYTES, QUEUE_SIZE));
    start_virtio(&mut machine, VERSION_1, &[&queues[0], &queues[1], &queues[2]]);
    let opcodes = [Opcode::ECHO, Opcode::TRANSFORM, Opcode::CHECKSUM, Opcode::HOLD, Opcode::DELAY];
    for (index, opcode) in opcodes.into_iter().enumerate() {
        memory.write_at(OUT + index as u64 * 0x2000, &command(index as u64, opcode, 1000, &[5; 4096])).unwrap();
    }
    for (index, opcode) in [AdminOpcode::RELEASE, AdminOpcode::EVENT_ONCE].into_iter().enumerate() {
        let admin = AdminCommand { tag: 9, opcode, reserved: 0, target: 3, argument: 0 };
        memory.write_at(OUT + 0x2_0000 + index as u64 * 0x100, admin.as_bytes()).unwrap();
    }
    machine.wires.messages.reserve(1000);
    work(&mut machine, &mut queues, 50);
    allocations(|| work(&mut machine, &mut queues, 200))
}

#[test]
fn nothing_that_the_relay_hardware_does_allocates_once_it_is_warm() {
    assert_eq!(allocations_of(Box::new(VirtioPci::new(RelayDevice::with_status_page().unwrap()))), 0);
}

#[test]
fn nothing_that_goes_wrong_as_planned_allocates() {
    let late = |fault: &mut device_model::fault::Fault| fault.micros = 1;
    let plan = Plan::new(7)
        .with(Kind::InterruptDelayed, |fault| (fault.probability, fault.micros) = (0.5, 1))
        .with(Kind::InterruptDropped, |fault| fault.probability = 0.5)
        .with(Kind::DataCorrupted, |fault| fault.probability = 0.2)
        .with(Kind::UsedTooShort, |fault| fault.probability = 0.2)
        .with(Kind::CompletionOutOfOrder, late)
        .with(Kind::CompletionLate, late);
    let device = Faulty::new(VirtioPci::new(FaultyVirtio::new(RelayDevice::new(), &plan)), &plan);
    assert_eq!(allocations_of(Box::new(device)), 0);
}

/// A device whose register says how often the thread that serves it has allocated, and which interrupts at a write.
struct Meter;

impl Device for Meter {
    fn identity(&self) -> Identity {
        let msix = Some(Msix { bar: 1, vectors: 1 });
        Identity { bars: bars([(0, Bar::memory32(0x1000))]), msix, ..Identity::default() }
    }
    fn read_bar(&mut self, _: usize, _: u64, data: &mut [u8], _: &mut dyn Bus) {
        answer(data, ALLOCATIONS.get() as u64);
    }
    fn write_bar(&mut self, _: usize, _: u64, _: &[u8], bus: &mut dyn Bus) {
        bus.raise(0);
    }
    fn reset(&mut self, _: &mut dyn Bus) {}
}

#[test]
fn register_accesses_and_interrupts_through_the_socket_allocate_nothing_on_the_serving_side() {
    let served = common::serve(Meter);
    let mut client = Client::new(&served.socket).unwrap();
    let event = EventFd::new(EFD_NONBLOCK).unwrap();
    let set = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    client.set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, set, 0, 1, &[event.as_raw_fd()]).unwrap();
    client.region_write(VFIO_PCI_CONFIG_REGION_INDEX, 4, &[6, 0]).unwrap();
    client.region_write(VFIO_PCI_CONFIG_REGION_INDEX, 0x4a, &[0, 0x80]).unwrap();
    let mut round = |count: usize| {
        let mut found = [0; 8];
        for _ in 0..count {
            client.region_write(0, 0, &[1, 0, 0, 0]).unwrap();
            event.read().expect("an interrupt");
            client.region_read(VFIO_PCI_CONFIG_REGION_INDEX, 0, &mut found).unwrap();
            client.region_read(0, 0, &mut found).unwrap();
        }
        u64::from_le_bytes(found)
    };

    let warm = round(10);

    assert_eq!(round(1000), warm);
}
