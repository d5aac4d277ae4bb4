//! `maskfit schedule`: plots the learning-rate schedule of an experiment, without training.

use std::path::Path;

use base::Epochs;
use data::Context;
use trainer::{Callback as _, Experiment, ParamGroups, Rates, ScheduleConfig, epochs_of};

use crate::{
    End,
    args::ExperimentArgs,
    drawing::{Axis, Curves, Panel, number, png},
    output::Output,
    preparation::{check_settings, use_threads},
    runs,
    terminal::Terminal,
};

/// Maximum number of points of a curve: more than characters, and fewer than pixels.
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
    say!("plot: {output}");
    Ok(End::Done)
}

/// Returns the learning rate of the head, that of the first stage if it differs, and the momentum if the
/// schedule sets it.
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
            panels.push(panel("learning rate of the first stage", true, &|step, it| match step
                < unfreezes
            {
                true => 0.0,
                false => ends(it)[0],
            }));
        }
    }
    if rates.iter().all(|it| it.momentum.is_some()) {
        panels.push(panel("momentum", false, &|_, it| it.momentum.unwrap_or_default()));
    }
    let [first, last] = [0, epochs.n_begun() - 1].map(|it| epochs.n_steps(it));
    let epoch_steps = match first == last {
        true => format!("{first} steps per epoch"),
        false => format!("{first} steps in the first, {last} in the last"),
    };
    Curves {
        title: format!("{kind} over {total} steps"),
        x: Axis {
            name: format!("epoch ({epoch_steps})"),
            range: 0.0..epochs.epoch(total),
            is_log: false,
        },
        panels,
    }
}

/// Returns notes on the curves; learning rates are those of the head.
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
        vec![format!("from {}{peak}, to {} at the last step", number(rate(0)), number(rate(last)))];
    if let ScheduleConfig::Plateau(it) = &experiment.schedule {
        notes.push(format!(
            "assumes that every evaluation improves: after {} in a row that do not, the rate is multiplied \
             by {}, which is not known in advance",
            it.patience + 1,
            it.factor
        ));
    }
    if experiment.schedule.get().frozen().is_some() {
        let unfreezes = experiment.unfreezes(epochs);
        notes.push(format!(
            "until step {unfreezes} (epoch {}) the backbone is frozen, only the head is trained",
            number(epochs.epoch(unfreezes))
        ));
    }
    notes
}
