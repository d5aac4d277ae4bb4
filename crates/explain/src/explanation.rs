//! The explanation of the prediction for one image, and its overlay.

use augment::Image;
use base::task::Scope;

use crate::{ColourMap, Heatmap};

/// Which parts of an image raise the score of a class in a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The importance of each pixel of `image`.
    pub heatmap: Heatmap,
    /// The image as the network read it: decoded, cropped and resized.
    pub image: Image,
    /// What the target is a class of.
    pub scope: Scope,
    /// The target: the joint class, or the level of the factor.
    pub class: usize,
    /// The name of the target.
    pub name: String,
    /// The probability of the target by this network.
    pub probability: f64,
}

impl Explanation {
    /// Returns the image with the map over it.
    ///
    /// - `opacity`: the share of the map's colours in the result, in 0..1, the same everywhere: the map can then
    ///   be read where it is low as well. The image below is grey, so that all colour is the map's.
    pub fn overlay(&self, colours: ColourMap, opacity: f64) -> Image {
        let opacity = opacity.clamp(0.0, 1.0);
        let mut overlay = self.image.clone();
        for (pixel, value) in overlay.pixels_mut().zip(&self.heatmap.values) {
            let [r, g, b] = pixel.0.map(f64::from);
            // The luma of ITU-R 601.
            let grey = 0.299 * r + 0.587 * g + 0.114 * b;
            let colour = colours.of(f64::from(*value)).map(f64::from);
            let blend = |colour: f64| (opacity * colour + (1.0 - opacity) * grey).round() as u8;
            pixel.0 = colour.map(blend);
        }
        overlay
    }
}
