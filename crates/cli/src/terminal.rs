//! The progress of a run: progress bars on a terminal, plain lines elsewhere.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use augment::Image;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use trainer::{Activity, Callback, EpochReport, Profile, SampleImage, StepReport};

use crate::{
    drawing::{CORRECT, Cell, INCORRECT, INK, Sheet, thumbnail},
    output::Verbosity,
    style::{BEST, HEADING, headed, paint},
};

/// The callback that prints progress.
pub(crate) struct Terminal {
    state: Mutex<State>,
    interrupts: Arc<AtomicUsize>,
    is_terminal: bool,
    /// Whether the header of the table of epochs was printed.
    has_header: AtomicBool,
    /// Whether to print the time profile.
    profiles: AtomicBool,
}

#[derive(Default)]
struct State {
    bar: Option<(String, ProgressBar)>,
    /// For plain lines: when the last one was printed.
    last_line: Option<Instant>,
    /// Images since the throughput was last measured.
    rate: Rate,
}

/// Throughput in images per second, over the last few seconds.
#[derive(Default)]
struct Rate {
    since: Option<Instant>,
    n_images: usize,
    per_second: f64,
}

/// Minimum time between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(15);

impl Terminal {
    pub(crate) fn new() -> Terminal {
        Terminal {
            state: Mutex::default(),
            interrupts: Arc::default(),
            is_terminal: io::stderr().is_terminal() && Verbosity::Normal.is_on(),
            has_header: AtomicBool::new(false),
            profiles: AtomicBool::new(false),
        }
    }

    /// Sets whether to print the time profile at the end of a run.
    pub(crate) fn profiles(&self, yes: bool) {
        self.profiles.store(yes, Ordering::Relaxed);
    }

    /// Installs the handler of Ctrl-C: the first stops the run after the current step, the second ends the
    /// program at once. Without it Ctrl-C ends the program.
    pub(crate) fn heed_interrupts(&self) {
        let count = Arc::clone(&self.interrupts);
        let handler = move || {
            if count.fetch_add(1, Ordering::Relaxed) > 0 {
                std::process::exit(i32::from(crate::INTERRUPTED));
            }
            complain!("\nstopping after this step; press Ctrl-C again to stop now");
        };
        // If the handler cannot be installed, Ctrl-C ends the program; the last checkpoint stays intact.
        drop(ctrlc::set_handler(handler));
    }

    /// Returns whether progress is shown as bars.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints a note or the status above the progress bar, if any.
    pub(crate) fn status(&self, line: &str) {
        self.print(|| status!("{line}"));
    }

    /// Calls `print` with the progress bar, if any, out of the way.
    fn print(&self, print: impl FnOnce()) {
        match &self.lock().bar {
            Some((_, bar)) if self.is_terminal => bar.suspend(print),
            _ => print(),
        }
    }

    /// Removes the progress bar.
    pub(crate) fn clear(&self) {
        if let Some((_, bar)) = self.lock().bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Starts a new table of epochs, for a new run.
    pub(crate) fn new_table(&self) {
        self.has_header.store(false, Ordering::Relaxed);
    }

    /// Returns the progress bar called `what`, which replaces any other.
    fn bar(&self, state: &mut State, what: &str, total: usize, template: &str) -> ProgressBar {
        match &state.bar {
            Some((name, bar)) if name == what => bar.clone(),
            _ => {
                if let Some((_, bar)) = state.bar.take() {
                    bar.finish_and_clear();
                }
                let bar = ProgressBar::new(total as u64);
                let style = ProgressStyle::with_template(template).expect("the template is valid");
                let rate = |state: &ProgressState, text: &mut dyn fmt::Write| {
                    write!(text, "{:.0}/s", state.per_sec())
                        .expect("writing to a string cannot fail");
                };
                bar.set_style(style.with_key("rate", rate).progress_chars("━╸ "));
                state.bar = Some((what.to_owned(), bar.clone()));
                bar
            }
        }
    }
}

impl Callback for Terminal {
    fn progress(&self, what: &str, done: usize, total: usize) {
        let mut state = self.lock();
        if self.is_terminal {
            let template = "{prefix:>20} {bar:30} {pos}/{len}  {rate}, ETA {eta}";
            let bar = self.bar(&mut state, what, total, template);
            bar.set_prefix(what.to_owned());
            bar.set_position(done as u64);
            if done == total {
                state.bar = None;
                bar.finish_and_clear();
            }
        } else if state.last_line.is_none_or(|it| it.elapsed() > PLAIN_EVERY) {
            // The first call only starts the clock, so that short tasks print nothing.
            if state.last_line.is_some() {
                status!("{what}: {done}/{total}");
            }
            state.last_line = Some(Instant::now());
        }
    }

    fn note(&self, text: &str) {
        self.status(text);
    }

    fn step(&self, report: &StepReport) {
        let mut state = self.lock();
        let rate = &mut state.rate;
        let Some(since) = rate.since else {
            (rate.since, rate.n_images) = (Some(Instant::now()), 0);
            return;
        };
        rate.n_images += report.n_images;
        if since.elapsed() > Duration::from_secs(2) {
            rate.per_second = rate.n_images as f64 / since.elapsed().as_secs_f64();
            (rate.since, rate.n_images) = (Some(Instant::now()), 0);
        }
        let images = match rate.per_second {
            0.0 => String::new(),
            it => format!("{it:.0} img/s, "),
        };
        let line = format!(
            "{images}data wait {:.0} %, loss {:.4}, lr {:.2e}",
            100.0 * report.data_wait,
            report.loss,
            report.lr
        );
        let StepReport { step, total, epoch, .. } = *report;
        if self.is_terminal {
            let template = "{prefix} {bar:24} {pos}/{len} steps, ETA {eta}, {msg}";
            let bar = self.bar(&mut state, "training", total, template);
            if bar.position() == 0 {
                // The ETA of a resumed run ignores the steps done before.
                bar.set_position(step as u64 - 1);
                bar.reset_eta();
            }
            bar.set_prefix(format!("epoch {epoch:.1}"));
            bar.set_position(step as u64);
            bar.set_message(line);
        } else if state.last_line.is_none_or(|it| it.elapsed() > PLAIN_EVERY) {
            if state.last_line.is_some() {
                status!("epoch {epoch:.1}, step {step}/{total}: {line}");
            }
            state.last_line = Some(Instant::now());
        }
    }

    fn epoch(&self, report: &EpochReport) {
        // The evaluation does not count as training time: the throughput is measured anew.
        self.lock().rate.since = None;
        let mut lines = Vec::new();
        if !self.has_header.swap(true, Ordering::Relaxed) {
            let factors = report
                .scores
                .iter()
                .skip(1)
                .map(|(name, _)| format!("  {:>9}", format!("{name} F1")));
            let header = format!(
                "{:>6}  {:>10}  {:>8}  {:>8}  {:>8}{}  {:>7}  {:>9}  {:>7}",
                "epoch",
                "train loss",
                "macro F1",
                "accuracy",
                "log loss",
                factors.collect::<String>(),
                "img/s",
                "data wait",
                "time"
            );
            lines.push(paint(HEADING, header));
        }
        let joint = report.scores[0].1;
        let factors = report.scores.iter().skip(1).map(|(_, it)| format!("  {:>9.4}", it.macro_f1));
        let row = format!(
            "{:>6}  {:>10.4}  {:>8.4}  {:>8.4}  {:>8.4}{}  {:>7.0}  {:>7.1} %  {:>7}{}",
            format!("{:.2}", report.epoch).trim_end_matches(".00"),
            report.train_loss,
            joint.macro_f1,
            joint.accuracy,
            joint.log_loss,
            factors.collect::<String>(),
            report.images_per_second,
            100.0 * report.data_wait,
            seconds(report.train_seconds + report.eval_seconds),
            match (report.trained_on_valid, report.is_best) {
                (true, _) => "  trained on",
                (false, true) => "  best",
                (false, false) => "",
            }
        );
        let is_best = report.is_best && !report.trained_on_valid;
        lines.push(if is_best { paint(BEST, row) } else { row });
        self.status(&lines.join("\n"));
    }

    fn profile(&self, profile: &Profile) {
        let is_asked_for = self.profiles.load(Ordering::Relaxed);
        if !is_asked_for && !Verbosity::Verbose.is_on() {
            return;
        }
        self.clear();
        let total = profile.elapsed().as_secs_f64();
        let n_steps = profile.n_steps().max(1) as f64;
        let row = |name: &str, what: &str, spent: f64| {
            let share = 100.0 * spent / total.max(1e-9);
            let of_step = 1000.0 * spent / n_steps;
            format!("{name:>9}  {:>9}  {share:>5.1} %  {of_step:>9.2} ms  {what}", seconds(spent))
        };
        let mut lines =
            vec![format!("{:>9}  {:>9}  {:>7}  {:>12}", "activity", "time", "share", "per step")];
        let mut named = 0.0;
        for activity in Activity::ALL {
            let (name, what) = activity.describe();
            let spent = profile.spent(activity).as_secs_f64();
            named += spent;
            lines.push(row(name, what, spent));
        }
        lines.push(row("", "everything else", (total - named).max(0.0)));
        let load = profile.loading().as_secs_f64();
        lines.push(row(
            "load",
            "decoding and augmenting images, concurrently on loader threads",
            load,
        ));
        let table = headed(&lines.join("\n"));
        match is_asked_for {
            true => self.print(|| say!("{table}")),
            false => self.status(&table),
        }
    }

    fn sheet(&self, title: &str, shown: &[SampleImage]) -> Option<Image> {
        let cell = |it: &SampleImage| {
            let colour = if it.predicted == it.label { CORRECT } else { INCORRECT };
            let lines = vec![(it.label.clone(), INK), (it.predicted.clone(), colour)];
            Cell { image: Some(thumbnail(&it.image)), lines }
        };
        let cells = shown.iter().map(cell).collect();
        let sheet = Sheet { title: title.to_owned(), cells, columns: Sheet::COLUMNS, together: 1 };
        Some(sheet.draw())
    }

    fn should_stop(&self) -> bool {
        self.interrupts.load(Ordering::Relaxed) > 0
    }
}

/// Formats a duration.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds as u64 {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{}m {:02}s", seconds as u64 / 60, seconds as u64 % 60),
        _ => format!("{}h {:02}m", seconds as u64 / 3600, seconds as u64 / 60 % 60),
    }
}
