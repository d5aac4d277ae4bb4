//! Answers beside the truth, as a table: what a run says of people whose labels are known.
//!
//! ```text
//! picture,person,truth,predicted,<class names>
//! picture,person,truth,predicted,age,years,<class names>    where a head says years
//! ```
//!
//! `truth` and `predicted` are joint classes by the task's own cuts; `age` is empty where it is not
//! known. The column `truth` tells such a table from one of `predict`, which knows none.
//! Probabilities and years have at most 9 significant digits, so that what is scored from a table may
//! differ from what a run has reported in the ninth; `predicted` is what the run has submitted.

use base::{
    Task,
    records::Records,
    table::{self, number},
    task::Scope,
};
use metrics::Predictions;

/// Answers beside the truth, and whose they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Graded {
    /// The name of each picture.
    pub pictures: Vec<String>,
    /// What the people are called that [`Predictions::people`] numbers.
    pub people: Vec<String>,
    /// The answers and the truth.
    pub predictions: Predictions,
}

const COLUMNS: [&str; 4] = ["picture", "person", "truth", "predicted"];
const YEARS: [&str; 2] = ["age", "years"];

impl Graded {
    /// Answers for different pictures, as one in the order of the pictures' names.
    pub fn concat(task: &Task, parts: &[Graded]) -> Graded {
        let mut rows = Vec::new();
        for (part, graded) in parts.iter().enumerate() {
            rows.extend(graded.pictures.iter().enumerate().map(|(at, name)| (name, part, at)));
        }
        rows.sort_unstable();
        let mut people: Vec<String> = parts.iter().flat_map(|it| it.people.clone()).collect();
        people.sort();
        people.dedup();
        let of = |&(_, part, at): &(&String, usize, usize)| (&parts[part].predictions, at);
        let person = |&(_, part, at): &(&String, usize, usize)| {
            let name = &parts[part].people[parts[part].predictions.people[at]];
            people.binary_search(name).expect("each name is among them")
        };
        let mut predictions = Predictions::new(
            task.clone(),
            rows.iter().map(of).map(|(it, at)| it.probabilities[at].clone()).collect(),
            rows.iter().map(of).map(|(it, at)| it.classes[at]).collect(),
            rows.iter().map(person).collect(),
        );
        predictions.predicted = rows.iter().map(of).map(|(it, at)| it.predicted[at]).collect();
        let years = rows.iter().map(of).map(|(it, at)| Some(it.years.as_ref()?[at])).collect();
        let ages = rows.iter().map(of).map(|(it, at)| it.ages[at]).collect();
        Graded {
            pictures: rows.iter().map(|it| it.0.clone()).collect(),
            people,
            predictions: predictions.with_years(years, ages),
        }
    }

    /// The mean of several answers for the same pictures in the same order.
    pub fn mean(parts: &[Graded]) -> Graded {
        let n = parts.len() as f64;
        let mut mean = parts[0].clone();
        let it = &parts[0].predictions;
        let mut probabilities = vec![vec![0.0; it.task.n_classes()]; it.len()];
        for part in parts {
            for (sums, p) in probabilities.iter_mut().zip(&part.predictions.probabilities) {
                sums.iter_mut().zip(p).for_each(|(sum, p)| *sum += p / n);
            }
        }
        let years = |at: usize| {
            let own = parts.iter().map(|it| Some(it.predictions.years.as_ref()?[at] / n));
            own.sum::<Option<f64>>()
        };
        let years = (0..it.len()).map(years).collect();
        let (classes, people) = (it.classes.clone(), it.people.clone());
        let predictions = Predictions::new(it.task.clone(), probabilities, classes, people);
        mean.predictions = predictions.with_years(years, it.ages.clone());
        mean
    }

    /// The table's text.
    pub fn to_csv(&self) -> String {
        let it = &self.predictions;
        let years = it.years.as_ref();
        let columns = COLUMNS.iter().chain(years.iter().flat_map(|_| &YEARS));
        let header = columns.map(|&it| it.to_owned()).chain(it.task.class_names(Scope::Joint));
        let rows = self.pictures.iter().enumerate().map(|(idx, name)| {
            let mut fields = vec![name.clone(), self.people[it.people[idx]].clone()];
            fields.extend([it.classes[idx], it.predicted[idx]].map(|it| it.to_string()));
            if let Some(years) = years {
                let age = it.ages[idx].map(|it| it.to_string());
                fields.extend([age.unwrap_or_default(), number(years[idx])]);
            }
            fields.extend(it.probabilities[idx].iter().map(|&it| number(it)));
            fields
        });
        table::text(header, rows)
    }

    /// Reads such a table back; people are numbered in the order of their names.
    ///
    /// # Errors
    /// A text that is no such table, or one of another task; says where.
    pub fn read(text: &str, task: &Task) -> Result<Graded, String> {
        let records = Records::exact(text);
        let columns = records.header();
        let header: Vec<&str> = columns.fields.iter().collect();
        let classes = task.class_names(Scope::Joint);
        let n_leading = header.len().saturating_sub(classes.len());
        let (leading, named) = header.split_at(n_leading);
        if leading == ["picture", "predicted"] {
            let what = "this table has no column `truth`: `predict` knows none, and runs of before \
                        wrote none: name a run's valid.csv, scored.csv or oof.csv";
            return Err(what.to_owned());
        }
        let has_years = leading == [&COLUMNS[..], &YEARS[..]].concat();
        if !has_years && leading != COLUMNS {
            return Err(format!(
                "line {}: the columns are {}, and then the classes",
                columns.line,
                COLUMNS.join(",")
            ));
        }
        if named != classes {
            return Err(format!("line {}: the classes are others than the task's", columns.line));
        }
        let (mut pictures, mut names) = (Vec::new(), Vec::new());
        let (mut probabilities, mut truth, mut years) = (Vec::new(), Vec::new(), Vec::new());
        let (mut ages, mut predicted) = (Vec::new(), Vec::new());
        for row in records.rows() {
            let wrong = |what: String| format!("line {}: {what}", row.line);
            if let Some(problem) = row.problem(&columns) {
                return Err(wrong(problem));
            }
            let record = &row.fields;
            let number = |at: usize| -> Result<f64, String> {
                let field = &record[at];
                let number = field.parse::<f64>().ok().filter(|it| it.is_finite());
                number.ok_or_else(|| wrong(format!("`{field}` is no number")))
            };
            let class = |at: usize| -> Result<usize, String> {
                let class = record[at].parse().ok().filter(|&it: &usize| it < classes.len());
                class.ok_or_else(|| wrong(format!("`{}` is no class", &record[at])))
            };
            if has_years {
                ages.push(if record[4].is_empty() { None } else { Some(number(4)?) });
                years.push(number(5)?);
            } else {
                ages.push(None);
            }
            pictures.push(record[0].to_owned());
            names.push(record[1].to_owned());
            truth.push(class(2)?);
            predicted.push(class(3)?);
            probabilities.push((n_leading..record.len()).map(number).collect::<Result<_, _>>()?);
        }
        let mut people = names.clone();
        people.sort();
        people.dedup();
        let number = |name: &String| people.binary_search(name).expect("each name is among them");
        let numbers = names.iter().map(number).collect();
        let mut predictions = Predictions::new(task.clone(), probabilities, truth, numbers);
        // Digits that are not written may have been what one class led by.
        predictions.predicted = predicted;
        let predictions = predictions.with_years(has_years.then_some(years), ages);
        Ok(Graded { pictures, people, predictions })
    }
}

#[cfg(test)]
mod tests {
    use base::{
        Task,
        table::{self, number},
        task::Factor,
    };
    use metrics::Predictions;

    use super::Graded;
    use crate::{probabilities_header, probabilities_row};

    fn graded() -> Graded {
        let task = Task { factors: vec![Factor::new("age", &["<30", "30, or more"])] };
        let p = vec![vec![1.0 / 3.0, 2.0 / 3.0], vec![1e-300, 1.0 - f64::EPSILON]];
        Graded {
            pictures: vec!["a, b.jpg".to_owned(), "c.jpg".to_owned()],
            people: vec!["x".to_owned(), "y".to_owned()],
            predictions: Predictions::new(task, p, vec![0, 1], vec![1, 0]),
        }
    }

    /// What nine digits say of it.
    fn rounded(mut it: Graded) -> Graded {
        let round = |x: &mut f64| *x = number(*x).parse().unwrap();
        it.predictions.probabilities.iter_mut().flatten().for_each(round);
        it.predictions.years.iter_mut().flatten().for_each(round);
        it
    }

    #[test]
    fn what_is_written_reads_back_to_nine_digits() {
        let it = graded();
        let text = it.to_csv();
        let want = "picture,person,truth,predicted,<30,\"30, or more\"\n\
                    \"a, b.jpg\",y,0,1,0.333333333,0.666666667\nc.jpg,x,1,1,1e-300,1\n";
        assert_eq!(text, want);
        assert_eq!(Graded::read(&text, &it.predictions.task).unwrap(), rounded(it.clone()));

        let predictions =
            it.predictions.with_years(Some(vec![1.0 / 7.0, 30.5]), vec![Some(29.125), None]);
        let it = Graded { predictions, ..graded() };
        let text = it.to_csv();
        assert!(text.contains("predicted,age,years,<30"), "{text}");
        assert!(text.contains(",29.125,0.142857143,") && text.contains(",,30.5,"), "{text}");
        assert_eq!(Graded::read(&text, &it.predictions.task).unwrap(), rounded(it));
    }

    #[test]
    fn a_lead_in_the_tenth_digit_is_kept() {
        let mut it = graded();
        let task = it.predictions.task.clone();
        let p = vec![vec![0.5 - 1e-12, 0.5 + 1e-12], vec![0.5, 0.5]];
        it.predictions = Predictions::new(task.clone(), p, vec![0, 1], vec![1, 0]);
        let read = Graded::read(&it.to_csv(), &task).unwrap();
        assert_eq!(read.predictions.probabilities[0], [0.5, 0.5]);
        assert_eq!(read.predictions.predicted, [1, 0]);
        assert_eq!(Graded::concat(&task, &[read]).predictions.predicted, [1, 0]);
    }

    #[test]
    fn a_table_without_truth_or_of_other_classes_is_refused() {
        let it = graded();
        let task = &it.predictions.task;
        let rows = it.pictures.iter().zip(&it.predictions.probabilities);
        let rows = rows.map(|(name, p)| probabilities_row(name, p));
        let text = table::text(probabilities_header(task), rows);
        assert!(Graded::read(&text, task).unwrap_err().contains("no column `truth`"));
        let other = Task { factors: vec![Factor::new("age", &["young", "old"])] };
        assert!(Graded::read(&it.to_csv(), &other).unwrap_err().contains("others than the task's"));
        let many = Task::mask_gender_age();
        assert!(Graded::read(&it.to_csv(), &many).unwrap_err().starts_with("line 1"));
    }

    #[test]
    fn a_damaged_table_says_where() {
        let task = Task { factors: vec![Factor::new("age", &["a", "b"])] };
        let header = "picture,person,truth,predicted,a,b\n";
        for (row, what) in [
            ("x,p,0,0,0.5,oops", "line 2: `oops`"),
            ("x,p,2,0,0.5,0.5", "line 2: `2` is no class"),
            ("x,p,0,-1,0.5,0.5", "line 2: `-1` is no class"),
            ("x,p,0,0,0.5", "line 2: has 5 fields, the header 6"),
            ("\"x\ny\",p,0,0,0.5,0.5\r\n\r\nx,p,0,0,0.5,oops", "line 5: `oops`"),
            ("x,p,0,0,0.5,NaN", "line 2: `NaN`"),
        ] {
            let err = Graded::read(&format!("{header}{row}\n"), &task).unwrap_err();
            assert!(err.starts_with(what), "{err}");
        }
    }
}
