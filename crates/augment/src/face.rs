//! The face in an image of a person: where it is, and how sure that is.
//!
//! A funnel of cascades: boosted classifiers propose windows, and small networks on gradients
//! refine and judge them.
//! Wu, Kan, He, Shan and Chen, "Funnel-structured cascade for multi-view face detection with
//! alignment-awareness", 2017, <https://arxiv.org/abs/1609.07304>; the authors' model, run by the
//! crate `rustface` on one thread.
//! The image is looked at in one working size, so that what is found and the time that it takes
//! do not depend on the camera.

use std::{cell::RefCell, sync::OnceLock};

use rustface::{Detector, FaceInfo, ImageData, Model, create_detector_with_model, read_model};

use crate::{
    Image,
    transform::{Filter, grey},
};

/// The score from which a face is taken for one where nobody says: the lowest that its authors use.
pub(crate) const CREDIBLE: f64 = 0.95;

/// Where a face is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Face {
    /// The first row, in pixels of the image.
    pub(crate) top: usize,
    /// The first column.
    pub(crate) left: usize,
    /// In pixels; the box lies within the image.
    pub(crate) height: usize,
    /// In pixels.
    pub(crate) width: usize,
    /// How sure that is: each window that agrees adds up to 1.
    pub(crate) score: f64,
}

impl Face {
    /// Where a face is taken to be in an image of `[height, width]` in which none was found: in
    /// the middle, half the shorter side in size.
    pub(crate) fn typical([h, w]: [usize; 2]) -> Face {
        let side = h.min(w).div_ceil(2);
        Face { top: (h - side) / 2, left: (w - side) / 2, height: side, width: side, score: 0.0 }
    }

    /// A face or none as bytes, always as many: what is cut off is nothing.
    pub(crate) fn write(face: &Option<Face>) -> Vec<u8> {
        let none = Face { top: 0, left: 0, height: 0, width: 0, score: 0.0 };
        let it = face.unwrap_or(none);
        let places = [it.top, it.left, it.height, it.width].map(|it| (it as u64).to_le_bytes());
        [places.concat(), it.score.to_le_bytes().to_vec()].concat()
    }

    /// What [`write`](Self::write) wrote of an image of `[height, width]`.
    pub(crate) fn read(bytes: &[u8], [h, w]: [usize; 2]) -> Option<Option<Face>> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let &[top, left, height, width, score] = numbers else { return None };
        let [top, left, height, width] =
            [top, left, height, width].map(|it| u64::from_le_bytes(it) as usize);
        let is_within = top.checked_add(height)? <= h && left.checked_add(width)? <= w;
        let face = Face { top, left, height, width, score: f64::from_le_bytes(score) };
        is_within.then_some((height > 0).then_some(face))
    }
}

/// The shorter side of the image that is searched: faces from a quarter of it are found.
const SHORTER: usize = 160;

/// The longest side that is searched.
const LONGEST: usize = 8 * SHORTER;

/// The smallest side that is searched; the detector's window is 40.
const SMALLEST: usize = 64;

/// The face of whom the image shows: of all that are found, the one that is surest, largest and
/// nearest to the middle.
pub(crate) fn find(image: &Image) -> Option<Face> {
    let [h, w] = [image.height() as usize, image.width() as usize];
    let shrink = (h.min(w) as f64 / SHORTER as f64).max(h.max(w) as f64 / LONGEST as f64);
    let size = [h, w].map(|it| (it as f64 / shrink).round() as usize);
    if size[0].min(size[1]) < SMALLEST {
        return None;
    }
    let small = Filter::Bilinear.resize(image.clone(), size);
    let pixels: Vec<u8> = small.pixels().map(|it| grey(it.0)).collect();
    let image = ImageData::new(&pixels, size[1] as u32, size[0] as u32);
    let found = DETECTOR.with_borrow_mut(|it| it.detect(&image));
    let faces = found.iter().filter_map(|it| placed(it, size, [h, w]));
    faces.max_by(|a, b| weight(a, [h, w]).total_cmp(&weight(b, [h, w])))
}

/// A detection in an image of the size `from`, in one of the size `to`.
fn placed(found: &FaceInfo, from: [usize; 2], to: [usize; 2]) -> Option<Face> {
    let it = found.bbox();
    let span = |axis: usize, start: i32, length: u32| {
        let scale = to[axis] as f64 / from[axis] as f64;
        let end = f64::from(start) + f64::from(length);
        let [start, end] = [f64::from(start), end]
            .map(|at| ((at * scale).round().max(0.0) as usize).min(to[axis]));
        (end > start).then_some((start, end - start))
    };
    let (top, height) = span(0, it.y(), it.height())?;
    let (left, width) = span(1, it.x(), it.width())?;
    Some(Face { top, left, height, width, score: found.score() })
}

/// What faces are compared by: score times size, and half of that at the image's corners.
fn weight(face: &Face, [h, w]: [usize; 2]) -> f64 {
    let off = |start: usize, length: usize, side: usize| {
        (start as f64 + length as f64 / 2.0) / side as f64 - 0.5
    };
    let (down, right) = (off(face.top, face.height, h), off(face.left, face.width, w));
    let from_corner = 1.0 - (down * down + right * right).sqrt() / 0.5_f64.sqrt();
    face.score * face.height.max(face.width) as f64 * (0.5 + 0.5 * from_corner)
}

thread_local! {
    /// A detector works in buffers of its own.
    static DETECTOR: RefCell<Box<dyn Detector>> = RefCell::new(detector());
}

fn detector() -> Box<dyn Detector> {
    static MODEL: OnceLock<Model> = OnceLock::new();
    const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/face.bin"));
    let model = MODEL.get_or_init(|| read_model(BYTES).expect("the package's own model"));
    let mut detector = create_detector_with_model(model.clone());
    // Whoever asks decides which score is enough.
    detector.set_score_thresh(f64::MIN_POSITIVE);
    // Finer than usual: more faces behind masks are found, in thrice the time.
    detector.set_slide_window_step(2, 2);
    detector.set_pyramid_scale_factor(0.9);
    detector
}

#[cfg(test)]
mod tests {
    use super::{CREDIBLE, Face, find};
    use crate::{Image, decode};

    #[test]
    fn a_face_is_read_as_it_was_written() {
        let face = Face { top: 3, left: 4, height: 50, width: 60, score: 1.25 };
        for face in [None, Some(face)] {
            let bytes = Face::write(&face);
            assert_eq!(Face::read(&bytes, [53, 64]), Some(face));
            assert_eq!(Face::read(&bytes[..39], [53, 64]), None);
        }
        // It does not lie within a smaller image, so it is none of it.
        assert_eq!(Face::read(&Face::write(&Some(face)), [52, 64]), None);
    }

    #[test]
    fn there_is_no_face_in_noise_and_no_image_is_too_odd() {
        let noise = |x: u32, y: u32| (x * x * 31 + y * y * 17 + x * y * 7) as u8;
        for (w, h) in [(1, 1), (1, 5000), (3000, 90), (64, 64), (199, 50), (144, 192)] {
            let image = Image::from_fn(w, h, |x, y| image::Rgb([noise(x, y); 3]));
            assert!(find(&image).is_none_or(|it| it.score < CREDIBLE), "{w}x{h}");
        }
    }

    #[test]
    fn faces_of_photographs_are_found_again() {
        let Some(dir) = testkit::shared_data("people/train/images") else { return };
        let mut people: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()).collect();
        people.sort();
        let (mut n, mut n_masked) = (0, 0);
        let people = people.iter().step_by(people.len() / 20).take(20);
        for person in people {
            for (name, n) in [("normal.jpg", &mut n), ("mask2.jpg", &mut n_masked)] {
                let bytes = std::fs::read(person.join(name)).unwrap();
                let image = decode(&bytes, 1 << 20).unwrap();
                let face = find(&image);
                // A thread's own detector remembers nothing of other images.
                assert_eq!(
                    std::thread::scope(|it| it.spawn(|| find(&image)).join().unwrap()),
                    face
                );
                *n += usize::from(face.is_some_and(|it| it.score >= CREDIBLE));
            }
        }
        assert!(n >= 19 && n_masked >= 16, "{n} and {n_masked} of 20");
    }
}
