//! The page: [`Contents`] as one HTML file, that opens from disk and reads nothing else.
//!
//! `page/page.html` is the page, section by section; `page/parts.html` has what several sections use, such as an
//! interval, a heat map and an image with its prediction; `page/style.css` is embedded by the page. Templates are
//! minijinja's, which escapes every name. There is no script. Each number stands next to what is drawn of it, so that
//! nothing is said by colour alone.
//!
//! The page is XML as well as HTML (each element is closed, each attribute quoted), so that tests can parse it.

mod curves;

use minijinja::{
    AutoEscape, Environment, HtmlEscape, UndefinedBehavior, Value, syntax::SyntaxConfig,
    value::Serde,
};
use serde::{Deserialize as _, Serialize};

use crate::{
    contents::{Contents, Estimate, FactorLabels, RunReport},
    verdict::{is_trusted, limit_of_p},
};
use curves::{Chart, Summary};

/// Why a page could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The template does not fit the contents.
    #[error(
        "the template of the report does not fit its contents: {0:#}: this is a bug of maskfit"
    )]
    Template(#[from] minijinja::Error),
}

/// What the template receives.
#[derive(Serialize)]
struct Page<'a> {
    contents: &'a Contents,
    /// For each run what is drawn here.
    drawn: Vec<Drawn<'a>>,
}

/// The charts of a run.
#[derive(Serialize)]
struct Drawn<'a> {
    charts: Vec<Chart>,
    summaries: Vec<Summary<'a>>,
    /// The factors with doubted labels that the model is more likely wrong about.
    doubted_by_a_weak_model: Vec<&'a str>,
    /// Below which p the largest gap of an attribute is significant, in words.
    limit: String,
}

impl Drawn<'_> {
    fn of(run: &RunReport) -> Drawn<'_> {
        let (charts, summaries) = (curves::charts(&run.curves), curves::summaries(&run.curves));
        let is_weak = |it: &&FactorLabels| it.n_errors > 0 && !is_trusted(run, it);
        let weak = run.labels.factors.iter().filter(is_weak).map(|it| it.factor.as_str());
        Drawn { charts, summaries, doubted_by_a_weak_model: weak.collect(), limit: limit(run) }
    }
}

/// Formats the limit of p: `0.017 (0.05 / 3 attributes)`.
fn limit(run: &RunReport) -> String {
    let (alpha, n) = limit_of_p(run);
    match n {
        0 | 1 => short(alpha),
        _ => format!("{:.3} ({} / {n} attributes)", alpha / n as f64, short(alpha)),
    }
}

const TEMPLATES: [(&str, &str); 3] = [
    ("page.html", include_str!("page/page.html")),
    ("parts.html", include_str!("page/parts.html")),
    ("style.css", include_str!("page/style.css")),
];

/// What a page begins with, and what its head has soon after.
const MARKS: [&[u8]; 2] =
    [b"<!DOCTYPE html>", b"<meta name=\"generator\" content=\"maskfit report\"/>"];
/// How many bytes tell whether a file is a page.
pub const HEAD: usize = 512;

/// Whether a file is a page of ours, by its first [`HEAD`] bytes.
pub fn is_page(head: &[u8]) -> bool {
    let [begin, mark] = MARKS;
    head.starts_with(begin) && head.windows(mark.len()).any(|it| it == mark)
}

/// Returns the page.
///
/// # Errors
/// A bug of ours: a template does not fit the contents.
pub fn html(contents: &Contents) -> Result<String, PageError> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    templates.set_auto_escape_callback(|name| match name.ends_with(".css") {
        true => AutoEscape::None,
        false => AutoEscape::Html,
    });
    templates.add_filter("score", |it: Value| number(&it, |it| format!("{it:.3}")));
    templates.add_filter("signed", |it: Value| number(&it, |it| format!("{it:+.3}")));
    templates.add_filter("percent", |it: Value| number(&it, percent));
    templates.add_filter("points", |it: Value| number(&it, |it| format!("{:.1}", 100.0 * it)));
    templates.add_filter("short", |it: Value| number(&it, short));
    templates.add_filter("at", |it: Value| number(&it, |it| short((it * 10.0).round() / 10.0)));
    templates.add_filter("upper_first", |it: &str| upper_first(it));
    templates.add_filter("ticked", |it: &str| ticked(it));
    templates.add_filter("data_uri", |it: &str| data_uri(it));
    templates.add_filter("count", |it: usize| count(it));
    templates.add_test("without_spread", |it: Value| {
        Estimate::deserialize(it).is_ok_and(|it| it.has_no_spread())
    });
    for (name, text) in TEMPLATES {
        templates.add_template(name, text)?;
    }
    let drawn = contents.runs.iter().map(Drawn::of).collect();
    let page = Value::from(Serde(Page { contents, drawn }));
    Ok(templates.get_template("page.html")?.render(page)?)
}

/// Formats a number; `undefined` for none, NaN and infinity.
fn number(it: &Value, format: impl Fn(f64) -> String) -> String {
    match f64::try_from(it.clone()).ok().filter(|it| it.is_finite()) {
        // No -0.
        Some(it) => format(it + 0.0),
        None => "undefined".to_owned(),
    }
}

/// Escapes a text; what is in back-ticks, as in the terminal, becomes code.
fn ticked(text: &str) -> Value {
    let parts: Vec<String> = text.split('`').map(|it| HtmlEscape(it).to_string()).collect();
    let html = match parts.len() % 2 {
        // Each back-tick has its other one.
        1 => parts.iter().enumerate().map(|(at, it)| match at % 2 {
            0 => it.clone(),
            _ => format!("<code>{it}</code>"),
        }),
        _ => return Value::from_safe_string(parts.join("`")),
    };
    Value::from_safe_string(html.collect())
}

/// Returns a data URI as it is, since escaping its slashes would make it longer; anything else is left out, so that the
/// page reads nothing.
fn data_uri(it: &str) -> Value {
    let is_part = |it: char| it.is_ascii_alphanumeric() || "+/=;,:".contains(it);
    let is_uri = it.starts_with("data:image/") && it.chars().all(is_part);
    Value::from_safe_string(if is_uri { it.to_owned() } else { String::new() })
}

/// Formats a share; one that is neither 0 nor 1 is not shown as 0 % or 100 %.
fn percent(it: f64) -> String {
    match it {
        _ if 0.0 < it && it < 0.0005 => "< 0.1 %".to_owned(),
        _ if 0.9995 < it && it < 1.0 => "> 99.9 %".to_owned(),
        _ => format!("{:.1} %", 100.0 * it),
    }
}

/// Formats a number without trailing zeros, with at most three decimals.
fn short(it: f64) -> String {
    let text = format!("{it:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Formats a count: `20,000`.
fn count(it: usize) -> String {
    let digits = it.to_string();
    let first = digits.len() % 3;
    let (head, rest) = digits.split_at_checked(first).unwrap_or(("", &digits));
    let mut text = head.to_owned();
    for (at, digit) in rest.chars().enumerate() {
        if at.is_multiple_of(3) && !text.is_empty() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Begins a name with a capital letter, and leaves the rest as it is.
fn upper_first(name: &str) -> String {
    let mut rest = name.chars();
    rest.next().map_or(String::new(), |it| it.to_uppercase().chain(rest).collect())
}

#[cfg(test)]
mod tests;
