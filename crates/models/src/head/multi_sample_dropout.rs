//! One linear layer that is trained on several dropout masks of the same features at once.
//!
//! With x_k the features under mask k and y the labels, the loss is (1/n) Σ_k L(W x_k + b, y)
//! (`mean = "loss"`, as in the paper), or L of the mean logits, W (Σ_k x_k / n) + b, as in common code
//! (`mean = "logits"`); since L is convex in the logits, the latter is never larger. At inference there
//! is no mask.
//!
//! Inoue, "Multi-Sample Dropout for Accelerated Training and Better Generalization", 2019,
//! <https://arxiv.org/abs/1905.09788>: most of a step is the backbone, whose forward pass runs only once.

use base::{Task, task::Scope};
use candle::{Device, Result, Tensor};
use ops::{Form, Output, Pass, Value};
use serde::{Deserialize, Serialize};

use super::{BuiltHead, Head, HeadInput, OutputSpec, dropout_problem};
use crate::{
    layers::{Linear, LinearInit},
    params::Builder,
};

/// `[head] kind = "multi_sample_dropout"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MultiSampleDropout {
    /// Number of masks.
    pub samples: usize,
    /// Dropout probability of the features in each mask, in 0..1.
    pub dropout: f64,
    /// The quantity that is averaged over the masks.
    pub mean: Mean,
    /// Initialisation of the layer.
    pub init: LinearInit,
}

/// The quantity that is averaged over the masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mean {
    /// The losses.
    Loss,
    /// The logits, before the loss.
    Logits,
}

impl Default for MultiSampleDropout {
    /// Five masks of 0.5, as in common code; the mean of the losses is the paper's.
    fn default() -> MultiSampleDropout {
        let init = LinearInit::Default;
        MultiSampleDropout { samples: 5, dropout: 0.5, mean: Mean::Loss, init }
    }
}

impl Head for MultiSampleDropout {
    fn build(
        &self,
        on: HeadInput<'_>,
        task: &Task,
        mut builder: Builder<'_>,
    ) -> Result<Box<dyn BuiltHead>> {
        let names = (0..self.samples).map(|idx| builder.path_of(format!("dropout.{idx}")));
        let names = names.collect();
        let linear =
            Linear::new(builder.under("joint"), on.n_features, task.n_classes(), self.init)?;
        Ok(Box::new(Built { linear, names, dropout: self.dropout, mean: self.mean }))
    }

    fn outputs(&self, task: &Task) -> Result<Vec<OutputSpec>> {
        let joint = OutputSpec::joint(task);
        Ok(match self.mean {
            Mean::Logits => vec![joint],
            Mean::Loss => {
                let share = 1.0 / self.samples as f64;
                vec![OutputSpec { weight: share, ..joint }; self.samples]
            }
        })
    }

    fn classifier(&self) -> Option<&'static str> {
        Some("joint")
    }

    fn problem(&self) -> Option<String> {
        let is_count = (1..=64).contains(&self.samples);
        let samples =
            (!is_count).then(|| format!("`samples` is from 1 to 64, not {}", self.samples));
        dropout_problem(self.dropout).or(samples)
    }
}

struct Built {
    linear: Linear,
    /// The name of each mask's random stream.
    names: Vec<String>,
    dropout: f64,
    mean: Mean,
}

impl BuiltHead for Built {
    fn outputs(&self, features: &Value, pass: &Pass<'_>) -> Result<Vec<Output<Value>>> {
        let output = |features: &Value, weight: f64| {
            let logits = self.linear.forward(features, pass)?;
            Ok(Output { weight, ..Output::new(Scope::Joint, Form::Classes, logits) })
        };
        if !pass.is_training() {
            return Ok(vec![output(features, 1.0)?]);
        }
        let share = 1.0 / self.names.len() as f64;
        let masked = |name: &String| ops::dropout(features, self.dropout, pass, name);
        match self.mean {
            Mean::Loss => self.names.iter().map(|it| output(&masked(it)?, share)).collect(),
            Mean::Logits => {
                // The mean of a linear layer's outputs is its output for the mean input.
                let mut sum = masked(&self.names[0])?;
                for name in &self.names[1..] {
                    sum = ops::add(&sum, &masked(name)?)?;
                }
                let share = Tensor::full(share, sum.dims(), &Device::Cpu)?.to_dtype(sum.dtype())?;
                Ok(vec![output(&ops::gate(&sum, &Value::constant(share))?, 1.0)?])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{Seed, Task};
    use candle::{DType, Device, Result, Tensor};
    use ops::{Output, Pass, Prepacked, Tape, Training, Value};
    use testkit::{check_close, numbers};

    use super::{Mean, MultiSampleDropout};
    use crate::{Head as _, HeadInput, params::Params};

    fn outputs(mean: Mean, pass: &Pass<'_>) -> Result<Vec<Output<Value>>> {
        let mut params = Params::fresh(Seed(3), DType::F64, &Device::Cpu);
        let head = MultiSampleDropout { samples: 4, mean, ..MultiSampleDropout::default() };
        let heads = head.build(
            HeadInput { n_features: 6, last: &[] },
            &Task::mask_gender_age(),
            params.builder(),
        )?;
        let features = Tensor::from_vec(numbers("features", 12), (2, 6), &Device::Cpu)?;
        heads.outputs(&Value::constant(features), pass)
    }

    #[test]
    fn mean_of_logits_is_the_mean_over_the_same_masks() -> Result<()> {
        let tape = Tape::default();
        let pass = || {
            Pass::Train(Training {
                tape: &tape,
                seed: Seed(0),
                step: 0,
                first_row: 0,
                momentum: None,
            })
        };
        let each = outputs(Mean::Loss, &pass())?;
        assert_eq!(each.iter().map(|it| it.weight).collect::<Vec<_>>(), [0.25; 4]);
        let mut sum = Tensor::zeros((2, 18), DType::F64, &Device::Cpu)?;
        for it in &each {
            sum = (sum + it.numbers.tensor()?)?;
        }
        let flat = |it: &Output<Value>| it.numbers.tensor()?.flatten_all()?.to_vec1::<f64>();
        assert_ne!(flat(&each[0])?, flat(&each[1])?);
        let mean = outputs(Mean::Logits, &pass())?;
        assert_eq!((mean.len(), mean[0].weight), (1, 1.0));
        let want = (sum * 0.25)?.flatten_all()?.to_vec1::<f64>()?;
        check_close(&mean[0].numbers.tensor()?, &want, 1e-12);
        Ok(())
    }

    #[test]
    fn inference_has_one_output() -> Result<()> {
        for mean in [Mean::Loss, Mean::Logits] {
            let outputs = outputs(mean, &Pass::Eval(&Prepacked::default()))?;
            assert_eq!((outputs.len(), outputs[0].weight), (1, 1.0));
        }
        Ok(())
    }
}
