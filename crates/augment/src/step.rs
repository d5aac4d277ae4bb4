//! An entry of `[augment] train` or `eval`: an operation and its probability.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Canvas, OpError, TransformConfig};

/// An operation and its probability: `{ kind = "horizontal_flip", p = 0.5 }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The operation.
    pub op: TransformConfig,
    /// The probability of applying it, in 0..=1.
    pub p: f64,
}

impl Step {
    /// Applies the operation with probability `p`.
    ///
    /// # Errors
    /// If the operation cannot be applied to the image.
    pub fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        // Probabilities 0 and 1 use no random number.
        if self.p >= 1.0 || (self.p > 0.0 && rng.random_bool(self.p)) {
            self.op.get().apply(canvas, rng)?;
        }
        Ok(())
    }

    /// Whether the result is random.
    pub fn is_random(&self) -> bool {
        self.p > 0.0 && (self.p < 1.0 || self.op.get().is_random())
    }

    /// Whether the operation computes something that can be cached.
    pub fn is_cached(&self) -> bool {
        self.p > 0.0 && self.op.get().is_cached()
    }

    /// Returns what is wrong with the settings, if anything.
    pub fn problem(&self) -> Option<String> {
        if !(0.0..=1.0).contains(&self.p) {
            return Some(format!("`p` must be a probability from 0 to 1, not {}", self.p));
        }
        self.op.get().problem()
    }

    /// Returns every possible output `[height, width]` for an image of `size`, with the operation applied or
    /// not, or the reason why an image of that size may be rejected.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn sizes_from(&self, size: [usize; 2]) -> Result<Vec<[usize; 2]>, OpError> {
        let mut sizes = if self.p < 1.0 { vec![size] } else { Vec::new() };
        if self.p > 0.0 {
            sizes.extend(self.op.get().sizes_from(size)?);
        }
        Ok(sizes)
    }

    /// Returns the output size if it is the same for all images, with the operation applied or not; `before`
    /// is the input size, likewise.
    pub fn size_after(&self, before: Option<[usize; 2]>) -> Option<[usize; 2]> {
        let after = self.op.get().size_after(before);
        if self.p >= 1.0 || after == before { after } else { None }
    }
}

impl From<TransformConfig> for Step {
    /// An entry with the operation's default probability.
    fn from(op: TransformConfig) -> Step {
        Step { p: op.get().usual_p(), op }
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry<'a> {
            #[serde(flatten)]
            op: &'a TransformConfig,
            #[serde(skip_serializing_if = "Option::is_none")]
            p: Option<f64>,
        }
        // A probability of 1 that is also the default is omitted.
        let is_default = self.p == 1.0 && self.op.get().usual_p() == 1.0;
        Entry { op: &self.op, p: (!is_default).then_some(self.p) }.serialize(to)
    }
}

// Not derived: the other keys of the table belong to the operation, on which the default of `p` depends.
impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Step, D::Error> {
        let mut table = base::choice::Table::deserialize(from)?;
        let p = table.remove("p");
        let op: TransformConfig =
            table.try_into().map_err(|err| D::Error::custom(err.message()))?;
        let p = match p {
            None => op.get().usual_p(),
            Some(base::choice::Value::Float(p)) => p,
            Some(base::choice::Value::Integer(p)) => p as f64,
            Some(other) => {
                return Err(D::Error::custom(format!(
                    "`p` must be a probability from 0 to 1, not {other}"
                )));
            }
        };
        Ok(Step { op, p })
    }
}
