//! Names of registers, from a TOML file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

/// Names for the places of a device's BARs.
#[derive(Clone, Debug, Default)]
pub struct RegisterMap {
    registers: BTreeMap<(u8, u64), Register>,
}

/// A map that is none.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// No such TOML.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A register of no bytes, or more of them than a map may have.
    #[error("register {0}: length, count and stride must be at least 1, count at most 4096, and stride no shorter than length")]
    Shape(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    register: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    bar: u8,
    offset: u64,
    name: String,
    /// Bytes that belong to it.
    #[serde(default = "four")]
    length: u64,
    /// How many of them there are, and how far apart.
    #[serde(default = "one")]
    count: u64,
    #[serde(default = "four")]
    stride: u64,
    /// Names of bits.
    #[serde(default)]
    bits: BTreeMap<String, u8>,
}

fn one() -> u64 {
    1
}

fn four() -> u64 {
    4
}

#[derive(Clone, Debug)]
struct Register {
    name: String,
    length: u64,
    bits: Vec<(u8, String)>,
}

impl RegisterMap {
    /// Read a map.
    ///
    /// # Errors
    /// Why it is none.
    pub fn from_toml(text: &str) -> Result<Self, MapError> {
        let file: File = toml::from_str(text)?;
        let mut registers = BTreeMap::new();
        for entry in file.register {
            let Entry { bar, offset, name, length, count, stride, bits } = entry;
            if length == 0 || !(1..=4096).contains(&count) || stride == 0 || (count > 1 && stride < length) {
                return Err(MapError::Shape(name));
            }
            let mut bits: Vec<_> = bits.into_iter().map(|(name, bit)| (bit, name)).collect();
            bits.sort();
            for index in 0..count {
                let name = if count > 1 { format!("{name}[{index}]") } else { name.clone() };
                let at = offset.saturating_add(index.saturating_mul(stride));
                registers.insert((bar, at), Register { name, length, bits: bits.clone() });
            }
        }
        Ok(Self { registers })
    }

    /// The registers of a virtio device, as this project's devices lay them out.
    pub fn virtio() -> Self {
        Self::from_toml(include_str!("../maps/virtio.toml")).expect("a test reads this map")
    }

    fn find(&self, bar: u8, offset: u64) -> Option<(&Register, u64)> {
        let (&(of_bar, at), register) = self.registers.range(..=(bar, offset)).next_back()?;
        (of_bar == bar && offset - at < register.length).then_some((register, offset - at))
    }

    /// The name of a place, if it has one: of a register, or of a byte inside one.
    pub fn name(&self, bar: u8, offset: u64) -> Option<String> {
        let (register, inside) = self.find(bar, offset)?;
        Some(if inside == 0 { register.name.clone() } else { format!("{}+{inside:#x}", register.name) })
    }

    /// The names of the bits that are set in a value, if they have names.
    pub fn bits(&self, bar: u8, offset: u64, value: u64) -> Option<String> {
        let (register, _) = self.find(bar, offset).filter(|(register, inside)| *inside == 0 && !register.bits.is_empty())?;
        let (mut text, mut left) = (String::new(), value);
        for (bit, name) in register.bits.iter().filter(|(bit, _)| *bit < 64) {
            if value >> bit & 1 != 0 {
                left &= !(1 << bit);
                text.push_str(if text.is_empty() { "" } else { "|" });
                text.push_str(name);
            }
        }
        if left != 0 {
            let _ = write!(text, "{}{left:#x}", if text.is_empty() { "" } else { "|" });
        }
        Some(if text.is_empty() { "0".into() } else { text })
    }
}
