//! The graph of a network: its operations, attributes and weights, recorded while an eval pass runs.
//!
//! There is no second description of a network. A pass on the value that `Value::traced` returns computes what
//! every pass computes, and each operation that reads a traced value adds a [`Node`] to its [`Recorder`]. So a
//! new backbone or head needs nothing for its export. Other passes record nothing.
//!
//! A new operation records itself by one call at its end, `ys.recorded(&[xs], || Ok(Op::...))`, with an [`Op`]
//! for it here, its counterpart in the crate `export`, and a line in the test of this file. One that does not is
//! found out: the result of an unrecorded operation on a traced value is [`Trace::Lost`], and whatever depends
//! on it cannot be exported. Numbers that leave the values (`Value::tensor`) and return as a constant are found
//! by [`Graph::difference`], between the graphs of two passes on different images.
//!
//! Layouts are those of the operations: maps are `[n, h, w, c]`, weights `[out, kh, kw, in / groups]`. The graph
//! is for one size of image, from which padding follows, and for any number of images.

mod fold;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, panic::Location, rc::Rc};

use candle::{DType, Result, Tensor, TensorId, bail};

use crate::{Activation, Output};

/// A network as a list of operations, each after those whose results it reads.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The operations.
    pub nodes: Vec<Node>,
    /// The outputs of the head: the numbers of each are the result of the node with this index.
    pub outputs: Vec<Output<usize>>,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operation, with its attributes and weights.
    pub op: Op,
    /// The indices of the nodes that it reads.
    pub inputs: Vec<usize>,
    /// The shape of its result for the batch that was recorded: but for [`Op::Constant`], the first is the number
    /// of images.
    pub dims: Vec<usize>,
}

/// The kind of an operation, with its attributes and weights.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The normalised images, `[n, h, w, 3]`.
    Input,
    /// Numbers that do not depend on the images.
    Constant(Weight),
    /// A convolution; a depthwise one has as many groups as channels.
    Conv {
        /// `[out, kh, kw, in / groups]`.
        weight: Weight,
        /// `[out]`.
        bias: Option<Weight>,
        /// Kernel, stride and padding; the padding is 0.
        sliding: Sliding,
        /// The number of groups of channels.
        groups: usize,
    },
    /// x Wᵀ + b over the last dimension.
    Linear {
        /// `[out, in]`.
        weight: Weight,
        /// `[out]`.
        bias: Option<Weight>,
    },
    /// scale·x + shift for each channel, `[c]` each: a norm with given statistics, a bias, or a layer scale.
    Affine {
        /// The factor of each channel.
        scale: Vec<f64>,
        /// What is added to each channel.
        shift: Vec<f64>,
    },
    /// Each row of channels normalised by its own mean and variance.
    LayerNorm {
        /// `[c]`.
        gamma: Weight,
        /// `[c]`.
        beta: Weight,
        /// Added to the variance.
        eps: f64,
    },
    /// An activation of each number.
    Activate(Activation),
    /// The sum of two values of the same shape.
    Add,
    /// The channels of the first, `[n, …, c]`, times the second, `[n, c]`.
    Gate,
    /// The inputs one after the other along the channels.
    Concat,
    /// The largest number of each window; padding is never the largest.
    MaxPool(Sliding),
    /// The mean of the positions on the map of each window; padding does not count.
    AvgPool(Sliding),
    /// The means of windows that split the map into as many as the result has: along an axis from `size` to
    /// `out`, window i is ⌊i·size/out⌋..⌈(i + 1)·size/out⌉.
    AdaptiveAvgPool,
    /// The mean of each channel over the map: `[n, h, w, c]` to `[n, c]`.
    GlobalAvgPool,
    /// length·x / max(‖x‖₂, eps) of each row of `[n, width]`.
    L2Normalise {
        /// The length of the result.
        length: f64,
        /// The shortest length that is divided by.
        eps: f64,
    },
    /// The same numbers, in the same order, under another shape that begins with the number of images.
    Reshape,
}

/// A sliding window on a map of known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// The kernel's height and width.
    pub kernel: [usize; 2],
    /// The stride, in both directions.
    pub stride: usize,
    /// The padding above and to the left.
    pub before: [usize; 2],
    /// The padding below and to the right.
    pub after: [usize; 2],
}

/// The numbers of a parameter, or of another constant.
#[derive(Clone, Debug)]
pub struct Weight {
    /// The name of the parameter, once [`Graph::name`] has found it.
    pub name: Option<String>,
    /// Its numbers.
    pub tensor: Tensor,
    /// The parameter.
    pub(crate) id: Option<TensorId>,
}

impl PartialEq for Weight {
    /// Whether the numbers are the same.
    fn eq(&self, other: &Weight) -> bool {
        let is_same = self.id.is_some() && self.id == other.id;
        let list = |it: &Weight| it.tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let are_equal = || match (list(self), list(other)) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        };
        self.tensor.dims() == other.tensor.dims() && (is_same || are_equal())
    }
}

impl Weight {
    /// The weight with its numbers under another shape or order.
    pub(crate) fn map(self, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Weight> {
        Ok(Weight { tensor: f(&self.tensor)?, ..self })
    }
}

impl Op {
    /// The name of the operation, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Constant(_) => "constant",
            Op::Conv { .. } => "convolution",
            Op::Linear { .. } => "linear layer",
            Op::Affine { .. } => "norm or scale",
            Op::LayerNorm { .. } => "layer norm",
            Op::Activate(_) => "activation",
            Op::Add => "add",
            Op::Gate => "gate",
            Op::Concat => "concat",
            Op::MaxPool(_) => "max pooling",
            Op::AvgPool(_) => "average pooling",
            Op::AdaptiveAvgPool => "adaptive average pooling",
            Op::GlobalAvgPool => "global average pooling",
            Op::L2Normalise { .. } => "l2 normalisation",
            Op::Reshape => "reshape",
        }
    }

    fn weights_mut(&mut self) -> Vec<&mut Weight> {
        match self {
            Op::Constant(it) => vec![it],
            Op::Conv { weight, bias, .. } | Op::Linear { weight, bias } => {
                std::iter::once(weight).chain(bias).collect()
            }
            Op::LayerNorm { gamma, beta, .. } => vec![gamma, beta],
            _ => Vec::new(),
        }
    }
}

impl Graph {
    /// Names the weights that are parameters.
    ///
    /// - `name`: the name of a parameter.
    #[must_use]
    pub fn name(mut self, name: impl Fn(TensorId) -> Option<String>) -> Graph {
        let weights = self.nodes.iter_mut().flat_map(|it| it.op.weights_mut());
        weights.for_each(|it| it.name = it.id.and_then(&name));
        self
    }

    /// Returns what differs between this graph, of one image, and that of the same network for two other images:
    /// a part of the network that was not recorded, but became a constant. `None` if they agree.
    pub fn difference(&self, of_two: &Graph) -> Option<String> {
        if self.nodes.len() != of_two.nodes.len() {
            return Some("the operations depend on the images, or on their number".to_owned());
        }
        let problem = |(idx, (a, b)): (usize, (&Node, &Node))| {
            let text = |what: &str| Some(format!("operation {idx} ({}): {what}", a.op.name()));
            if a.op.name() != b.op.name() || a.inputs != b.inputs {
                return text("it depends on the images, or on their number");
            }
            if a.op != b.op {
                return text(
                    "its weights or attributes depend on the images: they were computed from \
                     them outside of the recorded operations",
                );
            }
            let grows = match (a.dims.split_first(), b.dims.split_first()) {
                (Some((1, one)), Some((2, two))) => one == two,
                _ => false,
            };
            let is_constant = matches!(a.op, Op::Constant(_)) && a.dims == b.dims;
            if !grows && !is_constant {
                return text("the shape of its result does not begin with the number of images");
            }
            None
        };
        self.nodes.iter().zip(&of_two.nodes).enumerate().find_map(problem)
    }
}

/// Records the operations of a pass. Clones record into the same graph.
#[derive(Clone, Default)]
pub struct Recorder(Rc<RefCell<Vec<Node>>>);

impl Recorder {
    /// Adds an operation, and returns its index.
    pub(crate) fn push(&self, op: Op, inputs: Vec<usize>, dims: &[usize]) -> usize {
        let mut nodes = self.0.borrow_mut();
        nodes.push(Node { op, inputs, dims: dims.to_vec() });
        nodes.len() - 1
    }

    pub(crate) fn is(&self, other: &Recorder) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the graph with these outputs; nothing is recorded any more.
    ///
    /// - `outputs`: each with the index of its node, `Value::node`.
    pub fn finish(self, outputs: Vec<Output<usize>>) -> Graph {
        Graph { nodes: self.0.take(), outputs }
    }
}

/// What a value is in the graph that is recorded.
#[derive(Clone, Default)]
pub(crate) enum Trace {
    /// It does not depend on the images, or nothing is recorded.
    #[default]
    Constant,
    /// A parameter.
    Parameter(TensorId),
    /// The result of a recorded operation.
    Node(Recorder, usize),
    /// It depends on the result of an operation that was not recorded, of the function here.
    Lost(&'static Location<'static>),
}

impl Trace {
    /// Of the result of an operation at `place` that does not record itself, by those of its inputs.
    pub(crate) fn unrecorded<'a>(
        inputs: impl Iterator<Item = &'a Trace>,
        place: &'static Location<'static>,
    ) -> Trace {
        let mut result = Trace::Constant;
        for it in inputs {
            match it {
                Trace::Lost(_) => return it.clone(),
                Trace::Node(..) => result = Trace::Lost(place),
                Trace::Constant | Trace::Parameter(_) => {}
            }
        }
        result
    }

    /// The index of the node.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn node(&self) -> Result<usize> {
        match self {
            Trace::Node(_, idx) => Ok(*idx),
            Trace::Lost(place) => bail!(
                "the operation at {place} is not recorded, so the network cannot be exported: record it as \
                 described in `ops/src/graph.rs`"
            ),
            Trace::Constant | Trace::Parameter(_) => {
                bail!("an output of the network does not depend on the images")
            }
        }
    }
}
