//! The two element types with their registers, and tensors of them: `f32` for computation, `f64` for gradient
//! checks.

use std::ops::Deref;

use candle::{DType, Device, Layout, Result, Shape, Storage, Tensor, bail};

use crate::{
    lanes::{Lanes, Portable, Wide},
    number::Number,
};

/// A [`Number`] and the registers that hold several.
pub(crate) trait Real: Number {
    /// The registers of each instruction set.
    type Avx512: Lanes<Number = Self>;
    type Avx2: Lanes<Number = Self>;
    type Portable: Lanes<Number = Self>;
}

impl Real for f32 {
    #[cfg(target_arch = "x86_64")]
    type Avx512 = std::arch::x86_64::__m512;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = std::arch::x86_64::__m256;
    #[cfg(not(target_arch = "x86_64"))]
    type Avx512 = Wide<f32, 16>;
    #[cfg(not(target_arch = "x86_64"))]
    type Avx2 = Wide<f32, 8>;
    type Portable = Portable<f32, 4>;
}

impl Real for f64 {
    type Avx512 = Wide<f64, 8>;
    type Avx2 = Wide<f64, 4>;
    type Portable = Portable<f64, 2>;
}

/// Read access to the elements of a tensor, on the CPU and contiguous.
pub(crate) struct Reading<'a> {
    storage: Box<dyn Deref<Target = Storage> + Sync + 'a>,
    layout: &'a Layout,
}

impl<'a> Reading<'a> {
    pub(crate) fn of(tensor: &'a Tensor) -> Reading<'a> {
        let (storage, layout) = tensor.storage_and_layout();
        Reading { storage: Box::new(storage), layout }
    }

    /// The elements in row-major order.
    pub(crate) fn slice<T: Real>(&self) -> Result<&[T]> {
        let Storage::Cpu(storage) = &**self.storage else {
            bail!("this operation has no GPU kernel yet: run it on the CPU");
        };
        match self.layout.contiguous_offsets() {
            Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
            None => bail!("the input of a kernel is not contiguous"),
        }
    }
}

/// A tensor on the CPU that takes ownership of `data`.
pub(crate) fn tensor<T: Real>(data: Vec<T>, dims: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(data, Shape::from(dims), &Device::Cpu)
}

/// Converts numbers of channels.
pub(crate) fn cast<T: Real>(xs: &[f64]) -> Vec<T> {
    xs.iter().map(|&it| T::of(it)).collect()
}

/// Copies the numbers of a small tensor.
pub(crate) fn numbers<T: Real>(it: &Tensor) -> Result<Vec<T>> {
    if it.dtype() == T::DTYPE && it.is_contiguous() {
        return Ok(Reading::of(it).slice::<T>()?.to_vec());
    }
    Ok(cast(&it.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?))
}

pub(crate) fn unsupported(name: &str, dtype: DType) -> candle::Error {
    candle::Error::Msg(format!("{name} computes in f32 (or f64, for checks), not in {dtype:?}"))
}

/// Evaluates an expression with `T` bound to the element type of a tensor.
macro_rules! by_dtype {
    ($name:literal, $tensor:expr, $T:ident => $body:expr) => {
        match $tensor.dtype() {
            candle::DType::F32 => {
                type $T = f32;
                $body
            }
            candle::DType::F64 => {
                type $T = f64;
                $body
            }
            dtype => Err(crate::real::unsupported($name, dtype)),
        }
    };
}
pub(crate) use by_dtype;

/// Copies a few numbers inline, where the call of a library function would take longer than the copy.
pub(crate) fn copy_short<T: Copy>(from: &[T], to: &mut [T]) {
    let ((eights, rest), (to_eights, to_rest)) = (from.as_chunks::<8>(), to.as_chunks_mut::<8>());
    for (to, from) in to_eights.iter_mut().zip(eights) {
        *to = *from;
    }
    for (to, from) in to_rest.iter_mut().zip(rest) {
        *to = *from;
    }
}
