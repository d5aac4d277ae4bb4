//! From RGB8 images to the input of a network on a card: the twin of [`normalise`](crate::normalise()).

use base::mix::{self, MixedSample};
use candle::{Result, bail};
use gpu::{
    Slice,
    image::{self, Area, Erased, Fill, Images, Layer, Sample},
};

use super::{
    data::Data,
    store::{Card, ok},
};
use crate::tape::Value;

/// The images of a batch and the rows to make of them.
pub struct CardRows<'a> {
    /// `[m, h, w, 3]`, RGB8, on the card: a part of a buffer, or what `gpu::Uploads` hands out.
    pub images: Slice<'a>,
    /// `[h, w]` of every image.
    pub size: [usize; 2],
    /// The mixed sample of each row.
    pub samples: &'a [MixedSample],
}

/// Renders and normalises the rows of a batch on a card. Returns `[n, h, w, 3]`.
///
/// - `mean`, `std`: per channel, red, green and blue, in units where 1 is the maximum.
///
/// # Errors
/// If the bytes are not whole images, or a sample refers to an image or area that does not exist.
pub fn normalise_on_card(
    card: &Card,
    rows: CardRows<'_>,
    mean: [f64; 3],
    std: [f64; 3],
) -> Result<Value> {
    let CardRows { images, size: [h, w], samples } = rows;
    let (len, device) = (h * w * 3, card.device());
    let n = images.bytes() / len.max(1);
    if len == 0 || images.bytes() != n * len {
        bail!("normalise: {} bytes are not a whole number of images of {h}x{w}", images.bytes());
    }
    let samples: Vec<Sample> = samples.iter().map(sample_of).collect();
    let mut ys = card.alloc(samples.len() * len)?;
    let from = Images { pixels: images, n, size: [h, w], mean, std };
    ok(image::normalise(device, &from, &samples, card.storage(), 3, &mut ys))?;
    Ok(Value::constant_on_card(Data::plain(card, ys, &[samples.len(), h, w, 3])))
}

/// A number of pixels; one that does not fit is refused as not within an image.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn area_of(area: &mix::Area) -> Area {
    let &mix::Area { top, left, height, width } = area;
    Area { top: count(top), left: count(left), height: count(height), width: count(width) }
}

fn sample_of(sample: &MixedSample) -> Sample {
    let over = sample.over.map(|it| Layer {
        image: it.image,
        area: area_of(&it.area),
        from: it.from.map(count),
        share: it.share,
    });
    let erased = sample.erased.iter().map(|it| Erased {
        area: area_of(&it.area),
        fill: match &it.fill {
            mix::Fill::Colour(it) => Fill::Colour(*it),
            mix::Fill::Pixels(it) => Fill::Pixels(it.clone()),
        },
    });
    Sample { image: sample.image, over, erased: erased.collect() }
}
