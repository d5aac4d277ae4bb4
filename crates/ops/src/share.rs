//! Dynamic work distribution, and threads that spin between operations.
//!
//! Each thread has a range of the items, and takes them in order, so that it often has in its cache what the item
//! before prefetched, or what it wrote in the operation before. A thread that has done its own takes the last of
//! another's.
//!
//! A training step is some hundreds of operations of a millisecond or less. A rayon thread sleeps after a
//! few idle microseconds, and so does one that waits for the last item; waking it takes tens of
//! microseconds, more on a virtual machine. So threads keep spinning for a while after an item, as those
//! of OpenMP do.

use std::{
    cell::Cell,
    hint::spin_loop,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::yield_now,
    time::{Duration, Instant},
};

use rayon::Yield;

/// How long an idle thread stays awake.
const AWAKE_TIME: Duration = Duration::from_millis(1);

/// How long it spins before it starts yielding its core.
const SPIN_TIME: Duration = Duration::from_micros(50);

/// Calls `work` on each item and its index in parallel, and returns the results in order.
pub(crate) fn share<I: Send, R: Send>(
    items: Vec<I>,
    work: impl Fn(usize, I) -> R + Sync,
) -> Vec<R> {
    let n_threads = rayon::current_num_threads().min(items.len());
    if n_threads <= 1 {
        return items.into_iter().enumerate().map(|(idx, it)| work(idx, it)).collect();
    }
    keep_awake();
    let left = AtomicUsize::new(items.len());
    let begin = |thread: usize| thread * items.len() / n_threads;
    let of_thread = |thread: usize| Mutex::new(begin(thread)..begin(thread + 1));
    let queues: Vec<Queue> = (0..n_threads).map(of_thread).collect();
    let cells: Vec<Mutex<(Option<I>, Option<R>)>> =
        items.into_iter().map(|it| Mutex::new((Some(it), None))).collect();
    let next_of = |queue: &Queue| queue.lock().expect("nothing panics meanwhile").next();
    let last_of = |queue: &Queue| queue.lock().expect("nothing panics meanwhile").next_back();
    let take_turns = || {
        let (before, own) = queues.split_at(rayon::current_thread_index().unwrap_or(0) % n_threads);
        let others = || own[1..].iter().chain(before);
        while let Some(idx) = next_of(&own[0]).or_else(|| others().find_map(last_of)) {
            let cell = &cells[idx];
            let _done = Done(&left);
            // No other thread has this index: the lock is free and not poisoned.
            let mut cell = cell.lock().expect("an item is taken once");
            let item = cell.0.take().expect("an item is taken once");
            cell.1 = Some(work(idx, item));
        }
    };
    rayon::in_place_scope(|scope| {
        for _ in 1..n_threads {
            scope.spawn(|_| take_turns());
        }
        take_turns();
        let begun = Instant::now();
        while left.load(Ordering::Acquire) > 0 {
            pause(begun);
        }
    });
    let made = cells.into_iter().map(|it| it.into_inner().ok().and_then(|it| it.1));
    made.map(|it| it.expect("every item was processed")).collect()
}

/// The indices of a thread's items that are left.
type Queue = Mutex<Range<usize>>;

/// Counts an item as done, even if it panics.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// The number of threads that are awake, or about to be.
static AWAKE: AtomicUsize = AtomicUsize::new(0);

/// Makes all other threads poll for work for a while.
fn keep_awake() {
    let others = rayon::current_num_threads() - 1;
    for _ in AWAKE.load(Ordering::Relaxed)..others {
        AWAKE.fetch_add(1, Ordering::Relaxed);
        rayon::spawn(|| {
            poll_for_work();
            AWAKE.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn poll_for_work() {
    thread_local! {
        static POLLS: Cell<bool> = const { Cell::new(false) };
    }
    // The first thread may be the one that distributes work, and has its own items; a thread that polls
    // already may pick up this call as work.
    if rayon::current_thread_index() == Some(0) || POLLS.replace(true) {
        return;
    }
    let mut since = Instant::now();
    while since.elapsed() < AWAKE_TIME {
        match rayon::yield_now() {
            Some(Yield::Executed) => since = Instant::now(),
            _ => pause(since),
        }
    }
    POLLS.set(false);
}

/// Waits for a moment.
fn pause(since: Instant) {
    if since.elapsed() < SPIN_TIME {
        (0..16).for_each(|_| spin_loop());
    } else {
        yield_now();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::share;

    #[test]
    fn every_item_is_processed_once_and_in_order() {
        for n in [0, 1, 2, 1000] {
            let made = share((0..n).collect(), |idx, it: usize| (idx, it * it));
            assert!(made.into_iter().eq((0..n).map(|it| (it, it * it))));
        }
    }

    #[test]
    fn calls_may_be_nested() {
        let made = share(vec![10, 20, 30], |_, n: usize| {
            share((0..n).collect(), |_, it: usize| it).into_iter().sum::<usize>()
        });
        assert_eq!(made, [45, 190, 435]);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        for bad in [0, 99] {
            let run = || share((0..100).collect(), |_, it: usize| assert_ne!(it, bad)).len();
            assert!(catch_unwind(run).is_err());
        }
        assert_eq!(share(vec![1, 2], |_, it| it + 1), [2, 3]);
    }
}
