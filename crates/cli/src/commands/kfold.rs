//! `maskfit kfold`, and its steps `plan`, `run` and `join`.

pub(super) mod places;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail};
use base::{names::listed, task::Scope};
use candle::Device;
use data::{Manifest, SplitConfig};
use serde_json::json;
use trainer::{
    Experiment, Run, RunError, check_device,
    kfold::{Kfold, KfoldOutcome, check, is_kfold, with_folds},
};

use self::places::{Settings, keep_weights, located, portable};
use super::{
    report::at_end,
    train::{announce, conclude, finished, with_resume_hint},
};
use crate::{
    End,
    args::{ExperimentArgs, KfoldArgs, KfoldCommand},
    continued::{self, Origin, Scored},
    json::emit,
    phrases::argument,
    preparation::{check_settings, manifest, use_threads},
    pretrained, runs,
    style::{HEADING, headed, paint},
    tables::{macro_f1, report},
    terminal::Terminal,
    wrap::{columns, wrapped, wrapped_message},
};

/// The maximum number of folds in the table of a plan.
const SHOWN: usize = 30;

pub(crate) fn kfold(args: &KfoldArgs) -> anyhow::Result<End> {
    let begun = Instant::now();
    let terminal = Terminal::new();
    let seconds = args.claim.claim_timeout;
    match &args.command {
        None => {
            let opened = match &args.resume {
                None => Opened::new(&args.experiment, args.folds, "kfold --resume", &terminal)?,
                Some(named) => Opened::of(named, &args.device.sets(), true, &terminal)?,
            };
            let kfold = opened.kfold()?;
            if args.resume.is_none() {
                show(&kfold, &opened, &terminal);
            }
            let all: Vec<usize> = (0..kfold.n_folds()).collect();
            let again = format!("maskfit kfold --resume {}", argument(opened.run.dir()));
            if let End::Stopped = opened.train(&kfold, &all, seconds, &again, &terminal)? {
                return Ok(End::Stopped);
            }
            opened.join(&kfold, begun, &terminal)?;
        }
        Some(KfoldCommand::Plan { experiment, folds, .. }) => {
            let opened = Opened::new(experiment, *folds, "kfold run", &terminal)?;
            let kfold = opened.kfold()?;
            show(&kfold, &opened, &terminal);
            say!("cross-validation: {}", opened.run.dir().display());
            status!("next: maskfit kfold run {}", argument(opened.run.dir()));
        }
        Some(KfoldCommand::Run { run, folds, set, device, claim, .. }) => {
            let set = [set.as_slice(), &device.sets()].concat();
            let opened = Opened::of(run, &set, true, &terminal)?;
            let kfold = opened.kfold()?;
            let n = kfold.n_folds();
            if let Some(absent) = folds.iter().find(|it| **it >= n) {
                bail!("--folds: there is no fold {absent}: folds are numbered from 0 to {}", n - 1);
            }
            let mut which = if folds.is_empty() { (0..n).collect() } else { folds.clone() };
            which.sort_unstable();
            which.dedup();
            let again = format!("maskfit kfold run {}", argument(opened.run.dir()));
            let ended = opened.train(&kfold, &which, claim.claim_timeout, &again, &terminal)?;
            if let End::Stopped = ended {
                return Ok(End::Stopped);
            }
            let done = trainer::kfold::finished_folds(opened.run.dir()).len();
            let dir = opened.run.dir().display().to_string();
            say!("{done} of {n} folds are finished: {dir}");
            emit("trained", json!({ "run": dir, "finished": done, "folds": n }));
            if done == n && !opened.run.is_finished() {
                status!("next: maskfit kfold join {}", argument(opened.run.dir()));
            }
        }
        Some(KfoldCommand::Join { run, set, .. }) => {
            let opened = Opened::of(run, set, false, &terminal)?;
            opened.join(&opened.kfold()?, begun, &terminal)?;
        }
    }
    Ok(End::Done)
}

/// A cross-validation that this process works on.
struct Opened {
    settings: Settings,
    manifest: Manifest,
    run: Run,
}

impl Opened {
    /// Creates the folder of a new one.
    ///
    /// - `again`: the command that continues one that exists.
    fn new(
        args: &ExperimentArgs,
        n_folds: Option<usize>,
        again: &str,
        terminal: &Terminal,
    ) -> anyhow::Result<Opened> {
        let (experiment, name) = continued::experiment(args, terminal)?;
        let mut experiment = with_folds(&experiment, n_folds);
        prepare(&experiment)?;
        check_device(experiment.device)?;
        runs::check_is_new(&experiment).map_err(|err| with_way_on(err, again))?;
        pretrained::settle(&mut experiment, args, terminal)?;
        let manifest = manifest(&experiment, terminal)?;
        // Errors are reported here, before the run has a folder.
        let plan = trainer::Plan::new(&experiment, &manifest, 0, &Device::Cpu, terminal)?;
        plan.model()?;
        trainer::check_memory(&plan, terminal)?;
        let origin = Origin::of(&plan, &Scored::by_folds_of(&plan), terminal)?;
        let mut settings = portable(&experiment)?;
        let config = settings.stored.to_toml();
        let run = runs::begin_with(&experiment, &config, &format!("{name}-kfold"));
        let run = run.map_err(|err| with_way_on(err, again))?;
        keep_weights(&mut settings, &run)?;
        origin.map_or(Ok(()), |it| it.write(&run))?;
        let dir = run.dir().to_owned();
        drop(run);
        Ok(Opened { settings, manifest, run: Run::open_together(&dir)? })
    }

    /// Opens one that has a folder.
    ///
    /// - `trains`: whether folds will be trained, which takes the device.
    fn of(
        named: &Path,
        set: &[String],
        trains: bool,
        terminal: &Terminal,
    ) -> anyhow::Result<Opened> {
        let dir = runs::find_with(named, None, set)?;
        if !dir.join("config.toml").is_file() {
            return Err(RunError::Absent(dir).into());
        }
        let is_run = dir.join("checkpoints").is_dir() || dir.join("report.toml").is_file();
        if is_run && !is_kfold(&dir) {
            bail!(
                "{}: this is a single run: resume it with `maskfit train --resume {}`",
                dir.display(),
                argument(&dir)
            );
        }
        let run = Run::open_together(&dir)?;
        let settings = located(&dir, set)?;
        prepare(&settings.own)?;
        if trains {
            check_device(settings.own.device)?;
        }
        let manifest = manifest(&settings.own, terminal)?;
        Ok(Opened { settings, manifest, run })
    }

    fn kfold(&self) -> anyhow::Result<Kfold<'_>> {
        let Settings { stored, own } = &self.settings;
        Ok(Kfold::open(stored, &self.manifest, &self.run)?.in_process(own))
    }

    /// Trains some folds.
    ///
    /// - `again`: the command that continues.
    fn train(
        &self,
        kfold: &Kfold<'_>,
        which: &[usize],
        seconds: f64,
        again: &str,
        terminal: &Terminal,
    ) -> anyhow::Result<End> {
        terminal.heed_interrupts();
        let n_repeats = kfold.folds().n_repeats();
        let begin = |fold: usize, n_folds: usize, plan: &trainer::Plan, _: &Run| {
            let repeat = match n_repeats {
                1 => String::new(),
                _ => format!(", repeat {}", fold / (n_folds / n_repeats)),
            };
            emit("fold", json!({ "fold": fold, "folds": n_folds }));
            let title = format!("fold {fold} ({} of {n_folds}){repeat}", fold + 1);
            terminal.status(&format!("\n{}", paint(HEADING, title)));
            // The folder that a fold is trained in is gone at its end.
            announce(plan, self.run.dir(), terminal);
        };
        let timeout = Duration::from_secs_f64(seconds);
        let ended = kfold.train(which, timeout, &Device::Cpu, terminal, begin);
        terminal.clear();
        match ended.map_err(|err| with_resume_hint(err, true, again))? {
            None => Ok(End::Done),
            Some(fold) => {
                emit("stopped", json!({ "fold": fold, "resume": again }));
                complain!("stopped in fold {fold}; resume with `{again}`");
                Ok(End::Stopped)
            }
        }
    }

    /// Joins the folds and prints their scores.
    fn join(&self, kfold: &Kfold<'_>, begun: Instant, terminal: &Terminal) -> anyhow::Result<()> {
        let dir = self.run.dir();
        let KfoldOutcome { folds, mean, std, repeats, joined, test } = kfold.join()?;
        say!("{}", report("\nout-of-fold predictions", &joined, &dir.join("oof")));
        for (fold, score) in folds.iter().enumerate() {
            say!("fold {fold}: macro F1 {score:.4}");
        }
        say!("macro F1 over folds: mean {mean:.4}, standard deviation {std:.4}");
        if repeats.len() > 1 {
            for (repeat, score) in repeats.iter().enumerate() {
                say!("out-of-fold, repeat {repeat}: macro F1 {score:.4}");
            }
            let text =
                format!("out-of-fold, mean of {} repeats: {}", repeats.len(), macro_f1(&joined));
            say!("{}", wrapped_message(&text));
        } else {
            say!("out-of-fold, all folds: {}", macro_f1(&joined));
        }
        if let Some(test) = &test {
            let title = "\ntest set, by the mean of all folds' probabilities";
            say!("{}", report(title, test, &dir.join("test")));
            say!("test set, all folds: {}", macro_f1(test));
        }
        at_end(dir, &self.settings.own, &self.manifest, terminal);
        say!("out-of-fold probabilities: {}", dir.join("oof.csv").display());
        finished(dir, None, begun)?;
        conclude(dir, begun);
        Ok(())
    }
}

/// Adds to the error that a run exists what to do about it.
///
/// - `again`: the command that continues a cross-validation.
fn with_way_on(err: RunError, again: &str) -> anyhow::Error {
    let RunError::Exists(dir) = err else { return err.into() };
    let shown = dir.display();
    match is_kfold(&dir) && !dir.join("report.toml").is_file() {
        true => anyhow!(
            "{shown}: a cross-validation of this name exists: continue it with `maskfit {again} {}`, or choose \
             another name with `--set run.name=NAME`",
            argument(&dir)
        ),
        false => anyhow!(
            "{shown}: a run of this name exists: choose another name with `--set run.name=NAME`"
        ),
    }
}

/// Checks the settings, and starts the threads.
fn prepare(experiment: &Experiment) -> anyhow::Result<()> {
    check_settings(experiment)?;
    check(experiment)?;
    use_threads(experiment.threads)
}

/// Prints what each fold holds out, how even that is, and the fingerprint of the data.
fn show(kfold: &Kfold<'_>, opened: &Opened, terminal: &Terminal) {
    let balance = kfold.balance();
    let task = &opened.manifest.task;
    let names = task.class_names(Scope::Joint);
    for (fold, it) in balance.folds.iter().enumerate() {
        emit(
            "partition",
            json!({
                "fold": fold,
                "groups": it.n_groups,
                "images": it.n_images,
                "largest_deviation": it.deviation,
                "of_class": names[it.class],
            }),
        );
    }
    let dir = opened.run.dir().display().to_string();
    let n_folds = balance.folds.len();
    emit("planned", json!({ "run": dir, "folds": n_folds, "data_sha256": kfold.fingerprint() }));
    let header = ["fold", task.unit.many(), "images", "largest deviation", "of class"];
    let mut rows = vec![header.map(str::to_owned)];
    for (fold, it) in balance.folds.iter().enumerate().take(SHOWN) {
        let deviation = format!("{:.1} images", it.deviation);
        let [fold, n_groups, n_images] = [fold, it.n_groups, it.n_images].map(|it| it.to_string());
        rows.push([fold, n_groups, n_images, deviation, names[it.class].clone()]);
    }
    say!("{}", headed(&columns(&rows, &[true, true, true, true, false])));
    if let Some(n_more @ 1..) = balance.folds.len().checked_sub(SHOWN) {
        say!("and {n_more} more folds");
    }
    let worst = balance.worst();
    let it = &balance.folds[worst];
    let text = format!(
        "the images of a class deviate from equal shares by at most {:.1} (`{}` in fold {worst})",
        it.deviation, names[it.class]
    );
    say!("{}", wrapped("balance: ", &text));
    say!("SHA-256 of data.csv:\n  {}", kfold.fingerprint());
    let is_stratified =
        matches!(opened.settings.stored.data.split, SplitConfig::StratifiedKfold(_));
    if is_stratified && !balance.rare.is_empty() {
        let rare = balance.rare.iter();
        let rare = rare.map(|&(class, n)| format!("`{}` ({})", names[class], task.unit.count(n)));
        let classes = if balance.rare.len() == 1 { "class is" } else { "classes are" };
        let text = format!(
            "{} {classes} in fewer {} than there are folds, so that some folds hold out none of them: {}",
            balance.rare.len(),
            task.unit.many(),
            listed(rare)
        );
        terminal.status(&wrapped("note: ", &text));
    }
}
