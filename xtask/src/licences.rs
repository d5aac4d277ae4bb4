//! The licences of the libraries in the program, which must go with it.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
};

use anyhow::Context as _;
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::as_typed;

/// How the names of files with a licence begin.
const FILES: [&str; 6] = ["license", "licence", "copying", "notice", "unlicense", "copyright"];

/// Returns the names and licences of all libraries that the program consists of, each text once.
///
/// - `manifest`: the `Cargo.toml` of its workspace, `package`: its crate.
/// - `target`: what the program is built for.
pub(crate) fn of(
    sh: &Shell,
    (manifest, package): (&Path, &str),
    target: &str,
) -> anyhow::Result<String> {
    let metadata =
        cmd!(sh, "cargo metadata --locked --format-version 1 --manifest-path {manifest}");
    let metadata = metadata.args(["--filter-platform", target]);
    let metadata: Value = serde_json::from_str(&as_typed(metadata).quiet().read()?)?;
    // Metadata has the libraries of tests, too.
    let tree = cmd!(sh, "cargo tree --locked -p {package} --manifest-path {manifest}");
    let tree = tree.args(["-e", "normal", "--target", target, "--prefix", "none"]);
    let tree = as_typed(tree.args(["-f", "{p}"])).quiet().read()?;
    let linked: HashSet<&str> = tree.lines().filter_map(|it| it.split(" (").next()).collect();
    let mut packages = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let name = format!("{} v{}", text("name"), text("version"));
        // Those of this workspace have no source.
        if package["source"].is_null() || !linked.contains(name.as_str()) {
            continue;
        }
        let by = package["authors"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let by = by.collect::<Vec<_>>().join(", ");
        packages +=
            &format!("{name}: {} {}\n", text("license"), text("repository")).replace("  ", " ");
        if !by.is_empty() {
            packages += &format!("    by {by}\n");
        }
        let dir = Path::new(text("manifest_path")).parent().context("a manifest has no folder")?;
        for file in sh.read_dir(dir)? {
            let begin = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            if file.is_file() && FILES.iter().any(|it| begin.starts_with(it)) {
                let text = String::from_utf8_lossy(&fs::read(&file)?).trim().replace("\r\n", "\n");
                texts.entry(text).or_default().push(name.clone());
            }
        }
    }
    let mut all = format!(
        "maskfit consists of these libraries, too. Where one names several licences joined by OR, maskfit uses it \
         under MIT or Apache-2.0 if they are among them.\n\n{packages}"
    );
    for (text, names) in texts {
        all += &format!("\n{}\n{}\n\n{text}\n", "-".repeat(80), names.join(", "));
    }
    Ok(all)
}
