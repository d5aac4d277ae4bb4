//! A 1x1 convolution followed by a depthwise one at inference, fused: the intermediate result is never stored, each
//! block of rows is computed when the depthwise convolution reads it.

use candle::{Result, Tensor, bail};

use crate::{
    Epilogue, Value, Window, depthwise,
    depthwise::{Source, convolve, recorded_op},
    epilogue::OnRows,
    graph::Op,
    linear,
    matmul::Panels,
    profiler::{Event, Phase, record},
    prologue::View,
    real::{Reading, by_dtype},
};

/// A 1x1 convolution followed by a depthwise convolution. For inference only.
///
/// - `xs`: `[n, h, w, in]`.
/// - `expand`: `[c, 1, 1, in]`, and its epilogue.
/// - `weight`: `[kh, kw, c]`.
/// - returns: `[n, h', w', c]`.
pub fn expand_depthwise(
    xs: &Value,
    (expand, between): (&Value, &Epilogue),
    weight: &Value,
    window: Window,
    then: &Epilogue,
) -> Result<Value> {
    if Value::card_of(&[xs, expand, weight]).is_some() {
        let wide = linear(xs, expand, None, Some(between))?;
        return depthwise(&wide, weight, window, Some(then));
    }
    let (x, e, k) = (xs.raw()?, expand.tensor()?, weight.tensor()?);
    let (n, h, w, n_in) = x.dims4()?;
    let [kh, kw] = window.kernel;
    let c = e.dims()[0];
    if e.elem_count() != c * n_in || k.dims() != [kh, kw, c] {
        bail!(
            "expand_depthwise: the shapes {:?}, {:?} and {:?} do not match",
            xs.dims(),
            e.dims(),
            k.dims()
        );
    }
    let grid = window.on(n, [h, w])?;
    let _recording = record(|| Event {
        kind: format!("1x1 and depthwise {kh}x{kw}"),
        shape: format!("{h}x{w}x{n_in} -> {c}, stride {}", grid.stride),
        phase: Phase::Forward,
        flops: 2 * c * (n * h * w * n_in + grid.n_out() * kh * kw),
        numbers: n * h * w * n_in + c * n_in + grid.n_out() * c,
    });
    let prologue = xs.prologue().cloned();
    let ys = by_dtype!("expand_depthwise", x, T => {
        let e = Reading::of(&e);
        let e = e.slice::<T>()?;
        let last = Epilogue::ready::<T>(Some(between), &[xs, expand], None, &[n, h, w, c])?;
        let Some(last) = last.on_rows()?.filter(OnRows::is_of_channels) else {
            bail!("expand_depthwise: nothing can be added between the two convolutions");
        };
        let xs_view = View::<T>::of(&x, prologue.as_ref())?;
        let panels = expand.packed(|| Ok(Panels::of_columns(n_in, c, e)))?;
        let source = Source::Expanded { xs: xs_view, weight: &panels, last };
        convolve(&source, &[xs, expand], weight, &grid, Some(then))
    })?;
    if !xs.is_traced() {
        return Ok(ys);
    }
    // The two convolutions, as if the result of the first were stored.
    let wide = Tensor::zeros((), x.dtype(), x.device())?.broadcast_as((n, h, w, c))?;
    let linear = || {
        let matrix = expand.weight()?.map(|it| it.reshape((c, n_in)))?;
        Ok(Op::Linear { weight: matrix, bias: None })
    };
    let wide = Epilogue::recorded(Some(between), Value::constant(wide).recorded(&[xs], linear)?)?;
    Epilogue::recorded(Some(then), ys.recorded(&[&wide], || recorded_op(weight, &grid))?)
}
