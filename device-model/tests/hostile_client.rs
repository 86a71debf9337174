//! A client that breaks the protocol: each message gets the right error, and the next one still works.

mod common;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::raw::Raw;
use device_model::relay::RelayDevice;
use device_model::serve::vfio_user::message::*;
use device_model::virtio::pci::VirtioPci;
use vfio_bindings::bindings::vfio::*;
use vmm_sys_util::sock_ctrl_msg::ScmSocket;
use zerocopy::IntoBytes;

const INVALID: u32 = libc::EINVAL as u32;
const CONFIG: u32 = VFIO_PCI_CONFIG_REGION_INDEX;

fn relay() -> common::Served {
    common::serve(VirtioPci::new(RelayDevice::new()))
}

fn map(address: u64, size: u64) -> DmaMap {
    DmaMap { argsz: 32, flags: DMA_READ | DMA_WRITE, offset: 0, address, size }
}

#[test]
fn nothing_works_before_the_version_is_settled_and_then_it_is_settled_once() {
    let served = relay();
    let mut raw = Raw::connect(&served);

    assert_eq!(raw.read(CONFIG, 0, 4), Err(INVALID));
    assert_eq!(raw.call(command::VERSION, &[]), Err(INVALID));
    assert_eq!(raw.call(command::VERSION, Version { major: 1, minor: 0 }.as_bytes()), Err(INVALID));
    assert_eq!(raw.call(command::VERSION, b"\0\0\x01\0{\"capabilities\""), Err(INVALID));
    let reply = raw.call(command::VERSION, b"\0\0\x05\0{}\0").unwrap();
    assert_eq!(reply[..4], [0, 0, 1, 0]);
    assert_eq!(reply.last(), Some(&0));
    assert_eq!(raw.call(command::VERSION, b"\0\0\x01\0"), Err(INVALID));
    raw.works();
}

#[test]
fn sizes_that_lie_do_not_put_the_stream_out_of_step() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);

    // Shorter than a header: the server can only guess that the next message follows.
    for size in [0, 1, 15] {
        let header = raw.header(command::GET_INFO, size, 0);
        raw.stream.write_all(header.as_bytes()).unwrap();
        assert_eq!(raw.reply(), Err(INVALID));
        raw.works();
    }
    // Longer than any message: answered at once, and all of it dropped.
    let size = MAX_MESSAGE + 70_000;
    let header = raw.header(command::REGION_WRITE, size, 0);
    raw.stream.write_all(header.as_bytes()).unwrap();
    assert_eq!(raw.reply(), Err(INVALID));
    raw.stream.write_all(&vec![0xaa; size - HEADER_SIZE]).unwrap();
    raw.works();
}

#[test]
fn messages_may_come_in_any_pieces() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);
    let access = RegionAccess { offset: 0, region: CONFIG, count: 4 };
    let header = raw.header(command::REGION_READ, HEADER_SIZE + 16, 0);
    for byte in [header.as_bytes(), access.as_bytes()].concat() {
        raw.stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(raw.reply().unwrap().len(), 20);

    // Several in one piece, one of them without a reply, and the last cut.
    let quiet = raw.header(command::REGION_READ, HEADER_SIZE + 16, FLAG_NO_REPLY);
    let wrong = raw.header(99, HEADER_SIZE, FLAG_NO_REPLY);
    let last = raw.header(command::REGION_READ, HEADER_SIZE + 16, 0);
    let bytes = [quiet.as_bytes(), access.as_bytes(), wrong.as_bytes(), last.as_bytes(), access.as_bytes()].concat();
    raw.stream.write_all(&bytes[..bytes.len() - 3]).unwrap();
    raw.stream.write_all(&bytes[bytes.len() - 3..]).unwrap();
    assert_eq!(raw.reply().unwrap().len(), 20);
    raw.works();
}

#[test]
fn a_reply_that_nobody_asked_for_is_ignored() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);
    let header = raw.header(command::GET_INFO, HEADER_SIZE, FLAG_REPLY);

    raw.stream.write_all(header.as_bytes()).unwrap();

    raw.works();
}

#[test]
fn unknown_commands_and_bodies_of_the_wrong_length_are_refused() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);

    for unknown in [0, 6, 11, 12, 14, 15, 99, u16::MAX] {
        assert_eq!(raw.call(unknown, &[0; 32]), Err(libc::EOPNOTSUPP as u32), "{unknown}");
    }
    let known = [
        command::DMA_MAP,
        command::DMA_UNMAP,
        command::GET_INFO,
        command::GET_REGION_INFO,
        command::GET_IRQ_INFO,
        command::SET_IRQS,
        command::REGION_READ,
        command::REGION_WRITE,
    ];
    for known in known {
        for length in [0, 1, 7, 200] {
            assert_eq!(raw.call(known, &vec![0; length]), Err(INVALID), "{known} with {length} bytes");
        }
    }
    assert_eq!(raw.call(command::RESET, &[0]), Err(INVALID));
    raw.works();
}

#[test]
fn region_accesses_outside_the_region_are_refused() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);

    for (region, offset, count) in [
        (CONFIG, 4093, 4),
        (CONFIG, 4097, 0),
        (CONFIG, u64::MAX, 2),
        (9, 0, 4),
        (u32::MAX, 0, 4),
        (1, 0, 1),
        (6, 0, 4),
        (2, 0, u32::MAX),
    ] {
        raw.refused(command::REGION_READ, &RegionAccess { offset, region, count }, INVALID);
    }
    assert_eq!(raw.read(CONFIG, 0, 4096).unwrap().len(), 16 + 4096);
    assert_eq!(raw.read(2, 0, 0x8000).unwrap()[16..], [0xff; 0x8000], "memory space is not enabled");
    // A write whose count and data differ.
    let body = [RegionAccess { offset: 0, region: CONFIG, count: 4 }.as_bytes(), &[0; 5]].concat();
    assert_eq!(raw.call(command::REGION_WRITE, &body), Err(INVALID));
    raw.works();
}

#[test]
fn dma_maps_that_cannot_be_are_refused() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);
    let file = tempfile::tempfile().unwrap();
    file.set_len(0x4000).unwrap();
    let fd = file.as_raw_fd();
    let mut attempt = |request: DmaMap, fds: &[RawFd]| {
        let outcome = raw.call_with(command::DMA_MAP, request.as_bytes(), fds);
        raw.works();
        outcome.map(drop)
    };

    assert_eq!(attempt(map(0, 0), &[fd]), Err(INVALID), "empty");
    assert_eq!(attempt(map(u64::MAX, 2), &[fd]), Err(INVALID), "wraps");
    assert_eq!(attempt(map(0, 0x5000), &[fd]), Err(INVALID), "longer than the file");
    assert_eq!(attempt(DmaMap { offset: u64::MAX, ..map(0, 0x1000) }, &[fd]), Err(INVALID), "offset wraps");
    assert_eq!(attempt(DmaMap { offset: 1, ..map(0, 0x1000) }, &[fd]), Err(INVALID), "offset inside a page");
    assert_eq!(attempt(DmaMap { flags: 0, ..map(0, 0x1000) }, &[fd]), Err(INVALID), "no access");
    assert_eq!(attempt(DmaMap { flags: 7, ..map(0, 0x1000) }, &[fd]), Err(INVALID), "a flag that means nothing here");
    assert_eq!(attempt(DmaMap { argsz: 31, ..map(0, 0x1000) }, &[fd]), Err(INVALID), "argsz");
    assert_eq!(attempt(map(0, 0x1000), &[fd, fd]), Err(INVALID), "two descriptors");
    assert_eq!(attempt(map(0, 0x1000), &[raw_socket().as_raw_fd()]), Err(INVALID), "no file");

    assert_eq!(attempt(map(0x1000, 0x2000), &[fd]), Ok(()));
    for (address, size) in [(0x1000, 0x2000), (0, 0x1001), (0x2fff, 1), (0, 0x4000), (0, u64::MAX)] {
        assert_eq!(attempt(map(address, size), &[]), Err(libc::EEXIST as u32), "{address:#x}");
    }
    assert_eq!(attempt(map(0x3000, 0x1000), &[]), Ok(()), "without a descriptor");
}

fn raw_socket() -> UnixStream {
    UnixStream::pair().unwrap().0
}

#[test]
fn one_dma_map_more_than_the_server_keeps_is_refused() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);
    for index in 0..1024 {
        raw.call(command::DMA_MAP, map(index * 0x1000, 0x1000).as_bytes()).unwrap();
    }

    raw.refused(command::DMA_MAP, &map(1024 * 0x1000, 0x1000), libc::ENOSPC as u32);

    let all = DmaUnmap { argsz: 24, flags: VFIO_DMA_UNMAP_FLAG_ALL, address: 0, size: 0 };
    raw.call(command::DMA_UNMAP, all.as_bytes()).unwrap();
    raw.call(command::DMA_MAP, map(0, 0x1000).as_bytes()).unwrap();
}

#[test]
fn unmapping_takes_exactly_what_was_mapped() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);
    raw.call(command::DMA_MAP, map(0x1000, 0x2000).as_bytes()).unwrap();
    let unmap = |flags, address, size| DmaUnmap { argsz: 24, flags, address, size };

    raw.refused(command::DMA_UNMAP, &unmap(0, 0x2000, 0x1000), libc::ENOENT as u32);
    raw.refused(command::DMA_UNMAP, &unmap(0, 0x1000, 0x1000), INVALID);
    raw.refused(command::DMA_UNMAP, &unmap(VFIO_DMA_UNMAP_FLAG_ALL, 0x1000, 0), INVALID);
    raw.refused(command::DMA_UNMAP, &unmap(1 << 31, 0x1000, 0x2000), INVALID);
    raw.refused(command::DMA_UNMAP, &unmap(VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP, 0x1000, 0x2000), libc::EOPNOTSUPP as u32);
    assert_eq!(raw.call(command::DMA_UNMAP, unmap(0, 0x1000, 0x2000).as_bytes()).unwrap().len(), 24);
    raw.refused(command::DMA_UNMAP, &unmap(0, 0x1000, 0x2000), libc::ENOENT as u32);
}

#[test]
fn interrupt_set_ups_that_cannot_be_are_refused() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);
    let fd = raw_socket();
    let trigger = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    let set = |flags, index, start, count| SetIrqs { argsz: 20, flags, index, start, count };

    for (request, fds) in [
        (set(trigger, VFIO_PCI_MSIX_IRQ_INDEX, 0, 5), 1),
        (set(trigger, VFIO_PCI_MSIX_IRQ_INDEX, 3, 2), 2),
        (set(trigger, VFIO_PCI_MSIX_IRQ_INDEX, u32::MAX, 2), 2),
        (set(trigger, VFIO_PCI_MSIX_IRQ_INDEX, 0, 2), 1),
        (set(trigger, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0), 0),
        (set(trigger, 5, 0, 1), 1),
        (set(0, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1), 0),
        (set(VFIO_IRQ_SET_DATA_NONE, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1), 0),
        (set(u32::MAX, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1), 0),
        (set(VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_MSIX_IRQ_INDEX, 0, 4), 0),
    ] {
        let outcome = raw.call_with(command::SET_IRQS, request.as_bytes(), &vec![fd.as_raw_fd(); fds]);
        assert_eq!(outcome, Err(INVALID), "{request:?}");
        raw.works();
    }
    raw.refused(
        command::SET_IRQS,
        &SetIrqs { argsz: 19, ..set(VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0) },
        INVALID,
    );
    let info = |index| IrqInfo { argsz: 16, flags: 0, index, count: 0 };
    raw.refused(command::GET_IRQ_INFO, &info(5), INVALID);
}

#[test]
fn an_unmasker_that_is_no_eventfd_is_let_go() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let unmask = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK;
    let set = |index, flags| SetIrqs { argsz: 20, flags, index, start: 0, count: 1 };
    let refused = Err(libc::EOPNOTSUPP as u32);
    assert_eq!(raw.call_with(command::SET_IRQS, set(2, unmask).as_bytes(), &[theirs.as_raw_fd()]), refused, "not for messages");
    let mask = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_MASK;
    assert_eq!(raw.call_with(command::SET_IRQS, set(0, mask).as_bytes(), &[theirs.as_raw_fd()]), refused, "not to mask");

    raw.call_with(command::SET_IRQS, set(0, unmask).as_bytes(), &[theirs.as_raw_fd()]).unwrap();
    drop(theirs);
    ours.shutdown(std::net::Shutdown::Write).unwrap();

    // It is closed when the server has seen that nothing can come from it any more.
    ours.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!((&ours).read(&mut [0]).unwrap(), 0);
    raw.works();
}

#[test]
fn a_client_that_breaks_off_anywhere_leaves_a_server_for_the_next() {
    let served = relay();
    let access = RegionAccess { offset: 0, region: CONFIG, count: 4 };
    let header = Header { id: 1, command: command::REGION_READ, size: 32, flags: 0, error: 0 };
    let message = [header.as_bytes(), access.as_bytes()].concat();
    for length in 0..message.len() {
        let mut raw = Raw::negotiated(&served);
        raw.stream.write_all(&message[..length]).unwrap();
    }

    Raw::negotiated(&served).works();
}

#[test]
fn descriptors_where_none_belong_and_too_many_of_them_are_closed_and_refused() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let access = RegionAccess { offset: 0, region: CONFIG, count: 4 };

    for count in [1, 16, 17, 200] {
        let outcome = raw.call_with(command::REGION_READ, access.as_bytes(), &vec![theirs.as_raw_fd(); count]);
        assert_eq!(outcome, Err(INVALID), "{count} descriptors");
        raw.works();
    }
    let many = map(0, 0x1000);
    assert_eq!(raw.call_with(command::DMA_MAP, many.as_bytes(), &vec![theirs.as_raw_fd(); 100]), Err(INVALID));

    // Every copy is closed: the other end sees the end of the stream.
    drop(theirs);
    ours.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!((&ours).read(&mut [0]).unwrap(), 0);
}

#[test]
fn descriptors_stay_with_their_message_when_others_come_in_the_same_read() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);
    let file = tempfile::tempfile().unwrap();
    file.set_len(0x1000).unwrap();
    let request = map(0, 0x1000);
    let access = RegionAccess { offset: 0, region: CONFIG, count: 4 };
    let before = raw.header(command::REGION_READ, HEADER_SIZE + 16, FLAG_NO_REPLY);
    let mapping = raw.header(command::DMA_MAP, HEADER_SIZE + 32, 0);

    raw.stream.write_all(&[before.as_bytes(), access.as_bytes()].concat()).unwrap();
    // The first half carries the descriptor, the second comes with another message behind it.
    raw.stream.send_with_fds(&[mapping.as_bytes(), &request.as_bytes()[..10]], &[file.as_raw_fd()]).unwrap();
    let id = raw.next_id;
    let after = raw.header(command::REGION_READ, HEADER_SIZE + 16, FLAG_NO_REPLY);
    raw.next_id = id;
    raw.stream.write_all(&[&request.as_bytes()[10..], after.as_bytes(), access.as_bytes()].concat()).unwrap();

    assert_eq!(raw.reply(), Ok(vec![]));
    raw.works();
}

#[test]
fn a_client_that_never_reads_is_no_burden_and_no_end() {
    let served = relay();
    let mut raw = Raw::negotiated(&served);
    raw.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let header = raw.header(command::REGION_READ, HEADER_SIZE + 16, 0);
    let message = [header.as_bytes(), RegionAccess { offset: 0, region: CONFIG, count: 4096 }.as_bytes()].concat();
    let mut sent = 0;
    // Until the server stops reading because its own replies are stuck.
    while raw.stream.write(&message).is_ok_and(|count| count == message.len()) {
        sent += 1;
        assert!(sent < 1_000_000, "the server takes requests without end");
    }
    drop(raw);

    Raw::negotiated(&served).works();
}
