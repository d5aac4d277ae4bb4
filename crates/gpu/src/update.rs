//! Optimizer steps over all parameters at once, without waiting for the device.
//!
//! A step clips the gradients, checks that they are finite, computes the rates of each parameter, and updates masters,
//! states, and the copies that the network computes with, in 2 to 6 launches. With a loss scale (f16) a step whose
//! gradients are not finite changes nothing but the scale: what the device decides stays on the device.
//!
//! Formulas and sources are in `kernels/update.cu`, `step.cu` and `weight_rows.cu`; on the CPU these are
//! `trainer::{optim, clip}`.

use cudarc::driver::DeviceRepr;

use crate::{
    Address, Buffer, Device, Error, Ptx, Result, Slice, Storage, cast,
    prologue::count,
    rows::{THREADS, has, number_of},
    rule::{Constants, Plan, Projection},
    tables::{RawTurn, Tables},
};

pub use crate::{
    rule::Rule,
    tables::{Parameter, Rows},
};

pub(crate) static PTX: Ptx = crate::ptx::ptx!("update");
static STEP: Ptx = crate::ptx::ptx!("step");
static ROWS: Ptx = crate::ptx::ptx!("weight_rows");

/// How gradients are clipped.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Clip {
    /// Not at all.
    #[default]
    Off,
    /// The norm of all gradients together, to this.
    Norm(f64),
    /// Each number, to ± this.
    Value(f32),
    /// The norm of each row, to `clip_factor` times the norm of its weights.
    Adaptive {
        /// The largest ratio of a gradient's norm to its weights' norm.
        clip_factor: f64,
        /// The smallest norm of weights.
        eps: f64,
    },
}

/// The dynamic loss scale of f16, as PyTorch's `GradScaler`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// The scale at the beginning.
    pub initial: f32,
    /// What it is multiplied by after `interval` good steps.
    pub growth: f32,
    /// What it is multiplied by where a gradient is not finite.
    pub backoff: f32,
    /// Good steps in a row.
    pub interval: u32,
}

impl Default for Scaling {
    /// PyTorch's defaults.
    fn default() -> Self {
        Self { initial: 65_536.0, growth: 2.0, backoff: 0.5, interval: 2000 }
    }
}

/// What a parameter gets in a step.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// Its gradient, times the loss scale, and how it is stored; without one it is frozen. Adaptive clipping changes
    /// it.
    pub grad: Option<(&'a Buffer, Storage)>,
    /// The learning rate.
    pub lr: f64,
    /// The weight decay.
    pub decay: f64,
}

/// What the device knows of its steps: `Control` of `kernels/update.cuh`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C)]
pub struct Control {
    /// The norm of all gradients of the last step without the loss scale, before clipping by norm; 0 if it was not
    /// measured.
    pub norm: f64,
    /// The loss scale of the next step.
    pub scale: f32,
    /// 1 / the loss scale of the last step.
    pub unscale: f32,
    /// What clipping by norm multiplied the gradients with.
    pub factor: f32,
    /// The same of LAMB.
    pub share: f32,
    /// Steps since the loss scale has changed.
    pub good_steps: u32,
    /// Steps that were skipped, of all.
    pub skipped_steps: u32,
    /// Whether the last step was skipped: 1 or 0.
    pub is_skipped: u32,
    /// Whether a gradient of the last step was not finite: 1 or 0; 0 if that was not measured.
    pub is_non_finite: u32,
}

/// `Tables` of `kernels/update.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct RawTables {
    parameters: Address,
    turns: Address,
    chunks: Address,
    rates: Address,
    control: Address,
}

#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: `repr(C)` of numbers, without a gap, in the order of the device's struct.
unsafe impl DeviceRepr for Control {}
#[expect(unsafe_code, reason = "promises that any bytes of the device are one")]
// SAFETY: numbers alone.
unsafe impl crate::Number for Control {}
#[expect(unsafe_code, reason = "promises that a parameter has the layout that the device expects")]
// SAFETY: as above.
unsafe impl DeviceRepr for RawTables {}

/// Parameters, the state of their optimizer, and the loss scale.
#[derive(Debug)]
pub struct Updates {
    device: Device,
    // It keeps the buffers alive that the tables point to.
    parameters: Vec<Parameter>,
    states: Vec<Vec<Buffer>>,
    tables: Tables,
    turns: Buffer,
    /// u32 `[parameters]`: the steps of each.
    counts: Buffer,
    rates: Buffer,
    control: Buffer,
    partials: Buffer,
    scaling: Option<Scaling>,
    /// Of AdamP: sums and factors of rows, and which parameters are projected.
    rows: Option<[Buffer; 3]>,
    /// Of LAMB: sums of chunks.
    sums: Option<Buffer>,
    n_states: usize,
}

/// Bytes of `Rates`, `RowSums` and `Partial` of the kernels.
const RATES: usize = 32;
const ROW_SUMS: usize = 32;
const PARTIAL: usize = 16;
/// Where the loss scale is within [`Control`].
const SCALE_AT: usize = 8;

impl Updates {
    /// The initial state: no steps were taken.
    ///
    /// - `rule`: the optimizer; a step may change its settings, but not its kind.
    /// - `scaling`: the loss scale, for f16.
    ///
    /// # Errors
    /// If there are no parameters, if sizes do not fit, or if the card has no room for the state.
    pub fn new(
        device: &Device,
        parameters: Vec<Parameter>,
        rule: &Rule,
        scaling: Option<Scaling>,
    ) -> Result<Self> {
        let at = "update::Updates";
        count(at, "parameters", parameters.len())?;
        let n_states = rule.states().len();
        let mut states = Vec::new();
        for parameter in &parameters {
            let mut own = Vec::new();
            for idx in 0..n_states {
                let mut state = device.zeros(parameter.len.max(1) * 4)?;
                if matches!(rule, Rule::RmsProp { .. }) && idx == 0 {
                    cast::fill(device, parameter.len, &mut state, Storage::F32, 1.0)?;
                }
                own.push(state);
            }
            states.push(own);
        }
        let addresses: Vec<Vec<_>> =
            states.iter().map(|it| it.iter().map(Buffer::address).collect()).collect();
        let tables = Tables::new(at, device, &parameters, &addresses)?;
        let n = parameters.len();
        let rows = match rule {
            Rule::AdamP { .. } => Some([
                device.zeros(tables.n_rows * ROW_SUMS)?,
                device.zeros(tables.n_rows * 4)?,
                device.zeros(n * 4)?,
            ]),
            _ => None,
        };
        let sums = match rule {
            Rule::Lamb { .. } => Some(device.zeros(tables.n_chunks * 16)?),
            _ => None,
        };
        let control = Control {
            scale: scaling.map_or(1.0, |it| it.initial),
            unscale: 1.0,
            ..Control::default()
        };
        Ok(Self {
            turns: device.zeros(n * size_of::<RawTurn>())?,
            counts: device.zeros(n * 4)?,
            rates: device.zeros(n * RATES)?,
            control: device.upload(&[control])?,
            partials: device.zeros(tables.n_chunks * PARTIAL)?,
            device: device.clone(),
            parameters,
            states,
            tables,
            scaling,
            rows,
            sums,
            n_states,
        })
    }

    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// A parameter's state tensor, f32, in the order of [`Rule::states`].
    #[must_use]
    pub fn state(&self, parameter: usize, state: usize) -> Option<&Buffer> {
        self.states.get(parameter)?.get(state)
    }

    /// Sets a parameter's numbers, and their copy.
    ///
    /// # Errors
    /// If there is no such parameter, or it has another size.
    pub fn set_parameter(&mut self, idx: usize, numbers: &[f32]) -> Result<()> {
        let parameter = self.parameters.get(idx).filter(|it| it.len == numbers.len());
        let Some(it) = parameter else { return Err(no_such("parameter", idx, numbers.len())) };
        let from = self.device.upload(numbers)?;
        cast::launch(
            &self.device,
            it.len,
            (&from, Storage::F32),
            (&it.master, Storage::F32),
            None,
        )?;
        match &it.copy {
            Some((copy, storage)) => {
                cast::launch(&self.device, it.len, (&from, Storage::F32), (copy, *storage), None)
            }
            None => Ok(()),
        }
    }

    /// Sets a parameter's state tensor.
    ///
    /// # Errors
    /// If there is no such state, or it has another size.
    pub fn set_state(&mut self, parameter: usize, state: usize, numbers: &[f32]) -> Result<()> {
        let own = self.states.get_mut(parameter).and_then(|it| it.get_mut(state));
        match own.filter(|it| it.bytes() == size_of_val(numbers)) {
            Some(it) => it.write(numbers),
            None => Err(no_such("state", parameter, numbers.len())),
        }
    }

    /// The steps of each parameter. Waits for the device.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn counts(&self) -> Result<Vec<u32>> {
        self.counts.read()
    }

    /// Sets the steps of each parameter.
    ///
    /// # Errors
    /// If they are not as many as parameters.
    pub fn set_counts(&mut self, counts: &[u32]) -> Result<()> {
        match counts.len() == self.parameters.len() {
            true => self.counts.write(counts),
            false => Err(no_such("counts", 0, counts.len())),
        }
    }

    /// The loss scale, an f32 on the device; 1 where there is none.
    ///
    /// # Errors
    /// None; the type is that of [`Buffer::slice`].
    pub fn scale(&self) -> Result<Slice<'_>> {
        self.control.slice(SCALE_AT, 4)
    }

    /// What the device knows of its steps. Waits for the device.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn control(&self) -> Result<Control> {
        Ok(self.control.read()?.first().copied().unwrap_or_default())
    }

    /// Sets what the device knows of its steps, as after a checkpoint.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn set_control(&mut self, control: &Control) -> Result<()> {
        self.control.write(&[*control])
    }

    /// Takes a step.
    ///
    /// - `turns`: one for each parameter.
    /// - `measures`: whether the norm and whether gradients are finite are measured where the step itself does not
    ///   need to know.
    ///
    /// # Errors
    /// If the sizes do not fit, or the optimizer is not the one that the state was made for.
    pub fn step(
        &mut self,
        rule: &Rule,
        turns: &[Turn<'_>],
        clip: Clip,
        measures: bool,
    ) -> Result<()> {
        let at = "update::step";
        if turns.len() != self.parameters.len() || rule.states().len() != self.n_states {
            let what = format!(
                "{} turns and {} states for {} parameters with {} states",
                turns.len(),
                rule.states().len(),
                self.parameters.len(),
                self.n_states
            );
            return Err(Error::arguments(at, what));
        }
        let mut raw = Vec::with_capacity(turns.len());
        for (turn, parameter) in turns.iter().zip(&self.parameters) {
            if let Some((grad, storage)) = turn.grad {
                has(at, "grad", grad, parameter.len * storage.bytes())?;
            }
            raw.push(RawTurn {
                grad: Address::of(turn.grad.map(|(it, _)| it)),
                stored: turn.grad.map_or(0, |(_, it)| number_of(it)),
                padding: 0,
                lr: turn.lr,
                decay: turn.decay,
            });
        }
        self.turns.write(&raw)?;
        let limit = if let Clip::Value(limit) = clip { limit } else { 0.0 };
        if let Clip::Adaptive { clip_factor, eps } = clip {
            self.clip_rows(clip_factor, eps)?;
        }
        self.begin(rule, clip, limit, measures)?;
        match rule {
            Rule::Sgd { .. } => self.elementwise("sgd", &rule.constants(limit)),
            Rule::Adam { .. } | Rule::AdamW { .. } => {
                self.elementwise("adam", &rule.constants(limit))
            }
            Rule::Lion { .. } => self.elementwise("lion", &rule.constants(limit)),
            Rule::RmsProp { .. } => self.elementwise("rmsprop", &rule.constants(limit)),
            Rule::Lamb { .. } => self.lamb(&rule.constants(limit)),
            Rule::AdamP { eps, delta, .. } => {
                self.adamp(&Projection::new(*eps, *delta, &rule.constants(limit)))
            }
        }
    }

    #[expect(unsafe_code, reason = "a launch")]
    fn clip_rows(&self, clip_factor: f64, eps: f64) -> Result<()> {
        let tables = &self.tables;
        let Some(rows) = &tables.clipped else { return Ok(()) };
        let launch = self.device.launch(&ROWS, "clip_rows").grid(tables.n_clipped_blocks, 1, 1);
        let launch = launch.block(THREADS).arg(&tables.parameters).arg(&self.turns).arg(rows);
        let launch = launch.arg(&self.control).value(&clip_factor).value(&eps);
        // SAFETY: the tables hold addresses of buffers that are alive, whose sizes were checked.
        unsafe { launch.cost(tables.n_numbers * 12, tables.n_numbers * 5).run() }
    }

    /// The norm, the loss scale and the rates.
    #[expect(unsafe_code, reason = "launches")]
    fn begin(&self, rule: &Rule, clip: Clip, limit: f32, measures: bool) -> Result<()> {
        let Self { device, tables, .. } = self;
        let scaling = self.scaling.unwrap_or_default();
        let plan = Plan {
            max_norm: if let Clip::Norm(it) = clip { it } else { 0.0 },
            growth: scaling.growth,
            backoff: scaling.backoff,
            interval: scaling.interval,
            is_scaled: u32::from(self.scaling.is_some()),
            n_parameters: count("update::step", "parameters", self.parameters.len())?,
            n_chunks: count("update::step", "chunks", tables.n_chunks)?,
            ..rule.plan()
        };
        let measures =
            measures || plan.max_norm > 0.0 || plan.max_grad_norm > 0.0 || plan.is_scaled == 1;
        // SAFETY: the tables hold addresses of buffers that are alive, whose sizes were checked.
        unsafe {
            if measures {
                let launch = device.launch(&STEP, "gradient_squares").grid(tables.n_chunks, 1, 1);
                let launch = launch.block(THREADS).arg(&tables.parameters).arg(&self.turns);
                let launch =
                    launch.arg(&tables.chunks).arg(&self.control).arg(&self.partials).arg(limit);
                launch.cost(tables.n_numbers * 4, tables.n_numbers * 2).run()?;
            }
            let launch = device.launch(&STEP, "begin_step").block(THREADS);
            let launch =
                launch.arg(measures.then_some(&self.partials)).arg(&self.turns).arg(&self.counts);
            let launch = launch.arg(&self.rates).arg(&self.control).value(&plan);
            launch.cost(tables.n_chunks * PARTIAL, tables.n_chunks).run()
        }
    }

    fn raw(&self) -> RawTables {
        RawTables {
            parameters: self.tables.parameters.address(),
            turns: self.turns.address(),
            chunks: self.tables.chunks.address(),
            rates: self.rates.address(),
            control: self.control.address(),
        }
    }

    /// Bytes of a pass that reads gradients and reads and writes `written` other tensors of f32.
    fn bytes(&self, written: usize) -> usize {
        let copies =
            self.parameters.iter().filter_map(|it| Some(it.len * it.copy.as_ref()?.1.bytes()));
        self.tables.n_numbers * (4 + 8 * written) + copies.sum::<usize>()
    }

    #[expect(unsafe_code, reason = "a launch")]
    fn elementwise(&self, name: &str, constants: &Constants) -> Result<()> {
        let launch = self.device.launch(&PTX, name).grid(self.tables.n_chunks, 1, 1).block(THREADS);
        let launch = launch.value(&self.raw()).value(constants);
        // SAFETY: the tables hold addresses of buffers that are alive, whose sizes were checked.
        unsafe { launch.cost(self.bytes(1 + self.n_states), 10 * self.tables.n_numbers).run() }
    }

    #[expect(unsafe_code, reason = "launches")]
    fn lamb(&self, constants: &Constants) -> Result<()> {
        let Self { device, tables, sums, .. } = self;
        let (n, n_chunks) = (tables.n_numbers, tables.n_chunks);
        // SAFETY: the tables hold addresses of buffers that are alive, whose sizes were checked.
        unsafe {
            let launch = device.launch(&PTX, "lamb_direction").grid(n_chunks, 1, 1).block(THREADS);
            let launch = launch.value(&self.raw()).value(constants).arg(sums.as_ref());
            launch.cost(n * 28, 14 * n).run()?;
            let launch = device.launch(&PTX, "lamb_trust").grid(self.parameters.len(), 1, 1);
            let launch =
                launch.arg(&tables.parameters).arg(&self.turns).arg(&self.rates).arg(sums.as_ref());
            launch.cost(n_chunks * 16, n_chunks * 2).run()?;
            let launch = device.launch(&PTX, "lamb_step").grid(n_chunks, 1, 1).block(THREADS);
            launch.value(&self.raw()).cost(self.bytes(1), 2 * n).run()
        }
    }

    #[expect(unsafe_code, reason = "launches")]
    fn adamp(&self, it: &Projection) -> Result<()> {
        let Self { device, tables, rows, .. } = self;
        let Some([sums, outs, projected]) = rows else {
            return Err(Error::arguments(
                "update::step",
                "the state was made for another optimizer",
            ));
        };
        let n = tables.n_numbers;
        // SAFETY: the tables hold addresses of buffers that are alive, whose sizes were checked.
        unsafe {
            let launch = device.launch(&ROWS, "adamp_direction").grid(tables.n_row_blocks, 1, 1);
            let launch =
                launch.block(THREADS).arg(&tables.parameters).arg(&self.turns).arg(&tables.rows);
            let launch = launch.arg(&self.rates).arg(&self.control).arg(sums).value(it);
            launch.cost(n * 24, 20 * n).run()?;
            let launch = device.launch(&ROWS, "adamp_decide").grid(self.parameters.len(), 1, 1);
            let launch =
                launch.arg(&tables.parameters).arg(&self.turns).arg(&self.control).arg(sums);
            let launch = launch.arg(outs).arg(projected).value(it);
            launch.cost(tables.n_rows * ROW_SUMS, tables.n_rows * 10).run()?;
            let launch = device.launch(&ROWS, "adamp_step").grid(tables.n_row_blocks, 1, 1);
            let launch =
                launch.block(THREADS).arg(&tables.parameters).arg(&self.turns).arg(&tables.rows);
            let launch =
                launch.arg(&self.rates).arg(&self.control).arg(outs).arg(projected).value(it);
            launch.cost(self.bytes(2), 10 * n).run()
        }
    }
}

fn no_such(what: &str, idx: usize, n: usize) -> Error {
    Error::arguments("update::Updates", format!("there is no {what} {idx} of {n} numbers"))
}
