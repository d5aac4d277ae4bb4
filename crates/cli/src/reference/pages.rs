//! The checks of all Markdown pages: links lead somewhere, and commands parse.

use std::{fs, path::Path};

use clap::{CommandFactory as _, error::ErrorKind};

use super::markdown::root;
use crate::{args::Args, commands::list::registries};

/// Returns the pages, with their text.
fn pages() -> Vec<(String, String)> {
    let mut pages = vec!["README.md".into(), "ARCHITECTURE.md".into(), "STYLE.md".into()];
    let mut todo = vec![root().join("docs")];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                pages.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    let read = |it: &std::path::PathBuf| {
        (it.display().to_string(), fs::read_to_string(root().join(it)).unwrap())
    };
    pages.iter().map(read).collect()
}

/// Splits a page into its lines of prose and its lines of code, by the language of the block.
fn parts(text: &str) -> (Vec<&str>, Vec<(&str, &str)>) {
    let (mut prose, mut code, mut language) = (Vec::new(), Vec::new(), None);
    for line in text.lines() {
        match (line.trim_start().trim_start_matches("> ").strip_prefix("```"), language) {
            (Some(name), None) => language = Some(name),
            (Some(_), Some(_)) => language = None,
            (None, Some(name)) => code.push((name, line)),
            (None, None) => prose.push(line),
        }
    }
    (prose, code)
}

/// Returns the texts between single back-ticks.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Returns the links of a line outside of code.
fn links(line: &str) -> Vec<String> {
    // A link's text may be code, its address never is.
    let prose: String = line.split('`').step_by(2).collect();
    let targets = prose.split("](").skip(1).filter_map(|it| it.split(')').next());
    targets.map(str::to_owned).collect()
}

/// Returns the anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = parts(text).0.into_iter().filter(|it| it.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let name = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = name.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
        kept.map(|it| if it == ' ' { '-' } else { it }).collect()
    };
    headings.map(anchor).collect()
}

/// Returns what is wrong with a link of a page.
fn problem(page: &str, text: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => root().join(page),
        file => root().join(page).parent().unwrap().join(file),
    };
    if !path.exists() {
        return Some(format!("{page}: {target}: there is no such file"));
    }
    let is_known = |text: &str| anchors(text).iter().any(|it| it == anchor);
    let is_there = anchor.is_empty()
        || match file {
            "" => is_known(text),
            _ => is_known(&fs::read_to_string(&path).unwrap()),
        };
    (!is_there).then(|| format!("{page}: {target}: there is no such heading"))
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    let mut n_links = 0;
    for (page, text) in pages() {
        for line in parts(&text).0 {
            let included =
                line.strip_prefix("{{#include ").map(|it| it.split([':', '}']).next().unwrap());
            for target in links(line).iter().map(String::as_str).chain(included) {
                n_links += 1;
                wrong.extend(problem(&page, &text, target));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_links > 50, "only {n_links} links were found");
}

#[test]
fn every_page_of_the_book_is_in_its_summary() {
    let summary = fs::read_to_string(root().join("docs/src/SUMMARY.md")).unwrap();
    let listed: Vec<String> = summary.lines().flat_map(links).collect();
    for (page, _) in pages() {
        if let Some(name) = page.strip_prefix("docs/src/").filter(|it| *it != "SUMMARY.md") {
            assert_eq!(listed.iter().filter(|it| *it == name).count(), 1, "{page}");
        }
    }
}

#[test]
fn every_image_on_a_page_names_the_command_that_made_it() {
    for (page, text) in pages() {
        let lines: Vec<&str> = text.lines().collect();
        let images = lines.iter().enumerate().filter(|it| it.1.starts_with("!["));
        for (at, image) in images {
            let below = lines[at..].iter().take(4);
            let is_named = below.flat_map(|it| spans(it)).any(|it| it.starts_with("cargo xtask "));
            assert!(is_named, "{page}: no command below {image}");
        }
    }
}

/// Splits a line of a shell into the words of its first command.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (quote, letter) {
            (None, '#') if word.is_none() => break,
            (None, '|' | '>' | ';' | '&') => break,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(it), _) if it == letter => quote = None,
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// Returns what is wrong with a command, if it is one of ours.
///
/// - `is_whole`: whether it must have all its arguments; a mention in a sentence need not.
fn wrong(line: &str, is_whole: bool) -> Option<String> {
    let words = words(line);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let args = match words.as_slice() {
        ["cargo", "xtask", args @ ..] => args,
        ["maskfit", args @ ..] => args,
        _ => return None,
    };
    if args.first() == Some(&"COMMAND") {
        return None;
    }
    let is_ours = args.first().is_none_or(|it| Args::command().find_subcommand(it).is_some());
    if words[0] == "cargo" && !is_ours {
        let help = fs::read_to_string(root().join("xtask/src/main.rs")).unwrap();
        let is_known = help.contains(&format!("\n  {} ", args[0]));
        return (!is_known).then(|| "`cargo xtask help` has no such command".to_owned());
    }
    if let ["list", registry] = args {
        let is_known = ["KIND", "recipes"].contains(registry)
            || registries().iter().any(|it| it.name == *registry);
        return (!is_known).then(|| format!("there is no registry `{registry}`"));
    }
    let err = Args::command().try_get_matches_from([&["maskfit"], args].concat()).err()?;
    let is_part = [
        ErrorKind::MissingRequiredArgument,
        ErrorKind::MissingSubcommand,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
    ];
    let is_help = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion].contains(&err.kind());
    (!is_help && (is_whole || !is_part.contains(&err.kind()))).then(|| err.to_string())
}

#[test]
fn commands_parse() {
    let (mut found, mut n_commands) = (Vec::new(), 0);
    for (page, text) in pages() {
        let (prose, code) = parts(&text);
        let shell = code.iter().filter(|it| it.0 == "sh").map(|it| (it.1, true));
        let spans = prose.iter().flat_map(|it| spans(it)).map(|it| (it, false));
        // The headings and usages of the reference are not commands.
        let spans = spans.filter(|_| !page.contains("reference/"));
        for (line, is_whole) in shell.chain(spans) {
            n_commands +=
                usize::from(line.starts_with("cargo xtask") || line.starts_with("maskfit"));
            found.extend(wrong(line, is_whole).map(|it| format!("{page}: {line}\n  {it}")));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(n_commands > 20, "only {n_commands} commands were found");
}

#[test]
fn wrong_links_and_commands_are_found() {
    let of = |target| problem("README.md", "# Some words", target);
    assert!(of("no.md").is_some() && of("#other").is_some() && of("STYLE.md#no-such").is_some());
    assert!(of("STYLE.md").is_none() && of("#some-words").is_none());
    assert!(Path::new(&root().join("README.md")).exists());
    for line in [
        "cargo xtask trian",
        "maskfit train --fats",
        "maskfit list cheeses",
        "maskfit compare --by no",
        "cargo xtask predict RUN",
    ] {
        assert!(wrong(line, true).is_some(), "{line}");
    }
    assert!(wrong("cargo xtask train CONFIG --set 'a.b = 1'  # a note", true).is_none());
    assert!(wrong("cargo xtask labels", false).is_none() && wrong("cargo build", true).is_none());
    assert!(wrong("cargo xtask predict RUN --images DIR -o - | head", true).is_none());
}
