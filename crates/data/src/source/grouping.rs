//! Groups of images by their names: a regular expression whose first capture group, or whole match, is the
//! name of the group.

use regex::Regex;
use serde::{Deserialize, Serialize};

/// What the names of images that belong together have in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a pattern of names, such as { regex = \"([^/]+)_[0-9]+[.]\" }"
)]
pub struct NamePattern {
    /// A regular expression, whose first capture group, or else whole match, names the group; empty if images
    /// do not belong together.
    pub regex: String,
}

/// Finds the group in a name.
pub(super) struct Grouping(Regex);

impl Grouping {
    /// Compiles the expression.
    ///
    /// - `setting`: the setting that it comes from, for the error.
    ///
    /// # Errors
    /// An invalid expression.
    pub(super) fn new(expression: &str, setting: &str) -> Result<Grouping, String> {
        let regex = Regex::new(expression);
        regex.map(Grouping).map_err(|err| {
            // The last line is the reason; those above point at the place, below the expression.
            let reason = err.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("`{setting}` is `{expression}`, which is not a regular expression: {reason}")
        })
    }

    /// Returns the group of a name; `None` if the expression does not match, or matches nothing.
    pub(super) fn of<'a>(&self, name: &'a str) -> Option<&'a str> {
        let found = self.0.captures(name)?;
        let part = found.get(usize::from(found.len() > 1))?.as_str();
        (!part.is_empty()).then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::Grouping;

    #[test]
    fn a_group_is_the_first_capture_or_the_match() {
        let of = |expression: &str, name| {
            Grouping::new(expression, "group").unwrap().of(name).map(str::to_owned)
        };
        assert_eq!(of("^(.+)_[0-9]+", "a/김_1.jpg").as_deref(), Some("a/김"));
        assert_eq!(of("[a-z]+[0-9]", "x/dog7-2.png").as_deref(), Some("dog7"));
        assert_eq!(of("^cat", "dog.png"), None);
        assert_eq!(of("^(cat)?", "dog.png"), None);
        let err = Grouping::new("(", "data.source.group").err().unwrap();
        let want = "`data.source.group` is `(`, which is not a regular expression: unclosed group";
        assert_eq!(err, want);
    }
}
