//! The thread of a model: it owns the predictor, and predicts decoded images in batches.
//!
//! Images are decoded before, by other threads; a batch is whatever is decoded when the thread is free, up to
//! `batch_size`. It waits up to `max_wait` for images that are still being decoded, and not at all where there are
//! none, so that a single client gets the shortest response time and many get full batches.
//!
//! The probabilities of an image do not depend on its batch: at inference no sum is split by it.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use augment::{Pipeline, View};
use base::{Task, mix::whole};
use candle::Device;
use data::Batch;
use infer::{Bundle, Member, Prediction, Predictor};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    explainers::{Ask, Explainers},
    metrics::Metrics,
    options::{Batching, Source},
};

/// The places for images of a model that are accepted and not predicted yet.
#[derive(Clone)]
pub(crate) struct Queue {
    places: Arc<Semaphore>,
    size: usize,
}

impl Queue {
    pub(crate) fn new(size: usize) -> Queue {
        Queue { places: Arc::new(Semaphore::new(size)), size }
    }

    /// The number of images.
    pub(crate) fn len(&self) -> usize {
        self.size.saturating_sub(self.places.available_permits())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// Takes `n` places, if there are as many.
    pub(crate) fn enter(&self, n: usize) -> Option<OwnedSemaphorePermit> {
        let n = u32::try_from(n).ok()?;
        Arc::clone(&self.places).try_acquire_many_owned(n).ok()
    }
}

/// A decoded image.
pub(crate) struct Job {
    pub(crate) name: String,
    /// A batch of one image for each view.
    pub(crate) views: Vec<Batch>,
    /// The probability with which its set holds the true class, if a set is asked for.
    pub(crate) level: Option<f64>,
    /// When it was decoded.
    pub(crate) since: Instant,
    pub(crate) reply: oneshot::Sender<Result<Prediction, String>>,
    /// Its place in the queue.
    pub(crate) place: OwnedSemaphorePermit,
}

/// What the thread of a model does.
enum Work {
    Predict(Job),
    Explain(Ask),
}

/// What is known of a model outside of its thread.
pub(crate) struct About {
    pub(crate) task: Task,
    /// The views of an image, with the server's limit on pixels.
    pub(crate) views: Vec<View>,
    /// The pipeline of each member, with the server's limit on pixels.
    pub(crate) pipelines: Vec<Pipeline>,
    /// The factor whose number is predicted.
    pub(crate) number: Option<String>,
    pub(crate) has_sets: bool,
    /// The largest number of pixels of an image.
    pub(crate) max_pixels: u64,
    /// The first digits of the checksum of its description, which has the checksums of its weights.
    pub(crate) version: String,
}

/// What a model is opened with.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) source: Source,
    pub(crate) batching: Batching,
    pub(crate) max_pixels: u64,
    pub(crate) queue: Queue,
    pub(crate) metrics: Arc<Metrics>,
}

/// A running model; its thread ends when this is dropped, after what was submitted.
pub(crate) struct Worker {
    pub(crate) about: About,
    jobs: Sender<Work>,
}

impl Worker {
    /// Opens a model on its own thread, and predicts an image with it, so that its weights are packed.
    ///
    /// # Errors
    /// A bundle that cannot be opened, or cannot predict.
    pub(crate) fn start(setup: Setup) -> Result<Worker, String> {
        let (jobs, submitted) = mpsc::channel();
        let (opened, about) = mpsc::channel();
        let name = format!("model {}", setup.source.name);
        let started = thread::Builder::new().name(name).spawn(move || {
            // The threads of a forward pass are this one and others; those of rayon's global pool would be one too
            // many.
            let pool = rayon::ThreadPoolBuilder::new().use_current_thread().build();
            let ready = pool.map_err(|err| err.to_string()).and_then(|pool| {
                let (predictor, explainers, about) = open(&setup)?;
                Ok((pool, predictor, explainers, about))
            });
            match ready {
                Err(reason) => drop(opened.send(Err(reason))),
                Ok((_pool, predictor, mut explainers, about)) => {
                    let n_each = (setup.batching.batch_size / about.views.len().max(1)).max(1);
                    // Whoever waited for it is gone: so is the sender of jobs.
                    drop(opened.send(Ok(about)));
                    let max_wait = setup.batching.max_wait;
                    let mut explain = |ask| explain(&mut explainers, ask);
                    let mut next =
                        || collect(&submitted, &setup.queue, n_each, max_wait, &mut explain);
                    while let Some(batch) = next() {
                        predict(&predictor, batch, &setup);
                    }
                }
            }
        });
        started.map_err(|err| format!("cannot start its thread: {err}"))?;
        let about = about.recv().unwrap_or_else(|_| Err("opening it failed".to_owned()))?;
        Ok(Worker { about, jobs })
    }

    /// Submits a decoded image; its reply is dropped if the thread has ended.
    pub(crate) fn submit(&self, job: Job) {
        drop(self.jobs.send(Work::Predict(job)));
    }

    /// Submits an image to explain; its reply is dropped if the thread has ended.
    pub(crate) fn explain(&self, ask: Ask) {
        drop(self.jobs.send(Work::Explain(ask)));
    }
}

/// Returns the version of the bundles of a model: that of [`About`].
///
/// # Errors
/// A description that cannot be read.
pub(crate) fn version(source: &Source) -> Result<String, String> {
    let mut hash = Sha256::new();
    for dir in &source.dirs {
        let path = dir.join("bundle.toml");
        let bytes = fs::read(&path).map_err(|err| format!("{}: {err}", path.display()))?;
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    }
    Ok(hash.finalize().iter().take(6).map(|it| format!("{it:02x}")).collect())
}

fn open(setup: &Setup) -> Result<(Predictor, Explainers, About), String> {
    // Before the bundle: if it is replaced meanwhile, the version is an old one, and it is opened again.
    let version = version(&setup.source);
    let mut bundles = Vec::new();
    for dir in &setup.source.dirs {
        let bundle = Bundle::open(dir, &Device::Cpu).map_err(|err| err.to_string())?;
        bundles.push((dir.display().to_string(), bundle));
    }
    let bundle = Bundle::join(bundles, &[])?;
    let of_members = bundle.members.iter().map(|it| it.pipeline.max_pixels).min();
    let max_pixels = of_members.unwrap_or(u64::MAX).min(setup.max_pixels);
    let number = bundle.number().map(|it| bundle.task.factors[it].name.clone());
    let (task, has_sets) = (bundle.task.clone(), bundle.conformal.is_some());
    let of_member = |it: &Member| Pipeline { max_pixels, ..it.pipeline.clone() };
    let pipelines = bundle.members.iter().map(of_member).collect();
    let explainers = Explainers::new(bundle.clone());
    let predictor = Predictor::new(bundle, &Device::Cpu);
    let mut views = predictor.views().map_err(|err| err.to_string())?;
    let warm_up = views.iter().map(pattern).collect::<Result<Vec<_>, _>>()?;
    let warmed = predictor.predict_loaded(&["a test pattern"], &warm_up);
    let warmed = warmed.and_then(|it| it.into_iter().collect::<Result<Vec<_>, _>>());
    warmed.map_err(|err| err.to_string())?;
    views.iter_mut().for_each(|it| it.pipeline.max_pixels = max_pixels);
    let about = About { task, views, pipelines, number, has_sets, max_pixels, version: version? };
    Ok((predictor, explainers, about))
}

/// Returns a view of a test pattern.
fn pattern(view: &View) -> Result<Batch, String> {
    let size = view.pipeline.size()?;
    let images = (0..size[0] * size[1] * 3).map(|it| (it * 31 % 256) as u8).collect();
    Ok(Batch { images, size, samples: whole(1), examples: vec![0] })
}

/// Returns the next batch, at least one image; `None` after the last.
///
/// - `explain`: what is done with images to explain.
fn collect(
    jobs: &Receiver<Work>,
    queue: &Queue,
    n_most: usize,
    max_wait: Duration,
    explain: &mut dyn FnMut(Ask),
) -> Option<Vec<Job>> {
    let mut batch: Vec<Job> = Vec::new();
    while batch.len() < n_most {
        let work = match (jobs.try_recv(), batch.first()) {
            (Ok(work), _) => work,
            (Err(TryRecvError::Disconnected), None) => return None,
            (Err(TryRecvError::Disconnected), Some(_)) => break,
            (Err(TryRecvError::Empty), None) => jobs.recv().ok()?,
            // All that were accepted are here.
            (Err(TryRecvError::Empty), Some(_)) if queue.len() <= batch.len() => break,
            (Err(TryRecvError::Empty), Some(first)) => {
                let left = max_wait.saturating_sub(first.since.elapsed());
                match jobs.recv_timeout(left) {
                    Ok(work) => work,
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
        };
        match work {
            Work::Explain(ask) => explain(ask),
            Work::Predict(job) if !job.reply.is_closed() => batch.push(job),
            // Nobody waits for it: its request has timed out.
            Work::Predict(_) => {}
        }
    }
    Some(batch)
}

/// Predicts a batch, and replies to each of its images.
fn predict(predictor: &Predictor, batch: Vec<Job>, setup: &Setup) {
    let begun = Instant::now();
    let loaded = stacked(&batch);
    let names: Vec<&str> = batch.iter().map(|it| it.name.as_str()).collect();
    let predicted = catch_unwind(AssertUnwindSafe(|| {
        let predictions =
            predictor.predict_loaded(&names, &loaded).map_err(|err| err.to_string())?;
        let with_set = |(it, job): (Result<Prediction, _>, &Job)| {
            let mut prediction = it.map_err(|err: infer::PredictError| err.to_string())?;
            prediction.set = job.level.and_then(|level| predictor.set(&prediction, level));
            Ok(prediction)
        };
        Ok(predictions.into_iter().zip(&batch).map(with_set).collect::<Vec<_>>())
    }));
    let predicted: Result<Vec<Result<Prediction, String>>, String> =
        predicted.unwrap_or_else(|_| Err("this is a bug in maskfit, please report it".to_owned()));
    setup.metrics.batch(&setup.source.name, batch.len(), begun.elapsed());
    if let Err(err) = &predicted {
        tracing::error!(model = setup.source.name, "a batch failed: {err}");
    }
    let n_images = batch.len();
    let results = predicted.unwrap_or_else(|err| vec![Err(err); n_images]);
    for (Job { reply, place, .. }, result) in batch.into_iter().zip(results) {
        // First, so that who gets the reply finds a place for the next image.
        drop(place);
        drop(reply.send(result));
    }
}

/// Explains an image.
fn explain(explainers: &mut Explainers, Ask { image, question, reply, place }: Ask) {
    if reply.is_closed() {
        return;
    }
    let explained = catch_unwind(AssertUnwindSafe(|| explainers.explain(image, &question)));
    drop(place);
    // After a panic, which was printed, there is none.
    if let Ok(explained) = explained {
        drop(reply.send(explained));
    }
}

/// Returns a batch of all images for each view.
fn stacked(jobs: &[Job]) -> Vec<Batch> {
    let n_views = jobs.first().map_or(0, |it| it.views.len());
    let view = |idx: usize| {
        let parts: Vec<&Batch> = jobs.iter().filter_map(|it| it.views.get(idx)).collect();
        Batch {
            images: parts.iter().map(|it| it.images.as_slice()).collect::<Vec<_>>().concat(),
            size: parts.first().map_or([0, 0], |it| it.size),
            samples: whole(jobs.len()),
            examples: (0..jobs.len()).collect(),
        }
    };
    (0..n_views).map(view).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc,
        time::{Duration, Instant},
    };

    use tokio::sync::oneshot;

    use super::{Job, Queue, Work, collect};

    type Reply = oneshot::Receiver<Result<infer::Prediction, String>>;

    fn job(queue: &Queue) -> (Job, Reply) {
        let (reply, response) = oneshot::channel();
        let place = queue.enter(1).unwrap();
        let name = String::new();
        let job = Job { name, views: Vec::new(), level: None, since: Instant::now(), reply, place };
        (job, response)
    }

    #[test]
    fn a_batch_waits_only_for_images_that_were_accepted() {
        let (queue, (jobs, submitted)) = (Queue::new(9), mpsc::channel());
        let next = |n, wait| collect(&submitted, &queue, n, wait, &mut |_| {});
        let long = Duration::from_secs(3600);
        let mut replies = Vec::new();
        let mut submit = || {
            let (job, reply) = job(&queue);
            jobs.send(Work::Predict(job)).unwrap();
            replies.push(reply);
        };
        // Two wait and no other was accepted: it takes no hour.
        submit();
        submit();
        let batch = next(8, long).unwrap();
        assert_eq!((batch.len(), queue.len()), (2, 2));
        drop(batch);
        // A third was accepted, and never arrives: as long as it may.
        let place = queue.enter(1);
        submit();
        let begun = Instant::now();
        let batch = next(8, Duration::from_millis(30)).unwrap();
        assert_eq!(batch.len(), 1);
        assert!(begun.elapsed() >= Duration::from_millis(25));
        drop((batch, place));
        // No more than the maximum, and then the rest.
        (0..5).for_each(|_| submit());
        assert_eq!(next(3, long).unwrap().len(), 3);
        drop(jobs);
        assert_eq!(next(3, long).unwrap().len(), 2);
        assert!(next(3, long).is_none());
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn an_image_that_nobody_waits_for_is_left_out() {
        let (queue, (jobs, submitted)) = (Queue::new(2), mpsc::channel());
        let (gone, reply) = job(&queue);
        drop(reply);
        let (kept, _reply) = job(&queue);
        assert!(queue.enter(1).is_none());
        jobs.send(Work::Predict(gone)).unwrap();
        jobs.send(Work::Predict(kept)).unwrap();
        let batch = collect(&submitted, &queue, 2, Duration::ZERO, &mut |_| {});
        assert_eq!(batch.unwrap().len(), 1);
    }
}
