//! `maskfit schedule`: plots the learning-rate schedule of an experiment, without training.

use std::path::Path;

use base::Epochs;
use data::Context;
use trainer::{Callback as _, ParamGroups, Rates, ScheduleConfig, Span, course_of};

use crate::{
    End,
    args::ExperimentArgs,
    drawing::{Axis, Curves, OWN_PNG, Panel, number, png},
    output::Output,
    preparation::{check_settings, use_threads},
    runs,
    terminal::Terminal,
    wrap::{fold, wrapped},
};

/// Maximum number of points of a curve: more than characters, and fewer than pixels.
const POINTS: usize = 500;

pub(crate) fn schedule(args: &ExperimentArgs, output: &Path) -> anyhow::Result<End> {
    let output = Output::at(output)?;
    output.check(&OWN_PNG)?;
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
    let course = course_of(&experiment, &manifest?, experiment.data.fold)?;
    let epochs = Epochs::joined(course.iter().map(|it| &it.epochs));
    let groups = experiment.param_groups()?;
    let curves = curves(&course, &groups, &epochs);
    say!("{}\n\n{}\n", curves.title, curves.sketch());
    for (idx, span) in course.iter().enumerate().filter(|it| it.1.epochs.total() > 0) {
        if let Some(phase) = experiment.phase.get(idx) {
            say!("phase `{}`, from step {}:", phase.name, span.start);
        }
        for it in notes(span, &groups, &epochs) {
            say!("{it}");
        }
    }
    output.write(&OWN_PNG, &png(&curves.draw()))?;
    say!("plot: {output}");
    Ok(End::Done)
}

/// Returns the learning rate of the head, that of the first stage if it differs, and the momentum if all
/// schedules set it.
///
/// - `course`: the phases.
/// - `epochs`: those of the run.
fn curves(course: &[Span], groups: &ParamGroups, epochs: &Epochs) -> Curves {
    let total = epochs.total();
    let every = total.div_ceil(POINTS);
    // In addition, all ends of phases.
    let ends = course.iter().flat_map(|it| [it.start, it.end().saturating_sub(1)]);
    let mut steps: Vec<usize> =
        (0..total).step_by(every).chain(ends.filter(|it| *it < total)).collect();
    steps.sort_unstable();
    steps.dedup();
    let span = |step: usize| {
        let after = course.partition_point(|it| it.start <= step);
        &course[after.saturating_sub(1)]
    };
    let rates: Vec<Rates> = steps.iter().map(|&it| span(it).rates(it, &[])).collect();
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
    let ends = |step: usize, it: Rates| {
        let lr = span(step).experiment.optim.get().lr();
        groups.ends(it).map(|it| lr * it)
    };
    let is_alike = |(&step, &it): (&usize, &Rates)| {
        let [first, head] = ends(step, it);
        first == head
    };
    match steps.iter().zip(&rates).all(is_alike) {
        true => panels.push(panel("learning rate", true, &|step, it| ends(step, it)[1])),
        false => {
            panels.push(panel("learning rate of the head", true, &|step, it| ends(step, it)[1]));
            panels.push(panel("learning rate of the first stage", true, &|step, it| match step
                < span(step).unfreezes()
            {
                true => 0.0,
                false => ends(step, it)[0],
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
    let with_steps = course.iter().filter(|it| it.epochs.total() > 0);
    let kinds: Vec<&str> = with_steps.map(|it| it.experiment.schedule.kind()).collect();
    Curves {
        title: format!("{} over {total} steps", kinds.join(", then ")),
        x: Axis {
            name: format!("epoch ({epoch_steps})"),
            range: 0.0..epochs.epoch(total),
            is_log: false,
        },
        panels,
    }
}

/// Returns notes on the curves of a phase: the learning rate of the head, and how long the backbone is frozen.
///
/// - `epochs`: those of the run.
fn notes(span: &Span, groups: &ParamGroups, epochs: &Epochs) -> Vec<String> {
    let experiment = &span.experiment;
    let lr = experiment.optim.get().lr();
    let rate = |step: usize| lr * groups.ends(span.rates(step, &[]))[1];
    let (first, last) = (span.start, span.end() - 1);
    let highest = (first..=last)
        .max_by(|&a, &b| rate(a).total_cmp(&rate(b)).then(b.cmp(&a)))
        .unwrap_or(first);
    let peak = match highest == first {
        true => String::new(),
        false => format!(
            ", up to {} at step {highest} (epoch {})",
            number(rate(highest)),
            number(epochs.epoch(highest))
        ),
    };
    let [from, to] = [first, last].map(|it| number(rate(it)));
    let is_alike = |step: usize| {
        let [first, head] = groups.ends(span.rates(step, &[]));
        first == head
    };
    let label = match (first..=last).all(is_alike) {
        true => "learning rate: ",
        false => "learning rate of the head: ",
    };
    let mut notes = vec![fold(label, &format!("from {from}{peak}, to {to} at the last step"))];
    if let ScheduleConfig::Plateau(it) = &experiment.schedule {
        let text = format!(
            "assumes that every evaluation improves: after {} in a row that do not, the rate is multiplied \
             by {}, which is not known in advance",
            it.patience + 1,
            it.factor
        );
        notes.push(wrapped("", &text));
    }
    if experiment.schedule.get().frozen().is_some() {
        let unfreezes = span.unfreezes();
        notes.push(format!(
            "until step {unfreezes} (epoch {}) the backbone is frozen, only the head is trained",
            number(epochs.epoch(unfreezes))
        ));
    }
    notes
}
