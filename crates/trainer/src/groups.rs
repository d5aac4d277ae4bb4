//! Parameter groups: the learning rate and weight decay of each parameter.
//!
//! A parameter's learning rate is the schedule's, times its stage's multiple, times the factor of the
//! schedule's slice; the head's multiple is `head_lr`.

use models::{Kind, Param};
use serde::{Deserialize, Serialize};

use crate::{schedule::Rates, stage_lr::StageLrConfig};

/// `[groups]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupsSection {
    /// The parameters that weight decay does not apply to.
    pub no_decay: Vec<NoDecay>,
    /// The head's learning rate, as a multiple of the optimizer's.
    pub head_lr: f64,
    /// The learning rates of the backbone's stages.
    pub stage_lr: StageLrConfig,
}

/// Parameters that weight decay need not apply to: with one dimension they shrink for no gain (He et al.,
/// "Bag of Tricks", 2018, <https://arxiv.org/abs/1812.01187>). timm excludes both; PyTorch's optimizers
/// exclude neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoDecay {
    /// The scales and shifts of norms.
    Norm,
    /// The biases of layers, and layer scales.
    Bias,
}

/// The optimizer options of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Group {
    /// The learning rate, as a multiple of the optimizer's.
    scale: f64,
    /// The relative depth, from 0 for the first stage to 1 for the head.
    depth: f64,
    decays: bool,
}

impl Group {
    /// Returns the multiple of the optimizer's learning rate in a step.
    pub(crate) fn lr(&self, rates: Rates) -> f64 {
        let slice = if rates.slice == 1.0 { 1.0 } else { rates.slice.powf(1.0 - self.depth) };
        rates.lr * self.scale * slice
    }

    /// Returns the weight decay, given the optimizer's.
    pub(crate) fn decay(&self, weight_decay: f64) -> f64 {
        if self.decays { weight_decay } else { 0.0 }
    }
}

/// The parameter groups of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamGroups {
    /// The multiple of each stage, the head last. Empty: 1 for all.
    scales: Vec<f64>,
    no_decay: Vec<NoDecay>,
}

impl Default for ParamGroups {
    /// One group.
    fn default() -> ParamGroups {
        ParamGroups { scales: Vec::new(), no_decay: Vec::new() }
    }
}

impl ParamGroups {
    /// Creates the groups of a network from the names of its stages without the head.
    ///
    /// # Errors
    /// The learning rates do not match the stages.
    pub(crate) fn new(section: &GroupsSection, stages: &[&str]) -> Result<ParamGroups, String> {
        let mut scales = section.stage_lr.get().scales(stages)?;
        scales.push(section.head_lr);
        Ok(ParamGroups { scales, no_decay: section.no_decay.clone() })
    }

    /// Returns the multiples of the optimizer's learning rate in a step, of the first stage and of the head.
    pub fn ends(&self, rates: Rates) -> [f64; 2] {
        [0, usize::MAX].map(|stage| self.group(stage, true).lr(rates))
    }

    pub(crate) fn of(&self, param: &Param) -> Group {
        let excluded = match param.kind {
            Kind::Norm => self.no_decay.contains(&NoDecay::Norm),
            Kind::Vector => self.no_decay.contains(&NoDecay::Bias),
            Kind::Matrix | Kind::Dense | Kind::Depthwise | Kind::Buffer => false,
        };
        self.group(param.stage, !excluded)
    }

    fn group(&self, stage: usize, decays: bool) -> Group {
        let last = self.scales.len().saturating_sub(1);
        let stage = stage.min(last);
        Group {
            scale: self.scales.get(stage).copied().unwrap_or(1.0),
            depth: if last == 0 { 1.0 } else { stage as f64 / last as f64 },
            decays,
        }
    }
}

impl GroupsSection {
    /// Returns the first invalid setting as a message, if there is one.
    pub(crate) fn problem(&self) -> Option<String> {
        let is_multiple = self.head_lr > 0.0 && self.head_lr.is_finite();
        let head =
            (!is_multiple).then(|| format!("`head_lr` is a number above 0, not {}", self.head_lr));
        head.or_else(|| self.stage_lr.get().problem())
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;
    use candle::{DType, Device};
    use models::{Init, Kind, Params};

    use super::{GroupsSection, NoDecay, ParamGroups};
    use crate::{schedule::Rates, stage_lr::StageLrConfig};

    fn section(stage_lr: &str) -> GroupsSection {
        let stage_lr: StageLrConfig = toml::from_str(stage_lr).unwrap();
        GroupsSection { no_decay: Vec::new(), head_lr: 10.0, stage_lr }
    }

    /// Returns the multiples of three stages and the head in a step.
    fn multiples(stage_lr: &str, rates: Rates) -> Vec<f64> {
        let groups = ParamGroups::new(&section(stage_lr), &["stem", "stage1", "neck"]).unwrap();
        let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
        for stage in 0..4 {
            let name = stage.to_string();
            let mut builder = params.builder_of(stage);
            builder.param(&name, Kind::Vector, &[1], Init::Constant(0.0)).unwrap();
        }
        let lr = |(_, it): (&str, &models::Param)| groups.of(it).lr(rates);
        params.trainable().map(lr).map(|it| (it * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn stages_have_their_own_learning_rates() {
        let half = Rates::of(0.5);
        assert_eq!(multiples("kind = \"same\"", half), [0.5, 0.5, 0.5, 5.0]);
        // From 1e-3 to 1, the head's, in three factors of ten.
        assert_eq!(multiples("kind = \"slice\"\nfrom = 1e-3", half), [0.0005, 0.005, 0.05, 5.0]);
        let layers = "kind = \"layer_decay\"\ndecay = 0.5\nmin_scale = 0.2";
        assert_eq!(multiples(layers, half), [0.1, 0.125, 0.25, 5.0]);
        assert_eq!(multiples("kind = \"given\"\nvalues = [0, 1, 2]", half), [0.0, 0.5, 1.0, 5.0]);
        // A schedule's slice is multiplied in.
        let sliced = Rates { slice: 1e-3, ..half };
        assert_eq!(multiples("kind = \"same\"", sliced), [0.0005, 0.005, 0.05, 5.0]);
    }

    #[test]
    fn norms_and_biases_can_be_excluded_from_decay() {
        let mut params = Params::fresh(Seed(0), DType::F32, &Device::Cpu);
        for (name, kind, dims) in [
            ("a", Kind::Matrix, &[2, 2][..]),
            ("b", Kind::Vector, &[2]),
            ("c", Kind::Norm, &[2]),
            ("d", Kind::Depthwise, &[3, 3, 2]),
        ] {
            params.builder().param(name, kind, dims, Init::Constant(0.0)).unwrap();
        }
        let decays = |it: &ParamGroups| -> Vec<f64> {
            params.trainable().map(|(_, param)| it.of(param).decay(0.1)).collect()
        };
        let groups = |no_decay: &[NoDecay]| {
            let section =
                GroupsSection { no_decay: no_decay.to_vec(), ..section("kind = \"same\"") };
            ParamGroups::new(&section, &[]).unwrap()
        };
        assert_eq!(decays(&groups(&[NoDecay::Norm, NoDecay::Bias])), [0.1, 0.0, 0.0, 0.1]);
        assert_eq!(decays(&groups(&[NoDecay::Norm])), [0.1, 0.1, 0.0, 0.1]);
        assert_eq!(decays(&groups(&[NoDecay::Bias])), [0.1, 0.0, 0.1, 0.1]);
        assert_eq!(decays(&ParamGroups::default()), [0.1; 4]);
    }

    #[test]
    fn rates_for_unknown_stages_are_an_error() {
        let stages = ["stem", "neck"];
        let err = ParamGroups::new(&section("kind = \"given\"\nvalues = [1]"), &stages);
        assert!(err.unwrap_err().contains("stem, neck"));
    }
}
