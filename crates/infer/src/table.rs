//! Probabilities as a table: one row a picture, one column a joint class.
//!
//! Numbers are written with as many digits as it takes to read the same bits back.
//! A table with the truth beside them is [`crate::Graded`]'s.

use base::{Task, task::Scope};

/// The table's text: `picture,predicted,<class names>`.
pub fn probabilities_csv<'a>(
    task: &Task,
    names: impl Iterator<Item = &'a str>,
    probabilities: &[Vec<f64>],
    predicted: &[usize],
) -> String {
    let header = ["picture", "predicted"].map(str::to_owned).into_iter();
    let header = header.chain(task.class_names(Scope::Joint));
    let rows = names.zip(probabilities).zip(predicted).map(|((name, p), class)| {
        let fields = [name.to_owned(), class.to_string()].into_iter();
        fields.chain(p.iter().map(f64::to_string)).collect()
    });
    csv_text(header.collect(), rows)
}

/// A CSV of a header and rows as long.
pub(crate) fn csv_text(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in std::iter::once(header).chain(rows) {
        writer.write_record(record).expect("memory takes every record of the header's length");
    }
    let bytes = writer.into_inner().expect("memory can be flushed");
    String::from_utf8(bytes).expect("all fields are text")
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use super::probabilities_csv;

    #[test]
    fn names_with_commas_stay_one_field() {
        let task = Task { factors: vec![Factor::new("age", &["<30", "30, or more"])] };
        let p = vec![vec![1.0 / 3.0, 2.0 / 3.0]];
        let text = probabilities_csv(&task, ["a, b.jpg"].into_iter(), &p, &[1]);
        assert!(text.starts_with("picture,predicted,<30,\"30, or more\"\n\"a, b.jpg\",1,0.33"));
    }
}
