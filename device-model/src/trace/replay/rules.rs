//! How strictly the driver is compared with the recorded one.

use clap::ValueEnum;
use serde::Deserialize;

/// How strictly the driver is compared with the recorded one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Everything in the recorded order. Any difference is a divergence.
    Strict,
    /// Each queue's and each register's own order; requests that are under way together may overtake each other, and what the driver polls
    /// may be polled longer or shorter.
    #[default]
    Ordered,
    /// As ordered, but for what the rules let pass.
    Lenient,
}

/// What a lenient comparison lets pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The rules.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

/// One rule: bytes of some queue's chains, of some register, or of memory that the device reads, that are not compared.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What becomes of the bytes.
    pub action: Action,
    /// Chains of this queue; of all queues if the rule names neither queue nor BAR nor `dma`.
    #[serde(default)]
    pub queue: Option<u16>,
    /// Registers of this BAR.
    #[serde(default)]
    pub bar: Option<u8>,
    /// Memory that the device reads.
    #[serde(default)]
    pub dma: bool,
    /// First byte: of the device-readable ones of a chain, of the BAR, or of what the device reads in one go.
    #[serde(default)]
    pub offset: u64,
    /// Number of bytes; all that follow if there is none.
    #[serde(default)]
    pub length: Option<u64>,
    /// For `mask`: the bits that are compared, byte by byte, repeated over the length.
    #[serde(default)]
    pub mask: Vec<u8>,
}

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Chains of the queue, or accesses to the registers, that the trace does not have are answered with nothing, and those that the driver
    /// leaves out are not missed.
    Ignore,
    /// Only the bits of the mask are compared.
    Mask,
    /// Any value will do.
    AnyValue,
}

/// A file of rules that is none.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// No such TOML.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A mask of no bytes.
    #[error("rule {0}: a mask needs at least one byte")]
    Mask(usize),
    /// Bytes of two kinds of thing at once.
    #[error("rule {0}: it is about a queue, or about a bar, or about dma")]
    Subject(usize),
    /// What the device reads cannot be left out.
    #[error("rule {0}: what the device reads cannot be ignored; any-value lets it be anything")]
    IgnoredDma(usize),
}

/// Where a byte stands that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Queue(u16),
    Bar(u8),
    Dma,
}

impl Rule {
    fn is_about(&self, subject: Subject) -> bool {
        match subject {
            Subject::Queue(queue) => self.bar.is_none() && !self.dma && self.queue.is_none_or(|of| of == queue),
            Subject::Bar(bar) => self.bar == Some(bar),
            Subject::Dma => self.dma,
        }
    }

    fn covers(&self, at: u64) -> bool {
        at >= self.offset && self.length.is_none_or(|length| at - self.offset < length)
    }
}

impl Rules {
    /// Read rules.
    ///
    /// # Errors
    /// Why they are none.
    pub fn from_toml(text: &str) -> Result<Self, RuleError> {
        let rules: Self = toml::from_str(text)?;
        for (index, rule) in rules.rules.iter().enumerate() {
            if rule.action == Action::Mask && rule.mask.is_empty() {
                return Err(RuleError::Mask(index));
            }
            if [rule.queue.is_some(), rule.bar.is_some(), rule.dma].into_iter().filter(|named| *named).count() > 1 {
                return Err(RuleError::Subject(index));
            }
            if rule.dma && rule.action == Action::Ignore {
                return Err(RuleError::IgnoredDma(index));
            }
        }
        Ok(rules)
    }

    /// Whether chains of a queue are of no concern.
    pub(super) fn ignores(&self, queue: u16) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::Ignore && rule.is_about(Subject::Queue(queue)))
    }

    /// Whether accesses to a register are of no concern.
    pub(super) fn ignores_register(&self, bar: u8, offset: u64) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::Ignore && rule.is_about(Subject::Bar(bar)) && rule.covers(offset))
    }

    /// Whether the same number of bytes, the first of which is byte `first` of the subject, are the same as far as they are compared.
    pub(super) fn alike(&self, subject: Subject, first: u64, then: &[u8], now: &[u8]) -> bool {
        then == now
            || then.len() == now.len()
                && (first..).zip(then.iter().zip(now)).all(|(at, (then, now))| (then ^ now) & self.compared(subject, at) == 0)
    }

    /// The bits of one byte that are compared.
    fn compared(&self, subject: Subject, at: u64) -> u8 {
        let touching =
            self.rules.iter().filter(|rule| rule.action != Action::Ignore && rule.is_about(subject) && rule.covers(at));
        touching.fold(0xff, |bits, rule| match rule.action {
            Action::Mask => bits & rule.mask[(at - rule.offset) as usize % rule.mask.len()],
            _ => 0,
        })
    }
}
