//! A case: one family of kernels on one shape in one storage, with its reference.

use gpu::{Device, Result, Storage};

use crate::{
    check::{Check, Outcome},
    layer::Layer,
};

/// Runs kernels and compares what they compute with f64.
type Run = Box<dyn Fn(&mut Check) -> Result<()> + Send + Sync>;

/// One family of kernels on one shape in one storage, with its reference.
pub struct Case {
    /// The family, such as `product`.
    pub family: &'static str,
    /// How the tensors are stored.
    pub storage: Storage,
    /// What distinguishes it from the other cases of its family: the shape, and how its tensors are read.
    pub name: String,
    run: Run,
}

/// The cases of one family, while they are listed.
pub(crate) struct List {
    pub(crate) family: &'static str,
    /// Whether every shape is listed in every storage, with more shapes.
    pub(crate) is_whole: bool,
    pub(crate) cases: Vec<Case>,
}

impl Case {
    /// Runs it, and says what was found.
    ///
    /// # Errors
    /// If a kernel refuses its arguments, or the driver fails.
    pub fn run(&self, device: &Device) -> Result<Outcome> {
        let mut check = Check::new(device);
        (self.run)(&mut check)?;
        Ok(check.outcome())
    }
}

impl List {
    /// Adds a case.
    pub(crate) fn add(
        &mut self,
        storage: Storage,
        name: String,
        run: impl Fn(&mut Check) -> Result<()> + Send + Sync + 'static,
    ) {
        self.cases.push(Case { family: self.family, storage, name, run: Box::new(run) });
    }

    /// Adds a product or a convolution.
    pub(crate) fn layer(&mut self, layer: Layer) {
        self.add(layer.storage, layer.name(), move |check| layer.run(check));
    }

    /// These storages, or all of them for the whole list.
    pub(crate) fn storages(&self, few: &[Storage]) -> Vec<Storage> {
        if self.is_whole { Storage::ALL.to_vec() } else { few.to_vec() }
    }
}
