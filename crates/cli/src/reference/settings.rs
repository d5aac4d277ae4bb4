//! The settings of every section of a config, and the table of the settings of anything.

use toml::{Table, Value};
use trainer::DEFAULT;

use super::{
    limits,
    markdown::{NOTE, cell, code},
    sources::{Field, Item, Sources},
};
use crate::commands::list::{Registry, registries};

/// The name in the reference of types that read themselves from a config.
const TYPES: &[(&str, &str)] = &[
    ("f64", "number"),
    ("f32", "number"),
    ("usize", "integer"),
    ("u64", "integer"),
    ("u32", "integer"),
    ("u8", "integer 0 to 255"),
    ("bool", "boolean"),
    ("String", "text"),
    ("i64", "integer"),
    ("PathBuf", "path"),
    ("BTreeMap<String, Vec<f64>>", "table of lists of numbers"),
    ("Seed", "integer"),
    ("DeviceSetting", "`auto`, `cpu`, or a card such as `cuda:0`"),
    ("Length", "length"),
    ("Range", "range"),
];

pub(super) fn page(sources: &Sources) -> String {
    let mut page = format!(
        "{NOTE}\n# Settings\n\nThe settings of each section of a config, with the defaults of \
         `configs/default.toml`.\nA setting that is a table with a `kind` is a member of a registry, whose \
         settings are in [Registries](registries.md).\n\n{}",
        types()
    );
    let default: Table = DEFAULT.parse().unwrap();
    let (module, _, experiment) = sources.find("trainer", "Experiment", "experiment");
    let registries = registries();
    let is_section = |ty: &str| ty.ends_with("Section");
    let is_member = |ty: &str| registries.iter().any(|it| it.entry == ty);
    let mut top = Writer::new(sources, &registries, "", &default);
    let mut sections = String::new();
    for field in &experiment.fields {
        if is_section(&field.ty) {
            let (module, _, item) = sources.find("trainer", &field.ty, "");
            let table = default[&field.name].as_table().unwrap();
            let mut rows = Writer::new(sources, &registries, &field.name, table);
            item.fields.iter().for_each(|it| rows.row("", it, module));
            sections += &format!("\n## `[{}]`\n\n{}\n\n{}", field.name, field.docs, rows.table());
        } else if is_member(&field.ty) {
            let registry = registries.iter().find(|it| it.entry == field.ty).unwrap();
            let kind = default[&field.name]["kind"].as_str().unwrap();
            sections += &format!(
                "\n## `[{0}]`\n\n{1}\n\nA member of the registry [{2}](registries.md#{2}); the default is \
                 [`{kind}`](registries.md#{2}-{kind}).\n",
                field.name, field.docs, registry.name
            );
        } else {
            top.row("", field, module);
        }
    }
    page += &format!("\n## Top level\n\nBefore the first section.\n\n{}{sections}", top.table());
    page
}

/// The types that are more than a word.
pub(super) fn types() -> &'static str {
    "- A *length* is text: `\"3 epochs\"`, `\"500 steps\"` or `\"5 %\"` of the run.\n\
     - A *range* is `[from, to]`, or a number d for `[-d, d]`.\n\
     - A *path* is relative to the folder in which the command is run.\n\
     - *unset* is the default of a setting that is left out.\n"
}

/// Writes a table of settings.
pub(super) struct Writer<'a> {
    sources: &'a Sources,
    registries: &'a [Registry],
    /// The table's place in a config.
    place: &'a str,
    defaults: &'a Table,
    text: String,
    /// The settings of the table itself.
    pub(super) names: Vec<String>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        sources: &'a Sources,
        registries: &'a [Registry],
        place: &'a str,
        defaults: &'a Table,
    ) -> Writer<'a> {
        Writer { sources, registries, place, defaults, text: String::new(), names: Vec::new() }
    }

    /// Adds a setting, and those below it.
    ///
    /// - `above`: the path of the table of the setting.
    pub(super) fn row(&mut self, above: &str, field: &Field, module: &str) {
        if field.is_flat {
            let kind = self.type_name(&field.ty, module);
            self.add(
                &format!("{above}kind"),
                &kind,
                "",
                "",
                &format!("{} Its settings are next to it.", field.docs),
            );
            return;
        }
        assert!(
            !field.docs.is_empty(),
            "{module}: the setting `{}` has no doc comment",
            field.name
        );
        let (default, range) = match above {
            "" => {
                self.names.push(field.name.clone());
                let value = self.defaults.get(&field.name);
                let default = value.map_or("unset".to_owned(), |it| code(&shown(it)));
                (default, limits::of(self.place, self.defaults, &field.name, &field.ty))
            }
            _ => Default::default(),
        };
        let inner = bare(&field.ty);
        let nested = self.sources.named(inner, module).filter(|_| !is_known(inner));
        let meaning = meaning(field, nested.map(|it| it.1));
        let ty = self.type_name(&field.ty, module);
        let is_any = range.is_empty() && above.is_empty() && limits::is_numeric(&field.ty);
        // What depends on the data is only in the doc comment: `..., from 0 to ...`.
        let stated =
            field.docs.split([',', ';', '.']).map(str::trim).find(|it| it.starts_with("from "));
        let range = if is_any { stated.unwrap_or("any").to_owned() } else { range };
        self.add(&format!("{above}{}", field.name), &ty, &default, &range, &meaning);
        if let Some((module, item)) = nested
            && !item.is_enum
            && self.registries.iter().all(|it| it.entry != inner)
        {
            let list = if field.ty.starts_with("Vec<") { "[]" } else { "" };
            let above = format!("{above}{}{list}.", field.name);
            item.fields.iter().for_each(|it| self.row(&above, it, module));
        }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, name: &str, ty: &str, default: &str, range: &str, meaning: &str) {
        let (range, meaning) = (cell(range), cell(meaning));
        self.text += &format!("| `{name}` | {ty} | {default} | {range} | {meaning} |\n");
    }

    /// Returns the table, empty without rows.
    pub(super) fn table(&self) -> String {
        match self.text.as_str() {
            "" => String::new(),
            rows => format!(
                "| setting | type | default | range | meaning |\n| --- | --- | --- | --- | --- |\n{rows}"
            ),
        }
    }

    /// Returns the name of a Rust type in the reference.
    fn type_name(&self, ty: &str, module: &str) -> String {
        if let Some(of) = within(ty, "Option<", ">").or_else(|| within(ty, "Box<", ">")) {
            return self.type_name(of, module);
        }
        if let Some(of) = within(ty, "Vec<", ">") {
            return format!("list of {}", plural(&self.type_name(of, module)));
        }
        if let Some((of, n)) = within(ty, "[", "]").and_then(|it| it.split_once("; ")) {
            return format!("{n} {}", plural(&self.type_name(of, module)));
        }
        if let Some((_, name)) = TYPES.iter().find(|(rust, _)| *rust == ty) {
            return (*name).to_owned();
        }
        if let Some(it) = self.registries.iter().find(|it| it.entry == ty) {
            return format!("one of [{0}](registries.md#{0})", it.name);
        }
        let Some((module, item)) = self.sources.named(ty, module) else {
            panic!(
                "{module}: the type `{ty}` has no name in the reference: add it to TYPES ({})",
                file!()
            );
        };
        match (item.is_enum, item.is_untagged()) {
            (false, _) => "table".to_owned(),
            (true, true) => {
                let of: Vec<String> =
                    item.fields.iter().map(|it| self.type_name(&it.ty, module)).collect();
                of.join(", ")
            }
            (true, false) => {
                let value = |it: &Field| match it.ty.as_str() {
                    "" => code(&it.name),
                    of => format!("`{{ {} = ... }}` ({})", it.name, self.type_name(of, module)),
                };
                item.fields.iter().map(value).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// Returns the documentation of a setting, with that of its values where these are the variants of an enum.
pub(super) fn meaning(field: &Field, ty: Option<&Item>) -> String {
    let mut meaning = field.docs.clone();
    if let Some(item) = ty.filter(|it| it.is_enum && !it.is_untagged()) {
        let values = item.fields.iter().filter(|it| !it.docs.is_empty());
        let value = |it: &Field| format!("`{}`: {}", it.name, lower(it.docs.trim_end_matches('.')));
        let values: Vec<String> = values.map(value).collect();
        if !values.is_empty() {
            meaning += &format!(" {}.", values.join("; "));
        }
    }
    meaning
}

fn is_known(ty: &str) -> bool {
    TYPES.iter().any(|it| it.0 == ty)
}

pub(super) fn within<'a>(ty: &'a str, before: &str, after: &str) -> Option<&'a str> {
    ty.strip_prefix(before)?.strip_suffix(after)
}

/// Returns the type in a list or an option.
pub(super) fn bare(ty: &str) -> &str {
    ["Option<", "Box<", "Vec<"].iter().find_map(|it| within(ty, it, ">")).unwrap_or(ty)
}

/// Returns the plural of the name of a type.
fn plural(name: &str) -> String {
    match name.strip_prefix("one of [") {
        Some(of) => format!("[{of}"),
        None if name.starts_with("integer") => name.replacen("integer", "integers", 1),
        None if name.starts_with("list of") => name.replacen("list", "lists", 1),
        None if name.starts_with('`') || name.ends_with('s') => name.to_owned(),
        None => format!("{name}s"),
    }
}

/// Formats a default, with the kind of a table first.
fn shown(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        Value::Array(items) => format!("[{}]", list(items.iter().map(shown).collect())),
        Value::Table(table) if table.is_empty() => "{}".to_owned(),
        Value::Table(table) => {
            let (kind, rest): (Vec<_>, Vec<_>) = table.iter().partition(|it| it.0 == "kind");
            let pairs = kind.into_iter().chain(rest);
            let pairs = pairs.map(|(key, it)| format!("{key} = {}", shown(it))).collect();
            format!("{{ {} }}", list(pairs))
        }
        other => other.to_string(),
    }
}

/// Writes the first letter small, unless the word has other capitals.
fn lower(text: &str) -> String {
    let word = text.split_whitespace().next().unwrap_or_default();
    let is_name = word.chars().skip(1).any(char::is_uppercase) || word.contains('\'');
    match (is_name, text.chars().next()) {
        (false, Some(first)) => format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..]),
        _ => text.to_owned(),
    }
}
