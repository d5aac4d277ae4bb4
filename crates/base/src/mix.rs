//! A row of a batch: the images that it is mixed from, and the weight of each.
//!
//! For the loss it is a list of weights, a [`Row`]: one-hot labels, mixup and cutmix are all such lists. For
//! rendering it is a [`MixedSample`]: one image, and optionally a layer of another on
//! top, y = (1 - s) x + s x' inside the layer's area. The weights follow from the rendering: the weight of
//! a layer is its opacity s times the fraction of the image that its area covers.

/// The weight of one image in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// The index of the image in its batch.
    pub image: usize,
    /// Its weight, in 0..=1; the weights of a row sum to 1.
    pub weight: f32,
}

/// The images that one row of a batch is mixed from.
pub type Row = Vec<Part>;

/// Rows of one unmixed image each.
pub fn unmixed(n: usize) -> Vec<Row> {
    (0..n).map(|image| vec![Part { image, weight: 1.0 }]).collect()
}

/// How a row of a batch is rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct MixedSample {
    /// The index in the batch of the base image, which fills the row.
    pub image: usize,
    /// A layer of another image on top of it.
    pub over: Option<Layer>,
    /// The areas erased after normalisation, in order; they do not affect the labels.
    pub erased: Vec<Erased>,
}

/// A part of an image that is visible in a row of another image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// The index of the image in its batch.
    pub image: usize,
    /// The area of the row that it covers.
    pub area: Area,
    /// Row and column of the image at the area's upper left corner.
    pub from: [usize; 2],
    /// Its opacity, in 0..=1; the remainder is the image below.
    pub share: f64,
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its first row.
    pub top: usize,
    /// Its first column.
    pub left: usize,
    /// Its rows.
    pub height: usize,
    /// Its columns.
    pub width: usize,
}

/// An erased area.
#[derive(Clone, Debug, PartialEq)]
pub struct Erased {
    /// The area.
    pub area: Area,
    /// Its new content, as normalised colours.
    pub fill: Fill,
}

/// The content of an erased area.
#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// One colour.
    Colour([f32; 3]),
    /// The area's pixels, `[height, width, 3]`.
    Pixels(Vec<f32>),
}

impl Area {
    /// The area of a whole image of `[height, width]`.
    pub fn whole([height, width]: [usize; 2]) -> Area {
        Area { top: 0, left: 0, height, width }
    }

    /// The number of pixels.
    pub fn n_pixels(&self) -> usize {
        self.height * self.width
    }
}

impl MixedSample {
    /// A sample of one unmixed image.
    pub fn of(image: usize) -> MixedSample {
        MixedSample { image, over: None, erased: Vec::new() }
    }

    /// The weights of its images, for images of `[height, width]`.
    pub fn row(&self, [height, width]: [usize; 2]) -> Row {
        let Some(layer) = self.over else {
            return vec![Part { image: self.image, weight: 1.0 }];
        };
        let weight = layer.share * layer.area.n_pixels() as f64 / (height * width) as f64;
        let part = |image, weight| Part { image, weight: weight as f32 };
        vec![part(self.image, 1.0 - weight), part(layer.image, weight)]
    }
}

/// Mixed samples of one unmixed image each.
pub fn whole(n: usize) -> Vec<MixedSample> {
    (0..n).map(MixedSample::of).collect()
}

#[cfg(test)]
mod tests {
    use super::{Area, Layer, MixedSample, Part};

    #[test]
    fn the_weight_of_a_layer_is_its_share_times_its_area() {
        let weights = |area, share| -> Vec<f32> {
            let over = Some(Layer { image: 1, area, from: [0, 0], share });
            let row = MixedSample { over, ..MixedSample::of(0) }.row([4, 6]);
            row.iter().map(|it: &Part| it.weight).collect()
        };
        assert_eq!(weights(Area::whole([4, 6]), 0.25), [0.75, 0.25]);
        // 2 · 3 of 24 pixels.
        assert_eq!(weights(Area { top: 1, left: 3, height: 2, width: 3 }, 1.0), [0.75, 0.25]);
        assert_eq!(weights(Area { top: 1, left: 3, height: 0, width: 3 }, 1.0), [1.0, 0.0]);
        assert_eq!(MixedSample::of(2).row([4, 6]), [Part { image: 2, weight: 1.0 }]);
    }
}
