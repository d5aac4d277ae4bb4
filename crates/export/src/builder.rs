//! Builds the graph of an ONNX file: constants, nodes, inputs and outputs, each with a unique name.
//!
//! A value is referred to by its name, which [`GraphBuilder::node`] and the functions for constants return. Nodes
//! are added in topological order: a node's inputs exist before it.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::{
    Attribute, AttributeType, DataType, Dimension, DimensionValue, Graph, Model, Node, OperatorSet,
    Shape, StringString, Tensor, TensorType, Type, ValueInfo,
};

/// The version of ONNX's operators: the first whose reductions take their axes as an input, but for the sum.
pub(crate) const OPSET: i64 = 18;

/// The version of the file format that came with opset 18.
const IR_VERSION: i64 = 8;

/// A dimension of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dim {
    /// The same for every call.
    Fixed(usize),
    /// Chosen by the caller: any number above 0, the same wherever the name occurs.
    Named(&'static str),
}

impl Dim {
    /// The number of images of a call.
    pub(crate) const BATCH: Dim = Dim::Named("batch");
}

/// The value of an attribute of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Attr {
    /// `INT`
    Int(i64),
    /// `FLOAT`
    Float(f32),
    /// `INTS`
    Ints(Vec<i64>),
}

/// A graph under construction.
#[derive(Default)]
pub(crate) struct GraphBuilder {
    nodes: Vec<Node>,
    constants: Vec<Tensor>,
    inputs: Vec<ValueInfo>,
    outputs: Vec<ValueInfo>,
    /// All names so far: of values and of nodes.
    names: BTreeSet<String>,
    /// How many values had a name before it was made unique.
    counts: BTreeMap<String, usize>,
    /// The constants of few numbers, which occur often and are stored once.
    small: BTreeMap<(i32, Vec<i64>, Vec<u8>), String>,
    /// What every new name begins with: see [`GraphBuilder::within`].
    prefix: String,
}

impl GraphBuilder {
    /// An empty graph.
    pub(crate) fn new() -> GraphBuilder {
        GraphBuilder::default()
    }

    /// Runs `build` with every new name prefixed by `prefix` and `/`, after the current prefix; an empty `prefix` adds
    /// nothing. For the members of an ensemble.
    pub(crate) fn within<T>(
        &mut self,
        prefix: &str,
        build: impl FnOnce(&mut GraphBuilder) -> T,
    ) -> T {
        let before = self.prefix.clone();
        if !prefix.is_empty() {
            self.prefix = format!("{before}{prefix}/");
        }
        let built = build(self);
        self.prefix = before;
        built
    }

    /// Returns a name that no other value or node has: `hint`, or `hint_1`, `hint_2`, ….
    pub(crate) fn unique(&mut self, hint: &str) -> String {
        let base = format!("{}{hint}", self.prefix);
        let count = self.counts.entry(base.clone()).or_default();
        let mut name = if *count == 0 { base.clone() } else { format!("{base}_{count}") };
        *count += 1;
        while !self.names.insert(name.clone()) {
            name = format!("{base}_{count}");
            *count += 1;
        }
        name
    }

    /// Adds an input and returns its name; `doc` says what its numbers are.
    pub(crate) fn input(&mut self, name: &str, of: DataType, dims: &[Dim], doc: &str) -> String {
        let name = self.unique(name);
        self.inputs.push(value_info(&name, of, dims, doc));
        name
    }

    /// Adds an output `name`, equal to a `value`; `doc` says what its numbers are.
    pub(crate) fn output(
        &mut self,
        name: &str,
        value: &str,
        of: DataType,
        dims: &[Dim],
        doc: &str,
    ) -> String {
        let name = self.unique(name);
        self.push("Identity", &[value], name.clone(), &[]);
        self.outputs.push(value_info(&name, of, dims, doc));
        name
    }

    /// Adds a constant of 32-bit floats, such as a weight, and returns its name.
    ///
    /// `values` are in row-major order, as many as the product of `dims`; no `dims` for a scalar.
    pub(crate) fn floats(&mut self, hint: &str, dims: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        self.constant(hint, DataType::Float, dims, bytes)
    }

    /// Adds a constant of 64-bit floats and returns its name; see [`floats`](GraphBuilder::floats).
    pub(crate) fn doubles(&mut self, hint: &str, dims: &[usize], values: &[f64]) -> String {
        let bytes = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        self.constant(hint, DataType::Double, dims, bytes)
    }

    /// Adds a list of integers, such as axes or a shape, and returns its name.
    pub(crate) fn ints(&mut self, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        self.constant("ints", DataType::Int64, &[values.len()], bytes)
    }

    /// Adds one integer without dimensions and returns its name.
    pub(crate) fn int(&mut self, value: i64) -> String {
        self.constant("int", DataType::Int64, &[], value.to_le_bytes().to_vec())
    }

    /// Adds one 32-bit float without dimensions and returns its name.
    pub(crate) fn float(&mut self, value: f32) -> String {
        self.constant("float", DataType::Float, &[], value.to_le_bytes().to_vec())
    }

    fn constant(&mut self, hint: &str, of: DataType, dims: &[usize], bytes: Vec<u8>) -> String {
        let dims: Vec<i64> = dims.iter().map(|&it| it as i64).collect();
        let key = (bytes.len() <= 64).then(|| (of as i32, dims.clone(), bytes.clone()));
        if let Some(name) = key.as_ref().and_then(|it| self.small.get(it)) {
            return name.clone();
        }
        let name = self.unique(hint);
        self.small.extend(key.map(|it| (it, name.clone())));
        self.constants.push(Tensor {
            dims,
            data_type: Some(of as i32),
            name: Some(name.clone()),
            raw_data: Some(bytes),
        });
        name
    }

    /// Adds a node with one output and returns the output's name, which begins with `hint`.
    ///
    /// An empty input is an optional one that is left out.
    pub(crate) fn node(
        &mut self,
        hint: &str,
        op: &str,
        inputs: &[&str],
        attributes: &[(&str, Attr)],
    ) -> String {
        let output = self.unique(hint);
        self.push(op, inputs, output.clone(), attributes);
        output
    }

    /// Adds the numbers `from..to` of a list and returns their name.
    pub(crate) fn part(&mut self, list: &str, from: i64, to: i64) -> String {
        let [from, to, axes] = [from, to, 0].map(|it| self.ints(&[it]));
        self.node("part", "Slice", &[list, &from, &to, &axes], &[])
    }

    fn push(&mut self, op: &str, inputs: &[&str], output: String, attrs: &[(&str, Attr)]) {
        let known = |it: &&str| it.is_empty() || self.names.contains(*it);
        debug_assert!(inputs.iter().all(known), "{op} of {inputs:?}: an input does not exist");
        self.nodes.push(Node {
            input: inputs.iter().map(|&it| it.to_owned()).collect(),
            // A node has the name of its output: errors of runtimes then name a value.
            name: Some(output.clone()),
            output: vec![output],
            op_type: Some(op.to_owned()),
            attribute: attrs.iter().map(|(name, value)| attribute(name, value)).collect(),
        });
    }

    /// Returns the file's bytes.
    ///
    /// - `name`: that of the graph.
    /// - `metadata`: entries of `metadata_props`, in this order.
    pub(crate) fn finish(self, name: &str, metadata: Vec<(String, String)>) -> Model {
        let entry =
            |(key, value): (String, String)| StringString { key: Some(key), value: Some(value) };
        Model {
            ir_version: Some(IR_VERSION),
            producer_name: Some("maskfit".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            doc_string: None,
            graph: Some(Graph {
                node: self.nodes,
                name: Some(name.to_owned()),
                initializer: self.constants,
                input: self.inputs,
                output: self.outputs,
            }),
            opset_import: vec![OperatorSet { domain: Some(String::new()), version: Some(OPSET) }],
            metadata_props: metadata.into_iter().map(entry).collect(),
        }
    }
}

fn attribute(name: &str, value: &Attr) -> Attribute {
    let mut it = Attribute { name: Some(name.to_owned()), ..Attribute::default() };
    let of = match value {
        Attr::Int(value) => {
            it.i = Some(*value);
            AttributeType::Int
        }
        Attr::Float(value) => {
            it.f = Some(*value);
            AttributeType::Float
        }
        Attr::Ints(values) => {
            it.ints.clone_from(values);
            AttributeType::Ints
        }
    };
    it.r#type = Some(of as i32);
    it
}

fn value_info(name: &str, of: DataType, dims: &[Dim], doc: &str) -> ValueInfo {
    let dim = |it: &Dim| Dimension {
        value: Some(match it {
            Dim::Fixed(n) => DimensionValue::Fixed(*n as i64),
            Dim::Named(name) => DimensionValue::Named((*name).to_owned()),
        }),
    };
    let shape = Shape { dim: dims.iter().map(dim).collect() };
    let tensor_type = TensorType { elem_type: Some(of as i32), shape: Some(shape) };
    ValueInfo {
        name: Some(name.to_owned()),
        r#type: Some(Type { tensor_type: Some(tensor_type) }),
        doc_string: (!doc.is_empty()).then(|| doc.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::{Attr, Dim, GraphBuilder};
    use crate::proto::{DataType, Model};

    #[test]
    fn names_are_unique_and_few_numbers_are_stored_once() {
        let mut it = GraphBuilder::new();
        assert_eq!(it.ints(&[1, 2]), it.ints(&[1, 2]));
        assert_ne!(it.ints(&[1, 2]), it.ints(&[2, 1]));
        // Of another type or shape.
        assert_ne!(it.floats("a", &[1], &[0.0]), it.float(0.0));
        let large = vec![0.5; 100];
        assert_ne!(it.floats("w", &[100], &large), it.floats("w", &[100], &large));
        let mut names: Vec<String> = (0..3).map(|_| it.unique("add")).collect();
        // A name that was made unique may be asked for.
        names.push(it.unique("add_1"));
        names.push(it.within("members.0", |it| it.unique("add")));
        names.push(it.within("", |it| it.unique("add")));
        assert_eq!(names, ["add", "add_1", "add_2", "add_1_1", "members.0/add", "add_3"]);
    }

    #[test]
    fn a_model_is_what_it_was_after_encoding() {
        let mut it = GraphBuilder::new();
        let xs = it.input("xs", DataType::Float, &[Dim::BATCH, Dim::Fixed(3)], "");
        let attributes = [("axis", Attr::Int(0)), ("alpha", Attr::Float(0.0))];
        let ys = it.node("ys", "Some", &[&xs, "", &xs], &attributes);
        it.output("out", &ys, DataType::Float, &[Dim::BATCH], "a text");
        let model = it.finish("test", vec![("key".to_owned(), "value".to_owned())]);
        let bytes = model.encode_to_vec();
        assert_eq!(Model::decode(bytes.as_slice()).unwrap(), model);
        // `ir_version` (field 1, a varint), then `producer_name` (field 2, a text of 7 bytes).
        assert_eq!(bytes[..11], *b"\x08\x08\x12\x07maskfit");
        // A zero is written, since attributes are of proto2: name (1), i (3), type INT (20).
        let axis = b"\x0a\x04axis\x18\x00\xa0\x01\x02";
        assert!(bytes.windows(axis.len()).any(|it| it == axis));
    }
}
