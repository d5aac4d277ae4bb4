//! Face detection: the position of the face of the person in an image, and its score.
//!
//! A funnel of cascades: boosted classifiers propose windows, and small networks on gradients refine and
//! score them.
//! Wu, Kan, He, Shan and Chen, "Funnel-structured cascade for multi-view face detection with
//! alignment-awareness", 2017, <https://arxiv.org/abs/1609.07304>; the authors' model, run by the crate
//! `rustface` on one thread.
//! The image is resized to one working size, so that detections and run time do not depend on the camera.

use std::{cell::RefCell, sync::OnceLock};

use rustface::{Detector, FaceInfo, ImageData, Model, create_detector_with_model, read_model};

use crate::{Image, filter::Filter, rgb::grey};

/// The default minimum score of a face: the lowest that its authors use.
pub(crate) const DEFAULT_MIN_SCORE: f64 = 0.95;

/// A detected face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Face {
    /// The first row, in pixels of the image.
    pub(crate) top: usize,
    /// The first column.
    pub(crate) left: usize,
    /// The height in pixels; the box is within the image.
    pub(crate) height: usize,
    /// The width in pixels.
    pub(crate) width: usize,
    /// The detection score: the sum of those of the overlapping windows, each at most 1.
    pub(crate) score: f64,
}

impl Face {
    /// The default face for an image of `[height, width]` in which none was detected: in the centre, half the
    /// shorter side in size.
    pub(crate) fn typical([h, w]: [usize; 2]) -> Face {
        let side = h.min(w).div_ceil(2);
        Face { top: (h - side) / 2, left: (w - side) / 2, height: side, width: side, score: 0.0 }
    }

    /// Serialises a face or `None` to bytes, always of the same length: truncated bytes are invalid.
    pub(crate) fn write(face: &Option<Face>) -> Vec<u8> {
        let none = Face { top: 0, left: 0, height: 0, width: 0, score: 0.0 };
        let it = face.unwrap_or(none);
        let places = [it.top, it.left, it.height, it.width].map(|it| (it as u64).to_le_bytes());
        [places.concat(), it.score.to_le_bytes().to_vec()].concat()
    }

    /// Reads what [`write`](Self::write) wrote for an image of `[height, width]`.
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

/// The shorter side of the image in which faces are searched: faces from a quarter of it are found.
const SHORTER: usize = 160;

/// The longest side that is searched.
const LONGEST: usize = 8 * SHORTER;

/// The smallest side that is searched; the detector's window is 40.
const SMALLEST: usize = 64;

/// Finds the face of the person in the image: of all detections, the one with the best combination of score,
/// size and closeness to the centre.
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

/// Converts a detection in an image of the size `from` to one of the size `to`.
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

/// The weight by which faces are compared: score times size, halved at the image's corners.
fn weight(face: &Face, [h, w]: [usize; 2]) -> f64 {
    let off = |start: usize, length: usize, side: usize| {
        (start as f64 + length as f64 / 2.0) / side as f64 - 0.5
    };
    let (down, right) = (off(face.top, face.height, h), off(face.left, face.width, w));
    let from_corner = 1.0 - (down * down + right * right).sqrt() / 0.5_f64.sqrt();
    face.score * face.height.max(face.width) as f64 * (0.5 + 0.5 * from_corner)
}

thread_local! {
    /// One detector per thread, since it works in its own buffers.
    static DETECTOR: RefCell<Box<dyn Detector>> = RefCell::new(detector());
}

fn detector() -> Box<dyn Detector> {
    static MODEL: OnceLock<Model> = OnceLock::new();
    const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/face.bin"));
    let model = MODEL.get_or_init(|| read_model(BYTES).expect("the bundled model is valid"));
    let mut detector = create_detector_with_model(model.clone());
    // The caller applies its own threshold.
    detector.set_score_thresh(f64::MIN_POSITIVE);
    // A finer search than the default finds more faces behind masks, in three times the time.
    detector.set_slide_window_step(2, 2);
    detector.set_pyramid_scale_factor(0.9);
    detector
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_MIN_SCORE, Face, find};
    use crate::{Image, decode};

    #[test]
    fn a_written_face_is_read_back() {
        let face = Face { top: 3, left: 4, height: 50, width: 60, score: 1.25 };
        for face in [None, Some(face)] {
            let bytes = Face::write(&face);
            assert_eq!(Face::read(&bytes, [53, 64]), Some(face));
            assert_eq!(Face::read(&bytes[..39], [53, 64]), None);
        }
        // It is not within a smaller image, so it is invalid there.
        assert_eq!(Face::read(&Face::write(&Some(face)), [52, 64]), None);
    }

    #[test]
    fn no_face_is_found_in_noise_of_any_size() {
        let noise = |x: u32, y: u32| (x * x * 31 + y * y * 17 + x * y * 7) as u8;
        for (w, h) in [(1, 1), (1, 5000), (3000, 90), (64, 64), (199, 50), (144, 192)] {
            let image = Image::from_fn(w, h, |x, y| image::Rgb([noise(x, y); 3]));
            assert!(find(&image).is_none_or(|it| it.score < DEFAULT_MIN_SCORE), "{w}x{h}");
        }
    }

    #[test]
    fn faces_in_photographs_are_found() {
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
                // Another thread's detector gives the same result: detectors keep no state between images.
                assert_eq!(
                    std::thread::scope(|it| it.spawn(|| find(&image)).join().unwrap()),
                    face
                );
                *n += usize::from(face.is_some_and(|it| it.score >= DEFAULT_MIN_SCORE));
            }
        }
        assert!(n >= 19 && n_masked >= 16, "{n} and {n_masked} of 20");
    }
}
