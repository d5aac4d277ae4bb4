//! Soups: the mean of weights, norms measured anew, what is held out, and the last checkpoints of a run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle::{Device, Tensor};
use data::{Batch, Manifest};
use models::{Kind, Model};
use ops::{Pass, Rows, Tape, Training};
use trainer::{
    Ended, Ingredient, Plan, Run, Soup, SoupError, SoupKind, fit, load_epoch, soup, soup_plan,
};

use crate::small::{StopsAt, experiment, manifest};

/// Trains a small run in a folder.
fn train(dir: &Path, name: &str, sets: &[&str]) -> PathBuf {
    let (path, experiment) = (dir.join(name), experiment(sets));
    let run = Run::create(&path, &experiment.to_toml()).unwrap();
    let manifest = manifest(&experiment);
    let fold = experiment.data.fold;
    let plan = Plan::new(&experiment, &manifest, fold, &Device::Cpu, &StopsAt::never()).unwrap();
    let ended = fit(&plan, &run, &StopsAt::never()).unwrap();
    assert!(matches!(ended, Ended::Finished(_)));
    path
}

#[expect(clippy::result_large_err, reason = "tests return it once")]
fn plan_of(ingredients: &[Ingredient], manifest: &Manifest) -> Result<Plan, SoupError> {
    soup_plan(&experiment(&[]), manifest, ingredients, &Device::Cpu, &StopsAt::never())
}

#[expect(clippy::result_large_err, reason = "tests return it once")]
fn made(ingredients: &[Ingredient], kind: SoupKind, is_measured: bool) -> Result<Soup, SoupError> {
    let plan = plan_of(ingredients, &manifest(&experiment(&[])))?;
    soup(&plan, ingredients, kind, is_measured, &StopsAt::never())
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The numbers of every parameter and buffer.
fn all(model: &Model) -> BTreeMap<String, (Kind, Vec<f32>)> {
    let named = model.params().named();
    named.map(|(name, it)| (name.to_owned(), (it.kind, numbers(it.var.as_tensor())))).collect()
}

/// The running statistics of each batch of the plan's last epoch, by themselves.
fn statistics_of_batches(plan: &Plan, model: &Model) -> Vec<BTreeMap<String, (Kind, Vec<f32>)>> {
    let last = plan.epochs.total() - 1;
    let augment::Statistics { mean, std } = plan.train_pipeline.statistics;
    let of_batch = |batch: Batch| {
        let rows = Rows { images: &batch.images, size: batch.size, samples: &batch.samples };
        let xs = ops::normalise(rows, mean, std, &Device::Cpu).unwrap();
        let tape = Tape::default();
        let (seed, momentum) = (plan.seed(), Some(1.0));
        let pass = Training { tape: &tape, seed, step: last, first_row: 0, momentum };
        model.forward(&xs, &Pass::Train(pass)).unwrap();
        all(model)
    };
    load_epoch(plan, last - plan.epochs.find(last).1).map(|it| of_batch(it.unwrap())).collect()
}

#[test]
fn a_uniform_soup_has_the_mean_weights_and_the_norms_of_a_plain_pass() {
    let dir = tempfile::tempdir().unwrap();
    let runs =
        [("a", "seed=0"), ("b", "seed=1")].map(|(name, set)| train(dir.path(), name, &[set]));
    let ingredients = runs.each_ref().map(|it| Ingredient::best(it));
    let manifest = manifest(&experiment(&[]));
    let plan = plan_of(&ingredients, &manifest).unwrap();
    // Both runs have the same split: that of a plain run.
    assert_eq!(plan.sides, crate::small::plan(&experiment(&[])).sides);

    let parts =
        ingredients.each_ref().map(|it| all(&it.open(&Device::Cpu).unwrap().members[0].model));
    let make = |is_measured: bool| {
        soup(&plan, &ingredients, SoupKind::Uniform, is_measured, &StopsAt::never()).unwrap()
    };
    let (averaged, measured) = (make(false), make(true));
    assert_eq!((averaged.kept.len(), averaged.scores.len()), (2, 2));
    let valid = averaged.validate(&plan, &dir.path().join("valid.csv"), &StopsAt::never()).unwrap();
    assert_eq!(valid.unwrap().n_images, plan.sides.valid.len());
    assert!(dir.path().join("valid.csv").is_file());
    let [plain, anew] = [&averaged, &measured].map(|it| all(&it.bundle.members[0].model));
    let mut n_other = 0;
    for (name, (kind, numbers)) in &plain {
        let [a, b] = parts.each_ref().map(|it| &it[name].1);
        for (idx, it) in numbers.iter().enumerate() {
            let mean = (f64::from(a[idx]) + f64::from(b[idx])) / 2.0;
            assert!(*it == mean as f32, "{name}[{idx}]: {it} is not {mean}");
        }
        let is_same = *numbers == anew[name].1;
        n_other += usize::from(!is_same);
        assert!(is_same || *kind == Kind::Buffer, "{name}");
    }
    assert!(n_other > 0, "no norm was measured");

    let batches = statistics_of_batches(&plan, &averaged.bundle.members[0].model);
    assert!(batches.len() > 2, "{}", batches.len());
    for (name, (kind, got)) in &anew {
        if *kind != Kind::Buffer {
            continue;
        }
        for (idx, got) in got.iter().enumerate() {
            let sum: f64 = batches.iter().map(|it| f64::from(it[name].1[idx])).sum();
            let want = sum / batches.len() as f64;
            let is_close = (f64::from(*got) - want).abs() <= 1e-5 * (1.0 + want.abs());
            assert!(is_close, "{name}[{idx}]: {got} is not {want}");
        }
    }
    // The same bits again.
    assert!(all(&make(true).bundle.members[0].model) == anew);
}

#[test]
fn everything_that_differs_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let short = "train.total=1 steps";
    let a = train(dir.path(), "a", &[short]);
    let b = train(
        dir.path(),
        "b",
        &[short, "head.kind=joint", "augment.eval=[{ kind = \"center_crop\", size = [32, 26] }]"],
    );
    let both = [&a, &b].map(|it| Ingredient::best(it));
    let err = plan_of(&both, &manifest(&experiment(&[]))).map(drop).unwrap_err().to_string();
    for want in ["`model.head", "`pipeline.ops`", "runs with the same network"] {
        assert!(err.contains(want), "{want}: {err}");
    }
    assert!(!err.contains("`task"), "{err}");
}

#[test]
fn folds_hold_out_nobody_together() {
    let dir = tempfile::tempdir().unwrap();
    let folds = [0, 1].map(|fold| {
        let split = "data.split={ kind = \"stratified_kfold\", n_folds = 2 }";
        let sets = [split, &format!("data.fold={fold}"), "train.total=1 epochs"];
        Ingredient::best(&train(dir.path(), &format!("fold-{fold}"), &sets))
    });
    let soup = made(&folds, SoupKind::Uniform, true).unwrap();
    let plan = plan_of(&folds, &manifest(&experiment(&[]))).unwrap();
    let valid = soup.validate(&plan, &dir.path().join("valid.csv"), &StopsAt::never()).unwrap();
    assert!(valid.is_none() && soup.scores.is_empty());
    assert_eq!(soup.kept, [0, 1]);
    let err = made(&folds, SoupKind::Greedy, true).map(drop).unwrap_err();
    assert!(matches!(err, SoupError::NoneHeldOut), "{err}");
}

#[test]
fn the_last_checkpoints_of_a_run_are_averaged() {
    let dir = tempfile::tempdir().unwrap();
    let run = train(dir.path(), "a", &["checkpoint.keep=3"]);
    let ingredients = Ingredient::last(&run, 3).unwrap();
    let names: Vec<String> = ingredients.iter().map(ToString::to_string).collect();
    let total = crate::small::plan(&experiment(&[])).epochs.total();
    assert!(names[2].ends_with(&format!("a, step {total}")), "{names:?}");

    let soup = made(&ingredients, SoupKind::Greedy, true).unwrap();
    let best = soup.scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let plan = plan_of(&ingredients, &manifest(&experiment(&[]))).unwrap();
    let valid = soup.validate(&plan, &dir.path().join("valid.csv"), &StopsAt::never()).unwrap();
    let valid = valid.unwrap();
    // Each model that is kept did not lower the score.
    assert!(valid.joint().macro_f1.value >= best, "{:?}", soup.scores);
    let together = made(&ingredients, SoupKind::Ensemble, true).unwrap();
    assert_eq!((together.bundle.members.len(), together.kept.len()), (3, 3));
    let report: toml::Table =
        soup.to_toml(&ingredients, SoupKind::Greedy, Some(&valid)).parse().unwrap();
    assert_eq!(report["kind"].as_str(), Some("greedy"));
    assert_eq!(report["models"].as_array().unwrap().len(), 3);

    let last = Ingredient::last(&run, 1).unwrap().remove(0).open(&Device::Cpu).unwrap();
    let path = run.join("checkpoints").join(format!("{total:08}.safetensors"));
    let checkpoint = candle::safetensors::load(path, &Device::Cpu).unwrap();
    for (name, tensor) in last.members[0].model.params().to_file().unwrap() {
        assert!(numbers(&tensor) == numbers(&checkpoint[&format!("model.{name}")]), "{name}");
    }
    let err = Ingredient::last(&run, 9).unwrap_err().to_string();
    assert!(err.contains("only 3 of the last 9") && err.contains("checkpoint.keep=9"), "{err}");
}

#[test]
fn an_exponential_average_is_taken_where_a_checkpoint_has_one() {
    let dir = tempfile::tempdir().unwrap();
    for (average, part) in [("ema", "average"), ("swa", "model")] {
        let sets = [&format!("average.kind={average}"), "train.total=1 epochs"];
        let run = train(dir.path(), average, &sets);
        let last = Ingredient::last(&run, 1).unwrap().remove(0).open(&Device::Cpu).unwrap();
        let path =
            std::fs::read_dir(run.join("checkpoints")).unwrap().next().unwrap().unwrap().path();
        let checkpoint = candle::safetensors::load(path, &Device::Cpu).unwrap();
        for (name, tensor) in last.members[0].model.params().to_file().unwrap() {
            let want = &checkpoint[&format!("{part}.{name}")];
            assert!(numbers(&tensor) == numbers(want), "{average}: {name}");
        }
    }
}
