//! Stratified folds against scikit-learn's `StratifiedGroupKFold`: see folds.py.

use base::{Seed, Task, task::Factor};
use data::{Balance, Content, Example, Manifest, SplitConfig, Use};

use super::golden;

/// The number of seeds that each data set is split with.
const N_SEEDS: u64 = 10;

/// Groups with these numbers of images of each class.
fn manifest(groups: &[Vec<(usize, usize)>], task: Task) -> Manifest {
    let mut examples = Vec::new();
    for (group, counts) in groups.iter().enumerate() {
        for (class, n) in counts {
            for idx in 0..*n {
                examples.push(Example {
                    name: format!("{group}/{class}/{idx}"),
                    content: Content::Memory([].into()),
                    group,
                    class: *class,
                    numbers: Vec::new(),
                    attributes: Vec::new(),
                    usage: Use::Pool,
                    weight: 1.0,
                    hash: None,
                });
            }
        }
    }
    let names = (0..groups.len()).map(|it| format!("group {it}")).collect();
    Manifest::new(task, names, examples)
}

#[test]
fn folds_are_at_least_as_balanced_as_those_of_scikit_learn() {
    for set in golden("folds").at("sets").list() {
        let (name, n_classes): (String, usize) = (set.to("name"), set.to("n_classes"));
        let (deviation, shuffled): (f64, f64) = (set.to("deviation"), set.to("shuffled"));
        let levels: Vec<String> = (0..n_classes).map(|it| format!("class {it}")).collect();
        let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
        let task = match name.as_str() {
            "people" => Task::mask_gender_age(),
            _ => Task::new(vec![Factor::new("class", &levels)]),
        };
        let manifest = manifest(&set.to::<Vec<Vec<(usize, usize)>>>("groups"), task);
        let n_folds: usize = set.to("n_folds");
        let split: SplitConfig =
            toml::from_str(&format!("kind = \"stratified_kfold\"\nn_folds = {n_folds}")).unwrap();
        for seed in 0..N_SEEDS {
            let folds = split.folds(&manifest, Seed(seed)).unwrap();
            let balance = Balance::of(&folds, &manifest);
            let own = balance.folds[balance.worst()].deviation;
            assert!(
                own <= deviation.min(shuffled) + 1e-9,
                "{name}, seed {seed}: {own}, scikit-learn {deviation}, shuffled {shuffled}"
            );
            let n: usize = balance.folds.iter().map(|it| it.n_groups).sum();
            assert_eq!(n, manifest.groups.len(), "{name}: somebody is not held out once");
        }
    }
}
