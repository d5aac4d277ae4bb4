//! The common structure of most heads: several outputs from the same features, each with its own linear
//! layers.
//!
//! All outputs share the features, after one dropout. Each has `depth` hidden layers (linear,
//! activation, dropout) and one linear layer to its numbers.

use base::{Task, task::Scope};
use candle::Result;
use ops::{Activation, Form, Output, Pass, Value};

use super::built::BuiltHead;
use crate::{
    layers::{Linear, LinearInit},
    params::Builder,
};

/// The specification of one output of a head.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputSpec {
    /// The name of its layers.
    pub name: String,
    /// The target: the joint class, or one factor.
    pub scope: Scope,
    /// The meaning of the numbers.
    pub form: Form,
    /// The weight of its loss.
    pub weight: f64,
    /// The number of values per image.
    pub n_out: usize,
}

/// The layers of each output.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Number of hidden layers.
    pub(super) depth: usize,
    /// Width of each hidden layer.
    pub(super) width: usize,
    /// Dropout probability of the features and of each hidden layer's outputs.
    pub(super) dropout: f64,
    /// Activation of the hidden layers.
    pub(super) activation: Activation,
    /// Initialisation of every layer.
    pub(super) init: LinearInit,
}

impl OutputSpec {
    /// The output for the joint class.
    pub(super) fn joint(task: &Task) -> OutputSpec {
        OutputSpec::of(task, Scope::Joint)
    }

    /// One output for the levels of each factor.
    pub(super) fn factors(task: &Task) -> Vec<OutputSpec> {
        (0..task.factors.len()).map(|idx| OutputSpec::of(task, Scope::Factor(idx))).collect()
    }

    fn of(task: &Task, scope: Scope) -> OutputSpec {
        let (name, n_out) = (task.scope_name(scope).to_owned(), task.n_classes_of(scope));
        OutputSpec { name, scope, form: Form::Classes, weight: 1.0, n_out }
    }
}

impl Shape {
    /// Returns the problem with the settings, if any.
    pub(super) fn problem(&self) -> Option<String> {
        let Shape { depth, width, dropout, .. } = *self;
        let depth = (depth > 16).then(|| format!("`depth` is from 0 to 16, not {depth}"));
        let is_width = (1..=65536).contains(&width);
        let width = (!is_width).then(|| format!("`width` is from 1 to 65536, not {width}"));
        dropout_problem(dropout).or(depth).or(width)
    }

    /// Returns `name` where the output of that name has a single layer.
    pub(super) fn only(&self, name: &'static str) -> Option<&'static str> {
        (self.depth == 0).then_some(name)
    }

    /// Builds the head that predicts `outputs` from `n_features` features.
    pub(super) fn build(
        self,
        outputs: Vec<OutputSpec>,
        n_features: usize,
        mut builder: Builder<'_>,
    ) -> Result<Box<dyn BuiltHead>> {
        let name = builder.path_of("dropout");
        let layers = |output: OutputSpec| {
            let mut builder = builder.under(&output.name);
            let (mut n_in, mut hidden) = (n_features, Vec::new());
            for idx in 0..self.depth {
                let mut place = builder.under(format!("hidden.{idx}"));
                let dropout = place.path_of("dropout");
                hidden.push((
                    Linear::new(place.under("linear"), n_in, self.width, self.init)?,
                    dropout,
                ));
                n_in = self.width;
            }
            let last = Linear::new(builder, n_in, output.n_out, self.init)?;
            Ok(Layers { output, hidden, last })
        };
        let layers = outputs.into_iter().map(layers).collect::<Result<_>>()?;
        Ok(Box::new(Built { shape: self, layers, name }))
    }
}

/// Returns the problem with a dropout probability, if any.
pub(super) fn dropout_problem(dropout: f64) -> Option<String> {
    (!(0.0..1.0).contains(&dropout))
        .then(|| format!("`dropout` is from 0 to below 1, not {dropout}"))
}

struct Built {
    shape: Shape,
    layers: Vec<Layers>,
    name: String,
}

/// One output and its layers.
struct Layers {
    output: OutputSpec,
    /// Each layer with the name of its dropout.
    hidden: Vec<(Linear, String)>,
    last: Linear,
}

impl BuiltHead for Built {
    fn outputs(&self, features: &Value, pass: &Pass<'_>) -> Result<Vec<Output<Value>>> {
        let Shape { dropout, activation, .. } = self.shape;
        let features = ops::dropout(features, dropout, pass, &self.name)?;
        let output = |it: &Layers| {
            let mut xs = features.clone();
            for (linear, name) in &it.hidden {
                let ys = ops::activate(&linear.forward(&xs, pass)?, activation)?;
                xs = ops::dropout(&ys, dropout, pass, name)?;
            }
            let numbers = it.last.forward(&xs, pass)?;
            let OutputSpec { scope, weight, ref form, .. } = it.output;
            Ok(Output { scope, form: form.clone(), weight, numbers })
        };
        self.layers.iter().map(output).collect()
    }
}
