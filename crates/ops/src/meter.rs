//! Profiling: the time of each operation of a pass, recorded only inside [`metered`].
//!
//! Operations run on the calling thread, and distribute their work to other threads from there; so the
//! time on that thread is the time of the operation. The time of nested operations is not counted for
//! the outer one.

use std::{cell::RefCell, collections::BTreeMap, time::Instant};

/// The totals of operations of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// The number of calls.
    pub calls: usize,
    /// Their self time, in seconds.
    pub seconds: f64,
    /// Multiplications and additions.
    pub flops: f64,
    /// Bytes read and written: each tensor once per operation that uses it.
    pub bytes: f64,
}

/// The phase of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From images to logits.
    Forward,
    /// From the loss to the gradients.
    Back,
    /// From the gradients to new parameters.
    Update,
}

/// The profile: totals by kind of operation, shape, and phase.
pub type Ledger = BTreeMap<(String, String, Way), Spent>;

#[derive(Default)]
struct Meter {
    ledger: Ledger,
    /// For each running operation, the time spent in nested operations.
    elsewhere: Vec<f64>,
}

thread_local! {
    static METER: RefCell<Option<Meter>> = const { RefCell::new(None) };
}

/// Runs `f`, and returns its result and the profile of its operations.
pub fn metered<R>(f: impl FnOnce() -> R) -> (R, Ledger) {
    METER.set(Some(Meter::default()));
    let result = f();
    (result, METER.take().unwrap_or_default().ledger)
}

/// The description of one operation.
pub(crate) struct Job {
    pub(crate) kind: String,
    /// The sizes that distinguish it from others of its kind.
    pub(crate) shape: String,
    pub(crate) way: Way,
    pub(crate) flops: usize,
    /// The count of numbers read and written.
    pub(crate) numbers: usize,
}

impl Job {
    /// An operation whose work is not counted.
    pub(crate) fn new(kind: &str, way: Way) -> Job {
        Job { kind: kind.to_owned(), shape: String::new(), way, flops: 0, numbers: 0 }
    }
}

/// Measures an operation until the guard is dropped, if metering is on.
#[must_use]
pub(crate) fn watch(job: impl FnOnce() -> Job) -> Watch {
    METER.with_borrow_mut(|meter| {
        let Some(meter) = meter else { return Watch(None) };
        meter.elsewhere.push(0.0);
        Watch(Some((job(), Instant::now())))
    })
}

/// See [`watch`].
pub(crate) struct Watch(Option<(Job, Instant)>);

impl Drop for Watch {
    fn drop(&mut self) {
        let Some((job, began)) = self.0.take() else { return };
        let seconds = began.elapsed().as_secs_f64();
        METER.with_borrow_mut(|meter| {
            let Some(meter) = meter else { return };
            let elsewhere = meter.elsewhere.pop().unwrap_or_default();
            if let Some(outer) = meter.elsewhere.last_mut() {
                *outer += seconds;
            }
            let spent = meter.ledger.entry((job.kind, job.shape, job.way)).or_default();
            spent.calls += 1;
            spent.seconds += seconds - elsewhere;
            spent.flops += job.flops as f64;
            spent.bytes += job.numbers as f64 * size_of::<f32>() as f64;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{thread::sleep, time::Duration};

    use super::{Job, Way, metered, watch};

    fn job(kind: &str) -> Job {
        Job { flops: 3, numbers: 2, ..Job::new(kind, Way::Forward) }
    }

    #[test]
    fn the_time_of_nested_operations_is_not_counted_twice() {
        let ((), ledger) = metered(|| {
            let _outer = watch(|| job("outer"));
            for _ in 0..2 {
                let _inner = watch(|| job("inner"));
                sleep(Duration::from_millis(10));
            }
        });
        let of = |kind: &str| ledger[&(kind.to_owned(), String::new(), Way::Forward)];
        assert!(of("inner").seconds >= 0.02 && of("outer").seconds < 0.01, "{ledger:?}");
        assert_eq!((of("inner").calls, of("inner").flops, of("inner").bytes), (2, 6.0, 16.0));
    }

    #[test]
    fn metering_is_off_by_default() {
        drop(watch(|| unreachable!()));
        assert!(metered(|| ()).1.is_empty());
    }
}
