//! A model's parameters and buffers: named, ordered, and reproducible.
//!
//! - The initial value of a weight is a function of the seed and its own name: neither the order of
//!   construction nor a new layer elsewhere changes it.
//! - Iteration is in name order: sums over all parameters round the same way in every run.
//! - Parameters are not buffers: running statistics are saved and averaged, never optimised.
//! - In memory, weights have the layout of the kernels; in files, PyTorch's.

use std::collections::BTreeMap;

use base::Seed;
use candle::{CpuStorage, DType, Device, Result, Storage, Tensor, Var, bail, op::BackpropOp};
use rand_distr::{Distribution as _, Normal, Uniform};

use crate::{WeightsError, weights::check_numbers};

/// All parameters and buffers of one model.
pub struct Params {
    /// That of random initial values; `None` for zeros.
    seed: Option<Seed>,
    dtype: DType,
    device: Device,
    /// Parameters have shapes but no values.
    is_blank: bool,
    entries: BTreeMap<String, Param>,
}

/// One parameter or buffer. Clones share the values.
#[derive(Clone)]
pub struct Param {
    /// The values, in the memory layout.
    pub var: Var,
    /// The kind of tensor.
    pub kind: Kind,
    /// The position of its stage among the model's.
    pub stage: usize,
}

/// The kind of a model's tensor, and its layout in memory and in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A linear layer's weight: `[out, in]` in memory and in files.
    Matrix,
    /// A dense convolution's weight: `[out, kh, kw, in]` in memory, `[out, in, kh, kw]` in files.
    Dense,
    /// A depthwise convolution's weight: `[kh, kw, c]` in memory, `[c, 1, kh, kw]` in files.
    Depthwise,
    /// A bias, or a layer's scale: `[c]`.
    Vector,
    /// A norm's scale or shift: `[c]`.
    Norm,
    /// A running statistic, `[c]`: saved, averaged, never optimised.
    Buffer,
}

/// The initialisation of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// The same value everywhere.
    Constant(f64),
    /// Uniform in -bound..bound.
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Normal with variance 2 / fan-out: He et al., 2015, <https://arxiv.org/abs/1502.01852>, in the
    /// form that EfficientNet uses.
    ///
    /// As in timm, the fan-out of a depthwise kernel is that of its own channel; torchvision counts all
    /// channels, so that these layers start far too small.
    KaimingFanOut,
}

impl Kind {
    /// Whether it is trainable: an optimizer may change it.
    pub fn is_trainable(self) -> bool {
        self != Kind::Buffer
    }

    /// The axis of a layer's outputs, in the memory layout.
    pub fn output_axis(self) -> usize {
        match self {
            Kind::Depthwise => 2,
            _ => 0,
        }
    }

    /// Converts from the memory layout to the file layout.
    pub fn to_file(self, tensor: &Tensor) -> Result<Tensor> {
        match self {
            Kind::Dense => tensor.permute((0, 3, 1, 2))?.contiguous(),
            Kind::Depthwise => tensor.permute((2, 0, 1))?.unsqueeze(1)?.contiguous(),
            _ => tensor.contiguous(),
        }
    }

    /// Converts from the file layout to the memory layout.
    pub fn from_file(self, tensor: &Tensor) -> Result<Tensor> {
        match self {
            Kind::Dense => tensor.permute((0, 2, 3, 1))?.contiguous(),
            Kind::Depthwise => tensor.squeeze(1)?.permute((1, 2, 0))?.contiguous(),
            _ => tensor.contiguous(),
        }
    }

    /// The shape in a file of a tensor that has the shape `dims` in memory.
    pub fn file_dims(self, dims: &[usize]) -> Vec<usize> {
        match (self, dims) {
            (Kind::Dense, &[out, kh, kw, n_in]) => vec![out, n_in, kh, kw],
            (Kind::Depthwise, &[kh, kw, c]) => vec![c, 1, kh, kw],
            _ => dims.to_vec(),
        }
    }
}

impl Params {
    /// Returns an empty collection: building a model on [`Params::builder`] creates the parameters.
    pub fn fresh(seed: Seed, dtype: DType, device: &Device) -> Params {
        let device = device.clone();
        Params { seed: Some(seed), dtype, device, is_blank: false, entries: BTreeMap::new() }
    }

    /// Returns an empty collection whose parameters will be 0, until they are loaded: random ones take longer than
    /// reading a file.
    pub fn zeros(dtype: DType, device: &Device) -> Params {
        Params { seed: None, ..Params::fresh(Seed(0), dtype, device) }
    }

    /// Returns an empty collection whose parameters will have names and shapes but no values, like
    /// PyTorch's `meta` device: building a network of any size on it takes no time and no memory. Nothing
    /// may be computed with them.
    pub fn blank() -> Params {
        Params { is_blank: true, ..Params::fresh(Seed(0), DType::U8, &Device::Cpu) }
    }

    /// The builder that a model is constructed on.
    pub fn builder(&mut self) -> Builder<'_> {
        self.builder_of(0)
    }

    /// The builder that the stage at this position is constructed on.
    pub fn builder_of(&mut self, stage: usize) -> Builder<'_> {
        Builder { params: self, path: String::new(), stage }
    }

    /// The device of the parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// All parameters and buffers, in name order.
    pub fn named(&self) -> impl Iterator<Item = (&str, &Param)> {
        self.entries.iter().map(|(name, param)| (name.as_str(), param))
    }

    /// The trainable parameters, in name order.
    pub fn trainable(&self) -> impl Iterator<Item = (&str, &Param)> {
        self.named().filter(|(_, it)| it.kind.is_trainable())
    }

    /// The parameter or buffer of this name.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.entries.get(name)
    }

    /// The number of trainable values.
    pub fn n_trainable(&self) -> usize {
        self.trainable().map(|(_, it)| it.var.elem_count()).sum()
    }

    /// All tensors in the file layout, in name order. They share no memory with the model.
    pub fn to_file(&self) -> Result<Vec<(String, Tensor)>> {
        let entry = |(name, it): (&str, &Param)| {
            // `copy` because a tensor that is already contiguous would share the model's memory.
            Ok((name.to_owned(), it.kind.to_file(it.var.as_tensor())?.copy()?))
        };
        self.named().map(entry).collect()
    }

    /// Checks that `tensors`, in the file layout, have exactly the names and shapes of the parameters.
    ///
    /// # Errors
    /// A missing or unexpected tensor, or a shape mismatch.
    pub fn check_shapes(
        &self,
        tensors: &BTreeMap<String, Tensor>,
    ) -> std::result::Result<(), WeightsError> {
        let misfit = |what: String| Err(WeightsError::DoNotFit(what));
        if let Some(name) = tensors.keys().find(|it| !self.entries.contains_key(*it)) {
            return misfit(format!("`{name}` does not belong to this architecture"));
        }
        for (name, param) in &self.entries {
            let Some(tensor) = tensors.get(name) else {
                return misfit(format!("`{name}` is missing"));
            };
            let want = param.kind.file_dims(param.var.dims());
            if tensor.dims() != want {
                let dims = tensor.dims();
                return misfit(format!("`{name}` has shape {dims:?}, but {want:?} is needed"));
            }
        }
        Ok(())
    }

    /// Loads every parameter and buffer from `tensors`, in the file layout.
    ///
    /// # Errors
    /// A missing or unexpected tensor, a shape mismatch, or a value that is not finite; then nothing has
    /// changed.
    pub fn load(
        &self,
        tensors: &BTreeMap<String, Tensor>,
    ) -> std::result::Result<(), WeightsError> {
        self.check_shapes(tensors)?;
        check_numbers(tensors.iter().map(|(name, it)| (name.as_str(), it)))?;
        for (name, param) in &self.entries {
            param.set_from_file(&tensors[name])?;
        }
        Ok(())
    }
}

impl Param {
    /// Returns whether a published tensor of this shape can be loaded: it has the parameter's shape in the
    /// file layout, the same flattened to `[out, rest]`, or with trailing ones.
    pub fn takes(&self, dims: &[usize]) -> bool {
        let want = self.kind.file_dims(self.var.dims());
        let n = |of: &[usize]| of.iter().product::<usize>();
        let is_flat = dims.len() <= 2 || want.len() <= 2;
        dims == want || (is_flat && dims.first() == want.first() && n(dims) == n(&want))
    }

    /// Replaces the values by those of a tensor in the file layout.
    pub fn set_from_file(&self, tensor: &Tensor) -> Result<()> {
        let tensor = tensor.reshape(self.kind.file_dims(self.var.dims()))?;
        let tensor = tensor.to_dtype(self.var.dtype())?.to_device(self.var.device())?;
        self.var.set(&self.kind.from_file(&tensor)?)
    }
}

/// A path in a model, the prefix of the names of the parameters created there.
pub struct Builder<'a> {
    params: &'a mut Params,
    path: String,
    stage: usize,
}

impl Builder<'_> {
    /// The builder for the submodule `name`.
    pub fn under(&mut self, name: impl std::fmt::Display) -> Builder<'_> {
        let path = self.path_of(name);
        Builder { params: self.params, path, stage: self.stage }
    }

    /// A builder for the same path.
    pub fn here(&mut self) -> Builder<'_> {
        Builder { params: self.params, path: self.path.clone(), stage: self.stage }
    }

    /// The full name of `name` under this path.
    pub fn path_of(&self, name: impl std::fmt::Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    /// Creates a parameter of the shape `dims` in the memory layout.
    ///
    /// # Errors
    /// The name is already in use.
    pub fn param(&mut self, name: &str, kind: Kind, dims: &[usize], init: Init) -> Result<Var> {
        let path = self.path_of(name);
        if self.params.entries.contains_key(&path) {
            bail!("two parameters have the name `{path}`");
        }
        if self.params.is_blank {
            let var = hollow(dims)?;
            self.params.entries.insert(path, Param { var: var.clone(), kind, stage: self.stage });
            return Ok(var);
        }
        // Sampled in the file layout, so that the memory layout is free to change.
        let dims = kind.file_dims(dims);
        let tensor = match self.params.seed {
            Some(seed) => {
                let mut rng = seed.stream(&format!("init/{path}"));
                let values = sample(init, kind, &dims, &mut rng);
                Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(self.params.dtype)?
            }
            None => Tensor::zeros(dims, self.params.dtype, &Device::Cpu)?,
        };
        let tensor = kind.from_file(&tensor)?.to_device(&self.params.device)?;
        let var = Var::from_tensor(&tensor)?;
        self.params.entries.insert(path, Param { var: var.clone(), kind, stage: self.stage });
        Ok(var)
    }
}

/// A parameter with a shape but without values.
fn hollow(dims: &[usize]) -> Result<Var> {
    let none = Storage::Cpu(CpuStorage::U8(Vec::new()));
    Var::from_tensor(&Tensor::from_storage(none, dims, BackpropOp::none(), true))
}

fn sample(init: Init, kind: Kind, file_dims: &[usize], rng: &mut base::Rng) -> Vec<f32> {
    let n: usize = file_dims.iter().product();
    match init {
        Init::Constant(value) => vec![value as f32; n],
        Init::Uniform(bound) => {
            let dist = Uniform::new_inclusive(-bound, bound).expect("a finite range");
            (0..n).map(|_| dist.sample(rng) as f32).collect()
        }
        Init::Normal(std) => {
            let dist = Normal::new(0.0, std).expect("a finite std");
            (0..n).map(|_| dist.sample(rng) as f32).collect()
        }
        Init::KaimingFanOut => {
            let area: usize = file_dims[2..].iter().product();
            let fan_out = if kind == Kind::Depthwise { area } else { file_dims[0] * area };
            let dist = Normal::new(0.0, (2.0 / fan_out as f64).sqrt()).expect("a finite std");
            (0..n).map(|_| dist.sample(rng) as f32).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::Seed;
    use candle::{DType, Device, Result, Tensor};

    use super::{Init, Kind, Params};

    fn weights(names: &[&str]) -> Result<Vec<(String, Tensor)>> {
        let mut params = Params::fresh(Seed(7), DType::F32, &Device::Cpu);
        for name in names {
            let mut builder = params.builder();
            builder.under(name).param("weight", Kind::Matrix, &[3, 2], Init::Uniform(1.0))?;
        }
        params.to_file()
    }

    fn numbers(all: &[(String, Tensor)], name: &str) -> Vec<f32> {
        let (_, tensor) = all.iter().find(|it| it.0 == name).unwrap();
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn initial_weight_depends_only_on_its_name() -> Result<()> {
        let (a, b) = (weights(&["stem", "head"])?, weights(&["head", "extra", "stem"])?);
        assert_eq!(numbers(&a, "stem.weight"), numbers(&b, "stem.weight"));
        assert_ne!(numbers(&a, "stem.weight"), numbers(&a, "head.weight"));
        Ok(())
    }

    #[test]
    fn tensors_are_in_name_order() -> Result<()> {
        let names: Vec<String> = weights(&["b", "a", "c"])?.into_iter().map(|it| it.0).collect();
        assert_eq!(names, ["a.weight", "b.weight", "c.weight"]);
        Ok(())
    }

    #[test]
    fn duplicate_name_is_an_error() {
        assert!(weights(&["a", "a"]).is_err());
    }

    #[test]
    fn layout_conversion_round_trips() -> Result<()> {
        for (kind, memory, file) in [
            (Kind::Dense, vec![4, 3, 2, 5], vec![4, 5, 3, 2]),
            (Kind::Depthwise, vec![3, 2, 7], vec![7, 1, 3, 2]),
            (Kind::Matrix, vec![4, 5], vec![4, 5]),
        ] {
            let n = memory.iter().product::<usize>() as u32;
            let xs = Tensor::arange(0, n, &Device::Cpu)?.reshape(memory.clone())?;
            let stored = kind.to_file(&xs)?;
            assert_eq!((stored.dims(), kind.file_dims(&memory)), (&file[..], file.clone()));
            let back = kind.from_file(&stored)?;
            assert_eq!(back.flatten_all()?.to_vec1::<u32>()?, (0..n).collect::<Vec<_>>());
        }
        Ok(())
    }

    #[test]
    fn file_tensors_are_copies() -> Result<()> {
        let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
        let var = params.builder().param("bias", Kind::Vector, &[2], Init::Constant(1.0))?;
        let saved = params.to_file()?;
        var.set(&Tensor::zeros(2, DType::F32, &Device::Cpu)?)?;
        assert_eq!(numbers(&saved, "bias"), [1.0, 1.0]);
        Ok(())
    }

    #[test]
    fn failed_load_changes_nothing() -> Result<()> {
        let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
        for name in ["a", "b"] {
            params.builder().param(name, Kind::Vector, &[2], Init::Constant(1.0))?;
        }
        let zeros = |n: usize| Tensor::zeros(n, DType::F32, &Device::Cpu);
        for (tensors, want) in [
            (vec![("a", zeros(2)?)], "`b` is missing"),
            (vec![("a", zeros(2)?), ("b", zeros(3)?)], "`b` has shape [3], but [2] is needed"),
            (
                vec![("a", zeros(2)?), ("b", zeros(2)?), ("c", zeros(2)?)],
                "`c` does not belong to this architecture",
            ),
        ] {
            let tensors: BTreeMap<_, _> =
                tensors.into_iter().map(|(name, it)| (name.to_owned(), it)).collect();
            assert_eq!(params.load(&tensors).unwrap_err().to_string(), want);
            assert_eq!(numbers(&params.to_file()?, "a"), [1.0, 1.0]);
        }
        Ok(())
    }
}
