//! How much memory a run needs, estimated before its first step: a killed process can say nothing.
//!
//! A step and an answer on two and on six blank images are measured, of a network made for it; what more
//! images need lies on the line through the two.

use candle::Result;

use crate::{learner::Learner, plan::Plan};

/// How many images are measured.
const FEW: [usize; 2] = [2, 6];

/// Pixels of an image that is measured, at most.
const LARGE: f64 = 320.0 * 320.0;

/// What freed memory costs that fits nothing new.
const SLACK: f64 = 1.15;

/// The bytes that a run needs at a time.
pub(crate) struct Need {
    /// The network, the optimizer, averages and a checkpoint on its way to disk; and what the loaders hold.
    kept: f64,
    step: Line,
    answer: Line,
    /// Images that go through the network at a time.
    n_step: usize,
    n_eval: usize,
}

/// Bytes by images.
struct Line {
    of_none: f64,
    of_one: f64,
}

impl Line {
    /// The line through what is held while `work` does [`FEW`] images of `[height, width]`; of large ones
    /// on smaller images, for what an image needs grows with its area.
    fn measure(size: [usize; 2], work: impl Fn(usize, [usize; 2]) -> Result<()>) -> Result<Line> {
        let area = |[h, w]: [usize; 2]| (h * w) as f64;
        let shrink = (area(size) / LARGE).sqrt().max(1.0);
        let seen = size.map(|it| (it as f64 / shrink).ceil() as usize);
        let work = |n| work(n, seen);
        let held = |n: usize| {
            let (done, n_bytes) = ops::held(|| work(n));
            done.map(|()| n_bytes as f64)
        };
        let [few, more] = FEW;
        let (of_few, of_more) = (held(few)?, held(more)?);
        let of_one = (of_more - of_few) / (more - few) as f64;
        let of_none = (of_few - of_one * few as f64).max(0.0);
        Ok(Line { of_none, of_one: of_one.max(0.0) * area(size) / area(seen) })
    }

    fn of(&self, n: usize) -> f64 {
        self.of_none + self.of_one * n as f64
    }

    /// How many images fit, in eights where it is so many.
    fn that_fit(&self, free: f64) -> usize {
        let n = ((free - self.of_none) / self.of_one.max(1.0)).max(0.0) as usize;
        if n >= 8 { n / 8 * 8 } else { n }
    }
}

impl Need {
    /// Measures; none where memory is not counted.
    pub(crate) fn measure(plan: &Plan) -> std::result::Result<Option<Need>, crate::FitError> {
        let (learner, of_learner) =
            ops::held(|| plan.bare_model().map(|it| Learner::new(plan, it)));
        let learner = learner??;
        if of_learner == 0 {
            return Ok(None);
        }
        let experiment = &plan.experiment;
        let largest = |it: &(usize, [usize; 2])| it.0 * it.1[0] * it.1[1];
        let steps = (0..plan.epochs.n_begun()).map(|it| {
            let size = plan.seen(it).0.size().unwrap_or_default();
            (plan.batch_size(it).min(plan.sides.train.len()), size)
        });
        let (batch_size, size) = steps.max_by_key(largest).unwrap_or_default();
        let n_step = batch_size.div_ceil(experiment.train.accumulate);
        let answered = plan.eval_pipeline.size().unwrap_or_default();
        let n_valid = plan.sides.valid.len().max(plan.scored.len());
        let n_eval = experiment.eval.batch_size.min(n_valid);
        let waiting = experiment.data.prefetch + experiment.data.num_workers;
        let of_batch = |n: usize, size: [usize; 2]| (n * size[0] * size[1] * 3) as f64;
        let of_batch = of_batch(batch_size, size).max(of_batch(n_eval, answered));
        Ok(Some(Need {
            // A checkpoint is copied, and the copy becomes the bytes of a file.
            kept: 3.0 * of_learner as f64 + of_batch * (waiting + 1) as f64,
            step: Line::measure(size, |n, size| learner.blank_step(n, size))?,
            answer: Line::measure(answered, |n, size| learner.blank_eval(n, size))?,
            n_step,
            n_eval,
        }))
    }

    /// Bytes in all.
    pub(crate) fn bytes(&self) -> f64 {
        SLACK * (self.kept + self.step.of(self.n_step).max(self.answer.of(self.n_eval)))
    }

    /// What to do where only `free` bytes are there.
    pub(crate) fn remedy(&self, plan: &Plan, free: f64) -> String {
        let free = free / SLACK - self.kept;
        let n = self.step.that_fit(free);
        let mut remedies = Vec::new();
        if n < self.n_step && n >= 2 {
            let n_parts = (self.n_step * plan.experiment.train.accumulate).div_ceil(n);
            remedies.push(format!(
                "`train.batch_size = {n}` would fit, or `train.accumulate = {n_parts}`, which takes a step \
                 part by part"
            ));
        }
        let n_eval = self.answer.that_fit(free);
        if n_eval < self.n_eval && n_eval >= 1 {
            remedies.push(format!("`eval.batch_size = {n_eval}` would fit"));
        }
        if n < 2 || n_eval == 0 {
            return "take smaller images (`augment.train`, `augment.eval`) or a smaller network \
                    (`model.backbone`)"
                .to_owned();
        }
        remedies.join("; ")
    }
}

/// Bytes that are free for this program: what the machine has left, or its container.
pub(crate) fn free() -> Option<f64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let of_machine = Some(system.available_memory()).filter(|&it| it > 0);
    let pid = sysinfo::get_current_pid().ok()?;
    let what = sysinfo::ProcessRefreshKind::nothing();
    let only = sysinfo::ProcessesToUpdate::Some(&[pid]);
    system.refresh_processes_specifics(only, false, what);
    let limits = system.process(pid).and_then(sysinfo::Process::cgroup_limits);
    // Files that are only remembered give way: what counts is what programs hold.
    let of_container = limits.map(|it| it.total_memory.saturating_sub(it.rss));
    of_machine.into_iter().chain(of_container).min().map(|it| it as f64)
}

#[cfg(test)]
mod tests {
    use super::{Line, free};

    #[test]
    fn what_fits_is_on_the_line() {
        let line = Line { of_none: 100.0, of_one: 10.0 };
        assert_eq!(line.of(20), 300.0);
        assert_eq!([90.0, 150.0, 300.0, 345.0].map(|it| line.that_fit(it)), [0, 5, 16, 24]);
    }

    #[test]
    fn some_memory_is_free() {
        assert!(free().is_none_or(|it| it > 1e6));
    }
}
