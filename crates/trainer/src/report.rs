//! Formats scores as a section of a `report.toml`: of the joint classes, of each factor, and of each class;
//! and as the tables `<name>_classes.csv` and `<name>_confusions.csv`, which score the predictions of
//! `<name>.csv`.

use base::table;
use metrics::{ClassScore, Report};
use serde::Serialize;

use crate::run::{Run, RunError};

/// The scores of a class.
#[derive(Serialize)]
struct ClassRow<'a> {
    name: &'a str,
    #[serde(flatten)]
    scores: ClassScore,
}

/// Formats the section `name` of a `report.toml`.
pub fn section(name: &str, report: &Report) -> String {
    let metrics::Interval { value, low, high } = report.joint().macro_f1;
    let mut text = format!(
        "\n[{name}]\ngroups = {}\nimages = {}\nmacro_f1 = {value}\n\
         macro_f1_interval = [{low}, {high}]\n",
        report.n_groups, report.n_images
    );
    if let Some(mae) = report.mae {
        text += &format!("mae = {mae}\n");
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

/// Writes the scores of all classes, and the confusions, most frequent first.
pub(crate) fn write_tables(run: &Run, name: &str, report: &Report) -> Result<(), RunError> {
    class_tables(name, report).iter().try_for_each(|(file, text)| run.write(file, text))
}

/// Returns the tables of the scores of all classes, and of the confusions, most frequent first: the name of each
/// file, and its text.
pub fn class_tables(name: &str, report: &Report) -> [(String, String); 2] {
    let (mut classes, mut confusions) = (Vec::new(), Vec::new());
    for scope in &report.scopes {
        for (class, name) in scope.classes.iter().enumerate() {
            let ClassScore { precision, recall, f1, support } = scope.confusion.class(class);
            let [precision, recall, f1] = [precision, recall, f1].map(|it| it.to_string());
            let (scope, class) = (scope.name.clone(), class.to_string());
            classes.push([scope, class, name.clone(), precision, recall, f1, support.to_string()]);
        }
        for (truth, predicted, n) in scope.confusion.confusions() {
            let [truth, predicted] = [truth, predicted].map(|it| scope.classes[it].clone());
            confusions.push([scope.name.clone(), truth, predicted, n.to_string()]);
        }
    }
    let header = ["scope", "class", "name", "precision", "recall", "f1", "images"];
    let classes = table::text(header, classes);
    let header = ["scope", "truth", "predicted", "images"];
    let confusions = table::text(header, confusions);
    [(format!("{name}_classes.csv"), classes), (format!("{name}_confusions.csv"), confusions)]
}
