//! The progress of a run: progress bars on a terminal, plain lines elsewhere; and its events, with `--json`.

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
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::json;
use trainer::{Activity, Callback, EpochReport, MainScores, Profile, SampleImage, StepReport};

use crate::{
    drawing::{CORRECT, Cell, INCORRECT, INK, Sheet, thumbnail},
    epoch_table,
    json::emit,
    output::Verbosity,
    phrases::seconds,
    style::headed,
    wrap::columns,
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

/// What a progress bar shows; it is as wide as the terminal leaves room for.
struct Frame {
    /// In front of the bar.
    prefix: String,
    /// After the position.
    message: String,
    position: usize,
    /// The position that it begins at, which the ETA ignores.
    begin: usize,
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
                std::process::exit(i32::from(crate::exit::INTERRUPTED));
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

    /// Shows a frame of the progress bar `what`, which replaces any other.
    fn show(&self, state: &mut State, what: &str, total: usize, template: &str, frame: Frame) {
        let Frame { prefix, message, position, begin } = frame;
        if state.bar.as_ref().is_none_or(|it| it.0 != what) {
            if let Some((_, bar)) = state.bar.take() {
                bar.finish_and_clear();
            }
            // Hidden until it is complete.
            let hidden = ProgressDrawTarget::hidden();
            let bar = ProgressBar::with_draw_target(Some(total as u64), hidden)
                .with_style(style(template))
                .with_prefix(prefix.clone())
                .with_message(message.clone())
                .with_position(begin as u64);
            bar.tick();
            bar.reset_eta();
            bar.set_draw_target(ProgressDrawTarget::stderr());
            state.bar = Some((what.to_owned(), bar));
        }
        if let Some((_, bar)) = &state.bar {
            bar.set_prefix(prefix);
            bar.set_message(message);
            bar.set_position(position as u64);
        }
    }
}

/// Returns the style of a progress bar; its template may have the keys `rate`, and `eta` with a comma before it.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    let rate = |state: &ProgressState, text: &mut dyn fmt::Write| {
        write!(text, "{:.0}/s", state.per_sec()).expect("writing to a string cannot fail");
    };
    // Unknown at first.
    let eta = |state: &ProgressState, text: &mut dyn fmt::Write| match state.eta() {
        Duration::ZERO => {}
        it => {
            write!(text, ", ETA {:#}", HumanDuration(it)).expect("writing to a string cannot fail")
        }
    };
    style.with_key("rate", rate).with_key("eta", eta).progress_chars("━╸ ")
}

impl Callback for Terminal {
    fn progress(&self, what: &str, done: usize, total: usize) {
        let mut state = self.lock();
        if self.is_terminal {
            let template = "{prefix:>20} {wide_bar} {pos}/{len}, {rate}{eta}";
            let (prefix, message) = (what.to_owned(), String::new());
            let frame = Frame { prefix, message, position: done, begin: 0 };
            self.show(&mut state, what, total, template, frame);
            if done == total
                && let Some((_, bar)) = state.bar.take()
            {
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
        let StepReport { step, total, epoch, loss, lr, n_images, data_wait } = *report;
        emit(
            "step",
            json!({
                "step": step,
                "total": total,
                "epoch": epoch,
                "loss": loss,
                "lr": lr,
                "images": n_images,
            }),
        );
        let mut state = self.lock();
        let rate = &mut state.rate;
        let Some(since) = rate.since else {
            (rate.since, rate.n_images) = (Some(Instant::now()), 0);
            return;
        };
        rate.n_images += n_images;
        if since.elapsed() > Duration::from_secs(2) {
            rate.per_second = rate.n_images as f64 / since.elapsed().as_secs_f64();
            (rate.since, rate.n_images) = (Some(Instant::now()), 0);
        }
        let images = match rate.per_second {
            0.0 => String::new(),
            it => format!(", {it:.0} img/s"),
        };
        let message = format!("loss {loss:.4}{images}, data wait {:.0} %", 100.0 * data_wait);
        if self.is_terminal {
            let template = "{prefix} {wide_bar} {pos}/{len}{eta}, {msg}";
            let prefix = format!("epoch {epoch:.1}");
            let frame = Frame { prefix, message, position: step, begin: step.saturating_sub(1) };
            self.show(&mut state, "training", total, template, frame);
        } else if state.last_line.is_none_or(|it| it.elapsed() > PLAIN_EVERY) {
            if state.last_line.is_some() {
                status!("epoch {epoch:.1}, step {step}/{total}: {message}, lr {lr:.2e}");
            }
            state.last_line = Some(Instant::now());
        }
    }

    fn epoch(&self, report: &EpochReport) {
        let scopes = report.scores.iter().map(|(name, it)| {
            let MainScores { macro_f1, accuracy, log_loss } = it;
            let scores =
                json!({ "macro_f1": macro_f1, "accuracy": accuracy, "log_loss": log_loss });
            (name.clone(), scores)
        });
        emit(
            "evaluation",
            json!({
                "step": report.step,
                "epoch": report.epoch,
                "train_loss": report.train_loss,
                "metric": report.metric,
                "score": report.score,
                "best": report.is_best,
                "trained_on_valid": report.trained_on_valid,
                "scopes": scopes.collect::<serde_json::Map<_, _>>(),
                "images_per_second": report.images_per_second,
                "data_wait_share": report.data_wait,
                "train_seconds": report.train_seconds,
                "eval_seconds": report.eval_seconds,
            }),
        );
        // The evaluation does not count as training time: the throughput is measured anew.
        self.lock().rate.since = None;
        let row = epoch_table::row(report);
        match self.has_header.swap(true, Ordering::Relaxed) {
            true => self.status(&row),
            false => self.status(&format!("{}\n{row}", epoch_table::header(report))),
        }
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
            [
                name.to_owned(),
                seconds(spent),
                format!("{share:.1} %"),
                format!("{of_step:.2} ms"),
                what.to_owned(),
            ]
        };
        let mut rows = vec![["activity", "time", "share", "per step", ""].map(str::to_owned)];
        let mut named = 0.0;
        for activity in Activity::ALL {
            let (name, what) = activity.describe();
            let spent = profile.spent(activity).as_secs_f64();
            named += spent;
            rows.push(row(name, what, spent));
        }
        rows.push(row("", "everything else", (total - named).max(0.0)));
        let load = profile.loading().as_secs_f64();
        rows.push(row(
            "load",
            "decoding and augmenting images, concurrently on loader threads",
            load,
        ));
        let table = headed(&columns(&rows, &[true, true, true, true, false]));
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
