//! Phrases of messages and tables: durations, epochs, numbers of things, names of metrics, and paths in commands to
//! paste.

use std::{borrow::Cow, fmt::Display, path::Path};

use base::names::quoted;

/// Formats a duration.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds as u64 {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{}m {:02}s", seconds as u64 / 60, seconds as u64 % 60),
        _ => format!("{}h {:02}m", seconds as u64 / 3600, seconds as u64 / 60 % 60),
    }
}

/// Formats the position in a run: `11` or `0.25`.
pub(crate) fn epoch(epoch: f64) -> String {
    let text = format!("{epoch:.2}");
    text.strip_suffix(".00").unwrap_or(&text).to_owned()
}

/// Formats a number of things: `1 step` or `12 steps`.
pub(crate) fn count(n: &str, one: &str) -> String {
    format!("{n} {one}{}", if n == "1" { "" } else { "s" })
}

/// Counts names, and lists the first of them: ``2 (`a`, `b`)``, or `none`.
pub(crate) fn counted_names(names: &[impl Display]) -> String {
    match names {
        [] => "none".to_owned(),
        names => format!("{} ({})", names.len(), quoted(names)),
    }
}

/// Returns the name of a metric in a text: `macro F1` for `macro_f1`.
pub(crate) fn metric(kind: &str) -> String {
    let word = |word| match word {
        "f1" | "roc" | "auc" | "mae" => str::to_uppercase(word),
        "brier" => "Brier".to_owned(),
        "cohen" => "Cohen".to_owned(),
        _ => word.to_owned(),
    };
    kind.split('_').map(word).collect::<Vec<_>>().join(" ")
}

/// Formats a path as an argument of a command that can be pasted into a shell.
pub(crate) fn argument(path: &Path) -> String {
    let text = path.display().to_string();
    shlex::try_quote(&text).map(Cow::into_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use metrics::MetricConfig;

    use super::{argument, count, counted_names, epoch, metric, seconds};

    #[test]
    fn durations_and_epochs_are_short() {
        assert_eq!([1.24, 109.0, 3720.0].map(seconds), ["1.2 s", "1m 49s", "1h 02m"]);
        assert_eq!([11.0, 0.2, 1.0 / 3.0, 100.0].map(epoch), ["11", "0.20", "0.33", "100"]);
        assert_eq!([count("1", "step"), count("0.20", "epoch")], ["1 step", "0.20 epochs"]);
    }

    #[test]
    fn names_are_counted_and_the_first_are_listed() {
        assert_eq!(counted_names(&[""; 0]), "none");
        assert_eq!(counted_names(&["a", "b"]), "2 (`a`, `b`)");
        assert_eq!(counted_names(&["a"; 7]), "7 (`a`, `a`, `a`, `a`, `a` and 2 more)");
    }

    #[test]
    fn metrics_are_called_as_in_texts() {
        let names: Vec<String> = MetricConfig::KINDS.iter().map(|it| metric(it.0)).collect();
        for name in ["macro F1", "top k", "Brier score", "Cohen kappa", "ROC AUC", "MAE"] {
            assert!(names.iter().any(|it| it == name), "{name}: {names:?}");
        }
    }

    #[test]
    fn paths_in_commands_are_quoted_where_a_shell_needs_it() {
        assert_eq!(argument(Path::new("runs/a-1.0")), "runs/a-1.0");
        assert_eq!(argument(Path::new("my runs/a")), "'my runs/a'");
    }
}
