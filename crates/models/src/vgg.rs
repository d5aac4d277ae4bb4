//! VGG: 3x3 convolutions and max pooling, followed by fully connected layers.
//!
//! Simonyan & Zisserman, "Very Deep Convolutional Networks", 2014,
//! <https://arxiv.org/abs/1409.1556>, table 1; with batch norm as in torchvision, whose
//! convolutions keep their bias. Adaptive average pooling to 7x7 before the hidden layers allows images
//! of any size.
//! Parameters have timm's names.

use candle::{Result, Var};
use ops::{Activation, Padding, Pass, Value, Window};
use serde::{Deserialize, Serialize};

use crate::{
    Architecture, Layer, Naming, Stage, factor_problem,
    layers::{Conv, ConvNorm, ConvPlan, NormSettings, Pool},
    params::{Init, Kind},
    scaled, share_problem, with_prefix,
};

/// `backbone = { kind = "vgg", depth = 19 }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vgg {
    /// Layers with weights: 11, 13, 16 or 19.
    pub depth: usize,
    /// Whether the convolutions are followed by batch norms.
    pub batch_norm: bool,
    /// Width of the two hidden layers after the convolutions; with 0 there are none, but global average
    /// pooling.
    pub hidden: usize,
    /// Dropout probability after each hidden layer.
    pub dropout: f64,
    /// Multiplies the convolutions' widths; published weights fit only 1.0.
    pub width: f64,
}

impl Default for Vgg {
    /// VGG-19 as published.
    fn default() -> Vgg {
        Vgg { depth: 19, batch_norm: false, hidden: 4096, dropout: 0.5, width: 1.0 }
    }
}

const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];
const DEPTHS: [usize; 4] = [11, 13, 16, 19];
/// The size of the feature map before the hidden layers.
const MAP: [usize; 2] = [7, 7];

impl Vgg {
    /// The number of convolutions of each stage.
    fn convs(&self) -> Option<[usize; 5]> {
        Some(match self.depth {
            11 => [1, 1, 2, 2, 2],
            13 => [2, 2, 2, 2, 2],
            16 => [2, 2, 3, 3, 3],
            19 => [2, 2, 4, 4, 4],
            _ => return None,
        })
    }

    fn widths(&self) -> [usize; 5] {
        WIDTHS.map(|it| scaled(it, self.width, 8))
    }
}

impl Architecture for Vgg {
    fn stages(&self) -> Vec<Stage<'_>> {
        let (widths, mut n_in, mut place) = (self.widths(), 3, 0);
        let mut stages = Vec::new();
        for (stage, depth) in self.convs().unwrap_or_default().into_iter().enumerate() {
            let (from, first, n_out) = (n_in, place, widths[stage]);
            // torchvision numbers convolution, norm and activation, and the pooling at the end.
            let step = if self.batch_norm { 3 } else { 2 };
            (n_in, place) = (n_out, place + depth * step + 1);
            stages.push(Stage::new(format!("stage{}", stage + 1), move |mut it| {
                let mut layers: Vec<Box<dyn Layer>> = Vec::new();
                for idx in 0..depth {
                    let place = first + idx * step;
                    let n_in = if idx == 0 { from } else { n_out };
                    let window = Window::square(3, 1, Padding::Symmetric);
                    let plan = ConvPlan { has_bias: true, ..ConvPlan::dense(n_in, n_out, window) };
                    let conv = format!("features.{place}");
                    layers.push(match self.batch_norm {
                        false => Box::new(Activated(plan.build(it.under(conv))?)),
                        true => {
                            let names = [&*conv, &*format!("features.{}", place + 1)];
                            let (norm, activation) = (NormSettings::PLAIN, Activation::Relu);
                            Box::new(ConvNorm::new(&mut it, names, &plan, norm, activation)?)
                        }
                    });
                }
                layers.push(Box::new(Halve));
                Ok(layers)
            }));
        }
        stages.push(Stage::new("neck", move |mut it| {
            if self.hidden == 0 {
                return Ok(Box::new(Pool) as Box<dyn Layer>);
            }
            let mut fc = |name, area: [usize; 2], n_in| {
                let path = it.path_of(format!("pre_logits.{name}"));
                let mut place = it.under(format!("pre_logits.{name}"));
                let dims = [self.hidden, area[0], area[1], n_in];
                Ok::<_, candle::Error>(Hidden {
                    weight: place.param("weight", Kind::Dense, &dims, Init::Normal(0.01))?,
                    bias: place.param("bias", Kind::Vector, &dims[..1], Init::Constant(0.0))?,
                    dropout: self.dropout,
                    path,
                })
            };
            let hidden = [fc("fc1", MAP, n_in)?, fc("fc2", [1, 1], self.hidden)?];
            Ok(Box::new(Neck { hidden }) as Box<dyn Layer>)
        }));
        stages
    }

    fn width(&self) -> usize {
        if self.hidden == 0 { self.widths()[4] } else { self.hidden }
    }

    fn problem(&self) -> Option<String> {
        let depth = self.convs().is_none();
        depth
            .then(|| format!("`depth` is one of {DEPTHS:?}, not {}", self.depth))
            .or_else(|| share_problem("dropout", self.dropout))
            .or_else(|| factor_problem("width", self.width))
            .or_else(|| {
                (self.hidden > 65_536)
                    .then(|| format!("`hidden` is at most 65536, not {}", self.hidden))
            })
    }

    fn namings(&self, ours: &[String]) -> Vec<Naming> {
        let hidden = [("pre_logits.fc1", "classifier.0"), ("pre_logits.fc2", "classifier.3")];
        vec![
            Naming::of("timm", ours, "head.fc", str::to_owned),
            Naming::of("torchvision", ours, "classifier.6", |it| with_prefix(it, &hidden)),
        ]
    }
}

/// A convolution with its bias, and ReLU.
struct Activated(Conv);

impl Layer for Activated {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        self.0.activated(xs, pass, Activation::Relu)
    }
}

/// 2x2 max pooling.
struct Halve;

impl Layer for Halve {
    fn forward(&self, xs: &Value, _: &Pass<'_>) -> Result<Value> {
        ops::max_pool(xs, Window::square(2, 2, Padding::Symmetric))
    }
}

/// A hidden layer, ReLU and dropout.
struct Hidden {
    weight: Var,
    bias: Var,
    dropout: f64,
    path: String,
}

struct Neck {
    hidden: [Hidden; 2],
}

impl Layer for Neck {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        let map = ops::adaptive_avg_pool(xs, MAP)?;
        let mut xs = map.reshape(&[map.dims()[0], map.dims()[1..].iter().product()])?;
        for Hidden { weight, bias, dropout, path } in &self.hidden {
            let ys = ops::linear(&xs, &pass.param(weight), Some(&pass.param(bias)), None)?;
            xs = ops::dropout(&ops::activate(&ys, Activation::Relu)?, *dropout, pass, path)?;
        }
        Ok(xs)
    }
}

#[cfg(test)]
mod tests {
    use candle::Result;

    use super::Vgg;
    use crate::{Architecture as _, stage::n_params};

    #[test]
    fn parameter_counts_match_torchvision() -> Result<()> {
        // torchvision's counts of VGG-16 and of VGG-19 with batch norm, with 1000 classes, without the
        // classifier and the hidden layers.
        let hidden = (25_088 + 1) * 4096 + 4097 * 4096 + 4097 * 1000;
        let plain = Vgg { depth: 16, hidden: 0, ..Vgg::default() };
        assert_eq!(n_params(&plain)?, 138_357_544 - hidden);
        let normed = Vgg { hidden: 0, batch_norm: true, ..Vgg::default() };
        assert_eq!(n_params(&normed)?, 143_678_248 - hidden);
        assert_eq!((plain.width(), Vgg::default().width()), (512, 4096));
        Ok(())
    }
}
