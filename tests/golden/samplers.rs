//! Samplers against PyTorch's, catalyst's and ufoym's: see samplers.py.

use std::collections::BTreeMap;

use base::{Rng, Seed};
use data::{ByClass, SamplerConfig};

use super::golden;

/// Examples with these counts per class, class by class.
fn by_class(counts: &[usize]) -> ByClass {
    let mut n_examples = 0;
    let mut next = |&n: &usize| {
        n_examples += n;
        (n_examples - n..n_examples).collect()
    };
    let classes: Vec<Vec<usize>> = counts.iter().map(&mut next).collect();
    let groups = (0..n_examples).map(|it| vec![it]).collect();
    ByClass { names: vec![String::new(); counts.len()], classes, groups }
}

fn sampler(kind: &str, mut settings: toml::Table) -> SamplerConfig {
    settings.insert("kind".to_owned(), kind.into());
    toml::Value::Table(settings).try_into().expect("settings")
}

fn rng() -> Rng {
    Seed(0).stream("sample")
}

/// All the sets of class counts, by name.
fn all_counts() -> BTreeMap<String, Vec<usize>> {
    golden("samplers").to("counts")
}

/// The number of examples of each class in an epoch.
fn sampled(sampler: &SamplerConfig, by_class: &ByClass, epoch_idx: usize) -> Vec<usize> {
    by_class.counts_of(&sampler.get().order(by_class, epoch_idx, &mut rng()))
}

/// Checks that a share of `n` samples differs from `p` by no more than four standard errors, where `p`
/// was measured on as many samples.
#[track_caller]
fn check_share(got: f64, p: f64, n: usize) {
    let bound = 4.0 * (2.0 * p * (1.0 - p) / n as f64).sqrt();
    assert!((got - p).abs() <= bound, "{got} is not {p} ± {bound}");
}

#[test]
fn weighted_agrees_with_pytorch() {
    let golden = golden("samplers").at("weighted");
    let n: usize = golden.to("n");
    let weights = |name: &str| toml::Value::try_from(golden.to::<Vec<f64>>(name)).unwrap();
    let mut settings = toml::Table::new();
    settings.insert("weights".to_owned(), weights("weights"));
    settings.insert("num_samples".to_owned(), (n as i64).into());
    let groups_of_four = by_class(&golden.to::<Vec<usize>>("counts"));
    let counts = sampled(&sampler("weighted", settings), &groups_of_four, 0);
    for (got, want) in counts.into_iter().zip(golden.to::<Vec<f64>>("shares")) {
        check_share(got as f64 / n as f64, want, n);
    }

    let mut settings = toml::Table::new();
    settings.insert("weights".to_owned(), weights("four"));
    settings.insert("num_samples".to_owned(), 2.into());
    settings.insert("replacement".to_owned(), false.into());
    let (sampler, by_class) = (sampler("weighted", settings), by_class(&[1; 4]));
    let (mut either, mut first, mut rng) = ([0; 4], [0; 4], rng());
    for _ in 0..n {
        let order = sampler.get().order(&by_class, 0, &mut rng);
        assert!(order.len() == 2 && order[0] != order[1]);
        order.iter().for_each(|&it| either[it] += 1);
        first[order[0]] += 1;
    }
    for (counts, name) in [(either, "either"), (first, "first")] {
        for (got, want) in counts.into_iter().zip(golden.to::<Vec<f64>>(name)) {
            check_share(f64::from(got) / n as f64, want, n);
        }
    }
}

#[test]
fn imbalanced_agrees_with_ufoym() {
    let golden = golden("samplers").at("imbalanced");
    for (name, counts) in all_counts() {
        let (golden, by_class) = (golden.at(&name), by_class(&counts));
        let imbalanced = sampler("imbalanced", toml::Table::new());
        let n_samples = imbalanced.get().n_samples(&by_class, 0);
        assert_eq!(n_samples, golden.to::<usize>("n_samples"), "{name}");
        let weights: Vec<f64> = golden.to("weights");
        let masses: Vec<f64> = weights.iter().zip(&counts).map(|(w, &n)| w * n as f64).collect();
        let whole: f64 = masses.iter().sum();
        let (n, mut rng, mut got) = (50_000, rng(), vec![0; counts.len()]);
        let n_epochs = usize::div_ceil(n, n_samples);
        for epoch_idx in 0..n_epochs {
            let order = imbalanced.get().order(&by_class, epoch_idx, &mut rng);
            by_class.counts_of(&order).iter().zip(&mut got).for_each(|(n, sum)| *sum += n);
        }
        for (got, mass) in got.into_iter().zip(masses) {
            check_share(got as f64 / (n_epochs * n_samples) as f64, mass / whole, n);
        }
    }
}

#[test]
fn balance_class_and_dynamic_balance_agree_with_catalyst() {
    let golden = golden("samplers");
    for (name, counts) in all_counts() {
        let by_class = by_class(&counts);
        for case in golden.at("balance_class").at(&name).list() {
            let (mode, want): (toml::Value, Vec<usize>) = case.get();
            let settings = toml::Table::from_iter([("mode".to_owned(), mode)]);
            assert_eq!(sampled(&sampler("balance_class", settings), &by_class, 0), want, "{name}");
        }
        for case in golden.at("dynamic_balance").at(&name).list() {
            let (settings, epochs): (toml::Table, Vec<Vec<usize>>) = case.get();
            let sampler = sampler("dynamic_balance", settings);
            for (epoch_idx, want) in epochs.into_iter().enumerate() {
                assert_eq!(sampled(&sampler, &by_class, epoch_idx), want, "{name}: {sampler:?}");
            }
        }
    }
}

#[test]
fn replacement_is_used_only_where_a_class_has_too_few_examples() {
    let by_class = by_class(&[20, 7, 3]);
    let mode = toml::Table::from_iter([("mode".to_owned(), 7.into())]);
    let mut order = sampler("balance_class", mode).get().order(&by_class, 0, &mut rng());
    order.sort_unstable();
    order.dedup();
    assert_eq!(by_class.counts_of(&order)[..2], [7, 7]);
}

#[test]
fn hundred_epochs_of_the_competition_take_seconds() {
    // Seconds at most; minutes if each sample scanned all examples.
    let by_class = by_class(&all_counts()["competition"]);
    assert_eq!(by_class.n_examples(), 18_900);
    for (_, sampler) in SamplerConfig::zoo() {
        for epoch_idx in 0..100 {
            let order = sampler.get().order(&by_class, epoch_idx, &mut rng());
            assert_eq!(order.len(), sampler.get().n_samples(&by_class, epoch_idx));
        }
    }
}
