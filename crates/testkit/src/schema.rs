//! Validation of JSON against a JSON Schema of draft 7, by `boon`.

use boon::{Compiler, Draft, ErrorKind, SchemaIndex, Schemas, ValidationError};
use serde_json::Value;

/// A compiled JSON Schema.
pub struct JsonSchema {
    schemas: Schemas,
    root: SchemaIndex,
}

impl JsonSchema {
    /// Compiles a schema; it must be a valid one.
    pub fn new(schema: Value) -> JsonSchema {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.set_default_draft(Draft::V7);
        compiler.add_resource("schema.json", schema).expect("the schema has a usable address");
        let root = compiler.compile("schema.json", &mut schemas);
        let root = root.unwrap_or_else(|err| panic!("{err:#}"));
        JsonSchema { schemas, root }
    }

    /// Returns where a value does not fit, as JSON pointers such as `/optim/lr`. Of a choice it is where the choice is.
    pub fn problems(&self, value: &Value) -> Vec<String> {
        let mut places = Vec::new();
        if let Err(err) = self.schemas.validate(value, self.root) {
            add(&err, &mut places);
        }
        places
    }
}

/// Adds the places of an error.
fn add(err: &ValidationError<'_, '_>, places: &mut Vec<String>) {
    let is_choice = matches!(err.kind, ErrorKind::OneOf(_) | ErrorKind::AnyOf);
    match err.causes.is_empty() || is_choice {
        true => places.push(err.instance_location.to_string()),
        false => err.causes.iter().for_each(|it| add(it, places)),
    }
}
