//! The relay hardware's source of events: single ones on demand, and a steady rate.

use protocol::hardware::Event;

const SECOND: u64 = 1_000_000_000;
/// Single events that wait for a buffer at one time; more are lost.
const MAX_SINGLE: usize = 64;

/// Counts and times events; delivering them is the caller's business.
#[derive(Debug)]
pub struct Events {
    sequence: u64,
    since: u64,
    rate: u64,
    /// Device time from which the rate counts, and events emitted since.
    rate_since: u64,
    emitted: u64,
    single: Vec<u64>,
    /// Events delivered since reset.
    pub delivered: u64,
    /// Events lost since reset.
    pub lost: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sequence: 0,
            since: 0,
            rate: 0,
            rate_since: 0,
            emitted: 0,
            single: Vec::with_capacity(MAX_SINGLE),
            delivered: 0,
            lost: 0,
        }
    }
}

impl Events {
    /// Go back to the state after power-on, at this device time.
    pub fn reset(&mut self, now: u64) {
        self.sequence = 0;
        self.since = now;
        self.rate = 0;
        self.single.clear();
        self.delivered = 0;
        self.lost = 0;
    }

    /// Emit `rate` events a second from now on; 0 for none.
    pub fn set_rate(&mut self, rate: u64, now: u64) {
        self.rate = rate;
        self.rate_since = now;
        self.emitted = 0;
    }

    /// Emit one event as soon as the caller asks.
    pub fn emit_once(&mut self, value: u64) {
        if self.single.len() < MAX_SINGLE {
            self.single.push(value);
        } else {
            self.sequence += 1;
            self.lost += 1;
        }
    }

    /// Device time of the next event.
    pub fn next_due(&self) -> Option<u64> {
        if !self.single.is_empty() {
            return Some(0);
        }
        (self.rate > 0).then(|| self.rate_since.saturating_add(self.time_of(self.emitted + 1)))
    }

    /// The next event whose time has come. The caller says afterwards whether it was delivered or lost.
    pub fn next(&mut self, now: u64) -> Option<Event> {
        let value = if !self.single.is_empty() {
            self.single.remove(0)
        } else {
            self.skip_the_distant_past(now);
            if self.next_due()? > now {
                return None;
            }
            self.emitted += 1;
            0
        };
        self.sequence += 1;
        Some(Event { sequence: self.sequence, time_ns: now.saturating_sub(self.since), value })
    }

    /// Time from the start of the rate to its event number `count`.
    fn time_of(&self, count: u64) -> u64 {
        (u128::from(count) * u128::from(SECOND) / u128::from(self.rate)) as u64
    }

    /// After a standstill (the process was stopped), events more than a second late are lost at once instead of one by one.
    fn skip_the_distant_past(&mut self, now: u64) {
        if self.rate == 0 {
            return;
        }
        let elapsed = now.saturating_sub(self.rate_since);
        let wanted = (u128::from(elapsed.saturating_sub(SECOND)) * u128::from(self.rate) / u128::from(SECOND)) as u64;
        let missed = wanted.saturating_sub(self.emitted);
        self.emitted += missed;
        self.sequence += missed;
        self.lost += missed;
    }
}
