//! What the fuzz targets run, and what `cargo test` runs on the kept corpus: bytes in, no panic and no endless work out.

use std::io::{Cursor, Read, Write};
use std::os::unix::net::UnixStream;

use protocol::hardware::{Opcode, QUEUE_SIZE};
use zerocopy::FromBytes;

use super::*;
use crate::pci::Function;
use crate::relay::RelayDevice;
use crate::serve::vfio_user::connection::{Connection, Stream};
use crate::serve::vfio_user::message::{FLAG_ERROR, FLAG_NO_REPLY, FLAG_TYPE, HEADER_SIZE, Header, command as commands};
use crate::serve::vfio_user::session::{Answer, Request, Session};
use crate::trace::replay::{Mode, ReplayBus, Rules, Story, Verdict};
use crate::trace::{MAX_DATA, Reader};
use crate::virtio::pci::VirtioPci;

/// Memory of the machine.
const MEMORY: u64 = 0x10_0000;
/// A device that has nothing new to do must be idle after this many rounds: a full queue of large chains takes fewer.
const ROUNDS: usize = 2000;

fn function() -> Function {
    Function::new(Box::new(VirtioPci::new(RelayDevice::new()))).expect("the relay hardware has a valid identity")
}

/// A target: what is done with bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its corpus, too.
pub const TARGETS: [(&str, Target); 5] =
    [("messages", messages), ("stream", stream), ("registers", registers), ("chains", chains), ("trace", trace)];

/// The bytes as one client's stream, in pieces as long as the bytes themselves say.
pub fn stream(mut data: &[u8]) {
    let mut function = function();
    let (mut client, server) = UnixStream::pair().expect("a pair of sockets");
    client.set_nonblocking(true).expect("a socket can be told not to block");
    let mut connection = Connection::new(server, &function);
    let mut replies = vec![0; 1 << 16];
    let mut now = 0;
    while let Some((&length, rest)) = data.split_first() {
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(length) + 1));
        data = rest;
        client.write_all(piece).expect("the server has read what came before");
        // Until it has taken the piece and is rid of its replies.
        for _ in 0..2 {
            now += 1_000;
            assert_eq!(connection.serve(&mut function, now).expect("the client is there"), Stream::Open);
            if connection.session.is_settled() && function.next_wake().is_some_and(|due| due <= now) {
                connection.session.wake(&mut function, now);
            }
            connection.ask(&function, now).expect("the client is there");
            while client.read(&mut replies).is_ok_and(|count| count > 0) {}
        }
        assert!(!connection.is_sending(), "replies are read as they come, and still some are left");
    }
    connection.session.reset(&mut function, now);
    assert_eq!(function.next_wake(), None, "nothing is left after a reset");
}

/// The bytes as vfio-user messages of one client, one behind the other. A message whose id is odd brings a file with it.
pub fn messages(mut data: &[u8]) {
    let mut function = function();
    let mut session = Session::new(&function);
    let mut now = 0;
    let version = Header { id: 0, command: commands::VERSION, size: 20, flags: 0, error: 0 };
    session.serve(Request { header: version, body: &[0, 0, 1, 0], fds: &mut Vec::new(), fault: None }, &mut function, now);
    while let Ok((header, rest)) = Header::read_from_prefix(data) {
        let size = (header.size as usize).clamp(HEADER_SIZE, HEADER_SIZE + rest.len()) - HEADER_SIZE;
        let (body, rest) = rest.split_at(size);
        data = rest;
        let mut fds = Vec::new();
        if header.id & 1 != 0 {
            fds.extend(file());
        }
        let answer = session.serve(Request { header, body, fds: &mut fds, fault: None }, &mut function, now);
        assert!(fds.is_empty(), "descriptors are taken or closed");
        check_reply(&header, answer, session.reply());
        now += 1_000;
        if session.is_settled() && function.next_wake().is_some_and(|due| due <= now) {
            session.wake(&mut function, now);
        }
        // A reply with this id is the next message whose id is.
        if session.next_request(now) {
            assert!(session.request().len() >= HEADER_SIZE && session.deadline().is_some_and(|deadline| deadline > now));
        }
    }
    session.reset(&mut function, now);
    assert_eq!(function.next_wake(), None, "nothing is left after a reset");
}

fn check_reply(header: &Header, answer: Answer, reply: &[u8]) {
    if header.flags & (FLAG_TYPE | FLAG_NO_REPLY) != 0 {
        assert_eq!(answer, Answer::None);
        return;
    }
    let (replied, _) = Header::read_from_prefix(reply).expect("a reply has a header");
    assert_eq!((replied.id, replied.command, replied.size as usize), (header.id, header.command, reply.len()));
    assert_eq!(replied.flags & FLAG_ERROR != 0, replied.error != 0);
}

fn file() -> Option<std::os::fd::OwnedFd> {
    crate::memory::shared_file(MEMORY).ok().map(Into::into)
}

/// The bytes as accesses to configuration space and BARs, ten bytes each.
pub fn registers(data: &[u8]) {
    let mut machine = Machine::new(function(), MEMORY);
    for access in data.chunks_exact(10) {
        let offset = u16::from_le_bytes([access[1], access[2]]);
        let length = usize::from(access[3] % 17);
        let value = &access[4..];
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(value);
        let (function, wires) = (&mut machine.function, &mut machine.wires);
        match access[0] % 8 {
            0 => function.read_config(usize::from(offset), &mut bytes[..length.min(16)], wires),
            1 => function.write_config(usize::from(offset), &bytes[..length.min(16)], wires),
            2 => function.read_bar(usize::from(access[0] / 8), u64::from(offset), &mut bytes[..length.min(16)], wires),
            3 => function.write_bar(usize::from(access[0] / 8), u64::from(offset), &bytes[..length.min(16)], wires),
            4 => function.read_bar(BAR, u64::from(offset), &mut bytes[..length.min(16)], wires),
            5 | 6 => function.write_bar(BAR, u64::from(offset % 0x40), &bytes[..length.min(16)], wires),
            _ => {
                wires.now += u64::from(offset) * 1000;
                assert!(machine.settle(ROUNDS), "the device never becomes idle");
            }
        }
    }
}

/// The bytes as the memory that holds rings, descriptors and commands of a running device; in a machine that shares it, or does not.
pub fn chains(data: &[u8]) {
    let mut machine = Machine::new(function(), MEMORY);
    let unshared = data.first().is_some_and(|choice| choice & 0x80 != 0);
    let memory = if unshared { machine.unshare() } else { machine.wires.memory.clone() };
    let queues = [0, 1, 2].map(|index| DriverQueue::new(memory.clone(), index * DriverQueue::BYTES, QUEUE_SIZE));
    let Some((&choice, data)) = data.split_first() else { return };
    let features = u64::from(choice & 3) << 28 | u64::from(choice >> 2 & 1) << 40;
    start_virtio(&mut machine, VERSION_1 | features, &[&queues[0], &queues[1], &queues[2]]);
    // Descriptors and available rings of each queue in turn, so that few bytes reach far; the rest is what they may point at.
    let mut rest = data;
    for queue in &queues {
        for (address, most) in [(queue.descriptors(), 256), (queue.available(), 64)] {
            let (part, left) = rest.split_at(rest.len().min(most));
            memory.write_at(address, part).expect("the rings lie in memory");
            rest = left;
        }
    }
    let commands = command(1, Opcode::ECHO, 0, b"payload");
    memory.write_at(0x1_0000, &commands).expect("memory");
    memory.write_at(0x2_0000, &rest[..rest.len().min(0x1_0000)]).expect("memory");
    for queue in 0..3_u16 {
        machine.write(BAR, NOTIFY + 4 * u64::from(queue), &[0, 0]);
    }
    for _ in 0..4 {
        machine.wires.now += 1_000_000;
        assert!(machine.settle(ROUNDS), "the device never becomes idle");
    }
    machine.write(BAR, STATUS, &[0]);
    assert_eq!(machine.function.next_wake(), None, "nothing is left after a reset");
}

/// The bytes as a trace, or as the content of its only block with all lengths and checksums right, so that they reach the events.
pub fn trace(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let wrapped;
    let bytes = match choice % 3 {
        0 => data,
        choice => {
            wrapped = crate::trace::around(data, choice == 2);
            &wrapped
        }
    };
    let Ok(mut reader) = Reader::new(Cursor::new(bytes)) else { return };
    let mut events = 0_u64;
    while let Ok(Some(event)) = reader.next() {
        assert!(event.what.data().len() <= MAX_DATA);
        events += 1;
    }
    // Every second number could be in the index; whatever it says, reading goes on somewhere that is right.
    for number in [0, events / 2, u64::MAX] {
        let Ok(()) = reader.seek(number) else { continue };
        assert!(reader.position() <= events);
        while let Ok(Some(_)) = reader.next() {}
    }
    // A device that tells what such a trace says.
    if let (Ok(mut reader), Ok(verdict)) = (Reader::new(Cursor::new(bytes)), Verdict::new())
        && let Ok(story) = Story::read(&mut reader)
        && let Some(device) = ReplayBus::new(story.into(), Mode::Ordered, Rules::default(), verdict)
        && let Ok(function) = Function::new(Box::new(device))
    {
        let mut machine = Machine::new(function, MEMORY);
        for (bar, offset) in [(0, 0), (0, 4), (2, 0x14)] {
            machine.read32(bar, offset);
            machine.write(bar, offset, &[1, 0, 0, 0]);
            machine.wires.now += 1_000_000;
            machine.settle(16);
        }
    }
}
