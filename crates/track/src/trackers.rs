//! All trackers of a run as one that does not fail.

use std::fs::File;

use crate::{About, End, Histogram, Png, TrackConfig, TrackError, Tracker};

/// All trackers of a run. Each that fails is told of once, and the run goes on.
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
    /// Begins with all of them; one that cannot begin is left out.
    ///
    /// - `note`: is told what fails.
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

    /// What is to be on disk before a checkpoint is.
    pub fn tables(&self) -> Vec<File> {
        self.all.iter().filter_map(|it| it.tracker.table()).collect()
    }

    /// Whether one of them takes images and histograms.
    pub fn see(&self) -> bool {
        self.all.iter().any(|it| it.tracker.sees())
    }

    /// Takes the numbers of a step, by name.
    pub fn scalars(&mut self, step: usize, values: &[(&str, f64)]) {
        self.each(|it| it.scalars(step, values));
    }

    /// Takes an image of a step, before the step's numbers.
    pub fn image(&mut self, step: usize, name: &str, image: &Png) {
        self.each(|it| it.image(step, name, image));
    }

    /// Takes a distribution of a step, before the step's numbers.
    pub fn histogram(&mut self, step: usize, name: &str, histogram: &Histogram) {
        self.each(|it| it.histogram(step, name, histogram));
    }

    /// The run has ended.
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
    format!("note: `track` by `{kind}` fails, and the run goes on without: {err}")
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, fs, path::Path};

    use super::{Tracked, Trackers};
    use crate::{About, End, TrackConfig, TrackError, Tracker};

    const LOCAL: [&str; 4] = ["csv", "jsonl", "tensorboard", "wandb"];

    /// A run of the steps after `from` up to `to` with some trackers, and what was noted.
    fn track(dir: &Path, kinds: &[&str], from: usize, to: usize) -> Vec<String> {
        let configs = TrackConfig::zoo().into_iter().filter(|(kind, _)| kinds.contains(kind));
        let configs: Vec<_> = configs.map(|(_, it)| it).collect();
        let columns = ["loss", "val \"acc\""].map(str::to_owned);
        let settings = toml::Table::from_iter([("seed".to_owned(), 7.into())]);
        let (group, name) = (Some("folds"), "folds/fold-0");
        let about = About { dir, name, group, step: from, columns: &columns, settings: &settings };
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
    fn a_run_that_is_taken_up_leaves_the_tables_of_one_that_was_not() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, taken_up) = (dir.path().join("whole"), dir.path().join("taken-up"));
        for dir in [&whole, &taken_up] {
            fs::create_dir(dir).unwrap();
        }
        assert_eq!(track(&whole, &LOCAL, 0, 6), [""; 0]);
        track(&taken_up, &LOCAL, 0, 5);
        track(&taken_up, &LOCAL, 3, 6);
        let read = |dir: &Path, name: &str| fs::read_to_string(dir.join(name)).unwrap();
        for name in ["metrics.csv", "metrics.jsonl"] {
            assert_eq!(read(&taken_up, name), read(&whole, name));
        }
        let csv = read(&whole, "metrics.csv");
        assert!(csv.starts_with("step,loss,\"val \"\"acc\"\"\"\n1,1,\n2,0.5,NaN\n"), "{csv}");
        let first = read(&whole, "metrics.jsonl");
        let lines: Vec<&str> = first.lines().take(2).collect();
        let want = [r#"{"step":1,"loss":1.0}"#, r#"{"step":2,"loss":0.5,"val \"acc\"":null}"#];
        assert_eq!(lines, want);
        // TensorBoard has a file more, wandb stays in its folder.
        let n = |dir: &Path, name: &str| fs::read_dir(dir.join(name)).unwrap().count();
        assert_eq!((n(&whole, "tensorboard"), n(&taken_up, "tensorboard")), (1, 2));
        assert_eq!((n(&whole, "wandb"), n(&taken_up, "wandb")), (1, 1));
    }

    struct Fails;

    impl Tracker for Fails {
        fn scalars(&mut self, step: usize, _: &[(&str, f64)]) -> Result<(), TrackError> {
            Err(TrackError::Server { uri: "there".to_owned(), reason: format!("not {step}") })
        }
    }

    #[test]
    fn a_tracker_that_fails_is_told_of_once() {
        let notes = RefCell::new(Vec::new());
        let note = |it: &str| notes.borrow_mut().push(it.to_owned());
        let failing = Tracked { kind: "mlflow", tracker: Box::new(Fails), has_failed: false };
        let mut trackers = Trackers { all: vec![failing], note: &note };
        (1..=3).for_each(|step| trackers.scalars(step, &[]));
        let want = "note: `track` by `mlflow` fails, and the run goes on without: there: not 1";
        assert_eq!(*notes.borrow(), [want]);
    }

    #[test]
    fn trackers_without_a_place_to_write_say_so_once() {
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
            let want = format!("note: `track` by `{kind}` fails, and the run goes on without: ");
            assert!(note.starts_with(&want), "{note}");
        }
    }
}
