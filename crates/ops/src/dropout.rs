//! Dropout of numbers and of whole residual branches (stochastic depth), with masks from named streams.
//!
//! A kept number is divided by the keep probability, so that inference needs no scaling.
//!
//! Srivastava et al., "Dropout", 2014, <https://jmlr.org/papers/v15/srivastava14a.html>; Huang et
//! al., "Deep Networks with Stochastic Depth", 2016, <https://arxiv.org/abs/1603.09382>, here per
//! row as in timm and torchvision.
//! A mask depends on seed, layer, step and global row, not on how the step is split into batches.

use base::Rng;
use candle::{DType, Device, Result, Tensor};
use rand::Rng as _;

use crate::{Pass, Value, card, gate, prologue::Grad};

/// Zeroes each number with probability `p` and scales the others by 1 / (1 - p).
///
/// - `xs`: `[n, …]`.
/// - `name`: the name of the layer, unique within the network.
pub fn dropout(xs: &Value, p: f64, pass: &Pass<'_>, name: &str) -> Result<Value> {
    let per_row: usize = xs.dims()[1..].iter().product();
    mask(xs, p, pass, name, per_row)
}

/// Zeroes each row as a whole with probability `p` and scales the others by 1 / (1 - p).
///
/// - `xs`: `[n, …]`: the output of a residual branch.
/// - `name`: the name of the layer, unique within the network.
pub fn drop_path(xs: &Value, p: f64, pass: &Pass<'_>, name: &str) -> Result<Value> {
    mask(xs, p, pass, name, 1)
}

fn mask(xs: &Value, p: f64, pass: &Pass<'_>, name: &str, per_row: usize) -> Result<Value> {
    assert!((0.0..=1.0).contains(&p), "{p} is not a probability");
    if p == 0.0 || !pass.is_training() {
        return Ok(xs.clone());
    }
    let dims = xs.dims();
    // 1 / (1 - p) is infinite if everything is dropped; then there is nothing to scale.
    let kept = if p < 1.0 { (1.0 / (1.0 - p)) as f32 } else { 0.0 };
    let sample = |rng: &mut Rng| if rng.random::<f64>() < p { 0.0 } else { kept };
    let mut mask = Vec::with_capacity(dims[0] * per_row);
    for row in 0..dims[0] {
        let mut rng = pass.stream(name, row).expect("a training pass has streams");
        mask.extend((0..per_row).map(|_| sample(&mut rng)));
    }
    let card = xs.card();
    if let (Some(card), true) = (card, per_row > 1 || dims.len() == 1) {
        let is_kept: Vec<bool> = mask.iter().map(|it| *it != 0.0).collect();
        return card::dropout(card, xs, &is_kept, kept);
    }
    let (device, dtype) = match card {
        Some(_) => (Device::Cpu, DType::F32),
        None => (xs.raw()?.device().clone(), xs.raw()?.dtype()),
    };
    let mask = Tensor::from_vec(mask, (dims[0], per_row), &device)?.to_dtype(dtype)?;
    if per_row == 1 && dims.len() > 1 {
        // A gate that is equal for all channels.
        let mask = mask.broadcast_as((dims[0], dims[dims.len() - 1]))?.contiguous()?;
        return gate(xs, &Value::constant(mask));
    }
    let mask = mask.reshape(dims)?;
    let (slot, ys) = (xs.slot(), (xs.tensor()? * &mask)?);
    Value::record(&[xs], ys, move |grad, slots| {
        slots.give(slot, || Ok(Grad::plain((grad.materialise()? * &mask)?)))
    })
}

#[cfg(test)]
mod tests {
    use base::Seed;
    use candle::{DType, Device, Result, Tensor};

    use super::{drop_path, dropout};
    use crate::{Pass, Prepacked, Tape, Training, Value, check::check};

    fn pass(tape: &Tape, step: usize, first_row: usize) -> Pass<'_> {
        Pass::Train(Training { tape, seed: Seed(7), step, first_row, momentum: None })
    }

    fn ones(n: usize, width: usize) -> Result<Value> {
        Ok(Value::constant(Tensor::ones((n, width), DType::F32, &Device::Cpu)?))
    }

    #[test]
    fn drops_with_probability_p_and_preserves_the_mean() -> Result<()> {
        let tape = Tape::default();
        let ys = dropout(&ones(100, 100)?, 0.3, &pass(&tape, 0, 0), "drop")?;
        let ys = ys.tensor()?.flatten_all()?.to_vec1::<f32>()?;
        let dropped = ys.iter().filter(|&&it| it == 0.0).count();
        // 10,000 samples at 0.3: three standard deviations are 137.
        assert!(dropped.abs_diff(3000) < 140, "{dropped}");
        assert!(ys.iter().all(|&it| it == 0.0 || (it - 1.0 / 0.7).abs() < 1e-6));
        Ok(())
    }

    #[test]
    fn a_mask_depends_on_the_row_not_on_the_batch() -> Result<()> {
        let tape = Tape::default();
        let whole = dropout(&ones(4, 8)?, 0.5, &pass(&tape, 3, 0), "drop")?;
        let half = dropout(&ones(2, 8)?, 0.5, &pass(&tape, 3, 2), "drop")?;
        let rows = whole.tensor()?.narrow(0, 2, 2)?.to_vec2::<f32>()?;
        assert_eq!(rows, half.tensor()?.to_vec2::<f32>()?);
        let next = dropout(&ones(4, 8)?, 0.5, &pass(&tape, 4, 0), "drop")?;
        assert_ne!(whole.tensor()?.to_vec2::<f32>()?, next.tensor()?.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn a_path_is_dropped_as_a_whole() -> Result<()> {
        let tape = Tape::default();
        let ys = drop_path(&ones(64, 5)?, 0.5, &pass(&tape, 0, 0), "path")?;
        let rows = ys.tensor()?.to_vec2::<f32>()?;
        assert!(rows.iter().all(|row| row.iter().all(|it| *it == row[0])));
        assert!(rows.iter().any(|row| row[0] == 0.0) && rows.iter().any(|row| row[0] == 2.0));
        Ok(())
    }

    #[test]
    fn dropping_everything_leaves_zeros() -> Result<()> {
        let tape = Tape::default();
        let ys = dropout(&ones(2, 2)?, 1.0, &pass(&tape, 0, 0), "drop")?;
        assert_eq!(ys.tensor()?.to_vec2::<f32>()?, [[0.0; 2]; 2]);
        Ok(())
    }

    #[test]
    fn nothing_is_dropped_at_inference() -> Result<()> {
        let ys = dropout(&ones(2, 2)?, 0.9, &Pass::Eval(&Prepacked::default()), "drop")?;
        assert_eq!(ys.tensor()?.to_vec2::<f32>()?, [[1.0; 2]; 2]);
        Ok(())
    }

    #[test]
    fn gradients_are_correct() {
        check(&[&[4, 6]], |it| dropout(&it[0], 0.4, &pass(&Tape::default(), 0, 0), "a"));
        check(&[&[5, 2, 3]], |it| drop_path(&it[0], 0.4, &pass(&Tape::default(), 0, 0), "b"));
    }
}
