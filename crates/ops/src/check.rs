//! The gradient check of this crate's tests: every input of an operation against finite differences.

use candle::{DType, Device, Result, Tensor, Var};
use testkit::{check_gradient, numbers};

use crate::{Tape, Value};

/// Checks the gradients of `f` in inputs of the given shapes, and that its bits do not depend on
/// the number of threads.
///
/// The scalar is Σ r·f(x) for fixed irregular r: a plain sum would hide errors that cancel.
#[track_caller]
pub(crate) fn check(shapes: &[&[usize]], f: impl Fn(&[Value]) -> Result<Value> + Sync) {
    let sizes: Vec<usize> = shapes.iter().map(|it| it.iter().product()).collect();
    let at = numbers("inputs", sizes.iter().sum());
    let run = |at: &[f64]| -> Result<(f64, Vec<f64>)> {
        let mut rest = at;
        let mut vars = Vec::new();
        for (shape, &size) in shapes.iter().zip(&sizes) {
            let (these, others) = rest.split_at(size);
            vars.push(Var::from_slice(these, *shape, &Device::Cpu)?);
            rest = others;
        }
        let tape = Tape::default();
        let inputs: Vec<Value> = vars.iter().map(|it| tape.leaf(it)).collect();
        let ys = tape.export(&f(&inputs)?)?;
        let r = numbers("projection", ys.elem_count());
        let r = Tensor::from_vec(r, ys.shape(), &Device::Cpu)?;
        let loss = (&ys * r)?.sum_all()?;
        let grads = tape.backward(&loss)?;
        let mut all = Vec::new();
        for (idx, var) in vars.iter().enumerate() {
            let grad = grads.get(var).unwrap_or_else(|| panic!("input {idx} has no gradient"));
            assert_eq!(grad.dims(), var.dims(), "input {idx}: a gradient of a different shape");
            all.extend(grad.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
        }
        Ok((loss.to_scalar()?, all))
    };
    check_gradient(&at, |at| run(at).expect("the operation runs"));

    let on = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build();
        // A tape stays on its thread, so the whole pass runs inside the pool.
        pool.expect("a pool").install(|| run(&at).expect("the operation runs"))
    };
    let one = on(1);
    for n_threads in [2, 3] {
        assert!(one == on(n_threads), "the bits differ between {n_threads} threads and one");
    }
}
