//! One at a time, without waiting.

/// Whoever comes while somebody is at work leaves the work to him, and he looks again before he goes. So one at a time does it, nobody waits,
/// and nothing is left undone. It lives behind a lock.
#[derive(Debug, Default)]
pub struct Turn {
    taken: bool,
    again: bool,
}

impl Turn {
    /// Nobody's.
    #[must_use]
    pub const fn new() -> Self {
        Self { taken: false, again: false }
    }

    /// Takes the turn. `false`: somebody has it, and will look again.
    #[must_use]
    pub const fn take(&mut self) -> bool {
        self.again = self.taken;
        !core::mem::replace(&mut self.taken, true)
    }

    /// Gives the turn up. `false`: somebody came meanwhile, so that the turn is still the caller's, and so is the work.
    #[must_use]
    pub const fn give_up(&mut self) -> bool {
        self.taken = core::mem::replace(&mut self.again, false);
        !self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::Turn;

    #[test]
    fn who_comes_meanwhile_leaves_the_work_to_whoever_has_the_turn() {
        let mut turn = Turn::new();
        assert!(turn.take());
        assert!(turn.give_up(), "nobody came");
        assert!(turn.take());
        assert!(!turn.take() && !turn.take(), "taken");
        assert!(!turn.give_up(), "two came: once more");
        assert!(turn.give_up());
        assert!(turn.take());
    }
}
