//! What is wrong with data, all of it at once.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, folder or line.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// Everything that is wrong with a source; nothing has been trained on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings(pub Vec<Finding>);

/// More than this many are counted, not listed.
const SHOWN: usize = 1000;

impl Findings {
    /// Notes one more.
    pub fn add(&mut self, place: impl Into<String>, problem: impl Into<String>, remedy: &str) {
        let (place, problem) = (place.into(), problem.into());
        self.0.push(Finding { place, problem, remedy: remedy.to_owned() });
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.len();
        let things = if n == 1 { "thing is" } else { "things are" };
        write!(f, "{n} {things} wrong with the data:")?;
        for Finding { place, problem, remedy } in self.0.iter().take(SHOWN) {
            write!(f, "\n  {place}: {problem}: {remedy}")?;
        }
        if n > SHOWN {
            write!(f, "\n  and {} more", n - SHOWN)?;
        }
        Ok(())
    }
}
