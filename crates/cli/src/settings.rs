//! Settings one by one: a config as a list of paths and values.

use toml::{Table, Value};
use trainer::Experiment;

/// A setting.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    /// The keys from the root.
    pub(crate) path: Vec<String>,
    /// A value that is no table, or an empty table.
    pub(crate) value: Value,
}

impl Setting {
    /// Formats the path, with dots.
    pub(crate) fn name(&self) -> String {
        self.path.join(".")
    }
}

/// Returns an experiment's settings as a table.
pub(crate) fn table(experiment: &Experiment) -> Table {
    experiment.to_toml().parse().expect("an experiment is TOML")
}

/// Returns the settings of a table: the values of each table before the tables within it.
pub(crate) fn settings(table: &Table) -> Vec<Setting> {
    let mut found = Vec::new();
    collect(table, &mut Vec::new(), false, &mut found);
    found
}

/// As [`settings`], with the tables of a list taken apart: `augment.train[0].size`.
pub(crate) fn elements(table: &Table) -> Vec<Setting> {
    let mut found = Vec::new();
    collect(table, &mut Vec::new(), true, &mut found);
    found
}

fn collect(table: &Table, path: &mut Vec<String>, is_apart: bool, found: &mut Vec<Setting>) {
    let is_inner = |it: &Value| match it {
        Value::Table(it) => !it.is_empty(),
        Value::Array(it) => is_apart && !it.is_empty() && it.iter().all(Value::is_table),
        _ => false,
    };
    for (key, value) in table.iter().filter(|it| !is_inner(it.1)) {
        let path = path.iter().chain([key]).cloned().collect();
        found.push(Setting { path, value: value.clone() });
    }
    for (key, value) in table.iter().filter(|it| is_inner(it.1)) {
        let within = match value {
            Value::Table(it) => vec![(key.clone(), it)],
            Value::Array(all) => {
                let tables = all.iter().filter_map(Value::as_table).enumerate();
                tables.map(|(idx, it)| (format!("{key}[{idx}]"), it)).collect()
            }
            _ => Vec::new(),
        };
        for (key, table) in within {
            path.push(key);
            collect(table, path, is_apart, found);
            path.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{elements, settings};

    #[test]
    fn values_come_before_tables_and_lists_are_taken_apart() {
        let text = "z = 1\n[a]\nlist = [{ x = 1 }, { x = 2 }]\nnone = {}\ny = [1, 2]";
        let table: toml::Table = text.parse().unwrap();
        let names =
            |all: Vec<super::Setting>| all.iter().map(super::Setting::name).collect::<Vec<_>>();
        assert_eq!(names(settings(&table)), ["z", "a.list", "a.none", "a.y"]);
        assert_eq!(names(elements(&table)), ["z", "a.none", "a.y", "a.list[0].x", "a.list[1].x"]);
    }
}
