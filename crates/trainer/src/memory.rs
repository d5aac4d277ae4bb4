//! Estimates how much memory a run needs before its first step: a killed process cannot report an error.
//!
//! A training step and an inference pass of a temporary network are measured on two and on six blank images;
//! the memory for more images is extrapolated linearly.

use crate::{
    callback::Callback,
    error::{FitError, size},
    learner::Learner,
    plan::Plan,
    room,
};

/// Checks that the machine, or its container, has enough memory for a run.
///
/// # Errors
/// [`FitError::Memory`], with settings that would fit; or a network that is too large with any settings.
pub fn check_memory(plan: &Plan, callback: &dyn Callback) -> Result<(), FitError> {
    if !plan.experiment.run.check_memory || !plan.device.is_cpu() {
        return Ok(());
    }
    plan.check_room()?;
    let Some((need, free)) = Need::measure(plan)?.zip(room::free()) else { return Ok(()) };
    let bytes = need.bytes();
    if bytes > free {
        return Err(FitError::Memory { need: bytes, free, remedy: need.remedy(plan, free) });
    }
    callback.note(&format!("memory: needs about {}; {} are free", size(bytes), size(free)));
    Ok(())
}

/// The numbers of images to measure with.
const FEW: [usize; 2] = [2, 6];

/// The maximum number of pixels of a measured image.
const LARGE: f64 = 320.0 * 320.0;

/// The overhead factor for freed memory that fits no new tensor (fragmentation).
const SLACK: f64 = 1.15;

/// The bytes that a run needs at once.
struct Need {
    /// The network, the optimizer, the average, a checkpoint being written, and the loaders' batches.
    fixed: f64,
    step: Line,
    eval: Line,
    /// Images per forward pass.
    n_step: usize,
    n_eval: usize,
}

/// Bytes as a linear function of the number of images.
struct Line {
    of_none: f64,
    of_one: f64,
}

impl Line {
    /// Fits a line through the peak memory of `work` on [`FEW`] images of `[height, width]`. Images larger
    /// than [`LARGE`] are measured at a smaller size and scaled by the area.
    fn measure(
        size: [usize; 2],
        work: impl Fn(usize, [usize; 2]) -> candle::Result<()>,
    ) -> candle::Result<Line> {
        let area = |[h, w]: [usize; 2]| (h * w) as f64;
        let shrink = (area(size) / LARGE).sqrt().max(1.0);
        let measured = size.map(|it| (it as f64 / shrink).ceil() as usize);
        let work = |n| work(n, measured);
        let held = |n: usize| {
            let (done, n_bytes) = ops::peak_allocated(|| work(n));
            done.map(|()| n_bytes as f64)
        };
        let [few, more] = FEW;
        let (of_few, of_more) = (held(few)?, held(more)?);
        let of_one = (of_more - of_few) / (more - few) as f64;
        let of_none = (of_few - of_one * few as f64).max(0.0);
        Ok(Line { of_none, of_one: of_one.max(0.0) * area(size) / area(measured) })
    }

    fn of(&self, n: usize) -> f64 {
        self.of_none + self.of_one * n as f64
    }

    /// Returns how many images fit, rounded down to a multiple of 8 from 8 on.
    fn max_images(&self, free: f64) -> usize {
        let n = ((free - self.of_none) / self.of_one.max(1.0)).max(0.0) as usize;
        if n >= 8 { n / 8 * 8 } else { n }
    }
}

impl Need {
    /// Measures a run; `None` where memory is not counted.
    fn measure(plan: &Plan) -> Result<Option<Need>, FitError> {
        let (learner, of_learner) =
            ops::peak_allocated(|| plan.bare_model().map(|it| Learner::new(plan, it)));
        let learner = learner??;
        if of_learner == 0 {
            return Ok(None);
        }
        let experiment = &plan.experiment;
        let largest = |it: &(usize, [usize; 2])| it.0 * it.1[0] * it.1[1];
        let steps = (0..plan.epochs.n_begun()).map(|it| {
            let size = plan.pipeline_at(it).0.size().unwrap_or_default();
            (plan.batch_size(it).min(plan.phase_of(it).0.train.len()), size)
        });
        let (batch_size, size) = steps.max_by_key(largest).unwrap_or_default();
        let n_step = batch_size.div_ceil(experiment.train.accumulate);
        let eval_size = plan.eval_pipeline.size().unwrap_or_default();
        let n_valid = plan.sides.valid.len().max(plan.test.len());
        let n_eval = experiment.eval.batch_size.min(n_valid);
        // With views there are fewer images in a batch, of whatever size the views have.
        let views = experiment.tta.get().views(&plan.eval_pipeline, &plan.train_pipeline.ops);
        let views = views.unwrap_or_default();
        let n_each = (n_eval / views.len().max(1)).max(1);
        let of_views = views.iter().map(|it| (n_each, it.pipeline.size().unwrap_or_default()));
        let evals = std::iter::once((n_eval, eval_size)).chain(of_views);
        let (n_eval, eval_size) = evals.max_by_key(largest).unwrap_or_default();
        let n_queued = experiment.data.prefetch + experiment.data.num_workers;
        let of_batch = |n: usize, size: [usize; 2]| (n * size[0] * size[1] * 3) as f64;
        let of_batch = of_batch(batch_size, size).max(of_batch(n_eval, eval_size));
        Ok(Some(Need {
            // A checkpoint is copied, and the copy is serialised.
            fixed: 3.0 * of_learner as f64 + of_batch * (n_queued + 1) as f64,
            step: Line::measure(size, |n, size| learner.blank_step(n, size))?,
            eval: Line::measure(eval_size, |n, size| learner.blank_eval(n, size))?,
            n_step,
            n_eval,
        }))
    }

    /// Returns the total in bytes.
    fn bytes(&self) -> f64 {
        SLACK * (self.fixed + self.step.of(self.n_step).max(self.eval.of(self.n_eval)))
    }

    /// Returns what to change if only `free` bytes are available.
    fn remedy(&self, plan: &Plan, free: f64) -> String {
        let free = free / SLACK - self.fixed;
        let n = self.step.max_images(free);
        let mut remedies = Vec::new();
        if n < self.n_step && n >= 2 {
            let n_parts = (self.n_step * plan.experiment.train.accumulate).div_ceil(n);
            remedies.push(format!(
                "`train.batch_size = {n}` would fit, or `train.accumulate = {n_parts}` (gradient accumulation)"
            ));
        }
        let n_eval = self.eval.max_images(free);
        if n_eval < self.n_eval && n_eval >= 1 {
            remedies.push(format!("`eval.batch_size = {n_eval}` would fit"));
        }
        if n < 2 || n_eval == 0 {
            return "use smaller images (`augment.train`, `augment.eval`) or a smaller network \
                    (`model.backbone`)"
                .to_owned();
        }
        remedies.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn max_images_follows_the_line() {
        let line = Line { of_none: 100.0, of_one: 10.0 };
        assert_eq!(line.of(20), 300.0);
        assert_eq!([90.0, 150.0, 300.0, 345.0].map(|it| line.max_images(it)), [0, 5, 16, 24]);
    }
}
