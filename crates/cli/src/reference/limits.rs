//! The range of a setting, from the error message for a value far outside of it.

use base::{Seed, config::Layer};
use data::{Context, SourceConfig};
use toml::{Table, Value};
use trainer::{DEFAULT, Experiment};

use crate::commands::list::{Registry, registries};

/// Returns the range of a setting in the words of the error messages; nothing if there is none.
///
/// - `place`: the table of the setting, such as `optim`, or the list, such as `augment.train`.
/// - `table`: the table at its default settings.
pub(super) fn of(place: &str, table: &Table, name: &str, ty: &str) -> String {
    let mut found: Vec<String> = Vec::new();
    for value in extremes(ty) {
        let mut table = table.clone();
        table.insert(name.to_owned(), value);
        let Ok(mut experiment) = Experiment::load(&[layer(place, table)]) else { continue };
        for problem in problems(&mut experiment, place, name) {
            let of_setting =
                problem.trim_start_matches("at ").trim_start_matches('`').split_once("`: ");
            let (at, text) = of_setting.unwrap_or((place, &problem));
            // A message is about several settings, where it names several.
            let mut named = text.split('`').skip(1).step_by(2).flat_map(|it| it.split(", "));
            let is_it = at == format!("{place}.{name}") || at == name || named.any(|it| it == name);
            let is_here = at.starts_with(place) || place.starts_with(at);
            let text = words(text, name);
            if is_it && is_here && !found.contains(&text) {
                found.push(text);
            }
        }
    }
    found.join("; ")
}

/// Returns what is wrong with an experiment; sources and splits say it where they are used.
fn problems(experiment: &mut Experiment, place: &str, name: &str) -> Vec<String> {
    let mut problems = experiment.problems();
    if let ("data.source" | "data.split", SourceConfig::SyntheticPeople(it)) =
        (place, &mut experiment.data.source)
    {
        // Drawing thousands of groups takes seconds.
        if name != "size" {
            it.size = [8, 8];
        }
        if name != "n_people" {
            it.n_people = 20;
        }
        if name != "n_test" {
            it.n_test = 0;
        }
        let context = Context { cache: None, max_pixels: 1 << 20, progress: &|_, _| () };
        match experiment.listing(&context) {
            Err(err) => problems.push(err.to_string()),
            Ok(it) => {
                let sides = experiment.data.split.sides(&it, Seed(0));
                problems.extend(sides.err().map(|err| err.to_string()));
            }
        }
    }
    problems
}

/// Whether a type consists of numbers, which may have a range.
pub(super) fn is_numeric(ty: &str) -> bool {
    let words = ty.split(|it: char| !it.is_alphanumeric());
    words
        .into_iter()
        .any(|it| ["f64", "f32", "usize", "u64", "i64", "u32", "u8", "Range", "Seed"].contains(&it))
}

/// Values that a range, if there is one, excludes.
fn extremes(ty: &str) -> Vec<Value> {
    let ty = ty.strip_prefix("Option<").and_then(|it| it.strip_suffix('>')).unwrap_or(ty);
    let repeat = |values: Vec<Value>, n: usize| {
        values.into_iter().map(|it| Value::Array(vec![it; n])).collect::<Vec<_>>()
    };
    if let Some((of, n)) =
        ty.strip_prefix('[').and_then(|it| it.strip_suffix(']')?.split_once("; "))
    {
        return repeat(extremes(of), n.parse().unwrap());
    }
    if let Some(of) = ty.strip_prefix("Vec<").and_then(|it| it.strip_suffix('>')) {
        let mut values = vec![Value::Array(Vec::new())];
        values.extend(repeat(extremes(of), 2));
        return values;
    }
    match ty {
        "f64" | "f32" => [-1e12, 1e12, f64::NAN, 0.0].map(Value::Float).to_vec(),
        "usize" | "u64" | "i64" => [i64::MAX, 0].map(Value::Integer).to_vec(),
        "u32" => [i64::from(u32::MAX), 0].map(Value::Integer).to_vec(),
        "u8" => [255, 0].map(Value::Integer).to_vec(),
        "Range" => [-1e12, 1e12].map(|it| Value::Array(vec![Value::Float(it); 2])).to_vec(),
        "Length" => vec![Value::String("0 steps".to_owned())],
        "String" => ["?/", ""].map(|it| Value::String(it.to_owned())).to_vec(),
        _ => Vec::new(),
    }
}

/// Returns the layer that puts a table at a place.
fn layer(place: &str, table: Table) -> Layer {
    let is_list = ["augment.train", "augment.mix", "track"].contains(&place);
    let value = match is_list {
        true => Value::Array(vec![Value::Table(table)]),
        false => Value::Table(table),
    };
    let place = Some(place).filter(|it| !it.is_empty());
    let Some(place) = place else {
        let Value::Table(table) = value else { unreachable!("the root is a table") };
        return Layer::new("reference".to_owned(), table);
    };
    let nested = place
        .rsplit('.')
        .fold(value, |value, key| Value::Table(Table::from_iter([(key.to_owned(), value)])));
    let Value::Table(table) = nested else { unreachable!("a place has a name") };
    Layer::new("reference".to_owned(), table)
}

/// Returns the range that a message states, without the name of the setting and the value.
fn words(text: &str, name: &str) -> String {
    let named = text.strip_prefix('`').and_then(|it| it.split_once("` "));
    let text = match named {
        Some((first, rest))
            if first == name && !rest.starts_with("and ") && !rest.starts_with(['+', '-']) =>
        {
            rest
        }
        _ => text,
    };
    let text = text.rsplit_once(", not ").map_or(text, |it| it.0);
    let text = text.split_once("; they are ").map_or(text, |it| it.0);
    // A bound in words, and its value in this experiment.
    let is_number = |it: &str| it.chars().all(|it| it.is_ascii_digit());
    let text = text.rsplit_once(", ").filter(|it| is_number(it.1)).map_or(text, |it| it.0);
    let verb = ["must be ", "is ", "are "].iter().find_map(|it| text.strip_prefix(it));
    verb.unwrap_or(text).to_owned()
}

/// Values of every type, of which a setting takes one or two.
fn values() -> Vec<Value> {
    let text = Value::String("x".to_owned());
    let table = Value::Table(Table::from_iter([("x".to_owned(), text.clone())]));
    let list = |it: &Value, n| Value::Array(vec![it.clone(); n]);
    let lists = [list(&text, 1), list(&table, 1), list(&text, 0), list(&Value::Float(0.5), 9)];
    [text, table, Value::Integer(-3)].into_iter().chain(lists).collect()
}

/// Returns what the error of a setting of the wrong type says outside of quotes, if there is one.
fn message(place: &str, table: &Table, name: &str, value: Value) -> Option<String> {
    let mut table = table.clone();
    table.insert(name.to_owned(), value);
    let message = Experiment::load(&[layer(place, table)]).err()?.to_string();
    let unquoted = message.split(['`', '"']).step_by(2);
    Some(unquoted.collect::<Vec<_>>().join(" "))
}

#[test]
fn no_error_of_a_wrong_type_names_a_type_of_the_program() {
    let default: Table = DEFAULT.parse().unwrap();
    let registries = registries();
    let of_registry = |it: &Registry| {
        let place = it.place.split(", ").next().unwrap_or_default();
        it.members.iter().map(|it| (place, it.settings.clone())).collect::<Vec<_>>()
    };
    let members = registries.iter().filter(|it| !it.place.starts_with("ensemble "));
    let sections = default.iter().filter_map(|it| Some((it.0.as_str(), it.1.as_table()?.clone())));
    let tables = sections.chain(members.flat_map(of_registry)).chain([("", default.clone())]);
    let is_rust = |word: &&str| {
        let words = ["struct", "enum", "variant", "tuple", "map", "sequence", "array", "bool"];
        let numbers = ["usize", "u64", "u32", "u8", "i64", "i32", "f64", "f32"];
        // `NamePattern`, unlike `NaN`.
        let letters: Vec<char> = word.chars().collect();
        let is_camel = letters.len() > 3
            && letters[0].is_uppercase()
            && letters.windows(2).any(|it| it[0].is_lowercase() && it[1].is_uppercase());
        words.contains(word) || numbers.contains(word) || is_camel
    };
    let mut n_messages = 0;
    for (place, table) in tables {
        for (name, value) in table.keys().flat_map(|it| values().into_iter().map(move |v| (it, v)))
        {
            let Some(text) = message(place, &table, name, value) else { continue };
            let mut words = text.split(|it: char| !it.is_alphanumeric());
            assert_eq!(words.find(is_rust), None, "{place} {name}: {text}");
            n_messages += 1;
        }
    }
    assert!(n_messages > 2000, "{n_messages}");
}
