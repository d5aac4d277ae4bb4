//! The level of each factor, by name: `ImageID,mask,gender,age`, and the number of a numeric factor,
//! `age.number`, where a head of every model predicts it.
//!
//! The levels are those of the predicted joint class, as in the scores of reports. A sample file may lack
//! the number's column.

use base::{Task, table::number as text};
use serde::{Deserialize, Serialize};

use super::{Submit, columns::Column};
use crate::predictor::Prediction;

/// `[submit] kind = "factors"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Factors {}

impl Submit for Factors {
    fn columns(&self, task: &Task, number: Option<usize>) -> Vec<Column> {
        let mut columns = Vec::new();
        for (idx, factor) in task.factors.iter().enumerate() {
            columns.push(Column::required(factor.name.clone()));
            if number == Some(idx) {
                columns.push(Column::optional(format!("{}.number", factor.name)));
            }
        }
        columns
    }

    fn fields(
        &self,
        task: &Task,
        number: Option<usize>,
        prediction: &Prediction,
    ) -> Result<Vec<String>, String> {
        let levels = task.levels_of(prediction.predicted);
        let mut fields = Vec::new();
        for (idx, (factor, level)) in task.factors.iter().zip(levels).enumerate() {
            fields.push(factor.levels[level].clone());
            if number == Some(idx) {
                let number = prediction
                    .number
                    .ok_or_else(|| format!("no number of `{}` is predicted for it", factor.name))?;
                fields.push(text(number));
            }
        }
        Ok(fields)
    }
}
