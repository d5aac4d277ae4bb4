//! Predicted probabilities as a table: one row per image, one column per joint class.
//!
//! ```text
//! image,predicted,class,<class names>
//! image,predicted,class,set,<class names>    with prediction sets
//! ```
//!
//! `predicted` is the index of the predicted class, as in the tables with true labels; `class` is its name.
//! `set` lists the names of the classes in the set, from the most probable on, separated by `;` ([`base::table::list`]:
//! a name that contains a `;` or a quote is quoted).
//! Probabilities have at most 9 significant digits ([`base::table::number`]).
//! [`crate::LabelledWriter`] writes a table that also has the true labels.

use std::io::{self, Read};

use base::{
    Task,
    table::{list, number},
    task::Scope,
};

use crate::predictor::Prediction;

/// The leading columns.
const COLUMNS: [&str; 3] = ["image", "predicted", "class"];

/// The header and the rows of a table of predictions.
pub struct PredictionTable {
    classes: Vec<String>,
    has_sets: bool,
}

impl PredictionTable {
    /// Returns a table without rows.
    ///
    /// - `has_sets`: whether each prediction has a set.
    pub fn new(task: &Task, has_sets: bool) -> PredictionTable {
        PredictionTable { classes: task.class_names(Scope::Joint), has_sets }
    }

    /// Whether a file is such a table, of any task, by its first columns.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn is_own<R: Read>(file: R) -> io::Result<bool> {
        let begin = COLUMNS.join(",") + ",";
        let mut head = Vec::new();
        file.take(begin.len() as u64).read_to_end(&mut head)?;
        Ok(head == begin.as_bytes())
    }

    /// Returns the column names.
    pub fn header(&self) -> Vec<String> {
        let leading = COLUMNS.into_iter().chain(self.has_sets.then_some("set"));
        leading.chain(self.classes.iter().map(String::as_str)).map(str::to_owned).collect()
    }

    /// Returns the row of an image.
    pub fn row(&self, name: &str, it: &Prediction) -> Vec<String> {
        let mut row =
            vec![name.to_owned(), it.predicted.to_string(), self.classes[it.predicted].clone()];
        if self.has_sets {
            let mut set = it.set.clone().unwrap_or_default();
            set.sort_by(|&a, &b| it.probabilities[b].total_cmp(&it.probabilities[a]));
            row.push(list(set.iter().map(|&it| &self.classes[it])));
        }
        row.extend(it.probabilities.iter().map(|&it| number(it)));
        row
    }
}

#[cfg(test)]
mod tests {
    use base::{Task, table, task::Factor};

    use super::PredictionTable;
    use crate::predictor::Prediction;

    #[test]
    fn names_with_commas_are_quoted_and_numbers_are_short() {
        let task = Task::new(vec![Factor::new("age", &["<30", "30, or more"])]);
        // The predicted class is not the most probable one: a decision may weight the classes.
        let prediction = Prediction {
            probabilities: vec![1.0 / 3.0, 2.0 / 3.0],
            set: Some(vec![0, 1]),
            ..Prediction::default()
        };
        let text = |has_sets| {
            let table = PredictionTable::new(&task, has_sets);
            table::text(table.header(), [table.row("a, b.jpg", &prediction)])
        };
        assert_eq!(
            text(false),
            "image,predicted,class,<30,\"30, or more\"\n\"a, b.jpg\",0,<30,0.333333333,0.666666667\n"
        );
        let is_own = |text: &str| PredictionTable::is_own(text.as_bytes()).unwrap();
        assert!(is_own(&text(false)) && is_own(&text(true)));
        for other in ["", "image,predicted,class", "image,group,truth,predicted,a\n", "id,class\n"]
        {
            assert!(!is_own(other), "{other}");
        }
        assert_eq!(
            text(true),
            "image,predicted,class,set,<30,\"30, or more\"\n\
             \"a, b.jpg\",0,<30,\"30, or more;<30\",0.333333333,0.666666667\n"
        );
        // A class of this name is one, not two.
        let task = Task::new(vec![Factor::new("class", &["cat", "dog; big"])]);
        let row = PredictionTable::new(&task, true).row("a.jpg", &prediction);
        assert_eq!(row[3], "\"dog; big\";cat");
    }
}
