//! How a run came to an end, and what it came to.

use metrics::Report;

use crate::report::section;

/// How a run came to an end.
pub enum Ended {
    /// It is finished.
    Finished(Box<Outcome>),
    /// It was asked to stop, and can be taken up again.
    Stopped {
        /// Steps done.
        step: usize,
    },
}

/// What a finished run came to.
pub struct Outcome {
    /// Steps done.
    pub steps: usize,
    /// Steps done when the best bundle was saved.
    pub best_step: usize,
    /// The best bundle on the people held out, who chose it.
    pub valid: Report,
    /// The best bundle on people that nothing was decided by, where the source has such.
    pub test: Option<Report>,
}

impl Outcome {
    /// The main scores as a file.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = format!("best_step = {}\nsteps = {}\n", self.best_step, self.steps);
        for (name, report) in [("valid", Some(&self.valid)), ("test", self.test.as_ref())] {
            text.extend(report.map(|it| section(name, it)));
        }
        text
    }
}
