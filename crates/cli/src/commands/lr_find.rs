//! `maskfit lr-find`

use std::path::Path;

use anyhow::bail;
use candle::Device;
use trainer::{Curve, Plan, Range, Run, Suggestion};

use crate::{
    End,
    args::ExperimentArgs,
    continued,
    drawing::{Axis, Curves, Mark, OWN_PNG, Panel, number, png},
    output::Output,
    preparation::{check_settings, manifest, use_threads},
    pretrained, runs,
    terminal::Terminal,
};

pub(crate) fn lr_find(
    args: &ExperimentArgs,
    named: Option<&Path>,
    range: Range,
    output: &Path,
) -> anyhow::Result<End> {
    if range.from >= range.to {
        bail!("--to: the last rate must be above the first, {:e}, not {:e}", range.from, range.to);
    }
    let output = Output::at(output)?;
    output.check(&OWN_PNG)?;
    let terminal = Terminal::new();
    let (mut experiment, run) = match named {
        None => (continued::experiment(args, &terminal)?.0, None),
        Some(named) => {
            let run = Run::open(&runs::find_with(named, None, &args.set)?)?;
            (runs::experiment_of(run.dir(), &args.set)?, Some(run))
        }
    };
    check_settings(&experiment)?;
    use_threads(experiment.threads)?;
    trainer::check_device(experiment.device)?;
    if run.is_none() {
        pretrained::settle(&mut experiment, args, &terminal)?;
    }
    let manifest = manifest(&experiment, &terminal)?;
    let plan = Plan::new(&experiment, &manifest, experiment.data.fold, &Device::Cpu, &terminal)?;
    trainer::check_memory(&plan, &terminal)?;
    terminal.heed_interrupts();
    let curve = trainer::lr_find(&plan, run.as_ref(), range, &terminal);
    terminal.clear();
    let Some(curve) = curve? else {
        complain!(
            "stopped before the end of the test: no rate is suggested, and no file was written"
        );
        return Ok(End::Stopped);
    };
    let curve = curve.trimmed(range.n_steps);
    let suggestions = curve.suggestions();
    if suggestions.is_empty() {
        bail!(
            "the losses of {} steps give no suggestion: start lower (`--from`)",
            curve.rates.len()
        );
    }
    let curves = curves(&curve, &suggestions);
    say!("{}\n", curves.sketch());
    for (idx, it) in suggestions.iter().enumerate() {
        say!("{}  {:<10}  {:>7}  {}", idx + 1, it.name, number(it.rate), it.what);
    }
    output.write(&OWN_PNG, &png(&curves.draw()))?;
    say!("for example: --set optim.lr={}", number(suggestions[0].rate));
    say!("plot: {output}");
    Ok(End::Done)
}

/// Returns the plot of the loss over the learning rate, with the suggestions marked.
fn curves(curve: &Curve, suggestions: &[Suggestion]) -> Curves {
    let points = |losses: &[f64]| -> Vec<[f64; 2]> {
        curve.rates.iter().zip(losses).map(|(&rate, &loss)| [rate, loss]).collect()
    };
    // A tenth of the rate of the lowest loss may lie before the curve, whose first point is marked then.
    let at = |rate: f64| {
        let idx = curve.rates.partition_point(|&it| it < rate).min(curve.rates.len() - 1);
        [rate, curve.losses[idx]]
    };
    let marks = suggestions.iter().enumerate().map(|(idx, it)| Mark {
        at: at(it.rate),
        label: format!("{} {}: {}", idx + 1, it.name, number(it.rate)),
    });
    let rates = curve.rates.iter().copied().chain(suggestions.iter().map(|it| it.rate));
    let ends = rates.fold((f64::INFINITY, 0.0), |(from, to), it| (it.min(from), it.max(to)));
    Curves {
        title: "loss over learning rate".to_owned(),
        x: Axis { name: "learning rate".to_owned(), range: ends.0..ends.1, is_log: true },
        panels: vec![Panel {
            name: "loss".to_owned(),
            points: points(&curve.losses),
            behind: points(&curve.raw),
            from_zero: false,
            marks: marks.collect(),
        }],
    }
}
