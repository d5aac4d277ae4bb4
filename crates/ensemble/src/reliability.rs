//! How far probabilities can be believed: confidence beside accuracy, over all classes and of each class.
//!
//! Over all classes it is the confidence in the predicted class: images are put into M bins of equal width by it,
//! and a calibrated model is right in as large a share of a bin's images as its mean confidence there. The mean
//! gap is the expected calibration error (ECE; Guo et al., "On Calibration of Modern Neural Networks", 2017),
//! with an interval bootstrapped over groups, centred on it (`Bootstrapped::centred_interval`).
//!
//! Of a class it is the probability of that class for all images, beside the share of them that are of it: the
//! classwise ECE (Kull et al., "Beyond Temperature Scaling", 2019).

use base::{Seed, Task, task::Scope};
use metrics::{ExpectedCalibrationError, GroupSums, Interval, N_RESAMPLES, Prediction, Resamples};
use serde::{Deserialize, Serialize};

/// Accumulates the reliability of predictions, image by image.
pub struct Reliability {
    task: Task,
    n_bins: usize,
    ece: GroupSums<'static>,
    /// The bins of the predicted class, then those of each class.
    bins: Vec<Bin>,
}

/// The images whose confidence is in one range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// The number of images.
    pub n_images: usize,
    /// Their mean confidence; 0 without images.
    pub confidence: f64,
    /// The share of them that are of the class; 0 without images.
    pub accuracy: f64,
}

/// Confidence beside accuracy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityReport {
    /// The expected calibration error of the predicted class, with its 95 % interval over groups.
    pub ece: Interval,
    /// The bins of the confidence in the predicted class, from 0 to 1.
    pub bins: Vec<Bin>,
    /// Each class.
    pub classes: Vec<ClassReliability>,
}

/// The reliability of one class against the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassReliability {
    /// Its name.
    pub class: String,
    /// The number of images of the class.
    pub n_images: usize,
    /// The mean gap between its probability and the share of images that are of it.
    pub ece: f64,
    /// The bins of its probability, from 0 to 1.
    pub bins: Vec<Bin>,
}

/// The error of the predicted class, and its bins.
const ECE: ExpectedCalibrationError = ExpectedCalibrationError::DEFAULT;

impl Reliability {
    /// Creates the reliability of no images.
    pub fn new(task: &Task) -> Reliability {
        let n_bins = ECE.bins;
        let bins = vec![Bin::default(); n_bins * (1 + task.n_classes())];
        let ece = GroupSums::new(&ECE, task.n_classes());
        Reliability { task: task.clone(), n_bins, ece, bins }
    }

    /// Adds the prediction for one image.
    pub fn add(&mut self, it: &Prediction<'_>) {
        self.ece.add(it);
        let n_bins = self.n_bins;
        // While accumulating, a bin holds sums.
        let mut add = |of: usize, confidence: f64, is_class: bool| {
            let bin = &mut self.bins[of * n_bins + ECE.bin(confidence)];
            bin.n_images += 1;
            bin.confidence += confidence;
            bin.accuracy += f64::from(is_class);
        };
        add(0, it.probabilities[it.predicted], it.is_correct());
        for (class, &p) in it.probabilities.iter().enumerate() {
            add(1 + class, p, class == it.class);
        }
    }

    /// Returns the report; `seed` seeds the bootstrap of the interval.
    pub fn report(self, seed: Seed) -> ReliabilityReport {
        let groups = self.ece.groups();
        let resamples = Resamples::new(groups.len(), N_RESAMPLES, seed);
        let interval = resamples.scores(&[groups])[0].centred_interval();
        let mut of = self.bins.chunks(self.n_bins).map(|bins| {
            let n: usize = bins.iter().map(|it| it.n_images).sum();
            let n_of_class = bins.iter().map(|it| it.accuracy).sum::<f64>() as usize;
            let gap = bins.iter().map(|it| (it.accuracy - it.confidence).abs()).sum::<f64>();
            let mean = |it: &Bin| {
                let n = it.n_images.max(1) as f64;
                let (confidence, accuracy) = (it.confidence / n, it.accuracy / n);
                Bin { n_images: it.n_images, confidence, accuracy }
            };
            (bins.iter().map(mean).collect::<Vec<Bin>>(), n_of_class, gap / n.max(1) as f64)
        });
        let bins = of.next().map(|it| it.0).unwrap_or_default();
        let class = |(class, (bins, n_images, ece))| {
            let class = self.task.class_name(class, Scope::Joint);
            ClassReliability { class, n_images, ece, bins }
        };
        ReliabilityReport { ece: interval, bins, classes: of.enumerate().map(class).collect() }
    }
}

#[cfg(test)]
mod tests {
    use base::{Seed, Task, task::Factor};
    use metrics::Predictions;

    use super::{Bin, Reliability};

    #[test]
    fn confidence_stands_beside_accuracy() {
        // Two images with confidence 0.9, of which one is correct, and one with 0.6 that is.
        let task = Task::new(vec![Factor::new("class", &["a", "b"])]);
        let rows = vec![vec![0.9, 0.1], vec![0.9, 0.1], vec![0.4, 0.6]];
        let all = Predictions::new(task.clone(), rows, vec![0, 1, 1], vec![0, 0, 1]);
        let mut reliability = Reliability::new(&task);
        all.iter().for_each(|it| reliability.add(&it));
        let it = reliability.report(Seed(0));
        // 0.9 is in the bin (13/15, 14/15], 0.6 in (8/15, 9/15].
        assert_eq!(it.bins[13], Bin { n_images: 2, confidence: 0.9, accuracy: 0.5 });
        assert_eq!(it.bins[8], Bin { n_images: 1, confidence: 0.6, accuracy: 1.0 });
        // |1 - 1.8| = 0.8 and |1 - 0.6| = 0.4 over 3 images; the two groups alone have 0.4 each.
        assert!((it.ece.value - 0.4).abs() < 1e-12, "{:?}", it.ece);
        // Of class a: 0.9 twice with one image of it, and 0.4 with none.
        assert!((it.classes[0].ece - (0.8 + 0.4) / 3.0).abs() < 1e-12);
        assert_eq!((it.classes[0].n_images, it.classes[1].n_images), (1, 2));
        assert_eq!(it.classes[1].class, "b");
    }

    #[test]
    fn no_images_have_no_error() {
        let task = Task::mask_gender_age();
        let it = Reliability::new(&task).report(Seed(0));
        assert_eq!(it.ece.value, 0.0);
        assert_eq!(it.classes.len(), 18);
    }
}
