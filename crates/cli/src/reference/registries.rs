//! The members of every registry, with the head of their file and their settings.

use super::{
    markdown::NOTE,
    settings::{self, Writer},
    sources::{Item, Module, Sources},
};
use crate::commands::list::{Member, Registry, registries};

pub(super) fn page(sources: &Sources) -> String {
    let registries = registries();
    let n_members: usize = registries.iter().map(|it| it.members.len()).sum();
    let mut page = format!(
        "{NOTE}\n# Registries\n\nWherever a config has a table with a `kind`, the kind is a member of a \
         registry, and the other settings of the table are the member's.\nThese are the {} registries and \
         their {n_members} members; `maskfit list` prints them too.\n\n{}\n",
        registries.len(),
        settings::types()
    );
    page += "| registry | setting | members |\n| --- | --- | --- |\n";
    for it in &registries {
        let link = |member: &Member| format!("[{0}](#{1}-{0})", member.kind, it.name);
        let links: Vec<String> = it.members.iter().map(link).collect();
        page += &format!("| [{0}](#{0}) | `{1}` | {2} |\n", it.name, it.place, links.join(", "));
    }
    for registry in &registries {
        page += &format!("\n## {}\n\nFor the setting `{}`.\n", registry.name, registry.place);
        for member in &registry.members {
            page += &section(sources, &registries, registry, member);
        }
    }
    page
}

/// Formats a member.
fn section(
    sources: &Sources,
    registries: &[Registry],
    registry: &Registry,
    member: &Member,
) -> String {
    let Registry { name, .. } = registry;
    let Member { doc, settings, kind, .. } = member;
    let (module, file, item) = found(sources, registry, member);
    let (within, _) = registry.registry.rsplit_once("::").unwrap();
    // The head of a file with several members is about all of them.
    let of_file =
        file.items.iter().filter(|it| it.name == item.name || is_member(registries, &it.name));
    let head = if of_file.count() > 1 || module == within { "" } else { file.head.trim() };
    let place = registry.place.split(',').next().unwrap();
    let mut rows = Writer::new(sources, registries, place, settings);
    if registry.entry == "Step" {
        let p = settings.get("p").map_or("1.0".to_owned(), ToString::to_string);
        let meaning = "The probability of applying it.";
        rows.add("p", "number", &format!("`{p}`"), "from 0 to 1", meaning);
        rows.names.push("p".to_owned());
    }
    item.fields.iter().for_each(|it| rows.row("", it, module));
    for key in settings.keys().filter(|it| *it != "kind") {
        assert!(rows.names.contains(key), "{name} {kind}: the setting `{key}` is not documented");
    }
    let mut text = format!("\n### {name}: {kind}\n\n{doc}\n");
    if !head.is_empty() {
        text += &format!("\n{}\n", quoted(head));
    }
    match rows.table().as_str() {
        "" => text += "\nNo settings.\n",
        table => text += &format!("\n{table}"),
    }
    text
}

/// Returns the module and the file of a member, and its type.
pub(super) fn found<'a>(
    sources: &'a Sources,
    registry: &Registry,
    Member { kind, debug, .. }: &Member,
) -> (&'a str, &'a Module, &'a Item) {
    // The enum's `Debug` prints its variant, and in brackets the member.
    let inner = debug.rsplit_once(')').map_or(debug.as_str(), |it| it.0);
    let inner = inner.split_once('(').map_or(inner, |it| it.1);
    let inner = match inner.split_once('(') {
        Some((outer, of)) if !outer.contains([' ', '{']) => of,
        _ => inner,
    };
    let end = inner.find(|it: char| !it.is_alphanumeric()).unwrap_or(inner.len());
    let (within, _) = registry.registry.rsplit_once("::").unwrap();
    sources.find(within, &inner[..end], kind)
}

/// Whether a type is, by its name, a member of a registry.
fn is_member(registries: &[Registry], name: &str) -> bool {
    let mut members = registries.iter().flat_map(|it| &it.members);
    members.any(|it| it.debug.contains(&format!("({name}")))
}

/// Formats the head of a file as a quotation, without links to items of the code.
fn quoted(head: &str) -> String {
    let mut is_code = false;
    let mut lines = Vec::new();
    for line in head.lines() {
        is_code ^= line.starts_with("```");
        let line =
            if is_code { line.to_owned() } else { line.replace("[`", "`").replace("`]", "`") };
        lines.push(format!("> {line}").trim_end().to_owned());
    }
    lines.join("\n")
}
