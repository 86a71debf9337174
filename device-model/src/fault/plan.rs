//! What is to go wrong, and when: read from TOML or built in code.

use serde::Deserialize;
use toml::Spanned;

use crate::dice::Dice;

/// A plan of faults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Where chance begins.
    pub seed: u64,
    /// The faults. Of several that could strike at once, the first does.
    pub faults: Vec<Fault>,
}

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// Chances to let pass first.
    pub after: u64,
    /// How likely it strikes at each chance from then on, 0 to 1.
    pub probability: f64,
    /// How often it strikes at most.
    pub times: u64,
    /// Only this vector (interrupts) or queue (completions).
    pub only: Option<u16>,
    /// For faults that last or come late: how long, in microseconds.
    pub micros: u64,
    /// For wrong used lengths: by how many bytes.
    pub bytes: u32,
}

impl Fault {
    /// One that strikes at every chance.
    fn new(kind: Kind) -> Self {
        Self { kind, after: 0, probability: 1.0, times: u64::MAX, only: None, micros: 1000, bytes: 1 }
    }
}

/// A plan as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPlan {
    #[serde(default)]
    seed: u64,
    #[serde(default, rename = "fault")]
    faults: Vec<Spanned<WrittenFault>>,
}

/// A fault as it is written: what is not said is left to [`Fault::new`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFault {
    kind: Kind,
    after: Option<u64>,
    probability: Option<f64>,
    times: Option<u64>,
    only: Option<u16>,
    micros: Option<u64>,
    bytes: Option<u32>,
}

impl WrittenFault {
    /// The fault, or what is wrong with it.
    fn read(&self) -> Result<Fault, String> {
        let plain = Fault::new(self.kind);
        let fault = Fault {
            after: self.after.unwrap_or(plain.after),
            probability: self.probability.unwrap_or(plain.probability),
            times: self.times.unwrap_or(plain.times),
            only: self.only,
            micros: self.micros.unwrap_or(plain.micros),
            bytes: self.bytes.unwrap_or(plain.bytes),
            ..plain
        };
        let name = self.kind.name();
        if !(0.0..=1.0).contains(&fault.probability) {
            return Err(format!("{name}: probability must be between 0 and 1"));
        }
        for (key, said, useful) in [
            ("only", self.only.is_some(), self.kind.is_of_one()),
            ("micros", self.micros.is_some(), self.kind.lasts()),
            ("bytes", self.bytes.is_some(), self.kind.lies()),
        ] {
            if said && !useful {
                return Err(format!("{name}: `{key}` means nothing for this kind"));
            }
        }
        Ok(fault)
    }
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
    /// Instead of giving a chain back, the device says that it needs a reset.
    NeedsReset,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::InterruptDropped,
        Self::InterruptDoubled,
        Self::InterruptDelayed,
        Self::InterruptSpurious,
        Self::ReadTimesOut,
        Self::ResetSticks,
        Self::DeviceGone,
        Self::CompletionLate,
        Self::CompletionLost,
        Self::CompletionOutOfOrder,
        Self::UsedTooLong,
        Self::UsedTooShort,
        Self::DataCorrupted,
        Self::NeedsReset,
    ];

    /// Its name in a plan.
    pub fn name(self) -> &'static str {
        match self {
            Self::InterruptDropped => "interrupt-dropped",
            Self::InterruptDoubled => "interrupt-doubled",
            Self::InterruptDelayed => "interrupt-delayed",
            Self::InterruptSpurious => "interrupt-spurious",
            Self::ReadTimesOut => "read-times-out",
            Self::ResetSticks => "reset-sticks",
            Self::DeviceGone => "device-gone",
            Self::CompletionLate => "completion-late",
            Self::CompletionLost => "completion-lost",
            Self::CompletionOutOfOrder => "completion-out-of-order",
            Self::UsedTooLong => "used-too-long",
            Self::UsedTooShort => "used-too-short",
            Self::DataCorrupted => "data-corrupted",
            Self::NeedsReset => "needs-reset",
        }
    }

    /// Whether it happens to a virtqueue ([`super::FaultyVirtio`]), as opposed to the PCI device around it ([`super::Faulty`]).
    pub fn is_of_a_queue(self) -> bool {
        !self.is_of_an_interrupt() && !matches!(self, Self::ReadTimesOut | Self::ResetSticks | Self::DeviceGone)
    }

    fn is_of_an_interrupt(self) -> bool {
        matches!(self, Self::InterruptDropped | Self::InterruptDoubled | Self::InterruptDelayed | Self::InterruptSpurious)
    }

    /// Whether it happens to one vector or queue, so that `only` can choose.
    fn is_of_one(self) -> bool {
        self.is_of_a_queue() || self.is_of_an_interrupt()
    }

    /// Whether it takes time, so that `micros` can say how much.
    fn lasts(self) -> bool {
        matches!(
            self,
            Self::InterruptDelayed | Self::ResetSticks | Self::DeviceGone | Self::CompletionLate | Self::CompletionOutOfOrder
        )
    }

    /// Whether it is about a length, so that `bytes` can say by how much.
    fn lies(self) -> bool {
        matches!(self, Self::UsedTooLong | Self::UsedTooShort)
    }
}

/// A plan that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct PlanError {
    /// Line of the mistake, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

impl Plan {
    /// Read a plan.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        Self::from_toml_if(text, |_| Ok(()))
    }

    /// Read a plan for a device to which only some kinds of faults can happen: `possible` says why another cannot.
    pub fn from_toml_if(text: &str, possible: impl Fn(Kind) -> Result<(), &'static str>) -> Result<Self, PlanError> {
        let line = |at: usize| 1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count();
        let written: WrittenPlan = toml::from_str(text).map_err(|error| PlanError {
            line: line(error.span().map_or(0, |span| span.start)),
            reason: error.message().replace('\n', "; "),
        })?;
        let read = |fault: &Spanned<WrittenFault>| {
            let wrong = |reason| PlanError { line: line(fault.span().start), reason };
            let fault = fault.get_ref();
            possible(fault.kind).map_err(|reason| wrong(format!("{}: {reason}", fault.kind.name())))?;
            fault.read().map_err(wrong)
        };
        Ok(Self { seed: written.seed, faults: written.faults.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// A plan without faults, to add some.
    pub fn new(seed: u64) -> Self {
        Self { seed, faults: Vec::new() }
    }

    /// The plan without the faults of some kinds.
    #[must_use]
    pub fn without(&self, unwanted: impl Fn(Kind) -> bool) -> Self {
        Self { seed: self.seed, faults: self.faults.iter().filter(|fault| !unwanted(fault.kind)).cloned().collect() }
    }

    /// The plan and one more fault, which strikes at every chance.
    #[must_use]
    pub fn with(mut self, kind: Kind, change: impl FnOnce(&mut Fault)) -> Self {
        let mut fault = Fault::new(kind);
        change(&mut fault);
        self.faults.push(fault);
        self
    }
}

/// A plan in progress.
pub(super) struct Injector {
    dice: Dice,
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
    /// The vector or queue that the plan chooses.
    pub(super) only: Option<u16>,
    /// A number to choose by.
    pub(super) choice: u64,
}

impl Injector {
    pub(super) fn new(plan: &Plan) -> Self {
        let faults = plan.faults.iter().map(|fault| (fault.clone(), Progress::default())).collect();
        Self { dice: Dice::new(plan.seed), faults }
    }

    /// One chance for faults of these kinds. `which` is the vector or queue, if it is settled; `cause` goes into the log.
    pub(super) fn chance(&mut self, kinds: &[Kind], which: Option<u16>, now: u64, cause: &str) -> Option<Strike> {
        for index in 0..self.faults.len() {
            let (fault, progress) = &mut self.faults[index];
            let concerns = kinds.contains(&fault.kind) && (fault.only.is_none() || which.is_none() || fault.only == which);
            if !concerns || progress.strikes == fault.times {
                continue;
            }
            progress.chances += 1;
            if progress.chances <= fault.after {
                continue;
            }
            let choice = self.dice.roll();
            let (fault, progress) = &mut self.faults[index];
            if (choice >> 11) as f64 / (1_u64 << 53) as f64 >= fault.probability {
                continue;
            }
            progress.strikes += 1;
            tracing::warn!(
                time_ns = now,
                fault = fault.kind.name(),
                strike = progress.strikes,
                cause,
                which,
                "a fault is injected"
            );
            let (kind, time) = (fault.kind, fault.micros.saturating_mul(1000));
            let choice = self.dice.roll();
            return Some(Strike { kind, time, bytes: fault.bytes, only: fault.only, choice });
        }
        None
    }
}
