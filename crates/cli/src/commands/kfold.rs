//! `maskfit kfold`

use std::{path::Path, time::Instant};

use anyhow::bail;
use candle::Device;
use trainer::{
    Run,
    kfold::{KfoldEnded, check, kfold as train_folds, with_folds},
};

use super::train::{announce, conclude, with_resume_hint};
use crate::{
    End,
    args::ExperimentArgs,
    phrases::argument,
    preparation::{check_settings, manifest, use_threads},
    pretrained, runs,
    style::{HEADING, paint},
    tables::{macro_f1, report},
    terminal::Terminal,
};

pub(crate) fn kfold(
    args: &ExperimentArgs,
    n_folds: Option<usize>,
    resume: Option<&Path>,
) -> anyhow::Result<End> {
    let begun = Instant::now();
    let terminal = Terminal::new();
    let (mut experiment, run) = match resume {
        None => {
            let (experiment, name) = runs::experiment(args)?;
            let experiment = with_folds(&experiment, n_folds);
            (experiment, Err(format!("{name}-kfold")))
        }
        Some(named) => {
            let dir = runs::find(named)?;
            let run = Run::open(&dir)?;
            if dir.join("checkpoints").is_dir() || run.is_finished() && !dir.join("fold-0").is_dir()
            {
                bail!(
                    "{}: this is a single run: resume it with `maskfit train --resume {}`",
                    dir.display(),
                    argument(&dir)
                );
            }
            (runs::experiment_of(run.dir(), &[])?, Ok(run))
        }
    };
    check_settings(&experiment)?;
    check(&experiment)?;
    use_threads(experiment.threads)?;
    if run.is_err() {
        pretrained::settle(&mut experiment, args, &terminal)?;
    }
    let manifest = manifest(&experiment, &terminal)?;
    let run = match run {
        Ok(it) => it,
        Err(name) => {
            // Errors are reported here, before the run has a folder.
            let device = &Device::Cpu;
            let plan = trainer::Plan::new(&experiment, &manifest, 0, device, &terminal)?;
            plan.model()?;
            trainer::check_memory(&plan, &terminal)?;
            runs::begin(&experiment, &name)?
        }
    };
    terminal.heed_interrupts();
    let begin = |fold_idx: usize, n_folds: usize, plan: &trainer::Plan, run: &Run| {
        terminal.status(&format!(
            "\n{}",
            paint(HEADING, format!("fold {} of {n_folds}", fold_idx + 1))
        ));
        announce(plan, run, &terminal);
    };
    let ended = train_folds(&experiment, &manifest, &run, &Device::Cpu, &terminal, begin);
    terminal.clear();
    let command = format!("maskfit kfold --resume {}", argument(run.dir()));
    let is_saved = run.dir().join("fold-0").is_dir();
    match ended.map_err(|err| with_resume_hint(err, is_saved, &command))? {
        KfoldEnded::Stopped { fold_idx } => {
            complain!("stopped in fold {}; resume with `{command}`", fold_idx + 1);
            Ok(End::Stopped)
        }
        KfoldEnded::Finished(outcome) => {
            say!(
                "{}",
                report("\nout-of-fold predictions", &outcome.joined, &run.dir().join("oof"))
            );
            for (idx, score) in outcome.folds.iter().enumerate() {
                say!("fold {}: macro F1 {score:.4}", idx + 1);
            }
            say!(
                "macro F1 over folds: mean {:.4}, standard deviation {:.4}",
                outcome.mean,
                outcome.std
            );
            say!("out-of-fold, all folds: {}", macro_f1(&outcome.joined));
            if let Some(test) = &outcome.test {
                let title = "\ntest set, by the mean of all folds' probabilities";
                say!("{}", report(title, test, &run.dir().join("test")));
                say!("test set, all folds: {}", macro_f1(test));
            }
            say!("out-of-fold probabilities: {}", run.dir().join("oof.csv").display());
            conclude(&run, begun);
            Ok(End::Done)
        }
    }
}
