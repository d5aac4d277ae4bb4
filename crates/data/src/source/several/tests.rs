use std::collections::{BTreeMap, BTreeSet};

use base::{Seed, Task, task::Factor};
use expect_test::{Expect, expect};

use super::{Purpose, Root, Several};
use crate::{
    Content, Context, Example, Manifest, Review, SourceConfig, SourceError, SplitConfig,
    SyntheticPeople, Use, source::Source as _,
};

fn context() -> Context<'static> {
    Context { cache: None, max_pixels: 1 << 20, progress: &|_, _| {} }
}

/// A root of synthetic people.
fn synthetic(n_groups: usize, seed: u64) -> Root {
    let size = [8, 8];
    root(SyntheticPeople {
        n_people: n_groups,
        n_test: 2,
        size,
        wrong_labels: 0.0,
        flipped: 0.0,
        seed,
    })
}

fn root(groups: SyntheticPeople) -> Root {
    let (name, purpose) = (String::new(), Purpose::All);
    let source = SourceConfig::SyntheticPeople(groups);
    Root { source, name, share: 1.0, purpose, same_groups: false }
}

fn trained(root: Root) -> Root {
    Root { name: "synthetic".to_owned(), purpose: Purpose::Train, ..root }
}

fn several(roots: &[Root]) -> Several {
    Several { roots: roots.to_vec(), seed: 0 }
}

fn read(roots: &[Root]) -> Manifest {
    several(roots).read(&context()).unwrap()
}

/// The error of reading these roots.
fn error(roots: &[Root]) -> String {
    several(roots).read(&context()).unwrap_err().to_string()
}

/// A manifest of images, each with a group, a class and a use.
fn manifest(task: Task, images: &[(&str, usize, Use)]) -> Manifest {
    let names: BTreeSet<&str> = images.iter().map(|it| it.0).collect();
    let groups: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let example = |(idx, &(name, class, usage)): (usize, &(&str, usize, Use))| Example {
        name: format!("{name}/{idx}.jpg"),
        content: Content::File(format!("nowhere/{task:?}/{name}/{idx}.jpg").into()),
        group: groups.iter().position(|it| it == name).unwrap(),
        class,
        numbers: Vec::new(),
        attributes: Vec::new(),
        usage,
        weight: 1.0,
        hash: None,
    };
    let examples = images.iter().enumerate().map(example).collect();
    let notes = vec![format!("{} names", images.len())];
    Manifest { notes, ..Manifest::new(task, groups, examples) }
}

/// A copy of a manifest, in other files.
fn copied(mut manifest: Manifest) -> Manifest {
    for it in &mut manifest.examples {
        it.content = Content::File(format!("copy/{}", it.name).into());
    }
    manifest
}

/// The group, name and use of each image.
fn images(manifest: &Manifest) -> Vec<(&str, &str, Use)> {
    manifest
        .examples
        .iter()
        .map(|it| (manifest.groups[it.group].as_str(), it.name.as_str(), it.usage))
        .collect()
}

#[test]
fn the_first_root_is_unchanged_and_others_come_after_it() {
    let (first, second) = (synthetic(3, 0), synthetic(4, 1));
    let whole =
        read(&[first.clone(), second.clone(), Root { name: "c".into(), ..synthetic(1, 2) }]);
    let alone = [first, second].map(|it| it.source.get().read(&context()).unwrap());
    assert_eq!(whole.groups[..5], alone[0].groups);
    let named: Vec<String> = alone[1].groups.iter().map(|it| format!("roots[1]/{it}")).collect();
    assert_eq!(whole.groups[5..11], named);
    assert!(whole.groups[11].starts_with("c/000001_"), "{}", whole.groups[11]);
    let n = [0, 1].map(|it| alone[it].examples.len());
    for (at, it) in whole.examples.iter().enumerate().take(n[0] + n[1]) {
        let (prefix, own) = match at.checked_sub(n[0]) {
            None => ("", &alone[0].examples[at]),
            Some(at) => ("roots[1]/", &alone[1].examples[at]),
        };
        assert_eq!(it.name, format!("{prefix}{}", own.name));
        assert_eq!((it.class, it.number(2), it.usage), (own.class, own.number(2), own.usage));
        assert_eq!(it.content.bytes().unwrap(), own.content.bytes().unwrap());
        let group = &whole.groups[it.group];
        assert!(it.name.starts_with(&format!("{group}/")), "{} of {group}", it.name);
    }
}

#[test]
fn train_only_images_are_never_in_another_set() {
    let it = read(&[synthetic(3, 0), trained(synthetic(4, 1))]);
    let count = |usage| it.examples.iter().filter(|it| it.usage == usage).count();
    assert_eq!([count(Use::Pool), count(Use::Train), count(Use::Test)], [21, 28, 14]);
    assert_eq!((it.groups.len(), it.listed.len()), (9, 3));
    let is_extra = |it: &&Example| it.name.starts_with("synthetic/");
    assert!(it.examples.iter().filter(is_extra).all(|it| it.usage == Use::Train));
    assert_eq!(it.counts().iter().sum::<usize>(), 49);
}

#[test]
fn notes_describe_each_root() {
    let check = |roots: &[Root], want: Expect| want.assert_eq(&read(roots).notes.join("\n"));
    check(
        &[synthetic(10, 0), Root { share: 0.3, ..trained(synthetic(20, 1)) }],
        expect![[r#"
            roots[0]: 10 people, 70 images; test set: 2 people
            synthetic: 6 of 20 people, 42 images, training only; test set left out: 2 people"#]],
    );
    let (task, pool) = (Task::mask_gender_age(), Use::Pool);
    let first = manifest(task.clone(), &[("ann", 0, pool), ("ben", 1, pool)]);
    let other = copied(manifest(task, &[("ann", 6, pool), ("eve", 6, pool), ("eve", 0, pool)]));
    let both = |same_groups| {
        let roots = [synthetic(0, 0), Root { same_groups, ..trained(synthetic(0, 1)) }];
        several(&roots).join(vec![first.clone(), other.clone()]).unwrap().notes.join("\n")
    };
    expect![[r#"
        roots[0]: 2 names
        roots[0]: 2 people, 2 images
        synthetic: 3 names
        synthetic: 2 people, 3 images, training only; same name as a person of the first root, treated as different people: 1 (set `same_groups = true` if they are the same)"#]]
    .assert_eq(&both(false));
    expect![[r#"
        roots[0]: 2 names
        roots[0]: 2 people, 2 images
        synthetic: 3 names
        synthetic: 2 people, 3 images, training only; people of the first root: 1"#]]
    .assert_eq(&both(true));
}

#[test]
fn a_share_is_of_groups_and_grows() {
    let groups = |share: f64, seed: u64| -> BTreeSet<String> {
        let roots = [synthetic(1, 0), Root { share, ..synthetic(40, 1) }];
        let it = Several { roots: roots.to_vec(), seed }.read(&context()).unwrap();
        let taken: BTreeMap<usize, usize> =
            it.examples.iter().fold(BTreeMap::new(), |mut n, it| {
                let is_extra = it.name.starts_with("roots[1]") && it.usage == Use::Pool;
                *n.entry(it.group).or_default() += usize::from(is_extra);
                n
            });
        // All seven images, or none.
        assert!(taken.values().all(|n| [0, 7].contains(n)));
        let scored = it.examples.iter().filter(|it| it.usage == Use::Test).count();
        assert_eq!(scored, 4 * 7, "a share must not apply to the test set");
        let groups = taken.into_iter().filter(|it| it.1 > 0);
        groups.map(|(group, _)| it.groups[group].clone()).collect()
    };
    let [none, few, half, all] = [0.0, 0.1, 0.5, 1.0].map(|it| groups(it, 0));
    assert_eq!([&none, &few, &half, &all].map(BTreeSet::len), [0, 4, 20, 40]);
    assert!(few.is_subset(&half) && half.is_subset(&all));
    let first: BTreeSet<String> = all.iter().take(20).cloned().collect();
    assert_ne!(half, first, "the first groups must not be preferred");
    assert_ne!(half, groups(0.5, 1), "another seed must choose others");
    assert_eq!(half, groups(0.5, 0));
}

#[test]
fn the_chosen_groups_do_not_depend_on_others_or_on_threads() {
    let taken = |n_threads: usize, before: &[Root]| -> Vec<String> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let last = Root { name: "last".to_owned(), share: 0.4, ..synthetic(10, 9) };
        let it = pool.install(|| read(&[before, &[last]].concat()));
        it.groups.into_iter().filter(|it| it.starts_with("last/")).collect()
    };
    let one = taken(1, &[synthetic(2, 0)]);
    assert_eq!(one.len(), 4 + 2);
    assert_eq!(one, taken(3, &[synthetic(2, 0)]));
    assert_eq!(one, taken(2, &[synthetic(5, 0), Root { share: 0.5, ..synthetic(4, 1) }]));
}

#[test]
fn further_roots_do_not_change_the_split() {
    let split: SplitConfig = toml::from_str("kind = \"stratified_kfold\"\nn_folds = 3").unwrap();
    let sides = |manifest: &Manifest| split.sides(manifest, Seed(0)).unwrap();
    let alone = read(&[synthetic(12, 0)]);
    let more = Root { name: "more".to_owned(), share: 0.5, ..trained(synthetic(6, 2)) };
    let whole = read(&[synthetic(12, 0), trained(synthetic(5, 1)), more]);
    let extra: BTreeSet<usize> =
        (0..whole.examples.len()).filter(|&it| whole.examples[it].usage == Use::Train).collect();
    assert_eq!(extra.len(), 5 * 7 + 3 * 7);
    let folds = sides(&whole);
    for (fold, own) in folds.iter().zip(sides(&alone)) {
        assert_eq!(fold.valid, own.valid);
        let train: BTreeSet<usize> = fold.train.iter().copied().collect();
        assert_eq!(train, own.train.iter().chain(&extra).copied().collect());
    }
    // A root with `use = "all"` is split too.
    let all = read(&[synthetic(12, 0), synthetic(6, 1)]);
    let held: BTreeSet<usize> = sides(&all).iter().flat_map(|it| it.valid.clone()).collect();
    assert_eq!(held.len(), 18 * 7);
}

#[test]
fn images_of_the_first_roots_groups_are_held_out_with_them() {
    let (task, pool) = (Task::mask_gender_age(), Use::Pool);
    let groups = ["ann", "ben", "cat", "dan"];
    let first = manifest(task.clone(), &groups.map(|it| (it, 0, pool)));
    let more = [("ann", 6, pool), ("ben", 6, pool), ("cat", 6, pool), ("dan", 6, pool)];
    let more = copied(manifest(task, &[&more[..], &[("eve", 6, pool)]].concat()));
    let join = |purpose| {
        let root = Root { name: "worn".into(), purpose, same_groups: true, ..synthetic(0, 1) };
        several(&[synthetic(0, 0), root]).join(vec![first.clone(), more.clone()]).unwrap()
    };
    let split: SplitConfig = toml::from_str("kind = \"stratified_kfold\"\nn_folds = 2").unwrap();
    for purpose in [Purpose::Train, Purpose::All] {
        let whole = join(purpose);
        assert_eq!(whole.groups, ["ann", "ben", "cat", "dan", "worn/eve"]);
        assert_eq!(whole.examples[4].group, 0);
        assert_eq!(whole.examples[4].name, "worn/ann/0.jpg");
        for sides in split.sides(&whole, Seed(0)).unwrap() {
            let groups = |side: &[usize]| -> BTreeSet<usize> {
                side.iter().map(|&it| whole.examples[it].group).collect()
            };
            assert!(groups(&sides.train).is_disjoint(&groups(&sides.valid)));
            if purpose == Purpose::Train {
                // Two groups are held out, and their other images left out; eve is not in the first root.
                assert!(sides.valid.iter().all(|it| *it < 4));
                assert_eq!((sides.valid.len(), sides.train.len()), (2, 2 + 2 + 1));
                assert!(sides.train.contains(&8));
            }
        }
    }
}

#[test]
fn groups_in_the_test_set_are_not_trained_on_in_another_root() {
    let (task, pool, score) = (Task::mask_gender_age(), Use::Pool, Use::Test);
    let first = manifest(task.clone(), &[("ann", 0, pool), ("ben", 0, score)]);
    let more = copied(manifest(task, &[("ann", 6, pool), ("ben", 6, pool)]));
    let root = Root { same_groups: true, ..trained(synthetic(0, 1)) };
    let whole = several(&[synthetic(0, 0), root]).join(vec![first, more]).unwrap();
    assert_eq!(
        images(&whole),
        [
            ("ann", "ann/0.jpg", pool),
            ("ben", "ben/1.jpg", score),
            ("ann", "synthetic/ann/0.jpg", Use::Train)
        ]
    );
}

#[test]
fn images_shared_by_roots_are_refused_unless_of_the_same_group() {
    let (task, pool) = (Task::mask_gender_age(), Use::Pool);
    let first = manifest(task, &[("ann", 0, pool), ("ben", 0, pool)]);
    let join = |same_groups, second: &Manifest| {
        let root = Root { same_groups, ..trained(synthetic(0, 1)) };
        several(&[synthetic(0, 0), root]).join(vec![first.clone(), second.clone()])
    };
    expect!["at `data.source.roots[1]`: `ann/0.jpg` and `synthetic/ann/0.jpg` are the same image, but of two people: remove one of the roots, or set `same_groups = true` if their people have the same names"]
        .assert_eq(&join(false, &first).unwrap_err());
    assert!(join(true, &first).is_ok());
    assert!(join(false, &copied(first.clone())).is_ok());

    // A link to the folder, and the same bytes in memory.
    let dir = tempfile::tempdir().unwrap();
    let [folder, link] = ["folder", "link"].map(|it| dir.path().join(it));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.jpg"), "a").unwrap();
    let with = |content: Content| {
        let mut it = copied(first.clone());
        it.examples[0].content = content;
        it
    };
    let same = |a: Content, b: Content| {
        let roots = several(&[synthetic(0, 0), trained(synthetic(0, 1))]);
        let mut b = with(b);
        b.examples.truncate(1);
        roots.join(vec![with(a), b]).is_err()
    };
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        let file = |of: &std::path::Path| Content::File(of.join("a.jpg"));
        assert!(same(file(&folder), file(&link)));
    }
    let memory = |bytes: &[u8]| Content::Memory(bytes.into());
    assert!(same(memory(b"a"), memory(b"a")) && !same(memory(b"a"), memory(b"b")));
}

#[test]
fn roots_have_the_same_factors_and_classes_match_by_name() {
    let class = |levels: &[&str], class: usize| {
        let task = Task::new(vec![Factor::new("class", levels)]);
        copied(manifest(task, &[(levels[class], class, Use::Pool)]))
    };
    let join = |other: Manifest| {
        let first = class(&["ant", "bee", "cat"], 0);
        several(&[synthetic(0, 0), trained(synthetic(0, 1))]).join(vec![first, other])
    };
    let whole = join(class(&["bee", "cat"], 1)).unwrap();
    assert_eq!(
        (whole.examples[1].name.as_str(), whole.examples[1].class),
        ("synthetic/cat/0.jpg", 2)
    );
    assert_eq!(whole.task.n_classes(), 3);
    expect!["at `data.source.roots[1]`: `class` of the first root has no level `dog`: leave these images out, or put the root that has all classes first"]
        .assert_eq(&join(class(&["bee", "dog"], 0)).unwrap_err());
}

#[test]
fn ambiguous_name_prefixes_are_refused() {
    let (task, pool) = (Task::mask_gender_age(), Use::Pool);
    let first = manifest(task.clone(), &[("synthetic", 0, pool)]);
    let other = copied(manifest(task, &[("ann", 0, pool)]));
    let join = several(&[synthetic(0, 0), trained(synthetic(0, 1))]).join(vec![first, other]);
    expect!["at `data.source.roots[1]`: its names would begin with `synthetic/`, as `synthetic/0.jpg` of another root does: set another `name`"]
        .assert_eq(&join.unwrap_err());
}

#[test]
fn all_invalid_settings_are_reported() {
    assert!(error(&[]).contains("`data.source.roots` is empty"));
    let nested = SourceConfig::Several(several(&[synthetic(1, 7)]));
    let roots = [
        Root { same_groups: true, ..trained(synthetic(1, 0)) },
        Root { share: 1.5, ..synthetic(1, 0) },
        Root { source: nested, name: "a/b".to_owned(), ..synthetic(1, 2) },
        Root { share: f64::NAN, ..trained(synthetic(1, 3)) },
    ];
    expect![[r#"
        at `data.source.roots[0]`: the first root needs images to validate on: put one without `use = "train"` first
        at `data.source.roots[0]`: `same_groups` refers to the first root: set it for the other roots only
        at `data.source.roots[1]`: `share` must be from 0 to 1, not 1.5
        at `data.source.roots[1]`: generates the same people as another root: set another `seed`
        at `data.source.roots[2]`: the source is `several` itself: list its roots here directly
        at `data.source.roots[2]`: `name` must not contain `/` or `\`, nor begin or end with a space
        at `data.source.roots[3]`: `share` must be from 0 to 1, not NaN
        at `data.source.roots[3]`: another root is already named `synthetic`"#]]
    .assert_eq(&error(&roots));
}

#[test]
fn the_errors_of_all_roots_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let folder = toml::Value::from(dir.path().join("train").display().to_string());
    let source = |text: String| toml::from_str::<SourceConfig>(&text).unwrap();
    let photographs = |root: &toml::Value| Root {
        source: source(format!("kind = \"mask_profiles\"\nroot = {root}")),
        ..synthetic(1, 0)
    };
    let SourceConfig::SyntheticPeople(groups) = synthetic(2, 5).source else { unreachable!() };
    groups.write(dir.path(), &|_, _| {}).unwrap();
    let roots = [photographs(&folder), photographs(&"nowhere".into()), synthetic(1, 0)];
    let broken = Root {
        source: source("kind = \"synthetic_people\"\nseed = 4\nsize = [1, 1]".to_owned()),
        ..synthetic(1, 0)
    };
    let err = error(&[&roots[..], &[broken]].concat());
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 2, "{err}");
    assert!(lines[0].starts_with("at `data.source.roots[1]`: nowhere/train.csv: "), "{err}");
    assert!(lines[1].starts_with("at `data.source.roots[3]`: `data.source`: `size`"), "{err}");

    // Findings in a root's files have its name, and listing continues.
    let images = dir.path().join("train/images");
    let group = std::fs::read_dir(&images).unwrap().next().unwrap().unwrap();
    std::fs::remove_file(group.path().join("normal.jpg")).unwrap();
    let roots = [synthetic(1, 0), Root { name: "photos".to_owned(), ..photographs(&folder) }];
    let (manifest, findings) = several(&roots).list(&context()).unwrap();
    assert_eq!((manifest.groups.len(), manifest.examples.len()), (3 + 2, 21 + 13));
    let place = &findings.0[0].place;
    assert!(place.starts_with("photos: images/") && place.ends_with("/normal"), "{place}");
    let err = several(&roots).read(&context()).unwrap_err();
    assert!(matches!(err, SourceError::Roots(_)));
    assert!(err.to_string().starts_with("at `data.source.roots[1]`: "), "{err}");
    assert!(err.to_string().contains("normal: is missing"), "{err}");
}

#[test]
fn reviewed_tables_find_the_images_of_every_root() {
    let mut it = read(&[synthetic(2, 0), trained(synthetic(2, 1))]);
    let (own, extra) = (it.groups[0].clone(), it.groups[4].clone());
    assert!(extra.starts_with("synthetic/000001_"));
    let decision = |group: &str, image: String, decision: &str| crate::Reviewed {
        line: 0,
        group: group.to_owned(),
        image,
        factor: "gender".to_owned(),
        given: "male".to_owned(),
        suggested: "female".to_owned(),
        score: 0.1,
        decision: decision.to_owned(),
    };
    let rows = vec![
        decision(&own, "all".to_owned(), "drop"),
        decision(&extra, format!("{extra}/mask1.jpg"), "weight 0.5"),
    ];
    let summary = Review { rows }.apply(&mut it).unwrap();
    assert_eq!(summary, "0 labels fixed, 1 dropped (7 images), 1 weighted");
    assert!(it.examples.iter().all(|it| it.group != 0));
    let halved: Vec<&str> =
        it.examples.iter().filter(|it| it.weight < 1.0).map(|it| it.name.as_str()).collect();
    assert_eq!(halved, [format!("{extra}/mask1.jpg")]);
}

#[test]
fn root_settings_have_defaults() {
    let text = r#"
        kind = "several"
        roots = [
            { source = { kind = "mask_profiles", root = "photographs" } },
            { source = { kind = "synthetic_people", n_people = 500 }, name = "synthetic", share = 0.3, use = "train" },
        ]
    "#;
    let SourceConfig::Several(it) = toml::from_str(text).unwrap() else { panic!("several") };
    assert_eq!((it.seed, it.roots.len()), (0, 2));
    let Root { name, share, purpose, same_groups, .. } = &it.roots[0];
    assert_eq!((name.as_str(), *share, *purpose, *same_groups), ("", 1.0, Purpose::All, false));
    assert_eq!((it.roots[1].share, it.roots[1].purpose), (0.3, Purpose::Train));
    let it = SourceConfig::Several(it);
    let written = toml::to_string(&it).unwrap();
    assert!(written.contains("use = \"train\""), "{written}");
    assert_eq!(toml::from_str::<SourceConfig>(&written).unwrap(), it);
    for (text, want) in [
        ("roots = [{ share = 0.5 }]", "missing field `source`"),
        (
            "roots = [{ source = { kind = \"synthetic_people\" }, use = \"score\" }]",
            "expected `all` or `train`",
        ),
        ("roots = [{ source = { kind = \"synthetic_people\", n = 1 } }]", "unknown field `n`"),
    ] {
        let text = format!("kind = \"several\"\n{text}");
        let err = toml::from_str::<SourceConfig>(&text).unwrap_err().to_string();
        assert!(err.contains(want) && err.contains("roots[0]"), "{err}");
    }
}

/// Removes a group as a label fix with `ignore` does: they are still in `listed`.
fn without(mut manifest: Manifest, group: &str) -> Manifest {
    let at = manifest.groups.iter().position(|it| it == group).unwrap();
    manifest.examples.retain(|it| it.group != at);
    manifest.groups.remove(at);
    manifest.examples.iter_mut().for_each(|it| it.group -= usize::from(it.group > at));
    manifest
}

#[test]
fn dropping_a_group_from_a_root_moves_nobody() {
    let (task, pool) = (Task::mask_gender_age(), Use::Pool);
    let names: Vec<String> = (0..30).map(|it| format!("p{it:02}")).collect();
    let groups: Vec<(&str, usize, Use)> =
        names.iter().enumerate().map(|(idx, it)| (it.as_str(), idx % 18, pool)).collect();
    let first = manifest(task.clone(), &groups);
    let second = copied(manifest(task, &groups));
    for (purpose, same_groups) in [
        (Purpose::All, false),
        (Purpose::All, true),
        (Purpose::Train, false),
        (Purpose::Train, true),
    ] {
        let root =
            Root { name: "more".into(), share: 0.6, purpose, same_groups, ..synthetic(0, 1) };
        let join = |first: &Manifest, second: &Manifest| {
            several(&[synthetic(0, 0), root.clone()])
                .join(vec![first.clone(), second.clone()])
                .unwrap()
        };
        let whole = join(&first, &second);
        for group in ["p00", "p07", "p29"] {
            for fewer in [
                join(&without(first.clone(), group), &second),
                join(&first, &without(second.clone(), group)),
            ] {
                assert_eq!(fewer.listed, whole.listed, "{purpose:?}, {same_groups}: {group}");
                let left: BTreeSet<&str> = fewer.examples.iter().map(|it| &*it.name).collect();
                let split: SplitConfig = toml::from_str("kind = \"stratified_kfold\"").unwrap();
                for seed in 0..10 {
                    let folds = |it: &Manifest| -> Vec<[BTreeSet<String>; 2]> {
                        let names = |side: &[usize]| {
                            let names = side.iter().map(|&at| it.examples[at].name.clone());
                            names.filter(|it| left.contains(it.as_str())).collect()
                        };
                        let folds = split.sides(it, Seed(seed)).unwrap();
                        folds.iter().map(|it| [names(&it.train), names(&it.valid)]).collect()
                    };
                    assert!(folds(&fewer) == folds(&whole), "{purpose:?}, {same_groups}: {group}");
                }
            }
        }
    }
}
