//! Several runs side by side: their scores, and the paired differences to the first one, on the same bootstrap
//! resamples of the groups.
//!
//! A difference is computed where the other run predicted exactly the images of the first, of the same groups; its
//! scores use the labels of the first.

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
            all.push(None);
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
                all.push(Some(resampled(scores, &resamples)));
            }
            Err(reason) => {
                notes.push(format!("`{}` is not compared: {reason}.", it.name));
                all.push(None);
            }
        }
    }
    let scopes = task.scopes();
    let mut rows = Vec::new();
    for (at, scope) in scopes.into_iter().enumerate() {
        for (of, (name, metric)) in METRICS.iter().enumerate() {
            rows.push(ComparedScope {
                name: task.scope_name(scope).to_owned(),
                metric: (*name).to_owned(),
                more_is_better: metric.more_is_better(),
                rows: of_metric(found, &all, *metric, n_groups, at, of),
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
/// - `at`, `of`: the positions of the scope and of the metric.
fn of_metric(
    found: &[Found],
    all: &[Option<Scores>],
    metric: &dyn Metric,
    n_groups: usize,
    at: usize,
    of: usize,
) -> Vec<ComparedRun> {
    let bootstrapped = |idx: usize| all.get(idx)?.as_ref()?.get(at)?.get(of);
    let estimate = |it: metrics::Interval| match n_groups {
        0 | 1 => Estimate::of(it.value),
        _ => it.into(),
    };
    let row = |(idx, run): (usize, &Found)| {
        let own = bootstrapped(idx);
        let name = run.name.clone();
        let score = own.map_or_else(Estimate::default, |it| estimate(it.interval()));
        let pair = own.filter(|_| idx > 0).and_then(|it| Some((bootstrapped(0)?, it)));
        let compared = pair.map(|(first, it)| compare_sides(metric, first, it));
        ComparedRun {
            name,
            score,
            difference: compared.map(|it| estimate(it.difference)),
            better: compared.and_then(|it| defined(it.b_is_better)),
        }
    };
    found.iter().enumerate().map(row).collect()
}

/// The sums of the scopes, and the number of images whose labels differ from the reference's.
type Summed = (Vec<Vec<GroupSums<'static>>>, usize);

/// Reads a table and scores it on the images of the first; the inner error is why it cannot be compared.
fn score(found: &Found, task: &Task, index: &Index) -> anyhow::Result<Result<Summed, String>> {
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
            let many = task.unit.many();
            return Ok(Err(format!("it assigns the same images to other {many}")));
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
        return Ok(Err(format!(
            "it predicted other images ({n_absent} are missing, {n_foreign} are new)"
        )));
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
