//! Golden files: numbers from a reference implementation, as JSON next to the script that generated them.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// One golden file, or a part of one.
#[derive(Clone, Debug)]
pub struct Golden {
    /// The path of this part within the file, for error messages.
    name: String,
    value: Value,
}

impl Golden {
    /// Reads `tests/golden/<name>.json` below the workspace root that `manifest_dir` lies in.
    #[track_caller]
    pub fn read(name: &str) -> Golden {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("../../tests/golden").join(format!("{name}.json"));
        let text = fs::read_to_string(&path);
        let text = text.unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        let value = serde_json::from_str(&text);
        let value = value.unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        Golden { name: name.to_owned(), value }
    }

    /// The part under `key`.
    #[track_caller]
    pub fn at(&self, key: &str) -> Golden {
        let value = self.value.get(key);
        let value = value.unwrap_or_else(|| panic!("{} has no `{key}`", self.name)).clone();
        Golden { name: format!("{}.{key}", self.name), value }
    }

    /// Deserializes this part into a Rust value.
    #[track_caller]
    pub fn get<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.value.clone())
            .unwrap_or_else(|err| panic!("{}: {err}", self.name))
    }

    /// Deserializes the part under `key` into a Rust value.
    #[track_caller]
    pub fn to<T: DeserializeOwned>(&self, key: &str) -> T {
        self.at(key).get()
    }

    /// The keys of an object, in alphabetical order.
    #[track_caller]
    pub fn keys(&self) -> Vec<String> {
        let object = self.value.as_object();
        object.unwrap_or_else(|| panic!("{} is not an object", self.name)).keys().cloned().collect()
    }

    /// The parts of a list.
    #[track_caller]
    pub fn list(&self) -> Vec<Golden> {
        let list = self.value.as_array().unwrap_or_else(|| panic!("{} is not a list", self.name));
        let part = |(idx, value): (usize, &Value)| Golden {
            name: format!("{}[{idx}]", self.name),
            value: value.clone(),
        };
        list.iter().enumerate().map(part).collect()
    }
}
