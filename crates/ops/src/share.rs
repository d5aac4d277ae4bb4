//! Work shared among threads: whoever is free takes the next piece, and nobody sleeps in between.
//!
//! A step of training is some hundreds of operations of a millisecond or less. A thread of rayon's sleeps
//! once it has found nothing to do for some microseconds, and so does one that waits for the last
//! piece; to wake it takes tens of them, on a virtual machine more. So threads stay awake for a while
//! after a piece of work, as those of OpenMP do.

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

/// How long a thread without work stays awake.
const PATIENCE: Duration = Duration::from_millis(1);

/// How long it does nothing else meanwhile; from then on others may have its core.
const SELFISH: Duration = Duration::from_micros(50);

/// Does `work` with each of the items and their positions, and returns what it made of them, in their
/// order.
pub(crate) fn share<I: Send, R: Send>(
    items: Vec<I>,
    work: impl Fn(usize, I) -> R + Sync,
) -> Vec<R> {
    let n_threads = rayon::current_num_threads().min(items.len());
    if n_threads <= 1 {
        return items.into_iter().enumerate().map(|(idx, it)| work(idx, it)).collect();
    }
    keep_awake();
    let (next, left) = (AtomicUsize::new(0), AtomicUsize::new(items.len()));
    let cells: Vec<Mutex<(Option<I>, Option<R>)>> =
        items.into_iter().map(|it| Mutex::new((Some(it), None))).collect();
    let take_turns = || {
        loop {
            let idx = next.fetch_add(1, Ordering::Relaxed);
            let Some(cell) = cells.get(idx) else { break };
            let _done = Done(&left);
            // Nobody else has this position: nobody waits, and nobody has panicked.
            let mut cell = cell.lock().expect("a piece is taken once");
            let item = cell.0.take().expect("a piece is taken once");
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
            rest(begun);
        }
    });
    let made = cells.into_iter().map(|it| it.into_inner().ok().and_then(|it| it.1));
    made.map(|it| it.expect("every piece was made")).collect()
}

/// Counts a piece as done, even where it panics.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Threads that are awake, or about to be.
static AWAKE: AtomicUsize = AtomicUsize::new(0);

/// Sees to it that all other threads look for work for a while.
fn keep_awake() {
    let others = rayon::current_num_threads() - 1;
    for _ in AWAKE.load(Ordering::Relaxed)..others {
        AWAKE.fetch_add(1, Ordering::Relaxed);
        rayon::spawn(|| {
            look_for_work();
            AWAKE.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn look_for_work() {
    thread_local! {
        static LOOKS: Cell<bool> = const { Cell::new(false) };
    }
    // The first of the threads may be the one that shares work, and has its own to do; one that looks
    // already finds this as work.
    if rayon::current_thread_index() == Some(0) || LOOKS.replace(true) {
        return;
    }
    let mut since = Instant::now();
    while since.elapsed() < PATIENCE {
        match rayon::yield_now() {
            Some(Yield::Executed) => since = Instant::now(),
            _ => rest(since),
        }
    }
    LOOKS.set(false);
}

/// Lets a moment pass.
fn rest(since: Instant) {
    if since.elapsed() < SELFISH {
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
    fn every_piece_is_made_once_and_in_order() {
        for n in [0, 1, 2, 1000] {
            let made = share((0..n).collect(), |idx, it: usize| (idx, it * it));
            assert!(made.into_iter().eq((0..n).map(|it| (it, it * it))));
        }
    }

    #[test]
    fn work_may_share_its_own() {
        let made = share(vec![10, 20, 30], |_, n: usize| {
            share((0..n).collect(), |_, it: usize| it).into_iter().sum::<usize>()
        });
        assert_eq!(made, [45, 190, 435]);
    }

    #[test]
    fn a_panic_reaches_who_asked() {
        for bad in [0, 99] {
            let run = || share((0..100).collect(), |_, it: usize| assert_ne!(it, bad)).len();
            assert!(catch_unwind(run).is_err());
        }
        assert_eq!(share(vec![1, 2], |_, it| it + 1), [2, 3]);
    }
}
