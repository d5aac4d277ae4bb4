//! Averages of weights: average ← average + share·(weights - average), for all tensors in one launch.
//!
//! The exponential moving average and stochastic weight averaging differ in the share, which the host knows; a share
//! of 1 copies. On the CPU this is `trainer::average`.

use std::sync::Arc;

use crate::{
    Buffer, Device, Error, Result,
    rows::{THREADS, has},
    tables::{Parameter, Tables},
    update::PTX,
};

/// The averages of some tensors.
#[derive(Debug)]
pub struct Average {
    device: Device,
    tables: Tables,
    // They keep the buffers alive that the tables point to.
    averages: Vec<Parameter>,
    _weights: Vec<Arc<Buffer>>,
}

impl Average {
    /// Tables for tensors and their averages.
    ///
    /// - `averages`: where the averages are, and perhaps copies of them in another storage.
    /// - `weights`: f32, one for each average and as long.
    ///
    /// # Errors
    /// If the sizes do not fit, or the card has no room for the tables.
    pub fn new(
        device: &Device,
        averages: Vec<Parameter>,
        weights: Vec<Arc<Buffer>>,
    ) -> Result<Self> {
        let at = "average::Average";
        if averages.len() != weights.len() {
            let what = format!("{} averages of {} tensors", averages.len(), weights.len());
            return Err(Error::arguments(at, what));
        }
        for (average, weights) in averages.iter().zip(&weights) {
            has(at, "weights", weights, average.len * 4)?;
        }
        let states: Vec<_> = weights.iter().map(|it| vec![it.address()]).collect();
        let tables = Tables::new(at, device, &averages, &states)?;
        Ok(Self { device: device.clone(), tables, averages, _weights: weights })
    }

    /// The averages.
    #[must_use]
    pub fn averages(&self) -> &[Parameter] {
        &self.averages
    }

    /// Moves the averages towards the weights by a share.
    ///
    /// # Errors
    /// If the driver fails.
    #[expect(unsafe_code, reason = "a launch")]
    pub fn update(&mut self, share: f32) -> Result<()> {
        let Self { device, tables, .. } = self;
        let launch = device.launch(&PTX, "average").grid(tables.n_chunks, 1, 1).block(THREADS);
        let launch = launch.arg(&tables.parameters).arg(&tables.chunks).arg(share);
        // SAFETY: the tables hold addresses of buffers that are alive, whose sizes were checked.
        unsafe { launch.cost(tables.n_numbers * 12, tables.n_numbers * 2).run() }
    }
}
