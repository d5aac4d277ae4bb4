//! ArcFace: softmax cross-entropy with an additive angular margin.
//!
//! With θ_c the angle between the features and the weight vector of class c, the loss of an image of class
//! y is the cross-entropy of the logits s cos θ_c, but s φ for c = y, with φ = cos(θ_y + m), s being the
//! head's scale; the loss of a mixed row is the mean of its images' losses by their shares. Where θ + m
//! would exceed π, φ is cos θ - m sin m, so that it decreases monotonically; with `easy_margin`, there is a
//! margin only where θ is below a right angle.
//!
//! Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2018,
//! <https://arxiv.org/abs/1801.07698>; cosines are clamped 1e-7 away from ±1, where the sine has no
//! gradient.

use std::f64::consts::PI;

use base::Clock;
use candle::{Result, Tensor};
use ops::{Form, Output};
use serde::{Deserialize, Serialize};

use crate::{
    Binding, HeadOutput, Loss, LossKind, LossTerms, Targets, cross_entropy::weighted_mean,
    ldam::by_parts,
};

/// `[loss] kind = "arcface"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArcFace {
    /// The angle m, in radians.
    pub margin: f64,
    /// Whether the margin applies only where the angle is below a right angle.
    pub easy_margin: bool,
}

impl Default for ArcFace {
    /// The paper's defaults.
    fn default() -> ArcFace {
        ArcFace { margin: 0.5, easy_margin: false }
    }
}

impl LossKind for ArcFace {
    fn problem(&self) -> Option<String> {
        let margin = self.margin;
        (!(0.0..=PI / 2.0).contains(&margin))
            .then(|| format!("`margin` is an angle from 0 to π / 2, not {margin}"))
    }

    fn accepts(&self) -> &'static str {
        "cosines, the outputs of the head `cosine`"
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        let Form::Cosines { scale } = output.form else { return Ok(None) };
        Ok(Some(Box::new(Bound { config: self.clone(), scale })))
    }
}

struct Bound {
    config: ArcFace,
    scale: f64,
}

impl Loss for Bound {
    fn compute(&self, output: &Output, targets: &Targets, _: &Clock) -> Result<LossTerms> {
        let end = 1.0 - 1e-7;
        let cosines = output.numbers.minimum(end)?.maximum(-end)?;
        let with_margin = self.with_margin(&cosines)?;
        let losses = by_parts(output, targets, |one_hot| {
            let step = (one_hot * (&with_margin - &cosines)?)?;
            (&cosines + step)? * self.scale
        })?;
        weighted_mean(&losses, &targets.of(output)?, None, targets)
    }
}

impl Bound {
    /// φ of each cosine.
    fn with_margin(&self, cosines: &Tensor) -> Result<Tensor> {
        let ArcFace { margin: m, easy_margin } = self.config;
        let sines = cosines.sqr()?.affine(-1.0, 1.0)?.sqrt()?;
        let phi = ((cosines * m.cos())? - (sines * m.sin())?)?;
        let (least, beyond) = match easy_margin {
            true => (0.0, cosines.clone()),
            false => ((PI - m).cos(), cosines.affine(1.0, -m * m.sin())?),
        };
        let is_within = cosines.gt(least)?.to_dtype(cosines.dtype())?;
        let is_beyond = is_within.affine(-1.0, 1.0)?;
        (phi * is_within)? + (beyond * is_beyond)?
    }
}
