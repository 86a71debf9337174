//! A recorded virtio device: chains are matched with the recorded ones by content, and given back as they were then.
//!
//! Where a reset falls among requests under way is chance: a request that was sent before it then may be sent after it now. So unless the
//! order is strict, a chain is sought among all that are still to come, those behind the next reset included; an answer that a reset has cut
//! off is given to the driver's next attempt; and what no device ever answered is not missed.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::super::What;
use super::super::look::Describe;
use super::acts::Acts;
use super::rules::Subject;
use super::tags::Tags;
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
    /// Chains that the driver is still to send, of each queue.
    coming: Vec<BTreeSet<usize>>,
    /// Chains that the device is still to take when its own time comes, of each queue.
    own: Vec<BTreeSet<usize>>,
    /// Queues from which the device took chains because it was told of them.
    eager: u64,
    acts: Acts,
    /// The event of giving back, by the event of taking, and the other way round.
    given_as: HashMap<usize, usize>,
    taken_as: HashMap<usize, usize>,
    tags: Tags,
    /// Where the device asked for a reset.
    failures: BTreeSet<usize>,
    /// Chains that the device has, by the event that took them.
    held: HashMap<usize, Chain>,
    /// An act that waits for a buffer of this queue.
    starving: Option<u16>,
    /// The part of the story up to the next reset.
    chapter: Chapter,
    /// Where the next chapter begins.
    next: usize,
    /// The last answer to each read, for a driver that polls longer than it did.
    answers: HashMap<Read, Vec<u8>>,
    now: u64,
    scratch: Vec<u8>,
}

/// What belongs to the story between two resets, and to nothing else.
#[derive(Default)]
struct Chapter {
    /// Whether the driver has done anything in it.
    begun: bool,
    /// Whether anything happened in it then.
    is_empty: bool,
    reads: HashMap<Read, VecDeque<usize>>,
    writes: VecDeque<usize>,
    start: Option<usize>,
    /// What has happened again.
    past: BTreeSet<usize>,
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
        let mut device = Self {
            story,
            verdict,
            mode,
            rules,
            sizes,
            coming: vec![BTreeSet::new(); sizes.len()],
            own: vec![BTreeSet::new(); sizes.len()],
            eager: 0,
            acts: Acts::default(),
            given_as: HashMap::new(),
            taken_as: HashMap::new(),
            tags: Tags::default(),
            failures: BTreeSet::new(),
            held: HashMap::new(),
            starving: None,
            chapter: Chapter::default(),
            next: 0,
            answers: HashMap::new(),
            now: 0,
            scratch: Vec::new(),
        };
        device.find_causes();
        device.turn_page();
        Some(device)
    }

    /// What came of what.
    fn find_causes(&mut self) {
        let story = self.story.clone();
        let mut in_flight: HashMap<(u16, u16), usize> = HashMap::new();
        let (mut last_taken, mut last_drivers) = (None, None);
        for number in 0..story.len() {
            let event = story.event(number);
            let since = |of: usize| event.time.saturating_sub(story.event(of).time);
            match event.what {
                What::Taken { queue, head, .. } if usize::from(queue) < self.sizes.len() => {
                    in_flight.insert((queue, head), number);
                    if event.own_accord {
                        self.own[usize::from(queue)].insert(number);
                        self.acts.add(number, last_drivers, last_drivers.map_or(0, since));
                    } else {
                        self.coming[usize::from(queue)].insert(number);
                        self.eager |= 1 << queue;
                        (last_taken, last_drivers) = (Some(number), Some(number));
                    }
                }
                What::Given { queue, head, .. } => {
                    let Some(taken) = in_flight.remove(&(queue, head)) else { continue };
                    self.given_as.insert(taken, number);
                    self.taken_as.insert(number, taken);
                    if event.own_accord {
                        self.acts.add(number, [taken], since(taken));
                    } else {
                        self.acts.add(number, [taken].into_iter().chain(last_taken.filter(|last| *last != taken)), 0);
                    }
                }
                What::NeedsReset => {
                    self.failures.insert(number);
                    self.acts.add(number, last_taken, if event.own_accord { last_taken.map_or(0, since) } else { 0 });
                }
                What::QueueReset { queue } => in_flight.retain(|(of, _), _| *of != queue),
                What::Reset => in_flight.clear(),
                What::Start { .. } => last_drivers = Some(number),
                _ => {}
            }
        }
    }

    /// The driver has gone. Recorded chains of the driver that never came are a divergence, too.
    fn conclude(&mut self) {
        if let Some(missing) = self.first_missing(usize::MAX) {
            self.diverge(Some(missing), "nothing: the driver ended here".to_owned());
        }
    }

    /// Begin the next chapter in which something happens.
    fn turn_page(&mut self) {
        let mut chapter = Chapter { is_empty: true, ..Chapter::default() };
        let start = self.next;
        let mut number = start;
        while number < self.story.len() {
            let event = self.story.event(number);
            match event.what {
                // Registers of the transport are beside this level.
                What::Reset if number > start && chapter.is_empty => {}
                What::Reset if number > start => break,
                What::Taken { .. } => chapter.is_empty = false,
                What::Start { .. } => {
                    chapter.is_empty = false;
                    chapter.start = chapter.start.or(Some(number));
                }
                What::DeviceRead { offset, data } => {
                    chapter.is_empty = false;
                    chapter.reads.entry((false, offset, data.len())).or_default().push_back(number);
                }
                What::SharedRead { offset, data } => {
                    chapter.is_empty = false;
                    chapter.reads.entry((true, offset, data.len())).or_default().push_back(number);
                }
                What::DeviceWrite { .. } => {
                    chapter.is_empty = false;
                    chapter.writes.push_back(number);
                }
                _ => {}
            }
            number += 1;
        }
        self.next = number;
        self.chapter = chapter;
    }

    /// The first chain before event `limit` that the driver has not sent. What was never answered may have been sent once more because a
    /// reset came between: it is missed only where the order is strict.
    fn first_missing(&self, limit: usize) -> Option<usize> {
        let missed = |number: &usize| self.mode == Mode::Strict || self.given_as.contains_key(number);
        let queues = self.coming.iter().enumerate().filter(|(queue, _)| !self.rules.ignores(*queue as u16));
        queues.filter_map(|(_, list)| list.range(..limit).copied().find(missed)).min()
    }

    fn diverge(&self, at: Option<usize>, came: String) {
        self.verdict.diverge(&self.story, at, came);
    }

    /// An event of the driver has come again.
    fn came(&mut self, number: usize) {
        self.chapter.begun = true;
        self.chapter.past.insert(number);
        self.verdict.came();
        self.acts.happened(number, self.now);
    }

    /// Take what the driver has made available, and answer.
    fn take_chains(&mut self, queue: u16, host: &mut dyn Host) {
        let index = usize::from(queue);
        while !self.verdict.has_diverged() {
            let (next, own) = (self.coming[index].first(), self.own[index].first());
            match (next, own) {
                // The device takes this one when its time comes.
                (Some(next), Some(own)) if own < next => return,
                (None, Some(_)) => return,
                // Buffers that wait for the device, which took none more of them.
                (None, None) if self.eager & 1 << queue == 0 => return,
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

    /// A chain has come: which recorded one is it?
    fn meet(&mut self, queue: u16, chain: Chain, host: &mut dyn Host) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(chain.readable().min(super::super::MAX_DATA as u64) as usize, 0);
        if chain.read(host.memory(), 0, &mut scratch).is_err() {
            scratch.clear();
        }
        match self.find(queue, &chain, &scratch) {
            Ok((number, tag)) => {
                if let (What::Taken { tag: Some(then), .. }, Some(now)) = (self.story.event(number).what, tag) {
                    self.tags.learn(then, now);
                }
                self.coming[usize::from(queue)].remove(&number);
                self.held.insert(number, chain);
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

    /// Number of the recorded chain that this one is, and the tag that it has now, if it had one; else what was expected. Where the order is not
    /// strict, a request that is nothing else may have another tag.
    fn find(&self, queue: u16, chain: &Chain, data: &[u8]) -> Result<(usize, Option<u64>), Option<usize>> {
        let list = &self.coming[usize::from(queue)];
        let in_turn = self.coming.iter().filter_map(BTreeSet::first).min().copied();
        let window = if self.mode == Mode::Strict { 1 } else { WINDOW };
        // What begins most like it is what was expected in its place, rather than the oldest that has not come.
        let mut nearest = (0, list.first().copied());
        let mut renamed = None;
        for &number in list.iter().take(window) {
            let What::Taken { tag, readable, writable, data: then, .. } = self.story.event(number).what else { continue };
            let is_free = self.mode != Mode::Strict;
            let has_room = readable == chain.readable() && writable == chain.writable() && (is_free || in_turn == Some(number));
            let alike = |then: &[u8]| has_room && self.rules.alike(Subject::Queue(queue), 0, then, data);
            if alike(&self.tags.now(then)) {
                return Ok((number, tag));
            }
            let other = tag.filter(|_| is_free && renamed.is_none()).and_then(|tag| self.tags.renamed(tag, then, data));
            renamed = renamed.or(other.filter(|(then, _)| alike(then)).map(|(_, tag)| (number, Some(tag))));
            let common = then.iter().zip(data).take_while(|(then, now)| then == now).count();
            if common > nearest.0 {
                nearest = (common, Some(number));
            }
        }
        renamed.ok_or(if self.mode == Mode::Strict { in_turn } else { nearest.1 })
    }

    /// Do what is due.
    fn act(&mut self, host: &mut dyn Host) {
        while !self.verdict.has_diverged()
            && let Some(number) = self.acts.take(self.now)
        {
            if !self.perform(number, host) {
                return;
            }
            self.chapter.past.insert(number);
            self.acts.happened(number, self.now);
        }
    }

    /// Do again what the device did. `false` if it cannot be done yet.
    fn perform(&mut self, number: usize, host: &mut dyn Host) -> bool {
        let story = self.story.clone();
        match story.event(number).what {
            What::Taken { queue, .. } => {
                let mut chain = Chain::new();
                if !host.pop(queue, &mut chain) {
                    // A buffer that the driver has not posted yet: again when it has.
                    self.acts.defer(number, u64::MAX);
                    self.starving = Some(queue);
                    return false;
                }
                self.own[usize::from(queue)].remove(&number);
                self.held.insert(number, chain);
            }
            What::Given { queue, written, data, .. } => {
                if let Some(chain) = self.taken_as.get(&number).and_then(|taken| self.held.remove(taken)) {
                    let data = self.tags.now(data);
                    let room = chain.writable().min(data.len() as u64) as usize;
                    // Memory that the driver took away is the driver's loss, as it is with the real device.
                    let _ = chain.write(host.memory(), 0, &data[..room]);
                    host.push(queue, chain.head(), written);
                }
            }
            What::NeedsReset => host.fail(),
            _ => {}
        }
        true
    }

    /// The device loses what it has of the queues that `lost` says. The driver may send it again.
    fn lose(&mut self, lost: impl Fn(u16) -> bool) {
        let story = self.story.clone();
        let of_lost = |number: &usize| matches!(story.event(*number).what, What::Taken { queue, .. } if lost(queue));
        let taken: Vec<usize> = self.held.keys().copied().filter(of_lost).collect();
        for number in taken {
            self.held.remove(&number);
            let What::Taken { queue, .. } = story.event(number).what else { continue };
            match self.given_as.get(&number) {
                Some(given) if story.event(number).own_accord => self.acts.forget(*given),
                // It was answered then: whoever sends it next gets the answer.
                Some(given) if self.acts.is_waiting(*given) => {
                    self.coming[usize::from(queue)].insert(number);
                    self.acts.undo(number, self.now);
                }
                _ => {}
            }
        }
    }

    /// Whether the driver polls for longer than it did: what tells of a request is not told before that has come. Where it polls for less long,
    /// what was told before the last thing that has happened is told no more.
    fn must_repeat(&mut self, key: Read) -> bool {
        let horizon = self.first_missing(usize::MAX).unwrap_or(usize::MAX);
        let floor = self.chapter.past.range(..horizon).next_back().copied().unwrap_or(0);
        let Some(list) = self.chapter.reads.get_mut(&key) else { return false };
        let stale = list.partition_point(|read| *read < floor);
        if let Some(last) = list.drain(..stale).next_back() {
            self.answers.insert(key, self.story.event(last).what.data().to_vec());
        }
        list.front().is_none_or(|next| *next > horizon) && self.answers.contains_key(&key)
    }

    fn answer(&mut self, shared: bool, offset: usize, data: &mut [u8]) {
        let key = (shared, offset as u64, data.len());
        data.fill(0);
        let again = self.mode != Mode::Strict && self.must_repeat(key);
        let recorded = self.chapter.reads.get_mut(&key).filter(|_| !again).and_then(VecDeque::pop_front);
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
                    self.diverge(self.first_missing(usize::MAX), came);
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
            _ => self.diverge(expected.or(self.first_missing(usize::MAX)), format!("start        features {features:#x}")),
        }
    }

    fn notified(&mut self, queue: u16, host: &mut dyn Host) {
        self.now = host.now();
        if usize::from(queue) >= self.sizes.len() {
            return;
        }
        if self.starving.take_if(|starving| *starving == queue).is_some() {
            // An act that had to wait for a buffer of this queue may be possible now.
            self.acts.feed(self.now);
            self.act(host);
        }
        self.take_chains(queue, host);
    }

    fn reset_queue(&mut self, queue: u16) {
        if usize::from(queue) < self.sizes.len() {
            self.lose(|of| of == queue);
        }
    }

    fn reset(&mut self, now: u64) {
        self.now = now;
        if !self.chapter.begun {
            return;
        }
        if self.mode == Mode::Strict
            && let Some(missing) = self.first_missing(self.next)
        {
            self.diverge(Some(missing), "reset".to_owned());
        }
        self.lose(|_| true);
        // What the device would have done of its own accord before the reset, and what it took and never answered, is over.
        for (own, coming) in self.own.iter_mut().zip(&mut self.coming) {
            own.range(..self.next).for_each(|act| self.acts.forget(*act));
            own.retain(|number| *number >= self.next);
            coming.retain(|number| *number >= self.next || self.given_as.contains_key(number));
        }
        self.failures.range(..self.next).for_each(|act| self.acts.forget(*act));
        self.starving = None;
        self.turn_page();
    }

    fn next_wake(&self) -> Option<u64> {
        if self.verdict.has_diverged() {
            return None;
        }
        self.acts.next_due().filter(|due| *due < u64::MAX)
    }

    fn wake(&mut self, host: &mut dyn Host) {
        self.now = host.now();
        self.act(host);
    }

    fn read_shared(&mut self, offset: u64, data: &mut [u8]) {
        self.answer(true, offset as usize, data);
    }
}
