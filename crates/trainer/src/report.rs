//! Formats scores as a section of a `report.toml`: of the joint classes, of each factor, of each class, and by
//! attribute; and as the tables `<name>_classes.csv` and `<name>_confusions.csv`, which score the predictions of
//! `<name>.csv`.

use std::collections::BTreeMap;

use base::table;
use metrics::{AttributeReport, ClassScore, Interval, Report, Scores};
use serde::Serialize;

use crate::run::{Run, RunError};

/// The scores of all images.
#[derive(Serialize)]
struct Head {
    groups: usize,
    images: usize,
    macro_f1: f64,
    macro_f1_interval: [f64; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    mae: Option<f64>,
}

/// The scores of a scope.
#[derive(Serialize)]
struct ScopeRow<'a> {
    #[serde(flatten)]
    scores: &'a Scores,
    macro_f1_interval: [f64; 2],
}

/// The scores of a class.
#[derive(Serialize)]
struct ClassRow<'a> {
    name: &'a str,
    #[serde(flatten)]
    scores: ClassScore,
}

/// The scores of the images with a value of an attribute.
#[derive(Serialize)]
struct ValueRow<'a> {
    value: &'a str,
    /// Of all others together, how many values they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    other_values: Option<usize>,
    images: usize,
    groups: usize,
    macro_f1: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    macro_f1_interval: Option<[f64; 2]>,
    accuracy: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy_interval: Option<[f64; 2]>,
}

/// The two values of an attribute whose accuracies differ most.
#[derive(Serialize)]
struct GapRow<'a> {
    lowest: &'a str,
    highest: &'a str,
    accuracy: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy_interval: Option<[f64; 2]>,
}

/// Formats the section `name` of a `report.toml`.
pub fn section(name: &str, report: &Report) -> String {
    let Interval { value, low, high } = report.joint().macro_f1;
    let head = Head {
        groups: report.n_groups,
        images: report.n_images,
        macro_f1: value,
        macro_f1_interval: [low, high],
        mae: report.mae,
    };
    let mut text = format!("\n[{name}]\n{}", toml::to_string(&head).expect("scores are TOML"));
    for scope in &report.scopes {
        let Interval { low, high, .. } = scope.macro_f1;
        let scores = ScopeRow { scores: &scope.scores, macro_f1_interval: [low, high] };
        let scores = toml::to_string(&scores).expect("scores are TOML");
        text += &format!("\n[{name}.scores.{}]\n{scores}", key(&scope.name));
    }
    for scope in &report.scopes {
        for (class, row) in scope.classes.iter().enumerate() {
            let row = ClassRow { name: row, scores: scope.confusion.class(class) };
            let row = toml::to_string(&row).expect("scores are TOML");
            text += &format!("\n[[{name}.classes.{}]]\n{row}", key(&scope.name));
        }
    }
    text.extend(report.attributes.iter().map(|it| of_attribute(name, it)));
    text
}

/// Returns TOML's spelling of a name.
fn key(name: &str) -> String {
    let line = toml::to_string(&BTreeMap::from([(name, 0)])).expect("a name is TOML");
    line.trim_end().trim_end_matches(" = 0").to_owned()
}

/// Formats the scores by an attribute.
fn of_attribute(name: &str, it: &AttributeReport) -> String {
    let limits = |it: Interval| Some([it.low, it.high]).filter(|it| !it[0].is_nan());
    let key = key(&it.name);
    let mut text = String::new();
    for it in &it.values {
        let row = ValueRow {
            value: it.value.as_deref().unwrap_or("others"),
            other_values: it.value.is_none().then_some(it.n_values),
            images: it.n_images,
            groups: it.n_groups,
            macro_f1: it.macro_f1.value,
            macro_f1_interval: limits(it.macro_f1),
            accuracy: it.accuracy.value,
            accuracy_interval: limits(it.accuracy),
        };
        let row = toml::to_string(&row).expect("scores are TOML");
        text += &format!("\n[[{name}.attributes.{key}]]\n{row}");
    }
    if let Some(gap) = &it.gap {
        let row = GapRow {
            lowest: &gap.lowest,
            highest: &gap.highest,
            accuracy: gap.difference.value,
            accuracy_interval: limits(gap.difference),
        };
        let row = toml::to_string(&row).expect("scores are TOML");
        text += &format!("\n[{name}.gaps.{key}]\n{row}");
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

#[cfg(test)]
mod tests {
    use base::{Seed, Task, task::Factor};
    use data::Attribute;
    use metrics::Prediction;

    use super::section;
    use crate::Scoring;

    #[test]
    fn a_report_has_the_scores_by_attribute() {
        let task = Task::new(vec![Factor::new("class", &["a", "b"])]);
        let attribute = |name: &str, values: &[&str]| {
            let values = values.iter().map(|&it| it.to_owned()).collect();
            Attribute { name: name.to_owned(), values }
        };
        // Six images, twice: of site A 4 of 6 images of 2 groups are right, of site B 2 of 4; the 2 without a
        // site are right. Each image has a file of its own.
        let files: Vec<String> = (0..12).map(|it| format!("{it:02}")).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let attributes = [attribute("site \"x\"", &["", "A", "B"]), attribute("file", &files)];
        let images = [(0, 1, 0), (0, 1, 0), (1, 1, 1), (2, 2, 0), (3, 2, 1), (4, 0, 0)];
        let values: Vec<[u32; 2]> = (0..12).map(|it| [images[it % 6].1, it as u32]).collect();
        let of_set = values.iter().map(<[u32; 2]>::as_slice);
        let mut scoring = Scoring::new(&task, &attributes, of_set);
        for (at, values) in values.iter().enumerate() {
            let (group, _, predicted) = images[at % 6];
            scoring.add(
                values,
                &Prediction {
                    probabilities: &[0.5, 0.5],
                    predicted,
                    class: 0,
                    group,
                    number: None,
                    true_number: None,
                },
            );
        }
        let text = section("valid", &scoring.report(Seed(0)));
        let report: toml::Table = text.parse().unwrap();
        let rows = report["valid"]["attributes"]["site \"x\""].as_array().unwrap();
        assert_eq!(rows.len(), 3);
        let [none, a, b] = [&rows[0], &rows[1], &rows[2]];
        assert_eq!((none["value"].as_str(), none["images"].as_integer()), (Some(""), Some(2)));
        assert_eq!(none["accuracy"].as_float(), Some(1.0));
        // With one group there is no interval.
        assert!(none.get("accuracy_interval").is_none() && none.get("macro_f1_interval").is_none());
        assert_eq!((a["value"].as_str(), a["groups"].as_integer()), (Some("A"), Some(2)));
        assert_eq!(a["images"].as_integer(), Some(6));
        assert_eq!(a["macro_f1_interval"].as_array().map(Vec::len), Some(2));
        assert_eq!(b["accuracy_interval"].as_array().unwrap()[0].as_float(), Some(0.0));
        let gap = &report["valid"]["gaps"]["site \"x\""];
        assert_eq!((gap["lowest"].as_str(), gap["highest"].as_str()), (Some("B"), Some("A")));
        let difference = gap["accuracy"].as_float().unwrap();
        assert!((difference - 1.0 / 6.0).abs() < 1e-12, "{difference}");
        assert!(gap.get("accuracy_interval").is_some());
        // Ten files, and two others; each has one group, so no two have a gap.
        let rows = report["valid"]["attributes"]["file"].as_array().unwrap();
        assert_eq!(rows.len(), 11);
        assert_eq!(rows[10]["value"].as_str(), Some("others"));
        assert_eq!(rows[10]["other_values"].as_integer(), Some(2));
        assert!(report["valid"]["gaps"].get("file").is_none());
    }

    #[test]
    fn a_score_that_is_nan_and_a_name_with_quotes_are_toml() {
        let names = ["a \"b\"", "마스크"];
        let task = Task::new(names.map(|it| Factor::new(it, &["a", "b"])).to_vec());
        let mut scoring = Scoring::new(&task, &[], std::iter::empty());
        let prediction = Prediction {
            probabilities: &[f64::NAN; 4],
            predicted: 0,
            class: 0,
            group: 0,
            number: None,
            true_number: None,
        };
        scoring.add(&[], &prediction);
        let report: toml::Table = section("valid", &scoring.report(Seed(0))).parse().unwrap();
        let valid = &report["valid"];
        assert!(valid["macro_f1"].as_float().is_some_and(f64::is_nan), "{valid}");
        for scope in ["joint", names[0], names[1]] {
            assert!(valid["scores"].get(scope).is_some() && valid["classes"].get(scope).is_some());
        }
    }
}
