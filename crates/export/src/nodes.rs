//! From a network's recorded eval pass to the nodes of a graph.
//!
//! ONNX has channels first, `[n, c, h, w]`, and our passes have them last. A map is kept in the layout in which it
//! was computed, and transposed only where an operation needs the other: a convolution and a pooling take channels
//! first, a layer norm and a reshape channels last, and what works on each number or channel takes either. A linear
//! layer on a map with channels first is a convolution with a kernel of 1x1.

use std::collections::BTreeMap;

use candle::{DType, Result, Tensor};
use models::Model;
use ops::{Activation, Graph, Op, Output, Sliding, Weight};

use crate::{
    ExportError,
    builder::{Attr, GraphBuilder},
};

/// A network, whose weights are in the graph once, however often it is added.
pub(crate) struct Network {
    graph: Graph,
    /// The name of each weight, by its operation and its part in it.
    weights: BTreeMap<(usize, &'static str), String>,
}

impl Network {
    /// The network of a model for images of a `[height, width]`.
    ///
    /// # Errors
    /// It has an operation that does not record itself.
    pub(crate) fn new(
        model: &Model,
        [height, width]: [usize; 2],
    ) -> std::result::Result<Network, ExportError> {
        Ok(Network { graph: model.graph(height, width)?, weights: BTreeMap::new() })
    }

    /// Adds the network. Returns the outputs of its head.
    ///
    /// - `images`: the name of the normalised images, `[batch, 3, height, width]`.
    pub(crate) fn add(
        &mut self,
        builder: &mut GraphBuilder,
        images: &str,
    ) -> std::result::Result<Vec<Output<Numbers>>, ExportError> {
        let Network { graph, weights } = self;
        let graph = &*graph;
        let mut run = Run { builder, graph, weights, made: Vec::new() };
        for idx in 0..graph.nodes.len() {
            let made = run.node(idx, images)?;
            run.made.push(made);
        }
        let output = |it: &Output<usize>| Output {
            scope: it.scope,
            form: it.form.clone(),
            weight: it.weight,
            numbers: Numbers {
                name: run.last(it.numbers),
                n: graph.nodes[it.numbers].dims.last().copied().unwrap_or(0),
            },
        };
        Ok(graph.outputs.iter().map(output).collect())
    }
}

/// The numbers of an output of a head, `[batch, n]`.
pub(crate) struct Numbers {
    /// The name of the value.
    pub(crate) name: String,
    /// The number of columns.
    pub(crate) n: usize,
}

/// The names of a value in each layout in which it is in the graph.
#[derive(Default)]
struct Made {
    /// Of a map: `[n, c, h, w]`.
    first: Option<String>,
    /// Of a map, `[n, h, w, c]`; and of everything else.
    last: Option<String>,
}

/// The layout of a map.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    ChannelsFirst,
    /// And of everything that is not a map.
    ChannelsLast,
}

use Layout::{ChannelsFirst, ChannelsLast};

impl Layout {
    fn made(self, name: String) -> Made {
        match self {
            ChannelsFirst => Made { first: Some(name), last: None },
            ChannelsLast => Made { first: None, last: Some(name) },
        }
    }
}

struct Run<'a> {
    builder: &'a mut GraphBuilder,
    graph: &'a Graph,
    weights: &'a mut BTreeMap<(usize, &'static str), String>,
    made: Vec<Made>,
}

impl Run<'_> {
    /// Adds an operation of the network.
    fn node(&mut self, idx: usize, images: &str) -> Result<Made> {
        let graph = self.graph;
        let node = &graph.nodes[idx];
        let (inputs, dims) = (&node.inputs[..], &node.dims[..]);
        let first = |name: String| Ok(ChannelsFirst.made(name));
        let last = |name: String| Ok(ChannelsLast.made(name));
        match &node.op {
            Op::Input => first(images.to_owned()),
            Op::Constant(it) => last(self.weight((idx, "constant"), "constant", it, Ok)?),
            Op::Conv { weight, bias, sliding, groups } => {
                let (xs, hint) = (self.first(inputs[0]), layer(weight, "conv"));
                let kernel = |it: Tensor| it.permute((0, 3, 1, 2));
                let kernel = self.weight((idx, "weight"), &of(&hint, "weight"), weight, kernel)?;
                let mut attrs = window(*sliding);
                attrs.push(("group", Attr::Int(*groups as i64)));
                first(self.convolve(idx, &hint, [&xs, &kernel], bias.as_ref(), &attrs)?)
            }
            Op::Linear { weight, bias } => {
                let (hint, layout) = (layer(weight, "linear"), self.layout(inputs));
                let name = of(&hint, "weight");
                let xs = self.get(inputs[0], layout);
                if layout == ChannelsFirst {
                    let kernel = |it: Tensor| it.unsqueeze(2)?.unsqueeze(3);
                    let kernel = self.weight((idx, "weight"), &name, weight, kernel)?;
                    let window = [("kernel_shape", Attr::Ints(vec![1, 1]))];
                    return first(self.convolve(
                        idx,
                        &hint,
                        [&xs, &kernel],
                        bias.as_ref(),
                        &window,
                    )?);
                }
                if let (2, Some(bias)) = (dims.len(), bias) {
                    let matrix = self.weight((idx, "weight"), &name, weight, Ok)?;
                    let bias = self.weight((idx, "bias"), &of(&hint, "bias"), bias, Ok)?;
                    let attrs = [("transB", Attr::Int(1))];
                    return last(self.builder.node(&hint, "Gemm", &[&xs, &matrix, &bias], &attrs));
                }
                let matrix = self.weight((idx, "weight"), &name, weight, |it| it.t())?;
                let ys = self.builder.node(&hint, "MatMul", &[&xs, &matrix], &[]);
                last(match bias {
                    Some(bias) => {
                        let bias = self.weight((idx, "bias"), &of(&hint, "bias"), bias, Ok)?;
                        self.builder.node(&hint, "Add", &[&ys, &bias], &[])
                    }
                    None => ys,
                })
            }
            Op::Affine { scale, shift } => {
                let layout = self.layout(inputs);
                let mut ys = self.get(inputs[0], layout);
                if scale.iter().any(|it| *it != 1.0) {
                    let scale = self.channels(scale, layout);
                    ys = self.builder.node("scale", "Mul", &[&ys, &scale], &[]);
                }
                let shift = self.channels(shift, layout);
                Ok(layout.made(self.builder.node("shift", "Add", &[&ys, &shift], &[])))
            }
            Op::LayerNorm { gamma, beta, eps } => {
                let (xs, hint) = (self.last(inputs[0]), layer(gamma, "layer_norm"));
                let gamma = self.weight((idx, "gamma"), &of(&hint, "weight"), gamma, Ok)?;
                let beta = self.weight((idx, "beta"), &of(&hint, "bias"), beta, Ok)?;
                let attrs = [("axis", Attr::Int(-1)), ("epsilon", Attr::Float(*eps as f32))];
                let inputs = [&*xs, &*gamma, &*beta];
                last(self.builder.node(&hint, "LayerNormalization", &inputs, &attrs))
            }
            Op::Activate(activation) => {
                let layout = self.layout(inputs);
                let xs = self.get(inputs[0], layout);
                Ok(layout.made(self.activate(xs, *activation)))
            }
            Op::Add => {
                let layout = self.layout(inputs);
                let [xs, ys] = [0, 1].map(|it| self.get(inputs[it], layout));
                Ok(layout.made(self.builder.node("add", "Add", &[&xs, &ys], &[])))
            }
            Op::Gate => {
                let layout = self.layout(&inputs[..1]);
                let (xs, mut gates) = (self.get(inputs[0], layout), self.last(inputs[1]));
                let from = if layout == ChannelsFirst { 2 } else { 1 };
                let axes: Vec<i64> = (0..dims.len() as i64 - 2).map(|it| from + it).collect();
                if !axes.is_empty() {
                    let axes = self.builder.ints(&axes);
                    gates = self.builder.node("gates", "Unsqueeze", &[&gates, &axes], &[]);
                }
                Ok(layout.made(self.builder.node("gate", "Mul", &[&xs, &gates], &[])))
            }
            Op::Concat => {
                let layout = self.layout(inputs);
                let parts: Vec<String> = inputs.iter().map(|&it| self.get(it, layout)).collect();
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let axis = if layout == ChannelsFirst { 1 } else { dims.len() as i64 - 1 };
                let attrs = [("axis", Attr::Int(axis))];
                Ok(layout.made(self.builder.node("concat", "Concat", &parts, &attrs)))
            }
            Op::MaxPool(sliding) => {
                let (xs, attrs) = (self.first(inputs[0]), window(*sliding));
                first(self.builder.node("max_pool", "MaxPool", &[&xs], &attrs))
            }
            Op::AvgPool(sliding) => {
                let (xs, attrs) = (self.first(inputs[0]), window(*sliding));
                first(self.builder.node("avg_pool", "AveragePool", &[&xs], &attrs))
            }
            Op::AdaptiveAvgPool => {
                let (xs, from) = (self.first(inputs[0]), &graph.nodes[inputs[0]].dims);
                first(self.adaptive_pool(&xs, [from[1], from[2]], [dims[1], dims[2]]))
            }
            Op::GlobalAvgPool => {
                let xs = self.first(inputs[0]);
                let ys = self.builder.node("pool", "GlobalAveragePool", &[&xs], &[]);
                last(self.builder.node("pool", "Flatten", &[&ys], &[("axis", Attr::Int(1))]))
            }
            Op::L2Normalise { length, eps } => {
                let xs = self.last(inputs[0]);
                let squares = self.builder.node("squares", "Mul", &[&xs, &xs], &[]);
                let axes = self.builder.ints(&[1]);
                let sums = self.builder.node("sums", "ReduceSum", &[&squares, &axes], &[]);
                let norms = self.builder.node("norms", "Sqrt", &[&sums], &[]);
                let least = self.builder.float(*eps as f32);
                let norms = self.builder.node("norms", "Max", &[&norms, &least], &[]);
                let ys = self.builder.node("directions", "Div", &[&xs, &norms], &[]);
                if *length == 1.0 {
                    return last(ys);
                }
                let length = self.builder.float(*length as f32);
                last(self.builder.node("directions", "Mul", &[&ys, &length], &[]))
            }
            Op::Reshape => {
                let xs = self.last(inputs[0]);
                if dims.len() == 2 {
                    let attrs = [("axis", Attr::Int(1))];
                    return last(self.builder.node("flatten", "Flatten", &[&xs], &attrs));
                }
                // 0 keeps the number of images.
                let rest = dims.iter().skip(1).map(|it| *it as i64);
                let shape: Vec<i64> = std::iter::once(0).chain(rest).collect();
                let shape = self.builder.ints(&shape);
                last(self.builder.node("reshape", "Reshape", &[&xs, &shape], &[]))
            }
        }
    }

    /// Adds a convolution of `[images, kernel]`.
    fn convolve(
        &mut self,
        idx: usize,
        hint: &str,
        [xs, kernel]: [&str; 2],
        bias: Option<&Weight>,
        attrs: &[(&str, Attr)],
    ) -> Result<String> {
        let bias = match bias {
            Some(it) => Some(self.weight((idx, "bias"), &of(hint, "bias"), it, Ok)?),
            None => None,
        };
        let inputs: Vec<&str> = [xs, kernel].into_iter().chain(bias.as_deref()).collect();
        Ok(self.builder.node(hint, "Conv", &inputs, attrs))
    }

    fn activate(&mut self, xs: String, activation: Activation) -> String {
        let builder = &mut *self.builder;
        match activation {
            Activation::None => xs,
            Activation::Relu => builder.node("relu", "Relu", &[&xs], &[]),
            Activation::Relu6 => {
                let (least, most) = (builder.float(0.0), builder.float(6.0));
                builder.node("relu6", "Clip", &[&xs, &least, &most], &[])
            }
            Activation::Sigmoid => builder.node("sigmoid", "Sigmoid", &[&xs], &[]),
            Activation::Silu => {
                let share = builder.node("sigmoid", "Sigmoid", &[&xs], &[]);
                builder.node("silu", "Mul", &[&xs, &share], &[])
            }
            // x·Φ(x) with Φ(x) = (1 + erf(x / √2)) / 2; the operator `Gelu` came with opset 20.
            Activation::Gelu => {
                let root = builder.float(std::f32::consts::SQRT_2);
                let (one, half) = (builder.float(1.0), builder.float(0.5));
                let scaled = builder.node("gelu", "Div", &[&xs, &root], &[]);
                let erf = builder.node("gelu", "Erf", &[&scaled], &[]);
                let sum = builder.node("gelu", "Add", &[&erf, &one], &[]);
                let product = builder.node("gelu", "Mul", &[&xs, &sum], &[]);
                builder.node("gelu", "Mul", &[&product, &half], &[])
            }
        }
    }

    /// Averages a map to `out` rows and columns: by a pooling if all windows are the same, else by a product with
    /// the share of each row in each window, and the same for columns.
    fn adaptive_pool(&mut self, xs: &str, size: [usize; 2], out: [usize; 2]) -> String {
        if [0, 1].iter().all(|&it| size[it].is_multiple_of(out[it])) {
            let kernel = [0, 1].map(|it| (size[it] / out[it]) as i64).to_vec();
            let attrs =
                [("kernel_shape", Attr::Ints(kernel.clone())), ("strides", Attr::Ints(kernel))];
            return self.builder.node("avg_pool", "AveragePool", &[xs], &attrs);
        }
        let share = |axis: usize, window: usize, at: usize| {
            let (size, out) = (size[axis], out[axis]);
            let (begin, end) = (window * size / out, ((window + 1) * size).div_ceil(out));
            if (begin..end).contains(&at) { 1.0 / (end - begin) as f32 } else { 0.0 }
        };
        let rows = (0..out[0]).flat_map(|it| (0..size[0]).map(move |at| (it, at)));
        let rows: Vec<f32> = rows.map(|(it, at)| share(0, it, at)).collect();
        let cols = (0..size[1]).flat_map(|at| (0..out[1]).map(move |it| (it, at)));
        let cols: Vec<f32> = cols.map(|(it, at)| share(1, it, at)).collect();
        // Of the rank of the map, as some runtimes want it.
        let rows = self.builder.floats("rows", &[1, 1, out[0], size[0]], &rows);
        let cols = self.builder.floats("columns", &[1, 1, size[1], out[1]], &cols);
        let ys = self.builder.node("avg_pool", "MatMul", &[&rows, xs], &[]);
        self.builder.node("avg_pool", "MatMul", &[&ys, &cols], &[])
    }

    /// A number for each channel, to be broadcast over a value of this layout.
    fn channels(&mut self, numbers: &[f64], layout: Layout) -> String {
        let c = numbers.len();
        let numbers: Vec<f32> = numbers.iter().map(|it| *it as f32).collect();
        match layout {
            ChannelsFirst => self.builder.floats("channels", &[1, c, 1, 1], &numbers),
            ChannelsLast => self.builder.floats("channels", &[c], &numbers),
        }
    }

    /// The layout for an operation that takes either: that of its inputs, or of most runtimes if they differ.
    fn layout(&self, inputs: &[usize]) -> Layout {
        let is_map = |it: &usize| self.graph.nodes[*it].dims.len() == 4;
        let are_last = inputs.iter().all(|it| self.made[*it].last.is_some());
        let is_first = inputs.iter().all(is_map) && !are_last;
        if is_first { ChannelsFirst } else { ChannelsLast }
    }

    fn get(&mut self, idx: usize, layout: Layout) -> String {
        match layout {
            ChannelsFirst => self.first(idx),
            ChannelsLast => self.last(idx),
        }
    }

    /// The map of a node with channels first.
    fn first(&mut self, idx: usize) -> String {
        self.transposed(idx, |it| (&mut it.first, &it.last), [0, 3, 1, 2])
    }

    /// The map of a node with channels last, or its value if it is no map.
    fn last(&mut self, idx: usize) -> String {
        self.transposed(idx, |it| (&mut it.last, &it.first), [0, 2, 3, 1])
    }

    fn transposed(
        &mut self,
        idx: usize,
        of: impl FnOnce(&mut Made) -> (&mut Option<String>, &Option<String>),
        order: [i64; 4],
    ) -> String {
        let (wanted, other) = of(&mut self.made[idx]);
        if let Some(name) = wanted {
            return name.clone();
        }
        let from = other.clone().unwrap_or_default();
        let attrs = [("perm", Attr::Ints(order.to_vec()))];
        let name = self.builder.node("transpose", "Transpose", &[&from], &attrs);
        *wanted = Some(name.clone());
        name
    }

    /// The name of a weight, which is added the first time.
    ///
    /// - `arrange`: from its layout in our memory to ONNX's.
    fn weight(
        &mut self,
        key: (usize, &'static str),
        hint: &str,
        weight: &Weight,
        arrange: impl FnOnce(Tensor) -> Result<Tensor>,
    ) -> Result<String> {
        if let Some(name) = self.weights.get(&key) {
            return Ok(name.clone());
        }
        let tensor = arrange(weight.tensor.clone())?;
        let numbers = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let name = self.builder.floats(hint, tensor.dims(), &numbers);
        self.weights.insert(key, name.clone());
        Ok(name)
    }
}

/// The name of the layer that a weight belongs to: `layer1.0.conv1` of `layer1.0.conv1.weight`.
fn layer(weight: &Weight, default: &str) -> String {
    let name = weight.name.as_deref().and_then(|it| it.strip_suffix(".weight"));
    name.unwrap_or(default).to_owned()
}

/// The name of a part of a layer.
fn of(layer: &str, part: &str) -> String {
    format!("{layer}.{part}")
}

/// The attributes of a sliding window.
fn window(of: Sliding) -> Vec<(&'static str, Attr)> {
    let ints = |it: &[usize]| Attr::Ints(it.iter().map(|it| *it as i64).collect());
    vec![
        ("kernel_shape", ints(&of.kernel)),
        ("strides", ints(&[of.stride; 2])),
        ("pads", ints(&[of.before, of.after].concat())),
    ]
}

#[cfg(test)]
mod tests {
    use base::{Seed, Task};
    use candle::{Device, Tensor};
    use models::{Model, ModelSpec};

    use super::Network;
    use crate::{ExportError, builder::GraphBuilder, proto::Node};

    /// The nodes and the names of the weights of a narrow network that is added `n` times.
    fn added(backbone: &str, n: usize) -> Result<(Vec<Node>, Vec<String>), ExportError> {
        let text =
            format!("backbone = {{ {backbone}, width = 0.25 }}\nhead = {{ kind = \"joint\" }}");
        let spec: ModelSpec = toml::from_str(&text).expect("a network");
        let model = Model::fresh(&spec, &Task::mask_gender_age(), Seed(0), &Device::Cpu)?;
        // Otherwise all biases are 0, and left out.
        for (_, it) in model.params().named().filter(|it| it.0.ends_with("running_mean")) {
            it.var.set(&Tensor::full(0.1_f32, it.var.dims(), &Device::Cpu)?)?;
        }
        let mut network = Network::new(&model, [32, 32])?;
        let mut builder = GraphBuilder::new();
        let images = builder.unique("images");
        for _ in 0..n {
            let outputs = network.add(&mut builder, &images)?;
            assert_eq!(outputs.iter().map(|it| it.numbers.n).collect::<Vec<_>>(), [18]);
        }
        let graph = builder.finish("network", Vec::new()).graph.expect("a graph");
        let weights = graph.initializer.into_iter().filter_map(|it| it.name);
        Ok((graph.node, weights.collect()))
    }

    fn count(nodes: &[Node], op: &str) -> usize {
        nodes.iter().filter(|it| it.op_type.as_deref() == Some(op)).count()
    }

    #[test]
    fn maps_are_transposed_only_around_layer_norms() -> Result<(), ExportError> {
        for backbone in ["kind = \"resnet\", depth = 18", "kind = \"efficientnet\""] {
            let (nodes, _) = added(backbone, 1)?;
            assert_eq!(count(&nodes, "Transpose"), 0, "{backbone}");
        }
        // Of 18 blocks each needs its input in one layout and the result of its convolution in the other.
        let (nodes, _) = added("kind = \"convnext\"", 1)?;
        assert_eq!(count(&nodes, "LayerNormalization"), 18 + 5);
        let n = count(&nodes, "Transpose");
        assert!((36..=44).contains(&n), "{n} transposes");
        Ok(())
    }

    #[test]
    fn norms_are_parts_of_convolutions_and_weights_keep_their_names() -> Result<(), ExportError> {
        let (nodes, weights) = added("kind = \"resnet\", depth = 18", 1)?;
        // A stem, 8 blocks of two, and 3 shortcuts; the sums of the residuals are the only ones.
        assert_eq!((count(&nodes, "Conv"), count(&nodes, "Add")), (20, 8));
        assert!(nodes.iter().all(|it| it.op_type.as_deref() != Some("Mul")));
        for name in ["conv1.weight", "conv1.bias", "layer1.0.conv1.weight"] {
            assert!(weights.iter().any(|it| it == name), "{name} is not in {weights:?}");
        }
        Ok(())
    }

    #[test]
    fn a_network_that_is_added_twice_has_its_weights_once() -> Result<(), ExportError> {
        let (once, weights) = added("kind = \"efficientnet\"", 1)?;
        let (twice, same) = added("kind = \"efficientnet\"", 2)?;
        assert_eq!(2 * once.len(), twice.len());
        assert_eq!(weights, same);
        Ok(())
    }
}
