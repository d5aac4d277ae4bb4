//! The loader: images in batches, made ahead by threads of its own.
//!
//! Batch k is the same whatever the number of threads: every image has a random stream of its own,
//! and batches are handed out in order. At most `prefetch` finished batches wait in memory.
//!
//! What comes after (the next epoch) may be added at any time: the threads live on, and make its first
//! batches while the last ones of before are used.

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

use augment::{Memory, Mixing, Pipeline, PipelineError};
use base::{Seed, mix::MixedSample};

use crate::{Pack, Remembered, manifest::Content};

/// Images on their way to the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[m, h, w, 3]`, RGB8.
    pub images: Vec<u8>,
    /// `[h, w]` of every image.
    pub size: [usize; 2],
    /// What each row is made of.
    pub samples: Vec<MixedSample>,
    /// Which examples the images are, as positions in what was loaded: those of the batch, and those
    /// that were loaded to be mixed in.
    pub examples: Vec<usize>,
}

/// What is to be loaded.
#[derive(Clone)]
pub struct Load {
    /// What each example is called, and where its bytes are.
    pub images: Arc<[(String, Content)]>,
    /// The examples batch by batch, as positions in `images`.
    pub batches: Vec<Vec<usize>>,
    /// What happens to each image.
    pub pipeline: Arc<Pipeline>,
    /// What remembers what is worked out of the images on the way.
    pub memory: Option<Remembered>,
    /// The images as the pipeline prepares them, where that has been done.
    pub pack: Option<Arc<Pack>>,
    /// What happens to the rows of each batch.
    pub mixing: Mixing,
    /// The root of the random streams.
    pub seed: Seed,
    /// The streams' common name: `<stream>/<position among all that is loaded>` for an image,
    /// `<stream>/mix/<batch>/<operation>` for what is mixed, and `<stream>/guest/<batch>/<position>`
    /// for the images that are loaded for it.
    pub stream: String,
    /// The first batch to hand out; those before were seen in an earlier life.
    pub first_batch: usize,
    /// How many threads; 0 is taken for 1. Of what is [added](Loader::add), nobody asks.
    pub n_threads: usize,
    /// How many batches may wait; 0 is taken for 1. Of what is [added](Loader::add), nobody asks.
    pub prefetch: usize,
}

/// Why an image did not come.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its file cannot be read.
    #[error("{name}: {source}")]
    Io {
        /// The image.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no image, or none that the operations can be applied to.
    #[error("{name}: {source}")]
    Image {
        /// The image.
        name: String,
        /// Why.
        source: PipelineError,
    },
    /// A pipeline whose images differ in size.
    #[error("{0}")]
    Size(String),
    /// A bug in an operation.
    #[error("a loader thread ended early: {0}")]
    Panic(String),
}

/// Hands out batches in order.
pub struct Loader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    waited: Duration,
}

struct Shared {
    /// How many finished batches may wait.
    prefetch: usize,
    state: Mutex<State>,
    /// Told whenever a batch is finished or taken.
    changed: Condvar,
    busy_ns: AtomicU64,
}

/// Batches are counted through all that is loaded, beginning with the first that is handed out.
struct State {
    /// What is to be loaded that has not been handed out whole, with the count of its first batch.
    parts: VecDeque<(usize, Arc<Part>)>,
    /// How many batches there are in all.
    n_batches: usize,
    /// The next batch that a thread begins.
    next_to_make: usize,
    /// The next batch that is handed out.
    next_to_give: usize,
    finished: BTreeMap<usize, Result<Batch, LoadError>>,
    stopped: bool,
}

/// What is to be loaded, and how many of its images come before each batch.
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

    /// What a batch belongs to, and its position there.
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
            next_to_make: 0,
            next_to_give: 0,
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
        Loader { shared, threads, waited: Duration::ZERO }
    }

    /// Loads this after all that is loaded already, with the threads and as far ahead as at first.
    pub fn add(&self, load: Load) {
        self.shared.lock().add(load);
        self.shared.changed.notify_all();
    }

    /// How long the threads have been at work so far, all together.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.shared.busy_ns.load(Ordering::Relaxed))
    }

    /// How long [`next`](Iterator::next) has waited for data so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, LoadError>;

    /// The next batch, or `None` after the last.
    fn next(&mut self) -> Option<Result<Batch, LoadError>> {
        let began = Instant::now();
        let shared = &self.shared;
        let mut state = shared.lock();
        if state.next_to_give >= state.n_batches {
            return None;
        }
        let batch = loop {
            let want = state.next_to_give;
            if let Some(batch) = state.finished.remove(&want) {
                break batch;
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.next_to_give += 1;
        let next = state.next_to_give;
        while state.parts.get(1).is_some_and(|(first, _)| *first <= next) {
            state.parts.pop_front();
        }
        drop(state);
        shared.changed.notify_all();
        self.waited += began.elapsed();
        Some(batch)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic has been handed out as an error already.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed in single steps, so it is sound whatever happened to its holder.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread: makes batch after batch, while there is room for them.
    fn work(&self) {
        loop {
            let mut state = self.lock();
            let idx = loop {
                if state.stopped {
                    return;
                }
                let end = state.n_batches.min(state.next_to_give + self.prefetch);
                if state.next_to_make < end {
                    break state.next_to_make;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.next_to_make += 1;
            let (part, at) = state.find(idx);
            drop(state);
            let began = Instant::now();
            let batch = catch_unwind(AssertUnwindSafe(|| part.load.make(at, part.before[at])));
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
    /// Makes one batch: a function of its position and nothing else.
    ///
    /// - `before`: how many images the batches before it have.
    fn make(&self, idx: usize, before: usize) -> Result<Batch, LoadError> {
        let mut examples = self.batches[idx].clone();
        let n_own = examples.len();
        let memory = self.memory.as_ref().map(|it| it as &dyn Memory);
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
                None => self.pipeline.apply(&content.bytes().map_err(io)?, &mut rng, memory),
            };
            let image = image.map_err(|source| LoadError::Image { name: name.clone(), source })?;
            images.extend_from_slice(image.as_raw());
        }
        Ok(Batch { images, size, samples: plan.rows, examples })
    }
}

#[cfg(test)]
mod tests;
