//! Checks of operations against the results of other libraries on the same image.

use std::path::Path;

use serde::de::DeserializeOwned;
use testkit::Golden;

use super::Image;

/// A case of tests/golden/geometry.json: an operation's settings, and its result for the source image.
pub(super) struct Case(Golden);

impl Case {
    /// All cases of an operation.
    pub(super) fn all(op: &str) -> Vec<Case> {
        Golden::read("geometry").at(op).list().into_iter().map(Case).collect()
    }

    pub(super) fn source(&self) -> Image {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/geometry");
        image::open(dir.join("source.png")).expect("source.png is an image").into_rgb8()
    }

    pub(super) fn to<T: DeserializeOwned>(&self, key: &str) -> T {
        self.0.to(key)
    }

    /// Checks that every byte is equal.
    #[track_caller]
    pub(super) fn check_same(&self, got: &Image) {
        assert_eq!(self.off(got), (0.0, 0), "mean and worst difference: {}", self.settings());
    }

    /// Checks that it is equal up to rounding of coordinates and colours.
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

/// The source image of all golden cases: 29 wide, 37 high.
pub(super) fn source() -> Image {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images");
    image::open(dir.join("source.png")).unwrap().into_rgb8()
}

/// Applies each case and compares: off by at most `worst`, and by at most 1 on average.
#[track_caller]
pub(super) fn check(cases: &Golden, worst: u8, change: impl Fn(&Golden, &mut Image)) {
    for case in cases.list() {
        let mut image = source();
        change(&case, &mut image);
        let (mean, most) = off(&image, &case);
        assert!(mean <= 1.0 && most <= worst, "{:?}: off by {mean}, at most {most}", case.at("of"));
    }
}

/// Like [`check`], with the cases of `tests/golden/colours.json` of the given name.
#[track_caller]
pub(super) fn check_golden(name: &str, worst: u8, change: impl Fn(&Golden, &mut Image)) {
    check(&Golden::read("colours").at(name), worst, change);
}

/// The mean and maximum difference from a case's image.
#[track_caller]
fn off(got: &Image, case: &Golden) -> (f64, u8) {
    let want: Vec<u8> = case.to("image");
    assert_eq!(got.len(), want.len());
    let off = || got.iter().zip(&want).map(|(a, b)| a.abs_diff(*b));
    (off().map(f64::from).sum::<f64>() / want.len() as f64, off().max().unwrap_or(0))
}
