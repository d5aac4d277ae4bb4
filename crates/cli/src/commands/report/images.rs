//! The images of a report, as data URIs. One that is missing or cannot be decoded is left out and counted.

use std::collections::HashMap;

use augment::{Image, decode};
use base::names::listed;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use data::{Content, Example, Manifest};
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};

use crate::drawing::thumbnail;

/// The quality of a thumbnail: about 8 KB for an image of a camera.
const QUALITY: u8 = 80;

/// The images of a data set, by name.
pub(super) struct Images<'a> {
    examples: HashMap<&'a str, &'a Example>,
    max_pixels: u64,
    /// The thumbnails that were made; `None` for images that cannot be shown.
    made: HashMap<String, Option<String>>,
    missing: Vec<String>,
}

impl<'a> Images<'a> {
    /// - `manifest`: `None` if there is no data: then no image is shown, and none is counted as missing.
    pub(super) fn new(manifest: Option<&'a Manifest>, max_pixels: u64) -> Images<'a> {
        let examples = manifest.iter().flat_map(|it| &it.examples);
        Images {
            examples: examples.map(|it| (it.name.as_str(), it)).collect(),
            max_pixels,
            made: HashMap::new(),
            missing: Vec::new(),
        }
    }

    /// Returns an image of the data.
    pub(super) fn example(&self, name: &str) -> Option<&'a Example> {
        self.examples.get(name).copied()
    }

    /// Returns the thumbnail of an image as a data URI.
    pub(super) fn uri(&mut self, name: &str) -> Option<String> {
        if self.examples.is_empty() {
            return None;
        }
        if let Some(known) = self.made.get(name) {
            return known.clone();
        }
        let uri = self.bytes(name).and_then(|it| decode(&it, self.max_pixels).ok());
        let uri = uri.and_then(|it| data_uri(&thumbnail(&it)));
        if uri.is_none() {
            self.missing.push(format!("`{name}`"));
        }
        self.made.insert(name.to_owned(), uri.clone());
        uri
    }

    /// Returns the file of an image.
    pub(super) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.example(name)?.content.bytes().ok().map(|it| it.into_owned())
    }

    /// Returns at most `n` images, evenly spaced over the data.
    pub(super) fn some(manifest: &Manifest, n: usize) -> Vec<&Content> {
        let step = manifest.examples.len().div_ceil(n.max(1)).max(1);
        manifest.examples.iter().step_by(step).map(|it| &it.content).collect()
    }

    /// Returns a note on the images that could not be shown.
    pub(super) fn note(&self) -> Option<String> {
        let n = self.missing.len();
        let images = if n == 1 { "1 image is" } else { &format!("{n} images are") };
        (n > 0).then(|| {
            format!(
                "{images} missing or cannot be read, and shown by name only: {}.",
                listed(&self.missing)
            )
        })
    }
}

/// Returns an image as a data URI.
pub(super) fn data_uri(image: &Image) -> Option<String> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    encoder.encode(image, image.width(), image.height(), ExtendedColorType::Rgb8).ok()?;
    Some(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::{Task, task::Factor};
    use data::{Content, Example, Manifest, Use};

    use super::Images;
    use crate::drawing::png;

    fn manifest(images: &[(&str, Vec<u8>)]) -> Manifest {
        let task = Task::new(vec![Factor::new("class", &["a", "b"])]);
        let example = |(name, bytes): &(&str, Vec<u8>)| Example {
            name: (*name).to_owned(),
            content: Content::Memory(Arc::from(bytes.as_slice())),
            group: 0,
            class: 0,
            numbers: Vec::new(),
            attributes: Vec::new(),
            usage: Use::Pool,
            weight: 1.0,
            hash: None,
        };
        Manifest::new(task, vec!["g".to_owned()], images.iter().map(example).collect())
    }

    #[test]
    fn images_that_cannot_be_shown_are_counted_once() {
        let fine = png(&image::RgbImage::from_pixel(8, 4, image::Rgb([200, 10, 10])));
        let data = manifest(&[("a,<b>.png", fine), ("damaged", b"no image".to_vec())]);
        let mut images = Images::new(Some(&data), 1000);
        assert!(images.uri("a,<b>.png").unwrap().starts_with("data:image/jpeg;base64,/9j/"));
        assert_eq!(images.note(), None);
        for name in ["damaged", "gone", "damaged"] {
            assert_eq!(images.uri(name), None);
        }
        let want =
            "2 images are missing or cannot be read, and shown by name only: `damaged`, `gone`.";
        assert_eq!(images.note().unwrap(), want);
        assert_eq!(Images::some(&data, 1).len(), 1);
        // Without data nothing is missing.
        let mut none = Images::new(None, 1000);
        assert_eq!((none.uri("gone"), none.note()), (None, None));
    }
}
