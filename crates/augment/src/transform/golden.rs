//! How operations are checked against what other libraries made of the same image.

use std::path::Path;

use serde::de::DeserializeOwned;
use testkit::Golden;

use super::Image;

/// A case of tests/golden/geometry.json: an operation's settings, and what it makes of the source.
pub(super) struct Case(Golden);

impl Case {
    /// All cases of an operation.
    pub(super) fn all(op: &str) -> Vec<Case> {
        Golden::read("geometry").at(op).list().into_iter().map(Case).collect()
    }

    pub(super) fn source(&self) -> Image {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/geometry");
        image::open(dir.join("source.png")).expect("an image").into_rgb8()
    }

    pub(super) fn to<T: DeserializeOwned>(&self, key: &str) -> T {
        self.0.to(key)
    }

    /// Checks that every byte is the same.
    #[track_caller]
    pub(super) fn check_same(&self, got: &Image) {
        assert_eq!(self.off(got), (0.0, 0), "mean and worst difference: {}", self.settings());
    }

    /// Checks that it is the same to rounding, of places and of colours.
    #[track_caller]
    pub(super) fn check_close(&self, got: &Image) {
        let (mean, worst) = self.off(got);
        assert!(mean <= 1.0 && worst <= 3, "mean {mean}, worst {worst}: {}", self.settings());
    }

    #[track_caller]
    fn off(&self, got: &Image) -> (f64, u8) {
        off(got, &self.0)
    }

    fn settings(&self) -> String {
        let keys = self.0.keys().into_iter().filter(|it| it != "image");
        keys.map(|key| format!("{key} = {:?} ", self.0.at(&key))).collect()
    }
}

/// The image that all goldens are of: 29 wide, 37 high.
pub(super) fn source() -> Image {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images");
    image::open(dir.join("source.png")).unwrap().into_rgb8()
}

/// Makes each case's change and compares: off by `worst` at most, and by 1 in the mean.
#[track_caller]
pub(super) fn check(cases: &Golden, worst: u8, change: impl Fn(&Golden, &mut Image)) {
    for case in cases.list() {
        let mut image = source();
        change(&case, &mut image);
        let (mean, most) = off(&image, &case);
        assert!(mean <= 1.0 && most <= worst, "{:?}: off by {mean}, at most {most}", case.at("of"));
    }
}

/// As [`check`], with the cases of `tests/golden/colours.json` under a name.
#[track_caller]
pub(super) fn check_golden(name: &str, worst: u8, change: impl Fn(&Golden, &mut Image)) {
    check(&Golden::read("colours").at(name), worst, change);
}

/// The mean and the greatest difference from a case's image.
#[track_caller]
fn off(got: &Image, case: &Golden) -> (f64, u8) {
    let want: Vec<u8> = case.to("image");
    assert_eq!(got.len(), want.len());
    let off = || got.iter().zip(&want).map(|(a, b)| a.abs_diff(*b));
    (off().map(f64::from).sum::<f64>() / want.len() as f64, off().max().unwrap_or(0))
}
