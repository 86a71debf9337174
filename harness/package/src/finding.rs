//! What a check finds: how grave, where, what, why, and what to do.

use std::collections::BTreeMap;
use std::fmt;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing has to be done.
    Note,
    /// The package installs, but something will trouble somebody.
    Warning,
    /// Windows or the rig refuses the package, or the driver cannot work.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One finding. Its display form has one line each for what, why and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How grave.
    pub severity: Severity,
    /// The file's name, perhaps with a line number.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// Why that matters.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.severity, self.place, self.what)?;
        for (label, text) in [("why", &self.why), ("do", &self.remedy)] {
            if !text.is_empty() {
                write!(f, "\n  {label:>3}: {text}")?;
            }
        }
        Ok(())
    }
}

/// The findings of one check, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    list: Vec<Finding>,
    /// How many there were of each severity, kept or not.
    counts: BTreeMap<Severity, usize>,
}

impl Findings {
    /// Most findings of one severity that are kept: a hostile file could cause any number, and warnings must not hide errors.
    const MOST: usize = 500;

    /// Adds a finding.
    pub fn add(&mut self, severity: Severity, place: &str, what: impl Into<String>, why: &str, remedy: impl Into<String>) {
        let count = self.counts.entry(severity).or_default();
        *count += 1;
        if *count <= Self::MOST {
            let (what, remedy) = (what.into(), remedy.into());
            self.list.push(Finding { severity, place: place.to_owned(), what, why: why.to_owned(), remedy });
        }
    }

    /// Adds an error.
    pub fn error(&mut self, place: &str, what: impl Into<String>, why: &str, remedy: impl Into<String>) {
        self.add(Severity::Error, place, what, why, remedy);
    }

    /// Adds a warning.
    pub fn warning(&mut self, place: &str, what: impl Into<String>, why: &str, remedy: impl Into<String>) {
        self.add(Severity::Warning, place, what, why, remedy);
    }

    /// All that were kept: the first 500 of each severity.
    #[must_use]
    pub fn all(&self) -> &[Finding] {
        &self.list
    }

    /// How many there were of one severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.counts.get(&severity).copied().unwrap_or(0)
    }

    /// How many were not kept.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.counts.values().sum::<usize>() - self.list.len()
    }
}
