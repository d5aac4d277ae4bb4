//! `maskfit bench compare`: runs this program and another alternately, so that other load on the machine
//! affects both equally.
//!
//! The other program is any command that takes the arguments MODEL BATCH SIZE and ends with a line of JSON
//! with the keys of `bench train`.

use std::{env, process::Command};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::timing::median;
use crate::{End, args::CompareArgs};

/// The JSON keys that are compared, and their titles.
const FIGURES: [(&str, &str); 3] = [
    ("train_img_s", "training, images/s"),
    ("infer_img_s", "inference, images/s"),
    ("train_peak_mib", "peak memory, MiB"),
];

pub(super) fn compare(args: &CompareArgs) -> anyhow::Result<End> {
    let [height, width] = args.network.size;
    if height != width {
        bail!(
            "--size: the other program takes one number: write {height} instead of {height}x{width}"
        );
    }
    let mut words = args.peer.split_whitespace().map(str::to_owned);
    let peer = words.next().context("--peer: name a command")?;
    let (model, batch) = (&args.network.model, args.network.batch_size.to_string());
    let size = height.to_string();
    let peer_args: Vec<String> =
        words.chain([model.clone(), batch.clone(), size.clone()]).collect();
    let flags = [("--model", model), ("--batch-size", &batch), ("--size", &size)];
    let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.clone()]);
    let (steps, threads) = (args.network.steps.to_string(), args.network.threads.to_string());
    let more = ["--steps".to_owned(), steps, "--threads".to_owned(), threads];
    let own_args: Vec<String> =
        ["bench", "train"].map(str::to_owned).into_iter().chain(flags).chain(more).collect();
    let own = env::current_exe().context("cannot find the path of this program")?;
    let own = own.to_str().context("the path of this program is not UTF-8")?;

    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        let pair = [last_line(own, &own_args)?, last_line(&peer, &peer_args)?];
        for it in &pair {
            say!("round {round}: {it}");
        }
        rounds.push(pair);
    }
    say!("");
    say!("{:<22} {:>26} {:>26} {:>7}", "", "maskfit", name(&rounds[0][1]), "ratio");
    for (key, title) in FIGURES {
        let of = |side: usize| -> Option<Vec<f64>> {
            rounds.iter().map(|pair| pair[side].get(key)?.as_f64()).collect()
        };
        let (Some(mut ours), Some(mut theirs)) = (of(0), of(1)) else { continue };
        let ratio = median(&mut ours) / median(&mut theirs);
        say!("{title:<22} {:>26} {:>26} {ratio:>6.2}x", spread(&mut ours), spread(&mut theirs));
    }
    say!("median (min to max) of {} alternating rounds", args.rounds);
    Ok(End::Done)
}

fn name(line: &Value) -> String {
    line.get("peer").and_then(Value::as_str).unwrap_or("other program").to_owned()
}

fn spread(xs: &mut [f64]) -> String {
    let middle = median(xs);
    format!("{middle:.2} ({:.2} to {:.2})", xs[0], xs[xs.len() - 1])
}

/// Runs a command, and returns the JSON in the last line of its output.
fn last_line(program: &str, args: &[String]) -> anyhow::Result<Value> {
    let command = || format!("{program} {}", args.join(" "));
    let output = Command::new(program).args(args).output().with_context(command)?;
    if !output.status.success() {
        bail!(
            "{}: {}\n{}",
            command(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next_back().unwrap_or_default();
    serde_json::from_str(line)
        .with_context(|| format!("{}: its last line is not JSON: {line}", command()))
}

#[cfg(test)]
mod tests {
    use super::last_line;

    fn printed(text: &str) -> anyhow::Result<serde_json::Value> {
        last_line("printf", &[text.to_owned()])
    }

    #[test]
    fn only_the_last_line_is_parsed() -> anyhow::Result<()> {
        let line = printed("warming up\\n{\"train_img_s\": 3.5}\\n")?;
        assert_eq!(line["train_img_s"], 3.5);
        Ok(())
    }

    #[test]
    fn errors_name_the_command() {
        let err = printed("no figures").unwrap_err().to_string();
        assert_eq!(err, "printf no figures: its last line is not JSON: no figures");
        let err = last_line("false", &[]).unwrap_err().to_string();
        assert!(err.starts_with("false : exit status: 1"), "{err}");
        let err = last_line("no-such-program", &[]).unwrap_err().to_string();
        assert_eq!(err, "no-such-program ");
    }
}
