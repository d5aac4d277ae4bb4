//! How changes are checked against what other libraries made of the same picture.

use std::path::Path;

use testkit::Golden;

use super::Picture;

/// The picture that all goldens are of: 29 wide, 37 high.
pub(super) fn source() -> Picture {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/pictures");
    image::open(dir.join("source.png")).unwrap().into_rgb8()
}

/// Makes each case's change and compares: off by `worst` at most, and by 1 in the mean.
#[track_caller]
pub(super) fn check(cases: &Golden, worst: u8, change: impl Fn(&Golden, &mut Picture)) {
    for case in cases.list() {
        let mut picture = source();
        change(&case, &mut picture);
        let (got, want) = (picture.into_raw(), case.to::<Vec<u8>>("picture"));
        assert_eq!(got.len(), want.len(), "{:?}", case.at("of"));
        let off: Vec<u8> = got.iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).collect();
        let mean = off.iter().map(|&it| f64::from(it)).sum::<f64>() / off.len() as f64;
        let most = off.iter().max().copied().unwrap_or_default();
        assert!(mean <= 1.0 && most <= worst, "{:?}: off by {mean}, at most {most}", case.at("of"));
    }
}

/// As [`check`], with the cases of `tests/golden/colours.json` under a name.
#[track_caller]
pub(super) fn check_golden(name: &str, worst: u8, change: impl Fn(&Golden, &mut Picture)) {
    check(&Golden::read("colours").at(name), worst, change);
}
