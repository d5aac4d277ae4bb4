//! The section of training steps: images per second of whole networks, and of the same in PyTorch on the same card.
//!
//! PyTorch runs in a process of its own, with a script that is part of this program; it is asked for only if `python3`
//! has it.

use std::{
    io::{self, Read as _},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::bail;
use gpu::{Device, Storage};
use serde_json::{Value, json};
use trainer::{
    FitError,
    check::{self, Training},
};

use super::section::{Section, heed};
use crate::{
    style::{headed, labelled},
    wrap::columns,
};

/// Prints a line of JSON for each storage and mode.
const SCRIPT: &str = include_str!("torch.py");

/// A network, the batch, and the height and width of the images.
type Network = (check::Network, usize, usize);

const NETWORKS: [Network; 4] =
    [(check::B0, 128, 224), (check::B0, 256, 224), (check::B3, 128, 300), (check::B4, 64, 380)];

/// The types of activations, in the order of the table.
const TYPES: [Storage; 3] = [Storage::Bf16, Storage::F16, Storage::F32];

/// Our own mode among the lines; those of PyTorch begin with `torch`.
const OURS: &str = "maskfit";

/// Rounds that a time is the median of, steps of a round, and rounds before them; as those of the script.
const ROUNDS: usize = 5;
const STEPS: usize = 4;
const WARM_UP: usize = 2;

/// Measures our steps, and PyTorch's where `python3` has it.
pub(super) fn section(device: &Device, should_stop: &dyn Fn() -> bool) -> anyhow::Result<Section> {
    device.set_caching(true)?;
    let mut lines = Vec::new();
    for network in NETWORKS {
        let (it, batch, size) = network;
        for storage in TYPES {
            heed(should_stop)?;
            // The network before has other sizes.
            device.empty_cache()?;
            status!("maskfit: {} in {} at batch {batch} and size {size}", it.name, storage.name());
            lines.push(ours(device, network, storage, should_stop)?);
            if device.synchronize().is_err() {
                // After a fault the driver refuses everything that this program asks for.
                return Ok(section_of(lines));
            }
        }
    }
    // The other process needs the memory.
    device.empty_cache()?;
    lines.extend(torch(device.info().index, should_stop)?);
    Ok(section_of(lines))
}

/// Measures a network, and returns its line; an error of the card is one too.
fn ours(
    device: &Device,
    network: Network,
    storage: Storage,
    should_stop: &dyn Fn() -> bool,
) -> anyhow::Result<Value> {
    let (it, batch, size) = network;
    let mut line = json!({
        "model": it.name, "batch": batch, "size": size, "dtype": storage.name(), "mode": OURS,
    });
    match measure(device, network, storage, should_stop)? {
        Ok((seconds, bytes)) => {
            line["train_img_s"] = json!(batch as f64 / seconds);
            line["train_peak_mib"] = json!(bytes >> 20);
        }
        Err(err) => {
            let reason = err.to_string();
            let is_memory = reason.contains("out of memory");
            line["error"] = json!(if is_memory { "out of memory" } else { "failed" });
            line["reason"] = json!(reason);
        }
    }
    Ok(line)
}

/// The seconds of a step, and the most bytes that it used.
fn measure(
    device: &Device,
    (network, batch, size): Network,
    storage: Storage,
    should_stop: &dyn Fn() -> bool,
) -> anyhow::Result<Result<(f64, usize), FitError>> {
    let mut training = match Training::new(&network, (device, storage), batch, [size; 2]) {
        Ok(it) => it,
        Err(err) => return Ok(Err(err)),
    };
    let mut rounds = Vec::new();
    for _ in 0..WARM_UP + ROUNDS {
        heed(should_stop)?;
        match training.steps(STEPS) {
            Ok(seconds) => rounds.push(seconds / STEPS as f64),
            Err(err) => return Ok(Err(err)),
        }
    }
    let timed = &mut rounds[WARM_UP..];
    timed.sort_by(f64::total_cmp);
    Ok(Ok((timed[timed.len() / 2], training.most_used())))
}

/// Measures PyTorch; no lines where `python3` has none.
fn torch(card: usize, should_stop: &dyn Fn() -> bool) -> anyhow::Result<Vec<Value>> {
    let mut check = Command::new("python3");
    check.args(["-c", "import torch, timm"]);
    check.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut lines = Vec::new();
    if !check.status().is_ok_and(|it| it.success()) {
        status!("note: no training steps of PyTorch: `python3` has no torch, or no timm");
        return Ok(lines);
    }
    for network in NETWORKS {
        status!("PyTorch: {} at batch {} and size {}", network.0.name, network.1, network.2);
        let text = output(&mut script(card, network), should_stop)?;
        lines.extend(parse(&text, network));
    }
    Ok(lines)
}

fn script(card: usize, (network, batch, size): Network) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT, network.name, &batch.to_string(), &size.to_string()]);
    // CUDA numbers cards by speed, unless it is told otherwise.
    command.env("CUDA_DEVICE_ORDER", "PCI_BUS_ID").arg(card.to_string());
    command
}

/// The section of these lines. Out of memory is no failure.
fn section_of(lines: Vec<Value>) -> Section {
    let failed: Vec<&Value> = lines.iter().filter(|it| it["error"] == "failed").collect();
    let mut text = table(&lines) + "\n";
    for it in &failed {
        let of = |key: &str| it[key].as_str().unwrap_or_default();
        let (model, dtype, reason) = (of("model"), of("dtype"), of("reason"));
        text += &format!("{}\n", labelled(&format!("error: {model} in {dtype}: {reason}")));
    }
    let n_failed = failed.len();
    Section { name: "training", text, json: lines.into(), n_failed }
}

/// Returns the stdout of a command. It is ended where this program is interrupted.
fn output(command: &mut Command, should_stop: &dyn Fn() -> bool) -> anyhow::Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let stdout = child.stdout.take();
    let reader = thread::spawn(move || -> io::Result<String> {
        let mut text = String::new();
        stdout.map_or(Ok(0), |mut it| it.read_to_string(&mut text))?;
        Ok(text)
    });
    while child.try_wait()?.is_none() {
        if let Err(err) = heed(should_stop) {
            child.kill()?;
            child.wait()?;
            return Err(err);
        }
        thread::sleep(Duration::from_millis(50));
    }
    match reader.join() {
        Ok(text) => Ok(text?),
        Err(_) => bail!("the output of `python3` could not be read"),
    }
}

/// The lines of JSON in the script's output; if there are none, one that says so.
fn parse(text: &str, (network, batch, size): Network) -> Vec<Value> {
    let lines = text.lines().filter_map(|it| serde_json::from_str(it).ok());
    let lines: Vec<Value> = lines.filter(Value::is_object).collect();
    match lines.is_empty() {
        true => {
            let (model, error) = (network.name, "script failed");
            vec![json!({ "model": model, "batch": batch, "size": size, "error": error })]
        }
        false => lines,
    }
}

/// A row for each line: by network, by type, ours first.
fn table(lines: &[Value]) -> String {
    let header = ["training", "batch", "size", "type", "mode", "images/s", "ratio", "GiB"];
    let mut rows = vec![header.map(str::to_owned)];
    let mut sorted: Vec<&Value> = lines.iter().collect();
    sorted.sort_by_key(|it| place(it));
    for line in sorted {
        let text = |key: &str| match &line[key] {
            Value::Null => String::new(),
            Value::String(it) => it.clone(),
            it => it.to_string(),
        };
        let number = |key: &str, digits: usize, unit: f64| {
            line[key].as_f64().map_or(String::new(), |it| format!("{:.digits$}", it / unit))
        };
        let speed = match line["error"].as_str() {
            Some(err) => err.to_owned(),
            None => number("train_img_s", 0, 1.0),
        };
        let memory = number("train_peak_mib", 1, 1024.0);
        let ratio = ratio(line, lines).map_or(String::new(), |it| format!("{it:.2}"));
        let [model, batch, size, dtype, mode] =
            ["model", "batch", "size", "dtype", "mode"].map(text);
        rows.push([model, batch, size, dtype, mode, speed, ratio, memory]);
    }
    headed(&columns(&rows, &[false, true, true, false, false, true, true, true]))
        + "\nratio: our images per second over PyTorch's"
}

/// Where a line is in the table.
fn place(line: &Value) -> (Option<usize>, Option<usize>) {
    let network = NETWORKS.iter().position(|it| {
        let size = (line["batch"].as_u64(), line["size"].as_u64());
        line["model"] == it.0.name && size == (Some(it.1 as u64), Some(it.2 as u64))
    });
    (network, TYPES.iter().position(|it| line["dtype"] == it.name()))
}

/// Our images per second over those of a line of PyTorch.
fn ratio(line: &Value, lines: &[Value]) -> Option<f64> {
    if line["mode"] == OURS {
        return None;
    }
    let speed = |it: &Value| it["train_img_s"].as_f64().filter(|it| *it > 0.0);
    let ours = lines.iter().find(|it| it["mode"] == OURS && place(it) == place(line))?;
    Some(speed(ours)? / speed(line)?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use anstream::adapter::strip_str;
    use expect_test::expect;

    use serde_json::{Value, json};

    use super::{NETWORKS, Network, OURS, SCRIPT, output, parse, section_of};

    #[test]
    fn the_lines_of_the_script_and_ours_become_a_table() {
        let text = "a warning\n\
            {\"model\":\"efficientnet_b0\",\"batch\":128,\"size\":224,\"dtype\":\"bf16\",\"mode\":\"torch compile\",\
            \"train_img_s\":6543.21,\"train_peak_mib\":10240}\n\
            {\"model\":\"efficientnet_b0\",\"batch\":128,\"size\":224,\"dtype\":\"f32\",\"mode\":\"torch compile\",\
            \"error\":\"out of memory\"}\n";
        let ours = |network: Network, dtype: &str, more: Value| {
            let (it, batch, size) = network;
            let mut line = json!({ "model": it.name, "batch": batch, "size": size, "dtype": dtype, "mode": OURS });
            for (key, value) in more.as_object().unwrap() {
                line[key] = value.clone();
            }
            line
        };
        let speed = json!({ "train_img_s": 13086.42, "train_peak_mib": 5120 });
        let full = json!({ "error": "out of memory", "reason": "`cuda:0` is out of memory: 1 GiB wanted" });
        let broken = json!({ "error": "failed", "reason": "a kernel failed" });
        let lines = [
            vec![
                ours(NETWORKS[0], "bf16", speed),
                ours(NETWORKS[0], "f32", full),
                ours(NETWORKS[3], "f16", broken),
            ],
            parse(text, NETWORKS[0]),
            parse("", NETWORKS[3]),
        ]
        .concat();
        let section = section_of(lines);
        assert_eq!(section.n_failed, 1);
        expect![[r#"
            training         batch  size  type  mode                images/s  ratio   GiB
            efficientnet_b0    128   224  bf16  maskfit                13086          5.0
            efficientnet_b0    128   224  bf16  torch compile           6543   2.00  10.0
            efficientnet_b0    128   224  f32   maskfit        out of memory
            efficientnet_b0    128   224  f32   torch compile  out of memory
            efficientnet_b4     64   380                       script failed
            efficientnet_b4     64   380  f16   maskfit               failed
            ratio: our images per second over PyTorch's
            error: efficientnet_b4 in f16: a kernel failed
        "#]]
        .assert_eq(&strip_str(&section.text).to_string());
    }

    #[test]
    fn a_process_is_read_and_ended() {
        let text = output(Command::new("echo").arg("{}"), &|| false);
        assert_eq!(text.unwrap(), "{}\n");
        let err = output(Command::new("sleep").arg("60"), &|| true).unwrap_err();
        assert_eq!(err.to_string(), "stopped");
    }

    #[test]
    fn the_script_is_python() {
        let mut python = Command::new("python3");
        let check = python.args(["-c", "import ast, sys; ast.parse(sys.argv[1])", SCRIPT]);
        let Ok(output) = check.output() else {
            println!("skipped: there is no python3");
            return;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
