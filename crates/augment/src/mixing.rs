//! The operations of `[augment] mix`, prepared for planning batch after batch.
//!
//! They are applied in order, and a row is mixed at most once, by the first operation that selects it. So one
//! of two is chosen by `[cutmix with p = 0.5, mixup with p = 1.0]`, which is timm's `switch_prob = 0.5`; in
//! general, for a probability p to mix and s to switch, the first has the probability p s and the second
//! p (1 - s) / (1 - p s). Random erasing is applied in addition.

use std::sync::Arc;

use base::{Length, Rng, Task, mix::whole};

use crate::{MixOpConfig, MixPlan};

/// Plans the rows of batches; by default, rows are not mixed.
#[derive(Clone, Debug, Default)]
pub struct Mixing {
    entries: Arc<[Entry]>,
    /// The step of the first batch.
    first_step: usize,
}

#[derive(Debug)]
struct Entry {
    op: MixOpConfig,
    /// The first step at which it is no longer applied.
    until: usize,
    /// The examples from which it takes extra images.
    pool: Vec<usize>,
}

impl Mixing {
    /// Prepares the operations.
    ///
    /// - `examples`: the training examples, each with its joint class.
    /// - `to_steps`: converts a length to steps of this run.
    ///
    /// # Errors
    /// The index of an operation for which there are no images, and the reason.
    pub fn new(
        ops: &[MixOpConfig],
        task: &Task,
        examples: &[(usize, usize)],
        to_steps: impl Fn(Length) -> usize,
    ) -> Result<Mixing, (usize, String)> {
        let entry = |(idx, op): (usize, &MixOpConfig)| {
            let pool = op.get().from().map(|it| it.pool(task, examples)).transpose();
            Ok(Entry {
                op: op.clone(),
                until: op.get().until().map_or(usize::MAX, &to_steps),
                pool: pool.map_err(|it| (idx, format!("`from`: {it}")))?.unwrap_or_default(),
            })
        };
        let entries = ops.iter().enumerate().map(entry).collect::<Result<_, _>>()?;
        Ok(Mixing { entries, first_step: 0 })
    }

    /// Returns the mixing of an epoch whose first batch is at `step`.
    pub fn starting(&self, step: usize) -> Mixing {
        Mixing { entries: Arc::clone(&self.entries), first_step: step }
    }

    /// Returns the plan of a batch.
    ///
    /// - `batch_idx`: the index of the batch in the epoch.
    /// - `n`, `size`: the number of images and their `[height, width]`.
    /// - `stream`: returns the random stream of the operation at an index.
    pub fn plan(
        &self,
        batch_idx: usize,
        n: usize,
        size: [usize; 2],
        stream: impl Fn(usize) -> Rng,
    ) -> MixPlan {
        let step = self.first_step + batch_idx;
        let mut plan = MixPlan { size, rows: whole(n), extras: Vec::new() };
        for (idx, it) in self.entries.iter().enumerate().filter(|(_, it)| step < it.until) {
            it.op.get().apply(&mut plan, &it.pool, &mut stream(idx));
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use base::{Epochs, Length, Seed, Task, mix::Fill};

    use super::{MixPlan, Mixing};
    use crate::MixOpConfig;

    fn plan(settings: &[&str], step: usize) -> MixPlan {
        let ops: Vec<MixOpConfig> = settings.iter().map(|it| toml::from_str(it).unwrap()).collect();
        let epochs = Epochs::new(Length::Steps(100), |_| Ok(10)).unwrap();
        let to_steps = |it: Length| it.to_steps(&epochs);
        let mixing = Mixing::new(&ops, &Task::mask_gender_age(), &[], to_steps).unwrap();
        let stream = |entry| Seed(0).stream(&format!("mix/{step}/{entry}"));
        mixing.starting(step).plan(0, 400, [8, 8], stream)
    }

    #[test]
    fn a_row_is_mixed_by_the_first_operation_that_selects_it() {
        let cutmix = "kind = \"cutmix\"\np = 0.25\nper = \"example\"";
        let plan = plan(&[cutmix, "kind = \"mixup\"\nper = \"example\""], 0);
        let shares = plan.rows.iter().map(|it| it.over.unwrap().share);
        let n_cut = shares.filter(|&it| it == 1.0).count();
        assert!((70..130).contains(&n_cut), "{n_cut} of 400");
    }

    #[test]
    fn operations_end_at_until() {
        let until = "kind = \"mixup\"\nuntil = \"80 %\"";
        let erasing = "kind = \"random_erasing\"\np = 1.0\nuntil = \"9 epochs\"";
        let mixed = |step| {
            let row = plan(&[until, erasing], step).rows.swap_remove(0);
            (row.over.is_some(), !row.erased.is_empty())
        };
        assert_eq!(
            [79, 80, 89, 90].map(mixed),
            [(true, true), (false, true), (false, true), (false, false)]
        );
    }

    #[test]
    fn erasing_fills_with_one_colour_or_per_pixel() {
        let fill = |fill: &str| {
            let erasing = format!("kind = \"random_erasing\"\np = 1.0\nfill = \"{fill}\"");
            let mut erased = plan(&[&erasing], 0).rows.swap_remove(0).erased.swap_remove(0);
            (std::mem::replace(&mut erased.fill, Fill::Colour([0.0; 3])), erased.area.n_pixels())
        };
        assert_eq!(fill("const").0, Fill::Colour([0.0; 3]));
        assert!(matches!(fill("rand").0, Fill::Colour(it) if it[0] != it[1] && it[1] != it[2]));
        let (Fill::Pixels(pixels), n) = fill("pixel") else { panic!("a single colour") };
        assert_eq!(pixels.len(), 3 * n);
    }
}
