//! Colours and bold.
//!
//! Text is always painted; the streams of `anstream` remove the codes again where the output is not a
//! terminal, or `NO_COLOR`, `TERM=dumb` or `--color` say so.

use std::{env, ffi::OsString, fmt::Display};

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};

/// The label of an error, as clap paints it.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// The label of a note.
pub(crate) const NOTE: Style = AnsiColor::Yellow.on_default();
/// Where a setting comes from.
pub(crate) const ASIDE: Style = Style::new().dimmed();
/// Titles, and the headers of tables.
pub(crate) const HEADING: Style = Style::new().bold();
/// The best epoch, and the best row of a table.
pub(crate) const BEST: Style = AnsiColor::Green.on_default().bold();
/// The worst row of a table.
pub(crate) const WORST: Style = AnsiColor::Yellow.on_default();

/// When to print colours: `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, clap::ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl Colour {
    /// Finds `--color` among arguments that clap cannot parse, so that its message follows it too.
    pub(crate) fn among(mut args: impl Iterator<Item = OsString>) -> Colour {
        let mut found = Colour::Auto;
        while let Some(arg) = args.next() {
            let value = match arg.to_str() {
                Some("--") => break,
                Some("--color") => args.next(),
                Some(arg) => arg.strip_prefix("--color=").map(OsString::from),
                None => None,
            };
            match value.as_ref().and_then(|it| it.to_str()) {
                Some("always") => found = Colour::Always,
                Some("never") => found = Colour::Never,
                _ => {}
            }
        }
        found
    }

    /// Applies it to everything that is printed from now on.
    pub(crate) fn apply(self) {
        match self {
            // `anstream` would print colours to a dumb terminal where `CI` is set.
            Colour::Auto if is_dumb_terminal() => ColorChoice::Never,
            Colour::Auto => ColorChoice::Auto,
            Colour::Always => ColorChoice::Always,
            Colour::Never => ColorChoice::Never,
        }
        .write_global();
    }
}

/// Whether `TERM` names a terminal without colours, and nothing forces them.
fn is_dumb_terminal() -> bool {
    env::var_os("TERM").is_some_and(|it| it == "dumb") && env::var_os("CLICOLOR_FORCE").is_none()
}

/// Paints text.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Paints the label that a message starts with, if any.
pub(crate) fn labelled(line: &str) -> String {
    for (label, style) in [("error:", ERROR), ("note:", NOTE)] {
        if let Some(rest) = line.strip_prefix(label) {
            return paint(style, label) + rest;
        }
    }
    line.to_owned()
}

/// Paints the first line of a table: its header.
pub(crate) fn headed(table: &str) -> String {
    match table.split_once('\n') {
        Some((header, rest)) => format!("{}\n{rest}", paint(HEADING, header)),
        None => paint(HEADING, table),
    }
}

#[cfg(test)]
mod tests {
    use super::Colour;

    #[test]
    fn the_colour_is_found_in_arguments_that_do_not_parse() {
        let among = |args: &str| Colour::among(args.split(' ').map(Into::into));
        assert_eq!(among("maskfit --color never no-command"), Colour::Never);
        assert_eq!(among("maskfit no-command --color=always"), Colour::Always);
        assert_eq!(among("maskfit predict -- --color always"), Colour::Auto);
    }
}
