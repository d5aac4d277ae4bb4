//! Predicted probabilities as a table: one row per image, one column per joint class.
//!
//! Probabilities have at most 9 significant digits ([`base::table::number`]).
//! [`crate::LabelledWriter`] writes a table that also has the true labels.

use base::{Task, table::number, task::Scope};
use metrics::argmax;

/// Returns the column names: `image,predicted,<class names>`.
pub fn probabilities_header(task: &Task) -> Vec<String> {
    let leading = ["image", "predicted"].map(str::to_owned).into_iter();
    leading.chain(task.class_names(Scope::Joint)).collect()
}

/// Returns the row of an image.
pub fn probabilities_row(name: &str, probabilities: &[f64]) -> Vec<String> {
    let leading = [name.to_owned(), argmax(probabilities).to_string()].into_iter();
    leading.chain(probabilities.iter().map(|&it| number(it))).collect()
}

#[cfg(test)]
mod tests {
    use base::{Task, table, task::Factor};

    use super::{probabilities_header, probabilities_row};

    #[test]
    fn names_with_commas_are_quoted_and_numbers_are_short() {
        let task = Task::new(vec![Factor::new("age", &["<30", "30, or more"])]);
        let rows = [probabilities_row("a, b.jpg", &[1.0 / 3.0, 2.0 / 3.0])];
        assert_eq!(
            table::text(probabilities_header(&task), rows),
            "image,predicted,<30,\"30, or more\"\n\"a, b.jpg\",1,0.333333333,0.666666667\n"
        );
    }
}
