//! Scores as a section of a `report.toml`: of all classes, of each factor, and of each class.

use metrics::{ClassScore, Report};
use serde::Serialize;

/// A row of the table of classes.
#[derive(Serialize)]
struct ClassRow<'a> {
    name: &'a str,
    #[serde(flatten)]
    scores: ClassScore,
}

/// The section called `name`.
pub(crate) fn section(name: &str, report: &Report) -> String {
    let metrics::Interval { value, low, high } = report.joint().macro_f1;
    let mut text = format!(
        "\n[{name}]\npeople = {}\npictures = {}\nmacro_f1 = {value}\n\
         macro_f1_interval = [{low}, {high}]\n",
        report.n_people, report.n_pictures
    );
    if let Some(years) = report.age_error {
        text += &format!("age_error = {years}\n");
    }
    for scope in &report.scopes {
        let scores = toml::to_string(&scope.scores).expect("scores are TOML");
        text += &format!("\n[{name}.scores.{:?}]\n{scores}", scope.name);
        let metrics::Interval { low, high, .. } = scope.macro_f1;
        text += &format!("macro_f1_interval = [{low}, {high}]\n");
    }
    for scope in &report.scopes {
        for (class, row) in scope.classes.iter().enumerate() {
            let row = ClassRow { name: row, scores: scope.confusion.class(class) };
            let row = toml::to_string(&row).expect("scores are TOML");
            text += &format!("\n[[{name}.classes.{:?}]]\n{row}", scope.name);
        }
    }
    text
}
