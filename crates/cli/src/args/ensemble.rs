//! The arguments of `maskfit ensemble`.

use std::path::PathBuf;

use augment::ViewsConfig;
use ensemble::{By, CalibrationConfig, CombineConfig, Tune, Weights};

use super::values::{component, number};
use crate::held_out::FitOn;

/// The runs to combine, and what is fitted.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EnsembleArgs {
    /// Runs or cross-validations that hold out the same images; one is enough to calibrate it or to tune its
    /// thresholds. The folds of a cross-validation share its weight equally. Runs for different factors, such
    /// as one for the mask and one for the age, are multiplied.
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// Combination: soft_vote, hard_vote, rank_average or stack; or a table, such as
    /// `{ kind = "stack", c = 0.1 }`.
    #[arg(long, value_name = "KIND", default_value = "soft_vote", value_parser = component::<CombineConfig>)]
    pub(crate) combine: CombineConfig,
    /// Weights of the runs: equal; numbers, such as 0.3,0.7; fit, the best on held-out predictions; or greedy,
    /// a selection with replacement (Caruana et al., 2004).
    #[arg(long, value_name = "WEIGHTS", default_value = "equal", value_parser = weights)]
    pub(crate) weights: Weights,
    /// Score that weights are fitted for, and that steps are compared by: macro_f1 or log_loss. A stack is
    /// fitted for log_loss, and thresholds for macro_f1.
    #[arg(long, value_name = "SCORE", default_value = "macro_f1", value_parser = by)]
    pub(crate) by: By,
    /// Predictions that everything is fitted on: held_out, those of images that a run did not train on; or test,
    /// those of the test set of the runs' data, where the folds of a cross-validation are averaged as in the
    /// bundle. Its fitted scores are then no test scores.
    #[arg(long, value_enum, value_name = "IMAGES", default_value = "held_out")]
    pub(crate) fit_on: FitOn,
    /// Predict the held-out images again with this test-time augmentation, instead of each run's own, and
    /// keep it in the bundle: a name of `list views`, or a table, such as `{ kind = "crops", n = 5 }`.
    #[arg(long, value_name = "VIEWS", value_parser = component::<ViewsConfig>)]
    pub(crate) views: Option<ViewsConfig>,
    /// Calibration to fit: none, temperature, vector or isotonic.
    #[arg(long, value_name = "KIND", default_value = "none", value_parser = calibration)]
    pub(crate) calibrate: &'static str,
    /// What to tune for macro F1: classes, a weight for each; thresholds, of numeric factors; or both, with a
    /// comma.
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = tune)]
    pub(crate) tune: Vec<Tune>,
    /// Keep scores for prediction sets in the bundle: `predict --sets 0.9`.
    #[arg(long)]
    pub(crate) sets: bool,
    /// With --views, override a setting of the runs' data, such as `data.source.root=DIR`. May be repeated.
    #[arg(long, value_name = "PATH=VALUE", requires = "views")]
    pub(crate) set: Vec<String>,
    /// With --views, batch size.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = number)]
    pub(crate) batch_size: usize,
    /// With --views, number of threads that load images.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = number)]
    pub(crate) num_workers: usize,
    /// Folder of the bundle to write: new or empty.
    #[arg(short, long, value_name = "BUNDLE")]
    pub(crate) output: PathBuf,
}

/// Parses the weights of runs.
fn weights(text: &str) -> Result<Weights, String> {
    match text {
        "equal" => return Ok(Weights::default()),
        "fit" => return Ok(Weights::Fit),
        "greedy" => return Ok(Weights::Greedy),
        _ => {}
    }
    let weight = |it: &str| it.trim().parse().ok().filter(|it: &f64| it.is_finite() && *it >= 0.0);
    let all: Option<Vec<f64>> = text.split(',').map(weight).collect();
    all.map(Weights::Given).ok_or_else(|| {
        "must be equal, fit, greedy, or a number of at least 0 for each run, such as 0.3,0.7"
            .to_owned()
    })
}

/// Parses the score that is fitted.
fn by(text: &str) -> Result<By, String> {
    match text {
        "macro_f1" => Ok(By::MacroF1),
        "log_loss" => Ok(By::LogLoss),
        _ => Err("must be macro_f1 or log_loss".to_owned()),
    }
}

/// Parses the kind of a calibration.
fn calibration(text: &str) -> Result<&'static str, String> {
    let kinds: Vec<&'static str> = CalibrationConfig::KINDS.iter().map(|it| it.0).collect();
    let found = kinds.iter().find(|it| **it == text).copied();
    found.ok_or_else(|| format!("must be one of {}", kinds.join(", ")))
}

/// Parses what is tuned.
fn tune(text: &str) -> Result<Tune, String> {
    match text {
        "classes" => Ok(Tune::Classes),
        "thresholds" => Ok(Tune::Thresholds),
        _ => Err("must be classes, thresholds, or both: classes,thresholds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use ensemble::Weights;

    use super::weights;

    #[test]
    fn weights_are_a_word_or_numbers() {
        assert_eq!(weights("equal"), Ok(Weights::Given(Vec::new())));
        assert_eq!(weights("greedy"), Ok(Weights::Greedy));
        assert_eq!(weights("0.3, 1"), Ok(Weights::Given(vec![0.3, 1.0])));
        for wrong in ["", "best", "0.3,", "-1,2", "nan,1"] {
            assert!(weights(wrong).unwrap_err().starts_with("must be equal"), "{wrong}");
        }
    }
}
