//! `maskfit data`

use anyhow::bail;
use base::{Task, task::Scope};
use candle::Device;
use data::{People, Use};
use trainer::{Plan, Watch as _};

use super::{check_settings, manifest, use_threads};
use crate::{End, args::DataCommand, runs, terminal::Terminal};

pub(crate) fn data(command: DataCommand) -> anyhow::Result<End> {
    let terminal = Terminal::new();
    match command {
        DataCommand::People { dir, people, scored, size, wrong_labels, seed } => {
            let (n_people, n_scored, flipped) = (people, scored, 0.0);
            let source = People { n_people, n_scored, size, wrong_labels, flipped, seed };
            let progress = |done, total| terminal.progress("drawing people", done, total);
            for part in ["train", "eval"].map(|it| dir.join(it)) {
                if part.exists() {
                    bail!("{}: is there already: name a new folder", part.display());
                }
            }
            source.write(&dir, &progress)?;
            terminal.clear();
            say!("{people} people to train on: {}", dir.join("train").display());
            say!("{scored} people to score on: {}", dir.join("eval").display());
        }
        DataCommand::Check { experiment } => {
            let (experiment, _) = runs::experiment(&experiment)?;
            check_settings(&experiment)?;
            use_threads(experiment.threads)?;
            let manifest = manifest(&experiment, &terminal)?;
            say!(
                "nothing is wrong with the data: {} pictures of {} people",
                manifest.examples.len(),
                manifest.people.len()
            );
            print_counts(&manifest.task, &manifest.counts(Use::Pool));
        }
        DataCommand::Stats { experiment } => {
            let (mut experiment, _) = runs::experiment(&experiment)?;
            check_settings(&experiment)?;
            use_threads(experiment.threads)?;
            experiment.augment.statistics = augment::StatisticsConfig::measured();
            let manifest = manifest(&experiment, &terminal)?;
            let fold = experiment.data.fold;
            let plan = Plan::new(&experiment, &manifest, fold, &Device::Cpu, &terminal)?;
            terminal.clear();
            let it = plan.eval_pipeline.statistics;
            let list = |xs: [f64; 3]| xs.map(|x| format!("{x:.4}")).join(", ");
            say!("of {} pictures that are trained on:", plan.sides.train.len());
            say!(
                "statistics = {{ kind = \"given\", mean = [{}], std = [{}] }}",
                list(it.mean),
                list(it.std)
            );
        }
    }
    Ok(End::Done)
}

fn print_counts(task: &Task, counts: &[usize]) {
    for (class, n) in counts.iter().enumerate() {
        say!("{class:>3}  {:<24} {n:>7}", task.class_name(class, Scope::Joint));
    }
}
