//! The values of arguments, as they are typed.

use base::nearest;
use metrics::{LabelScore, MetricConfig};

/// Parses a metric: its name, or a table with its settings, as in a config.
pub(super) fn metric(text: &str) -> Result<MetricConfig, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        by: MetricConfig,
    }
    if text.trim_start().starts_with('{') {
        let Settings { by } =
            toml::from_str(&format!("by = {text}")).map_err(|err| err.message().to_owned())?;
        return by.get().problem().map_or(Ok(by), Err);
    }
    let names: Vec<&str> = MetricConfig::KINDS.iter().map(|it| it.0).collect();
    let metric = MetricConfig::zoo().into_iter().find(|it| it.0 == text);
    metric.map(|it| it.1).ok_or_else(|| match nearest(text, names.iter().copied()) {
        Some(it) => format!("did you mean `{it}`?"),
        None => format!("must be one of {}, or a table such as {TABLE}", names.join(", ")),
    })
}

/// Parses a component of a registry: its name, or a table with its settings, as in a config.
pub(super) fn component<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings<T> {
        it: T,
    }
    let table = match text.trim_start().starts_with('{') {
        true => text.to_owned(),
        false => format!("{{ kind = {} }}", toml::Value::String(text.to_owned())),
    };
    let settings: Result<Settings<T>, _> = toml::from_str(&format!("it = {table}"));
    settings.map(|it| it.it).map_err(|err| err.message().to_owned())
}

/// An example of a metric with settings.
const TABLE: &str = "'{ kind = \"cohen_kappa\", weights = \"quadratic\" }'";

/// Parses the name of a label score.
pub(super) fn score(text: &str) -> Result<LabelScore, String> {
    match text {
        "self-confidence" => Ok(LabelScore::SelfConfidence),
        "margin" => Ok(LabelScore::NormalisedMargin),
        _ => Err("must be `self-confidence` or `margin`".to_owned()),
    }
}

/// Parses a learning rate.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|it: &f64| *it > 0.0 && it.is_finite());
    rate.ok_or_else(|| "must be a number above 0, such as 1e-7".to_owned())
}

/// Parses the level of prediction sets.
pub(super) fn level(text: &str) -> Result<f64, String> {
    let level = text.parse().ok().filter(|it: &f64| *it > 0.0 && *it < 1.0);
    level.ok_or_else(|| "must be a probability between 0 and 1, such as 0.9".to_owned())
}

/// Parses a number of seconds.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|it: &f64| (0.1..=1e6).contains(it));
    seconds.ok_or_else(|| "must be a number of seconds from 0.1 to 1000000".to_owned())
}

/// Parses a count from 1 to 1,000,000.
pub(super) fn number(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=1_000_000) => Ok(n),
        _ => Err("must be an integer from 1 to 1000000".to_owned()),
    }
}

/// Parses `128x96` or `224`.
pub(super) fn size(text: &str) -> Result<[usize; 2], String> {
    let (h, w) = text.split_once('x').unwrap_or((text, text));
    match (h.parse(), w.parse()) {
        (Ok(h), Ok(w)) if h > 0 && w > 0 => Ok([h, w]),
        _ => Err("must be height and width in pixels, for example 128x96".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::metric;

    #[test]
    fn a_metric_is_a_name_or_a_table() {
        assert_eq!(metric("log_loss").unwrap().kind(), "log_loss");
        let text = "{ kind = \"cohen_kappa\", weights = \"quadratic\" }";
        let kappa = metric(text).unwrap();
        assert_ne!(kappa, metric("cohen_kappa").unwrap());
        for (text, want) in [
            ("cheese", "must be one of macro_f1, accuracy"),
            ("logloss", "did you mean `log_loss`?"),
            ("{ kind = \"cheese\" }", "unknown kind `cheese`"),
            ("{ kind = \"top_k\", k = 0 }", "`k`"),
            ("{ kind = \"log_loss\", clip = [0.9, 0.1] }", "`clip`"),
            ("{ kind = ", ""),
            ("{ kind = \"accuracy\" }\nother = 1", "unknown field `other`"),
        ] {
            let err = metric(text).unwrap_err();
            assert!(err.contains(want), "{text}: {err}");
        }
    }
}
