//! Trains an experiment, prints the score of each evaluation, and stops when it is good enough.
//!
//! ```sh
//! cargo run --release -p maskfit --features examples --example train -- runs/library
//! ```
//!
//! The same command resumes a run that was stopped.

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::{env, error::Error, path::Path, sync::Mutex};

use maskfit::{Callback, Ended, EpochReport, experiment};

/// A tiny network on a few synthetic people, which need no files.
const CONFIG: &str = r#"
    [data]
    source = { kind = "synthetic_people", n_people = 8, n_test = 2, size = [40, 32] }
    split = { kind = "profile", ratio = 0.3 }

    [augment]
    train = [{ kind = "random_crop", size = [32, 24] }]
    eval = [{ kind = "center_crop", size = [32, 24] }]

    [model]
    backbone = { kind = "efficientnet", variant = "lite0", width = 0.25, depth = 0.3 }

    [train]
    total = "2 epochs"
    batch_size = 8
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::args_os().nth(1).ok_or("usage: train FOLDER")?;
    match train(Path::new(&dir), 0.9)?.1 {
        Ended::Finished(outcome) => println!("finished after {} steps", outcome.steps),
        Ended::Stopped { step } => println!("good enough after {step} steps"),
    }
    Ok(())
}

/// Prints and keeps the score of each evaluation.
struct Watch {
    /// The score at which to stop.
    enough: f64,
    /// The steps done at each evaluation, and its macro F1.
    scores: Mutex<Vec<(usize, f64)>>,
}

impl Callback for Watch {
    fn epoch(&self, report: &EpochReport) {
        // The first scope is that of the joint classes.
        let macro_f1 = report.scores[0].1.macro_f1;
        println!(
            "epoch {:.1}: loss {:.4}, macro F1 {macro_f1:.4}",
            report.epoch, report.train_loss
        );
        self.scores.lock().expect("nothing panics").push((report.step, macro_f1));
    }

    fn should_stop(&self) -> bool {
        let scores = self.scores.lock().expect("nothing panics");
        scores.last().is_some_and(|it| it.1 >= self.enough)
    }
}

/// The steps done at each evaluation, with its score.
type Scores = Vec<(usize, f64)>;

/// Trains in a folder until a score is reached. Returns the steps done at each evaluation with its score, and how the run
/// ended.
pub(crate) fn train(dir: &Path, enough: f64) -> Result<(Scores, Ended), Box<dyn Error>> {
    let watch = Watch { enough, scores: Mutex::default() };
    let ended = maskfit::train(&experiment("train.rs", CONFIG)?, dir, &watch)?;
    Ok((watch.scores.into_inner()?, ended))
}
