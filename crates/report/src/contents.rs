//! Everything that is on a report's page, in its order: numbers, names and embedded images, without any formatting.
//!
//! A number that is undefined is `None`, never NaN. Names are as in the data, and are escaped by the page. Lists that
//! could grow with the data are cut, and say how long they were.

use metrics::Interval;
use serde::{Deserialize, Serialize};

/// A page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// The names of the runs, joined by commas.
    pub title: String,
    /// When it was made, as `2026-11-29 22:04 UTC`.
    pub made: String,
    /// Several runs side by side; `None` for one.
    pub comparison: Option<Compared>,
    /// The runs, each with all its sections.
    pub runs: Vec<RunReport>,
}

/// A run, a cross-validation, or a folder of `maskfit evaluate` or `maskfit ensemble`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The folder's name.
    pub name: String,
    /// `run`, `cross-validation`, `ensemble` or `evaluation`.
    pub kind: String,
    /// The images that everything is about, such as `test set` or `out-of-fold predictions`.
    pub set: String,
    /// The verdict: sentences, which form one paragraph.
    pub verdict: Vec<String>,
    /// What could not be shown, such as images that are missing.
    pub notes: Vec<String>,
    /// The scores: of the joint classes, then of each factor.
    pub scores: Vec<ScopeScores>,
    /// The learning curves: one, or one for each fold; empty where nothing was trained.
    pub curves: Vec<Curve>,
    /// The confusion matrices: of the joint classes, then of each factor.
    pub confusions: Vec<ConfusionMatrix>,
    /// The classes: the joint ones, then those of each factor.
    pub classes: Vec<ClassTable>,
    /// The images with the lowest probability of their true class.
    pub top_losses: Vec<Shown>,
    /// The most confused pairs of classes.
    pub confused: Vec<ConfusedPair>,
    /// The images with the lowest probability of the predicted class.
    pub least_certain: Vec<Shown>,
    /// Confidence beside accuracy.
    pub reliability: Vec<ReliabilityOf>,
    /// The scores by the values of each attribute; empty where the data has none.
    pub attributes: Vec<AttributeScores>,
    /// Likely label errors.
    pub labels: LabelErrors,
    /// Grad-CAM of some images: right ones, then wrong ones.
    pub maps: Vec<MapShown>,
    /// What the maps show, such as the factor and the stage.
    pub maps_of: String,
    /// The data.
    pub data: DataFacts,
    /// The settings, versions and machine.
    pub setup: Setup,
}

/// A number with its 95 % confidence interval over groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The number; `None` if it is undefined.
    pub value: Option<f64>,
    /// The lower limit; `None` with a single group.
    pub low: Option<f64>,
    /// The upper limit.
    pub high: Option<f64>,
}

/// The scores over the classes of a scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScopeScores {
    /// `joint`, or the factor's name.
    pub name: String,
    /// The number of classes.
    pub n_classes: usize,
    /// Macro F1.
    pub macro_f1: Estimate,
    /// Accuracy.
    pub accuracy: Estimate,
    /// Balanced accuracy.
    pub balanced_accuracy: Option<f64>,
    /// The k of top-k accuracy.
    pub k: usize,
    /// Top-k accuracy.
    pub top_k: Option<f64>,
    /// Log loss.
    pub log_loss: Option<f64>,
    /// Expected calibration error.
    pub ece: Option<f64>,
}

/// A learning curve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Empty, or `fold 0`.
    pub name: String,
    /// The metric of [`CurvePoint::score`].
    pub metric: String,
    /// The evaluations, in order.
    pub points: Vec<CurvePoint>,
}

/// An evaluation during training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Steps done.
    pub step: usize,
    /// Epochs done.
    pub epoch: f64,
    /// The mean training loss since the last evaluation: with augmentation, dropout, and all terms of the loss.
    pub train_loss: Option<f64>,
    /// The log loss of the joint classes on the validation set.
    pub valid_loss: Option<f64>,
    /// Macro F1 of the joint classes on the validation set.
    pub macro_f1: Option<f64>,
    /// Accuracy of the joint classes on the validation set.
    pub accuracy: Option<f64>,
    /// The metric by which the best model is selected.
    pub score: Option<f64>,
    /// Whether it was the best until then.
    pub is_best: bool,
}

/// A confusion matrix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    /// `joint`, or the factor's name.
    pub name: String,
    /// The classes' names.
    pub classes: Vec<String>,
    /// The number of images by true class (rows) and predicted class (columns); empty with more than
    /// [`MOST_CLASSES`] classes, of which only the pairs are shown.
    pub counts: Vec<Vec<usize>>,
    /// The most frequent confusions.
    pub pairs: Vec<PairCount>,
    /// The number of different confusions.
    pub n_pairs: usize,
}

/// With more classes than this, a matrix is shown as its most frequent confusions, and tables are cut.
pub const MOST_CLASSES: usize = 40;

/// A confusion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairCount {
    /// The true class.
    pub actual: String,
    /// The predicted class.
    pub predicted: String,
    /// The number of images.
    pub n_images: usize,
    /// Their share of the images of the true class.
    pub of_class: f64,
    /// Their share of all errors.
    pub of_errors: f64,
}

/// The classes of a scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassTable {
    /// `joint`, or the factor's name.
    pub name: String,
    /// The classes, in their order; of more than [`MOST_CLASSES`], those with the lowest F1, lowest first.
    pub rows: Vec<ClassRow>,
    /// The number of all classes.
    pub n_classes: usize,
    /// The number of classes without true or predicted images.
    pub n_absent: usize,
}

/// The scores of a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassRow {
    /// The name.
    pub name: String,
    /// Precision.
    pub precision: Estimate,
    /// Recall.
    pub recall: Estimate,
    /// F1.
    pub f1: Estimate,
    /// The number of images of the class.
    pub n_images: usize,
    /// The number of groups with such images.
    pub n_groups: usize,
}

/// An image with its prediction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// The image's name.
    pub name: String,
    /// The true class.
    pub actual: String,
    /// The predicted class.
    pub predicted: String,
    /// Whether they are the same.
    pub is_correct: bool,
    /// The probability of the predicted class.
    pub probability: f64,
    /// The probability of the true class.
    pub probability_of_actual: f64,
    /// -ln of the probability of the true class; `None` if that is 0.
    pub loss: Option<f64>,
    /// A thumbnail as a data URI; `None` if the image cannot be read.
    pub image: Option<String>,
}

/// A pair of classes that is often confused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfusedPair {
    /// The confusion.
    pub pair: PairCount,
    /// Images of the true class that are predicted as the other, the most confident first.
    pub wrong: Vec<Shown>,
    /// Images of the predicted class that are predicted correctly, the most confident first.
    pub right: Vec<Shown>,
}

/// The reliability of the predicted class in a scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityOf {
    /// `joint`, or the factor's name.
    pub name: String,
    /// The expected calibration error.
    pub ece: Estimate,
    /// The bins of confidence, from 0 to 1, empty ones included.
    pub bins: Vec<ReliabilityBin>,
    /// The classes against the rest, the highest error first; at most [`MOST_CLASSES`].
    pub classes: Vec<ClassCalibration>,
}

/// The images whose confidence is in a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// The lower limit.
    pub low: f64,
    /// The upper limit.
    pub high: f64,
    /// The number of images.
    pub n_images: usize,
    /// Their mean confidence; 0 without images.
    pub confidence: f64,
    /// The share that is predicted correctly; 0 without images.
    pub accuracy: f64,
}

/// The calibration of the probability of a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassCalibration {
    /// Its name.
    pub name: String,
    /// The number of its images.
    pub n_images: usize,
    /// The classwise calibration error.
    pub ece: f64,
    /// Its mean probability over all images.
    pub mean_probability: f64,
    /// The share of images that are of it.
    pub share: f64,
}

/// The scores by the values of an attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttributeScores {
    /// The attribute's name.
    pub name: String,
    /// Whether it is a factor of the task, by its true level, and not a column beside the labels.
    pub is_factor: bool,
    /// The values: the ten most frequent, then all others together.
    pub values: Vec<ValueScores>,
    /// The largest gap of accuracy; `None` without two values that have several groups.
    pub gap: Option<GapTest>,
}

/// The scores of the images with a value of an attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValueScores {
    /// The value; `None` for all others together.
    pub value: Option<String>,
    /// The number of values: 1, or how many the others are.
    pub n_values: usize,
    /// The number of images.
    pub n_images: usize,
    /// The number of groups with such images.
    pub n_groups: usize,
    /// Macro F1 of the joint classes that occur among these images.
    pub macro_f1: Estimate,
    /// The share of images whose joint class is predicted wrongly.
    pub error_rate: Estimate,
    /// The share of images whose level is predicted wrongly, of each factor in the order of the task; empty for a
    /// task of one factor.
    pub factor_errors: Vec<FactorError>,
}

/// The error rate of a factor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FactorError {
    /// The factor.
    pub factor: String,
    /// The share of images whose level is predicted wrongly.
    pub error_rate: Option<f64>,
}

/// The two values whose accuracies differ most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GapTest {
    /// The value with the lowest accuracy.
    pub lowest: String,
    /// The value with the highest accuracy.
    pub highest: String,
    /// The difference of accuracy, 0 or more, with its bootstrap interval.
    pub difference: Estimate,
    /// The p value: the share of permutations of the values over groups whose largest gap is at least as large.
    pub p: Option<f64>,
    /// The test, in words.
    pub test: String,
}

/// Labels that are likely wrong, by confident learning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LabelErrors {
    /// For each factor.
    pub factors: Vec<FactorLabels>,
    /// The likeliest errors, likeliest first.
    pub rows: Vec<LabelError>,
}

/// The labels of a factor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FactorLabels {
    /// The factor.
    pub factor: String,
    /// The number of labels: of groups where they share one, else of images.
    pub n_labels: usize,
    /// The number of likely errors.
    pub n_errors: usize,
}

/// A label that is likely wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LabelError {
    /// The factor.
    pub factor: String,
    /// The group.
    pub group: String,
    /// The image that disagrees most.
    pub image_name: String,
    /// The number of images that have this label: more than one for a label of a group.
    pub n_images: usize,
    /// The given level.
    pub given: String,
    /// The suggested level.
    pub suggested: String,
    /// The probability of the given level.
    pub score: f64,
    /// A thumbnail of that image as a data URI.
    pub image: Option<String>,
}

/// A map of what a prediction depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MapShown {
    /// The image.
    pub shown: Shown,
    /// The class or level that is explained.
    pub target: String,
    /// The map over the image, as a data URI.
    pub overlay: String,
}

/// The data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataFacts {
    /// What a group is: `person`, `group` or `image`.
    pub unit: String,
    /// The same, of several.
    pub units: String,
    /// The training, validation and test sets.
    pub sets: Vec<SetFacts>,
    /// The images of each class in each set: the joint classes, then the levels of each factor. Of many classes the
    /// most and the least frequent.
    pub classes: Vec<ClassCounts>,
    /// The distribution of each number, such as the age.
    pub numbers: Vec<Histogram>,
    /// The most frequent sizes of images, in order.
    pub sizes: Vec<SizeCount>,
    /// The number of images with other sizes.
    pub n_other_sizes: usize,
}

/// A set of images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SetFacts {
    /// `training set` and so on.
    pub name: String,
    /// The number of images.
    pub n_images: usize,
    /// The number of groups.
    pub n_groups: usize,
}

/// The images of the classes of a scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// `joint`, or the factor's name.
    pub name: String,
    /// The classes.
    pub rows: Vec<ClassCount>,
    /// The number of classes that are left out.
    pub n_left_out: usize,
}

/// The images of a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassCount {
    /// The name.
    pub name: String,
    /// The number of images in each set, in the order of [`DataFacts::sets`].
    pub counts: Vec<usize>,
}

/// The distribution of a number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The factor.
    pub name: String,
    /// The lower limit of the first bin.
    pub low: f64,
    /// The width of a bin.
    pub width: f64,
    /// The number of images in each bin.
    pub counts: Vec<usize>,
    /// The limits between the factor's levels.
    pub cuts: Vec<f64>,
}

/// A size of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SizeCount {
    /// In pixels.
    pub height: usize,
    /// In pixels.
    pub width: usize,
    /// The number of images.
    pub n_images: usize,
}

/// How it was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The command that repeats it.
    pub command: String,
    /// The settings that differ from the defaults.
    pub changed: Vec<Setting>,
    /// All settings, as TOML; empty where there are none.
    pub settings: String,
    /// The program, its version and so on.
    pub versions: Vec<Fact>,
    /// The machine that the report was made on.
    pub machine: Vec<Fact>,
    /// The training: steps, best epoch, time.
    pub training: Vec<Fact>,
}

/// A setting that differs from its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its path, with dots.
    pub path: String,
    /// Its value, as TOML.
    pub value: String,
    /// The default, as TOML; empty where there is none.
    pub default: String,
}

/// A fact with its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Several runs side by side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The run that the others are compared with.
    pub reference: String,
    /// The images that all runs predicted, in words; differences are only over them.
    pub images: String,
    /// What keeps runs from being compared, or has to be known.
    pub notes: Vec<String>,
    /// The scores of each scope.
    pub scopes: Vec<ComparedScope>,
}

/// Runs side by side in a scope, by one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ComparedScope {
    /// `joint`, or the factor's name.
    pub name: String,
    /// `macro F1`, `accuracy` or `log loss`.
    pub metric: String,
    /// Whether a higher score is better.
    pub more_is_better: bool,
    /// The runs, the reference first.
    pub rows: Vec<ComparedRun>,
}

/// A run beside the reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ComparedRun {
    /// The run.
    pub name: String,
    /// Its score.
    pub score: Estimate,
    /// The paired difference to the reference; `None` for the reference, and for runs on other images or classes.
    pub difference: Option<Estimate>,
    /// The share of resamples in which it is better than the reference; ties count half.
    pub better: Option<f64>,
    /// Why there is no difference, such as `other images`; empty if there is one.
    pub why_none: String,
}

impl From<Interval> for Estimate {
    fn from(it: Interval) -> Estimate {
        let [value, low, high] = [it.value, it.low, it.high].map(defined);
        Estimate { value, low, high }
    }
}

impl Estimate {
    /// Returns a number without an interval.
    pub fn of(value: f64) -> Estimate {
        Estimate { value: defined(value), low: None, high: None }
    }
}

/// Returns a number, unless it is NaN or infinite.
pub fn defined(x: f64) -> Option<f64> {
    Some(x).filter(|it| it.is_finite())
}
