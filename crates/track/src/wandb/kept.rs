//! Truncates a log to the step that a run resumes from.

use std::time::Duration;

use super::{
    log::{begin_log, records},
    record::{HISTORY, RUN, RUNTIME, SUMMARY},
};
use crate::protobuf::{Field, fields, find};

/// The part of a log that a resumed run keeps.
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    pub(super) n_records: u64,
    /// The run time up to there.
    pub(super) runtime: Duration,
}

impl Kept {
    /// A log without records.
    pub(super) fn empty() -> Kept {
        Kept { bytes: begin_log().to_vec(), n_records: 0, runtime: Duration::ZERO }
    }

    /// Returns the part for a run that resumes after `step` steps: the run record, and all records up to that
    /// step's summary. Images of a later step, which are logged before its scalars, are dropped.
    ///
    /// # Errors
    /// A log that is damaged before that step: the steps after the damage would be lost.
    pub(super) fn of(log: &[u8], step: usize) -> Result<Kept, String> {
        let (records, is_damaged) = records(log);
        let (mut kept, mut last_step, mut has_run) = (Kept::empty(), 0, false);
        let mut end = 0;
        for (idx, (record, record_end)) in records.iter().enumerate() {
            if let Some(Field::Bytes(history)) = find(record, HISTORY) {
                let of_step = step_of(history).unwrap_or(last_step);
                if of_step > step as u64 {
                    break;
                }
                last_step = of_step;
                kept.runtime = runtime_of(history).unwrap_or(kept.runtime);
            } else if find(record, RUN).is_some() {
                has_run = true;
            } else if find(record, SUMMARY).is_none() {
                continue;
            }
            (end, kept.n_records) = (*record_end, idx as u64 + 1);
        }
        if is_damaged && last_step < step as u64 {
            return Err(format!(
                "the log is damaged after step {last_step}, but the run resumes after step {step}"
            ));
        }
        Ok(match has_run {
            true => Kept { bytes: log[..end].to_vec(), ..kept },
            false => Kept::empty(),
        })
    }
}

/// Returns the step of a `HistoryRecord`.
pub(super) fn step_of(history: &[u8]) -> Option<u64> {
    let Some(Field::Bytes(of_step)) = find(history, 2) else { return None };
    let Some(Field::Whole(step)) = find(of_step, 1) else { return None };
    Some(step)
}

/// Returns the run time up to a `HistoryRecord`.
pub(super) fn runtime_of(history: &[u8]) -> Option<Duration> {
    let is_runtime = |item: &&[u8]| find(item, 2) == Some(Field::Bytes(RUNTIME.as_bytes()));
    let items = fields(history).filter_map(|it| match it {
        (1, Field::Bytes(item)) => Some(item),
        _ => None,
    });
    let item = { items }.find(is_runtime)?;
    let Some(Field::Bytes(json)) = find(item, 16) else { return None };
    Duration::try_from_secs_f64(std::str::from_utf8(json).ok()?.parse().ok()?).ok()
}
