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
    collections::{HashMap, HashSet},
    panic::Location,
    rc::Rc,
    sync::Arc,
};

use candle::{DType, Result, Tensor, TensorId, Var, bail};

use crate::{
    Moments, Prepacked,
    card::{data, grad, store::Card},
    gradients::Gradients,
    graph::{Op, Recorder, Trace, Weight},
    prepacked::Forms,
    prologue::{Grad, Prologue, materialise},
    slots::{Found, Slot, Slots},
};

/// A tensor in a network, its deferred prologue, and its slot on a tape, if it is on one.
#[derive(Clone)]
pub struct Value {
    held: Held,
    place: Option<(Tape, usize)>,
    /// What it is in the graph, if the pass is recorded.
    trace: Trace,
}

/// Where a value's numbers are.
#[derive(Clone)]
enum Held {
    Host(Host),
    Card(data::Data),
    /// A parameter that the card holds: it is copied there when it is first read.
    Parameter(Card, Var),
}

/// A tensor of the host, and its deferred prologue.
#[derive(Clone)]
struct Host {
    raw: Tensor,
    prologue: Option<Rc<Prologue>>,
    moments: Option<Rc<Moments>>,
    means: Option<Tensor>,
    forms: Option<Arc<Forms>>,
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
    /// The card that the pass runs on.
    card: Option<Card>,
}

/// One operation: the slot of its result, and its backward function.
struct Step {
    slot: usize,
    backward: Backward,
}

type Backward = Box<dyn FnOnce(Found, &mut Slots) -> Result<()>>;

impl Tape {
    /// A tape on which these parameters are frozen.
    pub fn freezing(frozen: Rc<HashSet<TensorId>>) -> Tape {
        Tape(Rc::new(RefCell::new(Record { frozen, ..Record::default() })))
    }

    /// A tape of a pass on a card, on which these parameters are frozen.
    pub fn on_card(card: &Card, frozen: Rc<HashSet<TensorId>>) -> Tape {
        let card = Some(card.clone());
        Tape(Rc::new(RefCell::new(Record { frozen, card, ..Record::default() })))
    }

    /// Whether a parameter is frozen on this tape.
    pub fn is_frozen(&self, var: &Var) -> bool {
        self.0.borrow().frozen.contains(&var.id())
    }

    /// A parameter that collects no gradients.
    pub(crate) fn constant(&self, var: &Var) -> Value {
        match &self.0.borrow().card {
            Some(card) => Value::of(Held::Parameter(card.clone(), var.clone()), None),
            None => Value::constant(var.as_detached_tensor()),
        }
    }

    /// A leaf value, which collects gradients: a parameter, unless it is frozen.
    pub fn leaf(&self, var: &Var) -> Value {
        let constant = self.constant(var);
        if self.is_frozen(var) {
            return constant;
        }
        let mut record = self.0.borrow_mut();
        let next = record.n_slots;
        let slot = *record.leaves.entry(var.id()).or_insert(next);
        record.n_slots = record.n_slots.max(slot + 1);
        drop(record);
        Value { place: Some((self.clone(), slot)), ..constant }
    }

    /// Exports `value` as a leaf of candle's graph, for candle's own differentiable operations.
    pub fn export(&self, value: &Value) -> Result<Tensor> {
        self.add_export(value.slot(), value.tensor()?)
    }

    /// Exports values together, which waits for a card once.
    pub fn export_all(&self, values: &[Value]) -> Result<Vec<Tensor>> {
        let tensors = Value::tensors(values)?;
        values.iter().zip(tensors).map(|(it, tensor)| self.add_export(it.slot(), tensor)).collect()
    }

    /// Makes the tensor of a value a leaf of candle's graph, unless the value is a constant.
    pub(crate) fn add_export(&self, Slot(slot): Slot, tensor: Tensor) -> Result<Tensor> {
        let Some(slot) = slot else { return Ok(tensor) };
        // A copy, unless the tensor is a variable already.
        let var = Var::from_tensor(&tensor)?;
        self.0.borrow_mut().exports.push((var.clone(), slot));
        Ok(var.into_inner())
    }

    /// Runs the backward pass from a scalar of candle's graph to every leaf of this tape.
    ///
    /// The tape is empty afterwards, and its activations are freed.
    pub fn backward(&self, loss: &Tensor) -> Result<Gradients> {
        self.backward_times(loss, None)
    }

    /// The same of the loss times a scale, for a pass on a card whose gradients are stored in f16; the gradients are
    /// those of the scaled loss.
    ///
    /// - `scale`: an f32 on the card, such as `gpu::update::Updates::scale`.
    ///
    /// # Errors
    /// A scale where the pass is not on a card.
    pub fn backward_times(
        &self,
        loss: &Tensor,
        scale: Option<gpu::Slice<'_>>,
    ) -> Result<Gradients> {
        let found = loss.backward()?;
        let Record { mut steps, n_slots, leaves, exports, card, .. } = self.0.take();
        if card.is_none() && scale.is_some() {
            bail!("backward: a loss scale is for passes on a card");
        }
        let mut slots = Slots::new(n_slots);
        for (var, slot) in exports {
            let Some(grad) = found.get(&var) else { continue };
            let grad = match &card {
                None => Found::Host(Grad::plain(grad.detach())),
                Some(card) => Found::Card(grad::Grad::upload(card, grad, scale)?),
            };
            slots.add(slot, grad)?;
        }
        drop(found);
        while let Some(Step { slot, backward }) = steps.pop() {
            // A value that the loss does not depend on has no gradient, and contributes none to its
            // inputs.
            if let Some(grad) = slots.take(slot) {
                backward(grad, &mut slots)?;
            }
        }
        let mut grads = Gradients::default();
        for (id, slot) in leaves {
            if let Some(grad) = slots.take(slot) {
                grads.insert(id, grad)?;
            }
        }
        Ok(grads)
    }
}

impl Value {
    fn new(raw: Tensor, place: Option<(Tape, usize)>) -> Value {
        Value::of(Held::Host(Host::plain(raw)), place)
    }

    fn of(held: Held, place: Option<(Tape, usize)>) -> Value {
        Value { held, place, trace: Trace::Constant }
    }

    /// A tensor of a card that requires no gradient.
    pub(crate) fn constant_on_card(data: data::Data) -> Value {
        Value::of(Held::Card(data), None)
    }

    /// The card that it is on, if it is on one.
    pub(crate) fn card(&self) -> Option<&Card> {
        match &self.held {
            Held::Host(_) => None,
            Held::Card(data) => Some(&data.card),
            Held::Parameter(card, _) => Some(card),
        }
    }

    /// The card that an operation on these values runs on: that of the first that is on one.
    pub(crate) fn card_of(inputs: &[&Value]) -> Option<Card> {
        inputs.iter().find_map(|it| it.card()).cloned()
    }

    /// The tensor on a card, where a constant of the host is copied.
    ///
    /// # Errors
    /// It is on another card, or a value of the host that requires a gradient.
    pub(crate) fn on_card(&self, card: &Card) -> Result<data::Data> {
        if self.card().is_some_and(|it| !it.is(card)) {
            bail!("the inputs of an operation are on two cards");
        }
        match &self.held {
            Held::Card(data) => Ok(data.clone()),
            Held::Parameter(_, var) => data::Data::stored(card, var),
            Held::Host(_) if self.place.is_some() => {
                bail!("an input of an operation on a card is on the host and requires a gradient")
            }
            Held::Host(_) => data::Data::upload(card, &self.tensor()?),
        }
    }

    /// A value that requires no gradient: an image, or anything at inference.
    pub fn constant(tensor: Tensor) -> Value {
        Value::new(tensor, None)
    }

    /// A parameter at inference, whose forms for the kernels are kept in `packed`.
    pub(crate) fn parameter(var: &Var, packed: &Prepacked) -> Value {
        if let Some(card) = packed.card() {
            return Value::of(Held::Parameter(card.clone(), var.clone()), None);
        }
        let (numbers, forms) = packed.parameter(var);
        let host = Host { forms: Some(forms), ..Host::plain(numbers) };
        Value { trace: Trace::Parameter(var.id()), ..Value::of(Held::Host(host), None) }
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
        match self.host().and_then(|it| it.forms.as_ref()) {
            Some(forms) => forms.get(make),
            None => make().map(Arc::new),
        }
    }

    /// The tensor, with its prologue applied; from a card it is copied to the host, in f32, which waits for the card.
    pub fn tensor(&self) -> Result<Tensor> {
        match &self.held {
            Held::Host(it) => materialise(&it.raw, it.prologue.as_deref()),
            Held::Card(_) | Held::Parameter(..) => {
                let mut one = Value::tensors(std::slice::from_ref(self))?;
                Ok(one.remove(0))
            }
        }
    }

    /// The tensors of values, which are all on the host or all on one card; waits for the card once.
    pub(crate) fn tensors(values: &[Value]) -> Result<Vec<Tensor>> {
        match values.iter().find_map(Value::card) {
            None => values.iter().map(Value::tensor).collect(),
            Some(card) => {
                let all = values.iter().map(|it| it.on_card(card)).collect::<Result<Vec<_>>>()?;
                data::Data::download(&all)
            }
        }
    }

    fn host(&self) -> Option<&Host> {
        match &self.held {
            Held::Host(it) => Some(it),
            Held::Card(_) | Held::Parameter(..) => None,
        }
    }

    /// Changes what a value of the host holds.
    fn map_host(mut self, f: impl FnOnce(&mut Host)) -> Value {
        if let Held::Host(it) = &mut self.held {
            f(it);
        }
        self
    }

    /// The stored tensor, without its prologue, contiguous.
    ///
    /// # Errors
    /// It is on a card, for which the operation that asks has no twin.
    #[track_caller]
    pub(crate) fn raw(&self) -> Result<Tensor> {
        let place = Location::caller();
        match self.host() {
            Some(it) => it.raw.contiguous(),
            None => bail!(
                "the operation in `{}` has no version for a card: run the network on the CPU",
                place.file()
            ),
        }
    }

    /// The deferred prologue.
    pub(crate) fn prologue(&self) -> Option<&Prologue> {
        self.host()?.prologue.as_deref()
    }

    /// The same value with another prologue.
    pub(crate) fn through(self, prologue: Prologue) -> Value {
        self.map_host(|it| {
            it.prologue = Some(Rc::new(prologue));
            it.means = None;
        })
    }

    /// The moments of each channel, if the producer has computed them.
    pub(crate) fn moments(&self) -> Option<&Moments> {
        self.host()?.moments.as_deref()
    }

    pub(crate) fn with_moments(self, moments: Option<Moments>) -> Value {
        self.map_host(|it| it.moments = moments.map(Rc::new))
    }

    /// The mean of each channel of each image, `[n, c]`, if the producer has computed it.
    pub(crate) fn means(&self) -> Option<&Tensor> {
        self.host()?.means.as_ref()
    }

    pub(crate) fn with_means(self, means: Option<Tensor>) -> Value {
        self.map_host(|it| it.means = means)
    }

    /// Whether a gradient is required.
    pub(crate) fn is_on_tape(&self) -> bool {
        self.place.is_some()
    }

    /// The dimensions of the tensor.
    pub fn dims(&self) -> &[usize] {
        match &self.held {
            Held::Host(it) => it.raw.dims(),
            Held::Card(data) => &data.dims,
            Held::Parameter(_, var) => var.dims(),
        }
    }

    /// The type of the tensor's numbers; on a card f32, however they are stored.
    pub fn dtype(&self) -> DType {
        match &self.held {
            Held::Host(it) => it.raw.dtype(),
            Held::Card(_) | Held::Parameter(..) => DType::F32,
        }
    }

    /// The same numbers under another shape of as many elements.
    pub fn reshape(&self, dims: &[usize]) -> Result<Value> {
        let from = self.dims().to_vec();
        if let Some(card) = self.card() {
            let data = self.on_card(card)?.reshaped(dims)?;
            let slot = self.slot();
            return Value::record_on_card(&[self], data, move |grad, slots| {
                slots.give_on_card(slot, || Ok(grad.materialise()?.reshaped(&from)))
            });
        }
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
        let backward = |grad, slots: &mut Slots| match grad {
            Found::Host(grad) => backward(grad, slots),
            Found::Card(_) => bail!("the gradient of a value of the host is on a card"),
        };
        let place = Value::record_step(inputs, Box::new(backward))?;
        let traces = inputs.iter().map(|it| &it.trace);
        let trace = match &place {
            Some(_) => Trace::Constant,
            None => Trace::unrecorded(traces, Location::caller()),
        };
        Ok(Value { trace, ..Value::new(tensor, place) })
    }

    /// The same for the result of an operation on a card.
    pub(crate) fn record_on_card(
        inputs: &[&Value],
        data: data::Data,
        backward: impl FnOnce(grad::Grad, &mut Slots) -> Result<()> + 'static,
    ) -> Result<Value> {
        let backward = |grad, slots: &mut Slots| match grad {
            Found::Card(grad) => backward(grad, slots),
            Found::Host(_) => bail!("the gradient of a value of a card is on the host"),
        };
        let place = Value::record_step(inputs, Box::new(backward))?;
        Ok(Value::of(Held::Card(data), place))
    }

    /// Records a backward function on the tape of the inputs, if one of them is on a tape.
    fn record_step(inputs: &[&Value], backward: Backward) -> Result<Option<(Tape, usize)>> {
        let mut tapes = inputs.iter().filter_map(|it| it.place.as_ref()).map(|(tape, _)| tape);
        let Some(tape) = tapes.next() else { return Ok(None) };
        if tapes.any(|it| !Rc::ptr_eq(&it.0, &tape.0)) {
            bail!("the inputs of an operation are on two tapes");
        }
        let mut record = tape.0.borrow_mut();
        let slot = record.n_slots;
        record.n_slots += 1;
        record.steps.push(Step { slot, backward });
        drop(record);
        Ok(Some((tape.clone(), slot)))
    }
}

impl Host {
    fn plain(raw: Tensor) -> Host {
        Host { raw, prologue: None, moments: None, means: None, forms: None }
    }
}

#[cfg(test)]
mod tests;
