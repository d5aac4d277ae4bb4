//! The targets of a batch: from labels and the batch's rows to distributions.

use base::{
    Task,
    mix::{Part, Row},
    task::Scope,
};
use candle::{DType, Device, Result, Tensor, bail};
use ops::{Form, Output};

use crate::head_output::bin_of;

/// The training labels of the images of a batch.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// The joint class of each image, by the training cuts.
    pub classes: Vec<usize>,
    /// The number of each image, where it is known, by the factor whose number the head predicts; empty if
    /// it predicts none.
    pub numbers: Vec<Option<f64>>,
    /// The weight of each image, from 0; empty where all are 1.
    pub weights: Vec<f64>,
    /// The soft label of each image: its distribution over the joint classes, in place of its class; empty for an
    /// image whose label is hard. Empty where all are.
    pub soft: Vec<Vec<f32>>,
}

impl Labels {
    /// Returns the soft label of an image, if it has one.
    fn soft(&self, image: usize) -> Option<&[f32]> {
        self.soft.get(image).map(Vec::as_slice).filter(|it| !it.is_empty())
    }
}

/// The targets of each row of a batch, for the outputs of any head.
#[derive(Clone, Debug)]
pub struct Targets {
    task: Task,
    labels: Labels,
    rows: Vec<Row>,
    /// The weight of each row.
    weights: Vec<f64>,
    device: Device,
    dtype: DType,
}

impl Targets {
    /// The targets of `rows`, which are mixed from images with these labels.
    ///
    /// The weight of a row is the mean of its images' weights, by their shares; within a row, the share
    /// of each image is multiplied by its weight, and the shares are renormalised.
    pub fn new(
        task: &Task,
        labels: Labels,
        rows: &[Row],
        dtype: DType,
        device: &Device,
    ) -> Targets {
        let mut rows = rows.to_vec();
        let mut weights = vec![1.0; rows.len()];
        if !labels.weights.is_empty() {
            for (row, weight) in rows.iter_mut().zip(&mut weights) {
                let of = |image: usize| labels.weights[image];
                *weight = row.iter().map(|it| f64::from(it.weight) * of(it.image)).sum();
                if *weight > 0.0 {
                    let share = |it: f64| (it / *weight) as f32;
                    row.iter_mut().for_each(|it| it.weight *= share(of(it.image)));
                }
            }
        }
        Targets { task: task.clone(), labels, rows, weights, device: device.clone(), dtype }
    }

    /// Returns the number of rows.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// Returns the weight of each row: `[n]`.
    pub fn weights(&self) -> Result<Tensor> {
        self.column(self.weights.clone())
    }

    /// Returns the sum of the rows' weights.
    pub fn weight(&self) -> f64 {
        self.weights.iter().sum()
    }

    /// Returns the target of each row as a distribution over the numbers of an output: `[n, number]`,
    /// each row with the sum 1.
    ///
    /// # Errors
    /// An output that is not a distribution, or that needs a number which is not known.
    pub fn of(&self, output: &Output) -> Result<Tensor> {
        match &output.form {
            Form::Classes | Form::Cosines { .. } | Form::Independent => {
                self.distribution(output.scope)
            }
            Form::Bins { min, .. } => self.bins(*min, output.numbers.dim(1)?),
            Form::Number { .. } => bail!("a number is not a distribution"),
        }
    }

    /// Returns the rows as lists of hard labels: for each k, the class of the k-th image of each row,
    /// among the numbers of an output, and the image's share in the row. An image with a soft label counts as one
    /// image for each class of its label, with that class's share. Rows of fewer images have shares of 0.
    ///
    /// # Errors
    /// As [`Targets::of`].
    pub(crate) fn parts(&self, output: &Output) -> Result<Vec<(Vec<u32>, Tensor)>> {
        let n = output.numbers.dim(1)?;
        let of_part = |part: &Part| -> Result<Vec<(u32, f64)>> {
            let class = match &output.form {
                Form::Bins { min, .. } => bin_of(self.number_of(part.image)?, *min, n),
                _ if self.labels.soft(part.image).is_some() => {
                    let mut shares = vec![0f32; n];
                    self.add_label(part, output.scope, &mut shares);
                    let shares = shares.into_iter().enumerate().filter(|it| it.1 > 0.0);
                    return Ok(shares.map(|(class, it)| (class as u32, f64::from(it))).collect());
                }
                _ => self.task.project(self.labels.classes[part.image], output.scope),
            };
            Ok(vec![(class as u32, f64::from(part.weight))])
        };
        let of_row = |row: &Row| -> Result<Vec<(u32, f64)>> {
            Ok(row.iter().map(of_part).collect::<Result<Vec<_>>>()?.concat())
        };
        let rows = self.rows.iter().map(of_row).collect::<Result<Vec<_>>>()?;
        let n_parts = rows.iter().map(Vec::len).max().unwrap_or(0);
        let part = |k: usize| {
            let of = |row: &Vec<(u32, f64)>| row.get(k).copied().unwrap_or((0, 0.0));
            let (classes, shares) = rows.iter().map(of).unzip();
            Ok((classes, self.column(shares)?))
        };
        (0..n_parts).map(part).collect()
    }

    /// Returns the k-th number of each row, and its share in the row, as [`Targets::parts`].
    ///
    /// # Errors
    /// An image without a number.
    pub(crate) fn number_parts(&self) -> Result<Vec<(Tensor, Tensor)>> {
        let n_parts = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let part = |k: usize| {
            let of = |row: &Row| match row.get(k) {
                Some(it) => Ok((self.number_of(it.image)?, f64::from(it.weight))),
                None => Ok((0.0, 0.0)),
            };
            let parts = self.rows.iter().map(of).collect::<Result<Vec<_>>>()?;
            let (numbers, shares) = parts.into_iter().unzip();
            Ok((self.column(numbers)?, self.column(shares)?))
        };
        (0..n_parts).map(part).collect()
    }

    /// Returns the distribution of each row over the classes of `scope`: `[n, class]`.
    ///
    /// A row of several images has the label of each image with that image's share: its class, or the
    /// distribution that is its soft label.
    pub fn distribution(&self, scope: Scope) -> Result<Tensor> {
        let n_classes = self.task.n_classes_of(scope);
        let mut p = vec![0f32; self.rows.len() * n_classes];
        for (row, p) in self.rows.iter().zip(p.chunks_mut(n_classes)) {
            row.iter().for_each(|it| self.add_label(it, scope, p));
        }
        Tensor::from_vec(p, (self.rows.len(), n_classes), &self.device)?.to_dtype(self.dtype)
    }

    /// Adds the label of an image of a row, with its share, to a distribution over the classes of `scope`.
    fn add_label(&self, part: &Part, scope: Scope, p: &mut [f32]) {
        match self.labels.soft(part.image) {
            None => p[self.task.project(self.labels.classes[part.image], scope)] += part.weight,
            Some(soft) => soft.iter().enumerate().for_each(|(class, share)| {
                p[self.task.project(class, scope)] += part.weight * share;
            }),
        }
    }

    /// Returns the distribution of each row over the whole numbers `min`, `min` + 1, …, of which the first and
    /// the last stand for all beyond as well: `[n, n_bins]`.
    ///
    /// # Errors
    /// An image without a number.
    pub fn bins(&self, min: i64, n_bins: usize) -> Result<Tensor> {
        let mut p = vec![0f32; self.rows.len() * n_bins];
        for (row, p) in self.rows.iter().zip(p.chunks_mut(n_bins)) {
            for part in row {
                p[bin_of(self.number_of(part.image)?, min, n_bins)] += part.weight;
            }
        }
        Tensor::from_vec(p, (self.rows.len(), n_bins), &self.device)?.to_dtype(self.dtype)
    }

    fn column(&self, xs: Vec<f64>) -> Result<Tensor> {
        Tensor::new(xs, &Device::Cpu)?.to_dtype(self.dtype)?.to_device(&self.device)
    }

    fn number_of(&self, image: usize) -> Result<f64> {
        match self.labels.numbers.get(image) {
            Some(Some(number)) => Ok(*number),
            _ => {
                bail!("an image has no number, which this head is trained on: choose another head")
            }
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
    use candle::{DType, Device, Result, Tensor};
    use ops::{Form, Output};
    use testkit::check_close;

    use super::{Labels, Targets};

    #[test]
    fn unmixed_image_is_one_hot_in_every_scope() -> Result<()> {
        // Class 10 is incorrect (1), female (1), 30-59 (1).
        let labels = Labels { classes: vec![10], numbers: vec![Some(40.0)], ..Labels::default() };
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
    fn mixed_row_has_soft_labels() -> Result<()> {
        let labels = Labels { classes: vec![0, 12], numbers: vec![None; 2], ..Labels::default() };
        let row = vec![Part { image: 0, weight: 0.25 }, Part { image: 1, weight: 0.75 }];
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &[row], DType::F64, &Device::Cpu);
        check_close(&targets.distribution(Scope::Factor(0))?, &[0.25, 0.0, 0.75], 0.0);
        check_close(&targets.distribution(Scope::Factor(1))?, &[1.0, 0.0], 0.0);
        Ok(())
    }

    #[test]
    fn numbers_are_binned_by_the_whole_number_below() -> Result<()> {
        let numbers = vec![Some(1.9), Some(70.0)];
        let labels = Labels { classes: vec![0, 0], numbers, ..Labels::default() };
        let row = vec![Part { image: 0, weight: 0.25 }, Part { image: 1, weight: 0.75 }];
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &[row], DType::F64, &Device::Cpu);
        check_close(&targets.bins(0, 4)?, &[0.0, 0.25, 0.0, 0.75], 0.0);
        check_close(&targets.bins(-1, 3)?, &[0.0, 0.0, 1.0], 0.0);
        check_close(&targets.bins(2, 3)?, &[0.25, 0.0, 0.75], 0.0);
        Ok(())
    }

    #[test]
    fn image_weights_scale_shares_and_row_weights() -> Result<()> {
        let labels = Labels {
            classes: vec![0, 12, 6],
            numbers: vec![None; 3],
            weights: vec![1.0, 0.5, 0.0],
            ..Labels::default()
        };
        let half = |a, b| vec![Part { image: a, weight: 0.5 }, Part { image: b, weight: 0.5 }];
        let rows = [half(0, 1), vec![Part { image: 2, weight: 1.0 }]];
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &rows, DType::F64, &Device::Cpu);
        check_close(&targets.weights()?, &[0.75, 0.0], 1e-12);
        let third = 1.0 / 3.0;
        let want = [2.0 * third, 0.0, third, 0.0, 1.0, 0.0];
        check_close(&targets.distribution(Scope::Factor(0))?, &want, 1e-7);
        Ok(())
    }

    /// A distribution over the 18 classes, of these shares.
    fn soft(shares: &[(usize, f32)]) -> Vec<f32> {
        let mut soft = vec![0.0; 18];
        shares.iter().for_each(|&(class, share)| soft[class] = share);
        soft
    }

    #[test]
    fn soft_labels_are_summed_over_the_classes_of_a_scope() -> Result<()> {
        // Class 0 is worn, 6 incorrect, 12 not worn, all male; 15 is not worn, female. Half of the row is an image
        // with a hard label.
        let soft = vec![soft(&[(0, 0.5), (12, 0.25), (15, 0.25)]), Vec::new()];
        let labels = Labels { classes: vec![0, 6], soft, ..Labels::default() };
        let rows = [0, 1].map(|image| Part { image, weight: 0.5 }).to_vec();
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &[rows], DType::F64, &Device::Cpu);
        check_close(&targets.distribution(Scope::Factor(0))?, &[0.25, 0.5, 0.25], 0.0);
        check_close(&targets.distribution(Scope::Factor(1))?, &[0.875, 0.125], 0.0);
        // As parts: the classes of the soft label that have a share, then the hard label.
        let zeros = Tensor::zeros((1, 3), DType::F64, &Device::Cpu)?;
        let parts = targets.parts(&Output::new(Scope::Factor(0), Form::Classes, zeros))?;
        let classes: Vec<u32> = parts.iter().map(|it| it.0[0]).collect();
        assert_eq!(classes, [0, 2, 1]);
        for ((_, share), want) in parts.iter().zip([0.25, 0.25, 0.5]) {
            check_close(share, &[want], 0.0);
        }
        Ok(())
    }

    #[test]
    fn soft_one_hot_label_equals_the_hard_label() -> Result<()> {
        let task = Task::mask_gender_age();
        let rows = [[0.3, 0.7], [1.0, 0.0]]
            .map(|it| vec![Part { image: 0, weight: it[0] }, Part { image: 1, weight: it[1] }]);
        let weights = vec![0.7, 0.3];
        let hard = Labels { classes: vec![4, 17], weights, ..Labels::default() };
        let one_hot = vec![soft(&[(4, 1.0)]), soft(&[(17, 1.0)])];
        let with_soft = Labels { classes: vec![0, 0], soft: one_hot, ..hard.clone() };
        let of = |labels| Targets::new(&task, labels, &rows, DType::F32, &Device::Cpu);
        let (hard, soft) = (of(hard), of(with_soft));
        for scope in [Scope::Joint, Scope::Factor(0), Scope::Factor(2)] {
            let bits = |it: &Targets| -> Result<Vec<u32>> {
                let p = it.distribution(scope)?.flatten_all()?.to_vec1::<f32>()?;
                Ok(p.into_iter().map(f32::to_bits).collect())
            };
            assert_eq!(bits(&hard)?, bits(&soft)?, "{scope:?}");
        }
        Ok(())
    }

    #[test]
    fn missing_number_is_an_error_where_it_is_needed() {
        let labels = Labels { classes: vec![0], numbers: vec![None], ..Labels::default() };
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &unmixed(1), DType::F64, &Device::Cpu);
        assert!(targets.bins(0, 61).is_err() && targets.number_parts().is_err());
        assert!(targets.distribution(Scope::Joint).is_ok());
    }
}
