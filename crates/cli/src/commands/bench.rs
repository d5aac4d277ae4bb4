//! `maskfit bench`: the speed of this machine, in numbers that can be compared with those of other programs.

mod compare;
mod load;
mod network;
mod scale;
mod table;
mod timing;

use crate::{End, args::BenchCommand};

pub(crate) fn bench(command: &BenchCommand) -> anyhow::Result<End> {
    match command {
        BenchCommand::Train(args) => network::train(args),
        BenchCommand::Infer(args) => network::infer(args),
        BenchCommand::Ops(args) => network::ops(args),
        BenchCommand::Load { experiment, images } => load::load(experiment, *images),
        BenchCommand::Compare(args) => compare::compare(args),
        BenchCommand::Scale { step } => scale::scale(step),
    }
}
