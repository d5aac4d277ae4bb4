//! What a batch should have been answered: from labels and the batch's rows to distributions.

use base::{Task, mix::Row, task::Scope};
use candle::{DType, Device, Result, Tensor};

/// The labels of the pictures of a batch, as training sees them.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// The joint class of each picture, by the training cuts.
    pub classes: Vec<usize>,
    /// The age of each picture's person in years, where the data has ages.
    pub ages: Vec<Option<f64>>,
}

/// How many training pictures each joint class has.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts(pub Vec<usize>);

/// What each head should say of each row of a batch.
#[derive(Clone, Debug)]
pub struct Targets {
    task: Task,
    labels: Labels,
    rows: Vec<Row>,
    device: Device,
    dtype: DType,
}

impl Targets {
    /// The targets of `rows`, which are made of pictures with these labels.
    pub fn new(
        task: &Task,
        labels: Labels,
        rows: &[Row],
        dtype: DType,
        device: &Device,
    ) -> Targets {
        Targets { task: task.clone(), labels, rows: rows.to_vec(), device: device.clone(), dtype }
    }

    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// The distribution of each row over the classes of `scope`: `[n, class]`.
    ///
    /// A row of several pictures has each one's class with that picture's weight.
    pub fn distribution(&self, scope: Scope) -> Result<Tensor> {
        let n_classes = self.task.n_classes_of(scope);
        let mut p = vec![0f32; self.rows.len() * n_classes];
        for (row, p) in self.rows.iter().zip(p.chunks_mut(n_classes)) {
            for part in row {
                p[self.task.project(self.labels.classes[part.picture], scope)] += part.weight;
            }
        }
        Tensor::from_vec(p, (self.rows.len(), n_classes), &self.device)?.to_dtype(self.dtype)
    }
}

#[cfg(test)]
mod tests {
    use base::{
        Task,
        mix::{Part, unmixed},
        task::Scope,
    };
    use candle::{DType, Device, Result};
    use testkit::check_close;

    use super::{Labels, Targets};

    #[test]
    fn a_whole_picture_is_one_hot_in_every_scope() -> Result<()> {
        // Class 10 is incorrect (1), female (1), 30-59 (1).
        let labels = Labels { classes: vec![10], ages: vec![Some(40.0)] };
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &unmixed(1), DType::F64, &Device::Cpu);
        let joint = targets.distribution(Scope::Joint)?;
        assert_eq!(joint.dims(), [1, 18]);
        check_close(&joint.get(0)?.narrow(0, 9, 3)?, &[0.0, 1.0, 0.0], 0.0);
        check_close(&targets.distribution(Scope::Factor(0))?, &[0.0, 1.0, 0.0], 0.0);
        check_close(&targets.distribution(Scope::Factor(1))?, &[0.0, 1.0], 0.0);
        Ok(())
    }

    #[test]
    fn a_mixed_row_shares_its_weight() -> Result<()> {
        let labels = Labels { classes: vec![0, 12], ages: vec![None; 2] };
        let row = vec![Part { picture: 0, weight: 0.25 }, Part { picture: 1, weight: 0.75 }];
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &[row], DType::F64, &Device::Cpu);
        check_close(&targets.distribution(Scope::Factor(0))?, &[0.25, 0.0, 0.75], 0.0);
        check_close(&targets.distribution(Scope::Factor(1))?, &[1.0, 0.0], 0.0);
        Ok(())
    }
}
