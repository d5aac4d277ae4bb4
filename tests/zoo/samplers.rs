//! Every sampler and every split.

use std::collections::BTreeSet;

use base::Seed;
use data::{ByClass, Candidate, SamplerConfig, SplitConfig};

/// Examples of these classes, and one more class without examples; each group has seven examples.
fn by_class(classes: &[usize]) -> ByClass {
    let n_classes = classes.iter().max().map_or(1, |it| it + 2);
    let of = |class| (0..classes.len()).filter(|&it| classes[it] == class).collect();
    let all: Vec<usize> = (0..classes.len()).collect();
    ByClass {
        names: (0..n_classes).map(|it| it.to_string()).collect(),
        classes: (0..n_classes).map(of).collect(),
        groups: all.chunks(7).map(<[usize]>::to_vec).collect(),
    }
}

/// Every sampler with its defaults, and some with other settings.
fn samplers() -> Vec<(&'static str, SamplerConfig)> {
    let mut samplers = SamplerConfig::zoo();
    for text in [
        "kind = \"weighted\"\npower = 0.5\nnum_samples = 100",
        "kind = \"weighted\"\nreplacement = false\nnum_samples = 20",
        "kind = \"balance_class\"\nmode = \"upsampling\"",
        "kind = \"balance_class\"\nmode = 15",
        "kind = \"dynamic_balance\"\nmode = 30\nmax_d = 2",
    ] {
        samplers.push((text, toml::from_str(text).expect("settings")));
    }
    samplers
}

#[test]
fn every_sampler_reaches_everything_and_differs_between_epochs() {
    let by_class = by_class(&(0..60).map(|it| it % 7 % 3).collect::<Vec<_>>());
    for (kind, sampler) in samplers() {
        let sampler = sampler.get();
        assert_eq!((sampler.problem(), sampler.misfit(&by_class)), (None, None), "{kind}");
        let order = |epoch| {
            let mut rng = Seed(0).stream(&format!("sample/{epoch}"));
            let order = sampler.order(&by_class, epoch, &mut rng);
            assert_eq!(order.len(), sampler.n_samples(&by_class, epoch), "{kind}");
            order
        };
        let mut reached = BTreeSet::new();
        for epoch in 0..100 {
            let order = order(epoch);
            assert!(order.iter().all(|&it| it < 60), "{kind}");
            reached.extend(order);
        }
        assert_eq!(reached.len(), 60, "{kind} never reaches some examples");
        assert_eq!(order(0), order(0), "{kind}: the same epoch differs");
        assert_ne!(order(0), order(1), "{kind}: two epochs are equal");
    }
}

#[test]
fn every_sampler_accepts_few_examples_or_none() {
    for (kind, sampler) in samplers() {
        for by_class in [ByClass::default(), by_class(&[]), by_class(&[0]), by_class(&[3])] {
            let n_examples = by_class.n_examples();
            for epoch in [0, 1, 1000] {
                let order = sampler.get().order(&by_class, epoch, &mut Seed(0).stream("sample"));
                assert_eq!(order.len(), sampler.get().n_samples(&by_class, epoch), "{kind}");
                assert_eq!(order.is_empty(), n_examples == 0, "{kind}");
                assert!(order.iter().all(|&it| it == 0), "{kind}");
            }
        }
    }
}

#[test]
fn ten_thousand_samples_of_every_sampler_have_its_shares() {
    // 210 examples: 90, 60, 30, 0 and 30 per class, so that a group's seven images differ in class.
    let classes: Vec<usize> = (0..210).map(|it| [0, 0, 0, 1, 1, 2, 4][it * 3 % 7]).collect();
    let by_class = by_class(&classes);
    let counts: Vec<f64> = by_class.counts().map(|it| it as f64).collect();
    for (kind, sampler) in SamplerConfig::zoo() {
        // The weight of an example; classes without examples have no effect.
        let weight = |class: usize| match kind {
            "shuffled" | "dynamic_balance" | "one_per_group" => 1.0,
            "weighted" | "imbalanced" | "balance_class" => 1.0 / counts[class],
            other => panic!("no expected shares for `{other}`"),
        };
        let whole: f64 = classes.iter().map(|&it| weight(it)).sum();
        let rng = &mut Seed(0).stream("sample");
        let mut sampled = Vec::new();
        while sampled.len() < 10_000 {
            sampled.extend(sampler.get().order(&by_class, 0, rng));
        }
        let check = |name: &str, n: usize, p: f64| {
            let bound = 4.0 * (p * (1.0 - p) / sampled.len() as f64).sqrt();
            let share = n as f64 / sampled.len() as f64;
            assert!((share - p).abs() <= bound, "{kind}: {name} has {share}, not {p} ± {bound}");
        };
        for (class, n) in by_class.counts_of(&sampled).into_iter().enumerate() {
            check(&format!("class {class}"), n, counts[class] * weight(class).min(1.0) / whole);
        }
        for (example, &class) in classes.iter().enumerate() {
            let n = sampled.iter().filter(|&&it| it == example).count();
            check(&format!("example {example}"), n, weight(class) / whole);
        }
    }
}

#[test]
fn every_split_holds_groups_out_and_is_reproducible() {
    let groups: Vec<(String, [usize; 2])> =
        (0..50).map(|it| (format!("group {it}"), [it % 2, it % 3])).collect();
    let candidates: Vec<Candidate<'_>> =
        groups.iter().map(|(name, stratum)| Candidate { name, stratum, counts: &[] }).collect();
    for (kind, split) in SplitConfig::zoo() {
        let held_out = || split.get().held_out(&candidates, Seed(0)).unwrap();
        for fold in held_out() {
            assert!(!fold.is_empty() && fold.len() < candidates.len(), "{kind}");
            assert!(fold.is_sorted_by(|a, b| a < b), "{kind}: duplicate groups, or not sorted");
        }
        assert_eq!(held_out(), held_out(), "{kind}");
    }
}
