//! The predictor: runs a bundle on images and returns joint class probabilities and the predicted class.
//!
//! image -> views, loaded once for all members -> a forward pass for each member and view -> merged over views
//! -> combined over members -> calibrated -> decided. Every prediction is made here: in validation, in serving,
//! and for submissions.

use std::{mem, sync::Arc};

use augment::{Merge, View};
use base::{
    MissingFactor, Task,
    task::{Scope, ScopePrediction},
};
use candle::Device;
use data::{Batch, CacheDir, Content, LoadError, LoadViews, Loader};
use ensemble::{CalibrationConfig, CombineConfig};
use ops::{Card, CardRows, Pass, Prepacked, Rows, Value};

use crate::bundle::{Bundle, Member};

/// Predicts images with the ensemble of a bundle's members.
pub struct Predictor {
    bundle: Bundle,
    /// The factor whose number is predicted.
    number: Option<usize>,
    /// The weight of each member; empty if all are equal.
    weights: Vec<f64>,
    /// The probability with which sets hold the true class, if they are predicted.
    level: Option<f64>,
    /// The packed weights of all members.
    packed: Prepacked,
    device: Device,
    /// The card that the networks run on, if they run on one.
    card: Option<Card>,
}

/// The prediction for one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prediction {
    /// The probabilities of the joint classes, `[class]`.
    pub probabilities: Vec<f64>,
    /// The joint class that is predicted and submitted.
    pub predicted: usize,
    /// The predicted number, such as an age, averaged over the members that predict its factor; `None` unless
    /// each of them has a head that predicts the number.
    pub number: Option<f64>,
    /// The probabilities of the joint classes by each member, `[member][class]`; empty for a member that
    /// predicts only some factors.
    pub members: Vec<Vec<f64>>,
    /// The classes that hold the true one with the probability asked for, if sets are predicted.
    pub set: Option<Vec<usize>>,
}

/// Settings of inference that do not change the predictions.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The number of images per forward pass.
    pub batch_size: usize,
    /// The number of threads that load images.
    pub num_workers: usize,
    /// The maximum number of batches loaded in advance.
    pub prefetch: usize,
    /// A cache of intermediate results, such as detected faces.
    pub cache: Option<CacheDir>,
}

/// Why images could not be predicted.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// An image could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The members do not predict all factors.
    #[error(transparent)]
    MissingFactor(#[from] MissingFactor),
    /// The members do not fit together.
    #[error("the bundle cannot predict: {0}")]
    Unfit(String),
    /// The output of the network is not finite (NaN or infinite).
    #[error(
        "the network's output for {0} is not finite (NaN or infinite): its weights are damaged, or it has diverged"
    )]
    NotFinite(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

/// A member, ready to predict.
struct Forward<'a> {
    member: &'a Member,
    /// The position of each of its factors in the bundle's task.
    places: Vec<usize>,
    /// Whether its numbers are those that are predicted.
    has_numbers: bool,
    /// Its views: the weight of each, and its position among all views that are loaded.
    views: Vec<(f64, usize)>,
}

/// The predictions of one member for one image.
#[derive(Clone, Default)]
struct Row {
    /// In the bundle's task: of the joint classes, or of some factors.
    outputs: Vec<ScopePrediction>,
    number: Option<f64>,
}

impl Predictor {
    /// Creates a predictor with a bundle's members.
    pub fn new(bundle: Bundle, device: &Device) -> Predictor {
        let (number, weights) = (bundle.number(), bundle.weights());
        let (packed, device) = (Prepacked::default(), device.clone());
        Predictor { bundle, number, weights, level: None, packed, device, card: None }
    }

    /// Returns a predictor whose networks run on a card, with activations as it stores them: predictions then differ
    /// from the CPU's by rounding.
    ///
    /// - `card`: the parameters that it holds count, not those of the bundle.
    #[must_use]
    pub fn on_card(self, card: &Card) -> Predictor {
        Predictor { packed: Prepacked::on_card(card), card: Some(card.clone()), ..self }
    }

    /// Returns a predictor that also predicts the set of classes for each image that holds the true one with
    /// some probability.
    ///
    /// - `level`: the probability, between 0 and 1.
    ///
    /// # Errors
    /// The bundle has no scores of held-out images, or the level is not between 0 and 1.
    pub fn with_sets(self, level: f64) -> Result<Predictor, String> {
        if self.bundle.conformal.is_none() {
            let reason = "the bundle has no scores of held-out images, from which sets follow: make one with \
                          `maskfit ensemble RUNS --sets`";
            return Err(reason.to_owned());
        }
        match level > 0.0 && level < 1.0 {
            true => Ok(Predictor { level: Some(level), ..self }),
            false => Err(format!("the level of sets must be between 0 and 1, not {level}")),
        }
    }

    /// Returns the task: the factors and classes that are predicted.
    pub fn task(&self) -> &Task {
        &self.bundle.task
    }

    /// Predicts each image.
    ///
    /// `progress` is called with the number of predicted images and the total.
    ///
    /// # Errors
    /// As [`Predictor::predict_each`].
    pub fn predict(
        &self,
        images: &Arc<[(String, Content)]>,
        serving: Serving,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Prediction>, PredictError> {
        let mut predictions = Vec::with_capacity(images.len());
        self.predict_each(images, serving, &mut |it: Prediction| {
            predictions.push(it);
            progress(predictions.len(), images.len());
            Ok::<_, PredictError>(())
        })?;
        Ok(predictions)
    }

    /// Predicts each image and passes the predictions to `each`, in order; holds no more in memory than the
    /// prefetched batches. An image is loaded once for all members and views.
    ///
    /// # Errors
    /// An image that cannot be loaded, an output of the network that is not finite, or an error of `each`.
    pub fn predict_each<E: From<PredictError>>(
        &self,
        images: &Arc<[(String, Content)]>,
        serving: Serving,
        each: &mut dyn FnMut(Prediction) -> Result<(), E>,
    ) -> Result<(), E> {
        let views = self.views()?;
        let members = self.members(&views).map_err(PredictError::Unfit)?;
        // All views of a batch are in memory: of fewer images where there are more views.
        let n_each = (serving.batch_size / views.len().max(1)).max(1);
        let order: Vec<usize> = (0..images.len()).collect();
        let batches: Vec<_> = order.chunks(n_each).map(<[usize]>::to_vec).collect();
        let mut loader = Loader::start(LoadViews {
            images: Arc::clone(images),
            batches: batches.clone(),
            views,
            cache: serving.cache.clone(),
            n_threads: serving.num_workers,
            prefetch: serving.prefetch,
        });
        for examples in &batches {
            let loaded = loader.next().expect("a loader yields all batches");
            let loaded: Vec<Batch> = loaded.map_err(PredictError::from)?;
            let rows = self.rows(&members, &loaded).map_err(PredictError::from)?;
            for (&example, of_image) in examples.iter().zip(rows) {
                each(self.combine(&images[example].0, of_image)?)?;
            }
        }
        Ok(())
    }

    /// Returns the views of an image, each once, that [`predict_loaded`](Self::predict_loaded) needs.
    ///
    /// # Errors
    /// The members do not fit together.
    pub fn views(&self) -> Result<Vec<View>, PredictError> {
        match self.bundle.problem() {
            Some(problem) => Err(PredictError::Unfit(problem)),
            None => self.bundle.views().map_err(PredictError::Unfit),
        }
    }

    /// Predicts a batch of images whose views are loaded: what [`predict`](Self::predict) returns for each. Whether
    /// the members fit together is checked once, by [`views`](Self::views), and not for each batch.
    ///
    /// - `names`: of the images, for errors.
    /// - `loaded`: a batch of each of the [`views`](Self::views), with a row for each image.
    ///
    /// # Errors
    /// The members do not fit together, or a tensor operation fails. Inner: the output of the network for this
    /// image is not finite.
    pub fn predict_loaded(
        &self,
        names: &[&str],
        loaded: &[Batch],
    ) -> Result<Vec<Result<Prediction, PredictError>>, PredictError> {
        let views = self.bundle.views().map_err(PredictError::Unfit)?;
        let is_fitting = loaded.iter().all(|it| it.samples.len() == names.len());
        if loaded.len() != views.len() || !is_fitting {
            let reason = format!(
                "its {} views need a batch each, with a row for each of {} images",
                views.len(),
                names.len()
            );
            return Err(PredictError::Unfit(reason));
        }
        let members = self.members(&views).map_err(PredictError::Unfit)?;
        let rows = self.rows(&members, loaded)?;
        Ok(names.iter().zip(rows).map(|(name, it)| self.combine(name, it)).collect())
    }

    /// Returns the classes that hold the true one of an image with the probability `level`; `None` if the bundle has
    /// no scores of held-out images.
    ///
    /// - `prediction`: that of this predictor for the image.
    pub fn set(&self, prediction: &Prediction, level: f64) -> Option<Vec<usize>> {
        let conformal = self.bundle.conformal.as_ref()?;
        if !conformal.is_cv_plus() {
            return Some(conformal.set(level, &[&prediction.probabilities]));
        }
        let members: Vec<&[f64]> = prediction.members.iter().map(Vec::as_slice).collect();
        let fold = |it| self.calibrate(self.combine_inputs(&members, Some(it)));
        let folds: Vec<Vec<f64>> = (0..conformal.folds.len()).map(fold).collect();
        Some(conformal.set(level, &folds.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    }

    /// Returns the members.
    ///
    /// - `views`: all views that are loaded.
    fn members(&self, views: &[View]) -> Result<Vec<Forward<'_>>, String> {
        let task = &self.bundle.task;
        let of_member = |member| {
            let own = Member::views(member)?.into_iter();
            let loaded = |view: View| {
                let at = views.iter().position(|it| it.gives_same(&view));
                (view.weight, at.expect("the views of all members are loaded"))
            };
            Ok(Forward {
                member,
                places: task.places(&member.task)?,
                has_numbers: self.number.is_some() && member.number(task) == self.number,
                views: own.map(loaded).collect(),
            })
        };
        self.bundle.members.iter().map(of_member).collect()
    }

    /// Returns the predictions of each member for each image of a batch, `[n][member]`.
    ///
    /// - `loaded`: a batch of each view.
    fn rows(&self, members: &[Forward<'_>], loaded: &[Batch]) -> candle::Result<Vec<Vec<Row>>> {
        let n_images = loaded.first().map_or(0, |it| it.samples.len());
        let mut rows: Vec<Vec<Row>> = (0..n_images).map(|_| Vec::new()).collect();
        for member in members {
            for (of_image, own) in rows.iter_mut().zip(self.forward(member, loaded)?) {
                of_image.push(own);
            }
        }
        Ok(rows)
    }

    /// Returns the predictions of one member for each image of a batch.
    ///
    /// - `loaded`: a batch of each view.
    fn forward(&self, by: &Forward<'_>, loaded: &[Batch]) -> candle::Result<Vec<Row>> {
        let mut views = Vec::new();
        for &(weight, at) in &by.views {
            views.push((weight, self.forward_view(by, &loaded[at])?));
        }
        if let [_] = &views[..] {
            return Ok(views.remove(0).1);
        }
        let merge = by.member.views.get().merge();
        let n_images = views.first().map_or(0, |it| it.1.len());
        let merged = |image: usize| {
            let rows: Vec<(f64, &Row)> = views.iter().map(|(w, it)| (*w, &it[image])).collect();
            merged(&rows, merge)
        };
        Ok((0..n_images).map(merged).collect())
    }

    /// Returns the predictions of one member for one view of each image.
    fn forward_view(&self, by: &Forward<'_>, batch: &Batch) -> candle::Result<Vec<Row>> {
        let Forward { member, places, has_numbers, .. } = by;
        let Batch { images, size, samples, .. } = batch;
        let statistics = member.pipeline.statistics;
        let mut rows = vec![Row::default(); samples.len()];
        let (mean, std) = (statistics.mean, statistics.std);
        let xs = match &self.card {
            None => {
                let pixels = Rows { images, size: *size, samples };
                Value::constant(ops::normalise(pixels, mean, std, &self.device)?)
            }
            Some(card) => {
                let on_card = card.device().upload(images).map_err(candle::Error::wrap)?;
                let pixels = CardRows { images: on_card.whole(), size: *size, samples };
                ops::normalise_on_card(card, pixels, mean, std)?
            }
        };
        for output in member.model.forward_value(xs, &Pass::Eval(&self.packed))? {
            for (row, it) in rows.iter_mut().zip(output.predictions()?.into_iter().flatten()) {
                row.outputs.push(it);
            }
            let numbers = if *has_numbers { output.number()? } else { None };
            for (row, number) in rows.iter_mut().zip(numbers.into_iter().flatten()) {
                row.number.get_or_insert(number);
            }
        }
        let task = &self.bundle.task;
        for row in &mut rows {
            let outputs = task.place(&member.task, places, mem::take(&mut row.outputs));
            row.outputs = match task.joint_of(&outputs) {
                Some(probabilities) => {
                    vec![ScopePrediction { scope: Scope::Joint, probabilities }]
                }
                None => outputs,
            };
        }
        Ok(rows)
    }

    /// Returns the prediction for an image from those of all members.
    fn combine(&self, name: &str, members: Vec<Row>) -> Result<Prediction, PredictError> {
        let Bundle { task, decision, .. } = &self.bundle;
        let is_finite = |it: &ScopePrediction| it.probabilities.iter().all(|p| p.is_finite());
        if !members.iter().all(|it| it.outputs.iter().all(is_finite)) {
            return Err(PredictError::NotFinite(name.to_owned()));
        }
        let number = self.number.map(|_| self.mean_number(&members));
        let outputs: Vec<Vec<ScopePrediction>> = members.into_iter().map(|it| it.outputs).collect();
        let is_whole =
            |it: &Vec<ScopePrediction>| matches!(&it[..], [it] if it.scope == Scope::Joint);
        let combined = match outputs.iter().all(is_whole) {
            true => {
                let all = outputs.iter().map(|it| it[0].probabilities.as_slice());
                self.combine_inputs(&all.collect::<Vec<_>>(), None)
            }
            // Only a soft vote takes members that predict some factors.
            false => task.join(&outputs, &self.weights)?,
        };
        let probabilities = self.calibrate(combined);
        let predicted = decision.decide(task, &probabilities);
        let joint = |it: Vec<ScopePrediction>| {
            let joint = it.into_iter().find(|it| it.scope == Scope::Joint);
            joint.map(|it| it.probabilities).unwrap_or_default()
        };
        let members = outputs.into_iter().map(joint).collect();
        let mut prediction = Prediction { probabilities, predicted, number, members, set: None };
        prediction.set = self.level.and_then(|level| self.set(&prediction, level));
        Ok(prediction)
    }

    fn calibrate(&self, combined: Vec<f64>) -> Vec<f64> {
        match &self.bundle.calibration {
            CalibrationConfig::Off(_) => combined,
            calibration => calibration.get().apply(&combined),
        }
    }

    /// Returns the combination of the inputs: of the means of their members, or of their members of one fold.
    ///
    /// - `all`: the probabilities of the joint classes of each member.
    fn combine_inputs(&self, all: &[&[f64]], fold: Option<usize>) -> Vec<f64> {
        let Bundle { inputs, combine, .. } = &self.bundle;
        if inputs.is_empty() {
            return combine.get().combine(all);
        }
        let (mean, mut rest) = (CombineConfig::default(), all);
        let mut of_input = |&n: &usize| {
            let own;
            (own, rest) = rest.split_at(n);
            mean.get().combine(fold.map_or(own, |it| &own[it..=it]))
        };
        let means: Vec<Vec<f64>> = inputs.iter().map(&mut of_input).collect();
        combine.get().combine(&means.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// Returns the mean number of the members that have one, by the weights of the members.
    fn mean_number(&self, members: &[Row]) -> f64 {
        let weight = |member: usize| self.weights.get(member).copied().unwrap_or(1.0);
        let has_number = |(idx, it): (usize, &Row)| Some((weight(idx), it.number?));
        let numbers: Vec<_> = members.iter().enumerate().filter_map(has_number).collect();
        let total: f64 = numbers.iter().map(|it| it.0).sum();
        numbers.iter().fold(0.0, |sum, (weight, it)| sum + weight * it / total)
    }
}

/// Returns the prediction for an image from those for its views, with their weights.
fn merged(views: &[(f64, &Row)], merge: Merge) -> Row {
    let n_outputs = views.first().map_or(0, |it| it.1.outputs.len());
    let output = |at: usize| {
        let of_views: Vec<(f64, &[f64])> =
            views.iter().map(|(w, it)| (*w, it.outputs[at].probabilities.as_slice())).collect();
        let ScopePrediction { scope, probabilities } = &views[0].1.outputs[at];
        // A maximum would hide NaN.
        let is_finite = of_views.iter().all(|it| it.1.iter().all(|p| p.is_finite()));
        let probabilities = match is_finite {
            true => merge.merge(&of_views),
            false => vec![f64::NAN; probabilities.len()],
        };
        ScopePrediction { scope: *scope, probabilities }
    };
    let number = views.iter().try_fold(0.0, |sum, (w, it)| Some(sum + w * it.number?));
    Row { outputs: (0..n_outputs).map(output).collect(), number }
}
