//! A backbone with a head, and the parameters of both.

use std::collections::HashMap;

use base::{Seed, Task};
use candle::{DType, Device, Result, Tensor, bail};
use ops::{Graph, Output, Pass, Prepacked, Recorder, Value};
use serde::{Deserialize, Serialize};

use crate::{
    BackboneConfig, HeadConfig, Layer,
    head::{BuiltHead, HeadInput, Tap},
    params::Params,
    weights::{Continued, LoadedWeights, Side, WeightsError, load, load_continued},
};

/// The specification of a network, sufficient to build it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The network from images to features.
    pub backbone: BackboneConfig,
    /// The outputs that are predicted from the features.
    pub head: HeadConfig,
}

impl ModelSpec {
    /// Returns the problem with the settings, or with the head for this task, if any.
    pub fn problem(&self, task: &Task) -> Option<String> {
        let backbone = self.backbone.get().problem().map(|it| format!("at `backbone`: {it}"));
        let head = || self.head.get().problem().or_else(|| self.head.get().misfit(task));
        backbone.or_else(|| head().map(|it| format!("at `head`: {it}")))
    }

    /// Returns the names and shapes of the network's parameters and buffers, without allocating the
    /// values.
    ///
    /// # Errors
    /// Settings or a task with a [problem](ModelSpec::problem).
    pub fn params(&self, task: &Task) -> Result<Params> {
        Ok(Model::on(Params::blank(), self, task)?.params)
    }
}

/// A network from images to predictions.
pub struct Model {
    spec: ModelSpec,
    params: Params,
    stages: Vec<String>,
    backbone: Vec<Box<dyn Layer>>,
    heads: Box<dyn BuiltHead>,
    /// The names of the stages that end in feature maps.
    maps: Vec<String>,
}

impl Model {
    /// Builds a model with random initial weights, a function of `seed` and the weights' names.
    pub fn fresh(spec: &ModelSpec, task: &Task, seed: Seed, device: &Device) -> Result<Model> {
        Model::with_dtype(spec, task, seed, DType::F32, device)
    }

    /// Builds a model that computes in `dtype`: `F64` is for gradient checks.
    pub fn with_dtype(
        spec: &ModelSpec,
        task: &Task,
        seed: Seed,
        dtype: DType,
        device: &Device,
    ) -> Result<Model> {
        Model::on(Params::fresh(seed, dtype, device), spec, task)
    }

    /// Builds a model whose parameters are all 0, to load saved ones into it.
    pub fn zeros(spec: &ModelSpec, task: &Task, device: &Device) -> Result<Model> {
        Model::on(Params::zeros(DType::F32, device), spec, task)
    }

    /// Builds a model whose parameters are created in `params`.
    fn on(mut params: Params, spec: &ModelSpec, task: &Task) -> Result<Model> {
        let (architecture, head) = (spec.backbone.get(), spec.head.get());
        let mut plans = architecture.stages();
        // The last stage is the neck.
        let with_map = plans.iter().take(plans.len() - 1);
        let maps = with_map.map(|it| it.name.clone()).collect();
        let copied = plans.split_off(plans.len() - head.n_copied());
        let mut stages: Vec<String> = Vec::new();
        let mut backbone = Vec::new();
        for stage in plans {
            backbone.push(stage.build(params.builder_of(stages.len()))?);
            stages.push(stage.name);
        }
        stages.push("head".to_owned());
        let on = HeadInput { n_features: architecture.width(), last: &copied };
        let heads = head.build(on, task, params.builder_of(stages.len() - 1).under("head"))?;
        Ok(Model { spec: spec.clone(), params, stages, backbone, heads, maps })
    }

    /// The specification that the model was built from.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The parameters and buffers.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The names of the stages, from the images to the `head`: each parameter stores the position of
    /// its stage.
    pub fn stages(&self) -> &[String] {
        &self.stages
    }

    /// The names of the stages that end in feature maps, those that the head copies included.
    pub fn map_stages(&self) -> &[String] {
        &self.maps
    }

    /// Returns the output of each stage of the backbone for normalised images `[n, h, w, 3]`: feature
    /// maps `[n, h, w, c]`, and at last features `[n, width]`.
    pub fn maps(&self, xs: &Tensor, pass: &Pass<'_>) -> Result<Vec<Value>> {
        let mut maps = Vec::new();
        for stage in &self.backbone {
            let xs = maps.last().cloned().unwrap_or_else(|| Value::constant(xs.clone()));
            maps.push(stage.forward(&xs, pass)?);
        }
        Ok(maps)
    }

    /// The forward pass on normalised images `[n, h, w, 3]`: returns one [`Output`] for each output of
    /// the head.
    ///
    /// In a training pass the numbers are leaves of candle's graph, and
    /// [`Tape::backward`](ops::Tape::backward) finds the gradients of the parameters from there.
    pub fn forward(&self, xs: &Tensor, pass: &Pass<'_>) -> Result<Vec<Output>> {
        self.forward_tapped(xs, pass, &mut |_, ys| Ok(ys))
    }

    /// [`forward`](Model::forward) on images that may be on a card: see
    /// [`normalise_on_card`](ops::normalise_on_card).
    pub fn forward_value(&self, xs: Value, pass: &Pass<'_>) -> Result<Vec<Output>> {
        self.run(xs, pass, &mut |_, ys| Ok(ys))
    }

    /// [`forward`](Model::forward), in which `tap` may replace the output of each stage of the backbone before
    /// it is read: by a leaf of the pass's tape, for its gradient.
    ///
    /// - `tap`: from the stage's name and its output to what the network goes on with. A stage that the head
    ///   copies has one output for each copy.
    pub fn forward_tapped(
        &self,
        xs: &Tensor,
        pass: &Pass<'_>,
        tap: &mut Tap<'_>,
    ) -> Result<Vec<Output>> {
        self.run(Value::constant(xs.clone()), pass, tap)
    }

    fn run(&self, xs: Value, pass: &Pass<'_>, tap: &mut Tap<'_>) -> Result<Vec<Output>> {
        let mut ys = xs;
        for (stage, name) in self.backbone.iter().zip(&self.stages) {
            ys = tap(name, stage.forward(&ys, pass)?)?;
        }
        let outputs = self.heads.outputs_tapped(&ys, pass, tap)?;
        let values: Vec<Value> = outputs.iter().map(|it| it.numbers.clone()).collect();
        let exported = pass.export_all(&values)?.into_iter();
        let of = |(it, numbers): (Output<Value>, Tensor)| Output {
            scope: it.scope,
            form: it.form,
            weight: it.weight,
            numbers,
        };
        Ok(outputs.into_iter().zip(exported).map(of).collect())
    }

    /// Returns the operations of an eval pass on images of `height` and `width`, with the parameters' names; norms
    /// are folded into the layers before them. The graph's outputs are those of the head.
    ///
    /// # Errors
    /// An operation of the network that does not record itself: see [`Graph`].
    pub fn graph(&self, height: usize, width: usize) -> Result<Graph> {
        let packed = Prepacked::default();
        let recorded = |n: usize| self.recorded((n, height, width, 3), &packed);
        let graph = recorded(1)?;
        // What was not recorded, but became a constant, is another one for other images.
        if let Some(difference) = graph.difference(&recorded(2)?) {
            bail!("the network cannot be exported: {difference}");
        }
        let names: HashMap<_, _> =
            self.params.named().map(|(name, it)| (it.var.id(), name)).collect();
        graph.name(|id| names.get(&id).map(|it| (*it).to_owned())).folded()
    }

    /// Returns the operations of an eval pass on images of a shape, whose numbers depend on how many there are.
    fn recorded(&self, dims: (usize, usize, usize, usize), packed: &Prepacked) -> Result<Graph> {
        let (n, height, width, c) = dims;
        let last = (n * height * width * c) as f64;
        let images = (Tensor::arange(0.0, last, &Device::Cpu)? * n as f64)?.sin()?;
        let images = images.reshape(dims)?.to_dtype(self.dtype())?;
        let recorder = Recorder::default();
        let images = Value::traced(images.to_device(self.params.device())?, &recorder);
        let pass = Pass::Eval(packed);
        let features = self.backbone.forward(&images, &pass)?;
        let of = |it: Output<Value>| {
            let Output { scope, form, weight, numbers } = it;
            Ok(Output { scope, form, weight, numbers: numbers.node()? })
        };
        let outputs = self.heads.outputs(&features, &pass)?.into_iter().map(of);
        let outputs = outputs.collect::<Result<_>>()?;
        Ok(recorder.finish(outputs))
    }

    /// The type of the parameters' numbers.
    fn dtype(&self) -> DType {
        self.params.named().next().map_or(DType::F32, |(_, it)| it.var.dtype())
    }

    /// Loads published weights, in the naming of any known library.
    ///
    /// # Errors
    /// Weights of another architecture or variant; then the model is unchanged.
    pub fn load_pretrained(
        &self,
        tensors: &std::collections::BTreeMap<String, Tensor>,
    ) -> std::result::Result<LoadedWeights, WeightsError> {
        load(&self.spec.backbone, &self.spec.head, &self.params, tensors)
    }

    /// Loads the weights of another model with the same backbone: all of the backbone's, and those of the head for
    /// outputs and classes of the same names. Everything else keeps its values.
    ///
    /// - `task`: the task that this model was built for, `from_task` that of `from`.
    ///
    /// # Errors
    /// Another backbone, or another variant of it; then the model is unchanged.
    pub fn continue_from(
        &self,
        task: &Task,
        from: &Model,
        from_task: &Task,
    ) -> std::result::Result<Continued, WeightsError> {
        let Model { spec: ModelSpec { backbone, head }, params, .. } = self;
        let ours = Side { backbone, head, task, params };
        let Model { spec: ModelSpec { backbone, head }, params, .. } = from;
        let theirs = Side { backbone, head, task: from_task, params };
        load_continued(ours, theirs)
    }
}
