//! A setting sampled for each image, uniformly from a range.
//!
//! In a config it is `[from, to]`, or one number d for `[-d, d]`.

use std::ops::RangeInclusive;

use base::{Rng, choice::Value};
use rand::Rng as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A closed range of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The lower bound.
    pub from: f64,
    /// The upper bound.
    pub to: f64,
}

impl Range {
    /// Only 0.
    pub const ZERO: Range = Range { from: 0.0, to: 0.0 };

    /// From -d to d.
    pub fn around_zero(d: f64) -> Range {
        Range { from: -d, to: d }
    }

    /// Samples a number uniformly.
    pub fn sample(&self, rng: &mut Rng) -> f64 {
        rng.random_range(self.from..=self.to)
    }

    /// Whether the range is a single number.
    pub fn is_single(&self) -> bool {
        self.from == self.to
    }

    /// Returns what is wrong with the setting `name`, unless it is a range within `bounds`.
    pub fn problem(&self, name: &str, bounds: RangeInclusive<f64>) -> Option<String> {
        let is_fit =
            self.from <= self.to && bounds.contains(&self.from) && bounds.contains(&self.to);
        let Range { from, to } = self;
        (!is_fit).then(|| {
            let (least, most) = bounds.into_inner();
            format!("`{name}` must be [from, to] within {least}..{most}, not [{from}, {to}]")
        })
    }
}

impl Serialize for Range {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        [self.from, self.to].serialize(to)
    }
}

// Not derived: there are two notations.
impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Range, D::Error> {
        let wrong = |it: &Value| {
            D::Error::custom(format!("must be [from, to], or a number d for [-d, d], not {it}"))
        };
        match Value::deserialize(from)? {
            Value::Float(d) => Ok(Range::around_zero(d)),
            Value::Integer(d) => Ok(Range::around_zero(d as f64)),
            other => match other.clone().try_into::<Vec<f64>>().as_deref() {
                Ok(&[from, to]) => Ok(Range { from, to }),
                _ => Err(wrong(&other)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Range;

    #[derive(serde::Deserialize, serde::Serialize)]
    struct Table {
        it: Range,
    }

    #[test]
    fn both_notations_are_read() {
        let read = |text: &str| toml::from_str::<Table>(text).map(|table| table.it);
        assert_eq!(read("it = 2").unwrap(), Range { from: -2.0, to: 2.0 });
        assert_eq!(read("it = 0.5").unwrap(), Range { from: -0.5, to: 0.5 });
        assert_eq!(read("it = [1, 2.5]").unwrap(), Range { from: 1.0, to: 2.5 });
        let again = toml::to_string(&Table { it: Range { from: 1.0, to: 2.5 } }).unwrap();
        assert_eq!(read(&again).unwrap(), Range { from: 1.0, to: 2.5 });
        for wrong in ["it = \"2\"", "it = [1]", "it = [1, 2, 3]"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn invalid_ranges_are_reported() {
        for (from, to) in [(2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY), (-200.0, 0.0)] {
            assert!(Range { from, to }.problem("it", -180.0..=180.0).is_some(), "{from} {to}");
        }
        assert_eq!(Range::around_zero(180.0).problem("it", -180.0..=180.0), None);
    }
}
