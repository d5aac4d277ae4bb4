//! The parameters of a query, by the names that a route knows.

use std::str::FromStr;

use axum::extract::{Query, rejection::QueryRejection};

use crate::error::ApiError;

/// A query as axum reads it: the names and the texts of its parameters.
pub(crate) type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The parameters of a query, each given once.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// - `known`: the names that the route knows.
    ///
    /// # Errors
    /// 400: another name, or one that is given twice.
    pub(crate) fn of(pairs: Pairs, known: &[&str]) -> Result<Parameters, ApiError> {
        let Query(pairs) = pairs.map_err(|_| ApiError::bad("the query cannot be read"))?;
        for (idx, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let known = known.join("`, `");
                let message = format!("there is no parameter `{name}`: expected one of `{known}`");
                return Err(ApiError::bad(message));
            }
            if pairs.iter().take(idx).any(|it| it.0 == *name) {
                return Err(ApiError::bad(format!("`{name}` is given twice: give it once")));
            }
        }
        Ok(Parameters(pairs))
    }

    /// Returns the text of a parameter, if it is given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
    }

    /// Returns the number of a parameter, if it is given.
    ///
    /// - `what`: what is expected.
    ///
    /// # Errors
    /// 400: a text that is not such a number.
    pub(crate) fn number<T: FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, ApiError> {
        let wrong = |it: &str| ApiError::bad(format!("`{name}`: expected {what}, not `{it}`"));
        self.text(name).map(|it| it.parse().map_err(|_| wrong(it))).transpose()
    }
}
