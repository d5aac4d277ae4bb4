//! Work distribution: each thread takes the items of its own range, and an idle one those that are left of another's;
//! threads spin between operations.
//!
//! Ranges are the same for every operation: of rows of a map, the thread that wrote some of them reads them in the
//! next operation, from its own cache.
//!
//! A training step is some hundreds of operations of a millisecond or less. A rayon thread sleeps after a
//! few idle microseconds, and so does one that waits for the last item; waking it takes tens of
//! microseconds, more on a virtual machine. So threads keep spinning for a while after an item, as those
//! of OpenMP do.

use std::{
    cell::Cell,
    hint::spin_loop,
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
    let ranges = ranges(items.len(), n_threads);
    let cells: Vec<Mutex<(Option<I>, Option<R>)>> =
        items.into_iter().map(|it| Mutex::new((Some(it), None))).collect();
    let take_turns = || {
        let own = rayon::current_thread_index().unwrap_or(0);
        for range in (0..n_threads).map(|it| &ranges[(own + it) % n_threads]) {
            while let Some(idx) = range.take() {
                let _done = Done(&left);
                // No other thread has this index: the lock is free and not poisoned.
                let mut cell = cells[idx].lock().expect("an item is taken once");
                let item = cell.0.take().expect("an item is taken once");
                cell.1 = Some(work(idx, item));
            }
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

/// The items of a thread that are left.
struct Left {
    next: AtomicUsize,
    end: usize,
}

impl Left {
    fn take(&self) -> Option<usize> {
        let idx = self.next.fetch_add(1, Ordering::Relaxed);
        (idx < self.end).then_some(idx)
    }
}

/// Splits items into ranges of similar lengths.
fn ranges(n_items: usize, n: usize) -> Vec<Left> {
    let begin = |it: usize| n_items * it / n;
    (0..n).map(|it| Left { next: AtomicUsize::new(begin(it)), end: begin(it + 1) }).collect()
}

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
        // One takes up to 140 cycles.
        (0..4).for_each(|_| spin_loop());
    } else {
        yield_now();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::catch_unwind,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::{ranges, share};

    #[test]
    fn every_item_is_processed_once_and_in_order() {
        for n in [0, 1, 2, 1000] {
            let made = share((0..n).collect(), |idx, it: usize| (idx, it * it));
            assert!(made.into_iter().eq((0..n).map(|it| (it, it * it))));
        }
    }

    #[test]
    fn ranges_are_consecutive_and_of_similar_lengths() {
        for (n_items, n) in [(2, 2), (7, 2), (7, 3), (8, 8), (100, 7)] {
            let taken: Vec<Vec<usize>> = ranges(n_items, n)
                .iter()
                .map(|it| std::iter::from_fn(|| it.take()).collect())
                .collect();
            assert!(taken.concat().into_iter().eq(0..n_items), "{taken:?}");
            let lens = taken.iter().map(Vec::len);
            assert!(lens.clone().max().unwrap() - lens.min().unwrap() <= 1, "{taken:?}");
        }
    }

    #[test]
    fn an_idle_thread_takes_what_is_left_of_another() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        // The first item ends only when all others have: of both ranges, so they are not one thread's.
        let n_done = AtomicUsize::new(0);
        let work = |idx: usize, ()| {
            while idx == 0 && n_done.load(Ordering::Acquire) < 9 {
                std::thread::yield_now();
            }
            n_done.fetch_add(1, Ordering::Release);
        };
        pool.install(|| share(vec![(); 10], work));
        assert_eq!(n_done.into_inner(), 10);
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
