//! Probabilities as a table: one row a picture, one column a joint class.
//!
//! Numbers are written with as many digits as it takes to read the same bits back.

use base::{Task, task::Scope};

/// The table's text: `picture,predicted,<class names>`.
pub fn probabilities_csv<'a>(
    task: &Task,
    names: impl Iterator<Item = &'a str>,
    probabilities: &[Vec<f64>],
    predicted: &[usize],
) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let classes = task.class_names(Scope::Joint);
    let header = ["picture".to_owned(), "predicted".to_owned()].into_iter().chain(classes);
    let mut write = |record: Vec<String>| {
        writer.write_record(record).expect("memory takes every record of the header's length");
    };
    write(header.collect());
    for ((name, p), class) in names.zip(probabilities).zip(predicted) {
        let fields = [name.to_owned(), class.to_string()].into_iter();
        write(fields.chain(p.iter().map(f64::to_string)).collect());
    }
    let bytes = writer.into_inner().expect("memory can be flushed");
    String::from_utf8(bytes).expect("all fields are text")
}

/// Reads such a table back: each picture's name and probabilities.
///
/// # Errors
/// A text that is no such table; says which line.
pub fn read_probabilities(text: &str, task: &Task) -> Result<Vec<(String, Vec<f64>)>, String> {
    let mut rows = Vec::new();
    for (idx, record) in csv::Reader::from_reader(text.as_bytes()).records().enumerate() {
        let wrong = |what: String| format!("line {}: {what}", idx + 2);
        let record = record.map_err(|err| wrong(err.to_string()))?;
        let name = record.get(0).unwrap_or_default().to_owned();
        let p = record.iter().skip(2).map(str::parse::<f64>).collect::<Result<Vec<_>, _>>();
        let p = p.map_err(|err| wrong(err.to_string()))?;
        if p.len() != task.n_classes() {
            return Err(wrong(format!("{} probabilities, not {}", p.len(), task.n_classes())));
        }
        rows.push((name, p));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use base::{Task, task::Factor};

    use super::{probabilities_csv, read_probabilities};

    #[test]
    fn what_is_written_reads_back_to_the_last_bit() {
        let task = Task { factors: vec![Factor::new("age", &["<30", "30, or more"])] };
        let p = vec![vec![1.0 / 3.0, 2.0 / 3.0], vec![1e-300, 1.0 - f64::EPSILON]];
        let text = probabilities_csv(&task, ["a, b.jpg", "c.jpg"].into_iter(), &p, &[1, 1]);
        assert!(text.starts_with("picture,predicted,<30,\"30, or more\"\n\"a, b.jpg\",1,0.33"));
        let rows = read_probabilities(&text, &task).unwrap();
        assert_eq!(
            rows,
            [("a, b.jpg".to_owned(), p[0].clone()), ("c.jpg".to_owned(), p[1].clone())]
        );
    }

    #[test]
    fn a_damaged_table_says_where() {
        let task = Task { factors: vec![Factor::new("age", &["a", "b"])] };
        let err = read_probabilities("picture,predicted,a,b\nx,0,0.5,oops\n", &task).unwrap_err();
        assert!(err.starts_with("line 2"), "{err}");
    }
}
