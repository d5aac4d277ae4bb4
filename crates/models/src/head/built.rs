//! A head with its parameters.

use candle::Result;
use ops::{Output, Pass, Value};

/// May replace the output of a stage of the given name.
pub type Tap<'a> = dyn FnMut(&str, Value) -> Result<Value> + 'a;

/// A built head.
pub trait BuiltHead {
    /// The forward pass on features `[n, width]`, or on the feature maps that the copied stages take.
    fn outputs(&self, features: &Value, pass: &Pass<'_>) -> Result<Vec<Output<Value>>>;

    /// [`outputs`](BuiltHead::outputs), in which `tap` may replace the output of each copied stage.
    fn outputs_tapped(
        &self,
        features: &Value,
        pass: &Pass<'_>,
        _: &mut Tap<'_>,
    ) -> Result<Vec<Output<Value>>> {
        self.outputs(features, pass)
    }
}
