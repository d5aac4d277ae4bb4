//! An encoded image that several canvases read, and that is decoded once for all of them.
//!
//! A canvas that needs pixels that are not decoded yet fails with `DecodeError::Deferred`, and what it needs is
//! noted. When every canvas is done or has failed so, what is needed at each reduction is decoded together,
//! and the canvases that failed start again: up to there they have only recorded operations. A canvas gets
//! exactly the part that it would decode alone, so its pixels are the same.

use std::{cell::RefCell, collections::BTreeMap, ops::Range};

use image::imageops::crop_imm;

use crate::{
    DecodeError, Image,
    decode::{Encoded, Part, Region},
};

/// An encoded image, of one canvas or of several.
pub(crate) enum Opened<'a> {
    One(Encoded<'a>),
    Shared(&'a Shared<'a>),
}

/// An encoded image of several canvases.
pub(crate) struct Shared<'a> {
    encoded: Encoded<'a>,
    /// What canvases need, but is not decoded.
    wanted: RefCell<Vec<Region>>,
    decoded: RefCell<Vec<(Region, Image)>>,
}

impl<'a> Opened<'a> {
    fn encoded(&self) -> &Encoded<'a> {
        match self {
            Opened::One(encoded) => encoded,
            Opened::Shared(shared) => &shared.encoded,
        }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.encoded().bytes()
    }

    /// `[height, width]`, upright.
    pub(crate) fn size(&self) -> [usize; 2] {
        self.encoded().size()
    }

    /// Decodes all pixels.
    pub(crate) fn decode(&self) -> Result<Image, DecodeError> {
        let [h, w] = self.size();
        Ok(self.decode_part([1.0; 2], [0..h, 0..w])?.image)
    }

    /// As [`Encoded::decode_part`].
    pub(crate) fn decode_part(
        &self,
        at_most: [f64; 2],
        needed: [Range<usize>; 2],
    ) -> Result<Part, DecodeError> {
        match self {
            Opened::One(encoded) => encoded.decode_part(at_most, needed),
            Opened::Shared(shared) => shared.part(shared.encoded.region(at_most, needed)),
        }
    }
}

impl<'a> Shared<'a> {
    pub(crate) fn new(encoded: Encoded<'a>) -> Shared<'a> {
        Shared { encoded, wanted: RefCell::default(), decoded: RefCell::default() }
    }

    fn part(&self, region: Region) -> Result<Part, DecodeError> {
        let decoded = self.decoded.borrow();
        let Some((all, image)) = decoded.iter().find(|(it, _)| it.contains(&region)) else {
            self.wanted.borrow_mut().push(region);
            return Err(DecodeError::Deferred);
        };
        let [top, left] = [0, 1].map(|it| (region.part[it].start - all.part[it].start) as u32);
        let [h, w] = region.part.each_ref().map(|it| it.len() as u32);
        Ok(self.encoded.part(&region, crop_imm(image, left, top, w, h).to_image()))
    }

    /// Decodes what canvases need; returns whether there was anything.
    pub(crate) fn decode_wanted(&self) -> Result<bool, DecodeError> {
        let mut by_reduction: BTreeMap<usize, Region> = BTreeMap::new();
        for region in self.wanted.take() {
            let all = by_reduction.entry(region.reduction).or_insert_with(|| region.clone());
            all.extend_to(&region);
        }
        let is_any = !by_reduction.is_empty();
        for region in by_reduction.into_values() {
            let image = self.encoded.decode_region(&region)?;
            self.decoded.borrow_mut().push((region, image));
        }
        Ok(is_any)
    }
}
