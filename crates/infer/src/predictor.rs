//! The predictor: a bundle's answers for images, as joint probabilities.

use std::sync::Arc;

use augment::{Mixing, Pipeline};
use base::{
    Seed, Task,
    task::{MissingFactor, ScopePrediction},
};
use candle::Device;
use data::{Batch, Content, Load, LoadError, Loader, Remembered};
use ops::{Pass, Rows};

use crate::bundle::{Bundle, Member};

/// PredictedBatch for images.
pub struct Predictor {
    task: Task,
    members: Vec<Member>,
    device: Device,
}

/// What is said of images.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictedBatch {
    /// The probabilities of the joint classes, `[n][class]`.
    pub probabilities: Vec<Vec<f64>>,
    /// The age in years, the mean over the members, where every member has a head that says years.
    pub years: Option<Vec<f64>>,
}

/// What is said of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The probabilities of the joint classes, `[class]`.
    pub probabilities: Vec<f64>,
    /// The age in years, the mean over the members, where every member has a head that says years.
    pub years: Option<f64>,
}

/// What one member's heads say of a batch.
struct MemberOutput {
    answers: Vec<Vec<ScopePrediction>>,
    /// Where a head says years.
    years: Option<Vec<f64>>,
}

/// How images are served; changes nothing of the answers.
#[derive(Clone, Debug)]
pub struct Serving {
    /// How many images the network sees at once.
    pub batch_size: usize,
    /// Threads that load images.
    pub num_workers: usize,
    /// Batches that wait at most.
    pub prefetch: usize,
    /// What remembers what is worked out of the images on the way.
    pub memory: Option<Remembered>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// An image could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The members leave a factor open.
    #[error(transparent)]
    MissingFactor(#[from] MissingFactor),
    /// The network answers with something that is no number.
    #[error(
        "the network's answer for {0} is no number: its weights are damaged, or it has diverged"
    )]
    NotFinite(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

impl Predictor {
    /// A predictor with a bundle's members.
    pub fn new(bundle: Bundle, device: &Device) -> Predictor {
        Predictor { task: bundle.task, members: bundle.members, device: device.clone() }
    }

    /// What the classes mean.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// What is said of each image.
    ///
    /// `progress` is told how many images of how many are done.
    ///
    /// # Errors
    /// As [`Predictor::predict_each`].
    pub fn predict(
        &self,
        images: &Arc<[(String, Content)]>,
        serving: Serving,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<PredictedBatch, PredictError> {
        let (mut probabilities, mut years) = (Vec::new(), Some(Vec::new()));
        self.predict_each(images, serving, &mut |it: Prediction| {
            probabilities.push(it.probabilities);
            years = years.take().zip(it.years).map(|(mut years, own)| {
                years.push(own);
                years
            });
            progress(probabilities.len(), images.len());
            Ok::<_, PredictError>(())
        })?;
        Ok(PredictedBatch { probabilities, years })
    }

    /// Predicts each image and hands on what comes of it, in order; holds no more than the batches that
    /// wait.
    ///
    /// # Errors
    /// An image that cannot be loaded, a network that answers with no number, or what `each` says.
    pub fn predict_each<E: From<PredictError>>(
        &self,
        images: &Arc<[(String, Content)]>,
        serving: Serving,
        each: &mut dyn FnMut(Prediction) -> Result<(), E>,
    ) -> Result<(), E> {
        // Members that see the same of an image share it.
        let sees_same = |a: &Pipeline, b: &Pipeline| a.ops == b.ops && a.max_pixels == b.max_pixels;
        let mut pipelines: Vec<&Pipeline> = Vec::new();
        let mut loader_of = Vec::new();
        for member in &self.members {
            let there = pipelines.iter().position(|it| sees_same(it, &member.pipeline));
            loader_of.push(there.unwrap_or(pipelines.len()));
            if there.is_none() {
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
                memory: serving.memory.clone(),
                mixing: Mixing::default(),
                // An evaluation pipeline draws nothing.
                seed: Seed(0),
                stream: "serve".to_owned(),
                first_batch: 0,
                n_threads: serving.num_workers,
                prefetch: serving.prefetch,
            })
        };
        let mut loaders: Vec<Loader> = pipelines.iter().map(start).collect();
        for examples in &batches {
            let loaded = loaders.iter_mut().map(|it| it.next().expect("a loader has every batch"));
            let loaded = loaded.collect::<Result<Vec<_>, _>>().map_err(PredictError::from)?;
            let mut answers: Vec<Vec<Vec<ScopePrediction>>> = vec![Vec::new(); examples.len()];
            let mut years = vec![Some(0.0); examples.len()];
            for (member, &loader) in self.members.iter().zip(&loader_of) {
                let Batch { images: bytes, size, samples, .. } = &loaded[loader];
                let rows = Rows { images: bytes, size: *size, samples };
                let said = self.ask(member, rows).map_err(PredictError::from)?;
                for (row, said) in said.answers.into_iter().enumerate() {
                    let is_finite =
                        |it: &ScopePrediction| it.probabilities.iter().all(|p| p.is_finite());
                    if !said.iter().all(is_finite) {
                        let name = images[examples[row]].0.clone();
                        return Err(PredictError::NotFinite(name).into());
                    }
                    answers[row].push(said);
                }
                let n = self.members.len() as f64;
                for (row, years) in years.iter_mut().enumerate() {
                    *years = years.zip(said.years.as_ref()).map(|(sum, own)| sum + own[row] / n);
                }
            }
            for (answers, years) in answers.iter().zip(years) {
                let probabilities = self.task.join(answers).map_err(PredictError::from)?;
                each(Prediction { probabilities, years })?;
            }
        }
        Ok(())
    }

    /// What one member's heads say of each row.
    fn ask(&self, member: &Member, rows: Rows<'_>) -> candle::Result<MemberOutput> {
        let statistics = member.pipeline.statistics;
        let n_rows = rows.samples.len();
        let xs = ops::normalise(rows, statistics.mean, statistics.std, &self.device)?;
        let mut said = MemberOutput { answers: vec![Vec::new(); n_rows], years: None };
        for output in member.model.forward(&xs, &Pass::Eval)? {
            for (said, answer) in
                said.answers.iter_mut().zip(output.predictions()?.into_iter().flatten())
            {
                said.push(answer);
            }
            said.years = said.years.or(output.years()?);
        }
        Ok(said)
    }
}
