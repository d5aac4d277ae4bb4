//! fastai's default augmentation: `aug_transforms` after presizing.
//!
//! The largest part of the image with the aspect of `presize`, at a random position, is resized to it; a
//! flip, a rotation, a zoom and a perspective warp are one warp from there to the final size, mirrored at the
//! edges; and brightness and contrast are linear in the logits of the bytes, σ(c (logit x + b)): one table.
//! With `min_scale` below 1, a random part of the warped image is resized to the final size: its fraction of
//! the area is uniform in `min_scale`..1.
//!
//! Howard and Gugger, "fastai: A Layered API for Deep Learning", 2020,
//! <https://arxiv.org/abs/2002.04688>, whose settings have the same names; parameters are sampled per image,
//! where fastai crops all images of a batch at the same place. Its crops are squares, and are stretched where
//! the image is none: here they have the aspect of `presize`. The crop and the warp are one resampling.
//! If `presize` is more than twice the final size, fastai averages areas before it warps: here such an image
//! is resized to twice the final size directly.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{
    Transform, range_problem, size_problem, strength_problem,
    tables::{look_up, table},
};
use crate::{Border, Canvas, Image, OpError, Projection, filter::Filter};

/// `kind = "fastai"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fastai {
    /// The final `[height, width]` in pixels.
    pub size: [usize; 2],
    /// The `[height, width]` before the warp.
    pub presize: [usize; 2],
    /// The minimum fraction of the warped image's area that is kept; at 1, all of it.
    pub min_scale: f64,
    /// Whether half of the images are mirrored.
    pub do_flip: bool,
    /// The maximum rotation in degrees.
    pub max_rotate: f64,
    /// The minimum zoom.
    pub min_zoom: f64,
    /// The maximum zoom: above 1 magnifies.
    pub max_zoom: f64,
    /// The maximum change of brightness and contrast, in 0..1.
    pub max_lighting: f64,
    /// The maximum displacement of a corner by the perspective warp, as a fraction of half the image.
    pub max_warp: f64,
    /// The probability of each: rotation, zoom, and perspective warp along either axis.
    pub p_affine: f64,
    /// The probability of each: brightness and contrast.
    pub p_lighting: f64,
}

impl Default for Fastai {
    /// fastai's defaults, and its book's presizing.
    fn default() -> Fastai {
        Fastai {
            size: [224, 224],
            presize: [460, 460],
            min_scale: 1.0,
            do_flip: true,
            max_rotate: 10.0,
            min_zoom: 1.0,
            max_zoom: 1.1,
            max_lighting: 0.2,
            max_warp: 0.2,
            p_affine: 0.75,
            p_lighting: 0.75,
        }
    }
}

/// The parameters sampled for one image.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Params {
    is_flipped: bool,
    /// Degrees.
    rotate: f64,
    zoom: f64,
    /// The centre of the zoom: (x, y) in 0..=1.
    towards: [f64; 2],
    /// The perspective warp: x, y.
    warp: [f64; 2],
    /// The value in 0..1 to which mid-grey is mapped.
    brightness: f64,
    /// The factor of the logits.
    contrast: f64,
}

impl Transform for Fastai {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        self.presize(canvas, [rng.random(), rng.random()])?;
        let params = self.sample(rng);
        let map = match self.min_scale < 1.0 {
            true => {
                let now = canvas.size();
                self.part(now, rng).map(self.size).then(&params.map(now, now))
            }
            false => params.map(canvas.size(), self.size),
        };
        if map != Projection::IDENTITY || canvas.size() != self.size {
            canvas.warp(map, self.size, Border::Reflect)?;
        }
        if params.brightness != 0.5 || params.contrast != 1.0 {
            light(canvas.pixels()?, params.brightness, params.contrast);
        }
        Ok(())
    }

    fn is_random(&self) -> bool {
        true
    }

    fn size_after(&self, _: Option<[usize; 2]>) -> Option<[usize; 2]> {
        Some(self.size)
    }

    fn problem(&self) -> Option<String> {
        if let Some(problem) = size_problem(self.size) {
            return Some(problem);
        }
        if size_problem(self.presize).is_some() {
            return Some(format!(
                "`presize` must be [height, width] in pixels, 1 to 16384 each, not {:?}",
                self.presize
            ));
        }
        if !(0.01..=1.0).contains(&self.min_scale) {
            return Some(format!("`min_scale` must be from 0.01 to 1, not {}", self.min_scale));
        }
        let strengths = [
            ("max_rotate", self.max_rotate, 180.0),
            ("max_lighting", self.max_lighting, 0.99),
            ("max_warp", self.max_warp, 0.9),
            ("p_affine", self.p_affine, 1.0),
            ("p_lighting", self.p_lighting, 1.0),
        ];
        strengths
            .into_iter()
            .find_map(|(name, value, most)| strength_problem(name, value, most))
            .or_else(|| {
                range_problem(
                    "min_zoom, max_zoom",
                    "zooms",
                    [self.min_zoom, self.max_zoom],
                    [0.1, 10.0],
                )
            })
    }
}

impl Fastai {
    /// Crops the largest part with the aspect of `presize`, at the position `place` in 0..1 of the margin
    /// (rows, columns), and resizes it.
    fn presize(&self, canvas: &mut Canvas<'_>, place: [f64; 2]) -> Result<(), OpError> {
        let now = canvas.size();
        let scales = [0, 1].map(|it| now[it] as f64 / self.presize[it] as f64);
        let scale = scales[0].min(scales[1]);
        let part = [0, 1].map(|it| ((scale * self.presize[it] as f64) as usize).clamp(1, now[it]));
        canvas.crop([0, 1].map(|it| (place[it] * (now[it] - part[it]) as f64) as usize), part);
        let ratios = [0, 1].map(|it| self.presize[it] as f64 / (2 * self.size[it]) as f64);
        let excess = ratios[0].min(ratios[1]).max(1.0);
        let size = self.presize.map(|it| ((it as f64 / excess) as usize).max(1));
        Ok(canvas.resize(size, Filter::Bilinear)?)
    }

    /// Samples a part of an image of `[h, w]`.
    fn part(&self, size: [usize; 2], rng: &mut Rng) -> Part {
        let side = rng.random_range(self.min_scale..=1.0).sqrt();
        let of = |whole: usize, place: f64| {
            let part = side * whole as f64;
            (place * (whole as f64 - part), part)
        };
        let [(top, height), (left, width)] = [0, 1].map(|it| of(size[it], rng.random()));
        Part { corner: [top, left], size: [height, width] }
    }

    /// Samples all parameters, used or not, in this order.
    fn sample(&self, rng: &mut Rng) -> Params {
        let is_flipped = rng.random_bool(0.5) && self.do_flip;
        let mut within = |least: f64, most: f64, neutral: f64, p: f64| {
            let sampled = rng.random_range(least..=most);
            if rng.random_bool(p) { sampled } else { neutral }
        };
        let (strength, light) = (self.max_warp, self.max_lighting);
        let warp = [0; 2].map(|_| within(-strength, strength, 0.0, self.p_affine));
        let rotate = within(-self.max_rotate, self.max_rotate, 0.0, self.p_affine);
        let zoom = within(self.min_zoom, self.max_zoom, 1.0, self.p_affine);
        let towards = [0; 2].map(|_| within(0.0, 1.0, 0.5, 1.0));
        let brightness = within(0.5 * (1.0 - light), 0.5 * (1.0 + light), 0.5, self.p_lighting);
        let steepest = -(1.0 - light).ln();
        let contrast = within(-steepest, steepest, 0.0, self.p_lighting).exp();
        Params { is_flipped, rotate, zoom, towards, warp, brightness, contrast }
    }
}

/// A part of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    /// `[top, left]`
    corner: [f64; 2],
    /// `[height, width]`
    size: [f64; 2],
}

impl Part {
    /// From output coordinates of size `to` to those of the whole image: the centres of the outermost pixels of
    /// both are the same.
    fn map(&self, to: [usize; 2]) -> Projection {
        let [y, x] = [0, 1].map(|it| match to[it] {
            1 => 0.0,
            n => (self.size[it] - 1.0) / (n - 1) as f64,
        });
        let [top, left] = self.corner;
        Projection::shift(-0.5, -0.5)
            .then(&Projection::scale(x, y))
            .then(&Projection::shift(left + 0.5, top + 0.5))
    }
}

impl Params {
    /// From output coordinates of size `to` to source coordinates of size `from`.
    ///
    /// In between, the centres of the outermost pixels are at -1 and 1.
    fn map(&self, from: [usize; 2], to: [usize; 2]) -> Projection {
        let is_still = !self.is_flipped && self.rotate == 0.0 && self.zoom == 1.0;
        // The identity, without any rounding.
        if from == to && is_still && self.warp == [0.0; 2] {
            return Projection::IDENTITY;
        }
        let [half_h, half_w] = to.map(|it| (it as f64 - 1.0) / 2.0);
        let inverse = |half: f64| if half > 0.0 { 1.0 / half } else { 0.0 };
        let to_units = Projection::shift(-half_w - 0.5, -half_h - 0.5)
            .then(&Projection::scale(inverse(half_w), inverse(half_h)));
        let s = 1.0 / self.zoom;
        let zoom = Projection::scale(s, s).then(&Projection::shift(
            (1.0 - s) * (2.0 * self.towards[0] - 1.0),
            (1.0 - s) * (2.0 * self.towards[1] - 1.0),
        ));
        let (sin, cos) = self.rotate.to_radians().sin_cos();
        let aspect = from[0] as f64 / from[1] as f64;
        let flip = if self.is_flipped { -1.0 } else { 1.0 };
        // fastai corrects for the aspect after all are multiplied.
        let rotation = Projection([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]);
        let mut affine = zoom.then(&rotation).then(&Projection::scale(flip, 1.0));
        affine.0[0][1] *= aspect;
        affine.0[1][0] /= aspect;
        let [half_h, half_w] = from.map(|it| (it as f64 - 1.0) / 2.0);
        let to_pixels =
            Projection::scale(half_w, half_h).then(&Projection::shift(half_w + 0.5, half_h + 0.5));
        to_units.then(&affine).then(&perspective(self.warp)).then(&to_pixels)
    }
}

/// The projection that takes four displaced corners to those of the square from -1 to 1.
///
/// Its inverse is Heckbert's map of a square to a quadrilateral ("Fundamentals of Texture Mapping and
/// Image Warping", 1989).
fn perspective([x, y]: [f64; 2]) -> Projection {
    if [x, y] == [0.0; 2] {
        return Projection::IDENTITY;
    }
    // Clockwise from (-1, -1).
    let [a, b, c, d] =
        [(-1.0 - y, -1.0 - x), (1.0 + y, -1.0 + x), (1.0 - y, 1.0 - x), (-1.0 + y, 1.0 + x)];
    let (dx1, dy1, dx2, dy2) = (b.0 - c.0, b.1 - c.1, d.0 - c.0, d.1 - c.1);
    let (sx, sy) = (a.0 - b.0 + c.0 - d.0, a.1 - b.1 + c.1 - d.1);
    let det = dx1 * dy2 - dx2 * dy1;
    let (g, h) = ((sx * dy2 - dx2 * sy) / det, (dx1 * sy - sx * dy1) / det);
    let [p, q, r] = [
        [b.0 - a.0 + g * b.0, d.0 - a.0 + h * d.0, a.0],
        [b.1 - a.1 + g * b.1, d.1 - a.1 + h * d.1, a.1],
        [g, h, 1.0],
    ];
    // The rows of the inverse are the cross products of the columns, to a factor that cancels.
    let cross = |a: [f64; 3], b: [f64; 3]| {
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    };
    let column = |it: usize| [p[it], q[it], r[it]];
    let inverse =
        [cross(column(1), column(2)), cross(column(2), column(0)), cross(column(0), column(1))];
    // From the square of 0..1 to that of -1..1.
    Projection(inverse).then(&Projection::scale(2.0, 2.0)).then(&Projection::shift(-1.0, -1.0))
}

/// Changes brightness and contrast in the logits of the bytes.
fn light(image: &mut Image, brightness: f64, contrast: f64) {
    let logit = |share: f64| {
        let share = share.clamp(1e-7, 1.0 - 1e-7);
        (share / (1.0 - share)).ln()
    };
    let brighter = logit(brightness);
    let lit = table(|x| {
        let logit = (logit(f64::from(x) / 255.0) + brighter) * contrast;
        (255.0 / (1.0 + (-logit).exp()) + 0.5) as u8
    });
    look_up(image, &lit);
}

#[cfg(test)]
mod tests {
    use testkit::Golden;

    use super::{Border, Canvas, Fastai, Params, Part, light, perspective};
    use crate::{
        Image,
        transform::golden::{check, check_golden},
    };

    #[test]
    fn all_together_agree_with_fastai() {
        check_golden("fastai", 3, |case, image| {
            let params = Params {
                is_flipped: case.to::<f64>("flip") == 1.0,
                rotate: case.to("rotate"),
                zoom: case.to("zoom"),
                towards: [case.to("zoom_x"), case.to("zoom_y")],
                warp: [case.to("warp_x"), case.to("warp_y")],
                brightness: case.to("brightness"),
                contrast: case.to("contrast"),
            };
            let mut canvas = Canvas::from(image.clone());
            let (from, to) = (canvas.size(), case.to("size"));
            canvas.warp(params.map(from, to), to, Border::Reflect).unwrap();
            *image = canvas.finish().unwrap();
            light(image, params.brightness, params.contrast);
        });
    }

    #[test]
    fn a_part_agrees_with_fastais_random_resized_crop() {
        check(&Golden::read("fastai_crop").at("min_scale"), 3, |case, image| {
            let params = Params {
                is_flipped: case.to::<f64>("flip") == 1.0,
                rotate: case.to("rotate"),
                zoom: case.to("zoom"),
                towards: [case.to("zoom_x"), case.to("zoom_y")],
                warp: [case.to("warp_x"), case.to("warp_y")],
                brightness: 0.5,
                contrast: 1.0,
            };
            let part = Part { corner: case.to("corner"), size: case.to("part") };
            let mut canvas = Canvas::from(image.clone());
            let (now, to) = (canvas.size(), case.to("size"));
            let map = part.map(to).then(&params.map(now, now));
            canvas.warp(map, to, Border::Reflect).unwrap();
            *image = canvas.finish().unwrap();
        });
    }

    #[test]
    fn parts_have_the_given_area_and_lie_within_the_image() {
        let op = Fastai { min_scale: 0.35, ..Fastai::default() };
        let rng = &mut base::Seed(0).stream("part");
        let mut mean = 0.0;
        for _ in 0..1000 {
            let Part { corner, size: [h, w] } = op.part([460, 230], rng);
            assert!((h / w - 2.0).abs() < 1e-9 && corner.iter().all(|it| *it >= 0.0));
            assert!(corner[0] + h <= 460.0 + 1e-9 && corner[1] + w <= 230.0 + 1e-9);
            let share = h * w / (460.0 * 230.0);
            assert!((0.35..=1.0 + 1e-9).contains(&share), "{share}");
            mean += share / 1000.0;
        }
        assert!((mean - 0.675).abs() < 0.02, "{mean}");
    }

    #[test]
    fn a_perspective_warp_maps_the_displaced_corners_back() {
        let (x, y) = (0.15, -0.1);
        let (u, v) = perspective([x, y]).at(1.0 + y, -1.0 + x);
        assert!((u - 1.0).abs() < 1e-12 && (v + 1.0).abs() < 1e-12, "{u}, {v}");
    }

    #[test]
    fn the_presized_part_is_the_largest_of_its_aspect() {
        let op = Fastai { presize: [40, 20], size: [30, 15], ..Fastai::default() };
        let image = Image::from_fn(100, 100, |x, _| image::Rgb([x as u8; 3]));
        let mut canvas = Canvas::from(image);
        op.presize(&mut canvas, [0.3, 0.5]).unwrap();
        assert_eq!(canvas.size(), [40, 20]);
        let result = canvas.finish().unwrap();
        assert!((25..29).contains(&result.get_pixel(0, 9).0[0]), "columns 25 to 75");
        let op = Fastai { presize: [90, 90], size: [30, 15], ..Fastai::default() };
        let mut canvas = Canvas::from(Image::new(100, 100));
        op.presize(&mut canvas, [0.3, 0.5]).unwrap();
        assert_eq!(
            canvas.size(),
            [60, 60],
            "1.5 times twice the final size is reduced to twice the final size"
        );
    }
}
