//! The driver's ring against an independent device side, crate `virtio-queue`, in guest memory of crate `vm-memory`.

use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{Ring, RingMemory, Span, Used, Violation, bytes};

const SIZE: u16 = 8;
const BASE: u64 = 0x1000;
const DATA: u64 = 0x8000;

struct Shared<'a>(&'a GuestMemoryMmap);

impl RingMemory for Shared<'_> {
    fn load16(&self, offset: usize) -> u16 {
        self.0.read_obj(GuestAddress(BASE + offset as u64)).expect("inside of the test's memory")
    }

    fn load32(&self, offset: usize) -> u32 {
        self.0.read_obj(GuestAddress(BASE + offset as u64)).expect("inside of the test's memory")
    }

    fn store16(&self, offset: usize, value: u16) {
        self.0.write_obj(value, GuestAddress(BASE + offset as u64)).expect("inside of the test's memory");
    }

    fn store32(&self, offset: usize, value: u32) {
        self.0.write_obj(value, GuestAddress(BASE + offset as u64)).expect("inside of the test's memory");
    }
}

fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1_0000)]).expect("64 KiB")
}

fn pair(memory: &GuestMemoryMmap) -> (Ring, Queue) {
    let mut ring = Ring::new();
    ring.restart(&Shared(memory), SIZE);
    let addresses = ring.addresses(BASE);
    let mut device = Queue::new(SIZE).expect("a power of two");
    let halves = |address: u64| (Some(address as u32), Some((address >> 32) as u32));
    let (low, high) = halves(addresses.descriptors);
    device.set_desc_table_address(low, high);
    let (low, high) = halves(addresses.available);
    device.set_avail_ring_address(low, high);
    let (low, high) = halves(addresses.used);
    device.set_used_ring_address(low, high);
    device.set_ready(true);
    assert!(device.is_valid(memory), "the addresses are ones that a device accepts");
    (ring, device)
}

const READABLE: Span = Span { address: DATA, length: 32 };
const WRITABLE: Span = Span { address: DATA + 0x100, length: 16 };

#[test]
fn a_pair_arrives_as_a_readable_and_a_writable_descriptor() {
    let memory = memory();
    let (mut ring, mut device) = pair(&memory);

    ring.offer_pair(&Shared(&memory), 2, READABLE, WRITABLE);

    let chain = device.pop_descriptor_chain(&memory).expect("a chain was offered");
    assert_eq!(chain.head_index(), 2);
    let parts: Vec<_> = chain.map(|part| (part.addr().0, part.len(), part.is_write_only())).collect();
    assert_eq!(parts, [(DATA, 32, false), (DATA + 0x100, 16, true)]);
}

#[test]
fn a_returned_chain_is_seen_once_with_its_length() {
    let memory = memory();
    let (mut ring, mut device) = pair(&memory);
    ring.offer_pair(&Shared(&memory), 0, READABLE, WRITABLE);
    let head = device.pop_descriptor_chain(&memory).expect("a chain was offered").head_index();

    device.add_used(&memory, head, 16).expect("a valid head");

    assert_eq!(ring.take_used(&Shared(&memory)), Ok(Some(Used { head: 0, written: 16 })));
    assert_eq!(ring.take_used(&Shared(&memory)), Ok(None));
}

#[test]
fn chains_go_round_past_the_wrap_of_the_indices() {
    let memory = memory();
    let (mut ring, mut device) = pair(&memory);
    for turn in 0..70_000_u32 {
        let head = (turn % u32::from(SIZE)) as u16;
        ring.offer_writable(&Shared(&memory), head, WRITABLE);
        let taken = device.pop_descriptor_chain(&memory).expect("a chain was offered").head_index();
        device.add_used(&memory, taken, turn).expect("a valid head");
        assert_eq!(ring.take_used(&Shared(&memory)), Ok(Some(Used { head, written: turn })));
    }
}

#[test]
fn the_doorbell_is_wanted_unless_the_device_says_otherwise() {
    let memory = memory();
    let (mut ring, _device) = pair(&memory);
    ring.offer_writable(&Shared(&memory), 0, WRITABLE);
    assert!(ring.wants_doorbell(&Shared(&memory)));

    let used = ring.addresses(BASE).used;
    memory.write_obj(1_u16, GuestAddress(used)).expect("inside of the test's memory");

    assert!(!ring.wants_doorbell(&Shared(&memory)));
}

#[test]
fn an_index_that_jumps_is_a_violation() {
    let memory = memory();
    let (mut ring, _device) = pair(&memory);
    memory.write_obj(SIZE + 1, GuestAddress(ring.addresses(BASE).used + 2)).expect("inside of the test's memory");
    assert_eq!(ring.take_used(&Shared(&memory)), Err(Violation::IndexJump));
}

#[test]
fn an_id_that_is_no_descriptor_is_a_violation() {
    for id in [u32::from(SIZE), 0xffff, 0x1_0000, u32::MAX] {
        let memory = memory();
        let (mut ring, _device) = pair(&memory);
        let used = ring.addresses(BASE).used;
        memory.write_obj(id, GuestAddress(used + 4)).expect("inside of the test's memory");
        memory.write_obj(1_u16, GuestAddress(used + 2)).expect("inside of the test's memory");
        assert_eq!(ring.take_used(&Shared(&memory)), Err(Violation::NoSuchDescriptor));
    }
}

#[test]
fn a_restart_forgets_what_the_device_had() {
    let memory = memory();
    let (mut ring, mut device) = pair(&memory);
    ring.offer_writable(&Shared(&memory), 3, WRITABLE);
    let head = device.pop_descriptor_chain(&memory).expect("a chain was offered").head_index();
    device.add_used(&memory, head, 1).expect("a valid head");

    ring.restart(&Shared(&memory), SIZE);

    assert_eq!(ring.take_used(&Shared(&memory)), Ok(None));
    assert_eq!(memory.read_obj::<u16>(GuestAddress(ring.addresses(BASE).available + 2)).expect("inside"), 0);
}

#[test]
fn a_ring_that_was_never_started_gives_nothing() {
    let memory = memory();
    let mut ring = Ring::new();
    assert_eq!(ring.take_used(&Shared(&memory)), Ok(None));
}

#[test]
fn the_parts_of_the_largest_ring_do_not_overlap() {
    assert_eq!(bytes(256), 256 * 16 + 6 + 512 + 2 + 6 + 256 * 8);
}

proptest::proptest! {
    #[test]
    fn whatever_a_device_writes_into_the_used_ring_is_bounded_and_in_range(
        index in proptest::prelude::any::<u16>(),
        entries in proptest::collection::vec(proptest::prelude::any::<(u32, u32)>(), SIZE as usize),
    ) {
        let memory = memory();
        let (mut ring, _device) = pair(&memory);
        let used = ring.addresses(BASE).used;
        for (at, (id, written)) in entries.iter().enumerate() {
            memory.write_obj(*id, GuestAddress(used + 4 + 8 * at as u64)).expect("inside of the test's memory");
            memory.write_obj(*written, GuestAddress(used + 8 + 8 * at as u64)).expect("inside of the test's memory");
        }
        memory.write_obj(index, GuestAddress(used + 2)).expect("inside of the test's memory");

        let mut taken = 0;
        while let Ok(Some(chain)) = ring.take_used(&Shared(&memory)) {
            taken += 1;
            assert!(chain.head < SIZE && taken <= SIZE);
        }
    }
}
