//! All trackers of a run as one that never fails.

use std::fs::File;

use crate::{About, End, Histogram, Png, TrackConfig, TrackError, Tracker};

/// All trackers of a run. A failing tracker is reported once, and the run continues.
pub struct Trackers<'a> {
    all: Vec<Tracked>,
    note: &'a dyn Fn(&str),
}

struct Tracked {
    kind: &'static str,
    tracker: Box<dyn Tracker>,
    has_failed: bool,
}

impl<'a> Trackers<'a> {
    /// Opens all trackers; one that cannot be opened is reported and left out.
    ///
    /// - `note`: called with a message for each tracker that fails.
    pub fn open(
        configs: &[TrackConfig],
        about: &About<'_>,
        note: &'a dyn Fn(&str),
    ) -> Trackers<'a> {
        let open = |it: &TrackConfig| match it.get().open(about) {
            Ok(tracker) => Some(Tracked { kind: it.kind(), tracker, has_failed: false }),
            Err(err) => {
                note(&failure(it.kind(), &err));
                None
            }
        };
        Trackers { all: configs.iter().filter_map(open).collect(), note }
    }

    /// Returns the files to sync to disk before a checkpoint is written.
    pub fn tables(&self) -> Vec<File> {
        self.all.iter().filter_map(|it| it.tracker.table()).collect()
    }

    /// Returns whether any tracker logs images and histograms.
    pub fn logs_images(&self) -> bool {
        self.all.iter().any(|it| it.tracker.logs_images())
    }

    /// Logs the scalars of a step, by name.
    pub fn scalars(&mut self, step: usize, values: &[(&str, f64)]) {
        self.each(|it| it.scalars(step, values));
    }

    /// Logs an image of a step, before the step's scalars.
    pub fn image(&mut self, step: usize, name: &str, image: &Png) {
        self.each(|it| it.image(step, name, image));
    }

    /// Logs a histogram of a step, before the step's scalars.
    pub fn histogram(&mut self, step: usize, name: &str, histogram: &Histogram) {
        self.each(|it| it.histogram(step, name, histogram));
    }

    /// Ends the run.
    pub fn finish(&mut self, end: End) {
        self.each(|it| it.finish(end));
    }

    fn each(&mut self, mut f: impl FnMut(&mut dyn Tracker) -> Result<(), TrackError>) {
        for it in &mut self.all {
            if let Err(err) = f(&mut *it.tracker)
                && !std::mem::replace(&mut it.has_failed, true)
            {
                (self.note)(&failure(it.kind, &err));
            }
        }
    }
}

fn failure(kind: &str, err: &TrackError) -> String {
    format!("note: tracker `{kind}` failed, the run continues without it: {err}")
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, fs, path::Path};

    use super::{Tracked, Trackers};
    use crate::{About, End, TrackConfig, TrackError, Tracker};

    const LOCAL: [&str; 4] = ["csv", "jsonl", "tensorboard", "wandb"];

    /// Logs the steps after `from` up to `to` with some trackers; returns the notes.
    fn track(dir: &Path, kinds: &[&str], from: usize, to: usize) -> Vec<String> {
        let configs = TrackConfig::zoo().into_iter().filter(|(kind, _)| kinds.contains(kind));
        let configs: Vec<_> = configs.map(|(_, it)| it).collect();
        let columns = ["loss", "val \"acc\""].map(str::to_owned);
        let settings = toml::Table::from_iter([("seed".to_owned(), 7.into())]);
        let (group, name) = (Some("folds"), "folds/fold-0");
        let about = About {
            dir,
            name,
            group,
            step: from,
            columns: &columns,
            settings: &settings,
            tags: &[],
        };
        let notes = RefCell::new(Vec::new());
        let note = |it: &str| notes.borrow_mut().push(it.to_owned());
        let mut trackers = Trackers::open(&configs, &about, &note);
        for step in from + 1..=to {
            let values = [("loss", 1.0 / step as f64), ("val \"acc\"", f64::NAN)];
            trackers.scalars(step, &values[..1 + usize::from(step % 2 == 0)]);
        }
        trackers.finish(End::Stopped);
        drop(trackers);
        notes.into_inner()
    }

    #[test]
    fn a_resumed_run_leaves_the_tables_of_an_uninterrupted_one() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, resumed) = (dir.path().join("whole"), dir.path().join("resumed"));
        for dir in [&whole, &resumed] {
            fs::create_dir(dir).unwrap();
        }
        assert_eq!(track(&whole, &LOCAL, 0, 6), [""; 0]);
        track(&resumed, &LOCAL, 0, 5);
        track(&resumed, &LOCAL, 3, 6);
        let read = |dir: &Path, name: &str| fs::read_to_string(dir.join(name)).unwrap();
        for name in ["metrics.csv", "metrics.jsonl"] {
            assert_eq!(read(&resumed, name), read(&whole, name));
        }
        let csv = read(&whole, "metrics.csv");
        assert!(csv.starts_with("step,loss,\"val \"\"acc\"\"\"\n1,1,\n2,0.5,NaN\n"), "{csv}");
        let first = read(&whole, "metrics.jsonl");
        let lines: Vec<&str> = first.lines().take(2).collect();
        let want = [r#"{"step":1,"loss":1.0}"#, r#"{"step":2,"loss":0.5,"val \"acc\"":null}"#];
        assert_eq!(lines, want);
        // TensorBoard has one file more, wandb stays in its folder.
        let n = |dir: &Path, name: &str| fs::read_dir(dir.join(name)).unwrap().count();
        assert_eq!((n(&whole, "tensorboard"), n(&resumed, "tensorboard")), (1, 2));
        assert_eq!((n(&whole, "wandb"), n(&resumed, "wandb")), (1, 1));
    }

    struct Fails;

    impl Tracker for Fails {
        fn scalars(&mut self, step: usize, _: &[(&str, f64)]) -> Result<(), TrackError> {
            Err(TrackError::Server { uri: "there".to_owned(), reason: format!("not {step}") })
        }
    }

    #[test]
    fn a_failing_tracker_is_reported_once() {
        let notes = RefCell::new(Vec::new());
        let note = |it: &str| notes.borrow_mut().push(it.to_owned());
        let failing = Tracked { kind: "mlflow", tracker: Box::new(Fails), has_failed: false };
        let mut trackers = Trackers { all: vec![failing], note: &note };
        (1..=3).for_each(|step| trackers.scalars(step, &[]));
        let want = "note: tracker `mlflow` failed, the run continues without it: there: not 1";
        assert_eq!(*notes.borrow(), [want]);
    }

    #[test]
    fn trackers_that_cannot_write_are_reported_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["metrics.csv", "metrics.jsonl"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("inside"), "").unwrap();
        }
        for name in ["tensorboard", "wandb"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let notes = track(dir.path(), &LOCAL, 0, 6);
        assert_eq!(notes.len(), LOCAL.len(), "{notes:?}");
        for (note, kind) in notes.iter().zip(LOCAL) {
            let want = format!("note: tracker `{kind}` failed, the run continues without it: ");
            assert!(note.starts_with(&want), "{note}");
        }
    }
}
