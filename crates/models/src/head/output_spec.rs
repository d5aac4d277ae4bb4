//! What most heads are: questions about the same features, each with linear layers of its own.
//!
//! All questions see the same features, after one dropout. To each lead `depth` hidden layers
//! (linear, activation, dropout) and one linear layer to its numbers.

use base::{Task, task::Scope};
use candle::Result;
use ops::{Activation, Form, Output, Pass, Value};

use super::{Heads, dropout_problem};
use crate::{
    layers::{Linear, LinearInit},
    params::Builder,
};

/// What a head asks.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputSpec {
    /// Of its layers.
    pub name: String,
    /// What the answer is about.
    pub scope: Scope,
    /// What the numbers of the answer mean.
    pub form: Form,
    /// How much of its loss is descended on.
    pub weight: f64,
    /// How many numbers are its answer.
    pub n_out: usize,
}

/// The layers of each question.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Hidden layers.
    pub(super) depth: usize,
    /// Outputs of each.
    pub(super) width: usize,
    /// The share dropped in training of the features, and of each hidden layer's outputs.
    pub(super) dropout: f64,
    /// Of the hidden layers.
    pub(super) activation: Activation,
    /// Of every layer.
    pub(super) init: LinearInit,
}

impl OutputSpec {
    /// Which joint class?
    pub(super) fn joint(task: &Task) -> OutputSpec {
        OutputSpec::of(task, Scope::Joint)
    }

    /// Which level, of each factor?
    pub(super) fn factors(task: &Task) -> Vec<OutputSpec> {
        (0..task.factors.len()).map(|idx| OutputSpec::of(task, Scope::Factor(idx))).collect()
    }

    fn of(task: &Task, scope: Scope) -> OutputSpec {
        let (name, n_out) = (task.scope_name(scope).to_owned(), task.n_classes_of(scope));
        OutputSpec { name, scope, form: Form::Classes, weight: 1.0, n_out }
    }
}

impl Shape {
    /// What is wrong with the settings, if anything is.
    pub(super) fn problem(&self) -> Option<String> {
        let Shape { depth, width, dropout, .. } = *self;
        let depth = (depth > 16).then(|| format!("`depth` is from 0 to 16, not {depth}"));
        let is_width = (1..=65536).contains(&width);
        let width = (!is_width).then(|| format!("`width` is from 1 to 65536, not {width}"));
        dropout_problem(dropout).or(depth).or(width)
    }

    /// The name of the layer that answers `name`, where it is the only one.
    pub(super) fn only(&self, name: &'static str) -> Option<&'static str> {
        (self.depth == 0).then_some(name)
    }

    /// The head that asks `questions` of `n_features` features.
    pub(super) fn ask(
        self,
        outputs: Vec<OutputSpec>,
        n_features: usize,
        mut builder: Builder<'_>,
    ) -> Result<Box<dyn Heads>> {
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

struct Built {
    shape: Shape,
    layers: Vec<Layers>,
    name: String,
}

/// A question and the way to its numbers.
struct Layers {
    output: OutputSpec,
    /// Each with the name of its dropout.
    hidden: Vec<(Linear, String)>,
    last: Linear,
}

impl Heads for Built {
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
