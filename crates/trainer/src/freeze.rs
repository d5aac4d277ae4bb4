//! Freezing: parts of the network that are not trained for a while.
//!
//! A frozen parameter is a constant: it gets no gradient, no optimizer step and no weight decay. Where all
//! layers below are frozen too, no backward pass is computed. A frozen batch norm uses its running statistics
//! and does not update them.

use std::{collections::HashSet, ops::Range, rc::Rc};

use base::{Epochs, Length};
use candle::TensorId;
use models::{Kind, Model, Param, Stage};
use serde::{Deserialize, Serialize};

use crate::layers::Layers;

/// One item of `[train] freeze`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// `backbone`, `norm` (every norm of the backbone), a stage such as `stem`, or several, such
    /// as `stem..stage3`.
    pub layers: String,
    /// When it begins; defaults to the beginning of the run.
    #[serde(default = "start")]
    pub from: Length,
    /// When it ends; defaults to the end of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Length>,
}

fn start() -> Length {
    Length::Steps(0)
}

impl Freeze {
    /// Freezes the whole backbone from the beginning.
    pub(crate) fn backbone(until: Length) -> Freeze {
        Freeze { layers: "backbone".to_owned(), from: start(), until: Some(until) }
    }
}

/// The items of a run, with their steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Freezing(Vec<(Layers, Range<usize>)>);

impl Freezing {
    /// Resolves the items.
    ///
    /// - `stages`: the stages of the backbone.
    ///
    /// # Errors
    /// An item names an unknown stage, or is never in effect.
    pub(crate) fn new(
        items: &[Freeze],
        stages: &[Stage<'_>],
        epochs: &Epochs,
    ) -> Result<Freezing, String> {
        let total = epochs.total();
        let item = |it: &Freeze| {
            let steps = |length: &Length| length.to_steps(epochs);
            let (from, until) = (steps(&it.from), it.until.as_ref().map_or(total, steps));
            if from >= until.min(total) {
                return Err(format!(
                    "`{}` is frozen from step {from} to step {until} of {total}, which is never: set `from` \
                     before `until`, both within the run",
                    it.layers
                ));
            }
            Ok((Layers::of_backbone(&it.layers, stages)?, from..until))
        };
        items.iter().map(item).collect::<Result<_, String>>().map(Freezing)
    }

    /// Returns a note on each item.
    pub(crate) fn notes(items: &[Freeze]) -> impl Iterator<Item = String> {
        let shown = |it: Length| match it {
            Length::Epochs(1.0) => "1 epoch".to_owned(),
            Length::Steps(1) => "1 step".to_owned(),
            Length::Percent(_) => format!("{it} of the steps"),
            Length::Epochs(_) | Length::Steps(_) => it.to_string(),
        };
        items.iter().map(move |it| {
            let from = Some(it.from).filter(|it| !it.is_none()).map(shown);
            let when = match (from, it.until.map(shown)) {
                (None, None) => "throughout".to_owned(),
                (None, Some(until)) => format!("for {until}"),
                (Some(from), None) => format!("after {from}"),
                (Some(from), Some(until)) => format!("after {from}, until {until} are over"),
            };
            format!("`{}` is frozen {when}", it.layers)
        })
    }

    /// Returns the parameters that are frozen in a step.
    pub(crate) fn at(&self, step: usize, model: &Model) -> Rc<HashSet<TensorId>> {
        let active: Vec<&Layers> = self.active(step).collect();
        let trained = if active.is_empty() { None } else { Some(model.params().trainable()) };
        let frozen = trained.into_iter().flatten().filter(|(_, it)| contain(&active, it, model));
        Rc::new(frozen.map(|(_, it)| it.var.id()).collect())
    }

    /// Returns the running statistics that are frozen in a step, by name.
    pub(crate) fn frozen_statistics<'a>(
        &self,
        step: usize,
        model: &'a Model,
    ) -> impl Iterator<Item = (&'a str, &'a Param)> {
        let active: Vec<&Layers> = self.active(step).collect();
        let buffers = model.params().named().filter(|(_, it)| it.kind == Kind::Buffer);
        buffers.filter(move |(_, it)| contain(&active, it, model))
    }

    fn active(&self, step: usize) -> impl Iterator<Item = &Layers> {
        self.0.iter().filter(move |(_, steps)| steps.contains(&step)).map(|it| &it.0)
    }
}

/// Returns whether layers of the backbone contain a parameter or running statistic.
fn contain(layers: &[&Layers], it: &Param, model: &Model) -> bool {
    let head = model.stages().len() - 1;
    layers.iter().any(|layers| layers.contain(it, head))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use base::{Epochs, Length, Seed, Task};
    use candle::{DType, Device, Tensor};
    use models::{BackboneConfig, EfficientNet, HeadConfig, Joint, Kind, Model, ModelSpec};
    use ops::{Pass, Tape, Training};

    use super::{Freeze, Freezing, start};

    /// Ten epochs of ten steps.
    fn epochs() -> Epochs {
        Epochs::new(Length::Epochs(10.0), |_| Ok(10)).unwrap()
    }

    fn model() -> Model {
        let config = EfficientNet { width: 0.25, depth: 0.34, ..EfficientNet::default() };
        let backbone = BackboneConfig::EfficientNet(config);
        let spec = ModelSpec { backbone, head: HeadConfig::Joint(Joint::default()) };
        Model::fresh(&spec, &Task::mask_gender_age(), Seed(0), &Device::Cpu).unwrap()
    }

    /// Returns the names of the parameters that are frozen in a step.
    fn frozen(items: &[Freeze], step: usize) -> Vec<String> {
        let model = model();
        let stages = model.spec().backbone.get().stages();
        let frozen = Freezing::new(items, &stages, &epochs()).unwrap().at(step, &model);
        let named = model.params().named().filter(|(_, it)| frozen.contains(&it.var.id()));
        named.map(|(name, _)| name.to_owned()).collect()
    }

    fn item(layers: &str) -> Freeze {
        Freeze { layers: layers.to_owned(), from: start(), until: None }
    }

    #[test]
    fn names_select_their_layers() {
        let all = frozen(&[item("backbone")], 99);
        assert!(all.iter().all(|it| !it.starts_with("head.")));
        assert_eq!(all.len(), model().params().trainable().count() - 2);
        let stem = frozen(&[item("stem")], 0);
        assert_eq!(stem, ["bn1.bias", "bn1.weight", "conv_stem.weight"]);
        let two = frozen(&[item("stem..stage1")], 0);
        assert!(two.len() > 3 && two.iter().all(|it| !it.starts_with("blocks.1.")), "{two:?}");
        let norms = frozen(&[item("norm")], 0);
        assert!(norms.iter().all(|it| it.contains("bn")) && norms.len() > 20, "{norms:?}");
    }

    #[test]
    fn freezing_begins_and_ends() {
        let from = Length::Epochs(1.0);
        let items = [Freeze { from, until: Some(Length::Steps(20)), ..item("stem") }];
        for (step, n) in [(0, 0), (9, 0), (10, 3), (19, 3), (20, 0)] {
            assert_eq!(frozen(&items, step).len(), n, "{step}");
        }
    }

    #[test]
    fn frozen_layers_get_no_gradient_and_keep_their_statistics() -> candle::Result<()> {
        for name in ["backbone", "norm", "stem..stage3"] {
            let model = model();
            let stages = model.spec().backbone.get().stages();
            let frozen = Freezing::new(&[item(name)], &stages, &epochs()).unwrap().at(0, &model);
            let statistics = || -> Vec<Vec<f32>> {
                let buffers = model.params().named().filter(|(_, it)| it.kind == Kind::Buffer);
                let buffers = buffers.filter(|(_, it)| name != "stem..stage3" || it.stage < 4);
                buffers.map(|(_, it)| it.var.to_vec1().unwrap()).collect()
            };
            let before = statistics();
            let tape = Tape::freezing(Rc::clone(&frozen));
            let training =
                Training { tape: &tape, seed: Seed(0), step: 0, first_row: 0, momentum: None };
            let pixels = testkit::numbers("pixels", 2 * 64 * 64 * 3);
            let xs =
                Tensor::from_vec(pixels, (2, 64, 64, 3), &Device::Cpu)?.to_dtype(DType::F32)?;
            let outputs = model.forward(&xs, &Pass::Train(training))?;
            let loss = outputs[0].numbers.sqr()?.sum_all()?;
            let gradients = tape.backward(&loss)?;
            for (param, it) in model.params().trainable() {
                let is_frozen = frozen.contains(&it.var.id());
                assert_eq!(gradients.get(&it.var).is_none(), is_frozen, "{name}: {param}");
            }
            assert_eq!(before, statistics(), "{name}");
        }
        Ok(())
    }

    #[test]
    fn notes_say_when_layers_are_frozen() {
        let note = |from: &str, until: Option<&str>| {
            let until = until.map(|it| it.parse().unwrap());
            let items = [Freeze { from: from.parse().unwrap(), until, ..item("stem") }];
            Freezing::notes(&items).next().unwrap()
        };
        assert_eq!(note("0 steps", None), "`stem` is frozen throughout");
        assert_eq!(note("0 epochs", Some("1 epochs")), "`stem` is frozen for 1 epoch");
        assert_eq!(note("0 steps", Some("5 %")), "`stem` is frozen for 5 % of the steps");
        assert_eq!(note("2 epochs", None), "`stem` is frozen after 2 epochs");
        let both = note("1 steps", Some("20 steps"));
        assert_eq!(both, "`stem` is frozen after 1 step, until 20 steps are over");
    }

    #[test]
    fn an_item_that_is_never_in_effect_is_an_error() {
        let model = model();
        let stages = model.spec().backbone.get().stages();
        let never = Freeze { until: Some(Length::Steps(0)), ..item("stem") };
        let err = Freezing::new(&[never], &stages, &epochs()).unwrap_err();
        assert!(err.contains("never"), "{err}");
    }
}
