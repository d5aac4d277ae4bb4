//! Optimizers, and the numbers that their kernels take.
//!
//! The formulas are in `kernels/update.cu` and `kernels/weight_rows.cu`; on the CPU these are `trainer::optim`.

use cudarc::driver::DeviceRepr;

/// An optimizer, with PyTorch's names for its settings; learning rate and weight decay come with each parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the settings are those of `trainer::optim`")]
pub enum Rule {
    /// Stochastic gradient descent with momentum. State: velocity.
    Sgd { momentum: f64, dampening: f64, nesterov: bool },
    /// Adam, with weight decay added to the gradient. State: m, v.
    Adam { betas: [f64; 2], eps: f64 },
    /// Adam with decoupled weight decay. State: m, v.
    AdamW { betas: [f64; 2], eps: f64 },
    /// Adam with projected steps. State: m, v.
    AdamP { betas: [f64; 2], eps: f64, delta: f64, wd_ratio: f64, nesterov: bool },
    /// Adam with a trust ratio of each parameter. State: m, v, u.
    Lamb { betas: [f64; 2], eps: f64, max_grad_norm: f64 },
    /// The sign of a momentum. State: m.
    Lion { betas: [f64; 2] },
    /// RMSprop in TensorFlow's form. State: squares, which begin with 1, and velocity.
    RmsProp { alpha: f64, eps: f64, momentum: f64 },
}

/// `Plan` of `kernels/step.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Plan {
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) wd_ratio: f64,
    pub(crate) max_norm: f64,
    pub(crate) max_grad_norm: f64,
    pub(crate) dampening: f32,
    pub(crate) growth: f32,
    pub(crate) backoff: f32,
    pub(crate) interval: u32,
    pub(crate) is_scaled: u32,
    pub(crate) is_decoupled: u32,
    pub(crate) n_parameters: u32,
    pub(crate) n_chunks: u32,
}

/// `Constants` of `kernels/update.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Constants {
    pub(crate) keep1: f32,
    pub(crate) take1: f32,
    pub(crate) keep2: f32,
    pub(crate) take2: f32,
    pub(crate) momentum: f32,
    pub(crate) eps: f32,
    pub(crate) limit: f32,
    pub(crate) is_nesterov: u32,
}

/// `AdamP` of `kernels/weight_rows.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Projection {
    pub(crate) eps: f64,
    pub(crate) delta: f64,
    pub(crate) keep1: f32,
    pub(crate) take1: f32,
    pub(crate) keep2: f32,
    pub(crate) take2: f32,
    pub(crate) limit: f32,
    pub(crate) is_nesterov: u32,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of numbers, without a gap, in the order of the device's struct.
unsafe impl DeviceRepr for Plan {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: as above.
unsafe impl DeviceRepr for Constants {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: as above.
unsafe impl DeviceRepr for Projection {}

impl Projection {
    pub(crate) fn new(eps: f64, delta: f64, it: &Constants) -> Self {
        let Constants { keep1, take1, keep2, take2, limit, is_nesterov, .. } = *it;
        Self { eps, delta, keep1, take1, keep2, take2, limit, is_nesterov }
    }
}

impl Rule {
    /// The names of its state tensors, as in a checkpoint.
    #[must_use]
    pub fn states(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { .. } => &["velocity"],
            Self::Adam { .. } | Self::AdamW { .. } | Self::AdamP { .. } => &["m", "v"],
            Self::Lamb { .. } => &["m", "v", "u"],
            Self::Lion { .. } => &["m"],
            Self::RmsProp { .. } => &["squares", "velocity"],
        }
    }

    /// The decay rates of running averages.
    fn betas(&self) -> [f64; 2] {
        match *self {
            Self::Adam { betas, .. }
            | Self::AdamW { betas, .. }
            | Self::AdamP { betas, .. }
            | Self::Lamb { betas, .. }
            | Self::Lion { betas } => betas,
            Self::RmsProp { alpha, .. } => [0.0, alpha],
            Self::Sgd { .. } => [0.0; 2],
        }
    }

    pub(crate) fn plan(&self) -> Plan {
        let [beta1, beta2] = self.betas();
        let plan = Plan { beta1, beta2, ..Plan::default() };
        match *self {
            Self::Sgd { dampening, .. } => Plan { dampening: dampening as f32, ..plan },
            Self::Adam { .. } | Self::RmsProp { .. } => plan,
            Self::AdamW { .. } | Self::Lion { .. } => Plan { is_decoupled: 1, ..plan },
            Self::AdamP { wd_ratio, .. } => Plan { is_decoupled: 1, wd_ratio, ..plan },
            Self::Lamb { max_grad_norm, .. } => Plan { max_grad_norm, ..plan },
        }
    }

    pub(crate) fn constants(&self, limit: f32) -> Constants {
        let [beta1, beta2] = self.betas();
        let (momentum, eps, nesterov) = match *self {
            Self::Sgd { momentum, nesterov, .. } => (momentum, 0.0, nesterov),
            Self::Adam { eps, .. } | Self::AdamW { eps, .. } | Self::Lamb { eps, .. } => {
                (0.0, eps, false)
            }
            Self::AdamP { eps, nesterov, .. } => (0.0, eps, nesterov),
            Self::Lion { .. } => (0.0, 0.0, false),
            Self::RmsProp { momentum, eps, .. } => (momentum, eps, false),
        };
        Constants {
            keep1: beta1 as f32,
            take1: (1.0 - beta1) as f32,
            keep2: beta2 as f32,
            take2: (1.0 - beta2) as f32,
            momentum: momentum as f32,
            eps: eps as f32,
            limit,
            is_nesterov: u32::from(nesterov),
        }
    }
}
