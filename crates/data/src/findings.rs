//! Problems found in data, all reported at once.

use std::fmt;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, folder or line.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
    /// How to fix it.
    pub remedy: String,
}

/// All problems of a source, found before training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings(pub Vec<Finding>);

/// The maximum number of problems listed; further ones are only counted.
const LISTED: usize = 1000;

impl Findings {
    /// Adds a problem.
    pub fn add(&mut self, place: impl Into<String>, problem: impl Into<String>, remedy: &str) {
        let (place, problem) = (place.into(), problem.into());
        self.0.push(Finding { place, problem, remedy: remedy.to_owned() });
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.len();
        let problems = if n == 1 { "problem" } else { "problems" };
        write!(f, "{n} {problems} in the data:")?;
        for Finding { place, problem, remedy } in self.0.iter().take(LISTED) {
            write!(f, "\n  {place}: {problem}: {remedy}")?;
        }
        if n > LISTED {
            write!(f, "\n  and {} more", n - LISTED)?;
        }
        Ok(())
    }
}

/// The maximum number of names in a message.
const SHOWN: usize = 10;

/// Lists names for a message.
pub(crate) fn shown(names: &[String]) -> String {
    let some: Vec<String> = names.iter().take(SHOWN).map(|it| format!("`{it}`")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => some.join(", "),
        n => format!("{} and {n} more", some.join(", ")),
    }
}
