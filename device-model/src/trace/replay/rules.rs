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

/// One rule: bytes of some queue's chains that are not compared.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What becomes of the bytes.
    pub action: Action,
    /// The queue; all if there is none.
    #[serde(default)]
    pub queue: Option<u16>,
    /// First byte, of the device-readable ones, or of device configuration if `config` is set.
    #[serde(default)]
    pub offset: usize,
    /// Number of bytes; all that follow if there is none.
    #[serde(default)]
    pub length: Option<usize>,
    /// For `mask`: the bits that are compared, byte by byte, repeated over the length.
    #[serde(default)]
    pub mask: Vec<u8>,
}

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Chains of the queue that the trace does not have are answered with nothing, and those that the driver does not send are not missed.
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
}

impl Rules {
    /// Read rules.
    ///
    /// # Errors
    /// Why they are none.
    pub fn from_toml(text: &str) -> Result<Self, RuleError> {
        let rules: Self = toml::from_str(text)?;
        match rules.rules.iter().position(|rule| rule.action == Action::Mask && rule.mask.is_empty()) {
            Some(index) => Err(RuleError::Mask(index)),
            None => Ok(rules),
        }
    }

    /// Whether chains of a queue are of no concern.
    pub(super) fn ignores(&self, queue: u16) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::Ignore && rule.queue.is_none_or(|of| of == queue))
    }

    /// Whether two chains' bytes are the same as far as they are compared.
    pub(super) fn alike(&self, queue: u16, then: &[u8], now: &[u8]) -> bool {
        then == now
            || then.len() == now.len()
                && then.iter().zip(now).enumerate().all(|(at, (then, now))| (then ^ now) & self.compared(queue, at) == 0)
    }

    /// The bits of one byte that are compared.
    fn compared(&self, queue: u16, at: usize) -> u8 {
        let touching = self.rules.iter().filter(|rule| {
            let inside = at >= rule.offset && rule.length.is_none_or(|length| at - rule.offset < length);
            inside && rule.action != Action::Ignore && rule.queue.is_none_or(|of| of == queue)
        });
        touching.fold(0xff, |bits, rule| match rule.action {
            Action::Mask => bits & rule.mask[(at - rule.offset) % rule.mask.len()],
            _ => 0,
        })
    }
}
