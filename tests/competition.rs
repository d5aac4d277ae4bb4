//! The competition's table and file names, where they are available.

use std::{fs, path::Path};

use data::{Listing, from_names};

#[test]
fn competition_counts_match_the_published_ones() {
    let Some(dir) = testkit::shared_data("competition") else { return };
    let csv = fs::read(dir.join("train.csv")).unwrap();
    let names = fs::read_to_string(dir.join("files.csv")).unwrap();
    let mut listing = Listing::new();
    for line in names.lines().skip(1) {
        let (folder, file) = line.split_once(',').expect("path,file");
        listing.entry(folder.to_owned()).or_default().push(file.to_owned());
    }
    let (manifest, findings) = from_names(&csv, &listing, Path::new("images"), &[]);
    assert_eq!(findings.0, []);
    assert_eq!((manifest.groups.len(), manifest.examples.len()), (2700, 18_900));
    let want = [
        2745, 2050, 415, 3660, 4085, 545, 549, 410, 83, 732, 817, 109, 549, 410, 83, 732, 817, 109,
    ];
    assert_eq!(manifest.counts(), want);
}
