//! Tests of the source.

use std::{fs, path::Path};

use super::Folders;
use crate::{
    Findings, Manifest,
    manifest::Use,
    source::{Context, NamePattern, Source as _, SourceError},
};

/// Writes small images, all different but for those with equal `shade`.
fn images(root: &Path, names: &[(&str, u8)]) {
    for (name, shade) in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = image::RgbImage::from_pixel(3, 2, image::Rgb([*shade, 0, 9]));
        image.save_with_format(path, image::ImageFormat::Png).unwrap();
    }
}

fn context() -> Context<'static> {
    Context { cache: None, max_pixels: 100, progress: &|_, _| {} }
}

fn source(root: &Path, group: &str) -> Folders {
    Folders {
        root: root.to_owned(),
        group: NamePattern { regex: group.to_owned() },
        ..Folders::default()
    }
}

fn listed(root: &Path) -> (Manifest, Findings) {
    source(root, "").list(&context()).unwrap()
}

fn rows(manifest: &Manifest) -> Vec<(&str, usize, Use)> {
    manifest.examples.iter().map(|it| (it.name.as_str(), it.class, it.usage)).collect()
}

#[test]
fn one_tree_has_its_classes_in_the_order_of_code_points() {
    let dir = tempfile::tempdir().unwrap();
    images(
        dir.path(),
        &[
            ("b/2.png", 1),
            ("b/1.PNG", 2),
            ("Z/sub/deep/x", 3),
            ("개, 강아지/가.png", 4),
            ("10/a.png", 5),
            ("9/a.png", 6),
            (".hidden/a.png", 7),
            ("b/.hidden.png", 8),
        ],
    );
    fs::write(dir.path().join("b/notes.txt"), "not an image").unwrap();
    fs::write(dir.path().join("readme.txt"), "not an image").unwrap();
    let (manifest, findings) = listed(dir.path());
    assert_eq!(findings, Findings::default());
    assert_eq!(manifest.task.factors[0].name, "class");
    assert_eq!(manifest.task.factors[0].levels, ["10", "9", "Z", "b", "개, 강아지"]);
    let want = [
        ("10/a.png", 0, Use::Pool),
        ("9/a.png", 1, Use::Pool),
        ("Z/sub/deep/x", 2, Use::Pool),
        ("b/1.PNG", 3, Use::Pool),
        ("b/2.png", 3, Use::Pool),
        ("개, 강아지/가.png", 4, Use::Pool),
    ];
    assert_eq!(rows(&manifest), want);
    // Each image is its own group.
    assert_eq!(manifest.groups, want.map(|it| it.0));
    assert_eq!(
        manifest.notes,
        [
            "skipped, hidden (the name begins with a dot): 2: `.hidden`, `b/.hidden.png`",
            "skipped, not an image (by the first bytes): 2: `b/notes.txt`, `readme.txt`",
        ]
    );
}

#[test]
fn sets_are_those_of_the_folders() {
    for valid in ["val", "valid", "validation"] {
        let dir = tempfile::tempdir().unwrap();
        let of_valid = format!("{valid}/cat/3.png");
        images(
            dir.path(),
            &[
                ("train/cat/1.png", 1),
                ("train/dog/2.png", 2),
                (&of_valid, 3),
                ("test/dog/4.png", 4),
                ("test/5.png", 5),
            ],
        );
        let (manifest, findings) = listed(dir.path());
        assert_eq!(findings, Findings::default());
        assert_eq!(manifest.task.factors[0].levels, ["cat", "dog"]);
        let mut rows = rows(&manifest);
        rows.sort_unstable_by_key(|it| it.0.rsplit('/').next());
        let want = [
            ("train/cat/1.png", 0, Use::Pool),
            ("train/dog/2.png", 1, Use::Pool),
            (of_valid.as_str(), 0, Use::Valid),
            ("test/dog/4.png", 1, Use::Test),
        ];
        assert_eq!(rows, want);
        let notes = manifest.notes.join("\n");
        assert!(notes.contains("classes without a folder in each set: 2: `cat`, `dog`"), "{notes}");
        assert!(
            notes.contains("images outside of the classes' folders, not read: 1: `test/5.png`"),
            "{notes}"
        );
    }
}

#[test]
fn sets_can_be_split_together() {
    let dir = tempfile::tempdir().unwrap();
    images(dir.path(), &[("train/cat/1.png", 1), ("train/dog/2.png", 2), ("val/cat/3.png", 3)]);
    let source = Folders { keep_sets: false, ..source(dir.path(), "") };
    let manifest = source.list(&context()).unwrap().0;
    assert!(manifest.examples.iter().all(|it| it.usage == Use::Pool));
    assert_eq!(manifest.listed.len(), 3);
}

#[test]
fn test_images_without_classes_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    images(dir.path(), &[("train/cat/1.png", 1), ("train/dog/2.png", 2), ("test/3.png", 3)]);
    let (manifest, findings) = listed(dir.path());
    assert_eq!(findings, Findings::default());
    // Without `val`, the split divides `train`.
    let want = [("train/cat/1.png", 0, Use::Pool), ("train/dog/2.png", 1, Use::Pool)];
    assert_eq!(rows(&manifest), want);
}

#[test]
fn images_are_grouped_by_name() {
    let dir = tempfile::tempdir().unwrap();
    images(dir.path(), &[("a/x1_0.png", 1), ("a/x1_1.png", 2), ("b/y2_0.png", 3)]);
    let (manifest, findings) = source(dir.path(), "/(.+)_").list(&context()).unwrap();
    assert_eq!(findings, Findings::default());
    assert_eq!(manifest.groups, ["x1", "y2"]);
    assert_eq!(manifest.examples.iter().map(|it| it.group).collect::<Vec<_>>(), [0, 0, 1]);

    let (_, findings) = source(dir.path(), "(y.)_").list(&context()).unwrap();
    let text = findings.to_string();
    assert!(text.contains("`group`: does not match 2 names: `a/x1_0.png`, `a/x1_1.png`"), "{text}");
    let err = source(dir.path(), "(").list(&context()).unwrap_err().to_string();
    assert!(
        err.contains("`data.source.group.regex` is `(`, which is not a regular expression"),
        "{err}"
    );
}

#[test]
fn a_group_in_two_sets_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    images(dir.path(), &[("train/a/x_0.png", 1), ("train/b/y_0.png", 2), ("val/a/x_1.png", 3)]);
    let (_, findings) = source(dir.path(), "([a-z]+)_").list(&context()).unwrap();
    let text = findings.to_string();
    assert!(text.contains("group `x`: has images in the training and validation sets"), "{text}");
}

#[test]
fn all_problems_are_reported_together() {
    let dir = tempfile::tempdir().unwrap();
    images(dir.path(), &[("train/a/1.png", 1), ("train/b/2.png", 2), ("val/c/3.png", 3)]);
    fs::create_dir_all(dir.path().join("train/empty")).unwrap();
    fs::write(dir.path().join("train/a/bad.jpg"), "not an image").unwrap();
    let Err(SourceError::Findings { findings, .. }) = source(dir.path(), "").read(&context())
    else {
        panic!("no findings");
    };
    let text = findings.to_string();
    for want in [
        "train/a/bad.jpg: ",
        "train/empty: has no images: put images there, or remove the folder",
        "val/c: is a class without a folder in `train`: add images to train on, or remove the folder",
    ] {
        assert!(text.contains(want), "{text}");
    }
    assert_eq!(findings.0.len(), 3, "{text}");
}

#[test]
fn roots_that_are_no_trees_of_classes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let err = |root: &Path| source(root, "").list(&context()).map(|it| it.1);
    assert!(err(Path::new("")).unwrap_err().to_string().contains("is empty"));
    let absent = err(&dir.path().join("absent")).unwrap_err().to_string();
    assert!(absent.contains("must be a folder with a folder for each class"), "{absent}");
    let own = format!("{}: has no folders", dir.path().display());
    let empty = err(dir.path()).unwrap().to_string();
    assert!(empty.contains(&own), "{empty}");
    // Images, but not in folders.
    images(dir.path(), &[("1.png", 1)]);
    let flat = err(dir.path()).unwrap().to_string();
    assert!(flat.contains(&own), "{flat}");
    // One class.
    images(dir.path(), &[("a/1.png", 1)]);
    let one = err(dir.path()).unwrap().to_string();
    assert!(one.contains("all images have the same: `a`"), "{one}");
    // Two validation folders, and a class beside `train`.
    images(dir.path(), &[("train/a/1.png", 1), ("val/a/2.png", 2), ("valid/a/3.png", 3)]);
    assert!(err(dir.path()).unwrap_err().to_string().contains("keep one of them"));
    fs::remove_dir_all(dir.path().join("valid")).unwrap();
    let both = err(dir.path()).unwrap_err().to_string();
    assert!(both.contains("has both `train` and `a`"), "{both}");
}

#[test]
fn copies_with_different_labels_or_in_different_sets_are_noted() {
    let dir = tempfile::tempdir().unwrap();
    let all =
        [("train/a/1.png", 1), ("train/b/2.png", 1), ("train/b/3.png", 3), ("val/b/4.png", 3)];
    images(dir.path(), &all);
    let manifest = source(dir.path(), "").read(&context()).unwrap();
    let note = manifest.notes.iter().find(|it| it.starts_with("copies")).unwrap();
    assert_eq!(
        note,
        "copies of another image: 1 with different labels, such as `train/a/1.png` and `train/b/2.png`; 1 of \
         a different image or set, such as `train/b/3.png` and `val/b/4.png`; `maskfit eda` shows them"
    );
    // By the hashes of the files, which are unknown until the files are read.
    let hash = |manifest: &Manifest, name: &str| {
        manifest.examples.iter().find(|it| it.name.ends_with(name)).unwrap().hash
    };
    let [first, second, third] = ["1.png", "2.png", "3.png"].map(|it| hash(&manifest, it));
    assert!(first.is_some() && first == second && first != third);
    assert_eq!(hash(&listed(dir.path()).0, "1.png"), None);
}
