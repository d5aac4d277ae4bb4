//! In-place parameter updates, used by all optimizers.

use std::sync::Mutex;

use candle::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, bail};

use crate::{
    profiler::{Event, Phase, record},
    share::share,
    vectorised,
};

/// The number of elements per chunk of parallel work.
const CHUNK: usize = 16 * 1024;

/// Calls `f` on chunks of a parameter, of its gradient and of the optimizer's state, which all have
/// the same number of elements; in parallel, so `f` must be elementwise.
///
/// - `var`: f32, contiguous.
/// - `state`: for example Adam's two moments.
pub fn update<const N: usize>(
    var: &Var,
    grad: &Tensor,
    state: [&mut [f32]; N],
    f: impl Fn(&mut [f32], &[f32], [&mut [f32]; N]) + Sync + Send,
) -> Result<()> {
    let _recording = record(|| {
        let n = var.elem_count();
        Event { numbers: n * (3 + 2 * N), ..Event::new("optimizer", Phase::Update) }
    });
    let op = Update { inner: Mutex::new(Some((state, f))) };
    var.inplace_op2(&grad.contiguous()?, &op)
}

struct Update<'a, F, const N: usize> {
    /// Taken by the single call.
    inner: Mutex<Option<(State<'a, N>, F)>>,
}

type State<'a, const N: usize> = [&'a mut [f32]; N];

impl<F, const N: usize> InplaceOp2 for Update<'_, F, N>
where
    F: Fn(&mut [f32], &[f32], [&mut [f32]; N]) + Sync + Send,
{
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(
        &self,
        params: &mut CpuStorage,
        params_layout: &Layout,
        grads: &CpuStorage,
        grads_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(params), CpuStorage::F32(grads)) = (params, grads) else {
            bail!("update: parameters and gradients must be f32");
        };
        let spans = (params_layout.contiguous_offsets(), grads_layout.contiguous_offsets());
        let (Some((p0, p1)), Some((g0, g1))) = spans else {
            bail!("update: a parameter or gradient is not contiguous");
        };
        let (params, grads) = (&mut params[p0..p1], &grads[g0..g1]);
        let inner = self.inner.lock().ok().and_then(|mut it| it.take());
        let (state, f) = inner.expect("the operation is called once");
        if params.len() != grads.len() || state.iter().any(|it| it.len() != params.len()) {
            bail!("update: a parameter, its gradient and its state differ in size");
        }
        let mut state = state.map(|it| it.chunks_mut(CHUNK));
        let chunks = params.chunks_mut(CHUNK).zip(grads.chunks(CHUNK));
        let chunks: Vec<_> = chunks
            .map(|(params, grads)| {
                let state = state.each_mut().map(|it| it.next().expect("as many as of parameters"));
                (params, grads, state)
            })
            .collect();
        share(chunks, |_, (params, grads, state)| {
            vectorised(
                #[inline(always)]
                || f(params, grads, state),
            );
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor, Var};

    use super::update;

    #[test]
    fn every_element_is_changed_once() -> Result<()> {
        let n = 40_000;
        let var = Var::from_tensor(&Tensor::arange(0f32, n as f32, &Device::Cpu)?)?;
        let grad = Tensor::ones(n, candle::DType::F32, &Device::Cpu)?;
        let mut state = vec![0f32; n];
        update(&var, &grad, [&mut state], |params, grads, [state]| {
            for ((p, g), s) in params.iter_mut().zip(grads).zip(state) {
                *s += 1.0;
                *p += 2.0 * g;
            }
        })?;
        assert!(state.iter().all(|&it| it == 1.0));
        let got = var.to_vec1::<f32>()?;
        assert!(got.iter().enumerate().all(|(idx, &it)| it == idx as f32 + 2.0));
        Ok(())
    }

    #[test]
    fn different_sizes_are_an_error() -> Result<()> {
        let var = Var::zeros(3, candle::DType::F32, &Device::Cpu)?;
        let grad = Tensor::zeros(2, candle::DType::F32, &Device::Cpu)?;
        assert!(update(&var, &grad, [], |_, _, []| {}).is_err());
        Ok(())
    }
}
