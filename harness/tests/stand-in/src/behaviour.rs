//! What goes wrong, in words of `behaviour.txt`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::firmware::Volume;

/// The file.
pub(crate) const FILE: &str = "behaviour.txt";

/// Words such as `stuck-at-specialize`; all of them fit into a line.
pub(crate) struct Behaviour(Vec<String>);

impl Behaviour {
    /// As the file on this volume has it; nothing goes wrong without one.
    pub(crate) fn of(volume: &Volume) -> Self {
        let text = volume.read(FILE).unwrap_or_default();
        Self(String::from_utf8_lossy(&text).split_whitespace().map(ToString::to_string).collect())
    }

    /// Whether this goes wrong.
    pub(crate) fn is(&self, word: &str) -> bool {
        self.0.iter().any(|one| one == word)
    }

    /// What follows a word and an equals sign.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|one| one.strip_prefix(name)?.strip_prefix('='))
    }
}
