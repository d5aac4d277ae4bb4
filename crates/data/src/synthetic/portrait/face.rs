//! Where the features of a face are.

use crate::synthetic::{
    brush::{WIDTH, shape},
    person::Person,
};

/// The positions of facial features, in units.
pub(super) struct Face {
    pub(super) x: f32,
    /// Half the face's width.
    pub(super) w: f32,
    pub(super) top: f32,
    pub(super) eyes: f32,
    pub(super) nose: f32,
    pub(super) mouth: f32,
    pub(super) chin: f32,
    /// Half the jaw's width.
    pub(super) jaw: f32,
}

impl Face {
    pub(super) fn of(person: &Person) -> Face {
        let w = person.width;
        Face {
            x: WIDTH / 2.0,
            w,
            top: 30.0,
            eyes: 58.0,
            nose: 71.0,
            mouth: 79.0,
            chin: 92.0 + person.jaw * 2.0,
            jaw: w * (0.5 + 0.3 * person.jaw),
        }
    }

    pub(super) fn outline(&self) -> Option<tiny_skia::Path> {
        let Face { x, w, top, eyes, chin, jaw, .. } = *self;
        shape(
            (x - w, eyes),
            &[
                ((x - w, top + 2.0), (x, top)),
                ((x + w, top + 2.0), (x + w, eyes)),
                ((x + w, eyes + 18.0), (x + jaw, chin - 7.0)),
                ((x + jaw * 0.6, chin), (x, chin)),
                ((x - jaw * 0.6, chin), (x - jaw, chin - 7.0)),
                ((x - w, eyes + 18.0), (x - w, eyes)),
            ],
        )
    }
}
