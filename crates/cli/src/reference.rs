//! The reference of `docs/` and the schema of configs, generated from the code, and the checks of all pages.
//!
//! Each file is what a test expects, so that `cargo xtask docs` updates the files as other expected texts are
//! updated, the tests fail where they are out of date, and the program contains nothing of it but the schema. It is in this
//! crate because the commands and all registries meet here.

mod columns;
mod commands;
mod files;
mod limits;
mod markdown;
mod pages;
mod registries;
mod schema;
mod settings;
mod sources;

use std::{env, fs};

use clap::CommandFactory as _;
use serde_json::{Value, json};
use testkit::JsonSchema;

use self::{markdown::root, sources::Sources};
use crate::{args::Args, commands::list::registries};

/// Compares a text with its file; with `UPDATE_EXPECT=1`, as for other expected texts, writes the file.
#[track_caller]
fn check(file: &str, text: &str) {
    let path = root().join(file);
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let (mut old, mut new) = (written.lines(), text.lines());
    for line in 1.. {
        let (old, new) = (old.next(), new.next());
        assert_eq!(old, new, "line {line} of {file}: run `cargo xtask docs`");
        if old.is_none() {
            break;
        }
    }
}

#[test]
fn the_page_of_the_registries_is_up_to_date() {
    let page = registries::page(&Sources::read(root()));
    check("docs/src/reference/registries.md", &page);
}

#[test]
fn the_page_of_the_settings_is_up_to_date() {
    let page = settings::page(&Sources::read(root()));
    check("docs/src/reference/settings.md", &page);
}

#[test]
fn the_page_of_the_commands_is_up_to_date() {
    check("docs/src/reference/commands.md", &commands::page());
}

#[test]
fn the_page_of_the_files_is_up_to_date() {
    check("docs/src/reference/files.md", &files::page());
}

#[test]
fn the_schema_is_up_to_date() {
    check("configs/schema.json", &schema::text(&Sources::read(root())));
}

#[test]
fn the_schema_fits_every_member_of_every_registry() {
    let text = schema::text(&Sources::read(root()));
    let schema: Value = serde_json::from_str(&text).unwrap();
    let mut n_members = 0;
    for registry in registries().iter().filter(|it| !it.place.starts_with("ensemble ")) {
        let of = json!({
            "$ref": format!("#/definitions/{}", registry.name),
            "definitions": schema["definitions"],
        });
        let of = JsonSchema::new(of);
        for member in &registry.members {
            let name = format!("{} {}", registry.name, member.kind);
            let mut settings = serde_json::to_value(&member.settings).unwrap();
            // JSON has no infinity.
            settings.as_object_mut().unwrap().retain(|_, it| !it.is_null());
            assert!(of.problems(&settings).is_empty(), "{name}: {settings}");
            let with = |key: &str, value: Value| {
                let mut settings = settings.clone();
                settings[key] = value;
                of.problems(&settings).is_empty()
            };
            assert!(!with("cheese", json!(1)), "{name} accepts any setting");
            for key in settings.as_object().unwrap().keys() {
                assert!(!with(key, json!([[true]])), "{name}: `{key}` has no type");
            }
            n_members += 1;
        }
    }
    assert!(n_members > 100, "{n_members}");
}

#[test]
fn json_is_documented_for_every_command_that_prints_it() {
    let page = fs::read_to_string(root().join("docs/src/reference/json.md")).unwrap();
    let sections: Vec<&str> = page.lines().filter_map(|it| it.strip_prefix("## ")).collect();
    let mut program = Args::command();
    program.build();
    let (mut todo, mut n_commands) = (vec![&program], 0);
    while let Some(command) = todo.pop() {
        todo.extend(command.get_subcommands());
        if command.get_arguments().any(|it| it.get_id() == "json") {
            let path = command.get_bin_name().unwrap().replacen("maskfit ", "", 1);
            let is_there = |it: &str| path == it || path.starts_with(&format!("{it} "));
            assert!(sections.iter().any(|it| is_there(it)), "{path}");
            n_commands += 1;
        }
    }
    // `kfold` and its three steps, and seven others.
    assert_eq!(n_commands, 11);
}

#[test]
fn a_default_ends_the_help_of_an_argument() {
    let mut program = Args::command();
    program.build();
    let (mut todo, mut n_defaults) = (vec![&program], 0);
    while let Some(command) = todo.pop() {
        todo.extend(command.get_subcommands());
        for arg in command.get_arguments() {
            let help = arg.get_long_help().or(arg.get_help());
            let help = help.map(ToString::to_string).unwrap_or_default();
            let Some((_, default)) = help.split_once("[default: ") else { continue };
            let default = default.trim_end_matches('.');
            let is_last = default.find(']') == Some(default.len() - 1);
            assert!(is_last, "{:?} {}: {help}", command.get_bin_name(), arg.get_id());
            n_defaults += 1;
        }
    }
    assert!(n_defaults > 10, "{n_defaults}");
}

#[test]
fn the_help_of_list_names_every_registry() {
    let program = Args::command();
    let list = program.find_subcommand("list").unwrap();
    let registry = list.get_arguments().find(|it| it.get_id() == "registry").unwrap();
    let help = registry.get_long_help().or(registry.get_help()).unwrap().to_string();
    let named: Vec<&str> = help.split([' ', ',', ';', '\n']).collect();
    for it in registries() {
        assert!(named.contains(&it.name), "{}: {help}", it.name);
    }
}

#[test]
fn the_reference_has_every_member_of_every_registry() {
    let page = registries::page(&Sources::read(root()));
    let members: usize = registries().iter().map(|it| it.members.len()).sum();
    assert_eq!(page.lines().filter(|it| it.starts_with("### ")).count(), members);
    // Every registry of the code is listed.
    let mut declared = 0;
    let mut todo = vec![root().join("crates")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                declared += text.lines().filter(|it| *it == "base::choice! {").count();
            }
        }
    }
    assert_eq!(
        registries().len(),
        declared,
        "`maskfit list` lacks a registry, or has one too many"
    );
}
