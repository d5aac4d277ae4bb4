//! Profiling: the time of each operation of a pass, recorded only inside [`profile`].
//!
//! Operations run on the calling thread, and distribute their work to other threads from there; so the
//! time on that thread is the time of the operation. The time of nested operations is not counted for
//! the outer one.

use std::{cell::RefCell, collections::BTreeMap, time::Instant};

/// The totals of operations of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OpTotals {
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
pub enum Phase {
    /// From images to logits.
    Forward,
    /// From the loss to the gradients.
    Backward,
    /// From the gradients to new parameters.
    Update,
}

/// The profile: totals by kind of operation, shape, and phase.
pub type Profile = BTreeMap<(String, String, Phase), OpTotals>;

#[derive(Default)]
struct Profiler {
    profile: Profile,
    /// For each running operation, the time spent in nested operations.
    nested: Vec<f64>,
}

thread_local! {
    static PROFILER: RefCell<Option<Profiler>> = const { RefCell::new(None) };
}

/// Runs `f`, and returns its result and the profile of its operations.
pub fn profile<R>(f: impl FnOnce() -> R) -> (R, Profile) {
    PROFILER.set(Some(Profiler::default()));
    let result = f();
    (result, PROFILER.take().unwrap_or_default().profile)
}

/// The description of one operation.
pub(crate) struct Event {
    pub(crate) kind: String,
    /// The sizes that distinguish it from others of its kind.
    pub(crate) shape: String,
    pub(crate) phase: Phase,
    pub(crate) flops: usize,
    /// The count of numbers read and written.
    pub(crate) numbers: usize,
}

impl Event {
    /// An operation whose work is not counted.
    pub(crate) fn new(kind: &str, phase: Phase) -> Event {
        Event { kind: kind.to_owned(), shape: String::new(), phase, flops: 0, numbers: 0 }
    }
}

/// Measures an operation until the guard is dropped, if profiling is on.
#[must_use]
pub(crate) fn record(event: impl FnOnce() -> Event) -> Recording {
    PROFILER.with_borrow_mut(|profiler| {
        let Some(profiler) = profiler else { return Recording(None) };
        profiler.nested.push(0.0);
        Recording(Some((event(), Instant::now())))
    })
}

/// See [`record`].
pub(crate) struct Recording(Option<(Event, Instant)>);

impl Drop for Recording {
    fn drop(&mut self) {
        let Some((event, began)) = self.0.take() else { return };
        let seconds = began.elapsed().as_secs_f64();
        PROFILER.with_borrow_mut(|profiler| {
            let Some(profiler) = profiler else { return };
            let nested = profiler.nested.pop().unwrap_or_default();
            if let Some(outer) = profiler.nested.last_mut() {
                *outer += seconds;
            }
            let totals =
                profiler.profile.entry((event.kind, event.shape, event.phase)).or_default();
            totals.calls += 1;
            totals.seconds += seconds - nested;
            totals.flops += event.flops as f64;
            totals.bytes += event.numbers as f64 * size_of::<f32>() as f64;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{thread::sleep, time::Duration};

    use super::{Event, Phase, profile, record};

    fn event(kind: &str) -> Event {
        Event { flops: 3, numbers: 2, ..Event::new(kind, Phase::Forward) }
    }

    #[test]
    fn the_time_of_nested_operations_is_not_counted_twice() {
        let ((), profile) = profile(|| {
            let _outer = record(|| event("outer"));
            for _ in 0..2 {
                let _inner = record(|| event("inner"));
                sleep(Duration::from_millis(10));
            }
        });
        let of = |kind: &str| profile[&(kind.to_owned(), String::new(), Phase::Forward)];
        assert!(of("inner").seconds >= 0.02 && of("outer").seconds < 0.01, "{profile:?}");
        assert_eq!((of("inner").calls, of("inner").flops, of("inner").bytes), (2, 6.0, 16.0));
    }

    #[test]
    fn profiling_is_off_by_default() {
        drop(record(|| unreachable!()));
        assert!(profile(|| ()).1.is_empty());
    }
}
