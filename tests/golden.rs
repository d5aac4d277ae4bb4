//! Numbers of the reference implementations, beside the scripts that made them.

mod networks;
pub(crate) use networks::plain_task;
mod ops;
mod training;

use ::ops::Isa;

/// Runs all tests of this module again on each of the machine's other instruction sets.
#[test]
fn every_instruction_set_agrees_with_the_references() {
    if Isa::asked_for().unwrap().is_some() {
        return;
    }
    for isa in &Isa::available()[1..] {
        let mut tests = std::process::Command::new(std::env::current_exe().unwrap());
        let run = tests.arg("golden::").env(Isa::VARIABLE, isa.name()).output().unwrap();
        assert!(run.status.success(), "{isa:?}:\n{}", String::from_utf8_lossy(&run.stdout));
    }
}
