//! Soup: one model whose weights are the mean of those of several models of the same architecture (Wortsman et
//! al., "Model Soups", 2022).
//!
//! Each weight is summed in 64-bit floats in the order of the models, and rounded once. The running statistics of
//! batch norms are measured anew over the training images (`running_statistics.rs`), unless their mean is asked
//! for; those of frozen norms are the mean.
//!
//! - `uniform`: the mean of all models.
//! - `greedy`: from the model with the highest held-out macro F1, each in turn joins the mean if the held-out macro
//!   F1 is then no lower. It is the paper's greedy soup, where accuracy decides.
//! - `ensemble`: no soup, but its upper bound in the paper: all models, whose probabilities are averaged.
//!
//! An image is held out if no model was trained on its group, and was validated on by at least one. The folds of
//! a cross-validation together hold out nobody.

mod error;
mod ingredient;

use std::{collections::BTreeMap, fmt, fs::File, io::BufWriter, path::Path, rc::Rc};

use augment::{Given, Statistics, StatisticsConfig};
use base::{Seed, task::Unit};
use candle::{DType, Device, Tensor};
use data::Manifest;
use infer::Bundle;
use metrics::Report;
use models::{Kind, Model};

pub use self::{error::SoupError, ingredient::Ingredient};
use crate::{
    callback::Callback,
    device::DeviceSetting,
    engine::Engine,
    error::FitError,
    experiment::Experiment,
    fit::{evaluate, predict_table},
    plan::Plan,
    report::section,
    run::at,
    running_statistics,
};

/// Which models a soup is the mean of, or how else they are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SoupKind {
    /// All.
    #[default]
    Uniform,
    /// Those that do not lower the held-out macro F1.
    Greedy,
    /// All, as the members of an ensemble.
    Ensemble,
}

impl fmt::Display for SoupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SoupKind::Uniform => "uniform",
            SoupKind::Greedy => "greedy",
            SoupKind::Ensemble => "ensemble",
        })
    }
}

/// A finished soup.
pub struct Soup {
    /// Its bundle: that of the first model with the soup's weights, or of all models.
    pub bundle: Bundle,
    /// The held-out macro F1 of each model; empty where no image is held out.
    pub scores: Vec<f64>,
    /// The positions of the models that it is the mean of, ascending.
    pub kept: Vec<usize>,
}

/// Returns what a soup needs: the images that at least one model was trained on, and those that all held out.
///
/// - `experiment`: the settings of the first model's run.
///
/// # Errors
/// Models that are not alike, and data that is not theirs.
pub fn soup_plan(
    experiment: &Experiment,
    manifest: &Manifest,
    ingredients: &[Ingredient],
    device: &Device,
    callback: &(dyn Callback + Sync),
) -> Result<Plan, SoupError> {
    let first = ingredient::check(ingredients, device)?;
    if manifest.task.factors != first.task.factors {
        return Err(SoupError::OtherData("its classes are others".to_owned()));
    }
    let (sides, n_missing) = ingredient::sides(ingredients, manifest)?;
    if sides.train.is_empty() {
        return Err(SoupError::OtherData(
            "it has none of the images that they trained on".to_owned(),
        ));
    }
    if n_missing > 0 {
        let images = Unit::Image.count(n_missing);
        callback.note(&format!("the data lacks {images} that the models trained on"));
    }
    let mut experiment = experiment.clone();
    // The card of a model may be another machine's.
    if let DeviceSetting::Cuda(_) = experiment.device {
        experiment.device = DeviceSetting::Auto;
    }
    // Those of the models, whatever the images are.
    let Statistics { mean, std } = first.members[0].pipeline.statistics;
    experiment.augment.statistics = StatisticsConfig::Given(Given { mean, std });
    Ok(Plan::of_sides(&experiment, manifest, sides, device, callback)?)
}

/// Makes a soup.
///
/// - `plan`: that of [`soup_plan`].
/// - `is_measured`: whether the running statistics of batch norms are measured anew, rather than averaged.
///
/// # Errors
/// A greedy soup without held-out images, and the errors of opening, training and predicting.
pub fn soup(
    plan: &Plan,
    ingredients: &[Ingredient],
    kind: SoupKind,
    is_measured: bool,
    callback: &dyn Callback,
) -> Result<Soup, SoupError> {
    if kind != SoupKind::Ensemble
        && let Some(starts) = ingredient::different_starts(ingredients)?
    {
        callback.note(&format!(
            "note: the models began from different weights ({starts}): the mean of their weights may predict nothing, as a \
             soup needs one common start (Wortsman et al., \"Model Soups\", 2022): fine-tune all from the same \
             `model.pretrained`, or average their predictions with `--kind ensemble`"
        ));
    }
    let has_held_out = !plan.sides.valid.is_empty();
    if kind == SoupKind::Greedy && !has_held_out {
        return Err(SoupError::NoneHeldOut);
    }
    let macro_f1 = |bundle: &Bundle| {
        let engine = Engine::new(plan).map_err(FitError::from)?;
        Ok::<_, FitError>(evaluate(plan, &engine, bundle, callback)?.scores[0].macro_f1)
    };
    let mut scores = Vec::new();
    if has_held_out {
        for it in ingredients {
            scores.push(macro_f1(&it.open(&plan.device)?)?);
        }
    }
    let mean_of = |kept: &[usize]| {
        let kept: Vec<&Ingredient> = kept.iter().map(|&it| &ingredients[it]).collect();
        mixed(plan, &kept, is_measured, callback)
    };
    let all = || (0..ingredients.len()).collect::<Vec<_>>();
    let (kept, bundle) = match kind {
        SoupKind::Uniform => (all(), mean_of(&all())?),
        SoupKind::Ensemble => (all(), together(ingredients, &plan.device)?),
        SoupKind::Greedy => {
            let (kept, accepted) = greedy(&scores, |tried| {
                let bundle = mean_of(tried)?;
                Ok::<_, SoupError>((macro_f1(&bundle)?, bundle))
            })?;
            // The norms of a mean are measured already.
            let bundle = accepted.map_or_else(|| mean_of(&kept), Ok)?;
            (kept, bundle)
        }
    };
    Ok(Soup { bundle, scores, kept })
}

impl Soup {
    /// Predicts the held-out images, writes the table of the predictions, and returns their scores; `None` if no
    /// image is held out. The scores of a greedy soup are optimistically biased: selected on these images. They are
    /// predicted once more, since the scores that selected it have neither test-time augmentation nor intervals.
    ///
    /// # Errors
    /// Those of predicting, and I/O errors.
    pub fn validate(
        &self,
        plan: &Plan,
        table: &Path,
        callback: &dyn Callback,
    ) -> Result<Option<Report>, SoupError> {
        let side = &plan.sides.valid;
        if side.is_empty() {
            return Ok(None);
        }
        let file = BufWriter::new(File::create(table).map_err(at(table))?);
        let what = "validating the soup";
        let report = predict_table(plan, &self.bundle, side, what, callback, (table, file))?;
        Ok(Some(report))
    }

    /// Formats its models and scores as a `report.toml`.
    ///
    /// - `valid`: the scores of the held-out images, if there are any.
    pub fn to_toml(
        &self,
        ingredients: &[Ingredient],
        kind: SoupKind,
        valid: Option<&Report>,
    ) -> String {
        let names = |all: &mut dyn Iterator<Item = &Ingredient>| {
            toml::Value::from(all.map(|it| it.to_string()).collect::<Vec<_>>())
        };
        let all = names(&mut ingredients.iter());
        let kept = names(&mut self.kept.iter().map(|&it| &ingredients[it]));
        let mut text = format!("kind = \"{kind}\"\nmodels = {all}\nkept = {kept}\n");
        if let Some(it) = valid {
            text += &format!("macro_f1 = {}\n", toml::Value::from(self.scores.clone()));
            if kind == SoupKind::Greedy {
                text += "# The models were selected on these images, and there is no nested estimate: the \
                         scores in\n# [valid] are optimistically biased.\n";
            }
            text += &section("valid", it);
        }
        text
    }
}

/// Returns the positions of the models of a greedy soup, ascending, and their mean; `None` for a single model.
///
/// - `scores`: the score of each model; one that is NaN is the lowest.
/// - `mean_of`: the mean of several, with its score.
fn greedy<T, E>(
    scores: &[f64],
    mut mean_of: impl FnMut(&[usize]) -> Result<(f64, T), E>,
) -> Result<(Vec<usize>, Option<T>), E> {
    let score = |it: usize| if scores[it].is_nan() { f64::NEG_INFINITY } else { scores[it] };
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
    let Some((&first, others)) = order.split_first() else { return Ok((order, None)) };
    let (mut kept, mut mean, mut best) = (vec![first], None, score(first));
    for &it in others {
        let mut tried = [&kept[..], &[it]].concat();
        // The order of the sum, and so its last bits, does not depend on the scores.
        tried.sort_unstable();
        let (score, of_tried) = mean_of(&tried)?;
        if score >= best {
            (kept, mean, best) = (tried, Some(of_tried), score);
        }
    }
    Ok((kept, mean))
}

/// Returns the bundle of the mean of some models. A single one is unchanged.
fn mixed(
    plan: &Plan,
    ingredients: &[&Ingredient],
    is_measured: bool,
    callback: &dyn Callback,
) -> Result<Bundle, SoupError> {
    let mut bundle = ingredients[0].open(&plan.device)?;
    if ingredients.len() == 1 {
        return Ok(bundle);
    }
    let tensors = |it: &&Ingredient| -> Result<_, SoupError> {
        Ok(it.open(&plan.device)?.members[0].model.params().to_file()?)
    };
    let tensors = mean(ingredients.iter().map(tensors))?;
    let member = &mut bundle.members[0];
    let model = Model::fresh(member.model.spec(), &member.task, Seed(0), &plan.device)?;
    model.params().load(&tensors).map_err(candle::Error::wrap)?;
    if is_measured && model.params().named().any(|(_, it)| it.kind == Kind::Buffer) {
        let mut progress = |done, total| callback.progress("measuring norms", done, total);
        let engine = Engine::new(plan).map_err(FitError::from)?;
        running_statistics::measure(plan, &engine, &model, plan.epochs.total(), &mut progress)?;
    }
    member.model = Rc::new(model);
    Ok(bundle)
}

/// Returns the ensemble of some models.
fn together(ingredients: &[Ingredient], device: &Device) -> Result<Bundle, SoupError> {
    let mut bundle = ingredients[0].open(device)?;
    for it in &ingredients[1..] {
        bundle.members.extend(it.open(device)?.members);
    }
    Ok(bundle)
}

/// Returns the mean of each tensor, summed in 64-bit floats.
fn mean<E: From<candle::Error>>(
    models: impl IntoIterator<Item = Result<Vec<(String, Tensor)>, E>>,
) -> Result<BTreeMap<String, Tensor>, E> {
    let mut sums: BTreeMap<String, (Tensor, DType)> = BTreeMap::new();
    let mut n = 0.0;
    for tensors in models {
        n += 1.0;
        for (name, tensor) in tensors? {
            let wide = tensor.to_dtype(DType::F64)?;
            let sum = match sums.remove(&name) {
                Some((sum, _)) => (sum + wide)?,
                None => wide,
            };
            sums.insert(name, (sum, tensor.dtype()));
        }
    }
    let mean =
        |(name, (sum, dtype)): (String, (Tensor, DType))| Ok((name, (sum / n)?.to_dtype(dtype)?));
    sums.into_iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use candle::{Device, Tensor};

    use super::{greedy, mean};

    #[test]
    fn weights_are_the_mean_of_those_of_the_models() {
        let model = |a: [f32; 2], b: f32| -> candle::Result<Vec<(String, Tensor)>> {
            let one = Tensor::new(&a, &Device::Cpu)?;
            Ok(vec![
                ("a.w".to_owned(), one),
                ("b.w".to_owned(), Tensor::new(&[[b]], &Device::Cpu)?),
            ])
        };
        // The large numbers cancel in 64-bit floats, where 1 and 2^30 have a sum; in 32-bit floats they do not.
        let large = 1_073_741_824.0;
        let all = [model([1.0, 1.0], 0.5), model([2.0, large], -0.5), model([6.0, -large], 3.0)];
        let mean = mean(all).unwrap();
        assert_eq!(mean.keys().collect::<Vec<_>>(), ["a.w", "b.w"]);
        assert_eq!(mean["a.w"].to_vec1::<f32>().unwrap(), [3.0, 1.0 / 3.0]);
        assert_eq!(mean["b.w"].to_vec2::<f32>().unwrap(), [[1.0]]);
    }

    #[test]
    fn a_greedy_soup_keeps_what_does_not_lower_the_score() {
        let tried = RefCell::new(Vec::new());
        let mean_of = |kept: &[usize]| {
            tried.borrow_mut().push(kept.to_vec());
            let score = match kept {
                [1, 2] => 0.75,
                // Lower than the two alone.
                [1, 2, 3] => 0.74,
                // The same: the paper keeps it.
                [0, 1, 2] => 0.75,
                _ => f64::NAN,
            };
            Ok::<_, ()>((score, kept.to_vec()))
        };
        let (kept, mean) = greedy(&[0.5, 0.7, 0.7, 0.6, f64::NAN], mean_of).unwrap();
        // The mean is that of the models that were kept, not the last that was tried.
        assert_eq!((kept, mean), (vec![0, 1, 2], Some(vec![0, 1, 2])));
        // From the best down; of equal ones the first.
        assert_eq!(
            tried.into_inner(),
            [vec![1, 2], vec![1, 2, 3], vec![0, 1, 2], vec![0, 1, 2, 4]]
        );
        let lower = greedy(&[0.1, 0.9, 0.5], |_| Ok::<_, ()>((0.8, ())));
        assert_eq!(lower.unwrap(), (vec![1], None));
        assert!(greedy::<(), _>(&[0.1, 0.9], |_| Err(())).is_err());
    }
}
