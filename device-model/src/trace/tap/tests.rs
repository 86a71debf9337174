use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use vmm_sys_util::sock_ctrl_msg::ScmSocket;

use super::super::{Ending, Level, Reader};
use super::*;
use crate::dice::Dice;
use crate::serve::vfio_user::message::{DmaMap, RegionAccess};

/// A tap in a thread between a client and a server that the test plays.
struct Tapped {
    client: UnixStream,
    server: UnixStream,
    stop: UnixStream,
    file: File,
    thread: std::thread::JoinHandle<io::Result<Ended>>,
}

impl Tapped {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Tap)) -> Self {
        let pair = || UnixStream::pair().unwrap();
        let ((client, near), (far, server), (stop, stopped)) = (pair(), pair(), pair());
        for end in [&client, &server] {
            end.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        }
        let file = tempfile::tempfile().unwrap();
        let mut tap = Tap::new(near, far, file.try_clone().unwrap(), "played", Vec::new(), GuestMemory::Withheld);
        change(&mut tap);
        let thread = std::thread::spawn(move || tap.run(stopped.as_fd()));
        Self { client, server, stop, file, thread }
    }

    /// The tap ends by itself.
    fn wait(&self) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !self.thread.is_finished() {
            assert!(std::time::Instant::now() < deadline, "the tap does not notice that one side has gone");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    fn client_goes(&mut self) {
        drop(std::mem::replace(&mut self.client, UnixStream::pair().unwrap().0));
        self.wait();
    }

    fn end(self) -> (io::Result<Ended>, Vec<u8>) {
        use std::io::{Seek, SeekFrom};
        let Self { client, server, stop, mut file, thread } = self;
        drop((client, server, stop));
        let ended = thread.join().unwrap();
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        (ended, bytes)
    }
}

fn message(id: u16, command: u16, flags: u32, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let header = Header { id, command, size: (HEADER_SIZE + body.len()) as u32, flags, error: 0 };
    [header.as_bytes(), &body].concat()
}

fn receive(stream: &UnixStream) -> (Vec<u8>, Vec<OwnedFd>) {
    use std::os::fd::FromRawFd;
    let mut bytes = vec![0; 4096];
    let mut fds = [0; 16];
    let mut parts = [libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }];
    // SAFETY: the buffer is valid for writes of its length.
    let (count, descriptors) = unsafe { stream.recv_with_fds(&mut parts, &mut fds).unwrap() };
    bytes.truncate(count);
    // SAFETY: the kernel has just given these descriptors to this process.
    (bytes, fds[..descriptors].iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }).collect())
}

fn access(region: u32, offset: u64, count: u32) -> RegionAccess {
    RegionAccess { offset, region, count }
}

fn map(id: u16) -> Vec<u8> {
    let body = DmaMap { argsz: 32, flags: 3, offset: 0, address: 0x1000, size: 0x1000 };
    message(id, command::DMA_MAP, 0, &[body.as_bytes()])
}

fn events(bytes: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(bytes).unwrap();
    let mut found = Vec::new();
    while let Some(event) = reader.next().unwrap() {
        found.push(format!("{}{:?}", if event.own_accord { "~" } else { "" }, event.what));
    }
    assert_eq!(reader.ending(), Some(Ending::Finished));
    found
}

#[test]
fn what_passes_is_passed_unchanged_and_recorded_in_the_order_of_its_causes() {
    let mut tapped = Tapped::new();
    let config = message(1, command::REGION_READ, 0, &[access(7, 0, 4).as_bytes()]);
    tapped.client.write_all(&config).unwrap();
    assert_eq!(receive(&tapped.server).0, config);
    let answer = message(1, command::REGION_READ, 1, &[access(7, 0, 4).as_bytes(), &[0x34, 0x12, 0xe8, 0x11]]);
    tapped.server.write_all(&answer).unwrap();
    assert_eq!(receive(&tapped.client).0, answer);

    let write = message(2, command::REGION_WRITE, FLAG_NO_REPLY, &[access(0, 0x80, 4).as_bytes(), &[7, 0, 0, 0]]);
    let read = message(3, command::REGION_READ, 0, &[access(0, 0x98, 8).as_bytes()]);
    tapped.client.write_all(&[&write[..], &read].concat()).unwrap();
    let mut seen = Vec::new();
    while seen.len() < write.len() + read.len() {
        seen.extend(receive(&tapped.server).0);
    }
    assert_eq!(seen, [&write[..], &read].concat());
    // While the read is not answered, the device reads memory.
    let place = [&0x1000_u64.to_le_bytes()[..], &4_u64.to_le_bytes()].concat();
    let ask = message(9, DMA_READ, 0, &[&place]);
    tapped.server.write_all(&ask).unwrap();
    assert_eq!(receive(&tapped.client).0, ask);
    let bytes = message(9, DMA_READ, 1, &[&place, b"ring"]);
    tapped.client.write_all(&bytes).unwrap();
    assert_eq!(receive(&tapped.server).0, bytes);
    let answer = message(3, command::REGION_READ, 1, &[access(0, 0x98, 8).as_bytes(), &[1, 0, 0, 0, 0, 0, 0, 0]]);
    tapped.server.write_all(&answer).unwrap();
    assert_eq!(receive(&tapped.client).0, answer);
    let store = message(10, DMA_WRITE, 0, &[&place, b"done"]);
    tapped.server.write_all(&store).unwrap();
    assert_eq!(receive(&tapped.client).0, store);

    tapped.client_goes();
    let (ended, bytes) = tapped.end();

    assert!(matches!(ended, Ok(Ended::ClientGone)), "{ended:?}");
    let reader = Reader::new(&bytes[..]).unwrap();
    assert_eq!((reader.header().level, reader.header().ids[0], reader.header().ids[1]), (Level::Bus, 0x1234, 0x11e8));
    let found = events(&bytes);
    let (ring, done) = (b"ring", b"done");
    assert_eq!(
        found,
        [
            "ConfigRead { offset: 0, data: [52, 18, 232, 17] }",
            "Write { bar: 0, offset: 128, data: [7, 0, 0, 0] }",
            "Read { bar: 0, offset: 152, data: [1, 0, 0, 0, 0, 0, 0, 0] }",
            format!("~DmaRead {{ address: 4096, data: {ring:?} }}").as_str(),
            format!("~DmaWrite {{ address: 4096, data: {done:?} }}").as_str(),
        ]
    );
}

#[test]
fn guest_memory_is_withheld_from_a_server_that_takes_it_so_and_given_to_one_that_does_not() {
    for refuses in [false, true] {
        let mut tapped = Tapped::new();
        let file = tempfile::tempfile().unwrap();
        tapped.client.send_with_fds(&[&map(1)[..]], &[file.as_raw_fd()]).unwrap();
        let (bytes, fds) = receive(&tapped.server);
        assert_eq!((bytes, fds.len()), (map(1), 0), "the descriptor is withheld");
        let refusal = |id: u16| {
            let header = Header { id, command: command::DMA_MAP, size: 16, flags: 1 | FLAG_ERROR, error: 22 };
            header.as_bytes().to_vec()
        };
        if refuses {
            tapped.server.write_all(&refusal(1)).unwrap();
            let (bytes, fds) = receive(&tapped.server);
            assert_eq!((bytes, fds.len()), (map(1), 1), "the server gets what it needs, and the client hears nothing of it");
        }
        let done = message(1, command::DMA_MAP, 1, &[]);
        tapped.server.write_all(&done).unwrap();
        assert_eq!(receive(&tapped.client).0, done);

        tapped.client.send_with_fds(&[&map(2)[..]], &[file.as_raw_fd()]).unwrap();
        let (bytes, fds) = receive(&tapped.server);
        assert_eq!((bytes, fds.len()), (map(2), usize::from(refuses)));
        tapped.end().0.unwrap();
    }
}

#[test]
fn nothing_overtakes_a_mapping_that_the_server_has_not_answered() {
    let mut tapped = Tapped::new();
    let file = tempfile::tempfile().unwrap();
    tapped.client.send_with_fds(&[&map(1)[..]], &[file.as_raw_fd()]).unwrap();
    let write = message(2, command::REGION_WRITE, FLAG_NO_REPLY, &[access(0, 0, 1).as_bytes(), &[7]]);
    tapped.client.write_all(&write).unwrap();
    assert_eq!(receive(&tapped.server).0, map(1));
    tapped.server.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
    assert!(tapped.server.read(&mut [0; 16]).is_err(), "the doorbell waits");
    tapped.server.write_all(&message(1, command::DMA_MAP, 1, &[])).unwrap();
    tapped.server.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    assert_eq!(receive(&tapped.server).0, write);
    tapped.end().0.unwrap();
}

#[test]
fn interrupts_pass_through_the_tap_and_are_recorded_of_the_devices_own_accord() {
    let mut tapped = Tapped::new();
    let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
    let set = SetIrqs { argsz: 20, flags: 4 | 32, index: 2, start: 3, count: 1 };
    let bytes = message(1, command::SET_IRQS, 0, &[set.as_bytes()]);
    tapped.client.send_with_fds(&[&bytes[..]], &[interrupt.as_raw_fd()]).unwrap();
    let (passed, mut fds) = receive(&tapped.server);
    assert_eq!((passed, fds.len()), (bytes, 1));
    let mut servers = File::from(fds.remove(0));
    servers.write_all(&1_u64.to_ne_bytes()).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while interrupt.read().is_err() {
        assert!(std::time::Instant::now() < deadline, "the interrupt does not come through");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    drop(std::mem::replace(&mut tapped.server, UnixStream::pair().unwrap().0));
    // The server goes first, and the trace is whole all the same.
    tapped.wait();
    let (ended, bytes) = tapped.end();
    assert!(matches!(ended, Ok(Ended::ServerGone)), "{ended:?}");
    assert_eq!(events(&bytes), ["~Interrupt { vector: 3 }"]);
}

#[test]
fn registers_that_could_be_mapped_are_not_offered_for_mapping() {
    let mut tapped = Tapped::new();
    let info = RegionInfo { argsz: 64, flags: 0, index: 2, cap_offset: 0, size: 0, offset: 0 };
    tapped.client.write_all(&message(1, command::GET_REGION_INFO, 0, &[info.as_bytes()])).unwrap();
    receive(&tapped.server);
    let told = RegionInfo { argsz: 64, flags: 1 | 2 | 4 | 8, index: 2, cap_offset: 32, size: 0x4000, offset: 0 };
    let file = tempfile::tempfile().unwrap();
    let reply = message(1, command::GET_REGION_INFO, 1, &[told.as_bytes(), &[0; 32]]);
    tapped.server.send_with_fds(&[&reply[..]], &[file.as_raw_fd()]).unwrap();
    let (passed, fds) = receive(&tapped.client);
    let expected = RegionInfo { argsz: 32, flags: 3, cap_offset: 0, ..told };
    assert_eq!((passed, fds.len()), (message(1, command::GET_REGION_INFO, 1, &[expected.as_bytes()]), 0));
    tapped.client_goes();
    let (_, bytes) = tapped.end();
    assert_eq!(Reader::new(&bytes[..]).unwrap().header().bars[2].unwrap().size, 0x4000);
}

#[test]
fn a_message_that_claims_too_much_ends_the_connection_and_leaves_a_whole_trace() {
    for size in [0_u32, 15, u32::MAX] {
        let mut tapped = Tapped::new();
        let write = message(2, command::REGION_WRITE, FLAG_NO_REPLY, &[access(0, 0, 1).as_bytes(), &[7]]);
        let wrong = Header { id: 1, command: 9, size, flags: 0, error: 0 };
        tapped.client.write_all(&[&write[..], wrong.as_bytes()].concat()).unwrap();
        tapped.wait();
        let (ended, bytes) = tapped.end();
        assert!(ended.unwrap_err().to_string().contains("claims"), "{size}");
        assert_eq!(events(&bytes), ["Write { bar: 0, offset: 0, data: [7] }"]);
    }
}

#[test]
fn who_falls_silent_in_the_middle_of_a_message_is_not_waited_for() {
    for from_server in [false, true] {
        let mut tapped = Tapped::with(|tap| tap.patience = std::time::Duration::from_millis(30));
        let (whole, cut) = (message(1, 3, 0, &[&[0; 8]]), message(2, 3, 0, &[&[0; 8]]));
        let talker = if from_server { &mut tapped.server } else { &mut tapped.client };
        talker.write_all(&[&whole[..], &cut[..HEADER_SIZE + 3]].concat()).unwrap();
        tapped.wait();
        let (ended, bytes) = tapped.end();
        let reason = ended.unwrap_err().to_string();
        assert!(reason.starts_with("19 bytes of a message came"), "{reason}");
        assert!(events(&bytes).is_empty(), "the trace is whole");
    }
}

#[test]
fn interrupts_of_any_number_are_no_matter_to_a_tap() {
    let mut tapped = Tapped::new();
    let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
    for (id, start, count) in [(1, u32::MAX, 1), (2, u32::MAX - 1, u32::MAX), (3, 5, 0)] {
        let set = SetIrqs { argsz: 20, flags: 4 | 32, index: 2, start, count };
        let bytes = message(id, command::SET_IRQS, 0, &[set.as_bytes()]);
        let fds = [interrupt.as_raw_fd(), interrupt.as_raw_fd(), interrupt.as_raw_fd()];
        tapped.client.send_with_fds(&[&bytes[..]], &fds).unwrap();
        let (passed, fds) = receive(&tapped.server);
        assert_eq!((passed, fds.len()), (bytes, 3));
    }
    tapped.client_goes();
    assert!(matches!(tapped.end().0, Ok(Ended::ClientGone)));
}

/// A message that is hardly one: each part of it is right, wrong, or missing.
fn nonsense(dice: &mut Dice) -> Vec<u8> {
    const COMMANDS: [u16; 11] = [
        command::DMA_MAP,
        command::GET_REGION_INFO,
        command::GET_IRQ_INFO,
        command::SET_IRQS,
        command::REGION_READ,
        command::REGION_WRITE,
        command::RESET,
        DMA_READ,
        DMA_WRITE,
        0,
        99,
    ];
    const EDGES: [u64; 10] = [0, 1, 7, 8, 0x1000, 1 << 31, u32::MAX as u64, 1 << 61, u64::MAX - 3, u64::MAX];
    let mut body: Vec<u8> = (0..dice.below(8)).flat_map(|_| EDGES[dice.below(EDGES.len())].to_le_bytes()).collect();
    body.truncate(body.len().saturating_sub(dice.below(8)));
    let flags = [0, 1, FLAG_NO_REPLY, 1 | FLAG_ERROR, u32::MAX][dice.below(5)];
    let mut bytes = message(dice.below(4) as u16, COMMANDS[dice.below(COMMANDS.len())], flags, &[&body]);
    if dice.below(16) == 0 {
        let size: u32 = [0, 15, 17, 1 << 20, u32::MAX][dice.below(5)];
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
    }
    bytes
}

#[test]
fn whatever_both_sides_say_the_tap_ends_in_order_and_what_it_wrote_can_be_read() {
    let file = tempfile::tempfile().unwrap();
    for seed in 0..150 {
        let mut dice = Dice::new(seed);
        let mut tapped = Tapped::with(|tap| tap.patience = std::time::Duration::from_millis(20));
        for _ in 0..dice.below(30) {
            let bytes = nonsense(&mut dice);
            let fds = vec![file.as_raw_fd(); dice.below(4)];
            let talker = if dice.below(2) == 0 { &tapped.server } else { &tapped.client };
            // A tap that has heard enough is gone.
            if talker.send_with_fds(&[&bytes[..]], &fds).is_err() {
                break;
            }
        }
        tapped.client_goes();
        let (_, bytes) = tapped.end();
        let mut reader = Reader::new(&bytes[..]).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        while reader.next().unwrap_or_else(|error| panic!("seed {seed}: {error}")).is_some() {}
        assert_eq!(reader.ending(), Some(Ending::Finished), "seed {seed}");
    }
}
