//! `maskfit compare`
//!
//! Runs are read one at a time, each once; only the scores of each are kept, so that a hundred runs take no
//! more memory than two.

use std::{cmp::Reverse, path::PathBuf};

use anyhow::bail;
use base::{Seed, Task, task::Scope};
use infer::{Index, LabelledReader, Row};
use metrics::{
    Bootstrapped, Comparison, Confusion, Interval, Metric, N_RESAMPLES, PersonSums, Projection,
    Resamples, RunningMetric, compare as compare_sides,
};

use crate::{
    End,
    args::RunsArgs,
    runs,
    style::headed,
    tables::{MANY, columns},
};

/// Maximum number of missing images to name.
const SHOWN: usize = 5;
/// With many classes, the number of classes to show with the largest gain, and with the largest loss.
const ENDS: usize = 10;

/// The runs of one side.
struct Side {
    name: String,
    /// One per scope of the task.
    scopes: Vec<Scored>,
}

/// The scores of a side, or of a run, in one scope.
#[derive(Clone)]
struct Scored {
    score: Bootstrapped,
    /// F1 of each class.
    f1: Vec<f64>,
}

/// The reference for all runs: images, people and labels of the first run, and the bootstrap resamples.
struct Reference<'a> {
    task: Task,
    index: Index,
    resamples: Resamples,
    kind: &'static str,
    metric: &'a dyn Metric,
    /// Support of each class in each scope.
    supports: Vec<Vec<usize>>,
    /// Notes on runs with different labels.
    notes: Vec<String>,
}

pub(crate) fn compare(args: &RunsArgs) -> anyhow::Result<End> {
    let named: Vec<Vec<PathBuf>> = match args.a.is_empty() {
        true => args.runs.iter().map(|it| vec![it.clone()]).collect(),
        false => vec![args.a.clone(), args.b.clone()],
    };
    if named.len() < 2 {
        bail!("expected two or more runs, or the runs of two sides: --a RUN... --b RUN...");
    }
    // All paths are checked before any table is read.
    let mut tables = Vec::new();
    for side in &named {
        let side = side.iter().map(|it| runs::labelled_table(it, args.test));
        tables.push(side.collect::<Result<Vec<_>, _>>()?);
    }
    let mut reference = Reference::new(&tables[0][0], args)?;
    let mut sides = Vec::new();
    for (named, tables) in named.iter().zip(&tables) {
        let scored = tables.iter().map(|it| reference.score(it)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = named.iter().map(|it| it.display().to_string()).collect();
        sides.push(Side { name: names.join(", "), scopes: mean(&scored) });
    }
    say!("{} images of {} people", reference.index.images.len(), reference.index.people.len());
    reference.notes.iter().for_each(|it| status!("note: {it}"));
    for other in &sides[1..] {
        say!("\nA: {}\nB: {}", sides[0].name, other.name);
        reference.print(&sides[0], other);
    }
    say!(
        "\n[low, high]: 95 % confidence interval, {N_RESAMPLES} paired bootstrap resamples of the people."
    );
    say!("P(B better): share of resamples in which B is better; ties count half.");
    Ok(End::Done)
}

/// Returns the mean of runs in each scope.
fn mean(runs: &[Vec<Scored>]) -> Vec<Scored> {
    let of_scope = |scope: usize| {
        let scores: Vec<Bootstrapped> = runs.iter().map(|it| it[scope].score.clone()).collect();
        let n = runs.len() as f64;
        let f1 = |class| runs.iter().map(|it| it[scope].f1[class]).sum::<f64>() / n;
        let f1 = (0..runs[0][scope].f1.len()).map(f1).collect();
        Scored { score: Bootstrapped::mean(&scores), f1 }
    };
    (0..runs[0].len()).map(of_scope).collect()
}

impl<'a> Reference<'a> {
    fn new(table: &runs::LabelledTable, args: &'a RunsArgs) -> anyhow::Result<Reference<'a>> {
        let task = table.task.clone();
        let index = Index::of(std::slice::from_ref(&table.path), &task)?;
        index.check()?;
        let projections = Projection::all(&task);
        let mut supports: Vec<Vec<usize>> =
            projections.iter().map(|it| vec![0; it.n_classes()]).collect();
        for image in &index.images {
            for (support, projection) in supports.iter_mut().zip(&projections) {
                support[task.project(image.class, projection.scope())] += 1;
            }
        }
        Ok(Reference {
            resamples: Resamples::new(index.people.len(), N_RESAMPLES, Seed(0)),
            task,
            index,
            kind: args.by.kind(),
            metric: args.by.get(),
            supports,
            notes: Vec::new(),
        })
    }

    /// Reads a run's table and scores it on the images and with the labels of the reference.
    fn score(&mut self, table: &runs::LabelledTable) -> anyhow::Result<Vec<Scored>> {
        if table.task != self.task {
            bail!("the runs have different tasks: their classes differ");
        }
        let mut reader = LabelledReader::open(&table.path, &self.task)?;
        if self.metric.needs_years() && !reader.has_years() {
            bail!(
                "`{}` needs predicted ages in years, which not every run has a head for",
                self.kind
            );
        }
        let images = &self.index.images;
        let mut scopes: Vec<_> = Projection::all(&self.task)
            .into_iter()
            .map(|it| {
                let n = it.n_classes();
                (it, RunningMetric::new(self.metric, n), PersonSums::default(), Confusion::new(n))
            })
            .collect();
        let (mut is_there, mut foreign, mut n_foreign) = (vec![false; images.len()], Vec::new(), 0);
        let (mut n_relabelled, mut expected, mut row) = (0, 0, Row::default());
        while reader.next(&mut row)? {
            // Most tables have the same order.
            let is_next = images.get(expected).is_some_and(|it| it.image == row.image);
            let at = if is_next { Some(expected) } else { self.index.position(&row.image) };
            let Some(at) = at else {
                n_foreign += 1;
                if foreign.len() < SHOWN {
                    foreign.push(row.image.clone());
                }
                continue;
            };
            expected = at + 1;
            let image = &images[at];
            if std::mem::replace(&mut is_there[at], true) {
                return Err(reader.damaged(&format!("`{}` occurs twice", row.image)).into());
            }
            if self.index.people[image.person] != row.person {
                bail!("the runs assign the same images to different people: their data differs");
            }
            n_relabelled += usize::from(row.class != image.class);
            (row.class, row.age) = (image.class, image.age);
            let it = row.prediction(image.person);
            for (projection, total, person_sums, confusion) in &mut scopes {
                let it = &projection.of(&it);
                total.add(it);
                person_sums.add(self.metric, it);
                confusion.add(it.class, it.predicted, 1);
            }
        }
        let absent = || images.iter().zip(&is_there).filter(|it| !it.1).map(|it| &it.0.image);
        let n_absent = absent().count();
        if n_absent + n_foreign > 0 {
            let absent: Vec<String> = absent().take(SHOWN).cloned().collect();
            let list = |n: usize, names: &[String]| match n {
                0 => "none".to_owned(),
                n @ ..=SHOWN => format!("{n} ({})", names.join(", ")),
                n => format!("{n} ({}, ...)", names.join(", ")),
            };
            bail!(
                "the runs have different images: only in the first: {}; only in the other: {}: compare \
                 runs with the same data, `data.split`, `data.split_seed` and `data.fold`, \
                 cross-validations, or test sets (--test)",
                list(n_absent, &absent),
                list(n_foreign, &foreign)
            );
        }
        if n_relabelled > 0 {
            self.notes.push(format!(
                "{n_relabelled} images have different labels in another run: all runs are scored with the \
                 labels of the first"
            ));
        }
        let mut people = Vec::new();
        let mut scored = Vec::new();
        for (projection, total, person_sums, confusion) in scopes {
            let n = projection.n_classes();
            let f1 = (0..n).map(|it| confusion.class(it).f1).collect();
            scored.push(Scored {
                score: Bootstrapped { value: total.score(), resamples: Vec::new() },
                f1,
            });
            people.push((person_sums.people(), n));
        }
        let of: Vec<_> = people.iter().map(|(it, n)| (it, *n)).collect();
        for (it, resamples) in scored.iter_mut().zip(self.resamples.scores(self.metric, &of)) {
            it.score.resamples = resamples;
        }
        Ok(scored)
    }

    fn print(&self, a: &Side, b: &Side) {
        let interval = |it: Interval| format!("{:.4} [{:.4}, {:.4}]", it.value, it.low, it.high);
        let gain = |it: Interval| format!("{:+.4} [{:+.4}, {:+.4}]", it.value, it.low, it.high);
        let mut scores = vec![[self.kind, "A", "B", "B - A", "P(B better)"].map(str::to_owned)];
        let mut classes = vec![["f1-score", "support", "A", "B", "B - A"].map(str::to_owned)];
        let mut left_out = Vec::new();
        for ((scope, support), (a, b)) in
            self.task.scopes().into_iter().zip(&self.supports).zip(a.scopes.iter().zip(&b.scopes))
        {
            let it: Comparison = compare_sides(self.metric, &a.score, &b.score);
            let name = self.task.scope_name(scope);
            scores.push([
                name.to_owned(),
                interval(it.a),
                interval(it.b),
                gain(it.difference),
                format!("{:.3}", it.b_is_better),
            ]);
            let gain = |class: usize| b.f1[class] - a.f1[class];
            let mut shown: Vec<usize> = (0..support.len()).collect();
            if shown.len() > MANY {
                let by_gain = |a: &usize, b: &usize| gain(*b).total_cmp(&gain(*a));
                shown.sort_by(|a, b| {
                    by_gain(a, b).then(Reverse(support[*a]).cmp(&Reverse(support[*b])))
                });
                shown.drain(ENDS..shown.len() - ENDS);
                left_out.push(format!(
                    "{name}: the {ENDS} largest gains and the {ENDS} largest losses of {} classes",
                    support.len()
                ));
            }
            for class in shown {
                let class_name = self.task.class_name(class, scope);
                classes.push([
                    match scope {
                        Scope::Joint => class_name,
                        Scope::Factor(_) => format!("{name}: {class_name}"),
                    },
                    support[class].to_string(),
                    format!("{:.3}", a.f1[class]),
                    format!("{:.3}", b.f1[class]),
                    format!("{:+.3}", gain(class)),
                ]);
            }
        }
        say!("\n{}", headed(&columns(&scores, &[false, true, true, true, true])));
        say!("\n{}", headed(&columns(&classes, &[false, true, true, true, true])));
        left_out.iter().for_each(|it| say!("{it}"));
    }
}
