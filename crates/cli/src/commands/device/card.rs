//! The section of the card: what it is, its driver and its memory.

use std::fs;

use gpu::{Device, Info};
use serde_json::json;

use super::section::Section;
use crate::style::{HEADING, paint};

pub(super) fn section(device: &Device) -> anyhow::Result<Section> {
    let Info { index, name, capability: (major, minor), multiprocessors, clock, driver, .. } =
        device.info();
    let (free, total) = device.free_memory()?;
    let gib = |bytes: usize| bytes as f64 / f64::from(1 << 30);
    let cuda = format!("{}.{}", driver / 1000, driver % 1000 / 10);
    let version = driver_version();
    let mut text = paint(HEADING, format!("cuda:{index}: {name}")) + "\n";
    let ghz = f64::from(*clock) * 1e-6;
    text += &format!("compute capability {major}.{minor}, {multiprocessors} multiprocessors");
    text += &if *clock > 0 { format!(", up to {ghz:.2} GHz\n") } else { "\n".to_owned() };
    text += &match &version {
        Some(it) => format!("driver {it}, CUDA {cuda}\n"),
        None => format!("driver of CUDA {cuda}\n"),
    };
    text += &format!("{:.1} GiB of memory free of {:.1} GiB\n", gib(free), gib(total));
    let json = json!({
        "index": index,
        "name": name,
        "compute_capability": format!("{major}.{minor}"),
        "multiprocessors": multiprocessors,
        "clock_khz": clock,
        "cuda": cuda,
        "driver": version,
        "memory_free": free,
        "memory": total,
    });
    Ok(Section { name: "card", text, json, n_failed: 0 })
}

/// The driver's own version, such as `575.57.08`, where the system has a file that says it.
fn driver_version() -> Option<String> {
    version_in(&fs::read_to_string("/proc/driver/nvidia/version").ok()?)
}

fn version_in(text: &str) -> Option<String> {
    let is_version =
        |it: &&str| it.contains('.') && it.chars().all(|it| it.is_ascii_digit() || it == '.');
    text.lines().next()?.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn the_version_of_the_driver_is_found() {
        let text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  575.57.08  Sat May 24 2025\nGCC version:  12.2.0\n";
        assert_eq!(version_in(text).as_deref(), Some("575.57.08"));
        let open =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.57.08  Release Build\n";
        assert_eq!(version_in(open).as_deref(), Some("575.57.08"));
        assert_eq!(version_in("GCC version"), None);
    }
}
