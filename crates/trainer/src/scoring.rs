//! The scores of a set of images: over all of them, and by the attributes that the source keeps for reports.

use base::{Seed, Task};
use data::Attribute;
use metrics::{AttributeSums, Evaluation, Prediction, Report};

/// Accumulates predictions for a report.
pub struct Scoring {
    evaluation: Evaluation,
    attributes: AttributeSums,
}

impl Scoring {
    /// Creates the scores of no images.
    ///
    /// - `images`: for each image that will be added, the position of its value of each attribute.
    pub fn new<'a>(
        task: &Task,
        attributes: &[Attribute],
        images: impl Iterator<Item = &'a [u32]>,
    ) -> Scoring {
        let named: Vec<(&str, &[String])> =
            attributes.iter().map(|it| (it.name.as_str(), it.values.as_slice())).collect();
        Scoring {
            evaluation: Evaluation::new(task),
            attributes: AttributeSums::new(task, &named, images),
        }
    }

    /// Adds the prediction for one image.
    ///
    /// - `values`: the position of its value of each attribute.
    pub fn add(&mut self, values: &[u32], it: &Prediction<'_>) {
        self.evaluation.add(it);
        self.attributes.add(values, it);
    }

    /// Returns the report; `seed` seeds the bootstrap of the intervals.
    pub fn report(self, seed: Seed) -> Report {
        let attributes = self.attributes.report(seed);
        Report { attributes, ..self.evaluation.report(seed) }
    }
}
