//! A kernel that calls its debugger over a network card, as far as the way there goes: it asks for an address and for the host's card, calls, and
//! says back what it hears. What Windows and its debugger say to each other is their own.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use crate::firmware::{Card, Firmware};
use crate::kernel;

/// Whom to call: address, port, key, and place of the card.
const FILE: &str = "kdnet.txt";
/// The card that QEMU calls e1000e.
const INTEL_82574: u32 = 0x10d3_8086;
/// How often it is called, and how long an answer is waited for, in milliseconds.
const TRIES: usize = 100;
const ANSWER: usize = 200;
/// The guest's port.
const PORT: u16 = 51_000;
const EVERYBODY: [u8; 6] = [0xff; 6];
const ARP: [u8; 2] = [8, 6];
const IP: [u8; 2] = [8, 0];

/// Takes down whom to call, from the next start on: what is left of `bcdedit`'s words.
pub(crate) fn settle(firmware: &Firmware, words: &[&str]) -> Result<(), &'static str> {
    let mut lines = firmware.own().read(FILE).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    match words {
        ["/dbgsettings", "net", host, port, key] => {
            let value =
                |word: &str, name: &str| word.strip_prefix(name).map(ToString::to_string).ok_or("The parameter is incorrect.");
            lines = format!("{} {} {}", value(host, "hostip:")?, value(port, "port:")?, value(key, "key:")?);
        }
        ["/set", "{dbgsettings}", "busparams", place] => lines = format!("{lines} {place}"),
        ["/debug", "on"] => {}
        _ => return Err("The parameter is incorrect."),
    }
    firmware.own().write(FILE, lines.as_bytes());
    Ok(())
}

/// Calls the debugger, if there is one to be called and a card to do it with.
pub(crate) fn call(firmware: &Firmware) {
    let text = firmware.own().read(FILE).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let words: Vec<&str> = text.split(' ').collect();
    let [host, port, key, place] = words[..] else { return };
    let (Some(host), Ok(port)) = (numbers::<4>(host), port.parse()) else { return };
    let is_there = numbers::<3>(place).is_some_and(|[bus, slot, _]| kernel::identity(bus.into(), slot.into()) == INTEL_82574);
    let Some(card) = is_there.then(|| firmware.card()).flatten() else { return };
    let Some(own) = address(&card) else { return };
    let Some(hosts_card) = card_of(&card, own, host) else { return };
    let say = |text: &str| card.send(&datagram((card.address(), hosts_card), (own, host), (PORT, port), text.as_bytes()));
    for _ in 0..TRIES {
        say(&format!("calling with {key}"));
        if let Some(heard) = heard(&card, port) {
            say(&format!("heard {}", String::from_utf8_lossy(&heard)));
            return;
        }
    }
}

/// Numbers with dots between them.
fn numbers<const COUNT: usize>(text: &str) -> Option<[u8; COUNT]> {
    let numbers: Option<Vec<u8>> = text.split('.').map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// Asks for an address of its own, and takes what it is offered.
fn address(card: &Card) -> Option<[u8; 4]> {
    let mut wish = vec![0; 236];
    wish[..8].copy_from_slice(&[1, 1, 6, 0, 1, 2, 3, 4]);
    wish[28..34].copy_from_slice(&card.address());
    wish.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255]);
    (0..TRIES).find_map(|_| {
        card.send(&datagram((card.address(), EVERYBODY), ([0; 4], [255; 4]), (68, 67), &wish));
        let offer = heard(card, 67)?;
        (offer.get(..8)? == [2, 1, 6, 0, 1, 2, 3, 4]).then(|| offer[16..20].try_into().ok())?
    })
}

/// Asks for the card behind an address.
fn card_of(card: &Card, own: [u8; 4], host: [u8; 4]) -> Option<[u8; 6]> {
    let mine = card.address();
    let question = [&EVERYBODY[..], &mine, &ARP, &[0, 1, 8, 0, 6, 4, 0, 1], &mine, &own, &[0; 6], &host].concat();
    (0..TRIES).find_map(|_| {
        card.send(&question);
        card.receive(ANSWER, |frame| {
            let is_answer = frame.get(12..14)? == ARP && frame.get(20..22)? == [0, 2] && frame.get(28..32)? == host;
            is_answer.then(|| frame[22..28].try_into().ok())?
        })
    })
}

/// The content of the next datagram from this port.
fn heard(card: &Card, from: u16) -> Option<Vec<u8>> {
    card.receive(ANSWER, |frame| {
        let is_datagram = frame.get(12..15)? == [IP[0], IP[1], 0x45] && frame.get(23)? == &17;
        let length = usize::from(u16::from_be_bytes([*frame.get(38)?, *frame.get(39)?]));
        let is_from = frame.get(34..36)? == from.to_be_bytes();
        (is_datagram && is_from).then(|| frame.get(42..34 + length).map(<[u8]>::to_vec))?
    })
}

/// A frame with a datagram in it; cards, addresses and ports are source and target.
fn datagram(cards: ([u8; 6], [u8; 6]), addresses: ([u8; 4], [u8; 4]), ports: (u16, u16), content: &[u8]) -> Vec<u8> {
    let length = |head: usize| ((head + content.len()) as u16).to_be_bytes();
    let mut head = [&[0x45, 0][..], &length(28), &[0, 0, 0, 0, 64, 17, 0, 0], &addresses.0, &addresses.1].concat();
    let sum: u32 = head.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    // A datagram need not have a sum of its own.
    let ports = [ports.0.to_be_bytes(), ports.1.to_be_bytes(), length(8), [0; 2]].concat();
    [&cards.1[..], &cards.0, &IP, &head, &ports, content].concat()
}
