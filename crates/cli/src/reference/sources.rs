//! The documentation in the sources: the head of each file, and each struct and enum with its fields.
//!
//! Read as lines of text, as rustfmt formats them: a parser of Rust would be one more dependency of the tests,
//! for doc comments at two depths of indentation.

use std::{collections::BTreeMap, fs, path::Path};

/// All files of `crates/`, by the path of their module.
pub(super) struct Sources(BTreeMap<String, Module>);

/// A file.
#[derive(Default)]
pub(super) struct Module {
    /// The text of its `//!` lines.
    pub(super) head: String,
    pub(super) items: Vec<Item>,
}

/// A struct or an enum.
#[derive(Clone, Default)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) is_enum: bool,
    attributes: String,
    pub(super) fields: Vec<Field>,
}

/// A field, or a variant.
#[derive(Clone)]
pub(super) struct Field {
    /// Its name in a config.
    pub(super) name: String,
    /// The Rust type of a field; the payload of a variant, or nothing.
    pub(super) ty: String,
    pub(super) docs: String,
    pub(super) is_flat: bool,
    /// Whether it may be left out wherever its table stands.
    is_optional: bool,
}

impl Sources {
    /// Reads `crates/*/src`.
    pub(super) fn read(root: &Path) -> Sources {
        let mut files = BTreeMap::new();
        for dir in fs::read_dir(root.join("crates")).unwrap() {
            let dir = dir.unwrap();
            let name = dir.file_name().into_string().unwrap();
            add(&dir.path().join("src"), &name, &mut files);
        }
        Sources(files)
    }

    /// Returns the file of a module, and the item of a name in it or in its submodules; where several
    /// submodules have one, that of the submodule `preferred`.
    pub(super) fn find(&self, within: &str, name: &str, preferred: &str) -> (&str, &Module, &Item) {
        let is_within = |path: &str| {
            path == within || path.starts_with(&format!("{within}::")) || within.is_empty()
        };
        let modules = self.0.iter().filter(|(path, _)| is_within(path));
        let found: Vec<(&str, &Module, &Item)> = modules
            .flat_map(|(path, module)| {
                module.items.iter().map(move |it| (path.as_str(), module, it))
            })
            .filter(|(_, _, item)| item.name == name)
            .collect();
        match found.as_slice() {
            [one] => *one,
            several => *several
                .iter()
                .find(|(path, ..)| path.rsplit("::").next() == Some(preferred))
                .unwrap_or_else(|| panic!("{} types `{name}` in `{within}`", several.len())),
        }
    }

    /// Returns the item that a type names in a module: of the module, else of the crate, else of any crate.
    pub(super) fn named(&self, name: &str, module: &str) -> Option<(&str, &Item)> {
        let of = |is_near: &dyn Fn(&str) -> bool| -> Option<(&str, &Item)> {
            let near = self.0.iter().filter(|(path, _)| is_near(path));
            let mut found = near.flat_map(|(path, it)| {
                let named = it.items.iter().filter(|it| it.name == name && it.is_config());
                named.map(move |it| (path.as_str(), it))
            });
            found.next().filter(|_| found.next().is_none())
        };
        let own = module.split("::").next().unwrap_or_default();
        of(&|path| path == module)
            .or_else(|| of(&|path| path.split("::").next() == Some(own)))
            .or_else(|| of(&|_| true))
    }
}

impl Item {
    /// Whether it is read from a config, by serde or by hand: then it is at least written by serde.
    fn is_config(&self) -> bool {
        self.attributes.contains("Deserialize") || self.attributes.contains("Serialize")
    }

    /// Whether a table of it must have a field, unless it is merged with one that has.
    pub(super) fn needs(&self, field: &Field) -> bool {
        !field.is_optional && !self.attributes.contains("serde(default")
    }

    /// Whether a value is one of its variants' values, without a tag.
    pub(super) fn is_untagged(&self) -> bool {
        self.attributes.contains("untagged")
    }
}

fn add(dir: &Path, module: &str, files: &mut BTreeMap<String, Module>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let name = match stem.as_str() {
            "lib" | "main" => module.to_owned(),
            stem => format!("{module}::{stem}"),
        };
        if path.is_dir() {
            add(&path, &name, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.insert(name, parse(&fs::read_to_string(&path).unwrap()));
        }
    }
}

fn parse(text: &str) -> Module {
    let mut module = Module::default();
    let (mut docs, mut attributes) = (String::new(), String::new());
    let mut item: Option<Item> = None;
    let mut is_attribute = false;
    for line in text.lines() {
        if line == "#[cfg(test)]" && item.is_none() {
            attributes.clear();
            continue;
        }
        if line == "mod tests {" {
            break;
        }
        if let Some(head) = line.strip_prefix("//!") {
            module.head += &format!("{}\n", head.strip_prefix(' ').unwrap_or(head));
            continue;
        }
        let depth = if item.is_some() { "    " } else { "" };
        let Some(code) = line.strip_prefix(depth).filter(|it| !it.starts_with(' ')) else {
            if is_attribute {
                attributes += line.trim();
            }
            if line == "}" {
                module.items.extend(item.take());
                (docs, attributes) = Default::default();
            }
            continue;
        };
        if let Some(doc) = code.strip_prefix("///") {
            docs += &format!("{}\n", doc.trim());
        } else if code.starts_with("#[") || is_attribute {
            attributes += code;
            is_attribute = !code.ends_with(']');
        } else if let Some(item) = &mut item {
            item.fields.extend(field(code, item, &attributes, &docs));
            (docs, attributes) = Default::default();
        } else {
            let declared = code.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            let is_enum = declared.starts_with("enum ");
            if let (true, Some((_, rest))) =
                (is_enum || declared.starts_with("struct "), declared.split_once(' '))
            {
                let end = rest.find(|it: char| !it.is_alphanumeric()).unwrap_or(rest.len());
                let started = Item {
                    name: rest[..end].to_owned(),
                    is_enum,
                    attributes: attributes.clone(),
                    fields: Vec::new(),
                };
                match rest.ends_with('{') {
                    true => item = Some(started),
                    false => module.items.push(started),
                }
            }
            (docs, attributes) = Default::default();
        }
    }
    module
}

/// Parses a line of a struct or an enum.
fn field(code: &str, item: &Item, attributes: &str, docs: &str) -> Option<Field> {
    let code = code.trim_end_matches(',');
    let (name, ty) = match item.is_enum {
        true => {
            let end = code.find(|it: char| !it.is_alphanumeric()).unwrap_or(code.len());
            (&code[..end], code[end..].trim().trim_start_matches('(').trim_end_matches(')'))
        }
        false => {
            code.trim_start_matches("pub ").trim_start_matches("pub(crate) ").split_once(": ")?
        }
    };
    if name.is_empty() || attributes.contains("serde(skip)") {
        return None;
    }
    let renamed = attributes.split("rename = \"").nth(1).and_then(|it| it.split('"').next());
    let name = match renamed {
        Some(it) => it.to_owned(),
        None if !item.is_enum => name.to_owned(),
        None if item.attributes.contains("rename_all = \"lowercase\"") => name.to_lowercase(),
        None => snake(name),
    };
    let docs = docs.trim().replace('\n', " ");
    let is_optional = ty.starts_with("Option<") || attributes.contains("serde(default");
    let is_flat = attributes.contains("serde(flatten)");
    Some(Field { name, ty: ty.to_owned(), docs, is_flat, is_optional })
}

/// Writes a variant as serde's `snake_case` does.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}
