//! `maskfit device check`: what a card computes, against f64 on the CPU, and how fast it is.
//!
//! The report has sections, each a function: the card, kernels, steps, timings, training. A section is text, which is
//! printed and written, and JSON.

mod card;
mod kernels;
mod section;
mod steps;
mod timings;
mod training;

use anstream::adapter::strip_str;
use anyhow::bail;
use gpu::Device;
use gpu_check::families;
use serde_json::{Map, Value, json};
use trainer::Callback as _;

use self::section::Section;
use crate::{
    End,
    args::{CheckArgs, DeviceCommand, STEPS, TRAINING},
    json::emit,
    new_folder::NewFolder,
    terminal::Terminal,
};

/// What was found until now.
#[derive(Default)]
struct Report {
    text: String,
    json: Map<String, Value>,
    n_failed: usize,
}

pub(crate) fn device(command: &DeviceCommand) -> anyhow::Result<End> {
    let DeviceCommand::Check(args) = command;
    let output = args.output.as_deref().map(NewFolder::at).transpose()?;
    let device = Device::open(args.device)?;
    let terminal = Terminal::new();
    terminal.heed_interrupts();
    let mut report = Report::default();
    report.json.insert("maskfit".into(), env!("CARGO_PKG_VERSION").into());
    if let Err(err) = check(args, &device, &terminal, &mut report) {
        if terminal.should_stop() {
            complain!("stopped: no file was written");
            return Ok(End::Stopped);
        }
        return Err(err);
    }
    let mut file = None;
    if let Some(output) = output {
        let json = serde_json::to_string_pretty(&report.json)? + "\n";
        output.write("check.json", json.as_bytes())?;
        output.write("check.txt", strip_str(&report.text).to_string().as_bytes())?;
        let path = output.path().join("check.json").display().to_string();
        output.finish()?;
        say!("\nnumbers of each case: {path}");
        file = Some(path);
    }
    emit("finished", json!({ "failed": report.n_failed, "file": file }));
    match report.n_failed {
        0 => Ok(End::Done),
        1 => bail!("a case failed on {device:?}: its numbers are above"),
        n => bail!("{n} cases failed on {device:?}: their numbers are above"),
    }
}

/// Makes the sections, one after the other.
fn check(
    args: &CheckArgs,
    device: &Device,
    terminal: &Terminal,
    report: &mut Report,
) -> anyhow::Result<()> {
    let is_asked =
        |name: &str| args.only.is_empty() || args.only.iter().any(|it| it.as_str() == name);
    let named = args.only.iter().map(String::as_str);
    let families: Vec<&str> = match args.only.is_empty() {
        true => families().collect(),
        false => named.filter(|it| ![STEPS, TRAINING].contains(it)).collect(),
    };
    let should_stop = &|| terminal.should_stop();
    // After a fault the driver refuses everything that this program asks for.
    let is_broken = |report: &Report| report.n_failed > 0 && device.synchronize().is_err();
    report.add(card::section(device)?);
    if !families.is_empty() {
        report.add(kernels::section(device, &families, args.all, should_stop)?);
    }
    if is_asked(STEPS) && !is_broken(report) {
        report.add(steps::section(device, steps::networks(args.all), should_stop)?);
    }
    if args.all && !families.is_empty() && !is_broken(report) {
        report.add(timings::section(device, &families, should_stop)?);
    }
    let is_training = match args.only.is_empty() {
        true => args.all,
        false => is_asked(TRAINING),
    };
    if is_training && !is_broken(report) {
        report.add(training::section(device, should_stop)?);
    }
    Ok(())
}

impl Report {
    /// Prints a section, and its event, and keeps it.
    fn add(&mut self, section: Section) {
        let Section { name, text, json, n_failed } = section;
        let text = if self.text.is_empty() { text } else { format!("\n{text}") };
        say!("{}", text.trim_end_matches('\n'));
        emit("section", json!({ "section": name, "failed": n_failed, "result": json }));
        self.text += &text;
        self.json.insert(name.to_owned(), json);
        self.n_failed += n_failed;
    }
}
