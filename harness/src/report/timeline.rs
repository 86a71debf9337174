//! The timeline of requests: what driver and device did with each one, read from the guest's log and the device model's.
//!
//! The framework prints its in-flight log when a driver goes, in every bug check, and beside violations, one event a line
//! (`vm-images/ntlet/kmdf/src/history.rs` has the format):
//!
//! ```text
//! [9.1 cpu0] kmdf relay: #1234 @8.345678 request-sent 0x5744000010000010 target=0x5744000030000050 flags=0x0 irql=2 thread=0xffff80000123
//! ```
//!
//! The device model writes a line for each command that carries a `tag=`. Both are other people's words: what does not fit is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// The lane of the device's steps.
pub const DEVICE: &str = "device";
/// Most requests that one test shows, and most steps of one request.
const MOST_REQUESTS: usize = 200;
const MOST_STEPS: usize = 500;
/// How the names of events begin whose object is a request.
const OF_REQUESTS: &str = "request-";

/// One step of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Seconds on the clock of whoever took it.
    pub at: f64,
    /// Who took it: a driver, or the device.
    pub lane: String,
    /// What was done.
    pub what: String,
}

/// What a driver has forgotten of a stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Forgotten {
    /// The driver.
    pub lane: String,
    /// Seconds on the guest's clock from which on it remembers everything.
    pub before: f64,
}

/// A request and its steps in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its handle, or the tag of its command.
    pub name: String,
    /// Its steps; never empty.
    pub steps: Vec<Step>,
}

impl Request {
    /// Its first and last moment.
    #[must_use]
    pub fn span(&self) -> (f64, f64) {
        let times = self.steps.iter().map(|step| step.at);
        (times.clone().fold(f64::INFINITY, f64::min), times.fold(f64::NEG_INFINITY, f64::max))
    }
}

/// All that the logs of one boot tell of requests.
#[derive(Debug, Default)]
pub struct Events {
    /// The object or the tag, and the step; in the order of their times.
    steps: Vec<(String, Step)>,
    /// Objects that are requests.
    requests: BTreeSet<String>,
    /// Drivers whose first events are lost, since they remember a number of the last ones only.
    forgotten: Vec<Forgotten>,
}

impl Events {
    /// What two logs tell. `offset` is what to add to the device's clock (seconds of the day) to get the guest's; `None`: nobody knows,
    /// and the device's lines are left out.
    #[must_use]
    pub fn of(guest: &str, device: &str, offset: Option<f64>) -> Self {
        let (mut events, mut seen) = (Self::default(), BTreeMap::new());
        for line in guest.lines() {
            let Some((ordinal, object, step)) = of_framework(line) else { continue };
            // An event may be printed more than once; its ordinal tells.
            if seen.insert((step.lane.clone(), ordinal), step.at).is_none() {
                if step.what.starts_with(OF_REQUESTS) {
                    events.requests.insert(object.clone());
                }
                events.steps.push((object, step));
            }
        }
        events.forgotten = forgotten(&seen);
        for (tag, step) in device.lines().filter_map(|line| of_device(line, offset)) {
            let name = format!("tag {tag}");
            events.requests.insert(name.clone());
            events.steps.push((name, step));
        }
        events.steps.sort_by(|(_, one), (_, other)| one.at.total_cmp(&other.at));
        events
    }

    /// What drivers have forgotten of a stretch of time.
    #[must_use]
    pub fn forgotten(&self, time: &RangeInclusive<f64>) -> Vec<Forgotten> {
        self.forgotten.iter().filter(|forgotten| forgotten.before > *time.start()).cloned().collect()
    }

    /// The requests with their steps in a stretch of time, in the order of their first steps.
    #[must_use]
    pub fn requests(&self, time: RangeInclusive<f64>) -> Vec<Request> {
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut requests: Vec<Request> = Vec::new();
        for (object, step) in self.steps.iter().filter(|(object, step)| time.contains(&step.at) && self.requests.contains(object))
        {
            let place = *places.entry(object).or_insert(requests.len());
            if place == requests.len() && place < MOST_REQUESTS {
                requests.push(Request { name: object.clone(), steps: Vec::new() });
            }
            if let Some(request) = requests.get_mut(place).filter(|request| request.steps.len() < MOST_STEPS) {
                request.steps.push(step.clone());
            }
        }
        requests
    }
}

/// The drivers whose events, by ordinal, do not begin at 0 without a gap.
fn forgotten(seen: &BTreeMap<(String, u64), f64>) -> Vec<Forgotten> {
    let mut forgotten: Vec<Forgotten> = Vec::new();
    let mut last: Option<(&str, u64)> = None;
    for ((lane, ordinal), at) in seen {
        let follows = match last {
            Some((other, before)) if other == lane => before.checked_add(1) == Some(*ordinal),
            _ => *ordinal == 0,
        };
        if !follows {
            forgotten.retain(|known| known.lane != *lane);
            forgotten.push(Forgotten { lane: lane.clone(), before: *at });
        }
        last = Some((lane, *ordinal));
    }
    forgotten
}

/// When what a line of a driver's events tells happened, on the guest's clock: earlier than the line was written.
#[must_use]
pub fn happened(line: &str) -> Option<f64> {
    of_framework(line).map(|(_, _, step)| step.at)
}

/// `… kmdf DRIVER: #N @SECONDS EVENT OBJECT KEY=VALUE … irql=I thread=T`
fn of_framework(line: &str) -> Option<(u64, String, Step)> {
    let (_, rest) = line.split_once("kmdf ")?;
    let (driver, rest) = rest.split_once(": #")?;
    let mut words = rest.split(' ');
    let ordinal = words.next()?.parse().ok()?;
    let at = words.next()?.strip_prefix('@')?.parse::<f64>().ok().filter(|at| at.is_finite())?;
    let (event, object) = (words.next()?, words.next()?);
    let details = words.filter(|word| !word.starts_with("thread=") && *word != "irql=0");
    let what = std::iter::once(event).chain(details).collect::<Vec<_>>().join(" ");
    Some((ordinal, object.to_owned(), Step { at, lane: driver.to_owned(), what }))
}

/// `2026-11-28T15:23:46.350726Z DEBUG device_model::…: WHAT tag=N …`
fn of_device(line: &str, offset: Option<f64>) -> Option<(String, Step)> {
    let (time, rest) = line.trim_start().split_once(' ')?;
    let (_, tag) = rest.split_once("tag=")?;
    let tag: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
    let what = rest.split_once(": ").map_or(rest, |(_, what)| what);
    let at = second_of_day(time)? + offset?;
    Some((tag, Step { at, lane: DEVICE.to_owned(), what: what.to_owned() }))
}

/// The second of the day of an RFC 3339 time.
#[must_use]
pub fn second_of_day(time: &str) -> Option<f64> {
    use chrono::Timelike as _;
    let time = chrono::DateTime::parse_from_rfc3339(time).ok()?.to_utc();
    Some(f64::from(time.num_seconds_from_midnight()) + f64::from(time.nanosecond()) / 1e9)
}

/// The guest's own clock at the head of a line: `[0.896302 cpu0] …`.
#[must_use]
pub fn stamp(line: &str) -> Option<f64> {
    let (stamp, _) = line.strip_prefix('[')?.split_once([' ', ']'])?;
    stamp.parse::<f64>().ok().filter(|at| at.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: &str = "\
[9.1 cpu0] kmdf relay: #11 @0.895194 created 0x57440010 kind=0x1008 parent=0x1 irql=0 thread=0xffff
[9.1 cpu0] kmdf relay: #12 @0.895195 request-queued 0x57440010 queue=0x57440020 irql=2 thread=0xffff
[9.1 cpu0] kmdf relay: #12 @0.895195 request-queued 0x57440010 queue=0x57440020 irql=2 thread=0xffff
[9.1 cpu0] kmdf relay: #13 @0.895200 power-state 0x57440099 state=0x3 irql=0 thread=0xffff
[9.1 cpu0] kmdf relayflt: #12 @7.5 request-queued 0x57440033 irql=0 thread=0xffff
[9.1 cpu0] anything else
[9.1 cpu0] kmdf relay: #x @y z";

    #[test]
    fn a_request_has_its_steps_once_each_and_in_order() {
        let requests = Events::of(GUEST, "", None).requests(0.0..=1.0);
        assert_eq!(requests.len(), 1, "neither what is no request nor what was at another time: {requests:?}");
        assert_eq!(requests[0].name, "0x57440010");
        let steps: Vec<&str> = requests[0].steps.iter().map(|step| step.what.as_str()).collect();
        assert_eq!(steps, ["created kind=0x1008 parent=0x1", "request-queued queue=0x57440020 irql=2"]);
        assert_eq!(requests[0].steps[0].lane, "relay");
    }

    #[test]
    fn the_devices_commands_are_told_by_tag_on_the_guests_clock() {
        let device = "2026-11-28T00:00:10.500000Z DEBUG device_model::relay: taken tag=7 opcode=4\nready\n";
        let requests = Events::of("", device, Some(-10.0)).requests(0.0..=1.0);
        assert_eq!(requests[0].name, "tag 7");
        assert!((requests[0].steps[0].at - 0.5).abs() < 1e-6);
        assert_eq!(requests[0].steps[0].what, "taken tag=7 opcode=4");
    }

    #[test]
    fn what_a_driver_no_longer_knows_is_told_by_the_gap_in_its_ordinals() {
        let line = |driver: &str, ordinal: u64| format!("kmdf {driver}: #{ordinal} @{ordinal}.5 request-queued 0x1 irql=0");
        let numbered = |driver, ordinals: &[u64]| ordinals.iter().map(|n| line(driver, *n)).collect::<Vec<_>>().join("\n");
        let whole = numbered("relay", &[0, 1, 2]);
        // 4 was printed beside a violation, before the ring was.
        let cut = numbered("relayflt", &[4, 7, 8, 9]);
        let events = Events::of(&format!("{whole}\n{cut}"), "", None);
        assert_eq!(events.forgotten(&(1.0..=9.0)), [Forgotten { lane: "relayflt".into(), before: 7.5 }]);
        assert_eq!(events.forgotten(&(7.5..=9.0)), [], "all that it did since is there");
    }

    #[test]
    fn nonsense_is_left_out() {
        let nonsense = Events::of("kmdf a: #1 @inf request-sent 0x1\nkmdf a: #1", "NaN tag=", Some(0.0));
        assert!(nonsense.requests(f64::NEG_INFINITY..=f64::INFINITY).is_empty());
        assert_eq!(stamp("[0.896302 cpu0] x"), Some(0.896302));
        assert_eq!(stamp("[x] y"), None);
    }
}
