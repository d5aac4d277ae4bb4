//! Loads the weights of another model of ours, possibly one of other classes.
//!
//! The backbones are the same. Of the heads, an output is taken over where the other model has one of the same name,
//! form and layers; of its last layer, the rows of the classes that both tasks name alike. Whatever else the head has
//! keeps its initial values.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base::{Task, names::quoted, task::Scope};
use candle::{Tensor, Var};
use ops::Form;

use super::error::WeightsError;
use crate::{BackboneConfig, HeadConfig, OutputSpec, Param, Params, published::for_inference};

/// A model as seen from here: what it is, what it predicts, and its values.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) backbone: &'a BackboneConfig,
    pub(crate) head: &'a HeadConfig,
    pub(crate) task: &'a Task,
    pub(crate) params: &'a Params,
}

/// What was taken over from another model.
#[derive(Clone, Debug, PartialEq)]
pub struct Continued {
    /// The number of the backbone's tensors: all of them are taken over.
    pub n_loaded: usize,
    /// The output of the other model's head whose copy of the last stages was taken, if each of its outputs has its
    /// own and there is none for one of ours.
    pub branch: Option<String>,
    /// The outputs of the head, in their order.
    pub outputs: Vec<ContinuedOutput>,
    /// The names of the other model's outputs that have no counterpart here.
    pub left_out: Vec<String>,
}

/// What was taken over of one output of the head.
#[derive(Clone, Debug, PartialEq)]
pub struct ContinuedOutput {
    /// Its name: `joint`, or the factor's.
    pub name: String,
    /// The classes whose rows were taken over.
    pub kept: Vec<String>,
    /// The classes whose rows are newly initialised.
    pub added: Vec<String>,
    /// The other model's classes that do not occur here.
    pub dropped: Vec<String>,
    /// Why nothing of it could be taken over, if that is so.
    pub reason: Option<&'static str>,
}

/// Why an output is newly initialised.
const ABSENT: &str = "the bundle's head has none of this name";
const OTHER_FORM: &str = "the numbers of the bundle's mean something else";
const OTHER_LAYERS: &str = "the layers of the bundle's have other sizes";
const OTHER_CLASSES: &str = "no class of the bundle's has the same name";

/// A class of an output: the level of each factor that it is about, by their names.
type Class = Vec<(String, String)>;

/// Loads the weights of `theirs` into `ours`.
///
/// # Errors
/// Another backbone, or another variant of it; then the parameters are unchanged.
pub(crate) fn load(ours: Side<'_>, theirs: Side<'_>) -> Result<Continued, WeightsError> {
    let differences = differences(ours.backbone, theirs.backbone);
    if !differences.is_empty() {
        return Err(WeightsError::DoNotFit(format!(
            "the bundle's backbone is another one than that of the settings ({}): leave `model.backbone` out to \
             use the bundle's, or name another bundle",
            differences.join(", ")
        )));
    }
    let mut copies: Vec<(&Param, Tensor)> = Vec::new();
    let mut branch = None;
    for (name, param) in ours.params.named() {
        let Some(plain) = in_backbone(name) else { continue };
        let (from, of) = source(theirs.params, name, plain).ok_or_else(|| missing(plain))?;
        branch = branch.or(of);
        copies.push((param, from.var.as_detached_tensor()));
    }
    let n_loaded = copies.len();
    let (own, others) =
        (ours.head.get().outputs(ours.task)?, theirs.head.get().outputs(theirs.task)?);
    let mut outputs: Vec<ContinuedOutput> = Vec::new();
    for output in &own {
        // Several masks of dropout are outputs of one layer.
        if outputs.iter().all(|it| it.name != output.name) {
            let other = others.iter().find(|it| it.name == output.name);
            let (of_output, continued) = take(ours, theirs, output, other)?;
            copies.extend(of_output);
            outputs.push(continued);
        }
    }
    let is_own = |name: &String| own.iter().any(|it| it.name == *name);
    let left_out: BTreeSet<String> =
        others.into_iter().map(|it| it.name).filter(|it| !is_own(it)).collect();
    for (param, values) in copies {
        if param.var.dims() != values.dims() {
            let dims = (param.var.dims(), values.dims());
            let reason = format!("a tensor has the shape {:?}, but {:?} is needed", dims.1, dims.0);
            return Err(WeightsError::DoNotFit(reason));
        }
        let values = values.to_dtype(param.var.dtype())?.to_device(param.var.device())?;
        param.var.set(&values)?;
    }
    Ok(Continued { n_loaded, branch, outputs, left_out: left_out.into_iter().collect() })
}

fn missing(name: &str) -> WeightsError {
    WeightsError::DoNotFit(format!("`{name}` is missing in the bundle"))
}

/// Returns a parameter's name in the backbone, for a branched head's copy that of the original; `None` for the layers
/// of a head.
fn in_backbone(name: &str) -> Option<&str> {
    match name.strip_prefix("head.") {
        None => Some(name),
        Some(rest) => rest.split_once(".branch.").map(|it| it.1),
    }
}

/// Finds the parameter of the other model that a parameter of the backbone starts from: that of the same name, the
/// original of a copy, or the first copy, whose output is returned too.
fn source<'a>(theirs: &'a Params, name: &str, plain: &str) -> Option<(&'a Param, Option<String>)> {
    if let Some(it) = theirs.get(name).or_else(|| theirs.get(plain)) {
        return Some((it, None));
    }
    theirs.named().find_map(|(other, it)| {
        let (output, of_stage) = other.strip_prefix("head.")?.split_once(".branch.")?;
        (of_stage == plain).then(|| (it, Some(output.to_owned())))
    })
}

/// Returns the settings in which two backbones differ as far as inference depends on them.
fn differences(ours: &BackboneConfig, theirs: &BackboneConfig) -> Vec<String> {
    let table = |it: &BackboneConfig| toml::Table::try_from(for_inference(it)).unwrap_or_default();
    let (own, other) = (table(ours), table(theirs));
    let show = |it: Option<&toml::Value>| it.map_or("not set".to_owned(), ToString::to_string);
    if ours.kind() != theirs.kind() {
        return vec![format!("`{}`, not `{}`", theirs.kind(), ours.kind())];
    }
    let names: BTreeSet<&String> = own.keys().chain(other.keys()).collect();
    let differs = |name: &&&String| own.get(**name) != other.get(**name);
    let line = |name: &String| {
        format!("`{name}` is {}, not {}", show(other.get(name)), show(own.get(name)))
    };
    names.iter().filter(differs).map(|it| line(it)).collect()
}

/// The values that the layers of an output start from, and what they are.
type Start<'a> = (Vec<(&'a Param, Tensor)>, ContinuedOutput);

/// Returns what the layers of an output start from.
fn take<'a>(
    ours: Side<'a>,
    theirs: Side<'a>,
    output: &OutputSpec,
    other: Option<&OutputSpec>,
) -> Result<Start<'a>, WeightsError> {
    let own = classes(ours.task, output);
    let others = other.map_or_else(Vec::new, |it| classes(theirs.task, it));
    let fresh = |reason| {
        let continued = ContinuedOutput {
            name: output.name.clone(),
            kept: Vec::new(),
            added: own.iter().map(shown).collect(),
            dropped: Vec::new(),
            reason: Some(reason),
        };
        Ok((Vec::new(), continued))
    };
    let Some(other) = other else { return fresh(ABSENT) };
    if !means_the_same(&output.form, &other.form) {
        return fresh(OTHER_FORM);
    }
    let (layers, other_layers) = (layers(ours.params, output), layers(theirs.params, other));
    let last = |name: &str| ["weight", "bias"].contains(&name);
    // The last layer may have other rows.
    let sizes = |all: &BTreeMap<&str, &Param>| {
        let of = |(name, it): (&&str, &&Param)| {
            let dims = it.var.dims();
            ((*name).to_owned(), dims[usize::from(last(name))..].to_vec())
        };
        all.iter().map(of).collect::<Vec<_>>()
    };
    if sizes(&layers) != sizes(&other_layers) {
        return fresh(OTHER_LAYERS);
    }
    let places: HashMap<&Class, usize> =
        others.iter().enumerate().map(|(idx, it)| (it, idx)).collect();
    let rows: Vec<Option<usize>> = own.iter().map(|it| places.get(it).copied()).collect();
    if rows.iter().all(Option::is_none) {
        return fresh(OTHER_CLASSES);
    }
    let mut values = Vec::new();
    for (name, &param) in &layers {
        let from = &other_layers[name].var;
        values.push(match last(name) {
            true => (param, joined(&param.var, from, &rows)?),
            false => (param, from.as_detached_tensor()),
        });
    }
    let pick = |is_kept: bool| {
        let picked = own.iter().zip(&rows).filter(|it| it.1.is_some() == is_kept);
        picked.map(|it| shown(it.0)).collect()
    };
    let dropped = others.iter().filter(|it| !own.contains(it)).map(shown).collect();
    let (name, kept, added) = (output.name.clone(), pick(true), pick(false));
    Ok((values, ContinuedOutput { name, kept, added, dropped, reason: None }))
}

/// Returns rows of another tensor where there are any, and otherwise its own: `[row, ...]`.
fn joined(own: &Var, other: &Var, rows: &[Option<usize>]) -> candle::Result<Tensor> {
    let own = own.as_detached_tensor();
    let other = other.as_detached_tensor().to_dtype(own.dtype())?.to_device(own.device())?;
    let n = own.dims()[0];
    let at = |(idx, row): (usize, &Option<usize>)| row.map_or(idx, |it| n + it) as u32;
    let picked: Vec<u32> = rows.iter().enumerate().map(at).collect();
    let picked = Tensor::from_vec(picked, rows.len(), own.device())?;
    Tensor::cat(&[own, other], 0)?.index_select(&picked, 0)
}

/// Returns the layers of an output by their names below it, without a branched head's copy of stages.
fn layers<'a>(params: &'a Params, output: &OutputSpec) -> BTreeMap<&'a str, &'a Param> {
    let place = format!("head.{}.", output.name);
    let of_output = |(name, it): (&'a str, &'a Param)| {
        let rest = name.strip_prefix(place.as_str())?;
        let is_layer = ["weight", "bias"].contains(&rest) || rest.starts_with("hidden.");
        is_layer.then_some((rest, it))
    };
    params.named().filter_map(of_output).collect()
}

/// Returns whether rows of the same class compute the same in both forms.
fn means_the_same(ours: &Form, theirs: &Form) -> bool {
    match (ours, theirs) {
        (Form::Classes, Form::Classes)
        | (Form::Cosines { .. }, Form::Cosines { .. })
        | (Form::Independent, Form::Independent)
        | (Form::Bins { .. }, Form::Bins { .. }) => true,
        (Form::Number { scale: a, center: b, .. }, Form::Number { scale, center, .. }) => {
            a == scale && b == center
        }
        _ => false,
    }
}

/// Returns what each row of an output's last layer stands for.
fn classes(task: &Task, output: &OutputSpec) -> Vec<Class> {
    let factor = |idx: usize| task.factors[idx].name.clone();
    match (&output.form, output.scope) {
        (Form::Bins { min, .. }, Scope::Factor(idx)) => {
            (*min..).take(output.n_out).map(|it| vec![(factor(idx), it.to_string())]).collect()
        }
        (Form::Number { .. }, _) => vec![vec![(output.name.clone(), String::new())]],
        (_, Scope::Factor(idx)) => {
            let levels = task.factors[idx].levels.iter();
            levels.map(|it| vec![(factor(idx), it.clone())]).collect()
        }
        (_, Scope::Joint) => (0..output.n_out).map(|it| joint(task, it)).collect(),
    }
}

/// Returns a joint class by names, whatever the order of the factors.
fn joint(task: &Task, class: usize) -> Class {
    let levels = task.levels_of(class).into_iter().zip(&task.factors);
    let mut class: Class =
        levels.map(|(level, it)| (it.name.clone(), it.levels[level].clone())).collect();
    class.sort();
    class
}

fn shown(class: &Class) -> String {
    class.iter().map(|it| it.1.as_str()).collect::<Vec<_>>().join(" ")
}

/// Formats a number of classes with the first names.
fn named(classes: &[String]) -> String {
    format!("{} ({})", classes.len(), quoted(classes))
}

impl std::fmt::Display for Continued {
    /// A summary in one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tensors of the backbone", self.n_loaded)?;
        if let Some(it) = &self.branch {
            write!(f, ", the last stages from the copy of `{it}`")?;
        }
        for it in &self.outputs {
            write!(f, "; {it}")?;
        }
        for it in &self.left_out {
            write!(f, "; the bundle's {} is left out", classifier(it))?;
        }
        Ok(())
    }
}

/// Names the last layer of an output.
fn classifier(name: &str) -> String {
    match name {
        "joint" => "classifier".to_owned(),
        name => format!("classifier of `{name}`"),
    }
}

impl std::fmt::Display for ContinuedOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ContinuedOutput { name, kept, added, dropped, reason } = self;
        let (name, n) = (classifier(name), kept.len() + added.len());
        let classes = if n == 1 { "class" } else { "classes" };
        if let Some(reason) = reason {
            return write!(f, "the {name} is newly initialised ({n} {classes}), since {reason}");
        }
        match (added.is_empty(), dropped.is_empty()) {
            (true, true) => write!(f, "the {name} is kept ({n} {classes})"),
            (true, false) => write!(
                f,
                "of the {name} all {n} {classes} are kept by name, and {} of the bundle's are left out",
                named(dropped)
            ),
            (false, _) => {
                let (kept, added) = (kept.len(), named(added));
                write!(
                    f,
                    "of the {name} {kept} of {n} {classes} are kept by name, and {added} newly initialised"
                )?;
                match dropped.is_empty() {
                    true => Ok(()),
                    false => write!(f, "; {} of the bundle's are left out", named(dropped)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
