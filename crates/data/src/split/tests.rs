use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base::{Rng, Seed};
use rand::{Rng as _, seq::SliceRandom as _};

use super::{Candidate, SplitConfig};
use crate::{Fixes, Listed, Listing, Manifest, Review, from_names};

/// Groups with these strata.
pub(super) fn crowd(strata: impl Iterator<Item = Vec<usize>>) -> Vec<Listed> {
    let listed =
        |(idx, stratum)| Listed { group: format!("group {idx}"), stratum, counts: Vec::new() };
    strata.enumerate().map(listed).collect()
}

/// Strata of groups with all mask labels, and with genders and ages distributed as in the competition.
fn strata(n: usize, rng: &mut Rng) -> Vec<Vec<usize>> {
    let age = |x: f64| usize::from(x > 0.47) + usize::from(x > 0.92);
    (0..n).map(|_| vec![3, usize::from(rng.random_bool(0.6)), age(rng.random())]).collect()
}

/// All splits but `leave_one_group_out`, whose folds are the groups.
fn splits() -> Vec<(&'static str, SplitConfig)> {
    let mut splits = SplitConfig::zoo();
    splits.retain(|it| it.0 != "leave_one_group_out");
    splits
}

/// The fold of each group who is in one.
fn folds_of(split: &SplitConfig, crowd: &[Listed], seed: u64) -> BTreeMap<String, usize> {
    let candidates: Vec<Candidate<'_>> = crowd.iter().map(Candidate::from).collect();
    let folds = split.get().held_out(&candidates, Seed(seed)).unwrap();
    let of = |(fold, groups): (usize, Vec<usize>)| {
        groups.into_iter().map(move |it| (crowd[it].group.clone(), fold))
    };
    folds.into_iter().enumerate().flat_map(of).collect()
}

/// The number of groups of `before` whose fold has changed.
fn n_moved(before: &[Listed], folds: [&BTreeMap<String, usize>; 2]) -> usize {
    before.iter().filter(|it| folds[0].get(&it.group) != folds[1].get(&it.group)).count()
}

#[test]
fn adding_or_removing_a_group_moves_few() {
    for n in [120, 1000] {
        for (kind, split) in splits() {
            let (mut sum, mut most, n_seeds) = (0, 0, 100);
            for seed in 0..n_seeds {
                let rng = &mut Seed(seed).stream("crowd");
                let mut all = crowd(strata(n + 1, rng).into_iter());
                let newcomer = all[rng.random_range(0..n)].clone();
                let mut before = all.clone();
                before.retain(|it| *it != newcomer);
                // At any position in the list.
                all.shuffle(rng);
                let of = |crowd: &[Listed]| folds_of(&split, crowd, seed);
                let moved = n_moved(&before, [&of(&before), &of(&all)]);
                (sum, most) = (sum + moved, most.max(moved));
            }
            // For five folds, and for shares with at most two levels that differ: in theory at most 3.
            let bounds = if kind == "stratified_kfold" { (10, 4.0) } else { (3, 1.5) };
            let mean = sum as f64 / n_seeds as f64;
            assert!(most <= bounds.0 && mean <= bounds.1, "{kind} of {n}: {most}, mean {mean}");
        }
    }
}

#[test]
fn adding_a_group_moves_few_of_many_classes() {
    for (kind, split) in splits() {
        for seed in 0..20 {
            let rng = &mut Seed(seed).stream("crowd");
            let all = crowd((0..1001).map(|_| vec![rng.random_range(0..300)]));
            let before = &all[..1000];
            let of = |crowd: &[Listed]| folds_of(&split, crowd, seed);
            let moved = n_moved(before, [&of(before), &of(&all)]);
            assert!(moved <= 10, "{kind}, seed {seed}: {moved} moved");
        }
    }
}

/// Assigns shuffled groups to folds in turn, as an earlier version did: the reference for how balanced folds
/// are.
fn round_robin(strata: &[Vec<usize>], n_folds: usize, rng: &mut Rng) -> Vec<usize> {
    let mut groups: BTreeMap<&[usize], Vec<usize>> = BTreeMap::new();
    for (group, stratum) in strata.iter().enumerate() {
        groups.entry(stratum).or_default().push(group);
    }
    let mut folds = vec![0; strata.len()];
    let shuffled = groups.into_values().flat_map(|mut it| {
        it.shuffle(rng);
        it
    });
    shuffled.enumerate().for_each(|(idx, group)| folds[group] = idx % n_folds);
    folds
}

/// The difference in the number of groups of a level between the largest and the smallest fold: the maximum
/// and the sum over all levels.
fn imbalance(strata: &[Vec<usize>], folds: &[usize], n_folds: usize) -> (usize, usize) {
    let mut counts: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (stratum, &fold) in strata.iter().zip(folds) {
        for (factor, &level) in stratum.iter().enumerate() {
            counts.entry((factor, level)).or_insert_with(|| vec![0; n_folds])[fold] += 1;
        }
    }
    let spread = |it: &Vec<usize>| it.iter().max().unwrap() - it.iter().min().unwrap();
    let spreads: Vec<usize> = counts.values().map(spread).collect();
    (spreads.iter().copied().max().unwrap(), spreads.iter().sum())
}

#[test]
fn folds_are_as_balanced_as_with_round_robin() {
    let (mut ours, mut reference) = (0, 0);
    for seed in 0..100 {
        let rng = &mut Seed(seed).stream("crowd");
        let n = rng.random_range(30..400);
        let n_folds = rng.random_range(2..8);
        let strata = strata(n, rng);
        let crowd = crowd(strata.iter().cloned());
        let split: SplitConfig =
            toml::from_str(&format!("kind = \"stratified_kfold\"\nn_folds = {n_folds}")).unwrap();
        let by_name = folds_of(&split, &crowd, seed);
        assert_eq!(by_name.len(), n, "somebody is never held out");
        let folds: Vec<usize> = crowd.iter().map(|it| by_name[&it.group]).collect();
        // All groups, each gender, and each age group of a gender.
        for depth in [0, 2, 3] {
            let mut counts: BTreeMap<&[usize], Vec<usize>> = BTreeMap::new();
            for (stratum, &fold) in strata.iter().zip(&folds) {
                counts.entry(&stratum[..depth]).or_insert_with(|| vec![0; n_folds])[fold] += 1;
            }
            for (stratum, counts) in counts {
                let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
                assert!(most - least <= 1, "seed {seed}: {stratum:?} is {counts:?}");
            }
        }
        ours += imbalance(&strata, &folds, n_folds).1;
        reference += imbalance(&strata, &round_robin(&strata, n_folds, rng), n_folds).1;
    }
    assert!(
        f64::from(ours as u32) <= 1.05 * f64::from(reference as u32),
        "{ours}, round robin {reference}"
    );
}

#[test]
fn the_share_holds_for_all_groups_and_each_stratum() {
    for seed in 0..100 {
        let rng = &mut Seed(seed).stream("crowd");
        let n = rng.random_range(30..400);
        let ratio = rng.random_range(0.05..0.6);
        let strata = strata(n, rng);
        let crowd = crowd(strata.iter().cloned());
        let split: SplitConfig =
            toml::from_str(&format!("kind = \"profile\"\nratio = {ratio}")).unwrap();
        let held_out = folds_of(&split, &crowd, seed);
        assert_eq!(held_out.len(), (n as f64 * ratio).round() as usize);
        for depth in [2, 3] {
            let mut counts: BTreeMap<&[usize], (usize, usize)> = BTreeMap::new();
            for it in &crowd {
                let (n, n_held) = counts.entry(&it.stratum[..depth]).or_default();
                (*n, *n_held) = (*n + 1, *n_held + usize::from(held_out.contains_key(&it.group)));
            }
            for (stratum, (n, n_held)) in counts {
                let off = n_held as f64 - n as f64 * ratio;
                assert!(off.abs() < 1.0, "seed {seed}: {n_held} of {n} of {stratum:?}");
            }
        }
    }
}

#[test]
fn small_classes_are_held_out_at_random() {
    // Half a group each: which classes have one is random, and differs for another seed.
    let crowd = crowd((0..1000).map(|it| vec![it / 5]));
    let split: SplitConfig = toml::from_str("kind = \"profile\"\nratio = 0.1").unwrap();
    let classes = |seed| -> BTreeSet<usize> {
        let held_out = folds_of(&split, &crowd, seed);
        let held_out = crowd.iter().filter(|it| held_out.contains_key(&it.group));
        held_out.map(|it| it.stratum[0]).collect()
    };
    let (one, other) = (classes(0), classes(1));
    assert_eq!((one.len(), other.len()), (100, 100));
    let n_first = one.iter().filter(|&&it| it < 100).count();
    assert!((30..70).contains(&n_first), "{n_first} of the first half");
    assert_ne!(one, other);
}

const N_PEOPLE: usize = 40;

/// Some groups with seven images each, with label fixes.
fn data(fixes: &str) -> Manifest {
    let rng = &mut Seed(1).stream("rows");
    let stems = ["incorrect_mask", "mask1", "mask2", "mask3", "mask4", "mask5", "normal"];
    let mut csv = "id,gender,race,age,path\n".to_owned();
    let mut listing = Listing::new();
    for idx in 0..N_PEOPLE {
        let gender = if rng.random_bool(0.6) { "female" } else { "male" };
        let age = rng.random_range(18..=60);
        csv += &format!("{idx},{gender},Drawn,{age},p{idx}\n");
        listing.insert(format!("p{idx}"), stems.map(|it| format!("{it}.jpg")).to_vec());
    }
    let fixes: Fixes = toml::from_str(fixes).unwrap();
    let (manifest, findings) = from_names(csv.as_bytes(), &listing, Path::new("images"), &[fixes]);
    assert_eq!(findings.0, []);
    manifest
}

/// The names of the images that are held out in each fold.
fn held_out(split: &SplitConfig, manifest: &Manifest, seed: u64) -> Vec<BTreeSet<String>> {
    let sides = split.sides(manifest, Seed(seed)).unwrap();
    let names =
        |it: &super::Sides| it.valid.iter().map(|&it| manifest.examples[it].name.clone()).collect();
    sides.iter().map(names).collect()
}

#[track_caller]
fn check_that_nobody_moves(before: &Manifest, after: &Manifest, what: &str) {
    let left: BTreeSet<&str> = after.examples.iter().map(|it| it.name.as_str()).collect();
    for (kind, split) in splits() {
        for seed in 0..30 {
            let mut want = held_out(&split, before, seed);
            want.iter_mut().for_each(|it| it.retain(|it| left.contains(it.as_str())));
            assert!(
                held_out(&split, after, seed) == want,
                "{kind}, seed {seed}: {what} moves groups"
            );
        }
    }
}

#[test]
fn no_label_fix_moves_anybody() {
    let before = data("");
    for idx in [0, 7, 39] {
        for fix in [
            "age = 61",
            "age = 18",
            "gender = { from = \"female\", to = \"male\" }",
            "gender = { from = \"male\", to = \"female\" }",
            "swap = [\"normal\", \"incorrect_mask\"]",
            "relabel = { incorrect_mask = \"mask\", normal = \"mask\" }",
            "ignore = true",
            "weight = 0.5",
            "weight = 0.0",
        ] {
            let after = data(&format!("[[fix]]\nids = [\"p{idx}\"]\n{fix}\n"));
            check_that_nobody_moves(&before, &after, &format!("{fix} of p{idx}"));
        }
    }
}

#[test]
fn no_review_moves_anybody() {
    let before = data("");
    let header = "group,image,factor,given,suggested,score,decision\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reviewed.csv");
    let task = &before.task;
    for at in [0, 100, 279] {
        let it = &before.examples[at];
        let group = &before.groups[it.group];
        let given = &task.factors[2].levels[task.levels_of(it.class)[2]];
        for (image, suggested, decision) in [
            ("all", "<30", "fix"),
            ("all", ">=60", "fix"),
            ("all", "<30", "drop"),
            (&*it.name, "<30", "drop"),
            ("all", "<30", "weight 0"),
        ] {
            let row = format!("{group},{image},age,{given},{suggested},0.1,{decision}\n");
            std::fs::write(&path, format!("{header}{row}")).unwrap();
            let mut after = before.clone();
            Review::read(&path).unwrap().apply(&mut after).unwrap();
            check_that_nobody_moves(&before, &after, &row);
        }
    }
}
