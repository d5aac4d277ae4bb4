//! `maskfit compare`

use std::path::PathBuf;

use anyhow::bail;
use base::{Seed, task::Scope};
use infer::Graded;
use metrics::{Confusion, Interval, Metric, N_DRAWS, Predictions, compare as compare_sides};

use crate::{End, args::RunsArgs, runs, tables::columns};

/// Pictures that are named, of those that are missing.
const SHOWN: usize = 5;

/// The runs of one side.
struct Side {
    name: String,
    graded: Vec<Graded>,
}

pub(crate) fn compare(args: &RunsArgs) -> anyhow::Result<End> {
    let named: Vec<Vec<PathBuf>> = match args.a.is_empty() {
        true => args.runs.iter().map(|it| vec![it.clone()]).collect(),
        false => vec![args.a.clone(), args.b.clone()],
    };
    if named.len() < 2 {
        bail!("name two runs or more, or the runs of two sides: --a RUN... --b RUN...");
    }
    let mut sides = named.iter().map(|it| side(it, args.scored)).collect::<Result<Vec<_>, _>>()?;
    let mut notes = Vec::new();
    let (first, others) = sides.split_at_mut(1);
    let (reference, rest) = first[0].graded.split_at_mut(1);
    for it in rest.iter_mut().chain(others.iter_mut().flat_map(|it| &mut it.graded)) {
        notes.extend(align(&reference[0], it)?);
    }
    let metric = args.by.get();
    let has_years = |it: &Graded| it.predictions.years.is_some();
    if metric.needs_years() && !sides.iter().flat_map(|it| &it.graded).all(has_years) {
        bail!("`{}` judges years, which not every run has a head for", args.by.kind());
    }
    let graded = &sides[0].graded[0];
    say!("{} pictures of {} people", graded.pictures.len(), graded.people.len());
    notes.iter().for_each(|it| say!("note: {it}"));
    for other in &sides[1..] {
        say!("\nA: {}\nB: {}", sides[0].name, other.name);
        print(&sides[0], other, args.by.kind(), metric);
    }
    say!("\nIn brackets: 95 % of {N_DRAWS} draws of the people, the same for A and B.");
    say!("The last column is the share of draws in which B is better; equal ones count half.");
    Ok(End::Done)
}

fn side(named: &[PathBuf], scored: bool) -> anyhow::Result<Side> {
    let names: Vec<String> = named.iter().map(|it| it.display().to_string()).collect();
    let graded = named.iter().map(|it| runs::graded(it, scored)).collect::<Result<_, _>>()?;
    Ok(Side { name: names.join(", "), graded })
}

/// Makes sure that both are of the same pictures, and has both judged by the reference's labels; says
/// so where they differ.
fn align(reference: &Graded, it: &mut Graded) -> anyhow::Result<Option<String>> {
    if reference.predictions.task != it.predictions.task {
        bail!("the runs answer different questions: their classes differ");
    }
    // Both are in the order of the names.
    let absent = |from: &Graded, of: &Graded| -> Vec<String> {
        let names = of.pictures.iter().filter(|it| from.pictures.binary_search(it).is_err());
        names.cloned().collect()
    };
    let (lacks, has_more) = (absent(it, reference), absent(reference, it));
    if !lacks.is_empty() || !has_more.is_empty() {
        let list = |names: &[String]| match names.len() {
            0 => "none".to_owned(),
            n @ ..=SHOWN => format!("{n} ({})", names.join(", ")),
            n => format!("{n} ({}, ...)", names[..SHOWN].join(", ")),
        };
        bail!(
            "the runs are not of the same pictures: only in the first: {}; only in the other: {}: \
             compare runs of the same data, `data.split`, `data.split_seed` and `data.fold`, \
             cross-validations, or what they are --scored on",
            list(&lacks),
            list(&has_more)
        );
    }
    if reference.people != it.people || reference.predictions.people != it.predictions.people {
        bail!("the runs put the same pictures to different people: their data differs");
    }
    let pairs = reference.predictions.classes.iter().zip(&it.predictions.classes);
    let n_other = pairs.filter(|(a, b)| a != b).count();
    it.predictions.classes.clone_from(&reference.predictions.classes);
    it.predictions.ages.clone_from(&reference.predictions.ages);
    Ok((n_other > 0).then(|| {
        format!("{n_other} pictures have other labels in another run: those of the first judge all")
    }))
}

fn print(a: &Side, b: &Side, kind: &str, metric: &dyn Metric) {
    let of = |side: &Side, scope: Scope| -> Vec<Predictions> {
        side.graded.iter().map(|it| it.predictions.project(scope)).collect()
    };
    let task = &a.graded[0].predictions.task;
    let interval = |it: Interval| format!("{:.4} [{:.4}, {:.4}]", it.value, it.low, it.high);
    let gain = |it: Interval| format!("{:+.4} [{:+.4}, {:+.4}]", it.value, it.low, it.high);
    let mut scores = vec![[kind, "A", "B", "B - A", "B better"].map(str::to_owned)];
    let mut classes = vec![["F1", "pictures", "A", "B", "B - A"].map(str::to_owned)];
    for scope in task.scopes() {
        let (a, b) = (of(a, scope), of(b, scope));
        let it = compare_sides(metric, &a, &b, N_DRAWS, Seed(0));
        scores.push([
            task.scope_name(scope).to_owned(),
            interval(it.a),
            interval(it.b),
            gain(it.difference),
            format!("{:.3}", it.b_is_better),
        ]);
        let confusions =
            |side: &[Predictions]| -> Vec<Confusion> { side.iter().map(Confusion::of).collect() };
        let (a, b) = (confusions(&a), confusions(&b));
        for (class, name) in task.class_names(scope).into_iter().enumerate() {
            let f1 = |side: &[Confusion]| {
                side.iter().map(|it| it.class(class).f1).sum::<f64>() / side.len() as f64
            };
            let (f1_a, f1_b) = (f1(&a), f1(&b));
            classes.push([
                match scope {
                    Scope::Joint => name,
                    Scope::Factor(_) => format!("{}: {name}", task.scope_name(scope)),
                },
                a[0].class(class).support.to_string(),
                format!("{f1_a:.3}"),
                format!("{f1_b:.3}"),
                format!("{:+.3}", f1_b - f1_a),
            ]);
        }
    }
    say!("\n{}", columns(&scores, &[false, true, true, true, true]));
    say!("\n{}", columns(&classes, &[false, true, true, true, true]));
}
