//! The layers of backbones.

use candle::{Result, Var};
use ops::{Activation, Epilogue, Padding, Pass, RunningStatistics, Training, Value, Window};
use serde::{Deserialize, Serialize};

use crate::{
    Layer,
    params::{Builder, Init, Kind},
};

/// A convolution: dense, 1x1, grouped, or depthwise.
pub(crate) struct Conv {
    weight: Var,
    bias: Option<Var>,
    window: Window,
    kind: Kind,
    groups: usize,
    n_out: usize,
}

/// The specification of a convolution.
pub(crate) struct ConvPlan {
    pub(crate) n_in: usize,
    pub(crate) n_out: usize,
    pub(crate) window: Window,
    /// Number of groups; as many as channels make it depthwise.
    pub(crate) groups: usize,
    pub(crate) has_bias: bool,
    pub(crate) init: Init,
}

impl ConvPlan {
    /// Without bias, in one group.
    pub(crate) fn dense(n_in: usize, n_out: usize, window: Window) -> ConvPlan {
        let init = Init::KaimingFanOut;
        ConvPlan { n_in, n_out, window, groups: 1, has_bias: false, init }
    }

    pub(crate) fn build(&self, mut builder: Builder<'_>) -> Result<Conv> {
        let &ConvPlan { n_in, n_out, window, groups, init, .. } = self;
        let [kh, kw] = window.kernel;
        let (kind, dims) = match groups > 1 && groups == n_in && groups == n_out {
            true => (Kind::Depthwise, vec![kh, kw, n_in]),
            false => (Kind::Dense, vec![n_out, kh, kw, n_in / groups]),
        };
        let weight = builder.param("weight", kind, &dims, init)?;
        let bias = match self.has_bias {
            true => Some(builder.param("bias", Kind::Vector, &[n_out], Init::Constant(0.0))?),
            false => None,
        };
        Ok(Conv { weight, bias, window, kind, groups, n_out })
    }
}

impl Conv {
    /// From `n_in` to `n_out` channels.
    pub(crate) fn dense(
        builder: Builder<'_>,
        n_in: usize,
        n_out: usize,
        window: Window,
    ) -> Result<Conv> {
        ConvPlan::dense(n_in, n_out, window).build(builder)
    }

    /// A 1x1 convolution from `n_in` to `n_out` channels.
    pub(crate) fn pointwise(builder: Builder<'_>, n_in: usize, n_out: usize) -> Result<Conv> {
        Conv::dense(builder, n_in, n_out, Window::square(1, 1, Padding::Symmetric))
    }

    /// A depthwise convolution of `c` channels.
    pub(crate) fn depthwise(builder: Builder<'_>, c: usize, window: Window) -> Result<Conv> {
        ConvPlan { groups: c, ..ConvPlan::dense(c, c, window) }.build(builder)
    }

    /// The convolution without its bias; a 1x1 convolution, which is a linear layer, includes it.
    fn convolve(&self, xs: &Value, pass: &Pass<'_>, then: Option<&Epilogue>) -> Result<Value> {
        let weight = pass.param(&self.weight);
        match self.kind {
            Kind::Depthwise => ops::depthwise(xs, &weight, self.window, then),
            _ if self.is_pointwise() => {
                let bias = self.bias.as_ref().map(|it| pass.param(it));
                ops::linear(xs, &weight, bias.as_ref(), then)
            }
            _ => ops::conv2d(xs, &weight, self.window, then),
        }
    }

    fn is_pointwise(&self) -> bool {
        self.window.kernel == [1, 1] && self.window.stride == 1 && self.groups == 1
    }

    /// The bias that [`Conv::convolve`] does not add.
    fn late_bias(&self) -> Option<&Var> {
        self.bias.as_ref().filter(|_| !self.is_pointwise())
    }

    /// The convolution with its bias and the epilogue `then`, for passes without gradients.
    pub(crate) fn with_epilogue(
        &self,
        xs: &Value,
        pass: &Pass<'_>,
        then: Epilogue,
    ) -> Result<Value> {
        let then = match self.late_bias() {
            Some(bias) => then.after_bias(bias)?,
            None => then,
        };
        self.convolve(xs, pass, Some(&then))
    }

    /// The convolution with its bias and an activation.
    pub(crate) fn activated(
        &self,
        xs: &Value,
        pass: &Pass<'_>,
        activation: Activation,
    ) -> Result<Value> {
        let c = self.n_out;
        match (self.late_bias(), pass) {
            (None, Pass::Eval(_)) if activation == Activation::None => {
                self.convolve(xs, pass, None)
            }
            (_, Pass::Eval(_)) => {
                self.with_epilogue(xs, pass, Epilogue::line(c, None, None, activation)?)
            }
            (None, _) => ops::activate(&self.convolve(xs, pass, None)?, activation),
            (Some(bias), _) => {
                let ys = self.convolve(xs, pass, None)?;
                ops::scale_and_shift(&ys, None, Some(&pass.param(bias)), activation)
            }
        }
    }
}

impl Layer for Conv {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        self.activated(xs, pass, Activation::None)
    }
}

/// Batch norm and the activation after it.
pub(crate) struct BatchNorm {
    path: String,
    weight: Var,
    bias: Var,
    running_mean: Var,
    running_var: Var,
    pub(crate) activation: Activation,
    settings: NormSettings,
}

/// The settings of a network's batch norms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NormSettings {
    /// Added to the variance.
    pub(crate) eps: f64,
    /// The weight of each batch in the running statistics, as PyTorch defines it.
    pub(crate) momentum: f64,
    /// Whether the scale is initialised to 0, so that a residual block starts as the identity: Goyal et
    /// al., "Accurate, Large Minibatch SGD", 2017.
    pub(crate) starts_at_zero: bool,
}

impl NormSettings {
    /// PyTorch's.
    pub(crate) const PLAIN: NormSettings =
        NormSettings { eps: 1e-5, momentum: 0.1, starts_at_zero: false };
}

impl BatchNorm {
    pub(crate) fn new(
        mut builder: Builder<'_>,
        c: usize,
        settings: NormSettings,
        activation: Activation,
    ) -> Result<BatchNorm> {
        let path = builder.path_of("");
        let gamma = if settings.starts_at_zero { 0.0 } else { 1.0 };
        let mut param = |name, kind, value| builder.param(name, kind, &[c], Init::Constant(value));
        Ok(BatchNorm {
            path: path.trim_end_matches('.').to_owned(),
            weight: param("weight", Kind::Norm, gamma)?,
            bias: param("bias", Kind::Norm, 0.0)?,
            running_mean: param("running_mean", Kind::Buffer, 0.0)?,
            running_var: param("running_var", Kind::Buffer, 1.0)?,
            activation,
            settings,
        })
    }

    fn running(&self, pass: &Training<'_>) -> RunningStatistics<'_> {
        let momentum = pass.momentum.unwrap_or(self.settings.momentum);
        RunningStatistics { mean: &self.running_mean, variance: &self.running_var, momentum }
    }

    /// The epilogue of a convolution at inference: this norm with its running statistics, and `activation`.
    pub(crate) fn epilogue(&self, pass: &Pass<'_>, activation: Activation) -> Result<Epilogue> {
        let (gamma, beta) = (pass.param(&self.weight), pass.param(&self.bias));
        let running = (self.running_mean.as_tensor(), self.running_var.as_tensor());
        Epilogue::norm(&gamma, &beta, running, self.settings.eps, activation)
    }
}

impl Layer for BatchNorm {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        let (gamma, beta) = (pass.param(&self.weight), pass.param(&self.bias));
        let eps = self.settings.eps;
        match pass {
            Pass::Train(it) if !it.tape.is_frozen(&self.weight) => {
                let running = self.running(it);
                ops::batch_norm_running(xs, &gamma, &beta, running, eps, self.activation)
                    .map_err(|err| err.context(self.path.clone()))
            }
            _ => {
                let running = (self.running_mean.as_tensor(), self.running_var.as_tensor());
                ops::batch_norm_fixed(xs, &gamma, &beta, running, eps, self.activation)
            }
        }
    }
}

/// A convolution, its norm and its activation.
pub(crate) struct ConvNorm {
    pub(crate) conv: Conv,
    pub(crate) norm: BatchNorm,
}

impl ConvNorm {
    /// - `names`: the names of the convolution and the norm.
    pub(crate) fn new(
        builder: &mut Builder<'_>,
        [conv, norm]: [&str; 2],
        plan: &ConvPlan,
        settings: NormSettings,
        activation: Activation,
    ) -> Result<ConvNorm> {
        Ok(ConvNorm {
            conv: plan.build(builder.under(conv))?,
            norm: BatchNorm::new(builder.under(norm), plan.n_out, settings, activation)?,
        })
    }
}

impl Layer for ConvNorm {
    fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        match pass {
            Pass::Eval(_) => {
                self.conv.with_epilogue(xs, pass, self.norm.epilogue(pass, self.norm.activation)?)
            }
            _ => self.norm.forward(&self.conv.forward(xs, pass)?, pass),
        }
    }
}

impl ConvNorm {
    /// This 1x1 convolution, followed by a depthwise one.
    pub(crate) fn then_depthwise(
        &self,
        depthwise: &ConvNorm,
        xs: &Value,
        pass: &Pass<'_>,
    ) -> Result<Value> {
        match pass {
            Pass::Eval(_) => {
                let then = |it: &ConvNorm| it.norm.epilogue(pass, it.norm.activation);
                let (weight, window) = (pass.param(&depthwise.conv.weight), depthwise.conv.window);
                let expand = (&pass.param(&self.conv.weight), &then(self)?);
                ops::expand_depthwise(xs, expand, &weight, window, &then(depthwise)?)
            }
            Pass::Train(it) if !it.tape.is_frozen(&self.norm.weight) => {
                let (expand, weight) = (&self.conv.weight, &depthwise.conv.weight);
                let [expand, weight, gamma, beta] =
                    [expand, weight, &self.norm.weight, &self.norm.bias].map(|it| pass.param(it));
                let norm = ops::BatchNorm {
                    gamma: &gamma,
                    beta: &beta,
                    running: self.norm.running(it),
                    eps: self.norm.settings.eps,
                    activation: self.norm.activation,
                };
                let window = depthwise.conv.window;
                let ys = ops::expand_norm_depthwise(xs, (&expand, norm), &weight, window)
                    .map_err(|err| err.context(self.norm.path.clone()))?;
                depthwise.norm.forward(&ys, pass)
            }
            _ => depthwise.forward(&self.forward(xs, pass)?, pass),
        }
    }
}

/// y = x Wᵀ + b.
pub(crate) struct Linear {
    weight: Var,
    bias: Var,
}

/// The initialisation of a linear layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinearInit {
    /// PyTorch's default: weights and biases uniform within ±1 / √in.
    #[default]
    Default,
    /// Weights uniform within ±√(6 / (in + out)), biases 0: Glorot & Bengio, 2010.
    Xavier,
    /// Weights normal with variance 2 / in, biases 0: He et al., 2015, for layers before a ReLU.
    Kaiming,
    /// Weights normal with std 0.02, biases 0: timm's `trunc_normal_`, which truncates at -2 and 2, a
    /// hundred standard deviations away, so that nothing is ever truncated.
    TruncNormal,
}

impl LinearInit {
    /// The initialisations of the weight and of the bias.
    pub(crate) fn of(self, n_in: usize, n_out: usize) -> [Init; 2] {
        let (fan_in, fans) = (n_in as f64, (n_in + n_out) as f64);
        let zero = Init::Constant(0.0);
        match self {
            LinearInit::Default => [Init::Uniform(1.0 / fan_in.sqrt()); 2],
            LinearInit::Xavier => [Init::Uniform((6.0 / fans).sqrt()), zero],
            LinearInit::Kaiming => [Init::Normal((2.0 / fan_in).sqrt()), zero],
            LinearInit::TruncNormal => [Init::Normal(0.02), zero],
        }
    }
}

impl Linear {
    pub(crate) fn new(
        mut builder: Builder<'_>,
        n_in: usize,
        n_out: usize,
        init: LinearInit,
    ) -> Result<Linear> {
        let [weight, bias] = init.of(n_in, n_out);
        Ok(Linear {
            weight: builder.param("weight", Kind::Matrix, &[n_out, n_in], weight)?,
            bias: builder.param("bias", Kind::Vector, &[n_out], bias)?,
        })
    }

    pub(crate) fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        ops::linear(xs, &pass.param(&self.weight), Some(&pass.param(&self.bias)), None)
    }
}

/// Squeeze-and-excitation: gates each channel by a function of the globally pooled features.
///
/// Hu et al., "Squeeze-and-Excitation Networks", 2017, <https://arxiv.org/abs/1709.01507>.
pub(crate) struct SqueezeExcite {
    reduce: (Var, Var),
    expand: (Var, Var),
    activation: Activation,
}

impl SqueezeExcite {
    /// - `names`: the names of the layer that reduces and the one that expands.
    pub(crate) fn new(
        mut builder: Builder<'_>,
        c: usize,
        c_reduced: usize,
        activation: Activation,
        [reduce, expand]: [&str; 2],
    ) -> Result<SqueezeExcite> {
        let mut conv = |name: &str, n_in: usize, n_out: usize| -> Result<(Var, Var)> {
            let mut builder = builder.under(name);
            let dims = [n_out, 1, 1, n_in];
            let weight = builder.param("weight", Kind::Dense, &dims, Init::KaimingFanOut)?;
            Ok((weight, builder.param("bias", Kind::Vector, &[n_out], Init::Constant(0.0))?))
        };
        Ok(SqueezeExcite {
            reduce: conv(reduce, c, c_reduced)?,
            expand: conv(expand, c_reduced, c)?,
            activation,
        })
    }

    pub(crate) fn forward(&self, xs: &Value, pass: &Pass<'_>) -> Result<Value> {
        let param = |(weight, bias): &(Var, Var)| (pass.param(weight), pass.param(bias));
        let (reduce, expand) = (param(&self.reduce), param(&self.expand));
        ops::squeeze_excite(xs, (&reduce.0, &reduce.1), (&expand.0, &expand.1), self.activation)
    }
}

/// Global average pooling: from feature maps to features.
pub(crate) struct Pool;

impl Layer for Pool {
    fn forward(&self, xs: &Value, _: &Pass<'_>) -> Result<Value> {
        ops::global_avg_pool(xs)
    }
}

/// The 3x3 max pooling after a stem.
pub(crate) struct StemPool;

impl Layer for StemPool {
    fn forward(&self, xs: &Value, _: &Pass<'_>) -> Result<Value> {
        ops::max_pool(xs, Window::square(3, 2, Padding::Symmetric))
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;
    use candle::{DType, Device, Result};
    use ops::{Pass, Prepacked};

    use super::{Linear, LinearInit};
    use crate::params::Params;

    /// The largest magnitude and the root mean square of the weight and of the bias of a new layer from
    /// 400 to 100.
    fn initial(init: LinearInit) -> Result<[(f64, f64); 2]> {
        let mut params = Params::fresh(Seed(0), DType::F64, &Device::Cpu);
        let linear = Linear::new(params.builder(), 400, 100, init)?;
        let moments = |var: &candle::Var| -> Result<(f64, f64)> {
            let xs = Pass::Eval(&Prepacked::default())
                .param(var)
                .tensor()?
                .flatten_all()?
                .to_vec1::<f64>()?;
            let largest = xs.iter().fold(0.0, |best: f64, it| best.max(it.abs()));
            Ok((largest, (xs.iter().map(|it| it * it).sum::<f64>() / xs.len() as f64).sqrt()))
        };
        Ok([moments(&linear.weight)?, moments(&linear.bias)?])
    }

    #[test]
    fn initialisation_matches_its_formula() -> Result<()> {
        // Of 40,000 samples: the std within four standard errors, at most 1.4 % for a normal; the largest
        // of a uniform is within a thousandth of its bound, that of a normal at 4 to 5.5 std.
        let check = |init, std: f64, bound: Option<f64>| -> Result<()> {
            let [(largest, got), bias] = initial(init)?;
            assert!((got / std - 1.0).abs() < 0.015, "{init:?}: {got}, not {std}");
            match bound {
                Some(it) => assert!(largest <= it && largest > 0.999 * it, "{init:?}: {largest}"),
                None => assert!((3.5..6.0).contains(&(largest / std)), "{init:?}: {largest}"),
            }
            assert_eq!(bias.0 > 0.0, init == LinearInit::Default, "{init:?}: {bias:?}");
            assert!(bias.0 <= 0.05, "{init:?}: {bias:?}");
            Ok(())
        };
        check(LinearInit::Default, 0.05 / 3f64.sqrt(), Some(0.05))?;
        let xavier = (6.0 / 500f64).sqrt();
        check(LinearInit::Xavier, xavier / 3f64.sqrt(), Some(xavier))?;
        check(LinearInit::Kaiming, (2.0 / 400f64).sqrt(), None)?;
        check(LinearInit::TruncNormal, 0.02, None)
    }
}
