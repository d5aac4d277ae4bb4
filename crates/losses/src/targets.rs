//! What a batch should have been answered: from labels and the batch's rows to distributions.

use base::{Task, mix::Row, task::Scope};
use candle::{DType, Device, Result, Tensor, bail};

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

    /// The distribution of each row over the whole years 0, 1, …, of which the last stands for all
    /// that are older: `[n, n_years]`.
    ///
    /// # Errors
    /// A picture without an age.
    pub fn years(&self, n_years: usize) -> Result<Tensor> {
        let mut p = vec![0f32; self.rows.len() * n_years];
        for (row, p) in self.rows.iter().zip(p.chunks_mut(n_years)) {
            for part in row {
                // A person is as many years old as are completed.
                let year = self.age_of(part.picture)?.max(0.0) as usize;
                p[year.min(n_years - 1)] += part.weight;
            }
        }
        Tensor::from_vec(p, (self.rows.len(), n_years), &self.device)?.to_dtype(self.dtype)
    }

    /// The mean age of each row's pictures, and the variance of their ages around it, by their
    /// weights: `[n]` each, in years and in square years.
    ///
    /// The squared error of a guess, summed over the pictures with their weights, is that to the mean
    /// plus the variance.
    ///
    /// # Errors
    /// A picture without an age.
    pub fn ages(&self) -> Result<(Tensor, Tensor)> {
        let (mut means, mut variances) = (Vec::new(), Vec::new());
        for row in &self.rows {
            let parts = row.iter().map(|it| Ok((f64::from(it.weight), self.age_of(it.picture)?)));
            let parts: Vec<(f64, f64)> = parts.collect::<Result<_>>()?;
            let mean: f64 = parts.iter().map(|(weight, age)| weight * age).sum();
            means.push(mean);
            variances.push(parts.iter().map(|(weight, age)| weight * (age - mean).powi(2)).sum());
        }
        let column = |it: Vec<f64>| {
            Tensor::new(it, &Device::Cpu)?.to_dtype(self.dtype)?.to_device(&self.device)
        };
        Ok((column(means)?, column(variances)?))
    }

    fn age_of(&self, picture: usize) -> Result<f64> {
        match self.labels.ages.get(picture) {
            Some(Some(age)) => Ok(*age),
            _ => bail!("a picture has no age, and this head learns from ages: choose another head"),
        }
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

    #[test]
    fn years_are_completed_ones_and_the_last_is_for_all_older() -> Result<()> {
        let ages = vec![Some(1.9), Some(70.0)];
        let labels = Labels { classes: vec![0, 0], ages };
        let row = vec![Part { picture: 0, weight: 0.25 }, Part { picture: 1, weight: 0.75 }];
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &[row], DType::F64, &Device::Cpu);
        check_close(&targets.years(4)?, &[0.0, 0.25, 0.0, 0.75], 0.0);
        Ok(())
    }

    #[test]
    fn ages_of_a_mixed_row_have_a_mean_and_a_variance() -> Result<()> {
        let labels = Labels { classes: vec![0, 0], ages: vec![Some(20.0), Some(60.0)] };
        let row = vec![Part { picture: 0, weight: 0.25 }, Part { picture: 1, weight: 0.75 }];
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &[row], DType::F64, &Device::Cpu);
        let (mean, variance) = targets.ages()?;
        check_close(&mean, &[50.0], 0.0);
        // 900 / 4 + 3 · 100 / 4.
        check_close(&variance, &[300.0], 0.0);
        Ok(())
    }

    #[test]
    fn a_picture_without_an_age_is_an_error_where_ages_are_asked() {
        let labels = Labels { classes: vec![0], ages: vec![None] };
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &unmixed(1), DType::F64, &Device::Cpu);
        assert!(targets.years(61).is_err() && targets.ages().is_err());
        assert!(targets.distribution(Scope::Joint).is_ok());
    }
}
