//! The section of training steps: images per second of whole networks in PyTorch on the same card.
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
use gpu::Device;
use serde_json::{Value, json};

use super::section::{Section, heed};
use crate::{style::headed, wrap::columns};

/// Prints a line of JSON for each storage and mode.
const SCRIPT: &str = include_str!("torch.py");

/// A network of timm, the batch, and the height and width of the images.
type Network = (&'static str, usize, usize);

const NETWORKS: [Network; 4] = [
    ("efficientnet_b0", 128, 224),
    ("efficientnet_b0", 256, 224),
    ("efficientnet_b3", 128, 300),
    ("efficientnet_b4", 64, 380),
];

/// Measures PyTorch; none where `python3` has none.
pub(super) fn section(
    device: &Device,
    should_stop: &dyn Fn() -> bool,
) -> anyhow::Result<Option<Section>> {
    let card = device.info().index;
    let mut check = Command::new("python3");
    check.args(["-c", "import torch, timm"]);
    check.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !check.status().is_ok_and(|it| it.success()) {
        status!("note: no training steps of PyTorch: `python3` has no torch, or no timm");
        return Ok(None);
    }
    // The other process needs the memory.
    device.empty_cache()?;
    let mut lines = Vec::new();
    for network in NETWORKS {
        status!("PyTorch: {} at batch {} and size {}", network.0, network.1, network.2);
        let text = output(&mut script(card, network), should_stop)?;
        lines.extend(parse(&text, network));
    }
    let text = table(&lines) + "\n";
    Ok(Some(Section { name: "training", text, json: lines.into(), n_failed: 0 }))
}

fn script(card: usize, (model, batch, size): Network) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT, model, &batch.to_string(), &size.to_string()]);
    // CUDA numbers cards by speed, unless it is told otherwise.
    command.env("CUDA_DEVICE_ORDER", "PCI_BUS_ID").arg(card.to_string());
    command
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
fn parse(text: &str, (model, batch, size): Network) -> Vec<Value> {
    let lines = text.lines().filter_map(|it| serde_json::from_str(it).ok());
    let lines: Vec<Value> = lines.filter(Value::is_object).collect();
    match lines.is_empty() {
        true => {
            let error = "the script failed";
            vec![json!({ "model": model, "batch": batch, "size": size, "error": error })]
        }
        false => lines,
    }
}

/// A row for each line.
fn table(lines: &[Value]) -> String {
    let header = ["training", "batch", "size", "type", "mode", "images/s", "GiB"];
    let mut rows = vec![header.map(str::to_owned)];
    for line in lines {
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
        let [model, batch, size, dtype, mode] =
            ["model", "batch", "size", "dtype", "mode"].map(text);
        rows.push([model, batch, size, dtype, mode, speed, memory]);
    }
    headed(&columns(&rows, &[false, true, true, false, false, true, true]))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use anstream::adapter::strip_str;
    use expect_test::expect;

    use super::{NETWORKS, SCRIPT, output, parse, table};

    #[test]
    fn the_lines_of_the_script_become_a_table() {
        let text = "a warning\n\
            {\"model\":\"efficientnet_b0\",\"batch\":128,\"size\":224,\"dtype\":\"bf16\",\"mode\":\"torch compile\",\
            \"train_img_s\":6543.21,\"train_peak_mib\":10240}\n\
            {\"model\":\"efficientnet_b0\",\"batch\":128,\"size\":224,\"dtype\":\"f32\",\"mode\":\"torch compile\",\
            \"error\":\"out of memory\"}\n";
        let lines = [parse(text, NETWORKS[0]), parse("", NETWORKS[3])].concat();
        expect![[r#"
            training         batch  size  type  mode                    images/s   GiB
            efficientnet_b0    128   224  bf16  torch compile               6543  10.0
            efficientnet_b0    128   224  f32   torch compile      out of memory
            efficientnet_b4     64   380                       the script failed"#]]
        .assert_eq(&strip_str(&table(&lines)).to_string());
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
