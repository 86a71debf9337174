//! The hot path allocates nothing: register accesses through a session, and commands through a virtqueue. Counted by the allocator itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use device_model::pci::Function;
use device_model::relay::RelayDevice;
use device_model::serve::vfio_user::message::*;
use device_model::serve::vfio_user::session::{Request, Session};
use device_model::testing::*;
use device_model::virtio::pci::VirtioPci;
use protocol::hardware::{Opcode, QUEUE_SIZE};
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

fn function() -> Function {
    Function::new(Box::new(VirtioPci::new(RelayDevice::new()))).unwrap()
}

#[test]
fn a_command_allocates_nothing_once_the_device_is_warm() {
    let mut machine = Machine::new(function(), 0x40_0000);
    let memory = machine.wires.memory.clone();
    let mut queue = DriverQueue::new(memory.clone(), 0x1_0000, QUEUE_SIZE);
    start_virtio(&mut machine, VERSION_1, &[&queue]);
    memory.write_at(0x10_0000, &command(1, Opcode::ECHO, 0, &[5; 4096])).unwrap();
    let mut round = |count: usize| {
        for _ in 0..count {
            queue.add(&[Buffer::Out(0x10_0000, 4128), Buffer::In(0x20_0000, 4112)]);
            machine.write(BAR, NOTIFY, &[0, 0]);
            assert!(machine.settle(10));
            assert!(queue.used().is_some());
        }
    };
    round(10);

    assert_eq!(allocations(|| round(1000)), 0);
}

#[test]
fn a_register_access_through_a_session_allocates_nothing() {
    let mut function = function();
    let mut session = Session::new(&function);
    let mut fds = Vec::new();
    let mut serve = |command: u16, body: &[u8]| {
        let header = Header { id: 0, command, size: (HEADER_SIZE + body.len()) as u32, flags: 0, error: 0 };
        session.serve(Request { header, body, fds: &mut fds, fault: None }, &mut function, 0);
    };
    serve(command::VERSION, &[0, 0, 1, 0]);
    let access = RegionAccess { offset: 0x2000, region: 2, count: 8 };
    let write = [access.as_bytes(), &[0; 8]].concat();

    let count = allocations(|| {
        for _ in 0..1000 {
            serve(command::REGION_READ, access.as_bytes());
            serve(command::REGION_WRITE, &write);
        }
    });

    assert_eq!(count, 0);
}
