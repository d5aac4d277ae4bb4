//! Busy neighbours: processes that use a core each, as another program on the same machine would.
//!
//! They are processes and not threads, since the system shares cores between processes in another way. Each ends
//! when its stdin does, and so whatever ends the process that started it: an error, Ctrl-C or a kill.

use std::{
    hint, io,
    io::{BufRead as _, BufReader, Read as _},
    process::{self, Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, ensure};

use super::program;
use crate::End;

/// Busy neighbours, until this is dropped.
pub(super) struct Neighbours(Vec<Child>);

impl Neighbours {
    /// Starts `n` neighbours, and returns when all are busy.
    pub(super) fn start(n: u16) -> anyhow::Result<Neighbours> {
        let mut neighbours = Neighbours(Vec::new());
        for _ in 0..n {
            let mut command = Command::new(program::own()?);
            command.args(["bench", "spin"]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let child = command.spawn().context("--busy: cannot start a process")?;
            neighbours.0.push(child);
        }
        for child in &mut neighbours.0 {
            let mut line = String::new();
            if let Some(out) = child.stdout.take() {
                BufReader::new(out).read_line(&mut line).context("--busy")?;
            }
            ensure!(line == "busy\n", "--busy: a process ended before the measurement");
        }
        Ok(neighbours)
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has already ended is as good.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Uses a core until stdin ends.
pub(super) fn spin() -> anyhow::Result<End> {
    thread::spawn(|| {
        drop(io::stdin().read_to_end(&mut Vec::new()));
        process::exit(0);
    });
    say!("busy");
    let mut n = 0_u64;
    // Not `spin_loop`, which leaves a shared core to its other thread.
    loop {
        n = hint::black_box(n.wrapping_add(1));
    }
}
