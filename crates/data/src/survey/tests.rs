use std::sync::Mutex;

use base::{Seed, Task, task::Factor};
use image::{ImageFormat, RgbImage, codecs::jpeg::JpegEncoder};

use super::{NumberCount, NumberCounts, Similarity, SizeCount, Survey, survey};
use crate::{
    Content, Context, Example, Manifest, SyntheticPeople, Use,
    source::Source as _,
    synthetic::{Person, Shot, draw},
};

const SIZE: [usize; 2] = [128, 96];

fn synthetic(n_groups: usize) -> Manifest {
    let people = SyntheticPeople {
        n_people: n_groups,
        n_test: 2,
        size: SIZE,
        wrong_labels: 0.0,
        flipped: 0.0,
        seed: 0,
    };
    people.read(&Context { cache: None, max_pixels: 1 << 20, progress: &|_, _| {} }).unwrap()
}

fn analyse(manifest: &Manifest) -> Survey {
    survey(manifest, 1 << 20, &|_, _| {}, &|_, _| {})
}

fn jpeg(image: &RgbImage, quality: u8) -> Content {
    let mut bytes = Vec::new();
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality)).unwrap();
    Content::Memory(bytes.into())
}

fn png(image: &RgbImage) -> Content {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    Content::Memory(bytes.into_inner().into())
}

fn pixels(content: &Content) -> RgbImage {
    augment::decode(&content.bytes().unwrap(), 1 << 20).unwrap()
}

#[test]
fn people_are_counted_without_the_test_set() {
    let manifest = synthetic(30);
    let it = analyse(&manifest);
    assert_eq!((it.n_images, it.n_groups), (210, 30));
    assert_eq!(it.sizes, [SizeCount { height: 128, width: 96, n_images: 210 }]);
    assert_eq!((it.unreadable.len(), it.near_duplicates.len()), (0, 0));

    let counts: Vec<usize> = it.scopes[0].classes.iter().map(|it| it.n_images).collect();
    assert_eq!(counts, manifest.counts());
    let names: Vec<&str> = it.scopes.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["joint", "mask", "gender", "age"]);
    // Everybody has five images with a mask worn, one with it worn incorrectly, one without.
    let mask: Vec<_> = it.scopes[1].classes.iter().map(|it| (it.n_images, it.n_groups)).collect();
    assert_eq!(mask, [(150, 30), (30, 30), (30, 30)]);
    for scope in &it.scopes[2..] {
        assert_eq!(scope.classes.iter().map(|it| it.n_groups).sum::<usize>(), 30, "{}", scope.name);
    }
    let [ages] = it.numbers.as_slice() else { panic!("only the age is a number") };
    assert_eq!((ages.factor.as_str(), ages.width), ("age", 1.0));
    assert_eq!(ages.bins.iter().map(|it| it.n_groups).sum::<usize>(), 30);
    let young: usize = ages.bins.iter().filter(|it| it.from < 30.0).map(|it| it.n_groups).sum();
    assert_eq!(young, it.scopes[3].classes[0].n_groups);
    assert_eq!(it.brightness.unwrap().bins.iter().sum::<usize>(), 210);
}

#[test]
fn planted_duplicates_and_damaged_images_are_found() {
    let mut manifest = synthetic(6);
    let name = |manifest: &Manifest, person: usize, shot: usize| {
        manifest.examples[person * 7 + shot].name.clone()
    };
    let content = |manifest: &Manifest, person: usize, shot: usize| {
        manifest.examples[person * 7 + shot].content.clone()
    };
    // A file of person 0 as that of person 2; its pixels in another file as that of person 3; an image of
    // person 1, resized and saved again, as that of person 4.
    manifest.examples[2 * 7].content = content(&manifest, 0, 1);
    manifest.examples[3 * 7].content = png(&pixels(&content(&manifest, 0, 1)));
    let again = draw(&Person::new(Seed(0), 1), Shot::Normal, SIZE);
    let again = image::imageops::resize(&again, 80, 108, image::imageops::FilterType::Triangle);
    let at = (0..7).find(|&it| name(&manifest, 1, it).contains("normal")).unwrap();
    manifest.examples[4 * 7].content = jpeg(&again, 70);
    // And an image that is cut off, and a missing file.
    let whole = content(&manifest, 5, 2).bytes().unwrap().into_owned();
    manifest.examples[5 * 7 + 2].content = Content::Memory(whole[..whole.len() / 2].into());
    manifest.examples[5 * 7 + 3].content = Content::File("no/such.jpg".into());

    let it = analyse(&manifest);
    let near_duplicates: Vec<_> =
        it.near_duplicates.iter().map(|it| (it.likeness, it.images)).collect();
    let want = [
        (Similarity::SameBytes, [1, 2 * 7]),
        (Similarity::SamePixels, [1, 3 * 7]),
        (Similarity::Near, [7 + at, 4 * 7]),
    ];
    assert_eq!(near_duplicates, want);
    let unreadable: Vec<_> =
        it.unreadable.iter().map(|it| (&*it.image, it.reason.split(" (").next())).collect();
    assert_eq!(
        unreadable,
        [
            (&*name(&manifest, 5, 2), Some("the image is truncated")),
            (&*name(&manifest, 5, 3), Some("No such file or directory")),
        ]
    );
    // They still count as images of their class, by their labels.
    assert_eq!(it.n_images, 42);
    assert_eq!(it.sizes.iter().map(|it| it.n_images).sum::<usize>(), 40);
}

#[test]
fn statistics_and_brightness_cover_all_pixels() {
    let black = RgbImage::new(4, 4);
    let red = RgbImage::from_pixel(4, 12, image::Rgb([255, 0, 0]));
    let example = |name: &str, person, image: &RgbImage| Example {
        name: name.to_owned(),
        content: png(image),
        group: person,
        class: person,
        numbers: Vec::new(),
        attributes: Vec::new(),
        usage: Use::Pool,
        weight: 1.0,
        hash: None,
    };
    let task = Task::new(vec![Factor::new("colour", &["black", "red", "blue"])]);
    let examples = vec![example("black.png", 0, &black), example("red.png", 1, &red)];
    let manifest = Manifest::new(task, vec!["a".to_owned(), "b".to_owned()], examples);
    let it = analyse(&manifest);
    // 48 of 64 pixels are red: mean 3/4, variance 3/4 * 1/4.
    let statistics = it.statistics.unwrap();
    assert_eq!(statistics.mean, [0.75, 0.0, 0.0]);
    assert!((statistics.std[0] - (3.0_f64 / 16.0).sqrt()).abs() < 1e-12);
    let brightness = it.brightness.unwrap();
    assert_eq!((&*brightness.darkest.image, brightness.darkest.mean), ("black.png", 0.0));
    // 0.299 * 255 = 76.245, in the bin from 72 to 80.
    assert_eq!((&*brightness.brightest.image, brightness.brightest.mean), ("red.png", 76.245));
    assert_eq!((brightness.bins[0], brightness.bins[9]), (1, 1));
    // With one factor there is only the joint scope; it is not numeric; no image is blue.
    assert_eq!(it.scopes.len(), 1);
    assert_eq!(it.numbers, []);
    assert_eq!(it.scopes[0].classes[2].n_images, 0);
    assert_eq!(it.near_duplicates, []);
}

#[test]
fn zero_and_one_image_are_valid_data() {
    let mut manifest = synthetic(1);
    manifest.examples.truncate(1);
    let it = analyse(&manifest);
    assert_eq!((it.n_images, it.n_groups, it.near_duplicates.len()), (1, 1, 0));
    let age = manifest.examples[0].number(2).unwrap();
    let bins = vec![NumberCount { from: age, n_groups: 1 }];
    let factor = "age".to_owned();
    assert_eq!(it.numbers, [NumberCounts { factor, min: age, max: age, width: 1.0, bins }]);
    manifest.examples.clear();
    let it = analyse(&manifest);
    assert_eq!((it.n_images, it.statistics, it.brightness), (0, None, None));
}

#[test]
fn numbers_of_any_size_have_at_most_200_bins_of_round_widths() {
    let width = |numbers: &[f64]| super::bin_width(numbers.iter().copied());
    assert_eq!(width(&[18.0, 60.0]), 1.0);
    assert_eq!(width(&[18.5, 60.0]), 1.0);
    assert_eq!(width(&[7.0]), 1.0);
    assert_eq!(width(&[1.0, 5.0]), 1.0);
    // 1 / 200 is 0.005.
    assert_eq!(width(&[0.0, 0.25, 1.0]), 0.005);
    assert_eq!(width(&[0.0, 100_000.0]), 500.0);
    assert_eq!(width(&[-1e9, 1e9]), 1e7);
    assert_eq!(width(&[]), 1.0);
}

#[test]
fn every_image_is_passed_once_and_threads_change_nothing() {
    let manifest = synthetic(12);
    let shown = Mutex::new(Vec::new());
    let all = |idx: usize, _: &_| shown.lock().unwrap().push(idx);
    let of = |n: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| survey(&manifest, 1 << 20, &all, &|_, _| {}))
    };
    let one = of(1);
    assert_eq!(shown.lock().unwrap().drain(..).collect::<Vec<_>>(), Vec::from_iter(0..84));
    assert_eq!(of(3), one);
    shown.lock().unwrap().sort_unstable();
    assert_eq!(*shown.lock().unwrap(), Vec::from_iter(0..84));
}
