//! The columns of a sample file: which is that of the ids, and what belongs in each of the others.
//!
//! Ids are in the column `ImageID`, otherwise in the first. Every other column is one that the submission
//! has, by name, whatever the Unicode form (NFC or NFD); a submission with a single column leaves its name
//! to the file.

use std::collections::HashMap;

use base::{names::quoted, nearest};
use data::{Finding, names::composed};

/// A column of a submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, unless a sample file has another for the only one.
    pub name: String,
    /// Whether a sample file must have it.
    pub is_required: bool,
}

impl Column {
    /// Returns a column that a sample file must have.
    pub(super) fn required(name: impl Into<String>) -> Column {
        Column { name: name.into(), is_required: true }
    }

    /// Returns a column that a sample file may have.
    pub(super) fn optional(name: impl Into<String>) -> Column {
        Column { name: name.into(), is_required: false }
    }
}

/// The name of the column of ids, in files that have it.
const ID: &str = "ImageID";

/// The header of a sample file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    /// The names of all columns.
    pub(super) names: Vec<String>,
    /// The position of the ids.
    pub(super) id: usize,
}

impl Header {
    /// Returns the header of these columns.
    pub(super) fn of(names: Vec<String>) -> Header {
        let id = names.iter().position(|it| it == ID).unwrap_or(0);
        Header { names, id }
    }

    /// Returns the header of a file that has only ids.
    pub(super) fn ids() -> Header {
        Header::of(vec![ID.to_owned()])
    }

    /// Returns, for each column of the file, which of `columns` it is; `None` for that of the ids.
    ///
    /// - `kind`: the kind of submission that has these columns.
    ///
    /// # Errors
    /// Everything that is wrong with the columns.
    pub(super) fn order(
        &self,
        columns: &[Column],
        kind: &str,
    ) -> Result<Vec<Option<usize>>, Vec<Finding>> {
        let finding = |problem: String, remedy: String| Finding {
            place: "header".to_owned(),
            problem,
            remedy,
        };
        if columns.len() == 1 {
            let n = self.names.len() - 1;
            let order = (0..=n).map(|it| (it != self.id).then_some(0)).collect();
            let problem =
                || format!("has {n} columns beside the ids, but the kind `{kind}` writes one");
            let remedy = "remove the others, or set another `submit.kind`".to_owned();
            return if n == 1 { Ok(order) } else { Err(vec![finding(problem(), remedy)]) };
        }
        let mut by_name: HashMap<String, usize> = HashMap::new();
        for (idx, it) in columns.iter().enumerate() {
            by_name.entry(composed(&it.name)).or_insert(idx);
        }
        // Two names may look the same.
        by_name.extend(columns.iter().enumerate().map(|(idx, it)| (it.name.clone(), idx)));
        let of = |name: &str| by_name.get(name).or_else(|| by_name.get(&composed(name))).copied();

        let (mut order, mut unknown) = (Vec::new(), Vec::new());
        let mut counts = vec![0_usize; columns.len()];
        for (at, name) in self.names.iter().enumerate() {
            let column = of(name).filter(|_| at != self.id);
            order.push(column);
            match column {
                Some(it) => counts[it] += 1,
                None if at == self.id => {}
                None => unknown.push(name.as_str()),
            }
        }
        let mut findings = Vec::new();
        let id = self.names[self.id].as_str();
        if of(id).is_some() {
            findings.push(finding(
                format!("the first column is `{id}`, which is not one of ids"),
                "put a column of ids before it".to_owned(),
            ));
        }
        if !unknown.is_empty() && counts.iter().all(|it| *it == 0) {
            findings.push(finding(
                format!("the kind `{kind}` writes none of the columns {}", quoted(&unknown)),
                format!("name a sample file with {}", quoted(names(columns.iter()))),
            ));
            return Err(findings);
        }
        let names_of = |is_it: &dyn Fn(usize) -> bool| {
            names(columns.iter().zip(&counts).filter(|it| is_it(*it.1)).map(|it| it.0))
        };
        for name in names_of(&|n| n > 1) {
            findings.push(finding(
                format!("has the column `{name}` more than once"),
                "keep one of them".to_owned(),
            ));
        }
        let missing = columns.iter().zip(&counts).filter(|it| it.0.is_required && *it.1 == 0);
        let mut missing: Vec<&str> =
            missing.map(|it| it.0.name.as_str()).filter(|it| *it != id).collect();
        for name in unknown {
            let meant = nearest(name, missing.iter().copied());
            missing.retain(|it| Some(*it) != meant);
            findings.push(finding(
                format!("`{name}` is not a column that the kind `{kind}` writes"),
                meant.map_or("remove it".to_owned(), |it| format!("rename it to `{it}`")),
            ));
        }
        if !missing.is_empty() {
            let (columns, remedy) = match missing.len() {
                1 => ("the column", "add it"),
                _ => ("the columns", "add them"),
            };
            let problem = format!("lacks {columns} {}", quoted(&missing));
            findings.push(finding(problem, remedy.to_owned()));
        }
        if findings.is_empty() { Ok(order) } else { Err(findings) }
    }
}

fn names<'a>(columns: impl Iterator<Item = &'a Column>) -> Vec<&'a str> {
    columns.map(|it| it.name.as_str()).collect()
}
