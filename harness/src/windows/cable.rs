//! The network of a guest that calls its debugger (KDNET): a cable, and nothing at the other end but the debugger.
//!
//! QEMU hands over every frame of the guest's network card. What the guest must know before it can call is answered here: where the other
//! end is (ARP), and what its own address is (DHCP). UDP passes between the guest and the debugger, and nothing else does: no way leads
//! to this machine, to its network, or further. The guest may send anything.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etherparse::{ArpEthIpv4Packet, ArpOperation, ArpPacket, LinkSlice, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use rustix::event::{PollFd, PollFlags};

use crate::interrupt::poll_until;

/// What the guest calls; the addresses are those of QEMU's own network, which people know.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const HOST_CARD: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
const GUEST_CARD: &str = "52:54:00:12:34:56";
const EVERYBODY: [u8; 6] = [0xff; 6];
/// Where the card is, as a number for QEMU: a place on bus 0 that nothing else has.
const SLOT: u8 = 0x1c;
/// The same as Windows writes it: bus, device, function.
pub const PLACE: &str = "0.28.0";
/// Most of the guest's ports that are in use at once; Windows has one, and another one after it has started again.
const MOST_CALLS: usize = 8;
/// Most ports from which the debugger may answer, beyond the one that is called.
const MOST_ANSWERING: usize = 8;
/// Most datagrams that are taken from one port before others have their turn.
const MOST_AT_ONCE: usize = 64;
/// Longest frame that QEMU hands over, and most bytes of a datagram in one that the guest's card takes.
const LONGEST: usize = 64 << 10;
const DATAGRAM: usize = 1500 - 20 - 8;
const HOPS: u8 = 64;
/// How long QEMU may take no frame.
const BLOCKED: Duration = Duration::from_secs(5);

/// The cable. Its other end lives until QEMU has gone.
#[derive(Debug)]
pub struct Cable {
    plug: UnixStream,
    is_answered: Arc<AtomicBool>,
}

impl Cable {
    /// A cable that leads to this debugger.
    ///
    /// # Errors
    /// The system's.
    pub fn to(debugger: SocketAddrV4) -> io::Result<Self> {
        let (plug, guest) = UnixStream::pair()?;
        guest.set_write_timeout(Some(BLOCKED))?;
        let is_answered = Arc::default();
        let end = End { guest, debugger, answering: Vec::new(), calls: Vec::new(), is_answered: Arc::clone(&is_answered) };
        std::thread::Builder::new().name("cable".to_owned()).spawn(move || end.serve())?;
        Ok(Self { plug, is_answered })
    }

    /// The descriptor that QEMU must inherit.
    #[must_use]
    pub fn plug(&self) -> BorrowedFd<'_> {
        self.plug.as_fd()
    }

    /// Becomes true when the debugger has answered the guest.
    #[must_use]
    pub fn is_answered(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_answered)
    }

    /// QEMU's options for it. The card is one that Windows' own debugger drives.
    #[must_use]
    pub fn arguments(&self) -> [String; 4] {
        let plug = self.plug.as_raw_fd();
        [
            "-netdev".to_owned(),
            format!("stream,id=cable,server=off,addr.type=fd,addr.str={plug}"),
            "-device".to_owned(),
            format!("e1000e,netdev=cable,mac={GUEST_CARD},bus=pcie.0,addr={SLOT:#x}"),
        ]
    }
}

/// What is at the other end.
struct End {
    guest: UnixStream,
    debugger: SocketAddrV4,
    /// Ports from which the debugger has answered: some debuggers go on from another one than they are called at.
    answering: Vec<u16>,
    calls: Vec<Call>,
    is_answered: Arc<AtomicBool>,
}

/// A port of the guest's that has called.
struct Call {
    port: u16,
    card: [u8; 6],
    socket: UdpSocket,
}

impl End {
    /// Until QEMU goes, or takes no frames any more.
    fn serve(mut self) {
        let mut room = vec![0; LONGEST];
        while self.turn(&mut room).is_ok() {}
    }

    fn turn(&mut self, room: &mut [u8]) -> io::Result<()> {
        let sockets = self.calls.iter().map(|call| PollFd::new(&call.socket, PollFlags::IN));
        let mut sources: Vec<_> = [PollFd::new(&self.guest, PollFlags::IN)].into_iter().chain(sockets).collect();
        poll_until(&mut sources, None);
        let ready: Vec<bool> = sources.iter().map(|source| !source.revents().is_empty()).collect();
        for (call, is_ready) in ready[1..].iter().enumerate() {
            if *is_ready {
                self.hear_debugger(call, room)?;
            }
        }
        if ready[0] {
            let mut length = [0; 4];
            self.guest.read_exact(&mut length)?;
            // QEMU says before each frame how long it is.
            let frame = room.get_mut(..u32::from_be_bytes(length) as usize).ok_or(io::ErrorKind::InvalidData)?;
            self.guest.read_exact(frame)?;
            if let Some(answer) = self.hear_guest(frame) {
                self.tell_guest(&answer)?;
            }
        }
        Ok(())
    }

    fn tell_guest(&mut self, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        self.guest.write_all(&[&length.to_be_bytes(), frame].concat())
    }

    /// Takes a frame; what is to be answered.
    fn hear_guest(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let Some(LinkSlice::Ethernet2(link)) = &packet.link else { return None };
        match (&packet.net, &packet.transport) {
            (Some(NetSlice::Arp(asked)), _) => where_host_is(&asked.to_packet()),
            (Some(NetSlice::Ipv4(net)), Some(TransportSlice::Udp(datagram))) => {
                let (from, to) = (datagram.source_port(), datagram.destination_port());
                if to == lease::SERVER {
                    return datagram_to(
                        EVERYBODY,
                        (HOST, lease::SERVER),
                        (Ipv4Addr::BROADCAST, lease::CLIENT),
                        &lease::answer(datagram.payload())?,
                    );
                }
                let is_debugger = to == self.debugger.port() || self.answering.contains(&to);
                if net.header().destination_addr() == HOST && is_debugger {
                    self.call(from, link.source(), to, datagram.payload());
                }
                None
            }
            _ => None,
        }
    }

    /// Passes a datagram to the debugger. One that cannot be sent is lost, as on any network.
    fn call(&mut self, port: u16, card: [u8; 6], to: u16, datagram: &[u8]) {
        if !self.calls.iter().any(|call| call.port == port) {
            let opened =
                UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
            let Ok(socket) = opened else { return };
            if self.calls.len() == MOST_CALLS {
                self.calls.remove(0);
            }
            self.calls.push(Call { port, card, socket });
        }
        if let Some(call) = self.calls.iter_mut().find(|call| call.port == port) {
            call.card = card;
            let _ = call.socket.send_to(datagram, (*self.debugger.ip(), to));
        }
    }

    /// Passes on what the debugger has sent to a port of the guest's.
    fn hear_debugger(&mut self, call: usize, room: &mut [u8]) -> io::Result<()> {
        for _ in 0..MOST_AT_ONCE {
            let call = &self.calls[call];
            let (length, from) = match call.socket.recv_from(room) {
                Ok((length, SocketAddr::V4(from))) => (length, from),
                // Nobody listens where the last datagram went: the debugger is not there yet.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Ok(_) | Err(_) => return Ok(()),
            };
            if from.ip() != self.debugger.ip() || length > DATAGRAM {
                continue;
            }
            let frame = datagram_to(call.card, (HOST, from.port()), (GUEST, call.port), &room[..length]);
            if !self.answering.contains(&from.port()) && self.answering.len() < MOST_ANSWERING {
                self.answering.push(from.port());
            }
            self.is_answered.store(true, Ordering::SeqCst);
            if let Some(frame) = frame {
                self.tell_guest(&frame)?;
            }
        }
        Ok(())
    }
}

/// The answer to somebody who asks for the host's card.
fn where_host_is(asked: &ArpPacket) -> Option<Vec<u8>> {
    let asked = asked.try_eth_ipv4().ok()?;
    let is_asked = asked.operation == ArpOperation::REQUEST && asked.target_ipv4 == HOST.octets();
    let answer = ArpEthIpv4Packet {
        operation: ArpOperation::REPLY,
        sender_mac: HOST_CARD,
        sender_ipv4: HOST.octets(),
        target_mac: asked.sender_mac,
        target_ipv4: asked.sender_ipv4,
    };
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST_CARD, asked.sender_mac).arp(answer.into()).write(&mut frame).ok()?;
    is_asked.then_some(frame)
}

/// A frame with a datagram in it.
fn datagram_to(card: [u8; 6], from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), datagram: &[u8]) -> Option<Vec<u8>> {
    let packet = PacketBuilder::ethernet2(HOST_CARD, card).ipv4(from.0.octets(), to.0.octets(), HOPS).udp(from.1, to.1);
    let mut frame = Vec::with_capacity(packet.size(datagram.len()));
    packet.write(&mut frame, datagram).ok()?;
    Some(frame)
}

/// DHCP, for the one guest that there is (RFC 2131).
mod lease {
    use super::{GUEST, HOST};

    /// Ports.
    pub(super) const SERVER: u16 = 67;
    pub(super) const CLIENT: u16 = 68;
    const MAGIC: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
    /// Bytes before the options, and of the shortest message.
    const HEAD: usize = 240;
    const SHORTEST: usize = 300;
    const REQUEST: u8 = 1;
    const REPLY: u8 = 2;
    /// Codes of options.
    const MASK: u8 = 1;
    const ROUTER: u8 = 3;
    const WANTED: u8 = 50;
    const TIME: u8 = 51;
    const KIND: u8 = 53;
    const WHO: u8 = 54;
    const END: u8 = 255;
    /// Kinds of messages.
    const DISCOVER: u8 = 1;
    const OFFER: u8 = 2;
    const WANT: u8 = 3;
    const YES: u8 = 5;
    const NO: u8 = 6;

    /// What is answered to a client, if anything is.
    pub(super) fn answer(message: &[u8]) -> Option<Vec<u8>> {
        let (head, options) = message.split_at_checked(HEAD)?;
        if head[0] != REQUEST || head[HEAD - 4..] != MAGIC {
            return None;
        }
        let own = Some(&head[12..16]).filter(|address| **address != [0; 4]);
        let wanted = option(options, WANTED).or(own);
        let is_guests = wanted.is_none_or(|address| address == GUEST.octets());
        let kind = match option(options, KIND)? {
            [DISCOVER] => OFFER,
            [WANT] if is_guests => YES,
            [WANT] => NO,
            _ => return None,
        };
        let mut answer = head.to_vec();
        answer[0] = REPLY;
        // Hops and seconds; then every address but those that are said.
        answer[3] = 0;
        answer[8..10].fill(0);
        answer[12..28].fill(0);
        answer[44..HEAD - 4].fill(0);
        let mut say = |code: u8, value: &[u8]| answer.extend([&[code, value.len() as u8], value].concat());
        say(KIND, &[kind]);
        say(WHO, &HOST.octets());
        if kind != NO {
            // For ever.
            say(TIME, &[0xff; 4]);
            say(MASK, &[255, 255, 255, 0]);
            say(ROUTER, &HOST.octets());
            answer[16..20].copy_from_slice(&GUEST.octets());
        }
        answer.push(END);
        answer.resize(answer.len().max(SHORTEST), 0);
        Some(answer)
    }

    /// The value of an option.
    fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
        loop {
            match options {
                [0, rest @ ..] => options = rest,
                [END, ..] => return None,
                [code, length, rest @ ..] => {
                    let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                    if *code == wanted {
                        return Some(value);
                    }
                    options = rest;
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CARD: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const PORT: u16 = 5000;

    /// QEMU's side of a cable, and the debugger that it leads to.
    struct Guest {
        line: UnixStream,
        debugger: UdpSocket,
        end: std::thread::JoinHandle<()>,
    }

    fn guest() -> Guest {
        let debugger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        debugger.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let SocketAddr::V4(address) = debugger.local_addr().unwrap() else { panic!() };
        let (line, guest) = UnixStream::pair().unwrap();
        line.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let end = End { guest, debugger: address, answering: Vec::new(), calls: Vec::new(), is_answered: Arc::default() };
        Guest { line, debugger, end: std::thread::spawn(move || end.serve()) }
    }

    impl Guest {
        fn send(&mut self, frame: &[u8]) {
            self.line.write_all(&[&(frame.len() as u32).to_be_bytes(), frame].concat()).unwrap();
        }

        fn send_datagram(&mut self, to: (Ipv4Addr, u16), datagram: &[u8]) {
            let packet = PacketBuilder::ethernet2(CARD, HOST_CARD).ipv4(GUEST.octets(), to.0.octets(), 9).udp(PORT, to.1);
            let mut frame = Vec::new();
            packet.write(&mut frame, datagram).unwrap();
            self.send(&frame);
        }

        fn frame(&mut self) -> Vec<u8> {
            let mut length = [0; 4];
            self.line.read_exact(&mut length).unwrap();
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            self.line.read_exact(&mut frame).unwrap();
            frame
        }

        /// Ports and content of the next datagram.
        fn datagram(&mut self) -> ((u16, u16), Vec<u8>) {
            let frame = self.frame();
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(TransportSlice::Udp(datagram)) = packet.transport else { panic!("{packet:?}") };
            ((datagram.source_port(), datagram.destination_port()), datagram.payload().to_vec())
        }
    }

    /// A client's message with these options.
    fn client(options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 236];
        message[..8].copy_from_slice(&[1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
        message[28..34].copy_from_slice(&CARD);
        [&message[..], &[0x63, 0x82, 0x53, 0x63], options].concat()
    }

    #[test]
    fn a_guest_is_offered_an_address_and_gets_it() {
        let mut guest = guest();
        for (options, kind) in [(&[0, 53, 1, 1, 255][..], 2), (&[53, 1, 3, 50, 4, 10, 0, 2, 15, 255], 5), (&[53, 1, 3], 5)] {
            guest.send_datagram((Ipv4Addr::BROADCAST, 67), &client(options));
            let (ports, answer) = guest.datagram();
            assert_eq!(
                (ports, answer[0], &answer[4..8], &answer[16..20]),
                ((67, 68), 2, &[0xde, 0xad, 0xbe, 0xef][..], &[10, 0, 2, 15][..])
            );
            assert_eq!((&answer[28..34], &answer[240..243], answer.len()), (&CARD[..], &[53, 1, kind][..], 300));
        }
    }

    #[test]
    fn somebody_elses_address_is_refused_and_half_a_message_is_not_answered() {
        let refused = lease::answer(&client(&[53, 1, 3, 50, 4, 192, 168, 0, 7, 255])).unwrap();
        assert_eq!((&refused[240..243], &refused[16..20]), (&[53, 1, 6][..], &[0; 4][..]));
        for options in [&[][..], &[53], &[53, 1], &[53, 200, 1], &[255, 53, 1, 1], &[53, 1, 2]] {
            assert_eq!(lease::answer(&client(options)), None, "{options:?}");
        }
        assert_eq!(lease::answer(&client(&[53, 1, 1])[..239]), None);
    }

    #[test]
    fn a_guest_finds_the_host_and_nobody_else() {
        let mut guest = guest();
        let ask = |address: Ipv4Addr| {
            let asked = ArpEthIpv4Packet {
                operation: ArpOperation::REQUEST,
                sender_mac: CARD,
                sender_ipv4: GUEST.octets(),
                target_mac: [0; 6],
                target_ipv4: address.octets(),
            };
            let mut frame = Vec::new();
            PacketBuilder::ethernet2(CARD, EVERYBODY).arp(asked.into()).write(&mut frame).unwrap();
            frame
        };
        guest.send(&ask(Ipv4Addr::new(10, 0, 2, 3)));
        guest.send(&ask(HOST));
        let frame = guest.frame();
        let Some(NetSlice::Arp(answer)) = SlicedPacket::from_ethernet(&frame).unwrap().net else { panic!() };
        let answer = answer.to_packet().try_eth_ipv4().unwrap();
        assert_eq!((answer.sender_ipv4, answer.sender_mac, answer.target_mac), (HOST.octets(), HOST_CARD, CARD));
    }

    #[test]
    fn the_debugger_is_reached_at_its_port_answers_from_any_of_its_own_and_nothing_else_passes() {
        let mut guest = guest();
        let port = guest.debugger.local_addr().unwrap().port();
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        other.set_nonblocking(true).unwrap();
        let others = other.local_addr().unwrap().port();
        // Another port, another address, this machine's own.
        guest.send_datagram((HOST, others), b"other port");
        guest.send_datagram((Ipv4Addr::new(10, 0, 2, 3), port), b"other address");
        guest.send_datagram((Ipv4Addr::LOCALHOST, port), b"this machine");
        guest.send_datagram((HOST, port), b"hello");
        let mut room = [0; 100];
        let (length, caller) = guest.debugger.recv_from(&mut room).unwrap();
        assert_eq!(&room[..length], b"hello");
        assert!(other.recv_from(&mut room).is_err());

        guest.debugger.send_to(b"welcome", caller).unwrap();
        assert_eq!(guest.datagram(), ((port, PORT), b"welcome".to_vec()));
        other.send_to(b"and from here", caller).unwrap();
        assert_eq!(guest.datagram(), ((others, PORT), b"and from here".to_vec()));
        guest.send_datagram((HOST, others), b"there, too");
        other.set_nonblocking(false).unwrap();
        other.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert_eq!(other.recv(&mut room).unwrap(), 10);
    }

    #[test]
    fn the_other_end_goes_when_qemu_does() {
        let guest = guest();
        drop(guest.line);
        guest.end.join().unwrap();
    }

    proptest! {
        #[test]
        fn whatever_a_guest_sends_is_taken(
            kind in prop_oneof![Just(None), Just(Some([8, 0])), Just(Some([8, 6]))],
            mut frame in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            if let (Some(kind), Some(place)) = (kind, frame.get_mut(12..14)) {
                place.copy_from_slice(&kind);
            }
            let debugger = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
            let (guest, _line) = UnixStream::pair().unwrap();
            let mut end = End { guest, debugger, answering: Vec::new(), calls: Vec::new(), is_answered: Arc::default() };
            let _ = end.hear_guest(&frame);
            let _ = lease::answer(&frame);
        }
    }
}
