//! A recorded virtio device: chains are matched with the recorded ones by content, and given back as they were then.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use super::super::What;
use super::super::look::Describe;
use super::{Mode, Rules, Story, Verdict};
use crate::virtio::{Chain, Host, VirtioDevice};

/// How many recorded chains of a queue may be overtaken.
const WINDOW: usize = 256;
/// Feature bits that are the device's; the others are the transport's, and not of the trace.
const DEVICE_FEATURES: u64 = 0x00ff_ffff | 0x3fff << 50;

/// A read of device configuration or of the shared pages.
type Read = (bool, u64, usize);

/// A virtio device that tells a story.
pub struct ReplayVirtio {
    story: Arc<Story>,
    verdict: Verdict,
    mode: Mode,
    rules: Rules,
    sizes: &'static [u16],
    /// Queues from which the device took chains because it was told of them.
    eager: u64,
    /// The part of the story up to the next reset.
    chapter: Chapter,
    /// Where the next chapter begins.
    next: usize,
    /// The last answer to each read, for a driver that polls longer than it did.
    answers: HashMap<Read, Vec<u8>>,
    now: u64,
    scratch: Vec<u8>,
}

/// The story between two resets.
#[derive(Default)]
struct Chapter {
    /// Whether the driver has done anything in it.
    begun: bool,
    /// Recorded chains and resets of each queue that are still to come.
    queues: Vec<VecDeque<usize>>,
    reads: HashMap<Read, VecDeque<usize>>,
    writes: VecDeque<usize>,
    start: Option<usize>,
    /// The driver's events in their order, for a strict replay.
    order: VecDeque<usize>,
    /// What each of the device's acts waits for, and who waits for an event.
    acts: HashMap<usize, Act>,
    waiting: HashMap<usize, Vec<usize>>,
    /// Acts whose time is known.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    /// Chains that the device has, by the event that took them; and the event of taking, by the event of giving back.
    held: HashMap<usize, Chain>,
    taken_by: HashMap<usize, usize>,
}

/// An act of the device that is still to come.
struct Act {
    /// Events that must come first.
    missing: u8,
    /// How long after the last of them.
    after: u64,
}

impl ReplayVirtio {
    /// A device that tells `story`; `None` if it is not of this level.
    pub fn new(story: Arc<Story>, mode: Mode, rules: Rules, verdict: Verdict) -> Option<Self> {
        let shape = story.header().virtio.clone()?;
        let valid =
            shape.queue_sizes.len() <= 64 && shape.queue_sizes.iter().all(|size| size.is_power_of_two() && *size <= 1 << 15);
        if !valid || shape.config_size > 4096 {
            return None;
        }
        // One device a process: what a virtio device says of itself is for ever.
        let sizes = Box::leak(shape.queue_sizes.into_boxed_slice());
        let rules = if mode == Mode::Lenient { rules } else { Rules::default() };
        let eager = (0..story.len()).map(|number| story.event(number)).fold(0, |mask, event| match event.what {
            What::Taken { queue, .. } if !event.own_accord && queue < 64 => mask | 1 << queue,
            _ => mask,
        });
        let mut device = Self {
            story,
            verdict,
            mode,
            rules,
            sizes,
            eager,
            chapter: Chapter::default(),
            next: 0,
            answers: HashMap::new(),
            now: 0,
            scratch: Vec::new(),
        };
        device.turn_page();
        Some(device)
    }

    /// Go without a word: no driver has met this device.
    pub fn abandon(mut self) {
        self.next = self.story.len();
        self.chapter = Chapter::default();
    }

    /// The driver has gone. Recorded events of the driver that never came are a divergence, too.
    fn conclude(&mut self) {
        if let Some(missing) = self.first_missing() {
            self.diverge(Some(missing), "nothing: the driver ended here".to_owned());
        }
        while self.next < self.story.len() && !self.verdict.has_diverged() {
            self.turn_page();
            if let Some(missing) = self.first_missing() {
                self.diverge(Some(missing), "nothing: the driver ended here".to_owned());
            }
        }
    }

    /// Begin the next chapter in which something happens.
    fn turn_page(&mut self) {
        let mut chapter = Chapter { queues: vec![VecDeque::new(); self.sizes.len()], ..Chapter::default() };
        let mut in_flight: HashMap<(u16, u16), usize> = HashMap::new();
        let (mut last_taken, mut last_drivers) = (None, None);
        let mut number = self.next;
        while number < self.story.len() {
            let event = self.story.event(number);
            let time_of = |of: Option<usize>| of.map_or(event.time, |of| self.story.event(of).time);
            match event.what {
                // Registers of the transport are beside this level.
                What::Reset if number > self.next && chapter.is_empty() => {}
                What::Reset if number > self.next => break,
                What::Taken { queue, head, .. } => {
                    if let Some(list) = chapter.queues.get_mut(usize::from(queue)) {
                        list.push_back(number);
                        in_flight.insert((queue, head), number);
                        if event.own_accord {
                            chapter.add_act(number, &[last_drivers], event.time - time_of(last_drivers));
                        } else {
                            (last_taken, last_drivers) = (Some(number), Some(number));
                            chapter.order.push_back(number);
                        }
                    }
                }
                What::Given { queue, head, .. } => {
                    if let Some(taken) = in_flight.remove(&(queue, head)) {
                        chapter.taken_by.insert(number, taken);
                        if event.own_accord {
                            chapter.add_act(number, &[Some(taken)], event.time - time_of(Some(taken)));
                        } else {
                            chapter.add_act(number, &[Some(taken), last_taken.filter(|last| *last != taken)], 0);
                        }
                    }
                }
                What::QueueReset { queue } => {
                    if let Some(list) = chapter.queues.get_mut(usize::from(queue)) {
                        list.push_back(number);
                        in_flight.retain(|(of, _), _| *of != queue);
                    }
                }
                What::Start { .. } => {
                    chapter.start = chapter.start.or(Some(number));
                    last_drivers = Some(number);
                }
                What::DeviceRead { offset, data } => {
                    chapter.reads.entry((false, offset, data.len())).or_default().push_back(number)
                }
                What::SharedRead { offset, data } => {
                    chapter.reads.entry((true, offset, data.len())).or_default().push_back(number)
                }
                What::DeviceWrite { .. } => chapter.writes.push_back(number),
                _ => {}
            }
            number += 1;
        }
        self.next = number;
        self.chapter = chapter;
    }

    /// The first chain of this chapter that the driver has not sent.
    fn first_missing(&self) -> Option<usize> {
        let sent = |number: &usize| {
            matches!(self.story.event(*number).what, What::Taken { .. }) && !self.story.event(*number).own_accord
        };
        let queues = self.chapter.queues.iter().enumerate().filter(|(queue, _)| !self.rules.ignores(*queue as u16));
        queues.filter_map(|(_, list)| list.iter().copied().find(sent)).min()
    }

    fn diverge(&self, at: Option<usize>, came: String) {
        self.verdict.diverge(&self.story, at, came);
    }

    /// An event of the driver has come again.
    fn came(&mut self, number: usize) {
        self.chapter.begun = true;
        self.verdict.came();
        if let Some(at) = self.chapter.order.iter().take(WINDOW).position(|of| *of == number) {
            self.chapter.order.remove(at);
        }
        self.happened(number);
    }

    /// An event has happened again: what waited for it has one reason less to.
    fn happened(&mut self, number: usize) {
        for act in self.chapter.waiting.remove(&number).unwrap_or_default() {
            self.chapter.satisfy(act, self.now);
        }
    }

    /// Take what the driver has made available, and answer.
    fn take_chains(&mut self, queue: u16, host: &mut dyn Host) {
        while !self.verdict.has_diverged() {
            let list = &self.chapter.queues[usize::from(queue)];
            let next = list.front().map(|&number| (number, self.story.event(number)));
            match next {
                // The device takes this one when its time comes.
                Some((_, event)) if event.own_accord => return,
                // Buffers that wait for the device, which took none more of them.
                None if !self.takes_when_notified(queue) => return,
                _ => {}
            }
            let mut chain = Chain::new();
            if !host.pop(queue, &mut chain) {
                return;
            }
            self.meet(queue, chain, host);
            self.act(host);
        }
    }

    /// Whether the device ever took a chain off this queue because it was told of one.
    fn takes_when_notified(&self, queue: u16) -> bool {
        self.eager & 1 << queue != 0
    }

    /// A chain has come: which recorded one is it?
    fn meet(&mut self, queue: u16, chain: Chain, host: &mut dyn Host) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(chain.readable().min(super::super::MAX_DATA as u64) as usize, 0);
        if chain.read(host.memory(), 0, &mut scratch).is_err() {
            scratch.clear();
        }
        match self.find(queue, &chain, &scratch) {
            Ok((at, number)) => {
                self.chapter.queues[usize::from(queue)].remove(at);
                self.chapter.held.insert(number, chain);
                self.came(number);
            }
            Err(_) if self.rules.ignores(queue) => host.push(queue, chain.head(), 0),
            Err(expected) => {
                let what = What::Taken {
                    queue,
                    head: chain.head(),
                    tag: None,
                    readable: chain.readable(),
                    writable: chain.writable(),
                    data: &scratch,
                };
                let told = Describe::new(self.story.header(), None).what(&what);
                self.diverge(expected, format!("{:<12} {told}", what.kind().name()));
            }
        }
        self.scratch = scratch;
    }

    /// Position and number of the recorded chain that this one is; else what was expected.
    fn find(&self, queue: u16, chain: &Chain, data: &[u8]) -> Result<(usize, usize), Option<usize>> {
        let list = &self.chapter.queues[usize::from(queue)];
        let window = if self.mode == Mode::Strict { 1 } else { WINDOW };
        for (at, &number) in list.iter().enumerate().take(window) {
            let event = self.story.event(number);
            let What::Taken { readable, writable, data: then, .. } = event.what else { break };
            if event.own_accord {
                break;
            }
            let alike = readable == chain.readable() && writable == chain.writable() && self.rules.alike(queue, then, data);
            let in_turn = self.mode != Mode::Strict || self.chapter.order.front() == Some(&number);
            if alike && in_turn {
                return Ok((at, number));
            }
        }
        Err(if self.mode == Mode::Strict { self.chapter.order.front().copied() } else { list.front().copied() })
    }

    /// Do what is due.
    fn act(&mut self, host: &mut dyn Host) {
        while let Some(&Reverse((due, number))) = self.chapter.due.peek()
            && due <= self.now
            && !self.verdict.has_diverged()
        {
            self.chapter.due.pop();
            if !self.perform(number, host) {
                // A buffer that the driver has not posted yet: again when it has.
                self.chapter.due.push(Reverse((u64::MAX, number)));
                return;
            }
            self.happened(number);
        }
    }

    /// Do again what the device did. `false` if it cannot be done yet.
    fn perform(&mut self, number: usize, host: &mut dyn Host) -> bool {
        let story = self.story.clone();
        match story.event(number).what {
            What::Taken { queue, .. } => {
                let mut chain = Chain::new();
                if !host.pop(queue, &mut chain) {
                    return false;
                }
                let list = &mut self.chapter.queues[usize::from(queue)];
                if let Some(at) = list.iter().position(|of| *of == number) {
                    list.remove(at);
                }
                self.chapter.held.insert(number, chain);
            }
            What::Given { queue, written, data, .. } => {
                let taken = self.chapter.taken_by.remove(&number);
                if let Some(chain) = taken.and_then(|taken| self.chapter.held.remove(&taken)) {
                    let room = chain.writable().min(data.len() as u64) as usize;
                    // Memory that the driver took away is the driver's loss, as it is with the real device.
                    let _ = chain.write(host.memory(), 0, &data[..room]);
                    host.push(queue, chain.head(), written);
                }
            }
            _ => {}
        }
        self.chapter.acts.remove(&number);
        true
    }

    fn answer(&mut self, shared: bool, offset: usize, data: &mut [u8]) {
        let key = (shared, offset as u64, data.len());
        data.fill(0);
        let recorded = self.chapter.reads.get_mut(&key).and_then(VecDeque::pop_front);
        match recorded {
            Some(number) => {
                self.chapter.begun = true;
                let answer = self.story.event(number).what.data().to_vec();
                data.copy_from_slice(&answer);
                self.answers.insert(key, answer);
            }
            None => match self.answers.get(&key) {
                Some(answer) if self.mode != Mode::Strict => data.copy_from_slice(answer),
                _ => {
                    let place = if shared { "shared pages" } else { "device configuration" };
                    let came = format!("a read of {place} at {offset:#x}, {} bytes, that the trace cannot answer", data.len());
                    self.diverge(self.first_missing(), came);
                }
            },
        }
    }
}

impl Drop for ReplayVirtio {
    fn drop(&mut self) {
        self.conclude();
    }
}

impl Chapter {
    fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty) && self.reads.is_empty() && self.writes.is_empty() && self.start.is_none()
    }

    fn add_act(&mut self, number: usize, after: &[Option<usize>], delay: u64) {
        let mut missing = 0;
        for event in after.iter().flatten() {
            self.waiting.entry(*event).or_default().push(number);
            missing += 1;
        }
        self.acts.insert(number, Act { missing, after: delay });
        if missing == 0 {
            self.due.push(Reverse((delay, number)));
        }
    }

    fn satisfy(&mut self, number: usize, now: u64) {
        if let Some(act) = self.acts.get_mut(&number) {
            act.missing = act.missing.saturating_sub(1);
            if act.missing == 0 {
                self.due.push(Reverse((now + act.after, number)));
            }
        }
    }
}

impl VirtioDevice for ReplayVirtio {
    fn virtio_id(&self) -> u16 {
        self.story.header().virtio.as_ref().map_or(0, |shape| shape.id)
    }

    fn queue_sizes(&self) -> &'static [u16] {
        self.sizes
    }

    fn features(&self) -> u64 {
        self.story.header().virtio.as_ref().map_or(0, |shape| shape.features & DEVICE_FEATURES)
    }

    fn config_size(&self) -> usize {
        self.story.header().virtio.as_ref().map_or(0, |shape| shape.config_size)
    }

    fn read_config(&mut self, offset: usize, data: &mut [u8]) {
        self.answer(false, offset, data);
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) {
        let expected = self.chapter.writes.pop_front();
        let alike = expected.is_some_and(|number| {
            matches!(self.story.event(number).what, What::DeviceWrite { offset: at, data: then } if at == offset as u64 && then == data)
        });
        match expected {
            Some(number) if alike => self.came(number),
            _ => {
                let what = What::DeviceWrite { offset: offset as u64, data };
                self.diverge(expected, format!("device-write {}", Describe::new(self.story.header(), None).what(&what)));
            }
        }
    }

    fn start(&mut self, features: u64) {
        let expected = self.chapter.start.take();
        match expected.map(|number| (number, self.story.event(number).what)) {
            Some((number, What::Start { features: then })) if (then ^ features) & DEVICE_FEATURES == 0 => self.came(number),
            _ => self.diverge(expected.or(self.first_missing()), format!("start        features {features:#x}")),
        }
    }

    fn notified(&mut self, queue: u16, host: &mut dyn Host) {
        self.now = host.now();
        if usize::from(queue) < self.sizes.len() {
            self.take_chains(queue, host);
        }
    }

    fn reset_queue(&mut self, queue: u16) {
        let Some(list) = self.chapter.queues.get_mut(usize::from(queue)) else { return };
        // What the device had of the queue, and what it had not done yet, goes with the reset.
        let story = &self.story;
        let is_reset = |number: &usize| matches!(story.event(*number).what, What::QueueReset { .. });
        if let Some(at) = list.iter().position(is_reset) {
            let missing = list.iter().take(at).copied().find(|number| !story.event(*number).own_accord);
            list.drain(..=at);
            if let Some(missing) = missing {
                self.diverge(Some(missing), format!("queue-reset  queue {queue}"));
            }
        }
        let of_queue = |number: &usize| matches!(story.event(*number).what, What::Taken { queue: of, .. } if of == queue);
        self.chapter.held.retain(|number, _| !of_queue(number));
        let before = self.chapter.queues[usize::from(queue)].front().copied().unwrap_or(self.next);
        self.chapter.acts.retain(|number, _| *number >= before || !matches!(story.event(*number).what, What::Taken { queue: of, .. } | What::Given { queue: of, .. } if of == queue));
    }

    fn reset(&mut self, now: u64) {
        self.now = now;
        if !self.chapter.begun {
            return;
        }
        if let Some(missing) = self.first_missing() {
            self.diverge(Some(missing), "reset".to_owned());
        }
        self.turn_page();
    }

    fn next_wake(&self) -> Option<u64> {
        if self.verdict.has_diverged() {
            return None;
        }
        self.chapter.due.peek().map(|Reverse((due, _))| *due).filter(|due| *due < u64::MAX)
    }

    fn wake(&mut self, host: &mut dyn Host) {
        self.now = host.now();
        // An act that had to wait for a buffer may be possible now.
        while let Some(&Reverse((u64::MAX, number))) = self.chapter.due.peek() {
            self.chapter.due.pop();
            self.chapter.due.push(Reverse((self.now, number)));
            self.act(host);
            if self.chapter.due.peek().is_some_and(|Reverse((due, _))| *due == u64::MAX) {
                break;
            }
        }
        self.act(host);
    }

    fn read_shared(&mut self, offset: u64, data: &mut [u8]) {
        self.answer(true, offset as usize, data);
    }
}
