//! A recorded PCI device: registers answer as they answered, and its own acts come where they were caused.
//!
//! What a driver writes causes things; what it reads, it may read more or less often than it did. So a recorded answer is given once all
//! recorded writes before it have come and all the device's acts before it are done; until then the answer before it is given again, and
//! answers from before the last write that has come, or the last act that is done, are given no more. Each act of the device waits for the write before it, or for the very
//! access that it came of. (A register that hands out something else at each reading, such as a queue of bytes, is replayed right as long as
//! the driver is done with it before the device does the next thing, as it was then.)

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use super::super::look::Describe;
use super::super::{Level, What};
use super::addresses::Addresses;
use super::rules::Subject;
use super::{Mode, Rules, Story, Verdict};
use crate::device::{Bus, Device, Identity};
use crate::memory::DmaError;

/// A register as it is accessed: BAR, offset, bytes.
type Register = (u8, u64, usize);

/// A PCI device that tells a story.
pub struct ReplayBus {
    story: Arc<Story>,
    verdict: Verdict,
    mode: Mode,
    rules: Rules,
    addresses: Addresses,
    /// The part of the story up to the next reset.
    chapter: Chapter,
    /// Where the next chapter begins.
    next: usize,
    /// The last answer of each register, for a driver that polls longer than it did.
    answers: HashMap<Register, Vec<u8>>,
    now: u64,
    scratch: Vec<u8>,
}

/// The story between two resets.
#[derive(Default)]
struct Chapter {
    /// Whether the driver has done anything in it.
    begun: bool,
    reads: HashMap<Register, VecDeque<usize>>,
    writes: HashMap<Register, VecDeque<usize>>,
    /// All writes in their order, and those that are still to come.
    all_writes: Vec<usize>,
    missing: BTreeSet<usize>,
    /// The driver's accesses in their order, for a strict replay.
    order: VecDeque<usize>,
    /// What the device did because of an access, and how long after it.
    caused: HashMap<usize, Vec<(usize, u64)>>,
    /// Acts whose time is known, by it and by their number.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    ripe: BTreeSet<usize>,
    /// Acts that are done.
    done: BTreeSet<usize>,
}

impl ReplayBus {
    /// A device that tells `story`; `None` if it is not of this level.
    pub fn new(story: Arc<Story>, mode: Mode, rules: Rules, verdict: Verdict) -> Option<Self> {
        if story.header().level != Level::Bus {
            return None;
        }
        let rules = if mode == Mode::Lenient { rules } else { Rules::default() };
        let addresses = Addresses::of(&story);
        let mut device = Self {
            story,
            verdict,
            mode,
            rules,
            addresses,
            chapter: Chapter::default(),
            next: 0,
            answers: HashMap::new(),
            now: 0,
            scratch: Vec::new(),
        };
        device.turn_page();
        Some(device)
    }

    /// Begin the next chapter in which the driver does something.
    fn turn_page(&mut self) {
        let mut chapter = Chapter::default();
        let (mut last_write, mut last_access) = (None, None);
        let start = self.next;
        let mut number = start;
        while number < self.story.len() {
            let event = self.story.event(number);
            match event.what {
                What::Reset if number > start && chapter.order.is_empty() => chapter = Chapter::default(),
                What::Reset if number > start => break,
                What::Read { bar, offset, data } => {
                    chapter.reads.entry((bar, offset, data.len())).or_default().push_back(number);
                    chapter.order.push_back(number);
                    last_access = Some(number);
                }
                What::Write { bar, offset, .. } if self.rules.ignores_register(bar, offset) => {}
                What::Write { bar, offset, data } => {
                    chapter.order.push_back(number);
                    chapter.writes.entry((bar, offset, data.len())).or_default().push_back(number);
                    chapter.all_writes.push(number);
                    chapter.missing.insert(number);
                    (last_access, last_write) = (Some(number), Some(number));
                }
                What::DmaRead { .. } | What::DmaWrite { .. } | What::Interrupt { .. } | What::Pin { .. } => {
                    let cause: Option<usize> = if event.own_accord { last_write } else { last_access };
                    match cause {
                        Some(cause) => {
                            let since = event.time.saturating_sub(self.story.event(cause).time);
                            let delay = if event.own_accord { since } else { 0 };
                            chapter.caused.entry(cause).or_default().push((number, delay));
                        }
                        // What comes of a reset, the reset that comes now does by itself.
                        None if event.own_accord => {
                            let since = event.time.saturating_sub(self.story.event(start).time);
                            chapter.ripen(number, self.now.saturating_add(since));
                        }
                        None => {}
                    }
                }
                _ => {}
            }
            number += 1;
        }
        self.next = number;
        self.chapter = chapter;
    }

    /// The driver has gone. Recorded writes that never came are a divergence, too.
    fn conclude(&mut self) {
        self.miss("nothing: the driver ended here");
        while self.next < self.story.len() && !self.verdict.has_diverged() {
            self.turn_page();
            self.miss("nothing: the driver ended here");
        }
    }

    /// Something came where recorded accesses are missing.
    fn miss(&mut self, came: &str) {
        if let Some(awaited) = self.awaited() {
            self.diverge(Some(awaited), came.to_owned());
        }
    }

    /// The access that is to come next.
    fn awaited(&self) -> Option<usize> {
        let next = if self.mode == Mode::Strict { self.chapter.order.front() } else { self.chapter.missing.first() };
        next.copied()
    }

    fn diverge(&self, at: Option<usize>, came: String) {
        self.verdict.diverge(&self.story, at, came);
    }

    fn told(&self, what: &What<'_>) -> String {
        format!("{:<12} {}", what.kind().name(), Describe::new(self.story.header(), None).what(what))
    }

    /// An access of the driver has come again.
    fn came(&mut self, number: usize) {
        self.chapter.begun = true;
        self.verdict.came();
        self.chapter.missing.remove(&number);
        if self.mode == Mode::Strict {
            self.chapter.order.pop_front();
        }
        self.happened(number);
    }

    /// An access has happened, or will no more: what it caused is due.
    fn happened(&mut self, number: usize) {
        for (act, delay) in self.chapter.caused.remove(&number).unwrap_or_default() {
            self.chapter.ripen(act, self.now.saturating_add(delay));
        }
    }

    /// Which recorded read of a register is the driver's next one; `None`: the last answer again, if there is one.
    fn next_read(&mut self, register: Register, bus: &mut dyn Bus) -> Option<usize> {
        let horizon = self.chapter.missing.first().copied().unwrap_or(usize::MAX);
        let last = self.chapter.all_writes.partition_point(|write| *write < horizon).checked_sub(1);
        let last_write = last.map_or(0, |last| self.chapter.all_writes[last]);
        let floor = self.chapter.done.range(..horizon).next_back().map_or(last_write, |act| last_write.max(*act));
        let list = self.chapter.reads.get_mut(&register)?;
        // What the driver polled before that write, or that act of the device, it has polled for less long this time.
        let stale = list.partition_point(|read| *read < floor);
        let skipped: Vec<usize> = list.drain(..stale).collect();
        let next = list.front().copied();
        for read in skipped {
            self.answers.insert(register, self.story.event(read).what.data().to_vec());
            self.happened(read);
        }
        self.act(bus);
        let next = next?;
        let early = next > horizon || self.chapter.ripe.first().is_some_and(|act| *act < next);
        if early && self.answers.contains_key(&register) {
            return None;
        }
        // It has never been read before: whatever the device did meanwhile belongs before the answer.
        self.hurry(next, bus);
        self.chapter.reads.get_mut(&register)?.pop_front()
    }

    fn read(&mut self, register: Register, data: &mut [u8], bus: &mut dyn Bus) {
        let found = if self.mode == Mode::Strict { self.strict_read(register, bus) } else { self.next_read(register, bus) };
        if let Some(number) = found {
            let answer = self.story.event(number).what.data();
            data.copy_from_slice(answer);
            self.answers.insert(register, data.to_vec());
            self.came(number);
            return self.act(bus);
        }
        let (bar, offset, length) = register;
        match self.answers.get(&register).filter(|_| self.mode != Mode::Strict) {
            Some(answer) => data.copy_from_slice(answer),
            None if self.rules.ignores_register(bar, offset) => data.fill(0),
            None => {
                data.fill(0);
                let place = Describe::new(self.story.header(), None).place(bar, offset);
                self.diverge(self.awaited(), format!("a read of {place}, {length} bytes, that the trace cannot answer here"));
            }
        }
    }

    fn strict_read(&mut self, register: Register, bus: &mut dyn Bus) -> Option<usize> {
        let &next = self.chapter.order.front()?;
        let What::Read { bar, offset, data } = self.story.event(next).what else { return None };
        if (bar, offset, data.len()) != register {
            return None;
        }
        self.hurry(next, bus);
        self.chapter.reads.get_mut(&register)?.pop_front()
    }

    fn write(&mut self, register: Register, data: &[u8], bus: &mut dyn Bus) {
        let (bar, offset, _) = register;
        if self.rules.ignores_register(bar, offset) {
            return;
        }
        let story = self.story.clone();
        let in_turn = |number: &usize| self.mode != Mode::Strict || self.chapter.order.front() == Some(number);
        let next = self.chapter.writes.get(&register).and_then(VecDeque::front).copied().filter(in_turn);
        let alike = next.is_some_and(|number| {
            let then = story.event(number).what.data();
            self.addresses.alike(number, then, data) || self.rules.alike(Subject::Bar(bar), offset, then, data)
        });
        match next {
            Some(number) if alike => {
                self.chapter.writes.get_mut(&register).and_then(VecDeque::pop_front);
                self.came(number);
                self.act(bus);
            }
            _ => {
                self.diverge(next.or_else(|| self.awaited()), self.told(&What::Write { bar, offset, data }));
            }
        }
    }

    /// Do what is due.
    fn act(&mut self, bus: &mut dyn Bus) {
        while let Some(&Reverse((due, number))) = self.chapter.due.peek()
            && due <= self.now
            && !self.verdict.has_diverged()
        {
            if !self.perform(number, bus) {
                return;
            }
            self.chapter.due.pop();
        }
    }

    /// Do at once what was done before event `before`, and is only waiting for its time.
    fn hurry(&mut self, before: usize, bus: &mut dyn Bus) {
        while let Some(&first) = self.chapter.ripe.first()
            && first < before
            && !self.verdict.has_diverged()
        {
            if !self.perform(first, bus) {
                return;
            }
        }
    }

    /// Do again what the device did, unless that is done. `false`: what it reads is on its way from memory that the machine does not share;
    /// what follows waits for it.
    fn perform(&mut self, number: usize, bus: &mut dyn Bus) -> bool {
        if !self.chapter.ripe.contains(&number) {
            return true;
        }
        let story = self.story.clone();
        let done = match story.event(number).what {
            What::DmaRead { address, data } => self.read_memory(number, address, data, bus),
            what => {
                self.act_on(number, what, bus);
                true
            }
        };
        if done {
            self.chapter.ripe.remove(&number);
            self.chapter.done.insert(number);
        }
        done
    }

    /// What the device does and need not wait for.
    fn act_on(&mut self, number: usize, what: What<'_>, bus: &mut dyn Bus) {
        match what {
            What::Interrupt { vector } => bus.raise(vector),
            What::Pin { level } => bus.set_pin(level),
            What::DmaWrite { address, data } => match self.addresses.pieces(address, data.len()) {
                // Memory that the driver took away is the driver's loss, as it is with the real device.
                Some(pieces) => {
                    for (at, length, now) in pieces {
                        let _ = bus.dma_write(now, &data[at..at + length]);
                    }
                }
                None => self.diverge(Some(number), unknown(address)),
            },
            _ => {}
        }
    }

    /// The device reads memory: does it hold what it held? `false` if that will be known later.
    fn read_memory(&mut self, number: usize, address: u64, then: &[u8], bus: &mut dyn Bus) -> bool {
        let Some(pieces) = self.addresses.pieces(address, then.len()) else {
            self.diverge(Some(number), unknown(address));
            return true;
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(then.len(), 0);
        let lost = pieces.into_iter().find_map(|(at, length, now)| bus.dma_read(now, &mut scratch[at..at + length]).err());
        let rules = &self.rules;
        let alike = |at: usize, then: &[u8], now: &[u8]| rules.alike(Subject::Dma, at as u64, then, now);
        if lost == Some(DmaError::Pending) {
            self.scratch = scratch;
            return false;
        }
        if let Some(lost) = lost {
            self.diverge(Some(number), format!("{lost}, and the device reads there"));
        } else if !self.addresses.alike_in_memory(address, then, &scratch, alike) {
            self.diverge(Some(number), self.told(&What::DmaRead { address, data: &scratch }));
        }
        self.scratch = scratch;
        true
    }
}

/// Why the device cannot do again what it did in memory.
fn unknown(address: u64) -> String {
    format!("nothing that the driver has written tells where the memory at {address:#x} is now")
}

impl Drop for ReplayBus {
    fn drop(&mut self) {
        self.conclude();
    }
}

impl Chapter {
    fn ripen(&mut self, act: usize, due: u64) {
        self.due.push(Reverse((due, act)));
        self.ripe.insert(act);
    }
}

impl Device for ReplayBus {
    fn identity(&self) -> Identity {
        self.story.header().identity()
    }

    fn read_bar(&mut self, bar: usize, offset: u64, data: &mut [u8], bus: &mut dyn Bus) {
        self.now = bus.now();
        if self.verdict.has_diverged() {
            return data.fill(0);
        }
        self.read((bar as u8, offset, data.len()), data, bus);
    }

    fn write_bar(&mut self, bar: usize, offset: u64, data: &[u8], bus: &mut dyn Bus) {
        self.now = bus.now();
        if !self.verdict.has_diverged() {
            self.write((bar as u8, offset, data.len()), data, bus);
        }
    }

    fn reset(&mut self, bus: &mut dyn Bus) {
        self.now = bus.now();
        bus.set_pin(false);
        if self.chapter.begun {
            self.miss("reset");
            self.turn_page();
        }
    }

    fn next_wake(&self) -> Option<u64> {
        if self.verdict.has_diverged() {
            return None;
        }
        self.chapter.due.peek().map(|Reverse((due, _))| *due)
    }

    fn wake(&mut self, bus: &mut dyn Bus) {
        self.now = bus.now();
        self.act(bus);
    }
}
