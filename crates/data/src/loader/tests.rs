//! The batches of a loader do not depend on its threads, its first batch and the epochs before.

use std::sync::Arc;

use augment::{
    MixOpConfig, Mixing, Pipeline, StatisticsConfig, Step, TransformConfig, ViewsConfig,
    apply_views,
};
use base::{Seed, Task};

use super::{Load, LoadError, Loader};
use crate::{Batch, Content, Context, LoadViews, Source as _, SyntheticPeople};

fn load(n_threads: usize, first_batch: usize) -> Load {
    let groups = SyntheticPeople {
        n_people: 4,
        n_test: 0,
        size: [32, 24],
        wrong_labels: 0.0,
        flipped: 0.0,
        seed: 0,
    };
    let context = Context { cache: None, max_pixels: 1 << 20, progress: &|_, _| {} };
    let manifest = groups.read(&context).unwrap();
    let images = manifest.examples.into_iter().map(|it| (it.name, it.content)).collect();
    let ops = ["random_crop\"\nsize = [16, 12]", "color_jitter\"", "horizontal_flip\""];
    let op = |it| toml::from_str::<Step>(&format!("kind = \"{it}")).unwrap();
    let ops = ops.map(op).to_vec();
    let statistics = StatisticsConfig::default().get().known().unwrap();
    let pipeline = Arc::new(Pipeline { ops, statistics, max_pixels: 1 << 20 });
    let order: Vec<usize> = (0..28).rev().collect();
    let batches = order.chunks(5).map(<[usize]>::to_vec).collect();
    let stream = "augment/0".to_owned();
    Load {
        images,
        batches,
        pipeline,
        cache: None,
        pack: None,
        mixing: Mixing::default(),
        seed: Seed(1),
        stream,
        first_batch,
        n_threads,
        prefetch: 2,
    }
}

/// A few batches, with every transform applied to the images.
fn zoo(n_threads: usize) -> Load {
    let mut load = load(n_threads, 0);
    load.batches.truncate(2);
    let pipeline = Arc::make_mut(&mut load.pipeline);
    pipeline.ops = TransformConfig::zoo().into_iter().map(|(_, it)| it.into()).collect();
    // Transforms with cached results must come first.
    pipeline.ops.sort_by_key(|it| !it.is_cached());
    // The zoo's sizes are ImageNet's; a small resize goes last.
    pipeline.ops.push(toml::from_str("kind = \"resize\"\nsize = [16, 12]").unwrap());
    load
}

fn all(load: Load) -> Vec<Batch> {
    let mut loader = Loader::start(load);
    std::iter::from_fn(|| loader.next()).map(|it| it.unwrap()).collect()
}

#[test]
fn batches_do_not_depend_on_the_number_of_threads() {
    let one = all(load(1, 0));
    assert_eq!(one.len(), 6);
    assert_eq!((one[0].examples.len(), one[5].examples.len()), (5, 3));
    assert!(one == all(load(4, 0)));
    assert!(all(zoo(1)) == all(zoo(4)));
}

#[test]
fn batches_do_not_depend_on_the_first_batch() {
    assert!(all(load(1, 0))[4..] == all(load(2, 4)));
}

/// Three epochs with different batches, sizes and lengths; the first starts in the middle.
fn epochs(n_threads: usize) -> Vec<Load> {
    let mut loads = vec![load(n_threads, 4), load(n_threads, 0), mixed(n_threads, 0)];
    let small = toml::from_str("kind = \"resize\"\nsize = [8, 6]").unwrap();
    Arc::make_mut(&mut loads[1].pipeline).ops.push(small);
    loads[1].batches = (0..28).collect::<Vec<_>>().chunks(3).map(<[usize]>::to_vec).collect();
    for (epoch, load) in loads.iter_mut().enumerate() {
        load.stream = format!("augment/{epoch}");
    }
    loads
}

#[test]
fn one_loader_for_several_epochs_equals_one_loader_per_epoch() {
    let want: Vec<Batch> = epochs(1).into_iter().flat_map(all).collect();
    assert_eq!(want.len(), 2 + 10 + 6);
    for n_threads in [1, 4] {
        let mut loads = epochs(n_threads).into_iter();
        // All added at once; then each added as soon as the one before it starts, as training does.
        let mut loader = Loader::start(loads.next().unwrap());
        loads.for_each(|it| loader.add(it));
        let got: Vec<Batch> = std::iter::from_fn(|| loader.next()).map(Result::unwrap).collect();
        assert!(got == want, "{n_threads} threads");

        let mut loads = epochs(n_threads).into_iter();
        let mut loader = Loader::start(loads.next().unwrap());
        let mut got = Vec::new();
        for n in [2, 10, 6] {
            loads.next().into_iter().for_each(|it| loader.add(it));
            got.extend((0..n).map(|_| loader.next().unwrap().unwrap()));
        }
        assert!(got == want && loader.next().is_none(), "{n_threads} threads, added one by one");
    }
}

#[test]
fn next_epoch_is_loaded_before_the_current_one_is_used_up() {
    // Its first batch fails to load, and is finished before this epoch's last one is taken.
    let mut next = load(1, 0);
    next.images = vec![("gone".to_owned(), Content::File("no/such.jpg".into())); 28].into();
    let mut loader = Loader::start(load(1, 5));
    loader.add(next);
    let began = std::time::Instant::now();
    while loader.shared.lock().finished.len() < 2 {
        assert!(began.elapsed().as_secs() < 60, "no batch of the next epoch is loaded");
        std::thread::yield_now();
    }
    assert!(loader.next().unwrap().is_ok());
    assert!(loader.next().unwrap().unwrap_err().to_string().starts_with("gone: "));
}

#[test]
fn exhausted_loader_accepts_further_loads_and_can_be_dropped() {
    let mut loader = Loader::start(load(3, 5));
    assert!(loader.next().unwrap().is_ok() && loader.next().is_none());
    loader.add(load(1, 5));
    assert!(loader.next().unwrap().is_ok() && loader.next().is_none());
    drop(loader);
}

#[test]
fn each_use_of_an_image_is_augmented_differently() {
    let mut load = load(1, 0);
    load.batches = vec![vec![3, 3], vec![3]];
    let batches = all(load);
    let (first, second) = batches[0].images.split_at(batches[1].images.len());
    assert!(first != second && first != batches[1].images && second != batches[1].images);
}

/// The same batches with half of each row from another image, followed by every mix operation.
fn mixed(n_threads: usize, first_batch: usize) -> Load {
    let half = "kind = \"half_cutmix\"\np = 0.5\nper = \"example\"\n\
                from = { factor = \"age\", level = \"30-59\" }";
    let mut ops: Vec<MixOpConfig> = vec![toml::from_str(half).unwrap()];
    ops.extend(MixOpConfig::zoo().into_iter().map(|it| it.1));
    // Examples 0 to 9 have the level that `from` selects.
    let examples: Vec<(usize, usize)> = (0..28).map(|it| (it, usize::from(it < 10))).collect();
    let task = Task::mask_gender_age();
    let mixing = Mixing::new(&ops, &task, &examples, |_| 0).unwrap();
    Load { mixing, ..load(n_threads, first_batch) }
}

#[test]
fn mixed_batches_are_a_function_of_their_index() {
    let one = all(mixed(1, 0));
    assert!(one == all(mixed(4, 0)));
    assert!(one[4..] == all(mixed(2, 4)));
    for (batch, plain) in one.iter().zip(all(load(1, 0))) {
        let n = plain.examples.len();
        assert!(batch.images.starts_with(&plain.images), "the images of the batch differ");
        assert_eq!((batch.samples.len(), &batch.examples[..n]), (n, &plain.examples[..]));
        assert!(batch.examples[n..].iter().all(|&it| it < 10), "{:?}", batch.examples);
        assert_eq!(batch.images.len(), batch.examples.len() * 16 * 12 * 3);
        assert!(batch.samples.iter().all(|it| it.over.is_some()));
    }
    // An extra sample has its own random stream.
    let (idx, batch) =
        one.iter().enumerate().find(|(_, it)| it.examples.len() > it.samples.len()).unwrap();
    let n_own = batch.samples.len();
    let Load { images, pipeline, seed, .. } = mixed(1, 0);
    let bytes = images[batch.examples[n_own]].1.bytes().unwrap().into_owned();
    let mut rng = seed.stream(&format!("augment/0/guest/{idx}/0"));
    let extra = pipeline.apply(&bytes, &mut rng, None).unwrap();
    assert!(batch.images[n_own * 16 * 12 * 3..].starts_with(extra.as_raw()));
}

#[test]
fn unreadable_image_is_named() {
    let mut load = load(2, 0);
    let mut images = load.images.to_vec();
    images[27].1 = Content::File("no/such.jpg".into());
    images[20].1 = Content::Memory(b"not an image".as_slice().into());
    load.images = images.into();
    let mut loader = Loader::start(load);
    let err = |it: Option<Result<Batch, LoadError>>| it.unwrap().unwrap_err().to_string();
    assert!(err(loader.next()).contains("No such file"));
    assert!(err(loader.next()).contains("this is not an image"));
    assert!(loader.next().unwrap().is_ok());
}

#[test]
fn dropping_a_loader_stops_its_threads() {
    let mut loader = Loader::start(load(3, 0));
    loader.next().unwrap().unwrap();
    drop(loader);
}

/// Three views of each image: the centre, and two by the training transforms.
fn views(n_threads: usize) -> LoadViews {
    let Load { images, batches, pipeline, .. } = load(1, 0);
    let crop = toml::from_str("kind = \"center_crop\"\nsize = [20, 14]").unwrap();
    let plain = Pipeline { ops: vec![crop], ..*pipeline };
    let config: ViewsConfig = toml::from_str("kind = \"augment\"\nn = 2").unwrap();
    let views = config.get().views(&plain, &pipeline.ops).unwrap();
    LoadViews { images, batches, views, cache: None, n_threads, prefetch: 2 }
}

#[test]
fn views_are_loaded_in_one_pass_as_each_alone() {
    let all = |it: LoadViews| Loader::start(it).map(Result::unwrap).collect::<Vec<Vec<Batch>>>();
    let LoadViews { images, views: each, .. } = views(1);
    let loaded = all(views(1));
    assert!(loaded == all(views(4)));
    assert_eq!(loaded.len(), 6);
    for batches in &loaded {
        assert_eq!(
            batches.iter().map(|it| it.size).collect::<Vec<_>>(),
            [[20, 14], [16, 12], [16, 12]]
        );
        let samples = base::mix::whole(batches[0].examples.len());
        assert!(batches.iter().all(|it| it.samples == samples));
        for (row, &example) in batches[0].examples.iter().enumerate() {
            let want = apply_views(&each, &images[example].1.bytes().unwrap(), None).unwrap();
            for (batch, want) in batches.iter().zip(want) {
                let n = want.as_raw().len();
                assert!(batch.images[row * n..][..n] == want.as_raw()[..]);
            }
        }
    }
}

#[test]
fn views_of_an_image_do_not_depend_on_its_name_and_place() {
    let of_one = |example: usize, name: &str| {
        let mut load = views(1);
        load.images = vec![(name.to_owned(), load.images[example].1.clone())].into();
        load.batches = vec![vec![0]];
        Loader::start(load).next().unwrap().unwrap()
    };
    let [a, b] = [of_one(3, "a.png"), of_one(3, "b, 한글.png")];
    assert!(a == b && a != of_one(4, "a.png"));
    let loaded: Vec<Vec<Batch>> = Loader::start(views(1)).map(Result::unwrap).collect();
    let place = |it: &Vec<Batch>| it[0].examples.iter().position(|&it| it == 3);
    let (batches, row) = loaded.iter().find_map(|it| Some((it, place(it)?))).unwrap();
    for (batch, want) in batches.iter().zip(&a) {
        let n = want.images.len();
        assert!(batch.images[row * n..][..n] == want.images[..]);
    }
}

#[test]
fn unreadable_image_of_several_views_is_named() {
    let mut load = views(1);
    let mut images = load.images.to_vec();
    images[27].1 = Content::File("no/such.jpg".into());
    load.images = images.into();
    let err = Loader::start(load).next().unwrap().unwrap_err().to_string();
    assert!(err.contains("No such file") && !err.starts_with("no/such"), "{err}");
}
