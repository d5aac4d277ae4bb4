//! Every source.

use std::{collections::BTreeSet, path::Path};

use augment::decode;
use data::{Context, Manifest, Purpose, Root, SourceConfig, SyntheticPeople, Use};

fn context() -> Context<'static> {
    Context { cache: None, max_pixels: 1 << 20, progress: &|_, _| {} }
}

/// A few synthetic people.
fn synthetic(seed: u64) -> SyntheticPeople {
    SyntheticPeople { n_people: 6, n_test: 2, size: [24, 16], seed, ..SyntheticPeople::default() }
}

/// Every source, with data to read.
fn sources(dir: &Path) -> Vec<(&'static str, SourceConfig)> {
    synthetic(1).write(dir, &|_, _| {}).expect("a folder of groups");
    let mut sources = SourceConfig::zoo();
    for (_, source) in &mut sources {
        match source {
            SourceConfig::SyntheticPeople(it) => *it = synthetic(0),
            SourceConfig::MaskProfiles(it) => it.root = dir.join("train"),
            // Each person as a class.
            SourceConfig::Folders(it) => it.root = dir.join("train/images"),
            SourceConfig::Table(it) => {
                it.root = dir.join("eval");
                it.csv = "labels.csv".into();
                it.images = "images".into();
                (it.image, it.label) = ("ImageID".to_owned(), "ans".to_owned());
            }
            SourceConfig::Several(_) => {}
        }
    }
    let root = |source: &SourceConfig, purpose| Root {
        source: source.clone(),
        name: String::new(),
        share: 0.5,
        purpose,
        same_groups: false,
    };
    let others: Vec<SourceConfig> = sources.iter().map(|it| it.1.clone()).collect();
    for it in &mut sources {
        if let SourceConfig::Several(it) = &mut it.1 {
            it.roots = vec![root(&others[0], Purpose::All), root(&others[1], Purpose::Train)];
        }
    }
    sources
}

#[test]
fn every_image_of_every_source_has_a_name_a_group_and_a_class() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, source) in sources(dir.path()) {
        let it = source.get().read(&context()).unwrap_or_else(|err| panic!("{kind}: {err}"));
        let names: BTreeSet<&str> = it.examples.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names.len(), it.examples.len(), "{kind}: two images of one name");
        let groups: BTreeSet<&String> = it.groups.iter().collect();
        assert_eq!(groups.len(), it.groups.len(), "{kind}: two groups of one name");
        let mut usages = vec![BTreeSet::new(); it.groups.len()];
        for example in &it.examples {
            let name = &example.name;
            assert!(example.class < it.task.n_classes(), "{kind}: {name}");
            assert!((0.0..=1.0).contains(&example.weight), "{kind}: {name}");
            usages[example.group].insert(example.usage == Use::Test);
            let bytes = example.content.bytes().unwrap();
            assert!(decode(&bytes, 1 << 20).is_ok(), "{kind}: {name}");
        }
        assert!(
            usages.iter().all(|it| it.len() == 1),
            "{kind}: trained on and scored, or no images"
        );
        assert!(!it.listed.is_empty(), "{kind}: no groups to hold out");
    }
}

#[test]
fn every_source_lists_what_it_reads_for_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |it: &Manifest| -> Vec<String> {
        it.examples.iter().map(|it| format!("{it:?}")).chain(it.groups.clone()).collect()
    };
    for (kind, source) in sources(dir.path()) {
        let on = |n: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            rows(&pool.install(|| source.get().read(&context()).unwrap()))
        };
        let (listed, findings) = source.get().list(&context()).unwrap();
        assert_eq!(findings.0, [], "{kind}");
        let one = on(1);
        assert!(one == on(3), "{kind}: the result depends on the number of threads");
        // A listing does not read the files, and has no hashes of them.
        let mut read = source.get().read(&context()).unwrap();
        read.examples.iter_mut().for_each(|it| it.hash = None);
        assert!(
            rows(&read) == rows(&listed),
            "{kind}: the listing differs from the data that is read"
        );
    }
}
