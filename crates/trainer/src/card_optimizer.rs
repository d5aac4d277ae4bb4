//! An optimizer on a card: the same formulas over all parameters at once, and the loss scale.
//!
//! Its state has the names and layouts of the CPU's, so that a checkpoint is resumed on either.

use std::collections::BTreeMap;

use candle::{Device, Error, Result, Tensor, Var, bail};
use gpu::{
    Slice, Storage,
    update::{Clip, Control, Parameter, Rows, Scaling, Turn, Updates},
};
use models::{Kind, Model, Param};
use ops::{Card, Gradients};

use crate::{
    amp::LossScale,
    groups::{Group, ParamGroups},
    optim::{COUNTS, OptimConfig, Optimizer},
    schedule::Rates,
};

/// An optimizer on a card.
pub(crate) struct CardOptimizer {
    card: Card,
    config: OptimConfig,
    clip: Clip,
    slots: Vec<Slot>,
    updates: Updates,
    is_scaled: bool,
}

/// A parameter, in the order of those of `updates`.
struct Slot {
    name: String,
    var: Var,
    group: Group,
}

/// How the numbers of a parameter are divided into outputs of its layer.
fn rows_of(param: &Param) -> Rows {
    let n = param.var.dims()[param.kind.output_axis()];
    match param.kind {
        Kind::Matrix | Kind::Dense => Rows::First(n),
        Kind::Depthwise => Rows::Last(n),
        Kind::Vector | Kind::Norm | Kind::Buffer => Rows::One,
    }
}

/// The numbers of a parameter or a running statistic on a card, as kernels over many of them take it.
///
/// - `is_clipped`: whether adaptive clipping applies to it.
pub(crate) fn parameter(card: &Card, param: &Param, is_clipped: bool) -> Result<Parameter> {
    let stored = card.stored(param.var.as_tensor())?;
    let copy = (card.storage() != Storage::F32).then_some((stored.copy, card.storage()));
    let (master, len) = (stored.master, param.var.elem_count());
    Ok(Parameter { master, copy, len, rows: rows_of(param), is_clipped })
}

impl CardOptimizer {
    /// Creates an optimizer of a model's parameters, with an empty state.
    pub(crate) fn new(
        card: &Card,
        model: &Model,
        groups: &ParamGroups,
        config: &OptimConfig,
        clip: Clip,
        scaling: Option<Scaling>,
    ) -> Result<CardOptimizer> {
        let head = model.stages().len() - 1;
        let (mut slots, mut parameters) = (Vec::new(), Vec::new());
        for (name, it) in model.params().trainable() {
            parameters.push(parameter(card, it, it.stage < head)?);
            let (name, var) = (name.to_owned(), it.var.clone());
            slots.push(Slot { name, var, group: groups.of(it) });
        }
        let rule = config.get().rule(None);
        let updates =
            Updates::new(card.device(), parameters, &rule, scaling).map_err(Error::wrap)?;
        let (card, config, is_scaled) = (card.clone(), config.clone(), scaling.is_some());
        Ok(CardOptimizer { card, config, clip, slots, updates, is_scaled })
    }

    /// The names of a parameter's state tensors.
    fn names(&self) -> &'static [&'static str] {
        self.config.get().rule(None).states()
    }
}

impl Optimizer for CardOptimizer {
    fn step(&mut self, gradients: &Gradients, rates: Rates) -> Result<()> {
        let config = self.config.get();
        let (lr, decay) = (config.lr(), config.weight_decay());
        let turn = |it: &Slot| Turn {
            grad: gradients.on_card(&it.var),
            lr: lr * it.group.lr(rates),
            decay: it.group.decay(decay),
        };
        let turns: Vec<Turn<'_>> = self.slots.iter().map(turn).collect();
        let rule = config.rule(rates.momentum);
        self.updates.step(&rule, &turns, self.clip, false).map_err(Error::wrap)
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let counts = self.updates.counts().map_err(Error::wrap)?;
        let counts: Vec<i64> = counts.into_iter().map(i64::from).collect();
        let counts = Tensor::from_vec(counts, self.slots.len(), &Device::Cpu)?;
        let mut state = vec![(COUNTS.to_owned(), counts)];
        let (mut of, mut buffers) = (Vec::new(), Vec::new());
        for (idx, slot) in self.slots.iter().enumerate() {
            for (nth, what) in self.names().iter().enumerate() {
                let Some(buffer) = self.updates.state(idx, nth) else {
                    bail!("the optimizer on the card has no `{what}` of `{}`", slot.name)
                };
                of.push((format!("{}.{what}", slot.name), slot.var.shape()));
                buffers.push(buffer.whole());
            }
        }
        let numbers = self.card.device().download_all::<f32>(&buffers).map_err(Error::wrap)?;
        for ((name, shape), mut numbers) in of.into_iter().zip(numbers) {
            numbers.truncate(shape.elem_count());
            state.push((name, Tensor::from_vec(numbers, shape, &Device::Cpu)?));
        }
        Ok(state)
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let get = |name: &str| {
            let missing = || Error::Msg(format!("the optimizer's state lacks `{name}`"));
            state.get(name).ok_or_else(missing)
        };
        let counts = get(COUNTS)?.to_vec1::<i64>()?;
        let n = self.slots.len();
        if counts.len() != n {
            bail!("the optimizer's state has {} parameters, not {n}", counts.len());
        }
        let count = |it: i64| {
            let wrong = |_| Error::Msg(format!("the optimizer's state has a count of {it} steps"));
            u32::try_from(it).map_err(wrong)
        };
        let counts: Vec<u32> = counts.into_iter().map(count).collect::<Result<_>>()?;
        let mut loaded = Vec::new();
        for (idx, slot) in self.slots.iter().enumerate() {
            for (nth, what) in self.names().iter().enumerate() {
                let name = format!("{}.{what}", slot.name);
                let numbers = get(&name)?.flatten_all()?.to_vec1::<f32>()?;
                if numbers.len() != slot.var.elem_count() {
                    bail!("`{name}` has a different size");
                }
                loaded.push((idx, nth, numbers));
            }
        }
        for (idx, nth, numbers) in loaded {
            self.updates.set_state(idx, nth, &numbers).map_err(Error::wrap)?;
        }
        self.updates.set_counts(&counts).map_err(Error::wrap)
    }

    fn scale(&self) -> Result<Option<Slice<'_>>> {
        self.is_scaled.then(|| self.updates.scale().map_err(Error::wrap)).transpose()
    }

    fn loss_scale(&self) -> Result<Option<LossScale>> {
        if !self.is_scaled {
            return Ok(None);
        }
        let Control { scale, good_steps, skipped_steps, .. } =
            self.updates.control().map_err(Error::wrap)?;
        Ok(Some(LossScale { scale, good_steps, skipped_steps }))
    }

    fn set_loss_scale(&mut self, it: LossScale) -> Result<()> {
        if !self.is_scaled {
            return Ok(());
        }
        let LossScale { scale, good_steps, skipped_steps } = it;
        let control = Control {
            scale,
            unscale: 1.0 / scale,
            good_steps,
            skipped_steps,
            ..Control::default()
        };
        self.updates.set_control(&control).map_err(Error::wrap)
    }
}
