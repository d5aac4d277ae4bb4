//! `maskfit schedule`: the learning rate over a run, before there is one.

use std::path::Path;

use base::Epochs;
use data::Context;
use trainer::{Callback as _, Experiment, ParamGroups, Rates, ScheduleConfig, epochs_of};

use super::{check_settings, use_threads};
use crate::{
    End,
    args::ExperimentArgs,
    drawing::{Axis, Curves, Panel, number, png},
    output::Output,
    runs,
    terminal::Terminal,
};

/// Points of a curve, at most: more than letters, and fewer than pixels.
const POINTS: usize = 500;

pub(crate) fn schedule(args: &ExperimentArgs, output: &Path) -> anyhow::Result<End> {
    let output = Output::at(output)?;
    let experiment = runs::experiment(args)?.0;
    check_settings(&experiment)?;
    use_threads(experiment.threads)?;
    let terminal = Terminal::new();
    let manifest = experiment.listing(&Context {
        cache: None,
        max_pixels: experiment.data.max_pixels,
        progress: &|done, total| terminal.progress("listing images", done, total),
    });
    terminal.clear();
    let epochs = epochs_of(&experiment, &manifest?, experiment.data.fold)?;
    let groups = experiment.param_groups()?;
    let curves = curves(&experiment, &groups, &epochs);
    say!("{}\n\n{}\n", curves.title, curves.sketch());
    for it in notes(&experiment, &groups, &epochs) {
        say!("{it}");
    }
    output.write(&png(&curves.draw()))?;
    say!("the image: {output}");
    Ok(End::Done)
}

/// The learning rate of the head, that of the first stage where it is another, and momentum if the
/// schedule has a say.
fn curves(experiment: &Experiment, groups: &ParamGroups, epochs: &Epochs) -> Curves {
    let (kind, total) = (experiment.schedule.kind(), epochs.total());
    let every = total.div_ceil(POINTS);
    let steps: Vec<usize> = (0..total - 1).step_by(every).chain([total - 1]).collect();
    let lr = experiment.optim.get().lr();
    let rates: Vec<Rates> = steps.iter().map(|&it| experiment.rates(epochs, it, &[])).collect();
    let panel = |name: &str, from_zero: bool, of: &dyn Fn(usize, Rates) -> f64| Panel {
        name: name.to_owned(),
        points: steps
            .iter()
            .zip(&rates)
            .map(|(&it, &rates)| [epochs.epoch(it), of(it, rates)])
            .collect(),
        behind: Vec::new(),
        from_zero,
        marks: Vec::new(),
    };
    let mut panels = Vec::new();
    let ends = |it: Rates| groups.ends(it).map(|it| lr * it);
    match rates.iter().map(|&it| ends(it)).any(|[first, head]| first != head) {
        false => panels.push(panel("learning rate", true, &|_, it| ends(it)[1])),
        true => {
            panels.push(panel("learning rate of the head", true, &|_, it| ends(it)[1]));
            let unfreezes = experiment.unfreezes(epochs);
            panels.push(panel("of the first stage", true, &|step, it| match step < unfreezes {
                true => 0.0,
                false => ends(it)[0],
            }));
        }
    }
    if rates.iter().all(|it| it.momentum.is_some()) {
        panels.push(panel("momentum", false, &|_, it| it.momentum.unwrap_or_default()));
    }
    let [first, last] = [0, epochs.n_begun() - 1].map(|it| epochs.n_steps(it));
    let an_epoch = match first == last {
        true => format!("{first} steps each"),
        false => format!("{first} steps the first, {last} the last"),
    };
    Curves {
        title: format!("{kind} over {total} steps"),
        x: Axis {
            name: format!("epochs, {an_epoch}"),
            range: 0.0..epochs.epoch(total),
            is_log: false,
        },
        panels,
    }
}

/// What a curve does not say; rates are the head's.
fn notes(experiment: &Experiment, groups: &ParamGroups, epochs: &Epochs) -> Vec<String> {
    let lr = experiment.optim.get().lr();
    let rate = |step: usize| lr * groups.ends(experiment.rates(epochs, step, &[]))[1];
    let last = epochs.total() - 1;
    let highest =
        (0..=last).max_by(|&a, &b| rate(a).total_cmp(&rate(b)).then(b.cmp(&a))).unwrap_or(0);
    let peak = match highest {
        0 => String::new(),
        it => format!(
            ", up to {} at step {it} (epoch {})",
            number(rate(it)),
            number(epochs.epoch(it))
        ),
    };
    let mut notes =
        vec![format!("from {}{peak}, to {} at the last", number(rate(0)), number(rate(last)))];
    if let ScheduleConfig::Plateau(it) = &experiment.schedule {
        notes.push(format!(
            "as if every evaluation were better: after {} in a row that are not, the rest is times {}, \
             which cannot be known ahead",
            it.patience + 1,
            it.factor
        ));
    }
    if experiment.schedule.get().frozen().is_some() {
        let unfreezes = experiment.unfreezes(epochs);
        notes.push(format!(
            "until step {unfreezes} (epoch {}) the head learns alone",
            number(epochs.epoch(unfreezes))
        ));
    }
    notes
}
