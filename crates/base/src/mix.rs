//! A row of a batch: which images it is made of, and how much of each.
//!
//! To a loss it is a list of shares, a [`Row`]: one-hot labels, mixup, cutmix and pseudo labels are
//! all such lists. To the eye it is a [`MixedSample`]: one image, and perhaps a layer of another over
//! it, y = (1 - s) x + s x' inside the layer's area. The one follows from the other: a layer weighs
//! its share s times the part of the image that its area covers.

/// One image's share of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// The position of the image in its batch.
    pub image: usize,
    /// Its share, in 0..=1; the shares of a row sum to 1.
    pub weight: f32,
}

/// The images that one row of a batch is blended from.
pub type Row = Vec<Part>;

/// Rows that are one whole image each.
pub fn unmixed(n: usize) -> Vec<Row> {
    (0..n).map(|image| vec![Part { image, weight: 1.0 }]).collect()
}

/// What a row of a batch looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct MixedSample {
    /// The position in its batch of the image that fills it.
    pub image: usize,
    /// Another over it.
    pub over: Option<Layer>,
    /// What is hidden after normalisation, in order; the labels know nothing of it.
    pub erased: Vec<Erased>,
}

/// A part of an image that is seen in a row of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// The position of the image in its batch.
    pub image: usize,
    /// Where in the row it is seen.
    pub area: Area,
    /// Row and column of the image that come to the area's upper left corner.
    pub from: [usize; 2],
    /// How much of it is seen there, in 0..=1; the rest is the image below.
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

/// An area that is hidden.
#[derive(Clone, Debug, PartialEq)]
pub struct Erased {
    /// Where.
    pub area: Area,
    /// By what, as normalised colours.
    pub fill: Fill,
}

/// What hides an area.
#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// One colour.
    Colour([f32; 3]),
    /// The area's pixels, `[height, width, 3]`.
    Pixels(Vec<f32>),
}

impl Area {
    /// All of an image of `[height, width]`.
    pub fn whole([height, width]: [usize; 2]) -> Area {
        Area { top: 0, left: 0, height, width }
    }

    /// How many pixels it has.
    pub fn n_pixels(&self) -> usize {
        self.height * self.width
    }
}

impl MixedSample {
    /// One whole image.
    pub fn of(image: usize) -> MixedSample {
        MixedSample { image, over: None, erased: Vec::new() }
    }

    /// The shares of its images, for images of `[height, width]`.
    pub fn row(&self, [height, width]: [usize; 2]) -> Row {
        let Some(layer) = self.over else {
            return vec![Part { image: self.image, weight: 1.0 }];
        };
        let weight = layer.share * layer.area.n_pixels() as f64 / (height * width) as f64;
        let part = |image, weight| Part { image, weight: weight as f32 };
        vec![part(self.image, 1.0 - weight), part(layer.image, weight)]
    }
}

/// Mixed samples that are one whole image each.
pub fn whole(n: usize) -> Vec<MixedSample> {
    (0..n).map(MixedSample::of).collect()
}

#[cfg(test)]
mod tests {
    use super::{Area, Layer, MixedSample, Part};

    #[test]
    fn a_layer_weighs_its_share_of_its_area() {
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
