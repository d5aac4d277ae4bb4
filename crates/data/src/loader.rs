//! The data loader: worker threads load batches of images ahead of time.
//!
//! What is loaded is a [`Load`] for training, or [`LoadViews`](crate::LoadViews) for inference.
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

use crate::{Load, LoadBatches, LoadError};

/// An iterator over batches, in order.
pub struct Loader<L: LoadBatches = Load> {
    shared: Arc<Shared<L>>,
    threads: Vec<JoinHandle<()>>,
    data_wait: Duration,
}

struct Shared<L: LoadBatches> {
    /// The maximum number of finished batches in memory.
    prefetch: usize,
    state: Mutex<State<L>>,
    /// Notified on every change of the state.
    changed: Condvar,
    busy_ns: AtomicU64,
}

/// Batches are numbered across all loads, from the first one that is returned.
struct State<L: LoadBatches> {
    /// The loads that are not used up, each with the number of its first batch.
    parts: VecDeque<(usize, Arc<Part<L>>)>,
    /// The number of batches of all loads.
    n_batches: usize,
    /// The next batch for a thread to load.
    next_to_load: usize,
    /// The next batch to return.
    next_to_return: usize,
    finished: BTreeMap<usize, Result<L::Loaded, LoadError>>,
    stopped: bool,
}

/// A load, and the number of its images before each batch.
struct Part<L> {
    load: L,
    before: Vec<usize>,
}

impl<L: LoadBatches> State<L> {
    fn add(&mut self, load: L) {
        let mut n = 0;
        let count = |batch: &Vec<usize>| {
            n += batch.len();
            n - batch.len()
        };
        let before = load.batches().iter().map(count).collect();
        let n_batches = load.batches().len().saturating_sub(load.first_batch());
        self.parts.push_back((self.n_batches, Arc::new(Part { load, before })));
        self.n_batches += n_batches;
    }

    /// Returns the load that a batch belongs to, and its index there.
    fn find(&self, batch: usize) -> (Arc<Part<L>>, usize) {
        let at = self.parts.partition_point(|(first, _)| *first <= batch) - 1;
        let (first, part) = &self.parts[at];
        (Arc::clone(part), part.load.first_batch() + batch - first)
    }
}

impl<L: LoadBatches> Loader<L> {
    /// Starts the threads.
    pub fn start(load: L) -> Loader<L> {
        let (n_threads, prefetch) = load.workers();
        let (n_threads, prefetch) = (n_threads.max(1), prefetch.max(1));
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
    pub fn add(&self, load: L) {
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

impl<L: LoadBatches> Iterator for Loader<L> {
    type Item = Result<L::Loaded, LoadError>;

    /// Returns the next batch, or `None` after the last.
    fn next(&mut self) -> Option<Result<L::Loaded, LoadError>> {
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

impl<L: LoadBatches> Drop for Loader<L> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was already returned as an error.
            drop(thread.join());
        }
    }
}

impl<L: LoadBatches> Shared<L> {
    fn lock(&self) -> MutexGuard<'_, State<L>> {
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
            let batch = catch_unwind(AssertUnwindSafe(|| part.load.load(at, part.before[at])));
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

#[cfg(test)]
mod tests;
