//! Comparisons with reference implementations; the scripts that computed their numbers are next to them.

use ::ops::Isa;
use testkit::Golden;

mod calibration;
mod ensemble;
mod explanations;
mod folds;
mod heads;
mod losses;
mod metrics;
mod mixing;
mod networks;
pub(crate) use networks::{plain_task, set_by_formula};
mod ops;
mod samplers;
mod schedules;
mod training;
mod views;

const VARIABLE: &str = "MASKFIT_TEST_ISA";

/// Reads reference numbers, and selects the instruction set that the environment names: call it first.
fn golden(name: &str) -> Golden {
    if let Ok(isa) = std::env::var(VARIABLE) {
        Isa::choose(&isa).unwrap();
    }
    Golden::read(name)
}

/// Runs all tests of this module on each of the machine's other instruction sets.
#[test]
fn every_instruction_set_agrees_with_the_references() {
    if std::env::var(VARIABLE).is_ok() {
        return;
    }
    for isa in &Isa::available()[1..] {
        let mut tests = std::process::Command::new(std::env::current_exe().unwrap());
        let run = tests.arg("golden::").env(VARIABLE, isa.name()).output().unwrap();
        assert!(run.status.success(), "{isa:?}:\n{}", String::from_utf8_lossy(&run.stdout));
    }
}
