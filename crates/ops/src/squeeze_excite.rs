//! Squeeze-and-excitation: each channel is gated by a function of the means of all.
//!
//! gates = σ(W₂·act(W₁·mean(x) + b₁) + b₂), one for each channel of each image.
//!
//! Hu et al., "Squeeze-and-Excitation Networks", 2017, <https://arxiv.org/abs/1709.01507>.
//!
//! At inference, where the operation before has computed the means, both layers are one operation: they are so small
//! that what an operation costs beside its arithmetic took longer.

use candle::{Result, Tensor, bail};

use crate::{
    Activation, Value, activate,
    epilogue::Ready,
    gate, global_avg_pool, linear,
    linear::product,
    matmul::Panels,
    profiler::{Event, Phase, record},
    prologue::View,
    real::{Reading, Real, by_dtype, tensor},
};

/// Gates the channels of a feature map.
///
/// - `xs`: `[n, h, w, c]`.
/// - `reduce`: a weight `[r, c]`, or `[r, 1, 1, c]`, and a bias `[r]`; followed by `activation`.
/// - `expand`: a weight `[c, r]`, or `[c, 1, 1, r]`, and a bias `[c]`; followed by a sigmoid.
pub fn squeeze_excite(
    xs: &Value,
    reduce: (&Value, &Value),
    expand: (&Value, &Value),
    activation: Activation,
) -> Result<Value> {
    let is_plain = |it: &Value| !it.is_on_tape() && !it.is_traced() && it.card().is_none();
    let all = [xs, reduce.0, reduce.1, expand.0, expand.1];
    let (Some(means), true) = (xs.means(), all.into_iter().all(is_plain)) else {
        let layer = |xs: &Value, (weight, bias): (&Value, &Value), activation| {
            activate(&linear(xs, weight, Some(bias), None)?, activation)
        };
        let squeezed = layer(&global_avg_pool(xs)?, reduce, activation)?;
        return gate(xs, &layer(&squeezed, expand, Activation::Sigmoid)?);
    };
    let gates = {
        let (n, c, r) = (means.dims()[0], means.dims()[1], reduce.0.dims()[0]);
        let _recording = record(|| Event {
            shape: format!("{n} x {c} -> {r} -> {c}"),
            flops: 4 * n * c * r,
            numbers: 2 * c * (n + r),
            ..Event::new("squeeze-excite", Phase::Forward)
        });
        by_dtype!("squeeze_excite", means, T => {
            let squeezed = layer::<T>(means, reduce, activation)?;
            layer::<T>(&squeezed, expand, Activation::Sigmoid)
        })?
    };
    gate(xs, &Value::constant(gates))
}

/// act(W·x + b) of each row, `[n, in]`.
fn layer<T: Real>(
    xs: &Tensor,
    (weight, bias): (&Value, &Value),
    activation: Activation,
) -> Result<Tensor> {
    let (n, n_in, n_out) = (xs.dims()[0], xs.dims()[1], weight.dims()[0]);
    if weight.dims().iter().product::<usize>() != n_in * n_out || bias.dims() != [n_out] {
        bail!(
            "squeeze_excite: a weight of {:?} and a bias of {:?} do not fit {n_in} channels",
            weight.dims(),
            bias.dims()
        );
    }
    let panels = weight.packed(|| {
        let weight = weight.tensor()?;
        Ok(Panels::<T>::of_columns(n_in, n_out, Reading::of(&weight).slice()?))
    })?;
    let last = Ready::<T>::of_bias(bias, activation)?;
    let ys = product(&View::of(xs, None)?, &panels, last.on_rows()?.as_ref(), n_out, false).0;
    tensor(ys, &[n, n_out])
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor};
    use testkit::{check_close, numbers};

    use super::squeeze_excite;
    use crate::{Activation, Epilogue, Padding, Value, Window, check::check, depthwise};

    #[test]
    fn means_that_are_known_give_the_same_gates() -> Result<()> {
        let value = |name: &str, dims: &[usize]| {
            let xs = numbers(name, dims.iter().product());
            Ok::<_, candle::Error>(Value::constant(Tensor::from_vec(xs, dims, &Device::Cpu)?))
        };
        for (c, r) in [(5, 2), (144, 6), (200, 50)] {
            let then = Epilogue::line(c, None, None, Activation::Silu)?;
            let (xs, k) = (value("xs", &[2, 4, 3, c])?, value("k", &[3, 3, c])?);
            let window = Window::square(3, 1, Padding::Same);
            let xs = depthwise(&xs, &k, window, Some(&then))?;
            assert!(xs.means().is_some());
            let reduce = (&value("w1", &[r, 1, 1, c])?, &value("b1", &[r])?);
            let expand = (&value("w2", &[c, 1, 1, r])?, &value("b2", &[c])?);
            let run = |xs: &Value| squeeze_excite(xs, reduce, expand, Activation::Silu)?.tensor();
            let want = run(&Value::constant(xs.tensor()?))?;
            check_close(&run(&xs)?, &want.flatten_all()?.to_vec1::<f64>()?, 1e-12);
        }
        Ok(())
    }

    #[test]
    fn a_weight_of_another_size_is_an_error() -> Result<()> {
        let zeros = |dims: &[usize]| {
            Ok::<_, candle::Error>(Value::constant(Tensor::zeros(
                dims,
                candle::DType::F32,
                &Device::Cpu,
            )?))
        };
        let then = Epilogue::line(4, None, None, Activation::Relu)?;
        let window = Window::square(3, 1, Padding::Same);
        let xs = depthwise(&zeros(&[1, 2, 2, 4])?, &zeros(&[3, 3, 4])?, window, Some(&then))?;
        let reduce = (&zeros(&[2, 5])?, &zeros(&[2])?);
        let expand = (&zeros(&[4, 2])?, &zeros(&[4])?);
        let err = squeeze_excite(&xs, reduce, expand, Activation::Relu).err().unwrap().to_string();
        assert!(err.contains("[2, 5]") && err.contains("4 channels"), "{err}");
        Ok(())
    }

    #[test]
    fn gradients_are_correct() {
        check(&[&[2, 3, 2, 4], &[2, 4], &[2], &[4, 2], &[4]], |it| {
            squeeze_excite(&it[0], (&it[1], &it[2]), (&it[3], &it[4]), Activation::Silu)
        });
    }
}
