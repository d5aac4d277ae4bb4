//! Estimates how much memory a run needs before its first step: a killed process cannot report an error.
//!
//! A training step and an inference pass of a temporary network are measured on two and on six blank images;
//! the memory for more images is extrapolated linearly. On a card it is what the allocator holds after them: freed
//! buffers wait there for the next of their size.

use gpu::Device;

use crate::{
    callback::Callback,
    engine::Engine,
    error::{FitError, size},
    learner::{Learner, blank_eval},
    plan::Plan,
    room,
};

/// Checks that the machine, or its container, or the card has enough memory for a run.
///
/// # Errors
/// [`FitError::Memory`], with settings that would fit; or a network that is too large with any settings; or a card that
/// cannot be used.
pub fn check_memory(plan: &Plan, callback: &dyn Callback) -> Result<(), FitError> {
    let device = plan.opened()?;
    if !plan.experiment.run.check_memory {
        return Ok(());
    }
    plan.check_room()?;
    let (of, (need, free)) = match &device.card {
        None => match Need::measure(plan)?.zip(room::free()) {
            Some(it) => ("memory".to_owned(), it),
            None => return Ok(()),
        },
        Some((device, _)) => {
            let need = Need::on_card(plan, device)?;
            device.empty_cache().map_err(candle::Error::wrap)?;
            let (free, _) = device.free_memory().map_err(candle::Error::wrap)?;
            (format!("memory of `cuda:{}`", device.info().index), (need, free as f64))
        }
    };
    let bytes = need.bytes();
    if bytes > free {
        return Err(FitError::Memory { of, need: bytes, free, remedy: need.remedy(plan, free) });
    }
    callback.note(&format!("{of}: needs about {}; {} are free", size(bytes), size(free)));
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
    /// Fits a line through the memory of [`FEW`] images of `[height, width]`. Images larger than [`LARGE`] are measured
    /// at a smaller size and scaled by the area.
    ///
    /// - `held`: the bytes of a number of images of a size.
    fn measure(
        size: [usize; 2],
        held: impl Fn(usize, [usize; 2]) -> candle::Result<f64>,
    ) -> candle::Result<Line> {
        let area = |[h, w]: [usize; 2]| (h * w) as f64;
        let shrink = (area(size) / LARGE).sqrt().max(1.0);
        let measured = size.map(|it| (it as f64 / shrink).ceil() as usize);
        let [few, more] = FEW;
        let (of_few, of_more) = (held(few, measured)?, held(more, measured)?);
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

/// The largest passes of a run.
struct Largest {
    /// Images of a training pass, and their size.
    n_step: usize,
    size: [usize; 2],
    /// The same of an inference pass.
    n_eval: usize,
    eval_size: [usize; 2],
    /// Bytes of a batch of either, as the loader has it.
    of_batch: f64,
}

impl Largest {
    fn of(plan: &Plan) -> Largest {
        let experiment = &plan.experiment;
        let largest = |it: &(usize, [usize; 2])| it.0 * it.1[0] * it.1[1];
        let steps = (0..plan.epochs.n_begun()).map(|it| {
            let size = plan.pipeline_at(it).0.size().unwrap_or_default();
            (plan.batch_size(it).min(plan.phase_of(it).0.train.len()), size)
        });
        let (batch_size, size) = steps.max_by_key(largest).unwrap_or_default();
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
        let of_batch = |n: usize, size: [usize; 2]| (n * size[0] * size[1] * 3) as f64;
        let of_batch = of_batch(batch_size, size).max(of_batch(n_eval, eval_size));
        let n_step = batch_size.div_ceil(experiment.train.accumulate);
        Largest { n_step, size, n_eval, eval_size, of_batch }
    }
}

impl Need {
    /// Measures a run on the CPU; `None` where memory is not counted.
    fn measure(plan: &Plan) -> Result<Option<Need>, FitError> {
        let (learner, of_learner) =
            ops::peak_allocated(|| plan.bare_model().map(|it| Learner::new(plan, it)));
        let learner = learner??;
        if of_learner == 0 {
            return Ok(None);
        }
        let Largest { n_step, size, n_eval, eval_size, of_batch } = Largest::of(plan);
        let data = &plan.experiment.data;
        let n_queued = data.prefetch + data.num_workers;
        let held = |work: &dyn Fn() -> candle::Result<()>| {
            let (done, n_bytes) = ops::peak_allocated(work);
            done.map(|()| n_bytes as f64)
        };
        let eval = |n, size| blank_eval(learner.engine(), learner.model(), n, size);
        Ok(Some(Need {
            // A checkpoint is copied, and the copy is serialised.
            fixed: 3.0 * of_learner as f64 + of_batch * (n_queued + 1) as f64,
            step: Line::measure(size, |n, size| held(&|| learner.blank_step(n, size)))?,
            eval: Line::measure(eval_size, |n, size| held(&|| eval(n, size)))?,
            n_step,
            n_eval,
        }))
    }

    /// Measures a run on a card.
    fn on_card(plan: &Plan, device: &Device) -> Result<Need, FitError> {
        let used = || device.usage().used as f64;
        let held = |work: &dyn Fn() -> candle::Result<()>| {
            device.empty_cache().map_err(candle::Error::wrap)?;
            work()?;
            Ok(device.usage().cached as f64)
        };
        let before = used();
        let learner = Learner::new(plan, plan.bare_model()?)?;
        let Largest { n_step, size, n_eval, eval_size, of_batch } = Largest::of(plan);
        let step = Line::measure(size, |n, size| held(&|| learner.blank_step(n, size)))?;
        // The final tables are predicted in f32, with a copy of the weights in f32.
        let exact = Engine::in_f32(plan)?;
        let eval = |n, size| blank_eval(&exact, learner.model(), n, size);
        eval(1, eval_size)?;
        let eval = Line::measure(eval_size, |n, size| held(&|| eval(n, size)))?;
        let fixed = used() - before + 2.0 * of_batch;
        Ok(Need { fixed, step, eval, n_step, n_eval })
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
