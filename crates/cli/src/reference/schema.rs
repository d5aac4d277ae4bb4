//! The JSON Schema of a config, from the types that it is read into: editors complete and check configs by it.
//!
//! Draft 7, which taplo and the editors' extensions read. A config has only what differs from the defaults, so that
//! nothing is required but the `kind` of a table that replaces the one below. A table without a `kind` keeps that of
//! the defaults, and may have the settings of that kind.

use serde_json::{Map, Value, json};
use toml::Table;
use trainer::DEFAULT;

use super::{
    registries::found,
    settings::{bare, meaning, within},
    sources::{Field, Item, Sources},
};
use crate::commands::list::{Member, Registry, registries};

/// Returns the schema, as text.
pub(super) fn text(sources: &Sources) -> String {
    let registries = registries();
    let mut writer = Writer { sources, registries: &registries, definitions: Map::new() };
    let default: toml::Value = DEFAULT.parse::<Table>().unwrap().into();
    let mut schema = writer.of("Experiment", "trainer::experiment", Some(&default));
    let root = schema.as_object_mut().unwrap();
    root.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
    root.insert("title".to_owned(), "A config of maskfit".into());
    root.insert("definitions".to_owned(), writer.definitions.into());
    format!("{schema:#}\n")
}

/// Writes the schemas of types.
struct Writer<'a> {
    sources: &'a Sources,
    registries: &'a [Registry],
    /// What is referred to: registries, and tables that contain themselves.
    definitions: Map<String, Value>,
}

impl Writer<'_> {
    /// Returns the schema of a Rust type.
    ///
    /// - `module`: where the type is named.
    /// - `below`: the value of the layer below, which a table is merged with.
    fn of(&mut self, ty: &str, module: &str, below: Option<&toml::Value>) -> Value {
        if let Some(of) = within(ty, "Option<", ">").or_else(|| within(ty, "Box<", ">")) {
            return self.of(of, module, below);
        }
        if let Some(of) = within(ty, "Vec<", ">") {
            return json!({ "type": "array", "items": self.of(of, module, None) });
        }
        if let Some(of) = within(ty, "BTreeMap<String, ", ">") {
            let of = self.of(of, module, None);
            return json!({ "type": "object", "additionalProperties": of });
        }
        if let Some((of, n)) = within(ty, "[", "]").and_then(|it| it.split_once("; ")) {
            let n: usize = n.parse().unwrap();
            let of = self.of(of, module, None);
            return json!({ "type": "array", "items": of, "minItems": n, "maxItems": n });
        }
        if let Some(it) = known(ty) {
            return it;
        }
        if let Some(registry) = self.registries.iter().find(|it| it.entry == ty) {
            return self.of_registry(registry, below.and_then(toml::Value::as_table));
        }
        let Some((module, item)) = self.sources.named(ty, module) else {
            panic!("{module}: the type `{ty}` has no schema: add it to `known` ({})", file!());
        };
        match (item.is_enum, item.is_untagged()) {
            (true, true) => {
                let of = item.fields.iter().map(|it| self.of(&it.ty, module, None));
                json!({ "anyOf": of.collect::<Vec<_>>() })
            }
            (true, false) => self.of_enum(item, module),
            (false, _) if item.fields.iter().any(|it| it.is_flat) => self.of_flat(item, module),
            (false, _) => {
                let below = below.and_then(toml::Value::as_table);
                let fields = item.fields.iter();
                let needed = fields.clone().filter(|it| below.is_none() && item.needs(it));
                let needed: Vec<&str> = needed.map(|it| it.name.as_str()).collect();
                let settings =
                    fields.map(|it| (it.name.clone(), self.setting(it, module, below, true)));
                table(settings.collect(), &needed)
            }
        }
    }

    /// Returns the schema of a setting.
    ///
    /// - `defaults`: the table of the setting by default, if it is known.
    /// - `is_merged`: whether a table without it keeps that of the defaults.
    fn setting(
        &mut self,
        field: &Field,
        module: &str,
        defaults: Option<&Table>,
        is_merged: bool,
    ) -> Value {
        let default = defaults.and_then(|it| it.get(&field.name));
        let mut schema = self.of(&field.ty, module, default.filter(|_| is_merged));
        let item = self
            .sources
            .named(bare(&field.ty), module)
            .filter(|_| known(bare(&field.ty)).is_none());
        let text = meaning(field, item.map(|it| it.1));
        // Draft 7 ignores what is beside a reference.
        if schema.get("$ref").is_some() {
            schema = json!({ "allOf": [schema] });
        }
        let object = schema.as_object_mut().unwrap();
        if !text.is_empty() {
            object.insert("description".to_owned(), text.into());
        }
        // Of a section each setting has its own.
        let default = default.filter(|it| !it.is_table() || it.get("kind").is_some());
        let default = default.map(|it| serde_json::to_value(it).unwrap());
        // JSON has no infinity.
        if let Some(default) = default.filter(|it| !it.is_null()) {
            object.insert("default".to_owned(), default);
        }
        schema
    }

    /// Returns the schema of a member of a registry.
    ///
    /// - `below`: the table of the layer below, with the kind that a table without one keeps.
    fn of_registry(&mut self, registry: &Registry, below: Option<&Table>) -> Value {
        let name = registry.name.to_owned();
        let whole = json!({ "$ref": format!("#/definitions/{name}") });
        if !self.definitions.contains_key(&name) {
            // It may contain itself.
            self.definitions.insert(name.clone(), Value::Null);
            let members = registry.members.iter();
            let members = members.map(|it| self.of_member(registry, it, Map::new(), None));
            let schema = json!({ "type": "object", "oneOf": members.collect::<Vec<_>>() });
            self.definitions.insert(name, schema);
        }
        let kind = below.and_then(|it| it.get("kind")?.as_str());
        let Some(member) = registry.members.iter().find(|it| Some(it.kind) == kind) else {
            return whole;
        };
        let kept = self.of_member(registry, member, Map::new(), below);
        json!({ "type": "object", "oneOf": [whole, kept] })
    }

    /// Returns the schema of a member.
    ///
    /// - `more`: settings beside its own.
    /// - `below`: the table that it is merged with, which has its kind; without one it names its kind.
    fn of_member(
        &mut self,
        registry: &Registry,
        member: &Member,
        more: Map<String, Value>,
        below: Option<&Table>,
    ) -> Value {
        let (module, _, item) = found(self.sources, registry, member);
        let defaults = Some(below.unwrap_or(&member.settings));
        let mut settings = more;
        if below.is_none() {
            settings.insert("kind".to_owned(), json!({ "const": member.kind }));
        }
        if registry.entry == "Step" {
            let mut p =
                json!({ "type": "number", "description": "The probability of applying it." });
            p["default"] = member.settings.get("p").map_or(json!(1.0), |it| json!(it));
            settings.insert("p".to_owned(), p);
        }
        for it in &item.fields {
            let schema = self.setting(it, module, defaults, below.is_some());
            settings.insert(it.name.clone(), schema);
        }
        let needed: &[&str] = if below.is_none() { &["kind"] } else { &[] };
        let mut schema = table(settings, needed);
        schema["description"] = member.doc.as_str().into();
        schema
    }

    /// Returns the schema of a table that has the settings of a member of a registry beside its own.
    fn of_flat(&mut self, item: &Item, module: &str) -> Value {
        if !self.definitions.contains_key(&item.name) {
            self.definitions.insert(item.name.clone(), Value::Null);
            let (flat, own): (Vec<_>, Vec<_>) = item.fields.iter().partition(|it| it.is_flat);
            let own =
                own.into_iter().map(|it| (it.name.clone(), self.setting(it, module, None, false)));
            let own: Map<String, Value> = own.collect();
            let registry = self.registries.iter().find(|it| it.entry == flat[0].ty).unwrap();
            let members = registry.members.iter();
            let members = members.map(|it| self.of_member(registry, it, own.clone(), None));
            let schema = json!({ "type": "object", "oneOf": members.collect::<Vec<_>>() });
            self.definitions.insert(item.name.clone(), schema);
        }
        json!({ "$ref": format!("#/definitions/{}", item.name) })
    }

    /// Returns the schema of an enum: one of several words, or a table with one setting.
    fn of_enum(&mut self, item: &Item, module: &str) -> Value {
        let (words, tables): (Vec<&Field>, Vec<_>) =
            item.fields.iter().partition(|it| it.ty.is_empty());
        let words: Vec<&str> = words.into_iter().map(|it| it.name.as_str()).collect();
        let words = json!({ "type": "string", "enum": words });
        if tables.is_empty() {
            return words;
        }
        let tables = tables.into_iter().map(|it| {
            let of = self.of(&it.ty, module, None);
            table(Map::from_iter([(it.name.clone(), of)]), &[&it.name])
        });
        json!({ "oneOf": std::iter::once(words).chain(tables).collect::<Vec<_>>() })
    }
}

/// Returns the schema of a table that has no other settings.
fn table(settings: Map<String, Value>, needed: &[&str]) -> Value {
    let mut schema =
        json!({ "type": "object", "properties": settings, "additionalProperties": false });
    if !needed.is_empty() {
        schema["required"] = json!(needed);
    }
    schema
}

/// Returns the schema of a type that serde reads by itself, or that reads itself.
fn known(ty: &str) -> Option<Value> {
    Some(match ty {
        "f64" | "f32" => json!({ "type": "number" }),
        "usize" | "u64" | "u32" | "Seed" => json!({ "type": "integer", "minimum": 0 }),
        "u8" => json!({ "type": "integer", "minimum": 0, "maximum": 255 }),
        "i64" => json!({ "type": "integer" }),
        "bool" => json!({ "type": "boolean" }),
        "String" | "PathBuf" => json!({ "type": "string" }),
        // As `base::Length` reads it.
        "Length" => {
            json!({ "type": "string", "pattern": r"^\s*[0-9.]+(e[0-9]+)? +(epochs?|steps?|%)\s*$" })
        }
        "Range" => {
            let ends = json!({ "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2 });
            json!({ "oneOf": [{ "type": "number" }, ends] })
        }
        _ => return None,
    })
}
