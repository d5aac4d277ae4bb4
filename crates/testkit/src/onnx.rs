//! Runs ONNX files in `tract`, a runtime that shares no code with ours.

use std::sync::Arc;

use tract_onnx::prelude::{
    Datum, DatumExt as _, Framework as _, InferenceModelExt as _, IntoRunnable as _, TValue,
    Tensor, TractResult, TypedRunnableModel, tvec,
};

/// An ONNX file with one input of four dimensions, ready to run.
pub struct OnnxModel(Arc<TypedRunnableModel>);

impl OnnxModel {
    /// Reads a file; dimensions that it names may differ from call to call.
    pub fn read(bytes: &[u8]) -> OnnxModel {
        let read = || -> TractResult<_> {
            let model = tract_onnx::onnx().model_for_read(&mut &*bytes)?;
            model.into_optimized()?.into_runnable()
        };
        OnnxModel(read().expect("a file that tract reads"))
    }

    /// Reads a file for inputs of type `T` and shape `dims`.
    pub fn for_input<T: Datum>(bytes: &[u8], dims: [usize; 4]) -> OnnxModel {
        let read = || -> TractResult<_> {
            let model = tract_onnx::onnx().model_for_read(&mut &*bytes)?;
            let model = model.with_input_fact(0, T::fact(dims).into())?;
            model.into_optimized()?.into_runnable()
        };
        OnnxModel(read().expect("a file that tract reads"))
    }

    /// Returns the numbers of each output, in the order of the file and in row-major order.
    ///
    /// - `dims`: the shape of the input.
    /// - `numbers`: those of the input, in row-major order.
    pub fn run<T: Datum + Copy>(&self, dims: [usize; 4], numbers: &[T]) -> Vec<Vec<f64>> {
        self.try_run(dims, numbers).expect("a file that tract runs")
    }

    /// As [`run`](OnnxModel::run); the error is the runtime's.
    ///
    /// # Errors
    /// Whatever the runtime refuses.
    pub fn try_run<T: Datum + Copy>(
        &self,
        dims: [usize; 4],
        numbers: &[T],
    ) -> Result<Vec<Vec<f64>>, String> {
        let list = |it: &TValue| {
            let it = it.cast_to::<f64>()?.into_owned();
            Ok(it.try_as_plain_ram()?.as_slice::<f64>()?.to_vec())
        };
        let run = || -> TractResult<Vec<Vec<f64>>> {
            let input = Tensor::from_shape(&dims, numbers)?;
            self.0.run(tvec!(input.into()))?.iter().map(list).collect()
        };
        run().map_err(|err| format!("{err:#}"))
    }
}
