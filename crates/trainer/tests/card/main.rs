//! Training on a card, on the emulated driver, against the same on the CPU.
//!
//! The program under test is the one that runs on a card: the same calls, launches and PTX. What the emulator does not
//! show is timing, and the rounding of a card's divisions, exponentials and tensor cores.

mod agreement;
mod auto;
mod costs;
mod harness;
mod optimizers;
mod runs;
mod scaling;
