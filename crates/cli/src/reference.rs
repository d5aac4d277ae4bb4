//! The reference of `docs/`, generated from the code, and the checks of all pages.
//!
//! Each page is what a test expects, so that `cargo xtask docs` updates the pages as other expected texts are
//! updated, the tests fail where they are out of date, and the program contains nothing of it. It is in this
//! crate because the commands and all registries meet here.

mod commands;
mod files;
mod limits;
mod markdown;
mod pages;
mod registries;
mod settings;
mod sources;

use std::{env, fs};

use self::{markdown::root, sources::Sources};
use crate::commands::list::registries;

/// Compares a page with its file; with `UPDATE_EXPECT=1`, as for other expected texts, writes the file.
#[track_caller]
fn check(name: &str, page: &str) {
    let path = root().join("docs/src/reference").join(name).with_extension("md");
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let (mut old, mut new) = (written.lines(), page.lines());
    for line in 1.. {
        let (old, new) = (old.next(), new.next());
        assert_eq!(old, new, "line {line} of docs/src/reference/{name}.md: run `cargo xtask docs`");
        if old.is_none() {
            break;
        }
    }
}

#[test]
fn the_page_of_the_registries_is_up_to_date() {
    let page = registries::page(&Sources::read(root()));
    check("registries", &page);
}

#[test]
fn the_page_of_the_settings_is_up_to_date() {
    let page = settings::page(&Sources::read(root()));
    check("settings", &page);
}

#[test]
fn the_page_of_the_commands_is_up_to_date() {
    check("commands", &commands::page());
}

#[test]
fn the_page_of_the_files_is_up_to_date() {
    check("files", &files::page());
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
