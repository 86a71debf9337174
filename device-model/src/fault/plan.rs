//! What is to go wrong, and when: read from TOML or built in code.

use serde::Deserialize;

/// A plan of faults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Where chance begins.
    #[serde(default)]
    pub seed: u64,
    /// The faults. Of several that could strike at once, the first does.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// Chances to let pass first.
    #[serde(default)]
    pub after: u64,
    /// How likely it strikes at each chance from then on, 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// How often it strikes at most.
    #[serde(default = "without_end")]
    pub times: u64,
    /// Only this vector (interrupts) or queue (completions).
    #[serde(default)]
    pub only: Option<u16>,
    /// For faults that last or come late: how long, in microseconds.
    #[serde(default = "a_millisecond")]
    pub micros: u64,
    /// For wrong used lengths: by how many bytes.
    #[serde(default = "one")]
    pub bytes: u32,
}

fn always() -> f64 {
    1.0
}

fn without_end() -> u64 {
    u64::MAX
}

fn a_millisecond() -> u64 {
    1000
}

fn one() -> u32 {
    1
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An interrupt message is not sent.
    InterruptDropped,
    /// It is sent twice.
    InterruptDoubled,
    /// It is sent later.
    InterruptDelayed,
    /// One is sent at a register access, without cause.
    InterruptSpurious,
    /// A register read times out: all ones.
    ReadTimesOut,
    /// After a reset the device reads as all ones for a while, and ignores writes.
    ResetSticks,
    /// At a register access the device goes away for a while: all ones, configuration space included.
    DeviceGone,
    /// A chain is given back later.
    CompletionLate,
    /// A chain is never given back.
    CompletionLost,
    /// A chain is given back after the next one.
    CompletionOutOfOrder,
    /// The used length is larger than what was written.
    UsedTooLong,
    /// It is smaller.
    UsedTooShort,
    /// One byte of what the device wrote is changed.
    DataCorrupted,
}

/// A plan that is none.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No such TOML.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A probability outside 0 to 1.
    #[error("fault {0}: probability must be between 0 and 1")]
    Probability(usize),
}

impl Plan {
    /// Read a plan.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        let plan: Self = toml::from_str(text)?;
        match plan.faults.iter().position(|fault| !(0.0..=1.0).contains(&fault.probability)) {
            Some(index) => Err(PlanError::Probability(index)),
            None => Ok(plan),
        }
    }

    /// A plan without faults, to add some.
    pub fn new(seed: u64) -> Self {
        Self { seed, faults: Vec::new() }
    }

    /// The plan and one more fault, which strikes at every chance.
    #[must_use]
    pub fn with(mut self, kind: Kind, change: impl FnOnce(&mut Fault)) -> Self {
        let mut fault = Fault {
            kind,
            after: 0,
            probability: always(),
            times: without_end(),
            only: None,
            micros: a_millisecond(),
            bytes: one(),
        };
        change(&mut fault);
        self.faults.push(fault);
        self
    }
}

/// A plan in progress.
pub(super) struct Injector {
    seed: u64,
    chance: u64,
    faults: Vec<(Fault, Progress)>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    chances: u64,
    strikes: u64,
}

/// A fault that strikes now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strike {
    pub(super) kind: Kind,
    /// Nanoseconds.
    pub(super) time: u64,
    pub(super) bytes: u32,
    /// A number to choose by.
    pub(super) choice: u64,
}

impl Injector {
    pub(super) fn new(plan: &Plan) -> Self {
        let faults = plan.faults.iter().map(|fault| (fault.clone(), Progress::default())).collect();
        Self { seed: plan.seed, chance: 0, faults }
    }

    /// One chance for faults of these kinds. `which` is the vector or queue; `cause` goes into the log.
    pub(super) fn chance(&mut self, kinds: &[Kind], which: Option<u16>, now: u64, cause: &str) -> Option<Strike> {
        for index in 0..self.faults.len() {
            let (fault, progress) = &mut self.faults[index];
            let concerns = kinds.contains(&fault.kind) && (fault.only.is_none() || fault.only == which);
            if !concerns || progress.strikes == fault.times {
                continue;
            }
            progress.chances += 1;
            if progress.chances <= fault.after {
                continue;
            }
            let choice = draw(self.seed, &mut self.chance);
            let (fault, progress) = &mut self.faults[index];
            if (choice >> 11) as f64 / (1_u64 << 53) as f64 >= fault.probability {
                continue;
            }
            progress.strikes += 1;
            tracing::warn!(time_ns = now, fault = ?fault.kind, strike = progress.strikes, cause, which, "a fault is injected");
            let time = fault.micros.saturating_mul(1000);
            return Some(Strike { kind: fault.kind, time, bytes: fault.bytes, choice: draw(self.seed, &mut self.chance) });
        }
        None
    }
}

/// The next number of a sequence that the seed determines (SplitMix64).
fn draw(seed: u64, position: &mut u64) -> u64 {
    *position += 1;
    let mut value = seed.wrapping_add(position.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
