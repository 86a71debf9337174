//! Clients that break the vhost-user protocol: whatever they send, the program lives, and the next client is served.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use device_model::dice::Dice;
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

const DEADLINE: Duration = Duration::from_secs(20);

/// Numbers of the protocol's requests.
const GET_FEATURES: u32 = 1;
const SET_FEATURES: u32 = 2;
const SET_OWNER: u32 = 3;
const SET_MEM_TABLE: u32 = 5;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_ADDR: u32 = 9;
const SET_VRING_BASE: u32 = 10;
const GET_VRING_BASE: u32 = 11;
const SET_VRING_KICK: u32 = 12;
const SET_VRING_CALL: u32 = 13;
const SET_PROTOCOL_FEATURES: u32 = 16;
const SET_VRING_ENABLE: u32 = 18;
const GET_CONFIG: u32 = 24;

/// Version 1, and no reply wanted.
const PLAIN: u32 = 1;

/// The program on a socket; killed when this is dropped.
struct Program {
    child: Child,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Program {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("device");
        let mut child = Command::new(env!("CARGO_BIN_EXE_device-model"))
            .args(["serve", "relay", "--transport", "vhost-user", "--log", "warn", "--socket"])
            .arg(&socket)
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, socket, _folder: folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.socket.with_file_name("log")).unwrap()
    }

    /// A client that says hello is answered, be it after the last one has been shown out.
    fn serves(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        while !says_hello(&self.socket) {
            assert!(self.child.try_wait().unwrap().is_none(), "the program has ended: {}", self.log());
            assert!(Instant::now() < deadline, "nobody is served any more: {}", self.log());
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn says_hello(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut reply = [0; 20];
    send(&stream, GET_FEATURES, PLAIN, &[], &[]) && stream.read_exact(&mut reply).is_ok() && reply[..4] == [1, 0, 0, 0]
}

/// Whether it could be sent: the server may have hung up.
fn send(stream: &UnixStream, request: u32, flags: u32, body: &[u8], fds: &[RawFd]) -> bool {
    let header = [request.to_le_bytes(), flags.to_le_bytes(), (body.len() as u32).to_le_bytes()].concat();
    stream.send_with_fds(&[&header[..], body], fds).is_ok()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// One region of `size` bytes at guest address 0, which the client sees at `user`.
fn one_region(size: u64, user: u64) -> Vec<u8> {
    let region: Vec<u8> = [0, size, user, 0].into_iter().flat_map(u64::to_le_bytes).collect();
    [words(&[1, 0]), region].concat()
}

/// One of several.
fn among<T: Copy>(dice: &mut Dice, choices: &[T]) -> T {
    choices[dice.below(choices.len())]
}

/// A well-formed start of a session, so that nonsense reaches deep.
fn begin(stream: &UnixStream, memory: &File) {
    send(stream, SET_OWNER, PLAIN, &[], &[]);
    send(stream, SET_FEATURES, PLAIN, &(1_u64 << 32 | 1 << 30).to_le_bytes(), &[]);
    send(stream, SET_PROTOCOL_FEATURES, PLAIN, &(1_u64 << 9).to_le_bytes(), &[]);
    send(stream, SET_MEM_TABLE, PLAIN, &one_region(0x10_0000, 0x7000_0000), &[memory.as_raw_fd()]);
}

#[test]
fn random_requests_end_a_client_and_never_the_program() {
    let mut program = Program::start();
    let memory = tempfile::tempfile().unwrap();
    memory.set_len(0x10_0000).unwrap();
    let event = EventFd::new(0).unwrap();
    let mut dice = Dice::new(1);
    for _ in 0..100 {
        let stream = UnixStream::connect(&program.socket).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        begin(&stream, &memory);
        for _ in 0..30 {
            // Mostly requests that exist, about queues that exist, with numbers that are notable.
            let request = dice.roll() as u32 % 45;
            let flags = among(&mut dice, &[PLAIN, PLAIN, PLAIN | 8, PLAIN | 4, 0, u32::MAX]);
            let length = among(&mut dice, &[0, 4, 8, 8, 8, 12, 40, 40, 200]);
            let mut body: Vec<u8> = Vec::new();
            while body.len() < length {
                body.extend(words(&[among(
                    &mut dice,
                    &[0, 1, 2, 3, 8, 48, 255, 256, 0x1000, 0x7000_0000, 0x7001_0000, u32::MAX],
                )]));
            }
            let (fd, count) = (among(&mut dice, &[event.as_raw_fd(), memory.as_raw_fd()]), among(&mut dice, &[0, 0, 1, 1, 9]));
            if !send(&stream, request, flags, &body, &[fd; 9][..count]) {
                break;
            }
        }
        let _ = event.write(1);
    }

    program.serves();
    assert!(!program.log().contains("panicked"), "{}", program.log());
    assert!(!program.log().contains("sandbox"), "{}", program.log());
}

#[test]
fn sizes_that_lie_and_streams_that_break_off_end_a_client_and_never_the_program() {
    let mut program = Program::start();
    for (request, flags, size, sent) in [
        (GET_FEATURES, PLAIN, u32::MAX, 0),
        (GET_FEATURES, PLAIN, 8, 8),
        (SET_MEM_TABLE, PLAIN, 4096, 4096),
        (SET_VRING_ADDR, PLAIN, 40, 7),
        (0, PLAIN, 0, 0),
        (u32::MAX, PLAIN, 0, 0),
        (GET_CONFIG, PLAIN, 12, 12),
    ] {
        let stream = UnixStream::connect(&program.socket).unwrap();
        let header = words(&[request, flags, size]);
        let _ = stream.send_with_fds(&[&header[..], &vec![0xff; sent]], &[]);
    }
    for length in 0..12 {
        let stream = UnixStream::connect(&program.socket).unwrap();
        let _ = stream.send_with_fds(&[&words(&[GET_FEATURES, PLAIN, 0])[..length]], &[]);
    }

    program.serves();
    assert!(!program.log().contains("panicked"), "{}", program.log());
}

#[test]
fn rings_that_cannot_be_stand_still_and_harm_nobody() {
    let mut program = Program::start();
    let memory = tempfile::tempfile().unwrap();
    memory.set_len(0x10_0000).unwrap();
    // Descriptors, used and available ring as the client sees them.
    for [descriptors, used, available] in [
        [0x7000_0000, 0x7000_2000, 0x7000_1000],
        [0x700f_fff0, 0x7000_2000, 0x7000_1000],
        [0x7000_0001, 0x7000_2001, 0x7000_1001],
        [0, 0, 0],
        [u64::MAX - 15, u64::MAX - 3, u64::MAX - 1],
    ] {
        let (kick, call) = (EventFd::new(0).unwrap(), EventFd::new(0).unwrap());
        let stream = UnixStream::connect(&program.socket).unwrap();
        begin(&stream, &memory);
        let addresses: Vec<u8> = [descriptors, used, available, 0_u64].into_iter().flat_map(u64::to_le_bytes).collect();
        send(&stream, SET_VRING_NUM, PLAIN, &words(&[0, 256]), &[]);
        send(&stream, SET_VRING_BASE, PLAIN, &words(&[0, 65_535]), &[]);
        send(&stream, SET_VRING_ADDR, PLAIN, &[words(&[0, 0]), addresses].concat(), &[]);
        send(&stream, SET_VRING_CALL, PLAIN, &0_u64.to_le_bytes(), &[call.as_raw_fd()]);
        send(&stream, SET_VRING_KICK, PLAIN, &0_u64.to_le_bytes(), &[kick.as_raw_fd()]);
        send(&stream, SET_VRING_ENABLE, PLAIN, &words(&[0, 1]), &[]);
        kick.write(1).unwrap();
        send(&stream, GET_VRING_BASE, PLAIN, &words(&[0, 0]), &[]);
    }

    // And one whose memory goes away under the rings.
    let stream = UnixStream::connect(&program.socket).unwrap();
    begin(&stream, &memory);
    memory.set_len(0).unwrap();
    drop(stream);
    program.serves();
    assert!(!program.log().contains("panicked"), "{}", program.log());
}
