//! Several runs side by side: their scores, and the paired differences to the first one, on the same bootstrap
//! resamples of the groups.
//!
//! A difference is computed where the other run predicted exactly the images of the first, of the same groups and
//! classes; its scores use the labels of the first. Any other run has the scores of its own images.

use base::{Seed, Task};
use infer::{Index, LabelledReader, Row};
use metrics::{
    Accuracy, Bootstrapped, GroupSums, LogLoss, MacroF1, Metric, N_RESAMPLES, Projection,
    Resamples, compare as compare_sides,
};
use report::{Compared, ComparedRun, ComparedScope, Estimate, defined};

use super::found::Found;

/// The scores that are compared, with their names.
const METRICS: [(&str, &dyn Metric); 3] =
    [("macro F1", &MacroF1::DEFAULT), ("accuracy", &Accuracy {}), ("log loss", &LogLoss::DEFAULT)];

/// The scores of a run: by scope and metric.
type Scores = Vec<Vec<Bootstrapped>>;

/// A run beside the first.
struct Side {
    scores: Scores,
    n_groups: usize,
    /// The names of the scopes.
    scopes: Vec<String>,
    /// Why there is no difference, such as `other images`; empty if there is one.
    why_none: String,
}

impl Side {
    /// Returns a score by the name of its scope and the position of its metric.
    fn of(&self, scope: &str, metric: usize) -> Option<&Bootstrapped> {
        let at = self.scopes.iter().position(|it| it == scope)?;
        self.scores.get(at)?.get(metric)
    }
}

/// Compares runs with the first.
pub(super) fn compare(found: &[Found]) -> anyhow::Result<Compared> {
    let Some(first) = found.first() else { return Ok(Compared::default()) };
    let task = &first.task;
    let index = Index::of(std::slice::from_ref(&first.table), task)?;
    index.check()?;
    let n_groups = index.groups.len();
    let resamples = Resamples::new(n_groups, N_RESAMPLES, Seed(0));
    let (mut all, mut notes) = (Vec::new(), Vec::new());
    for it in found {
        if it.task.factors != task.factors {
            notes.push(format!(
                "`{}` has other classes than `{}`: it is not compared.",
                it.name, first.name
            ));
            all.push(alone(it, "other classes")?);
            continue;
        }
        match score(it, task, &index)? {
            Ok((scores, n_relabelled)) => {
                if n_relabelled > 0 {
                    notes.push(format!(
                        "{n_relabelled} images have other labels in `{}`: it is scored with those of `{}`.",
                        it.name, first.name
                    ));
                }
                all.push(Side {
                    scores: resampled(scores, &resamples),
                    n_groups,
                    scopes: names(task),
                    why_none: String::new(),
                });
            }
            Err(Unlike { what, reason }) => {
                notes.push(format!("`{}` is not compared: {reason}.", it.name));
                all.push(alone(it, &what)?);
            }
        }
    }
    let mut rows = Vec::new();
    for scope in names(task) {
        for (of, (name, metric)) in METRICS.iter().enumerate() {
            rows.push(ComparedScope {
                name: scope.clone(),
                metric: (*name).to_owned(),
                more_is_better: metric.more_is_better(),
                rows: of_metric(found, &all, *metric, &scope, of),
            });
        }
    }
    Ok(Compared {
        reference: first.name.clone(),
        images: format!(
            "the {} ({})",
            first.set,
            task.unit.images_of(index.images.len(), n_groups)
        ),
        notes,
        scopes: rows,
    })
}

/// Returns the rows of a table.
///
/// - `scope`: the name of the scope; a run of other classes has a score if it has such a scope too.
/// - `of`: the position of the metric.
fn of_metric(
    found: &[Found],
    all: &[Side],
    metric: &dyn Metric,
    scope: &str,
    of: usize,
) -> Vec<ComparedRun> {
    let estimate = |side: &Side, it: metrics::Interval| match side.n_groups {
        0 | 1 => Estimate::of(it.value),
        _ => it.into(),
    };
    let first = all.first().and_then(|it| it.of(scope, of));
    let row = |(idx, (run, side)): (usize, (&Found, &Side))| {
        let own = side.of(scope, of);
        let is_paired = idx > 0 && side.why_none.is_empty();
        let pair = own.filter(|_| is_paired).and_then(|it| Some((first?, it)));
        let compared = pair.map(|(first, it)| compare_sides(metric, first, it));
        ComparedRun {
            name: run.name.clone(),
            score: own.map_or_else(Estimate::default, |it| estimate(side, it.interval())),
            difference: compared.map(|it| estimate(side, it.difference)),
            better: compared.and_then(|it| defined(it.b_is_better)),
            why_none: side.why_none.clone(),
        }
    };
    found.iter().zip(all).enumerate().map(row).collect()
}

/// Returns the names of the scopes of a task.
fn names(task: &Task) -> Vec<String> {
    task.scopes().into_iter().map(|it| task.scope_name(it).to_owned()).collect()
}

/// Scores a run on its own images, which are not compared.
fn alone(found: &Found, why_none: &str) -> anyhow::Result<Side> {
    let task = &found.task;
    let index = Index::of(std::slice::from_ref(&found.table), task)?;
    let n_groups = index.groups.len();
    let scores = match score(found, task, &index)? {
        Ok((sums, _)) => resampled(sums, &Resamples::new(n_groups, N_RESAMPLES, Seed(0))),
        // The table has its own images.
        Err(_) => Scores::new(),
    };
    Ok(Side { scores, n_groups, scopes: names(task), why_none: why_none.to_owned() })
}

/// The sums of the scopes, and the number of images whose labels differ from the reference's.
type Summed = (Vec<Vec<GroupSums<'static>>>, usize);

/// Why a run cannot be compared with the first.
struct Unlike {
    /// What is other, such as `other images`.
    what: String,
    reason: String,
}

/// Reads a table and scores it on the images of the first; the inner error is why it cannot be compared.
fn score(found: &Found, task: &Task, index: &Index) -> anyhow::Result<Result<Summed, Unlike>> {
    let mut reader = LabelledReader::open(&found.table, task)?;
    let mut scopes: Vec<(Projection, Vec<GroupSums<'static>>)> = Projection::all(task)
        .into_iter()
        .map(|it| {
            let n = it.n_classes();
            (it, METRICS.iter().map(|(_, metric)| GroupSums::new(*metric, n)).collect())
        })
        .collect();
    let mut is_there = vec![false; index.images.len()];
    let (mut n_foreign, mut n_relabelled, mut row) = (0, 0, Row::default());
    while reader.next(&mut row)? {
        let Some(at) = index.position(&row.image) else {
            n_foreign += 1;
            continue;
        };
        let image = &index.images[at];
        if index.groups[image.group] != row.group {
            let what = format!("other {}", task.unit.many());
            let reason = format!("it assigns the same images to {what}");
            return Ok(Err(Unlike { what, reason }));
        }
        is_there[at] = true;
        n_relabelled += usize::from(row.class != image.class);
        row.class = image.class;
        let it = row.prediction(image.group);
        for (projection, sums) in &mut scopes {
            let it = &projection.of(&it);
            sums.iter_mut().for_each(|sum| sum.add(it));
        }
    }
    let n_absent = is_there.iter().filter(|it| !**it).count();
    if n_absent + n_foreign > 0 {
        let what = "other images".to_owned();
        let reason = format!("it predicted {what} ({n_absent} are missing, {n_foreign} are new)");
        return Ok(Err(Unlike { what, reason }));
    }
    Ok(Ok((scopes.into_iter().map(|it| it.1).collect(), n_relabelled)))
}

fn resampled(scopes: Vec<Vec<GroupSums<'static>>>, resamples: &Resamples) -> Scores {
    let groups = |sums: Vec<GroupSums<'static>>| {
        let groups: Vec<_> = sums.into_iter().map(GroupSums::groups).collect();
        resamples.scores(&groups)
    };
    scopes.into_iter().map(groups).collect()
}
