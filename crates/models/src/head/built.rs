//! A head with its parameters.

use candle::Result;
use ops::{Output, Pass, Value};

/// A built head.
pub trait BuiltHead {
    /// The forward pass on features `[n, width]`, or on the feature maps that the copied stages take.
    fn outputs(&self, features: &Value, pass: &Pass<'_>) -> Result<Vec<Output<Value>>>;
}
