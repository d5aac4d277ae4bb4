//! The losses of all outputs of a head.

use base::Clock;
use candle::Result;
use ops::Output;

use crate::{HeadOutput, Loss, LossConfig, LossTerms, Targets};

/// Computes the loss of all outputs of a network.
pub struct Criterion {
    /// One for each output of the head, in their order.
    losses: Vec<Box<dyn Loss>>,
}

impl Criterion {
    /// Binds a loss to all outputs of a head.
    ///
    /// # Errors
    /// An output that the loss does not apply to, settings that do not fit an output, or a part of a sum
    /// that applies to none.
    pub fn new(
        config: &LossConfig,
        outputs: &[HeadOutput<'_>],
    ) -> std::result::Result<Criterion, String> {
        if let Some(idle) = config.get().idle(outputs) {
            return Err(idle);
        }
        let bind = |output: &HeadOutput<'_>| {
            config.get().bind(output)?.ok_or_else(|| match config {
                LossConfig::Sum(_) => format!(
                    "no part of the `sum` applies to `{}`, which this head predicts as {}: add one",
                    output.name(),
                    output.form.name()
                ),
                _ => format!(
                    "`{}` applies to {}, and this head predicts `{}` as {}: choose another head or loss, \
                     or a `sum` with a part that applies to it",
                    config.kind(),
                    config.get().accepts(),
                    output.name(),
                    output.form.name()
                ),
            })
        };
        let losses = outputs.iter().map(bind).collect::<std::result::Result<_, _>>()?;
        Ok(Criterion { losses })
    }

    /// Computes the loss terms of all outputs, each with its output's weight.
    ///
    /// # Panics
    /// Another number of outputs than the losses were bound to.
    pub fn compute(
        &self,
        outputs: &[Output],
        targets: &Targets,
        clock: &Clock,
    ) -> Result<LossTerms> {
        assert_eq!(outputs.len(), self.losses.len(), "outputs that the losses are bound to");
        let mut all = LossTerms::default();
        for (output, loss) in outputs.iter().zip(&self.losses) {
            all.add(loss.compute(output, targets, clock)?, output.weight);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use base::{Clock, Task, mix::unmixed, task::Scope};
    use candle::{DType, Device, Result, Tensor};
    use ops::{Form, Output};
    use testkit::check_close;

    use super::Criterion;
    use crate::{Counts, HeadOutput, Labels, LossConfig, Targets};

    fn criterion(text: &str, outputs: &[(Scope, Form)]) -> std::result::Result<Criterion, String> {
        let (task, counts) = (Task::mask_gender_age(), Counts::default());
        let output = |(scope, form): &(Scope, Form)| {
            HeadOutput::new(&task, *scope, form, task.n_classes_of(*scope), &counts)
        };
        let outputs: Vec<HeadOutput<'_>> = outputs.iter().map(output).collect();
        Criterion::new(&toml::from_str::<LossConfig>(text).expect("settings"), &outputs)
    }

    #[test]
    fn losses_of_outputs_are_added_with_their_weights() -> Result<()> {
        // Mask of three levels and gender of two, with uniform predictions for both.
        let (mask, gender) = (Scope::Factor(0), Scope::Factor(1));
        let forms = [(mask, Form::Classes), (gender, Form::Classes)];
        let criterion = |text| criterion(text, &forms).expect(text);
        let labels = Labels { classes: vec![0, 10], ..Labels::default() };
        let task = Task::mask_gender_age();
        let targets = Targets::new(&task, labels, &unmixed(2), DType::F64, &Device::Cpu);
        let zeros = |n| Tensor::zeros((2, n), DType::F64, &Device::Cpu);
        let outputs = [
            Output::new(mask, Form::Classes, zeros(3)?),
            Output { weight: 0.5, ..Output::new(gender, Form::Classes, zeros(2)?) },
        ];
        let check = |text, want: f64| -> Result<()> {
            let clock = Clock { step: 0, total: 1, epoch: 0.0 };
            let mean = criterion(text).compute(&outputs, &targets, &clock)?.mean()?;
            check_close(&mean, &[want], 1e-12);
            Ok(())
        };
        let [three, two] = [3f64.ln(), 0.5 * 2f64.ln()];
        check("kind = \"cross_entropy\"", three + two)?;
        let parts = "{ kind = \"cross_entropy\", on = [\"mask\"], weight = 3.0 }, \
                     { kind = \"cross_entropy\", on = [\"gender\"] }";
        check(&format!("kind = \"sum\"\nparts = [{parts}]"), 3.0 * three + two)
    }

    #[track_caller]
    fn check_refused(text: &str, form: Form, want: &str) {
        let err = criterion(text, &[(Scope::Factor(2), form)]).err().expect(text);
        assert!(err.contains(want), "{text}: {err}");
    }

    #[test]
    fn loss_that_does_not_fit_the_head_is_refused() {
        let number = || Form::Number { scale: 10.0, center: 40.0, cuts: None };
        check_refused("kind = \"arcface\"", Form::Classes, "the head `cosine`");
        check_refused("kind = \"f1\"", number(), "predicts `age` as a number");
        check_refused(
            "kind = \"cross_entropy\"\nweights = { kind = \"given\", values = [1.0] }",
            Form::Classes,
            "for the output `age`: `values` are 3 numbers, one per class, not 1",
        );
        let sum = |parts: &str| format!("kind = \"sum\"\nparts = [{parts}]");
        let idle = sum("{ kind = \"focal\" }, { kind = \"mse\" }");
        check_refused(&idle, Form::Classes, "`parts[1]`: this head predicts `age` as classes");
        let elsewhere = sum("{ kind = \"f1\" }, { kind = \"f1\", on = [\"glasses\"] }");
        check_refused(
            &elsewhere,
            Form::Classes,
            "`parts[1].on`: this head has no output `glasses`",
        );
        let number = || Form::Number { scale: 10.0, center: 40.0, cuts: None };
        let none = criterion(
            &sum("{ kind = \"f1\" }"),
            &[(Scope::Factor(0), Form::Classes), (Scope::Factor(2), number())],
        );
        let none = none.err().expect("no part applies to the age");
        assert!(none.contains("no part of the `sum` applies to `age`"), "{none}");
    }

    #[test]
    fn invalid_settings_of_a_part_are_reported() {
        let err = |text: &str| toml::from_str::<LossConfig>(text).unwrap_err().to_string();
        let text = "kind = \"sum\"\nparts = [{ kind = \"focal\", gama = 1.0 }]";
        assert!(err(text).contains("unknown field `gama`"), "{}", err(text));
        let text = "kind = \"sum\"\nparts = [{ kind = \"focal\", gamma = -1.0 }]";
        let loss: LossConfig = toml::from_str(text).expect("settings");
        let problem = loss.get().problem().expect("a problem");
        assert_eq!(problem, "`parts[0]`: `gamma` is from 0 to 100, not -1");
    }
}
