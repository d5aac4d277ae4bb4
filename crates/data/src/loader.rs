//! The data loader: worker threads load batches of images ahead of time.
//!
//! Batch k does not depend on the number of threads: every image has its own random stream, and batches are
//! returned in order. At most `prefetch` finished batches are held in memory.
//!
//! Further loads (the next epoch) may be added at any time: the threads persist, and load their first batches
//! while the last ones of the current epoch are used.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use augment::{Cache, Mixing, Pipeline, PipelineError};
use base::{Seed, mix::MixedSample};

use crate::{CacheDir, Pack, manifest::Content};

/// A batch of images for the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[m, h, w, 3]`, RGB8.
    pub images: Vec<u8>,
    /// `[h, w]` of every image.
    pub size: [usize; 2],
    /// The composition of each row.
    pub samples: Vec<MixedSample>,
    /// The examples of the images, as indices into [`Load::images`]: those of the batch, then the extra
    /// samples that are mixed in.
    pub examples: Vec<usize>,
}

/// What to load: the batches of one epoch.
#[derive(Clone)]
pub struct Load {
    /// The name and the content of each example.
    pub images: Arc<[(String, Content)]>,
    /// The examples of each batch, as indices into `images`.
    pub batches: Vec<Vec<usize>>,
    /// The pipeline of each image.
    pub pipeline: Arc<Pipeline>,
    /// The cache of values computed from the images.
    pub cache: Option<CacheDir>,
    /// The pack of the images, if there is one.
    pub pack: Option<Arc<Pack>>,
    /// The mixing of the rows of each batch.
    pub mixing: Mixing,
    /// The root of the random streams.
    pub seed: Seed,
    /// The common prefix of the random streams: `<stream>/<index among all loaded images>` for an image,
    /// `<stream>/mix/<batch>/<operation>` for the mixing, and `<stream>/guest/<batch>/<index>` for the extra
    /// samples.
    pub stream: String,
    /// The first batch to return; earlier ones were used before the run was stopped.
    pub first_batch: usize,
    /// The number of threads; 0 means 1. Ignored by [`Loader::add`].
    pub n_threads: usize,
    /// The maximum number of finished batches in memory; 0 means 1. Ignored by [`Loader::add`].
    pub prefetch: usize,
}

/// Why a batch could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file of an image cannot be read.
    #[error("{name}: {source}")]
    Io {
        /// The image.
        name: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is not an image, or a transform cannot be applied to it.
    #[error("{name}: {source}")]
    Image {
        /// The image.
        name: String,
        /// The reason.
        source: PipelineError,
    },
    /// The images of the pipeline differ in size.
    #[error("{0}")]
    Size(String),
    /// A bug in a transform.
    #[error("a loader thread panicked: {0}")]
    Panic(String),
}

/// An iterator over batches, in order.
pub struct Loader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    data_wait: Duration,
}

struct Shared {
    /// The maximum number of finished batches in memory.
    prefetch: usize,
    state: Mutex<State>,
    /// Notified on every change of the state.
    changed: Condvar,
    busy_ns: AtomicU64,
}

/// Batches are numbered across all loads, from the first one that is returned.
struct State {
    /// The loads that are not used up, each with the number of its first batch.
    parts: VecDeque<(usize, Arc<Part>)>,
    /// The number of batches of all loads.
    n_batches: usize,
    /// The next batch for a thread to load.
    next_to_load: usize,
    /// The next batch to return.
    next_to_return: usize,
    finished: BTreeMap<usize, Result<Batch, LoadError>>,
    stopped: bool,
}

/// A load, and the number of its images before each batch.
struct Part {
    load: Load,
    before: Vec<usize>,
}

impl State {
    fn add(&mut self, load: Load) {
        let mut n = 0;
        let count = |batch: &Vec<usize>| {
            n += batch.len();
            n - batch.len()
        };
        let before = load.batches.iter().map(count).collect();
        let n_batches = load.batches.len().saturating_sub(load.first_batch);
        self.parts.push_back((self.n_batches, Arc::new(Part { load, before })));
        self.n_batches += n_batches;
    }

    /// Returns the load that a batch belongs to, and its index there.
    fn find(&self, batch: usize) -> (Arc<Part>, usize) {
        let at = self.parts.partition_point(|(first, _)| *first <= batch) - 1;
        let (first, part) = &self.parts[at];
        (Arc::clone(part), part.load.first_batch + batch - first)
    }
}

impl Loader {
    /// Starts the threads.
    pub fn start(load: Load) -> Loader {
        let (prefetch, n_threads) = (load.prefetch.max(1), load.n_threads.max(1));
        let mut state = State {
            parts: VecDeque::new(),
            n_batches: 0,
            next_to_load: 0,
            next_to_return: 0,
            finished: BTreeMap::new(),
            stopped: false,
        };
        state.add(load);
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { prefetch, state, changed, busy_ns: AtomicU64::new(0) });
        let worker = |_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.work())
        };
        let threads = (0..n_threads).map(worker).collect();
        Loader { shared, threads, data_wait: Duration::ZERO }
    }

    /// Appends a load, with the number of threads and the prefetching of the first one.
    pub fn add(&self, load: Load) {
        self.shared.lock().add(load);
        self.shared.changed.notify_all();
    }

    /// Returns the total time that the threads have worked so far.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.shared.busy_ns.load(Ordering::Relaxed))
    }

    /// Returns the total data wait of [`next`](Iterator::next) so far.
    pub fn data_wait(&self) -> Duration {
        self.data_wait
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, LoadError>;

    /// Returns the next batch, or `None` after the last.
    fn next(&mut self) -> Option<Result<Batch, LoadError>> {
        let began = Instant::now();
        let shared = &self.shared;
        let mut state = shared.lock();
        if state.next_to_return >= state.n_batches {
            return None;
        }
        let batch = loop {
            let want = state.next_to_return;
            if let Some(batch) = state.finished.remove(&want) {
                break batch;
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.next_to_return += 1;
        let next = state.next_to_return;
        while state.parts.get(1).is_some_and(|(first, _)| *first <= next) {
            state.parts.pop_front();
        }
        drop(state);
        shared.changed.notify_all();
        self.data_wait += began.elapsed();
        Some(batch)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was already returned as an error.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed in single steps, so it is consistent even if a holder of the lock panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one thread: loads batch after batch, while there is room for them.
    fn work(&self) {
        loop {
            let mut state = self.lock();
            let idx = loop {
                if state.stopped {
                    return;
                }
                let end = state.n_batches.min(state.next_to_return + self.prefetch);
                if state.next_to_load < end {
                    break state.next_to_load;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.next_to_load += 1;
            let (part, at) = state.find(idx);
            drop(state);
            let began = Instant::now();
            let batch = catch_unwind(AssertUnwindSafe(|| part.load.batch(at, part.before[at])));
            drop(part);
            let busy_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.busy_ns.fetch_add(busy_ns, Ordering::Relaxed);
            let batch = batch.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&it| it.to_owned()));
                Err(LoadError::Panic(text.unwrap_or_default()))
            });
            self.lock().finished.insert(idx, batch);
            self.changed.notify_all();
        }
    }
}

impl Load {
    /// Loads one batch, which is a function of its index only.
    ///
    /// - `before`: the number of images in the batches before it.
    fn batch(&self, idx: usize, before: usize) -> Result<Batch, LoadError> {
        let mut examples = self.batches[idx].clone();
        let n_own = examples.len();
        let cache = self.cache.as_ref().map(|it| it as &dyn Cache);
        let size = self.pipeline.size().map_err(LoadError::Size)?;
        let stream = |name: &str| self.seed.stream(&format!("{}/{name}", self.stream));
        let mix_stream = |entry| stream(&format!("mix/{idx}/{entry}"));
        let plan = self.mixing.plan(idx, n_own, size, mix_stream);
        examples.extend(plan.extras);
        let mut images = Vec::with_capacity(examples.len() * size[0] * size[1] * 3);
        for (offset, &example) in examples.iter().enumerate() {
            let (name, content) = &self.images[example];
            let mut rng = match offset.checked_sub(n_own) {
                None => stream(&(before + offset).to_string()),
                Some(extra) => stream(&format!("guest/{idx}/{extra}")),
            };
            let io = |source| LoadError::Io { name: name.clone(), source };
            let image = match &self.pack {
                Some(pack) => self.pipeline.finish(pack.image(example).map_err(io)?, &mut rng),
                None => self.pipeline.apply(&content.bytes().map_err(io)?, &mut rng, cache),
            };
            let image = image.map_err(|source| LoadError::Image { name: name.clone(), source })?;
            images.extend_from_slice(image.as_raw());
        }
        Ok(Batch { images, size, samples: plan.rows, examples })
    }
}

#[cfg(test)]
mod tests;
