//! `maskfit lr-find`

use std::path::Path;

use anyhow::{Context as _, bail};
use base::files::write_whole;
use candle::Device;
use trainer::{Plan, Range, Run};

use super::{check_settings, manifest, use_threads};
use crate::{End, args::ExperimentArgs, pretrained, runs, terminal::Terminal};

pub(crate) fn lr_find(
    args: &ExperimentArgs,
    named: Option<&Path>,
    range: Range,
    output: &Path,
) -> anyhow::Result<End> {
    if range.from >= range.to {
        bail!("--to: the last rate is above the first, {:e}, not {:e}", range.from, range.to);
    }
    let terminal = Terminal::new();
    let (mut experiment, run) = match named {
        None => (runs::experiment(args)?.0, None),
        Some(named) => {
            let run = Run::open(&runs::find(named)?)?;
            (runs::experiment_of(run.dir(), &args.set)?, Some(run))
        }
    };
    check_settings(&experiment)?;
    use_threads(experiment.threads)?;
    if run.is_none() {
        pretrained::settle(&mut experiment, &terminal)?;
    }
    let manifest = manifest(&experiment, &terminal)?;
    let plan = Plan::new(&experiment, &manifest, experiment.data.fold, &Device::Cpu, &terminal)?;
    trainer::check_memory(&plan, &terminal)?;
    terminal.heed_interrupts();
    let curve = trainer::lr_find(&plan, run.as_ref(), range, &terminal);
    terminal.clear();
    let curve = curve?.trimmed(range.n_steps);
    let suggestions = curve.suggestions();
    if suggestions.is_empty() {
        bail!("the loss says nothing after {} steps: begin lower (`--from`)", curve.rates.len());
    }
    for it in &suggestions {
        say!("{:>11}  {:.2e}  {}", it.name, it.rate, it.what);
    }
    say!(
        "for example `--set optim.lr={:.1e}`; the curve: {}",
        suggestions[0].rate,
        output.display()
    );
    Ok(End::Done)
}
