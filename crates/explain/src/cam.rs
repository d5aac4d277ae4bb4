//! Grad-CAM and Grad-CAM++: a sum of a stage's feature maps, weighted by the gradient of a class's score.
//!
//! With A_k the map of channel k, [height, width], and g_k = ∂s/∂A_k the gradient of the score s,
//! the result is max(0, Σ_k w_k A_k), where
//!
//! - Grad-CAM: w_k is the mean of g_k over the map: Selvaraju et al., "Grad-CAM", 2017,
//!   <https://arxiv.org/abs/1610.02391>.
//! - Grad-CAM++: w_k = Σ_ij α_ij max(0, g_ij) with α_ij = 1 / (2 + g_ij Σ_ab A_ab): Chattopadhay et al.,
//!   "Grad-CAM++", 2018, <https://arxiv.org/abs/1710.11063>, equation 19 for the score e^s, whose factor
//!   cancels. The sum of the map counts as 0 where it is negative, as after SiLU or GELU: with ReLU, which the
//!   paper has, it never is, and there the formula has no pole.
//!
//! The score is that of `score.rs`, which also describes how it differs from the papers'.
//! A stage that a branched head copies has a map for each copy: their channels are summed like those of one.

use candle::{DType, Result, Tensor, bail};

use crate::Method;

/// A feature map and the gradient of the score with respect to it, `[1, h, w, c]` both.
pub(crate) struct Map {
    pub(crate) values: Tensor,
    pub(crate) gradient: Tensor,
}

/// Returns the sum over channels of the maps, with its size `[h, w]`: `[h, w]` numbers, row by row, of either
/// sign.
///
/// - `maps`: of the same size, at least one.
pub(crate) fn cam(maps: &[Map], method: Method) -> Result<(Vec<f64>, [usize; 2])> {
    let Some(first) = maps.first() else { bail!("the score depends on no feature map") };
    let (_, h, w, _) = first.values.dims4()?;
    let mut cells = vec![0.0; h * w];
    for Map { values, gradient } in maps {
        let c = values.dim(3)?;
        let list = |it: &Tensor| it.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let (values, gradient) = (list(values)?, list(gradient)?);
        let weights = weights(&values, &gradient, c, method);
        for (cell, values) in cells.iter_mut().zip(values.chunks_exact(c)) {
            *cell += values.iter().zip(&weights).map(|(value, weight)| value * weight).sum::<f64>();
        }
    }
    Ok((cells, [h, w]))
}

/// The weight of each channel.
///
/// - `values`, `gradient`: `[place, channel]`.
fn weights(values: &[f64], gradient: &[f64], c: usize, method: Method) -> Vec<f64> {
    let mut sums = vec![0.0; c];
    let add = |sums: &mut [f64], xs: &[f64]| {
        for row in xs.chunks_exact(c) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    };
    if method != Method::GradCamPlusPlus {
        add(&mut sums, gradient);
        let n_places = (gradient.len() / c.max(1)).max(1) as f64;
        return sums.into_iter().map(|it| it / n_places).collect();
    }
    add(&mut sums, values);
    let mut weights = vec![0.0; c];
    for row in gradient.chunks_exact(c) {
        for ((weight, g), sum) in weights.iter_mut().zip(row).zip(&sums) {
            // NaN is propagated.
            let positive = if *g < 0.0 { 0.0 } else { *g };
            *weight += positive / (2.0 + positive * sum.max(0.0));
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::check_close_slices;

    use super::{Map, cam};
    use crate::Method;

    /// Two channels on a map of 1 x 2.
    fn map(values: [[f64; 2]; 2], gradient: [[f64; 2]; 2]) -> Result<Map> {
        let tensor = |it: [[f64; 2]; 2]| Tensor::new(&[[it]], &Device::Cpu);
        Ok(Map { values: tensor(values)?, gradient: tensor(gradient)? })
    }

    #[test]
    fn grad_cam_weights_channels_by_their_mean_gradient() -> Result<()> {
        let it = map([[1.0, 2.0], [3.0, 4.0]], [[0.5, -1.0], [1.5, 0.0]])?;
        // Weights 1 and -1/2: 1 - 1 = 0, and 3 - 2 = 1.
        let (cells, size) = cam(&[it], Method::GradCam)?;
        assert_eq!((cells, size), (vec![0.0, 1.0], [1, 2]));
        Ok(())
    }

    #[test]
    fn grad_cam_plus_plus_weights_each_place() -> Result<()> {
        let it = map([[1.0, 2.0], [3.0, -4.0]], [[0.5, -1.0], [1.5, 1.0]])?;
        // Channel 1: the sum is 4, so 0.5 / (2 + 2) + 1.5 / (2 + 6) = 0.3125. Channel 2: the sum is negative, so
        // 1 / 2.
        let (cells, _) = cam(&[it], Method::GradCamPlusPlus)?;
        check_close_slices(&cells, &[0.3125 + 1.0, 3.0 * 0.3125 - 2.0], 1e-12);
        Ok(())
    }

    #[test]
    fn copies_of_a_stage_are_summed() -> Result<()> {
        let one = || map([[1.0, 2.0], [3.0, 4.0]], [[0.5, -1.0], [1.5, 0.0]]);
        let (cells, _) = cam(&[one()?, one()?], Method::GradCam)?;
        assert_eq!(cells, [0.0, 2.0]);
        assert!(cam(&[], Method::GradCam).is_err());
        Ok(())
    }
}
