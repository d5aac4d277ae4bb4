//! `maskfit compare`
//!
//! Runs are read one at a time, each once; only the scores of each are kept, so that a hundred runs take no
//! more memory than two.

use std::{cmp::Reverse, path::PathBuf};

use anyhow::bail;
use base::{Seed, Task, task::Scope};
use infer::{Index, LabelledReader, Row};
use metrics::{
    Accuracy, Bootstrapped, Comparison, Confusion, Evaluation, GroupSums, Interval, LogLoss,
    Metric, MetricConfig, N_RESAMPLES, Projection, Resamples, compare as compare_sides,
};
use serde::Serialize;
use serde_json::json;

use crate::{
    End,
    args::RunsArgs,
    json::emit,
    labelled_table::LabelledTable,
    phrases::counted_names,
    style::headed,
    tables::MANY,
    wrap::{columns, wrapped},
};

/// With many classes, the number of classes to show with the largest gain, and with the largest loss.
const ENDS: usize = 10;

/// The runs of one side.
struct Side {
    name: String,
    /// The runs, as they were named.
    runs: Vec<String>,
    /// One per scope of the task.
    scopes: Vec<Scored>,
}

/// The scores of a side, or of a run, in one scope.
#[derive(Clone)]
struct Scored {
    /// By each metric.
    scores: Vec<Bootstrapped>,
    /// F1 of each class.
    f1: Vec<f64>,
}

/// A score of both sides, for `--json`.
#[derive(Serialize)]
struct ScoreEvent<'a> {
    a: &'a [String],
    b: &'a [String],
    scope: &'a str,
    metric: &'a str,
    a_score: Interval,
    b_score: Interval,
    difference: Interval,
    b_is_better: f64,
}

impl<'a> ScoreEvent<'a> {
    fn of(
        [a, b]: &[&'a [String]; 2],
        scope: &'a str,
        metric: &'a str,
        it: &Comparison,
    ) -> ScoreEvent<'a> {
        let Comparison { a: a_score, b: b_score, difference, b_is_better } = *it;
        ScoreEvent { a, b, scope, metric, a_score, b_score, difference, b_is_better }
    }
}

/// The reference for all runs: images, groups and labels of the first run, and the bootstrap resamples.
struct Reference<'a> {
    /// The table of the first run.
    path: PathBuf,
    task: Task,
    index: Index,
    resamples: Resamples,
    /// By name; the first is the one to compare by.
    metrics: Vec<(String, &'a dyn Metric)>,
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
        let side = side.iter().map(|it| LabelledTable::of(it, args.test));
        tables.push(side.collect::<Result<Vec<_>, _>>()?);
    }
    let mut reference = Reference::new(&tables[0][0], args)?;
    let mut sides = Vec::new();
    for (named, tables) in named.iter().zip(&tables) {
        let scored = tables.iter().map(|it| reference.score(it)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = named.iter().map(|it| it.display().to_string()).collect();
        sides.push(Side { name: names.join(", "), runs: names, scopes: mean(&scored) });
    }
    let Reference { task, index, .. } = &reference;
    let (images, groups) = (index.images.len(), index.groups.len());
    say!("{}", task.unit.images_of(images, groups));
    emit("data", json!({ "images": images, "groups": groups, "resamples": N_RESAMPLES }));
    reference.notes.iter().for_each(|it| status!("note: {it}"));
    for other in &sides[1..] {
        say!("\nA: {}\nB: {}", sides[0].name, other.name);
        reference.print(&sides[0], other);
    }
    let text = format!(
        "95 % confidence interval, {N_RESAMPLES} paired bootstrap resamples of the {}.",
        reference.task.unit.many()
    );
    say!("\n{}", wrapped("[low, high]: ", &text));
    say!("P(B better): share of resamples in which B is better; ties count half.");
    Ok(End::Done)
}

/// Returns the metrics to compare by: the chosen one, and for a task of one factor, whose table has a single
/// row otherwise, also top-1 and top-k accuracy (of more than k classes) and the log loss.
fn metrics<'a>(args: &'a RunsArgs, task: &Task) -> Vec<(String, &'a dyn Metric)> {
    let by: &dyn Metric = args.by.get();
    let name = named(&args.by);
    let mut metrics = vec![(name.clone(), by)];
    if task.factors.len() == 1 {
        let top = Evaluation::top(task);
        let others: [(String, &dyn Metric); 3] = [
            ("accuracy".to_owned(), &Accuracy {}),
            (format!("top_{}", top.k), top),
            ("log_loss".to_owned(), &LogLoss::DEFAULT),
        ];
        let is_shown =
            |it: &(String, &dyn Metric)| it.0 != name && !it.1.is_constant(task.n_classes());
        metrics.extend(others.into_iter().filter(is_shown));
    }
    metrics
}

/// Returns the name of a metric, with its settings where they are not the defaults; that of top-k accuracy has its k.
fn named(metric: &MetricConfig) -> String {
    if let MetricConfig::TopK(it) = metric {
        return format!("top_{}", it.k);
    }
    let kind = metric.kind();
    let is_default = MetricConfig::zoo().iter().any(|it| it.1 == *metric);
    let settings = toml::Table::try_from(metric).expect("a metric is TOML");
    let settings = settings.iter().filter(|it| it.0 != "kind" && !is_default);
    settings.fold(kind.to_owned(), |name, (key, value)| format!("{name} {key}={value}"))
}

/// Returns the name of a metric in a table, and its settings, which a column has no room for.
fn short(name: &str) -> (String, Option<&str>) {
    match name.split_once(' ') {
        Some((kind, settings)) => (format!("{kind}*"), Some(settings)),
        None => (name.to_owned(), None),
    }
}

/// Returns the scope of predicted numbers: the numeric factor; the joint one if there are several, since a table
/// does not say whose numbers it has, or where the task has no other.
fn scope_of_number(task: &Task) -> Scope {
    let factor = task.numeric_named("").map_or(Scope::Joint, Scope::Factor);
    if task.scopes().contains(&factor) { factor } else { Scope::Joint }
}

/// Returns the mean of runs in each scope.
fn mean(runs: &[Vec<Scored>]) -> Vec<Scored> {
    let of_scope = |scope: usize| {
        let of_metric = |metric: usize| {
            let scores: Vec<_> = runs.iter().map(|it| it[scope].scores[metric].clone()).collect();
            Bootstrapped::mean(&scores)
        };
        let scores = (0..runs[0][scope].scores.len()).map(of_metric).collect();
        let n = runs.len() as f64;
        let f1 = |class| runs.iter().map(|it| it[scope].f1[class]).sum::<f64>() / n;
        let f1 = (0..runs[0][scope].f1.len()).map(f1).collect();
        Scored { scores, f1 }
    };
    (0..runs[0].len()).map(of_scope).collect()
}

impl<'a> Reference<'a> {
    fn new(table: &LabelledTable, args: &'a RunsArgs) -> anyhow::Result<Reference<'a>> {
        let task = table.task.clone();
        let index = Index::of(std::slice::from_ref(&table.path), &task)?;
        index.check()?;
        let metrics = metrics(args, &task);
        let (n_images, n_classes) = (index.images.len(), task.n_classes());
        for (name, metric) in &metrics {
            if let Some(why) = metric.too_many(n_images, n_classes) {
                bail!("`{name}`: {why}");
            }
            if metric.is_constant(n_classes) {
                bail!(
                    "`{name}` of {n_classes} classes is always 1: choose a smaller `k`, or another metric by `--by`"
                );
            }
        }
        let projections = Projection::all(&task);
        let mut supports: Vec<Vec<usize>> =
            projections.iter().map(|it| vec![0; it.n_classes()]).collect();
        for image in &index.images {
            for (support, projection) in supports.iter_mut().zip(&projections) {
                support[task.project(image.class, projection.scope())] += 1;
            }
        }
        Ok(Reference {
            resamples: Resamples::new(index.groups.len(), N_RESAMPLES, Seed(0)),
            path: table.path.clone(),
            task,
            index,
            metrics,
            supports,
            notes: Vec::new(),
        })
    }

    /// Reads a run's table and scores it on the images and with the labels of the reference.
    fn score(&mut self, table: &LabelledTable) -> anyhow::Result<Vec<Scored>> {
        let (first, own) = (self.path.display().to_string(), table.path.display().to_string());
        if let Some(how) = self.task.difference(&first, &table.task, &own) {
            bail!("{how}: compare runs with the same factors, levels and cuts");
        }
        let mut reader = LabelledReader::open(&table.path, &self.task)?;
        for (name, metric) in &self.metrics {
            if metric.needs_numbers() && !reader.has_numbers() {
                bail!("`{name}` needs predicted numbers, which not every run has a head for");
            }
        }
        let images = &self.index.images;
        let mut scopes: Vec<_> = Projection::all(&self.task)
            .into_iter()
            .map(|it| {
                let n = it.n_classes();
                let tallies = self.metrics.iter().map(|(_, metric)| GroupSums::new(*metric, n));
                (it, tallies.collect::<Vec<_>>(), Confusion::new(n))
            })
            .collect();
        let (mut is_there, mut foreign) = (vec![false; images.len()], Vec::new());
        let (mut n_relabelled, mut expected, mut row) = (0, 0, Row::default());
        while reader.next(&mut row)? {
            // Most tables have the same order.
            let is_next = images.get(expected).is_some_and(|it| it.image == row.image);
            let at = if is_next { Some(expected) } else { self.index.position(&row.image) };
            let Some(at) = at else {
                foreign.push(row.image.clone());
                continue;
            };
            expected = at + 1;
            let image = &images[at];
            if std::mem::replace(&mut is_there[at], true) {
                return Err(reader.damaged(&format!("`{}` occurs twice", row.image)).into());
            }
            if self.index.groups[image.group] != row.group {
                let many = self.task.unit.many();
                bail!("the runs assign the same images to different {many}: their data differs");
            }
            n_relabelled += usize::from(row.class != image.class);
            (row.class, row.true_number) = (image.class, image.true_number);
            let it = row.prediction(image.group);
            for (projection, tallies, confusion) in &mut scopes {
                let it = &projection.of(&it);
                tallies.iter_mut().for_each(|tally| tally.add(it));
                confusion.add(it.class, it.predicted, 1);
            }
        }
        let absent = images.iter().zip(&is_there).filter(|it| !it.1).map(|it| &it.0.image);
        let absent: Vec<&String> = absent.collect();
        if !absent.is_empty() || !foreign.is_empty() {
            bail!(
                "the runs have different images: only in the first: {}; only in the other: {}: compare \
                 runs with the same data, `data.split`, `data.split_seed` and `data.fold`, \
                 cross-validations, or test sets (--test)",
                counted_names(&absent),
                counted_names(&foreign)
            );
        }
        if n_relabelled > 0 {
            self.notes.push(format!(
                "{n_relabelled} images have different labels in another run: all runs are scored with the \
                 labels of the first"
            ));
        }
        let mut scored = Vec::new();
        for (projection, tallies, confusion) in scopes {
            let groups: Vec<_> = tallies.into_iter().map(GroupSums::groups).collect();
            let f1 = (0..projection.n_classes()).map(|it| confusion.class(it).f1).collect();
            scored.push(Scored { scores: self.resamples.scores(&groups), f1 });
        }
        Ok(scored)
    }

    fn print(&self, a: &Side, b: &Side) {
        let sides = [a.runs.as_slice(), b.runs.as_slice()];
        // An interval is below its value: side by side, a row is wider than a terminal.
        let interval = |it: Interval| format!("{:.4}\n[{:.4}, {:.4}]", it.value, it.low, it.high);
        let gain = |it: Interval| format!("{:+.4}\n[{:+.4}, {:+.4}]", it.value, it.low, it.high);
        let heading = match self.metrics.as_slice() {
            [(name, _)] => short(name).0,
            _ => "metric".to_owned(),
        };
        let mut scores =
            vec![[heading.as_str(), "A", "B", "B - A", "P(B better)"].map(str::to_owned)];
        let mut classes = vec![["f1-score", "support", "A", "B", "B - A"].map(str::to_owned)];
        let mut left_out = Vec::new();
        for ((scope, support), (a, b)) in
            self.task.scopes().into_iter().zip(&self.supports).zip(a.scopes.iter().zip(&b.scopes))
        {
            let name = self.task.scope_name(scope);
            for ((metric_name, metric), (a, b)) in
                self.metrics.iter().zip(a.scores.iter().zip(&b.scores))
            {
                // The predicted number is that of one factor, the same in all scopes.
                let is_of_other = metric.needs_numbers() && scope != scope_of_number(&self.task);
                if is_of_other || metric.is_constant(support.len()) {
                    continue;
                }
                let it: Comparison = compare_sides(*metric, a, b);
                emit("score", ScoreEvent::of(&sides, name, metric_name, &it));
                let row = match self.metrics.len() {
                    1 => name.to_owned(),
                    _ => short(metric_name).0,
                };
                scores.push([
                    row,
                    interval(it.a),
                    interval(it.b),
                    gain(it.difference),
                    format!("{:.3}", it.b_is_better),
                ]);
            }
            let gain = |class: usize| b.f1[class] - a.f1[class];
            for (class, support) in support.iter().enumerate() {
                let [a_f1, b_f1] = [a, b].map(|it| it.f1[class]);
                emit(
                    "class",
                    json!({
                        "a": sides[0],
                        "b": sides[1],
                        "scope": name,
                        "class": class,
                        "name": self.task.class_name(class, scope),
                        "support": support,
                        "a_f1": a_f1,
                        "b_f1": b_f1,
                    }),
                );
            }
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
        for (short, settings) in self.metrics.iter().map(|it| short(&it.0)) {
            settings.iter().for_each(|it| say!("{}", wrapped(&format!("{short}: "), it)));
        }
        say!("\n{}", headed(&columns(&classes, &[false, true, true, true, true])));
        left_out.iter().for_each(|it| say!("{it}"));
    }
}

#[cfg(test)]
mod tests {
    use base::{
        Task,
        task::{Factor, Scope},
    };

    use super::{RunsArgs, metrics, scope_of_number, short};
    use crate::args::JsonArgs;

    fn names(task: &Task, by: &str) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct Settings {
            by: metrics::MetricConfig,
        }
        let Settings { by } = toml::from_str(&format!("by = {by}")).unwrap();
        let json = JsonArgs::default();
        let args =
            RunsArgs { runs: Vec::new(), a: Vec::new(), b: Vec::new(), test: false, by, json };
        metrics(&args, task).into_iter().map(|it| it.0).collect()
    }

    #[test]
    fn a_number_belongs_to_its_factor() {
        let mut task = Task::mask_gender_age();
        assert_eq!(scope_of_number(&task), Scope::Factor(2));
        task.factors[1] = Factor::ranges("height", &["<160", ">=160"], &[160.0]);
        assert_eq!(scope_of_number(&task), Scope::Joint);
        task.factors.truncate(2);
        assert_eq!(scope_of_number(&task), Scope::Factor(1));
        // Of one factor, the joint classes are its levels.
        task.factors.remove(0);
        assert_eq!(scope_of_number(&task), Scope::Joint);
    }

    #[test]
    fn a_task_of_one_factor_is_compared_by_several_metrics() {
        let levels: Vec<String> = (0..12).map(|it| it.to_string()).collect();
        let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
        let [many, few] =
            [&levels[..], &levels[..10]].map(|it| Task::new(vec![Factor::new("class", it)]));
        let f1 = "{ kind = \"macro_f1\" }";
        assert_eq!(names(&many, f1), ["macro_f1", "accuracy", "top_5", "log_loss"]);
        assert_eq!(names(&few, f1), ["macro_f1", "accuracy", "top_2", "log_loss"]);
        assert_eq!(names(&Task::mask_gender_age(), f1), ["macro_f1"]);
        // Of two classes, top-2 accuracy is always 1.
        let two = Task::new(vec![Factor::new("class", &["cat", "dog"])]);
        assert_eq!(names(&two, f1), ["macro_f1", "accuracy", "log_loss"]);
        let top = "{ kind = \"top_k\" }";
        assert_eq!(names(&few, top), ["top_2", "accuracy", "log_loss"]);
        assert_eq!(names(&many, top), ["top_2", "accuracy", "top_5", "log_loss"]);
        // None is there twice, and settings tell two apart.
        let loss = "{ kind = \"log_loss\" }";
        assert_eq!(names(&many, loss), ["log_loss", "accuracy", "top_5"]);
        let clipped = "{ kind = \"log_loss\", clip = [0.001, 0.99] }";
        let all = names(&many, clipped);
        assert_eq!(all, ["log_loss clip=[0.001, 0.99]", "accuracy", "top_5", "log_loss"]);
        assert_eq!(short(&all[0]), ("log_loss*".to_owned(), Some("clip=[0.001, 0.99]")));
        assert_eq!(short("top_5"), ("top_5".to_owned(), None));
    }
}
