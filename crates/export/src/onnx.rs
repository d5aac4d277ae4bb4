//! A bundle as an ONNX file: the graph from images to probabilities, and its metadata.
//!
//! Opset 18. Without preprocessing the input is `images`, `[batch, 3, height, width]`, normalised; with it,
//! `[batch, height, width, 3]`, RGB8 of any size. The numbers of networks are 32-bit floats.

use augment::{Pipeline, Statistics};
use base::task::Scope;
use infer::{Bundle, Member};
use prost::Message as _;
use serde::Serialize;
use serde_json::json;

use crate::{
    ExportError,
    builder::{Dim, GraphBuilder, OPSET},
    outputs, preprocessing,
    proto::{DataType, Dimension, DimensionValue, Model, ValueInfo},
};

/// Settings of an ONNX file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Whether the graph begins with the preprocessing: it then takes decoded images of any size.
    pub preprocessing: bool,
}

/// An ONNX file.
#[derive(Clone, Debug, PartialEq)]
pub struct Onnx {
    /// The file.
    pub bytes: Vec<u8>,
    /// The version of ONNX's operators that it uses.
    pub opset: i64,
    /// What is passed to it.
    pub inputs: Vec<Port>,
    /// What it returns.
    pub outputs: Vec<Port>,
}

/// An input or output of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The type of its numbers: `float32` or `uint8`, as numpy names it.
    pub dtype: &'static str,
    /// Each dimension: a number, or the name of one that may differ from call to call.
    pub shape: Vec<String>,
    /// What its numbers are.
    pub doc: String,
}

/// The largest file that protocol buffers allow: 2 GiB.
const LARGEST: usize = i32::MAX as usize;

/// Returns a bundle as an ONNX file.
///
/// # Errors
/// A bundle with something that the graph does not have: some test-time augmentations, combinations, calibrations
/// and operations of a pipeline, members with different inputs, more than 2 GiB; or a tensor operation that fails.
pub fn onnx(bundle: &Bundle, options: &OnnxOptions) -> Result<Onnx, ExportError> {
    if let Some(problem) = bundle.problem() {
        return Err(ExportError::Unfit(problem));
    }
    let mut graph = GraphBuilder::new();
    let images = match options.preprocessing {
        true => preprocessed(&mut graph, &bundle.members)?,
        false => normalised(&mut graph, &bundle.members)?,
    };
    outputs::predict(&mut graph, bundle, &images)?;
    let model = graph.finish("maskfit", metadata(bundle, *options)?);
    let n_bytes = model.encoded_len();
    if n_bytes > LARGEST {
        return Err(ExportError::Unfit(format!(
            "the file would have {:.1} GiB, and an ONNX file has at most 2: export the members one by one",
            n_bytes as f64 / f64::from(1 << 30)
        )));
    }
    let ports = |of: &[ValueInfo]| of.iter().map(port).collect();
    let Model { graph, .. } = &model;
    let (inputs, outputs) = match graph {
        Some(it) => (ports(&it.input), ports(&it.output)),
        None => (Vec::new(), Vec::new()),
    };
    Ok(Onnx { bytes: model.encode_to_vec(), opset: OPSET, inputs, outputs })
}

fn size(member: &Member) -> Result<[usize; 2], ExportError> {
    member.pipeline.size().map_err(ExportError::Unfit)
}

/// Adds the input of decoded images and each member's preprocessing, once where it is the same. Returns the name of
/// each member's normalised images.
fn preprocessed(graph: &mut GraphBuilder, members: &[Member]) -> Result<Vec<String>, ExportError> {
    let levels = preprocessing::input(graph);
    let mut made: Vec<(&Pipeline, String)> = Vec::new();
    for it in members {
        let pipeline = &it.pipeline;
        let is_same = |(other, _): &&(&Pipeline, String)| {
            (&other.ops, other.statistics) == (&pipeline.ops, pipeline.statistics)
        };
        let name = match made.iter().find(is_same) {
            Some((_, name)) => name.clone(),
            None => preprocessing::add(graph, pipeline, &levels)?,
        };
        made.push((pipeline, name));
    }
    Ok(made.into_iter().map(|it| it.1).collect())
}

/// Adds the input of normalised images, which all members share. Returns its name for each.
fn normalised(graph: &mut GraphBuilder, members: &[Member]) -> Result<Vec<String>, ExportError> {
    let input = |it: &Member| Ok((size(it)?, it.pipeline.statistics));
    let all = members.iter().map(input).collect::<Result<Vec<_>, ExportError>>()?;
    let Some(&first) = all.first() else {
        return Err(ExportError::Unfit("the bundle has no members".to_owned()));
    };
    if let Some(other) = all.iter().position(|it| *it != first) {
        let what = |(size, Statistics { mean, std }): ([usize; 2], Statistics)| {
            format!("{}x{}, mean {mean:?}, std {std:?}", size[0], size[1])
        };
        return Err(ExportError::Unfit(format!(
            "members[0] and members[{other}] take different images ({}; {}), and the graph has one input: export with \
             `--preprocessing`, or each member alone",
            what(first),
            what(all[other])
        )));
    }
    let ([height, width], _) = first;
    let dims = [Dim::BATCH, Dim::Fixed(3), Dim::Fixed(height), Dim::Fixed(width)];
    let doc = "RGB, (x / 255 - mean) / std";
    let name = graph.input("images", DataType::Float, &dims, doc);
    Ok(members.iter().map(|_| name.clone()).collect())
}

/// The entries of the file's metadata, in JSON.
fn metadata(bundle: &Bundle, options: OnnxOptions) -> Result<Vec<(String, String)>, ExportError> {
    let pipelines: Vec<&Pipeline> = bundle.members.iter().map(|it| &it.pipeline).collect();
    let mut entries = vec![
        entry("classes", &bundle.task.class_names(Scope::Joint))?,
        entry("task", &bundle.task)?,
        entry("pipelines", &pipelines)?,
    ];
    if let (false, Some(it)) = (options.preprocessing, bundle.members.first()) {
        let Statistics { mean, std } = it.pipeline.statistics;
        let size = size(it)?;
        let of =
            json!({ "layout": "NCHW", "channels": "RGB", "size": size, "mean": mean, "std": std });
        entries.push(entry("input", &of)?);
    }
    Ok(entries)
}

fn entry(name: &str, value: &impl Serialize) -> Result<(String, String), ExportError> {
    let unfit = |err| ExportError::Unfit(format!("the metadata `{name}`: {err}"));
    Ok((name.to_owned(), serde_json::to_string(value).map_err(unfit)?))
}

fn port(of: &ValueInfo) -> Port {
    let tensor = of.r#type.as_ref().and_then(|it| it.tensor_type.as_ref());
    let dim = |it: &Dimension| match &it.value {
        Some(DimensionValue::Fixed(n)) => n.to_string(),
        Some(DimensionValue::Named(name)) => name.clone(),
        None => "?".to_owned(),
    };
    let shape = tensor.and_then(|it| it.shape.as_ref());
    Port {
        name: of.name.clone().unwrap_or_default(),
        dtype: tensor
            .and_then(|it| DataType::try_from(it.elem_type?).ok())
            .map_or("?", DataType::numpy),
        shape: shape.iter().flat_map(|it| &it.dim).map(dim).collect(),
        doc: of.doc_string.clone().unwrap_or_default(),
    }
}
