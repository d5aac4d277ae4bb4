//! Trains with a loss of one's own: Poly-1, cross-entropy plus ε (1 - p) with p the probability of the true class.
//!
//! Leng et al., "PolyLoss", 2022, <https://arxiv.org/abs/2204.12511>.
//!
//! ```sh
//! cargo run --release -p maskfit --features examples --example own_loss -- runs/poly1
//! ```

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::{env, error::Error, path::Path};

use maskfit::{
    Callback, Ended,
    candle::Result as TensorResult,
    experiment,
    loss::{
        Binding, Clock, Form, HeadOutput, Loss, LossConfig, LossKind, LossTerms, Output, Targets,
        TermValue,
    },
    train,
};
use serde::Deserialize;

/// The loss is set like any other.
const CONFIG: &str = r#"
    [data]
    source = { kind = "synthetic_people", n_people = 8, n_test = 2, size = [40, 32] }
    split = { kind = "profile", ratio = 0.3 }

    [augment]
    train = [{ kind = "random_crop", size = [32, 24] }]
    eval = [{ kind = "center_crop", size = [32, 24] }]

    [model]
    backbone = { kind = "efficientnet", variant = "lite0", width = 0.25, depth = 0.3 }

    [loss]
    kind = "poly1"
    epsilon = 2.0

    [train]
    total = "2 steps"
    batch_size = 8
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::args_os().nth(1).ok_or("usage: own_loss FOLDER")?;
    println!("trained {} steps", with_poly1(Path::new(&dir))?);
    Ok(())
}

/// `[loss] kind = "poly1"`: its settings, which are the loss itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Poly1 {
    /// The weight of 1 - p.
    epsilon: f64,
}

impl Default for Poly1 {
    /// The paper's value for ImageNet.
    fn default() -> Poly1 {
        Poly1 { epsilon: 2.0 }
    }
}

impl LossKind for Poly1 {
    fn problem(&self) -> Option<String> {
        let is_fine = self.epsilon.is_finite();
        (!is_fine).then(|| format!("`epsilon` is a finite number, not {}", self.epsilon))
    }

    fn accepts(&self) -> &'static str {
        "classes"
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        let is_accepted = output.form == Form::Classes;
        Ok(is_accepted.then(|| Box::new(self.clone()) as Box<dyn Loss>))
    }
}

impl Loss for Poly1 {
    fn compute(&self, output: &Output, targets: &Targets, _: &Clock) -> TensorResult<LossTerms> {
        // Logits and a distribution over the classes, `[n, class]`: hard, smoothed and mixed labels are all of this form.
        let (logits, target) = (&output.numbers, targets.of(output)?);
        let ln_p = logits.broadcast_sub(&logits.log_sum_exp(1)?.unsqueeze(1)?)?;
        let p = (ln_p.exp()? * &target)?.sum(1)?;
        let losses = (p.affine(-self.epsilon, self.epsilon)? - (ln_p * &target)?.sum(1)?)?;
        // The mean over rows by their weights.
        let (weighted, norm) = ((losses * targets.weights()?)?, targets.weight());
        Ok(LossTerms::of(TermValue::PerExample { weighted, norm }))
    }
}

/// Prints nothing.
struct Quiet;

impl Callback for Quiet {}

/// Trains in a folder, and returns the number of steps.
pub(crate) fn with_poly1(dir: &Path) -> Result<usize, Box<dyn Error>> {
    LossConfig::add::<Poly1>("poly1")?;
    match train(&experiment("own_loss.rs", CONFIG)?, dir, &Quiet)? {
        Ended::Finished(outcome) => Ok(outcome.steps),
        Ended::Stopped { step } => Ok(step),
    }
}
