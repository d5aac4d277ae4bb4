//! What is measured at a time: one model with one batch size.

use anyhow::bail;
use models::published;
use serde_json::{Value, json};

use crate::args::NetworkArgs;

/// A model and a batch size, with the arguments that all have in common.
pub(super) struct Case<'a> {
    pub(super) model: &'a str,
    pub(super) batch_size: usize,
    pub(super) size: [usize; 2],
    pub(super) steps: usize,
    pub(super) threads: usize,
}

impl Case<'_> {
    /// Returns the cases of the arguments: each model with each batch size.
    ///
    /// # Errors
    /// Models that do not exist.
    pub(super) fn all(args: &NetworkArgs) -> anyhow::Result<Vec<Case<'_>>> {
        let names: Vec<&str> = published().iter().map(|it| it.name).collect();
        if let Some(wrong) = args.model.iter().find(|it| !names.contains(&it.as_str())) {
            bail!("--model: there is no `{wrong}`: choose one of {}", names.join(", "));
        }
        let &NetworkArgs { size, steps, threads, .. } = args;
        let of_model = |model| {
            let case = move |&batch_size| Case { model, batch_size, size, steps, threads };
            args.batch_size.iter().map(case)
        };
        Ok(args.model.iter().flat_map(|it| of_model(it)).collect())
    }

    /// The arguments of `maskfit` that measure this case with `bench NAME`; older builds know them as well.
    pub(super) fn args(&self, name: &str) -> Vec<String> {
        let [height, width] = self.size;
        let size = if height == width { height.to_string() } else { format!("{height}x{width}") };
        let (batch, steps) = (self.batch_size.to_string(), self.steps.to_string());
        let threads = self.threads.to_string();
        let args = ["bench", name, "--model", self.model, "--batch-size", &batch, "--size", &size];
        let more = ["--steps", &steps, "--threads", &threads];
        args.into_iter().chain(more).map(str::to_owned).collect()
    }

    /// The keys that the lines of JSON of every measurement have. The threads must have been started.
    pub(super) fn line(&self) -> Value {
        let mut line = json!({
            "peer": format!("maskfit {}", env!("CARGO_PKG_VERSION")),
            "version": env!("CARGO_PKG_VERSION"),
            "model": self.model,
            "batch": self.batch_size,
            "size": self.size,
            "isa": ops::Isa::chosen().name(),
            "threads": rayon::current_num_threads(),
            "dtype": "f32",
        });
        if let Some(commit) = option_env!("MASKFIT_COMMIT") {
            line["commit"] = commit.into();
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::Case;
    use crate::args::{Args, BenchCommand, Command, MeasureArgs};

    fn parsed(args: &[String]) -> MeasureArgs {
        let args = Args::try_parse_from([&["maskfit".to_owned()], args].concat()).unwrap();
        match args.command {
            Command::Bench { command: BenchCommand::Infer(args) } => args,
            other => panic!("{other:?}"),
        }
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn each_model_is_measured_with_each_batch_size() {
        let args = parsed(&words("bench infer --model resnet18,efficientnet_b0 --batch-size 1,16"));
        let cases = Case::all(&args.network).unwrap();
        let cases: Vec<_> = cases.iter().map(|it| (it.model, it.batch_size)).collect();
        let want =
            [("resnet18", 1), ("resnet18", 16), ("efficientnet_b0", 1), ("efficientnet_b0", 16)];
        assert_eq!(cases, want);
    }

    #[test]
    fn the_arguments_of_a_case_measure_that_case() {
        let text = "bench infer --model resnet18 --batch-size 3 --size 96x64 --steps 2 --threads 1";
        let args = parsed(&words(text));
        let cases = Case::all(&args.network).unwrap();
        assert_eq!(cases[0].args("infer"), words(text));
    }

    #[test]
    fn an_unknown_model_is_refused_before_any_is_measured() {
        let args = parsed(&words("bench infer --model resnet18,resnet19"));
        let err = Case::all(&args.network).err().unwrap().to_string();
        assert!(err.starts_with("--model: there is no `resnet19`: choose one of "), "{err}");
    }
}
