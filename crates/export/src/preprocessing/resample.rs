//! Resampling of images in the graph, with the arithmetic of ours.
//!
//! One axis at a time, as a product with a matrix. Of `n` pixels, number x has in pixel i of `m` the weight
//! f(d) / Σ f, d = |(2x + 1) m - (2i + 1) n| / (2 max(n, m)), with the filter f; weights are rounded to whole
//! steps, so that the sums are of whole numbers, and are divided by the steps, rounded and limited to 0 to 255.
//! The number of steps is the one of our resizing (`augment/src/filter.rs`): the largest power of two up to 2²¹
//! with which the largest weight is below 2¹⁵, and 2¹⁵ for bilinear enlarging.
//!
//! ONNX's `Resize` has the same filters, but no runtime rounds their weights as we do.

use std::f32::consts::PI;

use augment::Filter;

use crate::{
    builder::{Attr, GraphBuilder},
    proto::DataType,
};

/// The most steps that a weight of 1 is divided into, as a power of two.
const MOST_BITS: usize = 21;

/// Resamples images `[batch, 3, h, w]` of whole levels to the `[height, width]` that the value `size` holds.
pub(super) fn resize(graph: &mut GraphBuilder, xs: &str, size: &str, filter: Filter) -> String {
    let before = graph.node("shape", "Shape", &[xs], &[]);
    let [rows, columns] = [2, 3].map(|it| graph.part(&before, it, it + 1));
    let [height, width] = [0, 1].map(|it| graph.part(size, it, it + 1));
    let across = Weights::new(graph, &columns, &width, filter);
    let order = Attr::Ints(vec![1, 0]);
    let matrix = graph.node("across", "Transpose", &[&across.matrix], &[("perm", order)]);
    let sums = graph.node("sums", "MatMul", &[xs, &matrix], &[]);
    let wide = across.levels(graph, &sums);
    let down = Weights::new(graph, &rows, &height, filter);
    let sums = graph.node("sums", "MatMul", &[&down.matrix, &wide], &[]);
    down.levels(graph, &sums)
}

/// The names of the weights along an axis, in steps.
struct Weights {
    /// `[to, from]`, whole numbers.
    matrix: String,
    /// `[1, 1]`
    steps: String,
}

impl Weights {
    /// The weights with which `from` pixels become `to`; each is the name of a list of one integer.
    fn new(graph: &mut GraphBuilder, from: &str, to: &str, filter: Filter) -> Weights {
        let apart = distances(graph, from, to);
        let weights = match filter {
            Filter::Bilinear => triangle(graph, &apart),
            Filter::Bicubic => cubic(graph, &apart),
            Filter::Lanczos => windowed_sinc(graph, &apart),
        };
        let axes = graph.ints(&[1]);
        let sum = graph.node("sum", "ReduceSum", &[&weights, &axes], &[]);
        let weights = graph.node("weights", "Div", &[&weights, &sum], &[]);
        let largest = graph.node("largest", "ReduceMax", &[&weights], &[]);
        let powers: Vec<f32> = (1..=MOST_BITS).map(|it| (1_u32 << it) as f32).collect();
        let powers = graph.floats("powers", &[1, MOST_BITS], &powers);
        let [end, one] = [32767.5, 1.0].map(|it| graph.float(it));
        let products = graph.node("products", "Mul", &[&largest, &powers], &[]);
        let fits = graph.node("fits", "Less", &[&products, &end], &[]);
        let fitting = graph.node("fitting", "Where", &[&fits, &powers, &one], &[]);
        let mut steps = graph.node("steps", "ReduceMax", &[&fitting], &[]);
        if filter == Filter::Bilinear {
            let most = graph.float(32768.0);
            let enlarges = graph.node("enlarges", "Less", &[from, to], &[]);
            steps = graph.node("steps", "Where", &[&enlarges, &most, &steps], &[]);
        }
        let weights = graph.node("weights", "Mul", &[&weights, &steps], &[]);
        Weights { matrix: rounded(graph, &weights), steps }
    }

    /// Returns the levels of weighted sums.
    fn levels(&self, graph: &mut GraphBuilder, sums: &str) -> String {
        let means = graph.node("means", "Div", &[sums, &self.steps], &[]);
        let levels = rounded(graph, &means);
        let ends = [0.0, 255.0].map(|it| graph.float(it));
        graph.node("levels", "Clip", &[&levels, &ends[0], &ends[1]], &[])
    }
}

/// Rounds halves up, where ONNX's `Round` rounds them to even.
fn rounded(graph: &mut GraphBuilder, xs: &str) -> String {
    let half = graph.float(0.5);
    let above = graph.node("above", "Add", &[xs, &half], &[]);
    graph.node("whole", "Floor", &[&above], &[])
}

/// The distances between the centres of `to` and `from` pixels, `[to, from]`, in pixels of the coarser grid.
///
/// The differences are of integers, so that they are exact for any size.
fn distances(graph: &mut GraphBuilder, from: &str, to: &str) -> String {
    let (n, m) = (centres(graph, from), centres(graph, to));
    let axes = graph.ints(&[1]);
    let m = graph.node("column", "Unsqueeze", &[&m, &axes], &[]);
    let n = graph.node("centres", "Mul", &[&n, to], &[]);
    let m = graph.node("centres", "Mul", &[&m, from], &[]);
    let apart = graph.node("apart", "Sub", &[&n, &m], &[]);
    let longer = graph.node("longer", "Max", &[from, to], &[]);
    let two = graph.ints(&[2]);
    let unit = graph.node("unit", "Mul", &[&longer, &two], &[]);
    let float = || Attr::Int(DataType::Float as i64);
    let [apart, unit] =
        [apart, unit].map(|it| graph.node("float", "Cast", &[&it], &[("to", float())]));
    let apart = graph.node("apart", "Div", &[&apart, &unit], &[]);
    graph.node("apart", "Abs", &[&apart], &[])
}

/// Twice the centres of `n` pixels: 1, 3, 5, ….
fn centres(graph: &mut GraphBuilder, n: &str) -> String {
    let [zero, one, two] = [0, 1, 2].map(|it| graph.int(it));
    let axes = graph.ints(&[0]);
    let n = graph.node("n", "Squeeze", &[n, &axes], &[]);
    let places = graph.node("places", "Range", &[&zero, &n, &one], &[]);
    let twice = graph.node("twice", "Mul", &[&places, &two], &[]);
    graph.node("centres", "Add", &[&twice, &one], &[])
}

/// max(0, 1 - d)
fn triangle(graph: &mut GraphBuilder, d: &str) -> String {
    let one = graph.float(1.0);
    let weights = graph.node("triangle", "Sub", &[&one, d], &[]);
    graph.node("triangle", "Relu", &[&weights], &[])
}

/// Catmull and Rom's cubic: 1.5 d³ - 2.5 d² + 1 up to 1, -0.5 d³ + 2.5 d² - 4 d + 2 up to 2.
fn cubic(graph: &mut GraphBuilder, d: &str) -> String {
    let near = polynomial(graph, d, [1.5, -2.5, 0.0, 1.0]);
    let far = polynomial(graph, d, [-0.5, 2.5, -4.0, 2.0]);
    let [zero, one, two] = [0.0, 1.0, 2.0].map(|it| graph.float(it));
    let is_near = graph.node("is_near", "Less", &[d, &one], &[]);
    let is_far = graph.node("is_far", "Less", &[d, &two], &[]);
    let far = graph.node("cubic", "Where", &[&is_far, &far, &zero], &[]);
    graph.node("cubic", "Where", &[&is_near, &near, &far], &[])
}

/// sinc(d) sinc(d / 3) up to 3, where sinc(x) = sin(πx) / (πx).
fn windowed_sinc(graph: &mut GraphBuilder, d: &str) -> String {
    // A distance of 0 has the weight 1, as this one has in 32 bits.
    let [zero, least, end] = [0.0, 1e-6, 3.0].map(|it| graph.float(it));
    let d = graph.node("apart", "Max", &[d, &least], &[]);
    let [wave, window] = [PI, PI / 3.0].map(|it| {
        let factor = graph.float(it);
        let angle = graph.node("angle", "Mul", &[&d, &factor], &[]);
        let sine = graph.node("sine", "Sin", &[&angle], &[]);
        graph.node("sinc", "Div", &[&sine, &angle], &[])
    });
    let both = graph.node("lanczos", "Mul", &[&wave, &window], &[]);
    let is_near = graph.node("is_near", "Less", &[&d, &end], &[]);
    graph.node("lanczos", "Where", &[&is_near, &both, &zero], &[])
}

/// Horner's scheme; the first coefficient is that of d³.
fn polynomial(graph: &mut GraphBuilder, d: &str, [first, rest @ ..]: [f32; 4]) -> String {
    let first = graph.float(first);
    rest.into_iter().fold(first, |sum, it| {
        let it = graph.float(it);
        let product = graph.node("product", "Mul", &[&sum, d], &[]);
        graph.node("cubic", "Add", &[&product, &it], &[])
    })
}
