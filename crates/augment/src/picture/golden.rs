//! What the tests against tests/golden/geometry.json share.

use std::path::Path;

use serde::de::DeserializeOwned;
use testkit::Golden;

use super::Picture;

/// An operation's settings, and what it makes of the source.
pub(super) struct Case(Golden);

impl Case {
    /// All cases of an operation.
    pub(super) fn all(op: &str) -> Vec<Case> {
        Golden::read("geometry").at(op).list().into_iter().map(Case).collect()
    }

    pub(super) fn source(&self) -> Picture {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/geometry");
        image::open(dir.join("source.png")).expect("a picture").into_rgb8()
    }

    pub(super) fn to<T: DeserializeOwned>(&self, key: &str) -> T {
        self.0.to(key)
    }

    /// Checks that every byte is the same.
    #[track_caller]
    pub(super) fn check_same(&self, got: &Picture) {
        assert_eq!(self.off(got), (0.0, 0), "mean and worst difference: {}", self.settings());
    }

    /// Checks that it is the same to rounding, of places and of colours.
    #[track_caller]
    pub(super) fn check_close(&self, got: &Picture) {
        let (mean, worst) = self.off(got);
        assert!(mean <= 1.0 && worst <= 3, "mean {mean}, worst {worst}: {}", self.settings());
    }

    /// The mean and the greatest difference.
    #[track_caller]
    fn off(&self, got: &Picture) -> (f64, u8) {
        let want: Vec<u8> = self.to("picture");
        assert_eq!(got.len(), want.len(), "{}", self.settings());
        let off = || got.iter().zip(&want).map(|(a, b)| a.abs_diff(*b));
        let mean = off().map(f64::from).sum::<f64>() / want.len() as f64;
        (mean, off().max().unwrap_or(0))
    }

    fn settings(&self) -> String {
        let keys = self.0.keys().into_iter().filter(|it| it != "picture");
        keys.map(|key| format!("{key} = {:?} ", self.0.at(&key))).collect()
    }
}
