//! `maskfit device check`: what a card computes, against f64 on the CPU, and how fast it is.
//!
//! The report has sections, each a function: the card, kernels, timings, training. A section is text, which is printed
//! and written, and JSON.

mod card;
mod kernels;
mod section;
mod timings;
mod training;

use anstream::adapter::strip_str;
use anyhow::bail;
use gpu::Device;
use gpu_check::families;
use serde_json::{Map, Value};
use trainer::Callback as _;

use self::section::Section;
use crate::{
    End,
    args::{CheckArgs, DeviceCommand},
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
    if let Some(output) = output {
        let json = serde_json::to_string_pretty(&report.json)? + "\n";
        output.write("check.json", json.as_bytes())?;
        output.write("check.txt", strip_str(&report.text).to_string().as_bytes())?;
        let dir = output.path().to_owned();
        output.finish()?;
        say!("\nnumbers of each case: {}", dir.join("check.json").display());
    }
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
    let only: Vec<&str> = match args.only.as_slice() {
        [] => families().collect(),
        some => some.iter().map(String::as_str).collect(),
    };
    let should_stop = &|| terminal.should_stop();
    report.add(card::section(device)?);
    report.add(kernels::section(device, &only, args.all, should_stop)?);
    // After a fault the driver refuses everything that this program asks for.
    let is_broken = report.n_failed > 0 && device.synchronize().is_err();
    if args.all && !is_broken {
        report.add(timings::section(device, &only, should_stop)?);
        if args.only.is_empty()
            && let Some(section) = training::section(device, should_stop)?
        {
            report.add(section);
        }
    }
    Ok(())
}

impl Report {
    /// Prints a section, and keeps it.
    fn add(&mut self, section: Section) {
        let Section { name, text, json, n_failed } = section;
        let text = if self.text.is_empty() { text } else { format!("\n{text}") };
        say!("{}", text.trim_end_matches('\n'));
        self.text += &text;
        self.json.insert(name.to_owned(), json);
        self.n_failed += n_failed;
    }
}
