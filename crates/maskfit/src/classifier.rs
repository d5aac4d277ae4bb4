//! Predicts images with a bundle, from any thread.

use std::{
    io,
    path::Path,
    sync::{Arc, mpsc},
    thread,
};

use augment::{Image, PipelineError, View, apply_views_checked, apply_views_to};
use base::{Task, mix::whole, task::Scope};
use candle::Device;
use data::Batch;
use infer::{Bundle, BundleError, PredictError, Prediction, Predictor};
use rayon::prelude::*;

/// The number of views of images per forward pass.
const BATCH: usize = 32;

/// A bundle that predicts images.
///
/// It is `Send` and `Sync`, and clones share it: a thread of its own holds the weights, and predicts one call after the
/// other, each on all threads of rayon's global pool. The thread ends with the last clone. The probabilities of an image
/// have the same bits in a batch of any size, and those of `maskfit predict` for the same pixels.
#[derive(Clone)]
pub struct Classifier {
    task: Arc<Task>,
    views: Arc<[View]>,
    jobs: mpsc::Sender<Job>,
}

/// Why images could not be predicted.
#[derive(Debug, thiserror::Error)]
pub enum ClassifierError {
    /// The bundle cannot be opened.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// An image cannot be decoded, or not be transformed as the bundle needs it.
    #[error("image {idx}: {source}")]
    Image {
        /// Its position.
        idx: usize,
        /// Why.
        source: PipelineError,
    },
    /// The model cannot predict.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The thread of the model cannot be started.
    #[error("cannot start the thread of the model: {0}")]
    Thread(#[from] io::Error),
    /// The thread of the model has panicked.
    #[error("the thread of the model has ended: this is a bug in maskfit, please report it")]
    Ended,
}

/// Images to predict.
struct Job {
    /// A batch of each view.
    loaded: Vec<Batch>,
    reply: mpsc::Sender<Result<Vec<Prediction>, PredictError>>,
}

impl Classifier {
    /// Opens a bundle: the folder with `bundle.toml`, such as `runs/a/best`, of one model or an ensemble.
    ///
    /// # Errors
    /// No bundle, a damaged one, or one whose operations or backbone this program has not added.
    pub fn open(bundle: &Path) -> Result<Classifier, ClassifierError> {
        let (jobs, submitted) = mpsc::channel();
        let (opened, ready) = mpsc::channel();
        let dir = bundle.to_owned();
        let thread = thread::Builder::new().name("maskfit model".to_owned());
        thread.spawn(move || match open(&dir) {
            Err(err) => drop(opened.send(Err(err))),
            Ok((predictor, views)) => {
                drop(opened.send(Ok((predictor.task().clone(), views))));
                for job in submitted {
                    predict(&predictor, job);
                }
            }
        })?;
        let (task, views) = ready.recv().map_err(|_| ClassifierError::Ended)??;
        Ok(Classifier { task: Arc::new(task), views: views.into(), jobs })
    }

    /// Returns the factors and classes that are predicted.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Returns the names of the joint classes, in the order of [`Prediction::probabilities`].
    pub fn class_names(&self) -> Vec<String> {
        self.task.class_names(Scope::Joint)
    }

    /// Predicts decoded images. Of the result, `probabilities` are those of the joint classes and sum to 1.
    ///
    /// - `images`: RGB8, upright, of any size that the bundle's operations accept.
    ///
    /// # Errors
    /// The first image that an operation refuses, or an output of the network that is not finite.
    pub fn predict(&self, images: &[Image]) -> Result<Vec<Prediction>, ClassifierError> {
        self.predict_views(images.len(), |idx| apply_views_to(&self.views, &images[idx]))
    }

    /// Predicts encoded images as `maskfit predict` does files, bit for bit: a JPEG that is reduced is decoded at a
    /// fraction of its size, and its orientation is heeded.
    ///
    /// - `files`: the bytes of each.
    ///
    /// # Errors
    /// The first image that cannot be decoded or that an operation refuses, or an output of the network that is not
    /// finite.
    pub fn predict_encoded(
        &self,
        files: &[impl AsRef<[u8]> + Sync],
    ) -> Result<Vec<Prediction>, ClassifierError> {
        self.predict_views(files.len(), |idx| apply_views_checked(&self.views, files[idx].as_ref()))
    }

    /// Predicts images.
    ///
    /// - `views`: returns all views of the image at a position.
    fn predict_views(
        &self,
        n_images: usize,
        views: impl Fn(usize) -> Result<Vec<Image>, PipelineError> + Sync,
    ) -> Result<Vec<Prediction>, ClassifierError> {
        let n_each = (BATCH / self.views.len().max(1)).max(1);
        let all: Vec<usize> = (0..n_images).collect();
        let mut predictions = Vec::with_capacity(n_images);
        for chunk in all.chunks(n_each) {
            let n = chunk.len();
            let empty = || Batch {
                images: Vec::new(),
                size: [0, 0],
                samples: whole(n),
                examples: (0..n).collect(),
            };
            let mut loaded: Vec<Batch> = self.views.iter().map(|_| empty()).collect();
            let made: Vec<_> = chunk.par_iter().map(|&idx| (idx, views(idx))).collect();
            for (idx, made) in made {
                let made = made.map_err(|source| ClassifierError::Image { idx, source })?;
                for (batch, image) in loaded.iter_mut().zip(made) {
                    batch.size = [image.height(), image.width()].map(|it| it as usize);
                    batch.images.extend_from_slice(image.as_raw());
                }
            }
            let (reply, replies) = mpsc::channel();
            self.jobs.send(Job { loaded, reply }).map_err(|_| ClassifierError::Ended)?;
            predictions.extend(replies.recv().map_err(|_| ClassifierError::Ended)??);
        }
        Ok(predictions)
    }
}

/// Opens a bundle, and returns the views of an image that it needs.
fn open(dir: &Path) -> Result<(Predictor, Vec<View>), ClassifierError> {
    let predictor = Predictor::new(Bundle::open(dir, &Device::Cpu)?, &Device::Cpu);
    let views = predictor.views()?;
    Ok((predictor, views))
}

/// Predicts images, and replies.
fn predict(predictor: &Predictor, Job { loaded, reply }: Job) {
    let n = loaded.first().map_or(0, |it| it.samples.len());
    let names: Vec<String> = (0..n).map(|it| format!("image {it} of the batch")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let predicted = predictor.predict_loaded(&names, &loaded);
    drop(reply.send(predicted.and_then(|it| it.into_iter().collect())));
}
