//! A prologue, and a gradient with the steps of its backward pass that are deferred.

use std::rc::Rc;

use candle::Tensor;

use crate::Activation;

/// The function applied to each number of a tensor `[n, …, c]` when it is read.
#[derive(Clone)]
pub(crate) struct Prologue {
    /// `[c]` each.
    pub(crate) scale: Rc<[f64]>,
    pub(crate) shift: Rc<[f64]>,
    /// The approximate mean of the numbers: sums are taken relative to it.
    pub(crate) center: Rc<[f64]>,
    pub(crate) activation: Activation,
    /// `[n, c]`.
    pub(crate) gate: Option<Tensor>,
}

/// A gradient, and the deferred steps of its backward pass.
#[derive(Clone)]
pub(crate) struct Grad {
    pub(crate) tensor: Tensor,
    /// `[n, c]` each.
    pub(crate) times: Option<Tensor>,
    pub(crate) plus: Option<Tensor>,
    pub(crate) norm: Option<Rc<NormBackward>>,
    /// Set if the producer has applied the derivative of the activation: `tensor` is d = g·act'.
    pub(crate) before: Option<Rc<Before>>,
    /// Σ d and Σ d·(z - center) of each channel, if the producer has computed them.
    pub(crate) sums: Option<Vec<f64>>,
    /// The sums that the producer has computed for a gate and the norm before it.
    pub(crate) gate_sums: Option<Rc<GateSums>>,
}

/// The tensor and the prologue whose backward pass a gradient has completed up to the norm.
pub(crate) struct Before {
    pub(crate) xs: Tensor,
    pub(crate) prologue: Prologue,
}

/// With y = act(u)·gate and u = scale·z + shift: for each channel of each image the sums
/// Σ g·act(u), Σ g·act'(u), Σ g·act'(u)·(z - center), Σ act'(u) and Σ act'(u)·(z - center).
///
/// They determine the norm's sums for any factor and offset of g in the backward pass of the gate.
pub(crate) struct GateSums {
    /// `[n, 5, c]`.
    pub(crate) sums: Vec<f64>,
    pub(crate) c: usize,
}

impl GateSums {
    /// The sums of one image.
    fn of(&self, image: usize) -> [&[f64]; 5] {
        let all = &self.sums[image * 5 * self.c..][..5 * self.c];
        std::array::from_fn(|idx| &all[idx * self.c..][..self.c])
    }

    /// Σ g·act(u): the gradient of the gates, `[n, c]`.
    pub(crate) fn of_gates(&self) -> Vec<f64> {
        let images = 0..self.sums.len() / (5 * self.c).max(1);
        images.map(|image| self.of(image)[0]).collect::<Vec<_>>().concat()
    }

    /// Σ d and Σ d·(z - center) of each channel, where d = (g·times + plus)·act'(u).
    pub(crate) fn of_norm(&self, times: &[f64], plus: Option<&[f64]>) -> Vec<f64> {
        let mut totals = vec![0.0; 2 * self.c];
        for (image, times) in times.chunks_exact(self.c).enumerate() {
            let [_, g, g_z, one, one_z] = self.of(image);
            let plus = plus.map(|it| &it[image * self.c..]);
            for (idx, &times) in times.iter().enumerate() {
                let plus = plus.map_or(0.0, |it| it[idx]);
                totals[idx] += times * g[idx] + plus * one[idx];
                totals[self.c + idx] += times * g_z[idx] + plus * one_z[idx];
            }
        }
        totals
    }
}

/// The backward pass of a norm and its activation.
pub(crate) struct NormBackward {
    /// z.
    pub(crate) xs: Tensor,
    pub(crate) activation: Activation,
    /// `[c]` each.
    pub(crate) scale: Rc<[f64]>,
    pub(crate) shift: Rc<[f64]>,
    pub(crate) slope: Vec<f64>,
    pub(crate) offset: Vec<f64>,
}

impl NormBackward {
    /// The backward pass of a prologue with constant scale and shift.
    pub(crate) fn through(xs: Tensor, prologue: Prologue) -> NormBackward {
        let Prologue { scale, shift, activation, .. } = prologue;
        let (slope, offset) = (vec![0.0; scale.len()], vec![0.0; scale.len()]);
        NormBackward { xs, activation, scale, shift, slope, offset }
    }
}

impl Prologue {
    /// The identity.
    pub(crate) fn none(c: usize) -> Prologue {
        let all = |number: f64| std::iter::repeat_n(number, c).collect::<Rc<[f64]>>();
        let zeros = all(0.0);
        Prologue {
            scale: all(1.0),
            shift: Rc::clone(&zeros),
            center: zeros,
            activation: Activation::None,
            gate: None,
        }
    }
}

impl Grad {
    /// A gradient without deferred steps.
    pub(crate) fn plain(tensor: Tensor) -> Grad {
        Grad {
            tensor,
            times: None,
            plus: None,
            norm: None,
            before: None,
            sums: None,
            gate_sums: None,
        }
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.times.is_none() && self.plus.is_none() && self.norm.is_none()
    }

    /// The count of stored numbers read per number of the gradient.
    pub(crate) fn reads(&self) -> usize {
        1 + usize::from(self.norm.is_some())
    }
}
