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
mod tests {
    use std::sync::Arc;

    use augment::{MixOpConfig, Mixing, Pipeline, StatisticsConfig, Step, TransformConfig};
    use base::{Seed, Task};

    use super::{Batch, Load, LoadError, Loader};
    use crate::{Content, Context, Source as _, SyntheticPeople};

    fn load(n_threads: usize, first_batch: usize) -> Load {
        let people = SyntheticPeople {
            n_people: 4,
            n_test: 0,
            size: [32, 24],
            wrong_labels: 0.0,
            flipped: 0.0,
            seed: 0,
        };
        let context = Context { cache: None, max_pixels: 1 << 20, progress: &|_, _| {} };
        let manifest = people.read(&context).unwrap();
        let images = manifest.examples.into_iter().map(|it| (it.name, it.content)).collect();
        let ops = TransformConfig::zoo().into_iter().map(|(_, it)| it.into());
        let mut ops: Vec<Step> = ops.collect();
        // What studies an image comes first, as it must.
        ops.sort_by_key(|it| !it.studies());
        // The zoo's sizes are ImageNet's; a small resize goes last.
        ops.push(toml::from_str("kind = \"resize\"\nsize = [16, 12]").unwrap());
        let statistics = StatisticsConfig::default().get().known().unwrap();
        let pipeline = Arc::new(Pipeline { ops, statistics, max_pixels: 1 << 20 });
        let order: Vec<usize> = (0..28).rev().collect();
        let batches = order.chunks(5).map(<[usize]>::to_vec).collect();
        let stream = "augment/0".to_owned();
        Load {
            images,
            batches,
            pipeline,
            memory: None,
            pack: None,
            mixing: Mixing::default(),
            seed: Seed(1),
            stream,
            first_batch,
            n_threads,
            prefetch: 2,
        }
    }

    fn all(load: Load) -> Vec<Batch> {
        let mut loader = Loader::start(load);
        std::iter::from_fn(|| loader.next()).map(|it| it.unwrap()).collect()
    }

    #[test]
    fn the_number_of_threads_does_not_change_the_batches() {
        let one = all(load(1, 0));
        assert_eq!(one.len(), 6);
        assert_eq!((one[0].examples.len(), one[5].examples.len()), (5, 3));
        assert!(one == all(load(4, 0)));
    }

    #[test]
    fn a_later_start_sees_the_same_later_batches() {
        assert!(all(load(1, 0))[4..] == all(load(2, 4)));
    }

    /// Three epochs of other batches, sizes and lengths, of which the first begins in its midst.
    fn epochs(n_threads: usize) -> Vec<Load> {
        let mut loads = vec![load(n_threads, 4), load(n_threads, 0), mixed(n_threads, 0)];
        let small = toml::from_str("kind = \"resize\"\nsize = [8, 6]").unwrap();
        Arc::make_mut(&mut loads[1].pipeline).ops.push(small);
        loads[1].batches = (0..28).collect::<Vec<_>>().chunks(3).map(<[usize]>::to_vec).collect();
        for (epoch, load) in loads.iter_mut().enumerate() {
            load.stream = format!("augment/{epoch}");
        }
        loads
    }

    #[test]
    fn one_loader_of_several_epochs_gives_what_one_for_each_does() {
        let want: Vec<Batch> = epochs(1).into_iter().flat_map(all).collect();
        assert_eq!(want.len(), 2 + 10 + 6);
        for n_threads in [1, 4] {
            let mut loads = epochs(n_threads).into_iter();
            // All at once; and each as soon as the one before it is begun, as training does.
            let mut loader = Loader::start(loads.next().unwrap());
            loads.for_each(|it| loader.add(it));
            let got: Vec<Batch> =
                std::iter::from_fn(|| loader.next()).map(Result::unwrap).collect();
            assert!(got == want, "{n_threads} threads");

            let mut loads = epochs(n_threads).into_iter();
            let mut loader = Loader::start(loads.next().unwrap());
            let mut got = Vec::new();
            for n in [2, 10, 6] {
                loads.next().into_iter().for_each(|it| loader.add(it));
                got.extend((0..n).map(|_| loader.next().unwrap().unwrap()));
            }
            assert!(got == want && loader.next().is_none(), "{n_threads} threads, one by one");
        }
    }

    #[test]
    fn the_next_epoch_is_begun_before_this_one_is_used_up() {
        // Its first batch cannot be made, and is there when this epoch's last one has been taken.
        let mut next = load(1, 0);
        next.images = vec![("gone".to_owned(), Content::File("no/such.jpg".into())); 28].into();
        let mut loader = Loader::start(load(1, 5));
        loader.add(next);
        let began = std::time::Instant::now();
        while loader.shared.lock().finished.len() < 2 {
            assert!(began.elapsed().as_secs() < 60, "nothing of the next epoch is made");
            std::thread::yield_now();
        }
        assert!(loader.next().unwrap().is_ok());
        assert!(loader.next().unwrap().unwrap_err().to_string().starts_with("gone: "));
    }

    #[test]
    fn a_loader_that_has_given_all_waits_for_more_or_for_its_end() {
        let mut loader = Loader::start(load(3, 5));
        assert!(loader.next().unwrap().is_ok() && loader.next().is_none());
        loader.add(load(1, 5));
        assert!(loader.next().unwrap().is_ok() && loader.next().is_none());
        drop(loader);
    }

    #[test]
    fn an_image_is_seen_anew_each_time() {
        let mut load = load(1, 0);
        load.batches = vec![vec![3, 3], vec![3]];
        let batches = all(load);
        let (first, second) = batches[0].images.split_at(batches[1].images.len());
        assert!(first != second && first != batches[1].images && second != batches[1].images);
    }

    /// The same batches with half of each row another's, and every mixing after that.
    fn mixed(n_threads: usize, first_batch: usize) -> Load {
        let half = "kind = \"half_cutmix\"\np = 0.5\nper = \"example\"\n\
                    from = { factor = \"age\", level = \"30-59\" }";
        let mut ops: Vec<MixOpConfig> = vec![toml::from_str(half).unwrap()];
        ops.extend(MixOpConfig::zoo().into_iter().map(|it| it.1));
        // Of a task in which examples 0 to 9 are of the level that is asked for.
        let examples: Vec<(usize, usize)> = (0..28).map(|it| (it, usize::from(it < 10))).collect();
        let task = Task::mask_gender_age();
        let mixing = Mixing::new(&ops, &task, &examples, |_| 0).unwrap();
        Load { mixing, ..load(n_threads, first_batch) }
    }

    #[test]
    fn mixed_batches_are_a_function_of_their_position() {
        let one = all(mixed(1, 0));
        assert!(one == all(mixed(4, 0)));
        assert!(one[4..] == all(mixed(2, 4)));
        for (batch, plain) in one.iter().zip(all(load(1, 0))) {
            let n = plain.examples.len();
            assert!(batch.images.starts_with(&plain.images), "its own images differ");
            assert_eq!((batch.samples.len(), &batch.examples[..n]), (n, &plain.examples[..]));
            assert!(batch.examples[n..].iter().all(|&it| it < 10), "{:?}", batch.examples);
            assert_eq!(batch.images.len(), batch.examples.len() * 16 * 12 * 3);
            assert!(batch.samples.iter().all(|it| it.over.is_some()));
        }
        // A extra has a stream of its own.
        let (idx, batch) =
            one.iter().enumerate().find(|(_, it)| it.examples.len() > it.samples.len()).unwrap();
        let n_own = batch.samples.len();
        let Load { images, pipeline, seed, .. } = mixed(1, 0);
        let bytes = images[batch.examples[n_own]].1.bytes().unwrap().into_owned();
        let mut rng = seed.stream(&format!("augment/0/guest/{idx}/0"));
        let extra = pipeline.apply(&bytes, &mut rng, None).unwrap();
        assert!(batch.images[n_own * 16 * 12 * 3..].starts_with(extra.as_raw()));
    }

    #[test]
    fn an_image_that_cannot_be_read_is_named() {
        let mut load = load(2, 0);
        let mut images = load.images.to_vec();
        images[27].1 = Content::File("no/such.jpg".into());
        images[20].1 = Content::Memory(b"no image".as_slice().into());
        load.images = images.into();
        let mut loader = Loader::start(load);
        let err = |it: Option<Result<Batch, LoadError>>| it.unwrap().unwrap_err().to_string();
        assert!(err(loader.next()).contains("No such file"));
        assert!(err(loader.next()).contains("this is not an image"));
        assert!(loader.next().unwrap().is_ok());
    }

    #[test]
    fn a_loader_that_is_dropped_early_stops_its_threads() {
        let mut loader = Loader::start(load(3, 0));
        loader.next().unwrap().unwrap();
        drop(loader);
    }
}
