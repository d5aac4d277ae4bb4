//! The per-parameter state of an optimizer.

use std::collections::BTreeMap;

use candle::{Device, Result, Tensor, Var, bail};
use models::{Kind, Param, Params};
use ops::Gradients;

use crate::{
    groups::{Group, ParamGroups},
    rows::{Rows, read},
    schedule::Rates,
};

/// The parameters that an optimizer updates, in name order, with `N` state values for each element.
pub(super) struct Slots<const N: usize> {
    /// The names of the state values.
    names: [&'static str; N],
    slots: Vec<Slot<N>>,
}

/// One parameter and its state.
pub(super) struct Slot<const N: usize> {
    name: String,
    pub(super) var: Var,
    group: Group,
    /// Its rows; `None` for one-dimensional parameters.
    pub(super) rows: Option<Rows>,
    /// Steps taken, including the current one; steps in which it was frozen do not count.
    pub(super) n_steps: u64,
    pub(super) state: [Vec<f32>; N],
}

impl<const N: usize> Slot<N> {
    fn new(name: &str, param: &Param, groups: &ParamGroups) -> Slot<N> {
        let is_matrix = matches!(param.kind, Kind::Matrix | Kind::Dense | Kind::Depthwise);
        Slot {
            name: name.to_owned(),
            var: param.var.clone(),
            group: groups.of(param),
            rows: is_matrix.then(|| Rows::of(param)),
            n_steps: 0,
            state: std::array::from_fn(|_| vec![0.0; param.var.elem_count()]),
        }
    }

    /// Returns the learning rate of a step, given the optimizer's.
    pub(super) fn lr(&self, lr: f64, rates: Rates) -> f64 {
        lr * self.group.lr(rates)
    }

    /// Returns the weight decay, given the optimizer's.
    pub(super) fn decay(&self, weight_decay: f64) -> f64 {
        self.group.decay(weight_decay)
    }

    /// Returns 1 - betaᵗ, the bias correction of a running average initialised to 0.
    pub(super) fn correction(&self, beta: f64) -> f64 {
        1.0 - beta.powi(i32::try_from(self.n_steps).unwrap_or(i32::MAX))
    }

    /// Applies `f` to each element of the parameter, its gradient and its state, in parallel.
    pub(super) fn update(
        &mut self,
        grad: &Tensor,
        f: impl Fn(&mut f32, f32, [&mut f32; N]) + Sync + Send,
    ) -> Result<()> {
        let state = self.state.each_mut().map(Vec::as_mut_slice);
        ops::update(
            &self.var,
            grad,
            state,
            #[inline(always)]
            |params, grads, mut state| {
                let (params, few_params) = params.as_chunks_mut::<TOGETHER>();
                let (grads, few_grads) = grads.as_chunks::<TOGETHER>();
                for (idx, (params, grads)) in params.iter_mut().zip(grads).enumerate() {
                    // Copies cannot be aliased, so the compiler keeps them in registers.
                    let mut numbers = *params;
                    let mut states = state.each_mut().map(|it| {
                        let (chunks, _) = it.as_chunks_mut::<TOGETHER>();
                        chunks[idx]
                    });
                    for (at, &g) in grads.iter().enumerate() {
                        f(&mut numbers[at], g, states.each_mut().map(|it| &mut it[at]));
                    }
                    *params = numbers;
                    for (it, states) in state.iter_mut().zip(states) {
                        it.as_chunks_mut::<TOGETHER>().0[idx] = states;
                    }
                }
                let done = params.len() * TOGETHER;
                for (idx, (p, &g)) in few_params.iter_mut().zip(few_grads).enumerate() {
                    f(p, g, state.each_mut().map(|it| &mut it[done + idx]));
                }
            },
        )
    }
}

/// The number of elements updated together.
const TOGETHER: usize = 16;

impl<const N: usize> Slots<N> {
    /// Creates an empty state: all values are 0.
    pub(super) fn new(params: &Params, groups: &ParamGroups, names: [&'static str; N]) -> Slots<N> {
        let slots = params.trainable().map(|(name, it)| Slot::new(name, it, groups));
        Slots { names, slots: slots.collect() }
    }

    /// Calls `f` for each parameter that has a gradient, and counts its step.
    pub(super) fn step(
        &mut self,
        gradients: &Gradients,
        mut f: impl FnMut(&mut Slot<N>, &Tensor) -> Result<()>,
    ) -> Result<()> {
        for slot in &mut self.slots {
            if let Some(grad) = gradients.get(&slot.var) {
                slot.n_steps += 1;
                f(slot, grad)?;
            }
        }
        Ok(())
    }

    /// Returns the 2-norm of all gradients together.
    pub(super) fn norm(&self, gradients: &Gradients) -> Result<f64> {
        let grads = self.slots.iter().filter_map(|it| gradients.get(&it.var));
        let squares = grads.map(|it| read(it, |xs| Rows::whole().sums(xs, xs, |x, y| x * y)[0]));
        Ok(squares.sum::<Result<f64>>()?.sqrt())
    }

    /// Sets the initial value of a state tensor that does not start at 0.
    pub(super) fn begin_with(mut self, idx: usize, value: f32) -> Slots<N> {
        self.slots.iter_mut().for_each(|it| it.state[idx].fill(value));
        self
    }

    /// Returns copies of all state tensors, by name.
    pub(super) fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let counts: Vec<i64> = self.slots.iter().map(|it| it.n_steps as i64).collect();
        let counts = Tensor::from_vec(counts, self.slots.len(), &Device::Cpu)?;
        let mut state = vec![(COUNTS.to_owned(), counts)];
        for slot in &self.slots {
            for (what, values) in self.names.iter().zip(&slot.state) {
                let tensor = Tensor::from_slice(values, slot.var.shape(), &Device::Cpu)?;
                state.push((format!("{}.{what}", slot.name), tensor));
            }
        }
        Ok(state)
    }

    /// Loads a [state](Slots::state).
    ///
    /// # Errors
    /// The state belongs to other parameters; nothing is changed then.
    pub(super) fn load(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let get = |name: &str| {
            let missing = || candle::Error::Msg(format!("the optimizer's state lacks `{name}`"));
            state.get(name).ok_or_else(missing)
        };
        let counts = get(COUNTS)?.to_vec1::<i64>()?;
        if counts.len() != self.slots.len() {
            bail!(
                "the optimizer's state has {} parameters, not {}",
                counts.len(),
                self.slots.len()
            );
        }
        let mut loaded = Vec::new();
        for slot in &self.slots {
            let mut numbers = self.names.map(|_| Vec::new());
            for (what, values) in self.names.iter().zip(&mut numbers) {
                let name = format!("{}.{what}", slot.name);
                *values = get(&name)?.flatten_all()?.to_vec1::<f32>()?;
                if values.len() != slot.var.elem_count() {
                    bail!("`{name}` has a different size");
                }
            }
            loaded.push(numbers);
        }
        for ((slot, n_steps), numbers) in self.slots.iter_mut().zip(counts).zip(loaded) {
            slot.n_steps = u64::try_from(n_steps).unwrap_or(0);
            slot.state = numbers;
        }
        Ok(())
    }
}

/// Cannot collide with a parameter's state, whose name contains a dot.
pub(crate) const COUNTS: &str = "n_steps";
