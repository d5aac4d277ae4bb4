//! Several `--set` arguments: each is a layer, later ones on top, except that a `kind` is below the other
//! settings of its table, whatever their order.
//!
//! A `kind` replaces the table below it, so `--set optim.lr=1e-4 --set optim.kind=sgd` would lose the rate. A
//! whole table, such as `--set optim={ kind = "sgd" }`, is a value like any other: it replaces all that was set
//! of it before.

use super::{ConfigError, Layer};

impl Layer {
    /// Reads the layers of several `--set path.to.key=value` arguments, as [`Layer::from_set`], in the order in
    /// which they are merged.
    ///
    /// # Errors
    /// The first argument that sets nothing.
    pub fn from_sets(args: &[String]) -> Result<Vec<Layer>, ConfigError> {
        let mut layers: Vec<(Vec<&str>, Layer)> = Vec::new();
        for arg in args {
            let path = arg.split('=').next().unwrap_or_default();
            let path: Vec<&str> = path.split('.').map(str::trim).collect();
            let at = match path.split_last() {
                Some((&"kind", table)) if !table.is_empty() => place(&layers, table),
                _ => layers.len(),
            };
            layers.insert(at, (path, Layer::from_set(arg)?));
        }
        Ok(layers.into_iter().map(|it| it.1).collect())
    }
}

/// Returns the position of the `kind` of a table: before the settings of that table, but not before one of the
/// whole table, or of one that contains it.
fn place(layers: &[(Vec<&str>, Layer)], table: &[&str]) -> usize {
    let is_whole = |it: &(Vec<&str>, Layer)| table.starts_with(&it.0);
    let begin = layers.iter().rposition(is_whole).map_or(0, |it| it + 1);
    let is_within = |it: &(Vec<&str>, Layer)| {
        it.0.strip_prefix(table).is_some_and(|rest| !rest.is_empty() && rest != ["kind"])
    };
    layers[begin..].iter().position(is_within).map_or(layers.len(), |it| begin + it)
}

#[cfg(test)]
mod tests {
    use super::Layer;

    fn order(args: &[&str]) -> Vec<String> {
        let args: Vec<String> = args.iter().map(|&it| it.to_owned()).collect();
        let layers = Layer::from_sets(&args).unwrap();
        layers.iter().map(|it| it.name.trim_start_matches("--set ").to_owned()).collect()
    }

    #[test]
    fn a_kind_is_below_the_settings_of_its_table() {
        assert_eq!(order(&["optim.lr=1", "optim.kind=sgd"]), ["optim.kind=sgd", "optim.lr=1"]);
        assert_eq!(order(&["optim.kind=sgd", "optim.lr=1"]), ["optim.kind=sgd", "optim.lr=1"]);
        // The last of two kinds wins, and others keep their order.
        assert_eq!(
            order(&["seed=1", "a.x=1", "b.kind=k", "a.kind=p", "a.y=2", "a.kind=q", "a.x=3"]),
            ["seed=1", "a.kind=p", "a.kind=q", "a.x=1", "b.kind=k", "a.y=2", "a.x=3"]
        );
        // The kind of an inner table is above that of the outer one.
        assert_eq!(
            order(&["a.b.x=1", "a.b.kind=p", "a.kind=q"]),
            ["a.kind=q", "a.b.kind=p", "a.b.x=1"]
        );
        assert_eq!(order(&["optimal.lr=1", "optim.kind=sgd"]), ["optimal.lr=1", "optim.kind=sgd"]);
        assert_eq!(order(&["x=1", "kind=sgd"]), ["x=1", "kind=sgd"]);
    }

    #[test]
    fn a_whole_table_replaces_what_was_set_before() {
        let table = "optim={ kind = 'sgd' }";
        assert_eq!(order(&["optim.lr=1", table]), ["optim.lr=1", table]);
        assert_eq!(
            order(&["optim.lr=1", table, "optim.nesterov=true", "optim.kind=adam"]),
            ["optim.lr=1", table, "optim.kind=adam", "optim.nesterov=true"]
        );
    }

    #[test]
    fn an_argument_without_a_value_is_an_error() {
        assert!(Layer::from_sets(&["optim.kind".to_owned()]).is_err());
    }
}
