//! `maskfit bench`: the speed of this machine, in numbers that can be compared with those of other programs.

mod case;
mod compare;
mod lines;
mod load;
mod neighbours;
mod network;
mod program;
mod ratio;
mod scale;
mod table;
mod timing;

use self::{case::Case, neighbours::Neighbours};
use crate::{
    End,
    args::{BenchCommand, MeasureArgs},
};

pub(crate) fn bench(command: &BenchCommand) -> anyhow::Result<End> {
    match command {
        BenchCommand::Train(args) => measure("train", args, network::train),
        BenchCommand::Infer(args) => measure("infer", args, network::infer),
        BenchCommand::Ops(args) => network::ops(args),
        BenchCommand::Load { experiment, images, save } => {
            lines::check(save.as_deref())?;
            let line = load::load(experiment, *images)?;
            say!("{line}");
            lines::store(save.as_deref(), &line)?;
            Ok(End::Done)
        }
        BenchCommand::Compare(args) => compare::compare(args),
        BenchCommand::Fresh { model, dir } => network::write_fresh(model, dir),
        BenchCommand::Spin => neighbours::spin(),
        BenchCommand::Scale { step } => scale::scale(step),
    }
}

/// Measures each model and batch size. Several are measured in a process each, since memory and threads of one
/// would be part of the next.
fn measure(
    name: &str,
    args: &MeasureArgs,
    run: fn(&Case<'_>) -> anyhow::Result<serde_json::Value>,
) -> anyhow::Result<End> {
    let save = args.save.as_deref();
    lines::check(save)?;
    let cases = Case::all(&args.network)?;
    let _neighbours = Neighbours::start(args.busy)?;
    for case in &cases {
        let mut line = match cases.len() {
            1 => run(case)?,
            _ => program::last_line(&program::own()?, &case.args(name))?,
        };
        line["busy"] = args.busy.into();
        say!("{line}");
        lines::store(save, &line)?;
    }
    Ok(End::Done)
}
