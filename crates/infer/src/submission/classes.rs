//! The predicted class of each image: `ImageID,ans`, as in the mask competition, or class names.
//!
//! The index of a class is its position in the bundle's task, from 0. Where classes are whole numbers, such
//! as 1 to 10, their names are what a competition expects: a note reports where the two differ.

use base::{Task, task::Scope};
use serde::{Deserialize, Serialize};

use super::{Submit, columns::Column};
use crate::predictor::Prediction;

/// `[submit] kind = "classes"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Classes {
    /// Whether to write the name of the class, and not its index.
    pub names: bool,
}

impl Submit for Classes {
    fn columns(&self, _: &Task, _: Option<usize>) -> Vec<Column> {
        vec![Column::required("ans")]
    }

    fn fields(
        &self,
        task: &Task,
        _: Option<usize>,
        prediction: &Prediction,
    ) -> Result<Vec<String>, String> {
        let class = prediction.predicted;
        Ok(vec![match self.names {
            true => task.class_name(class, Scope::Joint),
            false => class.to_string(),
        }])
    }

    fn note(&self, task: &Task) -> Option<String> {
        let names = task.class_names(Scope::Joint);
        let are_numbers = names.iter().all(|it| it.parse::<u64>().is_ok());
        let are_indices = names.iter().enumerate().all(|(idx, it)| *it == idx.to_string());
        (!self.names && are_numbers && !are_indices).then(|| {
            format!(
                "classes are written as their indices, 0 to {}, not as their names, `{}` to `{}`: set \
                 `submit.names=true` to write names",
                names.len() - 1,
                names[0],
                names[names.len() - 1]
            )
        })
    }
}
