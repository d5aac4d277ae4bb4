//! A network, ready to explain its predictions.

use augment::{Image, Pipeline};
use base::{Seed, Task, mix::whole, task::Scope};
use candle::{Tensor, Var};
use infer::{Bundle, Member};
use models::Model;
use ops::{Output, Pass, Prepacked, Rows, Tape, Value};

use crate::{
    ExplainError, Explanation, Heatmap, Method, Target,
    cam::{Map, cam},
    occlusion::occlusion,
    score::{probabilities, score},
};

/// Explains the predictions of one network of a bundle.
pub struct Explainer {
    member: Member,
    packed: Prepacked,
}

impl Explainer {
    /// Creates an explainer of a member of a bundle. What follows the member in the bundle (its views, the
    /// combination, the calibration, the decision) is not part of the explanation.
    ///
    /// # Errors
    /// There is no such member.
    pub fn new(bundle: &Bundle, member: usize) -> Result<Explainer, ExplainError> {
        let n = bundle.members.len();
        let it = bundle.members.get(member).ok_or(ExplainError::NoMember { member, n })?;
        Ok(Explainer { member: it.clone(), packed: Prepacked::default() })
    }

    /// The factors and classes that the member predicts, in whose scopes targets are: the bundle's, or some of
    /// its factors.
    pub fn task(&self) -> &Task {
        &self.member.task
    }

    /// The names of the stages with a feature map, from the images to the head.
    pub fn stages(&self) -> &[String] {
        self.model().map_stages()
    }

    /// The pipeline that images pass.
    pub fn pipeline(&self) -> &Pipeline {
        &self.member.pipeline
    }

    /// Returns an error if there is no stage of this name with a feature map.
    ///
    /// # Errors
    /// There is none.
    pub fn check_stage(&self, name: Option<&str>) -> Result<(), ExplainError> {
        self.stage(name).map(|_| ())
    }

    /// Decodes and transforms an image file by the member's own pipeline.
    ///
    /// # Errors
    /// Bytes that are no image, or one that the pipeline does not accept.
    pub fn prepare(&self, bytes: &[u8]) -> Result<Image, ExplainError> {
        // The pipeline of a member is deterministic.
        let rng = &mut Seed(0).stream("explain");
        Ok(self.member.pipeline.apply(bytes, rng, None)?)
    }

    /// Explains an image file: decoded and transformed by the member's own pipeline.
    ///
    /// - `stage`: a name of [`stages`](Explainer::stages); `None` for the last one. Occlusion needs none.
    ///
    /// # Errors
    /// Bytes that are no image, an unknown stage, a target that the task does not have, or weights that are
    /// damaged.
    pub fn explain(
        &self,
        bytes: &[u8],
        target: &Target,
        method: Method,
        stage: Option<&str>,
    ) -> Result<Explanation, ExplainError> {
        self.explain_image(self.prepare(bytes)?, target, method, stage)
    }

    /// Explains an image as the member's pipeline makes it, RGB8 of the size of the network's input.
    ///
    /// # Errors
    /// As [`explain`](Explainer::explain).
    pub fn explain_image(
        &self,
        image: Image,
        target: &Target,
        method: Method,
        stage: Option<&str>,
    ) -> Result<Explanation, ExplainError> {
        let (task, stage) = (self.task(), self.stage(stage)?);
        let size = [image.height() as usize, image.width() as usize];
        let xs = self.input(&image, size)?;
        let outputs = self.model().forward(&xs, &Pass::Eval(&self.packed))?;
        let (scope, class) = (target.scope, target.class);
        let known = match scope {
            Scope::Factor(idx) => task.factors.get(idx).map_or(0, |it| it.levels.len()),
            Scope::Joint => task.n_classes(),
        };
        if class.unwrap_or(0) >= known {
            return Err(ExplainError::NoTarget(format!("the task has no target {target:?}")));
        }
        let p = probabilities(task, &outputs, scope)?;
        if !p.iter().all(|it| it.is_finite()) {
            return Err(ExplainError::NotFinite("the network's output"));
        }
        let class = class.unwrap_or_else(|| largest(&p));
        let heatmap = match method {
            Method::Occlusion => {
                let score = |xs: &Tensor| {
                    let outputs = self.model().forward(xs, &Pass::Eval(&self.packed))?;
                    score(task, &outputs, scope, class)?.to_vec1()
                };
                Heatmap::scaled(finite(occlusion(&xs, &score)?)?, size)
            }
            Method::GradCam | Method::GradCamPlusPlus => {
                let objective = |outputs: &[Output]| score(task, outputs, scope, class)?.sum_all();
                let maps = gradients(self.model(), &xs, stage, &objective)?;
                let (cells, of_map) = cam(&maps, method)?;
                Heatmap::from_cells(&finite(cells)?, of_map, size)
            }
        };
        let (name, probability) = (task.class_name(class, scope), p[class]);
        Ok(Explanation { heatmap, image, scope, class, name, probability })
    }

    fn model(&self) -> &Model {
        &self.member.model
    }

    /// Returns the normalised image, `[1, h, w, 3]`.
    fn input(&self, image: &Image, size: [usize; 2]) -> candle::Result<Tensor> {
        let statistics = self.member.pipeline.statistics;
        let pixels = Rows { images: image.as_raw(), size, samples: &whole(1) };
        ops::normalise(pixels, statistics.mean, statistics.std, self.model().params().device())
    }

    /// Returns the stage of this name; without one, the last.
    fn stage(&self, name: Option<&str>) -> Result<&str, ExplainError> {
        let stages = self.stages();
        let found = match name {
            None => stages.last(),
            Some(name) => stages.iter().find(|it| *it == name),
        };
        found.map(String::as_str).ok_or_else(|| ExplainError::NoStage {
            name: name.unwrap_or_default().to_owned(),
            known: stages.join(", "),
        })
    }
}

/// Returns the maps of a stage for normalised images, and the gradient of a score with respect to each: one map,
/// or one for each copy of the stage in the head. A copy that the score does not depend on is left out.
///
/// - `score`: from the network's outputs to a scalar.
fn gradients(
    model: &Model,
    xs: &Tensor,
    stage: &str,
    score: &dyn Fn(&[Output]) -> candle::Result<Tensor>,
) -> candle::Result<Vec<Map>> {
    let (tape, mut leaves) = (Tape::default(), Vec::new());
    let mut tap = |name: &str, ys: Value| -> candle::Result<Value> {
        if name != stage {
            return Ok(ys);
        }
        let leaf = Var::from_tensor(&ys.tensor()?)?;
        leaves.push(leaf.clone());
        Ok(tape.leaf(&leaf))
    };
    let outputs = model.forward_tapped(xs, &Pass::Gradient(&tape), &mut tap)?;
    let found = tape.backward(&score(&outputs)?)?;
    let map = |leaf: Var| {
        let gradient = found.get(&leaf)?.clone();
        Some(Map { values: leaf.as_detached_tensor(), gradient })
    };
    Ok(leaves.into_iter().filter_map(map).collect())
}

fn finite(xs: Vec<f64>) -> Result<Vec<f64>, ExplainError> {
    match xs.iter().all(|it| it.is_finite()) {
        true => Ok(xs),
        false => Err(ExplainError::NotFinite("the map")),
    }
}

/// The index of the largest number; the first of equal ones.
fn largest(xs: &[f64]) -> usize {
    let larger = |best: usize, at: usize| if xs[at] > xs[best] { at } else { best };
    (0..xs.len()).reduce(larger).unwrap_or(0)
}
