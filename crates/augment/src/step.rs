//! An entry of `[augment] train` or `eval`: an operation, and how often it is done.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Canvas, OpError, TransformConfig};

/// An operation and its probability: `{ kind = "horizontal_flip", p = 0.5 }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is done.
    pub op: TransformConfig,
    /// How often, in 0..=1.
    pub p: f64,
}

impl Step {
    /// Does it or does not.
    ///
    /// # Errors
    /// An image that the operation cannot be applied to.
    pub fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        // What is always or never done draws nothing.
        if self.p >= 1.0 || (self.p > 0.0 && rng.random_bool(self.p)) {
            self.op.get().apply(canvas, rng)?;
        }
        Ok(())
    }

    /// Whether two draws may differ.
    pub fn is_random(&self) -> bool {
        self.p > 0.0 && (self.p < 1.0 || self.op.get().is_random())
    }

    /// Whether it works out what can be remembered.
    pub fn studies(&self) -> bool {
        self.p > 0.0 && self.op.get().studies()
    }

    /// What is wrong with the settings, if anything is.
    pub fn problem(&self) -> Option<String> {
        if !(0.0..=1.0).contains(&self.p) {
            return Some(format!("`p` is a probability, not {}", self.p));
        }
        self.op.get().problem()
    }

    /// Every `[height, width]` that may come out of an image of `size`, done or not, or why one of that
    /// size may be refused.
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

    /// The size of what comes out, where it is the same for all images that come in with that of
    /// `before`, done or not.
    pub fn size_after(&self, before: Option<[usize; 2]>) -> Option<[usize; 2]> {
        let after = self.op.get().size_after(before);
        if self.p >= 1.0 || after == before { after } else { None }
    }
}

impl From<TransformConfig> for Step {
    /// With the operation's usual probability.
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
        // What is always done, as usual, need not say so.
        let goes_without_saying = self.p == 1.0 && self.op.get().usual_p() == 1.0;
        Entry { op: &self.op, p: (!goes_without_saying).then_some(self.p) }.serialize(to)
    }
}

// Not derived: the rest of the table is the operation's, and its default depends on that.
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
                return Err(D::Error::custom(format!("`p` is a probability, not {other}")));
            }
        };
        Ok(Step { op, p })
    }
}
