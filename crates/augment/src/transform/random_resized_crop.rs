//! Crops a random part of random area and aspect ratio, and resizes it to a given size.
//!
//! The part's fraction of the area is uniform in `scale`, and the logarithm of its width / height in that of
//! `ratio`. A part that does not fit is sampled again, at most ten times; after that it is the largest part
//! in the centre whose aspect ratio is in `ratio`.
//!
//! Szegedy et al., "Going Deeper with Convolutions", 2014, as torchvision's `RandomResizedCrop`,
//! antialiased.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{Filter, Transform, size_problem};
use crate::{Canvas, OpError, Range};

/// `kind = "random_resized_crop"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
    /// The part's fraction of the image's area: `[from, to]`.
    pub scale: Range,
    /// Its width / height: `[from, to]`.
    pub ratio: Range,
    /// The interpolation filter.
    pub filter: Filter,
}

impl Default for RandomResizedCrop {
    /// torchvision's defaults, at the usual size for ImageNet.
    fn default() -> RandomResizedCrop {
        RandomResizedCrop {
            size: [224, 224],
            scale: Range { from: 0.08, to: 1.0 },
            ratio: Range { from: 3.0 / 4.0, to: 4.0 / 3.0 },
            filter: Filter::Bilinear,
        }
    }
}

impl RandomResizedCrop {
    /// Samples the upper left corner and the size of a part of an image of `[h, w]`.
    fn sample(&self, [h, w]: [usize; 2], rng: &mut Rng) -> ([usize; 2], [usize; 2]) {
        let logarithms = Range { from: self.ratio.from.ln(), to: self.ratio.to.ln() };
        for _ in 0..10 {
            let area = (h * w) as f64 * self.scale.sample(rng);
            let ratio = logarithms.sample(rng).exp();
            let size = [area / ratio, area * ratio].map(|it| it.sqrt().round_ties_even() as usize);
            if (1..=h).contains(&size[0]) && (1..=w).contains(&size[1]) {
                let top = rng.random_range(0..=h - size[0]);
                return ([top, rng.random_range(0..=w - size[1])], size);
            }
        }
        self.central([h, w])
    }

    /// The largest part in the centre whose aspect ratio is allowed.
    fn central(&self, [h, w]: [usize; 2]) -> ([usize; 2], [usize; 2]) {
        let of =
            |side: usize, ratio: f64| ((side as f64 * ratio).round_ties_even() as usize).max(1);
        let ratio = w as f64 / h as f64;
        let size = if ratio < self.ratio.from {
            [of(w, 1.0 / self.ratio.from).min(h), w]
        } else if ratio > self.ratio.to {
            [h, of(h, self.ratio.to).min(w)]
        } else {
            [h, w]
        };
        ([(h - size[0]) / 2, (w - size[1]) / 2], size)
    }
}

impl Transform for RandomResizedCrop {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let (corner, size) = self.sample(canvas.size(), rng);
        canvas.crop(corner, size);
        Ok(canvas.resize(self.size, self.filter)?)
    }

    fn is_random(&self) -> bool {
        true
    }

    fn size_after(&self, _: Option<[usize; 2]>) -> Option<[usize; 2]> {
        Some(self.size)
    }

    fn problem(&self) -> Option<String> {
        size_problem(self.size)
            .or_else(|| self.scale.problem("scale", 1e-6..=1.0))
            .or_else(|| self.ratio.problem("ratio", 0.01..=100.0))
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::RandomResizedCrop;
    use crate::{Canvas, Range, transform::golden::Case};

    #[test]
    fn agrees_with_torchvision() {
        for case in Case::all("resized_crop") {
            let mut canvas = Canvas::from(case.source());
            canvas.crop(case.to("corner"), case.to("part"));
            canvas.resize(case.to("size"), case.to("filter")).unwrap();
            case.check_close(&canvas.finish().unwrap());
        }
    }

    #[test]
    fn parts_have_the_given_areas_and_aspect_ratios() {
        let op = RandomResizedCrop {
            scale: Range { from: 0.2, to: 0.5 },
            ratio: Range { from: 0.5, to: 1.5 },
            ..RandomResizedCrop::default()
        };
        let mut rng = Seed(0).stream("test");
        let mut mean = 0.0;
        for _ in 0..1000 {
            let ([top, left], [h, w]) = op.sample([400, 300], &mut rng);
            assert!(top + h <= 400 && left + w <= 300);
            let (share, ratio) = ((h * w) as f64 / 120_000.0, w as f64 / h as f64);
            assert!((0.195..0.505).contains(&share) && (0.49..1.51).contains(&ratio));
            mean += share / 1000.0;
        }
        assert!((mean - 0.35).abs() < 0.01, "{mean}");
    }

    #[test]
    fn a_part_that_never_fits_is_central() {
        let op = RandomResizedCrop {
            scale: Range { from: 1.0, to: 1.0 },
            ..RandomResizedCrop::default()
        };
        let part = |size| op.sample(size, &mut Seed(0).stream("test"));
        // 300 * 4 / 3 rows of 600, and as many columns.
        assert_eq!(part([600, 300]), ([100, 0], [400, 300]));
        assert_eq!(part([300, 600]), ([0, 100], [300, 400]));
        assert_eq!(part([1, 5000]), ([0, 2499], [1, 1]));
    }
}
