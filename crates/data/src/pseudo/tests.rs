use std::{fs, path::Path};

use base::{Task, task::Factor};
use image::{ImageFormat, Rgb, RgbImage};

use super::{Pseudo, copies, groups_in, held_out_copies};
use crate::{Content, Context, Example, Manifest, SourceError, Use};

/// Writes an image of one colour.
fn write(path: &Path, red: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(8, 8, Rgb([red, 0, 0])).save_with_format(path, ImageFormat::Png).unwrap();
}

/// Writes images to the folder of those with pseudo-labels.
fn write_all(root: &Path, images: &[(&str, u8)]) {
    images.iter().for_each(|(name, red)| write(&root.join("images").join(name), *red));
}

/// Two people with two images each, in a folder for each person, of the classes 0 to 3.
fn manifest(root: &Path) -> Manifest {
    let task =
        Task::new(vec![Factor::new("mask", &["on", "off"]), Factor::new("sex", &["f", "m"])]);
    let example = |idx: usize| {
        let name = format!("{}/{idx}.png", ["a", "b"][idx / 2]);
        let path = root.join("data").join(&name);
        write(&path, idx as u8);
        Example {
            name,
            content: Content::File(path),
            group: idx / 2,
            class: idx,
            numbers: Vec::new(),
            attributes: Vec::new(),
            usage: Use::Pool,
            weight: 1.0,
            hash: None,
        }
    };
    let groups = ["a", "b"].map(str::to_owned).to_vec();
    Manifest::new(task, groups, (0..4).map(example).collect())
}

/// Adds a table to the manifest.
fn add(root: &Path, manifest: &mut Manifest, table: &str) -> Result<(), String> {
    let (file, images) = (root.join("pseudo.csv"), root.join("images"));
    fs::write(&file, table).unwrap();
    let pseudo = Pseudo { file, images, share: 0.3, weight: 0.5 };
    let context = Context { cache: None, max_pixels: 1_000_000, progress: &|_, _| {} };
    pseudo.add_to(manifest, &context, true).map_err(|err| match err {
        SourceError::Findings { findings, .. } => findings.to_string(),
        other => other.to_string(),
    })
}

#[test]
fn images_are_added_to_the_training_set() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write_all(root, &[("사진, 1.png", 100), ("x/2.png", 100), ("3.png", 100)]);
    let mut manifest = manifest(root);
    let table = "image,group,mask,sex,confidence,weight\n\"사진, 1.png\",,off,f,0.95,1\nx/2.png,a,on,m,0.9,0.5\n\
                 3.png,c,on,f,1,0\n";
    add(root, &mut manifest, table).unwrap();
    assert_eq!(manifest.pseudo.images, 4..7);
    let of = |idx: usize| {
        let it: &Example = &manifest.examples[idx];
        (it.name.as_str(), manifest.groups[it.group].as_str(), it.class, it.usage, it.weight)
    };
    assert_eq!(of(4), ("pseudo/사진, 1.png", "pseudo/사진, 1.png", 2, Use::Train, 0.5));
    // The group of the data stays one group.
    assert_eq!(of(5), ("pseudo/x/2.png", "a", 1, Use::Train, 0.25));
    assert_eq!(manifest.examples[5].group, manifest.examples[0].group);
    assert_eq!(of(6), ("pseudo/3.png", "c", 0, Use::Train, 0.0));
    assert_eq!(manifest.pseudo.soft(4), &[0f32; 0]);
    assert_eq!(manifest.listed.len(), 2, "nobody else is split");
    assert_eq!(manifest.pseudo.copies, []);
}

#[test]
fn soft_labels_are_distributions() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write_all(root, &[("1.png", 100), ("2.png", 100)]);
    let mut manifest = manifest(root);
    // Columns in another order, without group, confidence and weight.
    let table = "off m,on f,on m,off f,image\n0.5,0.25,0.125,0.125,1.png\n0,0,1,0,2.png\n";
    add(root, &mut manifest, table).unwrap();
    assert_eq!(manifest.pseudo.soft(4), [0.25, 0.125, 0.125, 0.5]);
    assert_eq!(manifest.pseudo.soft(5), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(manifest.pseudo.soft(3), &[0f32; 0]);
    let classes: Vec<usize> = manifest.examples.iter().map(|it| it.class).collect();
    assert_eq!(classes, [0, 1, 2, 3, 3, 1]);
    assert_eq!(manifest.examples[4].weight, 0.5);
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(&root.join("images/1.png"), 100);
    let err = add(
        root,
        &mut manifest(root),
        "image,mask,sex,confidence,weight\n1.png,off,x,0.5,1\n1.png,off,f,nan,1\n2.png,off,f,0.5,2\n\
         3.png,off,f,0.5,1\n4.png,off\n",
    )
    .unwrap_err();
    for want in [
        "line 2: `sex` is `x`, which is not one of `f`, `m`",
        "line 3: `confidence` is `nan`, which is not a number from 0 to 1",
        "line 3: `1.png` is in line 2 already",
        "line 4: `weight` is `2`",
        "line 5: there is no file `3.png` in",
        "line 6: has 2 fields, the header 5",
    ] {
        assert!(err.contains(want), "{want}: {err}");
    }
    let soft = "image,on f,on m,off f,off m\n1.png,0.5,0.5,0.5,0\n2.png,NaN,0,1,0\n";
    let err = add(root, &mut manifest(root), soft).unwrap_err();
    for want in [
        "line 2: the probabilities sum to 1.5, not to 1",
        "line 3: `on f` is `NaN`, which is not a number from 0 to 1",
    ] {
        assert!(err.contains(want), "{want}: {err}");
    }
    for (table, want) in [
        ("image,mask\n1.png,on\n", "not a table of pseudo-labels for this data"),
        ("image,mask,sex\n", "has no rows"),
        ("", "not a table of pseudo-labels"),
    ] {
        let err = add(root, &mut manifest(root), table).unwrap_err();
        assert!(err.contains(want), "{table}: {err}");
    }
    fs::write(root.join("images/1.png"), "no image").unwrap();
    let table = "image,mask,sex\n1.png,on,f\n";
    let err = add(root, &mut manifest(root), table).unwrap_err();
    assert!(err.contains("1.png: "), "{err}");
    // Nothing is added.
    let mut whole = manifest(root);
    add(root, &mut whole, table).unwrap_err();
    assert_eq!((whole.examples.len(), whole.pseudo.images.len()), (4, 0));
}

#[test]
fn groups_of_the_test_set_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write_all(root, &[("1.png", 100)]);
    let mut manifest = manifest(root);
    manifest.examples[2].usage = Use::Test;
    manifest.examples[3].usage = Use::Test;
    let err = add(root, &mut manifest, "image,group,mask,sex\n1.png,b,on,f\n").unwrap_err();
    assert!(err.contains("line 2: `1.png` is of group `b`, who is in the test set"), "{err}");
    add(root, &mut manifest, "image,group,mask,sex\n1.png,a,on,f\n").unwrap();
}

#[test]
fn copies_of_images_that_are_held_out_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    // The content of the data's image 2, under another name; and a new image of the same size.
    write_all(root, &[("1.png", 2), ("2.png", 100)]);
    let mut manifest = manifest(root);
    add(root, &mut manifest, "image,mask,sex\n1.png,on,f\n2.png,on,f\n").unwrap();
    assert_eq!(manifest.pseudo.copies, [(4, 2)]);
    let held_out = |idx: usize| held_out_copies(&manifest, |it| it == idx);
    assert!(held_out(2).unwrap().contains("`pseudo/1.png` is a copy of `b/2.png`"));
    assert_eq!(held_out(3), None);
}

#[test]
fn images_belong_to_the_group_of_their_folder_or_of_their_copy() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let manifest = manifest(root);
    let file = |name: &str, red: u8| {
        let path = root.join(name);
        write(&path, red);
        (name.to_owned(), Content::File(path))
    };
    let images = [
        // Unlabelled, in the folder of `b`; a copy of an image of `a`; both; neither.
        file("data/b/new.png", 90),
        file("other/copy.png", 1),
        file("data/b/copy.png", 1),
        file("other/new.png", 91),
    ];
    let want: [&[usize]; 4] = [&[1], &[0], &[0, 1], &[]];
    let copies = copies(&images, &manifest);
    assert_eq!(copies.iter().map(|it| it.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(groups_in(&images, &manifest, &copies), want);
}
