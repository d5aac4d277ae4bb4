//! `cargo xtask kill` and `cargo xtask full-disk`: a run that is interrupted at any moment and resumed must
//! leave the same bytes as an uninterrupted run.

mod bench;
mod full_disk;
mod kill;
mod tally;

pub(crate) use full_disk::full_disk;
pub(crate) use kill::kill;
