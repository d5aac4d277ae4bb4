//! `maskfit soup`

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::bail;
use candle::Device;
use trainer::{
    Ingredient, SoupKind, check_device, check_memory, kfold::is_kfold, soup as average, soup_plan,
};

use super::{kfold::places::located, train::conclude};
use crate::{
    End,
    args::SoupArgs,
    bundles,
    new_folder::NewFolder,
    preparation::{check_settings, manifest, use_threads},
    runs,
    style::{BEST, headed, paint},
    tables::macro_f1,
    terminal::Terminal,
    trained_on::TrainedOn,
    wrap::{columns, wrapped},
};

/// The tag of the weights in the bundle.
const TAG: &str = "soup";

pub(crate) fn soup(args: &SoupArgs) -> anyhow::Result<End> {
    let begun = Instant::now();
    let folder = NewFolder::at(&args.output)?;
    let named = args.runs.iter().map(|it| runs::find(it)).collect::<anyhow::Result<Vec<_>>>()?;
    let ingredients = ingredients(&named, args.last)?;
    bundles::note_unfinished(&args.runs)?;
    let experiment = match is_kfold(&named[0]) {
        true => located(&named[0], &args.set)?.own,
        false => runs::experiment_of(&named[0], &args.set)?,
    };
    check_settings(&experiment)?;
    use_threads(experiment.threads)?;
    check_device(experiment.device)?;
    let terminal = Terminal::new();
    let manifest = manifest(&experiment, &terminal)?;
    let plan = soup_plan(&experiment, &manifest, &ingredients, &Device::Cpu, &terminal)?;
    check_memory(&plan, &terminal)?;
    if plan.sides.valid.is_empty() {
        terminal.status(
            "note: every image was trained on by one of the models, so there is no held-out score",
        );
    }
    let soup = average(&plan, &ingredients, args.kind, !args.average_norms, &terminal);
    terminal.clear();
    let soup = soup?;
    soup.bundle.save(folder.begun()?, TAG)?;
    let valid = soup.validate(&plan, &folder.begun()?.join("valid.csv"), &terminal);
    terminal.clear();
    let valid = valid?;
    let report = soup.to_toml(&ingredients, args.kind, valid.as_ref());
    folder.write("report.toml", report.as_bytes())?;
    for (name, text) in trained_on(&ingredients)?.tables() {
        folder.write(name, text.as_bytes())?;
    }
    folder.finish()?;

    let cell = |idx: usize| soup.scores.get(idx).map_or("-".to_owned(), |it| format!("{it:.4}"));
    let mut rows = vec![["model", "held-out macro F1", "kept"].map(str::to_owned)];
    for (idx, it) in ingredients.iter().enumerate() {
        let kept = if soup.kept.contains(&idx) { "yes" } else { "no" };
        rows.push([it.to_string(), cell(idx), kept.to_owned()]);
    }
    say!("{}\n", headed(&columns(&rows, &[false, true, false])));
    let (n_kept, n) = (soup.kept.len(), ingredients.len());
    let what = match args.kind {
        SoupKind::Ensemble => format!("ensemble of {n} models"),
        kind => format!("{kind} soup of {n_kept} of {n} models"),
    };
    say!("{}", paint(BEST, what));
    if let Some(it) = &valid {
        let biased = match args.kind {
            SoupKind::Greedy => {
                "; optimistically biased: selected on these images, no nested estimate"
            }
            SoupKind::Uniform | SoupKind::Ensemble => "",
        };
        say!("{}", wrapped("  held out: ", &format!("{}{biased}", macro_f1(it))));
    }
    say!("bundle: {}", args.output.display());
    conclude(&args.output, begun);
    Ok(End::Done)
}

/// Returns the models of runs and of the folds of cross-validations.
fn ingredients(named: &[PathBuf], last: Option<usize>) -> anyhow::Result<Vec<Ingredient>> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for best in named.iter().map(|it| bundles::dirs(it)).collect::<anyhow::Result<Vec<_>>>()? {
        for best in best {
            // A run's best bundle is in its folder.
            let run = best.parent().unwrap_or(Path::new("."));
            if !best.ends_with("best") || !run.join("config.toml").is_file() {
                problems.push(format!(
                    "{}: this is not a run, so what it was trained on is unknown: name runs or \
                     cross-validations",
                    best.display()
                ));
                continue;
            }
            match last {
                None => found.push(Ingredient::best(run)),
                Some(n) => match Ingredient::last(run, n) {
                    Ok(it) => found.extend(it),
                    Err(err) => problems.push(err.to_string()),
                },
            }
        }
    }
    for (idx, it) in found.iter().enumerate() {
        if found[..idx].contains(it) {
            problems.push(format!("{it}: is named twice"));
        }
    }
    if problems.is_empty() && found.len() < 2 {
        problems.push(
            "a soup needs at least two models: name several runs, or use `--last`".to_owned(),
        );
    }
    match problems.is_empty() {
        true => Ok(found),
        false => bail!("{}", problems.join("\n")),
    }
}

/// Returns what the models were trained on. The norms are measured over the images of all of them.
fn trained_on(ingredients: &[Ingredient]) -> anyhow::Result<TrainedOn> {
    let mut all = TrainedOn::default();
    for it in ingredients {
        TrainedOn::of(&it.run().join("best"))?.into_iter().for_each(|it| all.add(it));
    }
    Ok(all)
}
