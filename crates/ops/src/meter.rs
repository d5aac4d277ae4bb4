//! Where the time of a pass goes: while someone asks, operations say what they do and how long it
//! took.
//!
//! Operations run on the thread that calls them, and share their work among others from there; so
//! the time on that thread is the time of the operation. An operation that calls another is only
//! charged for the rest.

use std::{cell::RefCell, collections::BTreeMap, time::Instant};

/// What operations of one kind did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// How often there was one.
    pub calls: usize,
    /// The time they took.
    pub seconds: f64,
    /// Multiplications and additions.
    pub flops: f64,
    /// Bytes that had to be read or written: each tensor once for each operation that needs it.
    pub bytes: f64,
}

/// Which way a pass goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From images to logits.
    Forward,
    /// From the loss to the gradients.
    Back,
    /// From the gradients to new parameters.
    Update,
}

/// What was spent, by kind of operation, its shape, and way.
pub type Ledger = BTreeMap<(String, String, Way), Spent>;

#[derive(Default)]
struct Meter {
    ledger: Ledger,
    /// For each operation that is under way, the time that it spent in others.
    elsewhere: Vec<f64>,
}

thread_local! {
    static METER: RefCell<Option<Meter>> = const { RefCell::new(None) };
}

/// Runs `f`, and tells what its operations spent.
pub fn metered<R>(f: impl FnOnce() -> R) -> (R, Ledger) {
    METER.set(Some(Meter::default()));
    let result = f();
    (result, METER.take().unwrap_or_default().ledger)
}

/// What one operation is about to do.
pub(crate) struct Job {
    pub(crate) kind: String,
    /// The sizes that tell it from others of its kind.
    pub(crate) shape: String,
    pub(crate) way: Way,
    pub(crate) flops: usize,
    /// Numbers that are read and written.
    pub(crate) numbers: usize,
}

impl Job {
    /// One whose work is not counted.
    pub(crate) fn new(kind: &str, way: Way) -> Job {
        Job { kind: kind.to_owned(), shape: String::new(), way, flops: 0, numbers: 0 }
    }
}

/// Watches an operation until it is dropped, if someone asks.
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
    fn an_operation_is_not_charged_for_those_it_calls() {
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
    fn nobody_asks_by_default() {
        drop(watch(|| unreachable!()));
        assert!(metered(|| ()).1.is_empty());
    }
}
