//! The tape: the record of a forward pass, from which the backward pass runs.
//!
//! Reverse-mode differentiation over whole layers. Candle's autograd is used only after the network (from
//! the heads' logits to the loss), because here a layer may have any number of inputs and of results, the
//! first gradient of a value is stored instead of added to zeros, an activation is freed as soon as the
//! backward pass of its layer has run, and an operation without a gradient does not compile.
//!
//! The two are connected by [`Tape::export`] (a value becomes a leaf of candle's graph) and
//! [`Tape::backward`] (candle's gradients of those leaves start the backward pass).

use std::{
    any::Any,
    cell::RefCell,
    collections::{HashMap, HashSet, hash_map::Entry},
    panic::Location,
    rc::Rc,
    sync::Arc,
};

use candle::{Result, Tensor, TensorId, Var, bail};

use crate::{
    Moments, Prepacked,
    graph::{Op, Recorder, Trace, Weight},
    prepacked::Forms,
    prologue::{Grad, Prologue, materialise},
};

/// A tensor in a network, its deferred prologue, and its slot on a tape, if it is on one.
#[derive(Clone)]
pub struct Value {
    raw: Tensor,
    prologue: Option<Rc<Prologue>>,
    moments: Option<Rc<Moments>>,
    means: Option<Tensor>,
    forms: Option<Arc<Forms>>,
    place: Option<(Tape, usize)>,
    /// What it is in the graph, if the pass is recorded.
    trace: Trace,
}

/// The record of one forward pass.
#[derive(Clone, Default)]
pub struct Tape(Rc<RefCell<Record>>);

#[derive(Default)]
struct Record {
    steps: Vec<Step>,
    n_slots: usize,
    /// The slot of each parameter's gradient.
    leaves: HashMap<TensorId, usize>,
    /// The values exported as leaves of candle's graph.
    exports: Vec<(Var, usize)>,
    /// The frozen parameters, which need no gradient.
    frozen: Rc<HashSet<TensorId>>,
}

/// One operation: the slot of its result, and its backward function.
struct Step {
    slot: usize,
    backward: Backward,
}

type Backward = Box<dyn FnOnce(Grad, &mut Slots) -> Result<()>>;

/// The gradients computed so far by a backward pass, one slot for each value on the tape.
pub(crate) struct Slots(Vec<Option<Grad>>);

/// The slot for the gradient of an operation's input; `None` for a constant.
#[derive(Clone, Copy)]
pub(crate) struct Slot(Option<usize>);

/// The gradient of each parameter that was used.
#[derive(Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Tape {
    /// A tape on which these parameters are frozen.
    pub fn freezing(frozen: Rc<HashSet<TensorId>>) -> Tape {
        Tape(Rc::new(RefCell::new(Record { frozen, ..Record::default() })))
    }

    /// Whether a parameter is frozen on this tape.
    pub fn is_frozen(&self, var: &Var) -> bool {
        self.0.borrow().frozen.contains(&var.id())
    }

    /// A leaf value, which collects gradients: a parameter, unless it is frozen.
    pub fn leaf(&self, var: &Var) -> Value {
        if self.is_frozen(var) {
            return Value::constant(var.as_detached_tensor());
        }
        let mut record = self.0.borrow_mut();
        let next = record.n_slots;
        let slot = *record.leaves.entry(var.id()).or_insert(next);
        record.n_slots = record.n_slots.max(slot + 1);
        drop(record);
        Value::new(var.as_detached_tensor(), Some((self.clone(), slot)))
    }

    /// Exports `value` as a leaf of candle's graph, for candle's own differentiable operations.
    pub fn export(&self, value: &Value) -> Result<Tensor> {
        let tensor = value.tensor()?;
        let Some((_, slot)) = &value.place else { return Ok(tensor) };
        let var = Var::from_tensor(&tensor)?;
        self.0.borrow_mut().exports.push((var.clone(), *slot));
        Ok(var.as_tensor().clone())
    }

    /// Runs the backward pass from a scalar of candle's graph to every leaf of this tape.
    ///
    /// The tape is empty afterwards, and its activations are freed.
    pub fn backward(&self, loss: &Tensor) -> Result<Gradients> {
        let found = loss.backward()?;
        let Record { mut steps, n_slots, leaves, exports, .. } = self.0.take();
        let mut slots = Slots(vec![None; n_slots]);
        for (var, slot) in exports {
            if let Some(grad) = found.get(&var) {
                slots.add(slot, Grad::plain(grad.detach()))?;
            }
        }
        drop(found);
        while let Some(Step { slot, backward }) = steps.pop() {
            // A value that the loss does not depend on has no gradient, and contributes none to its
            // inputs.
            if let Some(grad) = slots.0[slot].take() {
                backward(grad, &mut slots)?;
            }
        }
        let grads = leaves.into_iter().filter_map(|(id, slot)| Some((id, slots.0[slot].take()?)));
        grads.map(|(id, grad)| Ok((id, grad.materialise()?))).collect::<Result<_>>().map(Gradients)
    }
}

impl Value {
    fn new(raw: Tensor, place: Option<(Tape, usize)>) -> Value {
        let trace = Trace::Constant;
        Value { raw, prologue: None, moments: None, means: None, forms: None, place, trace }
    }

    /// A value that requires no gradient: an image, or anything at inference.
    pub fn constant(tensor: Tensor) -> Value {
        Value::new(tensor, None)
    }

    /// A parameter at inference, whose forms for the kernels are kept in `packed`.
    pub(crate) fn parameter(var: &Var, packed: &Prepacked) -> Value {
        let (forms, trace) = (Some(packed.forms(var)), Trace::Parameter(var.id()));
        Value { forms, trace, ..Value::constant(var.as_detached_tensor()) }
    }

    /// The normalised images `[n, h, w, 3]` of an eval pass whose operations are recorded: see
    /// [`Graph`](crate::Graph).
    pub fn traced(images: Tensor, recorder: &Recorder) -> Value {
        let idx = recorder.push(Op::Input, Vec::new(), images.dims());
        Value { trace: Trace::Node(recorder.clone(), idx), ..Value::constant(images) }
    }

    /// The index of the operation in the recorded graph whose result this is.
    ///
    /// # Errors
    /// It depends on an operation that was not recorded, or not on the images.
    pub fn node(&self) -> Result<usize> {
        self.trace.node()
    }

    /// Records the operation of which this is the result, if one of its inputs is of a recorded pass.
    ///
    /// - `inputs`: those that may depend on the images; the others are weights of `op`.
    pub(crate) fn recorded(
        self,
        inputs: &[&Value],
        op: impl FnOnce() -> Result<Op>,
    ) -> Result<Value> {
        let of = |it: &&Value| match &it.trace {
            Trace::Node(recorder, _) => Some(recorder.clone()),
            _ => None,
        };
        if let Some(lost) = inputs.iter().find(|it| matches!(it.trace, Trace::Lost(_))) {
            return Ok(Value { trace: lost.trace.clone(), ..self });
        }
        let Some(recorder) = inputs.iter().find_map(of) else { return Ok(self) };
        let mut read = Vec::new();
        for it in inputs {
            read.push(match &it.trace {
                Trace::Node(other, idx) if recorder.is(other) => *idx,
                Trace::Node(..) => bail!("the inputs of an operation are of two recorded passes"),
                _ => recorder.push(Op::Constant(it.weight()?), Vec::new(), it.dims()),
            });
        }
        let idx = recorder.push(op()?, read, self.dims());
        Ok(Value { trace: Trace::Node(recorder, idx), ..self })
    }

    /// Records one more operation of a fused one: on what was recorded last as this value, and `others`.
    pub(crate) fn then_recorded(
        self,
        others: &[&Value],
        op: impl FnOnce() -> Result<Op>,
    ) -> Result<Value> {
        if !self.is_traced() && !others.iter().any(|it| it.is_traced()) {
            return Ok(self);
        }
        let before = self.clone();
        let inputs: Vec<&Value> = std::iter::once(&before).chain(others.iter().copied()).collect();
        self.recorded(&inputs, op)
    }

    /// Whether it depends on the images of a recorded pass.
    pub(crate) fn is_traced(&self) -> bool {
        matches!(self.trace, Trace::Node(..) | Trace::Lost(_))
    }

    /// The numbers of a weight, for the graph.
    pub(crate) fn weight(&self) -> Result<Weight> {
        let id = match &self.trace {
            Trace::Parameter(id) => Some(*id),
            Trace::Constant => None,
            Trace::Node(..) | Trace::Lost(_) => {
                bail!("a weight depends on the images: such an operation cannot be exported")
            }
        };
        Ok(Weight { name: None, tensor: self.tensor()?, id })
    }

    /// The form of this weight that a kernel reads: kept if it is a parameter at inference, else made anew.
    pub(crate) fn packed<F: Any + Send + Sync>(
        &self,
        make: impl FnOnce() -> Result<F>,
    ) -> Result<Arc<F>> {
        match &self.forms {
            Some(forms) => forms.get(make),
            None => make().map(Arc::new),
        }
    }

    /// The tensor, with its prologue applied.
    pub fn tensor(&self) -> Result<Tensor> {
        materialise(&self.raw, self.prologue())
    }

    /// The stored tensor, without its prologue, contiguous.
    pub(crate) fn raw(&self) -> Result<Tensor> {
        self.raw.contiguous()
    }

    /// The deferred prologue.
    pub(crate) fn prologue(&self) -> Option<&Prologue> {
        self.prologue.as_deref()
    }

    /// The same value with another prologue.
    pub(crate) fn through(self, prologue: Prologue) -> Value {
        Value { prologue: Some(Rc::new(prologue)), means: None, ..self }
    }

    /// The moments of each channel, if the producer has computed them.
    pub(crate) fn moments(&self) -> Option<&Moments> {
        self.moments.as_deref()
    }

    pub(crate) fn with_moments(self, moments: Option<Moments>) -> Value {
        Value { moments: moments.map(Rc::new), ..self }
    }

    /// The mean of each channel of each image, `[n, c]`, if the producer has computed it.
    pub(crate) fn means(&self) -> Option<&Tensor> {
        self.means.as_ref()
    }

    pub(crate) fn with_means(self, means: Option<Tensor>) -> Value {
        Value { means, ..self }
    }

    /// Whether a gradient is required.
    pub(crate) fn is_on_tape(&self) -> bool {
        self.place.is_some()
    }

    /// The dimensions of the tensor.
    pub fn dims(&self) -> &[usize] {
        self.raw.dims()
    }

    /// The same numbers under another shape of as many elements.
    pub fn reshape(&self, dims: &[usize]) -> Result<Value> {
        let from = self.dims().to_vec();
        let (slot, tensor) = (self.slot(), self.tensor()?.reshape(dims)?);
        let ys = Value::record(&[self], tensor, move |grad, slots| {
            slots.give(slot, || Ok(Grad::plain(grad.materialise()?.reshape(from.as_slice())?)))
        })?;
        ys.recorded(&[self], || Ok(Op::Reshape))
    }

    /// The slot for the gradient of this value.
    pub(crate) fn slot(&self) -> Slot {
        Slot(self.place.as_ref().map(|(_, slot)| *slot))
    }

    /// Records the result of an operation on `inputs`, with its backward function: from the gradient of
    /// the result, which has the result's shape, to the gradients of the inputs.
    ///
    /// For the graph of an eval pass, [`recorded`](Value::recorded) must follow.
    #[track_caller]
    pub(crate) fn record(
        inputs: &[&Value],
        tensor: Tensor,
        backward: impl FnOnce(Grad, &mut Slots) -> Result<()> + 'static,
    ) -> Result<Value> {
        let mut tapes = inputs.iter().filter_map(|it| it.place.as_ref()).map(|(tape, _)| tape);
        let Some(tape) = tapes.next() else {
            let traces = inputs.iter().map(|it| &it.trace);
            let trace = Trace::unrecorded(traces, Location::caller());
            return Ok(Value { trace, ..Value::constant(tensor) });
        };
        if tapes.any(|it| !Rc::ptr_eq(&it.0, &tape.0)) {
            bail!("the inputs of an operation are on two tapes");
        }
        let mut record = tape.0.borrow_mut();
        let slot = record.n_slots;
        record.n_slots += 1;
        record.steps.push(Step { slot, backward: Box::new(backward) });
        drop(record);
        Ok(Value::new(tensor, Some((tape.clone(), slot))))
    }
}

impl Slots {
    /// Adds the gradient of an input, computed only if it is required.
    pub(crate) fn give(&mut self, to: Slot, grad: impl FnOnce() -> Result<Grad>) -> Result<()> {
        match to.0 {
            Some(slot) => self.add(slot, grad()?),
            None => Ok(()),
        }
    }

    /// Adds a gradient `[n, c]` that is the same for all rows of an image of an input `[n, …, c]`.
    pub(crate) fn spread(&mut self, to: Slot, grad: Tensor, dims: &[usize]) -> Result<()> {
        let Some(slot) = to.0 else { return Ok(()) };
        if let Some(before) = &mut self.0[slot]
            && before.norm.is_none()
            && before.plus.is_none()
            && before.before.is_none()
        {
            before.plus = Some(grad);
            return Ok(());
        }
        let mut flat = vec![1; dims.len()];
        (flat[0], flat[dims.len() - 1]) = (dims[0], dims[dims.len() - 1]);
        self.add(slot, Grad::plain(grad.reshape(flat)?.broadcast_as(dims)?.contiguous()?))
    }

    fn add(&mut self, slot: usize, grad: Grad) -> Result<()> {
        let sum = match self.0[slot].take() {
            Some(before) => before.add(grad)?,
            None => grad,
        };
        self.0[slot] = Some(sum);
        Ok(())
    }
}

impl Slot {
    /// Whether a gradient is required.
    pub(crate) fn is_some(self) -> bool {
        self.0.is_some()
    }
}

impl Gradients {
    /// The gradient of a parameter, of its shape; `None` when the loss does not depend on it.
    pub fn get(&self, var: &Var) -> Option<&Tensor> {
        self.0.get(&var.id())
    }

    /// Replaces a parameter's gradient by the result of `f`, if it has one.
    pub fn change(&mut self, var: &Var, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<()> {
        match self.0.get_mut(&var.id()) {
            Some(it) => f(it).map(|changed| *it = changed),
            None => Ok(()),
        }
    }

    /// Accumulates the gradients of another part of the step.
    pub fn add(&mut self, other: Gradients) -> Result<()> {
        for (id, grad) in other.0 {
            match self.0.entry(id) {
                Entry::Occupied(mut it) => {
                    let sum = (it.get() + grad)?;
                    it.insert(sum);
                }
                Entry::Vacant(it) => drop(it.insert(grad)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Result, Tensor, Var};

    use super::{Tape, Value};
    use crate::add;

    fn var(xs: &[f64]) -> Result<Var> {
        Var::from_slice(xs, xs.len(), &Device::Cpu)
    }

    #[test]
    fn a_value_used_twice_gets_both_gradients() -> Result<()> {
        let (tape, x) = (Tape::default(), var(&[2.0, 3.0])?);
        let twice = add(&tape.leaf(&x), &tape.leaf(&x))?;
        let loss = tape.export(&twice)?.sqr()?.sum_all()?;
        // d/dx Σ (2x)² = 8x.
        let grads = tape.backward(&loss)?;
        assert_eq!(grads.get(&x).unwrap().to_vec1::<f64>()?, [16.0, 24.0]);
        Ok(())
    }

    #[test]
    fn an_unused_value_has_no_gradient() -> Result<()> {
        let (tape, x, y) = (Tape::default(), var(&[1.0])?, var(&[1.0])?);
        let used = add(&tape.leaf(&x), &Value::constant(y.as_tensor().clone()))?;
        add(&tape.leaf(&y), &tape.leaf(&y))?;
        let loss = tape.export(&used)?.sum_all()?;
        let grads = tape.backward(&loss)?;
        assert!(grads.get(&x).is_some() && grads.get(&y).is_none());
        Ok(())
    }

    #[test]
    fn nothing_is_recorded_without_a_leaf() -> Result<()> {
        let tape = Tape::default();
        let x = Value::constant(Tensor::new(&[1f64], &Device::Cpu)?);
        assert!(!tape.export(&add(&x, &x)?)?.is_variable());
        assert!(tape.0.borrow().steps.is_empty());
        Ok(())
    }

    #[test]
    fn the_backward_pass_frees_the_tape() -> Result<()> {
        let (tape, x) = (Tape::default(), var(&[1.0])?);
        let loss = tape.export(&add(&tape.leaf(&x), &tape.leaf(&x))?)?.sum_all()?;
        tape.backward(&loss)?;
        assert!(tape.0.borrow().steps.is_empty() && tape.0.borrow().exports.is_empty());
        Ok(())
    }
}
