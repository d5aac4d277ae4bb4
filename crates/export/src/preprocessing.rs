//! The preprocessing of decoded images in the graph: resize, crop, normalise.
//!
//! From RGB8 images `[batch, height, width, 3]` of any size, all of a batch alike, to normalised ones `[batch, 3,
//! height, width]`, by the operations of a member's pipeline:
//!
//! - `resize` and `resize_shorter`: first the columns, then the rows, each antialiased and rounded to whole levels
//!   (`resample.rs`). `resize_shorter` computes the size from that of the image, and rounds the longer side down.
//! - `center_crop` and `crop`: a slice, whose start is rounded to even.
//! - normalisation: x · 1 / (255 std) - mean / std.
//!
//! An image that is smaller than a crop is an error of the runtime: a `Reshape` to the known size then fails.
//!
//! The pixels are ours, but for one in ten thousand, which differs by a level, where a 32-bit sum is rounded. They
//! differ by more for large JPEG files that are made much smaller, which we decode at a half, a quarter or an eighth
//! of their size (`augment/src/decode.rs`).

use augment::{Pipeline, Statistics, Step, TransformConfig};

use crate::{
    ExportError,
    builder::{Attr, Dim, GraphBuilder},
    proto::DataType,
};

/// Adds the input of decoded images, and returns its name with the channels first, as 32-bit floats.
pub(crate) fn input(graph: &mut GraphBuilder) -> String {
    let dims = [Dim::BATCH, Dim::Named("height"), Dim::Named("width"), Dim::Fixed(3)];
    let images = graph.input("images", DataType::Uint8, &dims, "RGB, 0 to 255");
    let first = Attr::Ints(vec![0, 3, 1, 2]);
    let moved = graph.node("channels_first", "Transpose", &[&images], &[("perm", first)]);
    let float = Attr::Int(DataType::Float as i64);
    graph.node("levels", "Cast", &[&moved], &[("to", float)])
}

/// Adds a pipeline, and returns the name of the normalised images, `[batch, 3, height, width]`.
///
/// - `levels`: the name of the [`input`].
///
/// # Errors
/// A pipeline with other operations, which [`problem`] names.
pub(crate) fn add(
    graph: &mut GraphBuilder,
    pipeline: &Pipeline,
    levels: &str,
) -> Result<String, ExportError> {
    if let Some(problem) = problem(&pipeline.ops) {
        return Err(ExportError::Unfit(problem));
    }
    let size = pipeline.size().map_err(ExportError::Unfit)?;
    let mut xs = levels.to_owned();
    for step in applied(&pipeline.ops) {
        xs = match &step.op {
            TransformConfig::Resize(it) => {
                let size = graph.ints(&it.size.map(|it| it as i64));
                resample::resize(graph, &xs, &size, it.filter)
            }
            TransformConfig::ResizeShorter(it) => {
                let size = shorter(graph, &xs, it.size);
                resample::resize(graph, &xs, &size, it.filter)
            }
            TransformConfig::CenterCrop(it) => crop(graph, &xs, it.size, [0.5; 2]),
            TransformConfig::Crop(it) => crop(graph, &xs, it.size, it.at),
            other => return Err(ExportError::Unfit(foreign(other.kind()))),
        };
    }
    // A 0 keeps the dimension of the input.
    let shape = graph.ints(&[0, 3, size[0] as i64, size[1] as i64]);
    let xs = graph.node("pixels", "Reshape", &[&xs, &shape], &[]);
    Ok(normalise(graph, &xs, pipeline.statistics))
}

/// Returns why the operations cannot be in a graph, if they cannot.
pub(crate) fn problem(ops: &[Step]) -> Option<String> {
    let mut resized: Option<&str> = None;
    for step in applied(ops) {
        let kind = step.op.kind();
        let resizes = match &step.op {
            TransformConfig::Resize(_) | TransformConfig::ResizeShorter(_) => true,
            TransformConfig::CenterCrop(_) | TransformConfig::Crop(_) => false,
            _ => return Some(foreign(kind)),
        };
        if let (Some(first), true) = (resized, resizes) {
            return Some(format!(
                "`{kind}` after `{first}`: the two are one resampling here, and would be two in the graph: {WITHOUT}"
            ));
        }
        resized = resized.or(resizes.then_some(kind));
    }
    None
}

/// What to do about a pipeline that cannot be in a graph.
const WITHOUT: &str = "export without the preprocessing, and pass normalised images";

/// The message for an operation that has no equivalent in ONNX.
fn foreign(kind: &str) -> String {
    format!(
        "`{kind}` cannot be in the graph, which has `resize`, `resize_shorter`, `center_crop` and `crop`: {WITHOUT}"
    )
}

/// The operations that are applied.
fn applied(ops: &[Step]) -> impl Iterator<Item = &Step> {
    ops.iter().filter(|it| it.p > 0.0)
}

/// Returns the name of the `[height, width]` with which the shorter side has `size` pixels.
fn shorter(graph: &mut GraphBuilder, xs: &str, size: usize) -> String {
    let shape = graph.node("shape", "Shape", &[xs], &[]);
    let sides = graph.part(&shape, 2, 4);
    let axes = graph.ints(&[0]);
    let shorter =
        graph.node("shorter", "ReduceMin", &[&sides, &axes], &[("keepdims", Attr::Int(1))]);
    let size = graph.ints(&[size as i64]);
    let product = graph.node("product", "Mul", &[&sides, &size], &[]);
    // Of positive integers, which is rounded down.
    graph.node("sides", "Div", &[&product, &shorter], &[])
}

/// Crops images `[batch, 3, h, w]` to the part of `size` at the position `at`.
fn crop(graph: &mut GraphBuilder, xs: &str, size: [usize; 2], at: [f64; 2]) -> String {
    let shape = graph.node("shape", "Shape", &[xs], &[]);
    let sides = graph.part(&shape, 2, 4);
    let [height, width] = size.map(|it| it as i64);
    let size = graph.ints(&[height, width]);
    let margin = graph.node("margin", "Sub", &[&sides, &size], &[]);
    let at = graph.doubles("at", &[2], &at);
    let double = Attr::Int(DataType::Double as i64);
    let margin = graph.node("margin", "Cast", &[&margin], &[("to", double)]);
    let start = graph.node("start", "Mul", &[&margin, &at], &[]);
    // tract rounds 32-bit floats only; half a pixel is exact in them.
    let float = Attr::Int(DataType::Float as i64);
    let start = graph.node("start", "Cast", &[&start], &[("to", float)]);
    let start = graph.node("start", "Round", &[&start], &[]);
    let whole = Attr::Int(DataType::Int64 as i64);
    let start = graph.node("start", "Cast", &[&start], &[("to", whole)]);
    let end = graph.node("end", "Add", &[&start, &size], &[]);
    let axes = graph.ints(&[2, 3]);
    let part = graph.node("cropped", "Slice", &[xs, &start, &end, &axes], &[]);
    // Of a smaller image the slice is smaller. A 0 keeps the dimension of the input.
    let shape = graph.ints(&[0, 3, height, width]);
    graph.node("cropped", "Reshape", &[&part, &shape], &[])
}

/// Normalises levels from 0 to 255.
fn normalise(graph: &mut GraphBuilder, xs: &str, by: Statistics) -> String {
    let Statistics { mean, std } = by;
    let scale = [0, 1, 2].map(|it: usize| (1.0 / (255.0 * std[it])) as f32);
    let shift = [0, 1, 2].map(|it: usize| (-mean[it] / std[it]) as f32);
    let scale = graph.floats("scale", &[1, 3, 1, 1], &scale);
    let shift = graph.floats("shift", &[1, 3, 1, 1], &shift);
    let xs = graph.node("scaled", "Mul", &[xs, &scale], &[]);
    graph.node("normalised", "Add", &[&xs, &shift], &[])
}

mod resample;
#[cfg(test)]
mod tests;
