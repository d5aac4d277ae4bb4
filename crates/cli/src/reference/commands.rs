//! The commands, as clap has them.

use clap::{Arg, Command, CommandFactory as _};

use super::markdown::{NOTE, cell, code};
use crate::{args::Args, exit::CODES};

pub(super) fn page() -> String {
    let mut program = Args::command();
    program.build();
    let mut page = format!(
        "{NOTE}\n# Commands\n\n{}\n\nIn the repository, `cargo xtask COMMAND` builds `maskfit` and runs it.\n\
         Every command has `--help`.\n\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n",
        program.get_long_about().unwrap()
    );
    for (code, meaning) in CODES {
        page += &format!("| {code} | {} |\n", cell(meaning));
    }
    for command in visible(&program) {
        add(command, &["maskfit"], &mut page);
    }
    page
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help")
}

fn add(command: &Command, above: &[&str], page: &mut String) {
    let path = [above, &[command.get_name()]].concat();
    let level = "#".repeat(path.len());
    let about = command.get_long_about().or(command.get_about()).unwrap().to_string();
    *page += &format!("\n{level} {}\n\n{about}\n", path.join(" "));
    let has_commands = visible(command).next().is_some();
    let is_own =
        |it: &Arg| !it.is_global_set() && !["help", "version"].contains(&it.get_id().as_str());
    if !has_commands || command.get_arguments().any(is_own) {
        add_arguments(command, &path, page);
    }
    visible(command).for_each(|it| add(it, &path, page));
}

fn add_arguments(command: &Command, path: &[&str], page: &mut String) {
    let usage = command.clone().bin_name(path.join(" ")).render_usage().to_string();
    *page += &format!("\n```text\n{}\n```\n", usage.trim_start_matches("Usage: "));
    let is_shown =
        |it: &&Arg| !it.is_hide_set() && !["help", "version"].contains(&it.get_id().as_str());
    let rows: Vec<String> = command.get_arguments().filter(is_shown).map(row).collect();
    if !rows.is_empty() {
        *page += "\n| argument | default | meaning |\n| --- | --- | --- |\n";
        *page += &rows.concat();
    }
}

fn row(arg: &Arg) -> String {
    let values: Vec<String> =
        arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let takes = arg.get_action().takes_values();
    let values = if takes { values.join(" ") } else { String::new() };
    let mut name = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long} {values}"),
        (_, Some(long)) => format!("--{long} {values}"),
        _ => values,
    };
    if arg.get_num_args().is_some_and(|it| it.max_values() > 1) {
        name += " ...";
    }
    let help = arg.get_long_help().or(arg.get_help()).unwrap().to_string();
    let (help, default) = match help.split_once(" [default: ") {
        Some((help, default)) => (help.to_owned(), default.trim_end_matches([']', '.']).to_owned()),
        None => {
            let defaults: Vec<&str> =
                arg.get_default_values().iter().filter_map(|it| it.to_str()).collect();
            let default = if takes { defaults.join(" ") } else { String::new() };
            (help, if default.is_empty() { default } else { code(&default) })
        }
    };
    format!("| {} | {} | {} |\n", code(name.trim()), cell(&default), cell(&help))
}
