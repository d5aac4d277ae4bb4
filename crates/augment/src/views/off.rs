//! No test-time augmentation.

use serde::{Deserialize, Serialize};

use super::Views;
use crate::{Merge, Step};

/// `kind = "none"`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Off {}

impl Views for Off {
    fn plan(
        &self,
        ops: &[Step],
        _: [usize; 2],
        _: &[Step],
    ) -> Result<Vec<(Vec<Step>, f64)>, String> {
        Ok(vec![(ops.to_vec(), 1.0)])
    }

    /// Of a single view, any way gives its own prediction.
    fn merge(&self) -> Merge {
        Merge::Mean
    }
}
