//! The predictor: runs a bundle on images and returns joint class probabilities.

use std::sync::Arc;

use augment::{Mixing, Pipeline};
use base::{
    Seed, Task,
    task::{MissingFactor, Scope, ScopePrediction},
};
use candle::Device;
use data::{Batch, CacheDir, Content, Load, LoadError, Loader};
use ops::{Pass, Rows};

use crate::bundle::{Bundle, Member};

/// Predicts images with the ensemble of a bundle's members.
pub struct Predictor {
    task: Task,
    members: Vec<Member>,
    device: Device,
}

/// The predictions for several images.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictedBatch {
    /// The probabilities of the joint classes, `[n][class]`.
    pub probabilities: Vec<Vec<f64>>,
    /// The predicted numbers, such as ages, `[n]`, averaged over the members; `None` unless every member has a
    /// head that predicts the number of the same factor.
    pub numbers: Option<Vec<f64>>,
}

/// The prediction for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The probabilities of the joint classes, `[class]`.
    pub probabilities: Vec<f64>,
    /// The predicted number, such as an age, averaged over the members; `None` unless every member has a head
    /// that predicts the number of the same factor.
    pub number: Option<f64>,
}

/// The predictions of one member's heads for a batch.
struct MemberOutput {
    /// `[n][head output]`.
    predictions: Vec<Vec<ScopePrediction>>,
    /// The scope of the number that a head predicts, if one does, and the numbers, `[n]`.
    numbers: Option<(Scope, Vec<f64>)>,
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
    /// The output of the network is not finite (NaN or infinite).
    #[error(
        "the network's output for {0} is not finite (NaN or infinite): its weights are damaged, or it has diverged"
    )]
    NotFinite(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

impl Predictor {
    /// Creates a predictor with a bundle's members.
    pub fn new(bundle: Bundle, device: &Device) -> Predictor {
        Predictor { task: bundle.task, members: bundle.members, device: device.clone() }
    }

    /// Returns the task: the factors and classes that are predicted.
    pub fn task(&self) -> &Task {
        &self.task
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
    ) -> Result<PredictedBatch, PredictError> {
        let (mut probabilities, mut numbers) = (Vec::new(), Some(Vec::new()));
        self.predict_each(images, serving, &mut |it: Prediction| {
            probabilities.push(it.probabilities);
            numbers = numbers.take().zip(it.number).map(|(mut numbers, own)| {
                numbers.push(own);
                numbers
            });
            progress(probabilities.len(), images.len());
            Ok::<_, PredictError>(())
        })?;
        Ok(PredictedBatch { probabilities, numbers })
    }

    /// Predicts each image and passes the predictions to `each`, in order; holds no more in memory than the
    /// prefetched batches.
    ///
    /// # Errors
    /// An image that cannot be loaded, an output of the network that is not finite, or an error of `each`.
    pub fn predict_each<E: From<PredictError>>(
        &self,
        images: &Arc<[(String, Content)]>,
        serving: Serving,
        each: &mut dyn FnMut(Prediction) -> Result<(), E>,
    ) -> Result<(), E> {
        // Members whose pipelines give the same images share a loader.
        let gives_same =
            |a: &Pipeline, b: &Pipeline| a.ops == b.ops && a.max_pixels == b.max_pixels;
        let mut pipelines: Vec<&Pipeline> = Vec::new();
        let mut loader_of = Vec::new();
        for member in &self.members {
            let known = pipelines.iter().position(|it| gives_same(it, &member.pipeline));
            loader_of.push(known.unwrap_or(pipelines.len()));
            if known.is_none() {
                pipelines.push(&member.pipeline);
            }
        }
        let order: Vec<usize> = (0..images.len()).collect();
        let batches: Vec<_> =
            order.chunks(serving.batch_size.max(1)).map(<[usize]>::to_vec).collect();
        let start = |pipeline: &&Pipeline| {
            Loader::start(Load {
                images: Arc::clone(images),
                batches: batches.clone(),
                pack: None,
                pipeline: Arc::new((*pipeline).clone()),
                cache: serving.cache.clone(),
                mixing: Mixing::default(),
                // An evaluation pipeline is deterministic.
                seed: Seed(0),
                stream: "serve".to_owned(),
                first_batch: 0,
                n_threads: serving.num_workers,
                prefetch: serving.prefetch,
            })
        };
        let mut loaders: Vec<Loader> = pipelines.iter().map(start).collect();
        for examples in &batches {
            let loaded = loaders.iter_mut().map(|it| it.next().expect("loaders yield all batches"));
            let loaded = loaded.collect::<Result<Vec<_>, _>>().map_err(PredictError::from)?;
            // `[n][member][head output]`.
            let mut predictions: Vec<Vec<Vec<ScopePrediction>>> = vec![Vec::new(); examples.len()];
            let (mut numbers, mut scope) = (vec![Some(0.0); examples.len()], None);
            for (member, &loader) in self.members.iter().zip(&loader_of) {
                let Batch { images: bytes, size, samples, .. } = &loaded[loader];
                let rows = Rows { images: bytes, size: *size, samples };
                let output = self.forward(member, rows).map_err(PredictError::from)?;
                for (row, own) in output.predictions.into_iter().enumerate() {
                    let is_finite =
                        |it: &ScopePrediction| it.probabilities.iter().all(|p| p.is_finite());
                    if !own.iter().all(is_finite) {
                        let name = images[examples[row]].0.clone();
                        return Err(PredictError::NotFinite(name).into());
                    }
                    predictions[row].push(own);
                }
                let n = self.members.len() as f64;
                let own = output.numbers.filter(|it| *scope.get_or_insert(it.0) == it.0);
                for (row, number) in numbers.iter_mut().enumerate() {
                    *number = number.zip(own.as_ref()).map(|(sum, own)| sum + own.1[row] / n);
                }
            }
            for (predictions, number) in predictions.iter().zip(numbers) {
                let probabilities = self.task.join(predictions).map_err(PredictError::from)?;
                each(Prediction { probabilities, number })?;
            }
        }
        Ok(())
    }

    /// Returns the predictions of one member's heads for each row.
    fn forward(&self, member: &Member, rows: Rows<'_>) -> candle::Result<MemberOutput> {
        let statistics = member.pipeline.statistics;
        let n_rows = rows.samples.len();
        let xs = ops::normalise(rows, statistics.mean, statistics.std, &self.device)?;
        let mut all = MemberOutput { predictions: vec![Vec::new(); n_rows], numbers: None };
        for output in member.model.forward(&xs, &Pass::Eval)? {
            for (own, prediction) in
                all.predictions.iter_mut().zip(output.predictions()?.into_iter().flatten())
            {
                own.push(prediction);
            }
            let numbers = output.number()?.map(|it| (output.scope, it));
            all.numbers = all.numbers.or(numbers);
        }
        Ok(all)
    }
}
