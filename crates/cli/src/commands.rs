//! The commands, a file each.

mod bench;
mod compare;
mod completions;
mod config;
mod data;
mod device;
mod dry;
mod eda;
mod ensemble;
mod evaluate;
mod explain;
mod export;
mod init;
mod kfold;
mod labels;
pub(crate) mod list;
mod lr_find;
mod man;
mod predict;
mod pseudo;
mod report;
mod runs_rm;
mod runs_table;
mod schedule;
mod serve;
mod soup;
mod submit;
mod train;
mod weights;

use crate::{
    End,
    args::{Args, Command, ConfigCommand, DryArgs, KfoldArgs, RunsCommand},
    runs,
};

pub(crate) fn run(mut args: Args) -> anyhow::Result<End> {
    args.command.json().apply();
    if let Command::Train { experiment, device, .. }
    | Command::Kfold(KfoldArgs { experiment, device, .. }) = &mut args.command
    {
        experiment.set.extend(device.sets());
    }
    match args.command {
        Command::Train {
            experiment, all_data, dry: DryArgs { fast: true, .. }, profile, ..
        } => dry::fast(&experiment, all_data.as_deref(), profile),
        Command::Train { experiment, dry: DryArgs { overfit: Some(n), .. }, profile, .. } => {
            dry::overfit(&experiment, n, profile)
        }
        Command::Train { experiment, resume, all_data, allow_changes, profile, .. } => {
            let (resume, all_data) = (resume.as_deref(), all_data.as_deref());
            train::train(&experiment, resume, all_data, allow_changes, profile)
        }
        Command::Kfold(args) => kfold::kfold(&args),
        Command::Submit { models, join, images, sample, set, output } => {
            let sample = sample.as_deref();
            submit::submit(&models, join.join_factors, &images, sample, &set, &output)
        }
        Command::Predict { models, join, sets, images, output, json } => {
            let output = match (output, json.is_on()) {
                (None, true) => None,
                (output, _) => Some(output.unwrap_or("probabilities.csv".into())),
            };
            predict::predict(&models, join.join_factors, sets, &images, output.as_deref())
        }
        Command::Serve(args) => serve::serve(&args),
        Command::Ensemble(mut args) => {
            runs::find_all(&mut args.runs, None, &args.set)?;
            ensemble::ensemble(&args)
        }
        Command::Evaluate(mut args) => {
            runs::find_all(&mut args.models.runs, args.config.as_deref(), &args.set)?;
            evaluate::evaluate(&args)
        }
        Command::Export(args) => export::export(&args),
        Command::Pseudo(mut args) => {
            runs::find_all(&mut args.models.runs, args.config.as_deref(), &args.set)?;
            pseudo::pseudo(&args)
        }
        Command::Soup(mut args) => {
            runs::find_all(&mut args.runs, None, &args.set)?;
            soup::soup(&args)
        }
        Command::Compare(args) => compare::compare(&args),
        Command::Report { runs, output } => report::report(&runs, output.as_deref()),
        Command::Explain(args) => explain::explain(&args),
        Command::Labels { run, output, by, images, set } => {
            labels::labels(&run, &set, &output, by, images)
        }
        Command::Schedule { experiment, output } => schedule::schedule(&experiment, &output),
        Command::LrFind { experiment, run, from, to, steps, output } => {
            let range = trainer::Range { from, to, n_steps: steps };
            lr_find::lr_find(&experiment, run.as_deref(), range, &output)
        }
        Command::Data { command } => data::data(command),
        Command::Eda { data, set, sheets, output } => {
            eda::eda(data.as_deref(), &set, sheets, &output)
        }
        Command::Init { dir, output } => init::init(&dir, output.as_deref()),
        Command::Config { command: ConfigCommand::Show { config, set } } => {
            config::show(config, set)
        }
        Command::Config { command: ConfigCommand::Diff { a, b } } => config::diff(a, b),
        Command::Config { command: ConfigCommand::Schema } => config::schema(),
        Command::Runs { command: None, dir, .. } => runs_table::runs(dir.as_deref()),
        Command::Runs { command: Some(RunsCommand::Rm { runs, yes }), .. } => {
            runs_rm::remove(&runs, yes)
        }
        Command::List { registry, .. } => list::list(registry.as_deref()),
        Command::Weights { command } => weights::weights(&command),
        Command::Device { command } => device::device(&command),
        Command::Bench { command } => bench::bench(&command),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { command, output } => man::man(&command, output.as_deref()),
    }
}
