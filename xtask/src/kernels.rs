//! `cargo xtask kernels --nvcc PATH`: compiles the kernels of `crates/gpu` to PTX, and assembles that for three cards.
//!
//! The PTX is committed, so that the program is built without CUDA. Its first lines have the compiler's version and the
//! SHA-256 of the sources, by which a test sees that it belongs to them. Comments are removed: they are a sixth of it.
//! The table `ptxas.csv` has each kernel's registers, spilled bytes and shared memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

/// Where the compiler comes from.
const HOW_TO_GET_IT: &str = "\
the kernels are compiled by nvcc 13.0.2, which needs no GPU:
  python3 -m venv nv
  nv/bin/pip install 'cuda-toolkit[nvcc,crt,nvvm,cudart,cccl]==13.0.2'
  cargo xtask kernels --nvcc nv/lib/python3*/site-packages/nvidia/cu13/bin/nvcc";

/// The version of nvcc that makes the committed PTX.
const NVCC: &str = "V13.0.88";

/// The PTX's version. nvcc writes the newest, which only its own driver accepts; the kernels use nothing that this one
/// lacks, and drivers since CUDA 11.8 accept it.
const PTX_VERSION: &str = "7.8";

/// A hint on which bytes of a load are used, which that version does not know.
const HINT: &str = ".pragma \"used_bytes_mask";

/// The oldest card that the kernels run on, and how they are compiled for it.
const FLAGS: &[&str] = &["-ptx", "-arch=compute_80", "-std=c++17", "-O3"];

/// The cards in the table: Ampere, Hopper and Blackwell.
const CARDS: &[&str] = &["sm_80", "sm_90", "sm_100"];

/// Compiles all kernels, or only the families named, and writes the table.
///
/// - `words`: `--nvcc PATH`, then names of families such as `pool`.
pub(crate) fn compile(root: &Path, words: &[String]) -> anyhow::Result<()> {
    let [option, nvcc, named @ ..] = words else { bail!("{HOW_TO_GET_IT}") };
    ensure!(option == "--nvcc", "there is no option `{option}`\n{HOW_TO_GET_IT}");
    let nvcc = Path::new(nvcc);
    let version = version(nvcc)?;
    let dir = root.join("crates/gpu/kernels");
    let all = families(&dir)?;
    for name in named {
        ensure!(all.contains(name), "there is no {name}.cu in {}", dir.display());
    }
    let chosen = if named.is_empty() { &all } else { &named.iter().cloned().collect() };
    let mut rows = Vec::new();
    for family in chosen {
        let ptx = ptx(nvcc, &version, &dir, family)?;
        let path = dir.join(family).with_extension("ptx");
        fs::write(&path, &ptx)?;
        println!("{family}: {} kB of PTX", ptx.len() / 1000);
        for card in CARDS {
            for (kernel, usage) in assemble(nvcc, card, &path)? {
                if usage.spilled + usage.stack > 0 {
                    let Usage { spilled, stack, .. } = usage;
                    println!(
                        "  {card}: `{kernel}` spills {spilled} bytes, and has a stack of {stack}"
                    );
                }
                rows.push(((family.clone(), kernel, card.to_string()), usage));
            }
        }
    }
    // Read at the end: another one may have compiled other families meanwhile.
    let mut table = Table::read(&dir)?;
    table.0.retain(|(family, _, _), _| all.contains(family) && !chosen.contains(family));
    table.0.extend(rows);
    table.write(&dir)
}

/// The line of `nvcc --version` that names its version.
fn version(nvcc: &Path) -> anyhow::Result<String> {
    let output = Command::new(nvcc).arg("--version").output();
    let output = output.with_context(|| format!("{}\n{HOW_TO_GET_IT}", nvcc.display()))?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find(|it| it.contains("release"));
    let line = line.with_context(|| format!("{} is not nvcc", nvcc.display()))?;
    ensure!(
        line.ends_with(NVCC),
        "this nvcc is `{line}`, and the committed PTX is made by {NVCC}: install that, or change `NVCC` ({}) and \
         compile all kernels anew\n{HOW_TO_GET_IT}",
        file!(),
    );
    Ok(line.to_owned())
}

/// The names of the `.cu` files, without the extension.
fn families(dir: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "cu") {
            names.extend(path.file_stem().map(|it| it.to_string_lossy().into_owned()));
        }
    }
    Ok(names)
}

/// Compiles a family, and puts the header before it.
fn ptx(nvcc: &Path, version: &str, dir: &Path, family: &str) -> anyhow::Result<String> {
    let name = format!("{family}.cu");
    let temporary = tempfile::tempdir()?;
    let out = temporary.path().join("kernels.ptx");
    let status =
        Command::new(nvcc).args(FLAGS).arg("-o").arg(&out).arg(dir.join(&name)).status()?;
    ensure!(status.success(), "{name} does not compile");
    let mut text = "// Made by `cargo xtask kernels`; change the sources instead.\n".to_owned();
    writeln!(text, "// compiler: {version}; {}", FLAGS.join(" "))?;
    for (name, hash) in hashes(dir, name)? {
        writeln!(text, "// sha256: {hash} {name}")?;
    }
    for line in fs::read_to_string(out)?.lines() {
        let code = line.split("//").next().unwrap_or_default().trim();
        if code.starts_with(".version") {
            writeln!(text, ".version {PTX_VERSION}")?;
        } else if !code.is_empty() && !code.starts_with(HINT) {
            text += &code.replace(" \t", " ").replace('\t', " ");
            text.push('\n');
        }
    }
    Ok(text)
}

/// The SHA-256 of a source and of all that it includes, by name.
fn hashes(dir: &Path, name: String) -> anyhow::Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    let mut open = BTreeSet::from([name]);
    while let Some(name) = open.pop_first() {
        let path = dir.join(&name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for line in text.lines().filter_map(|it| it.trim().strip_prefix("#include \"")) {
            let included = line.split('"').next().unwrap_or_default().to_owned();
            if !hashes.contains_key(&included) {
                open.insert(included);
            }
        }
        let hash = Sha256::digest(&text);
        hashes.insert(name, hash.iter().map(|it| format!("{it:02x}")).collect());
    }
    Ok(hashes)
}

/// What the assembler says of a kernel on a card.
#[derive(Default)]
struct Usage {
    registers: u32,
    spilled: u32,
    stack: u32,
    shared: u32,
}

/// What kernels use, by family, kernel and card.
#[derive(Default)]
struct Table(BTreeMap<(String, String, String), Usage>);

impl Table {
    const FILE: &str = "ptxas.csv";
    const HEAD: &str =
        "family,kernel,architecture,registers,spilled_bytes,stack_bytes,shared_bytes";

    /// The table as it is; empty if there is none, or one with other columns.
    fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(Self::FILE);
        let text = if path.exists() { fs::read_to_string(path)? } else { String::new() };
        let mut table = Self::default();
        if text.lines().next() != Some(Self::HEAD) {
            return Ok(table);
        }
        for line in text.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            if let [family, kernel, card, registers, spilled, stack, shared] = cells[..] {
                let usage = Usage {
                    registers: registers.parse()?,
                    spilled: spilled.parse()?,
                    stack: stack.parse()?,
                    shared: shared.parse()?,
                };
                table.0.insert((family.into(), kernel.into(), card.into()), usage);
            }
        }
        Ok(table)
    }

    fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let mut text = format!("{}\n", Self::HEAD);
        for ((family, kernel, card), Usage { registers, spilled, stack, shared }) in &self.0 {
            writeln!(text, "{family},{kernel},{card},{registers},{spilled},{stack},{shared}")?;
        }
        fs::write(dir.join(Self::FILE), text)?;
        Ok(())
    }
}

/// What each kernel of a PTX file uses on a card.
fn assemble(nvcc: &Path, card: &str, ptx: &Path) -> anyhow::Result<BTreeMap<String, Usage>> {
    let ptxas = nvcc.with_file_name("ptxas");
    let mut command = Command::new(&ptxas);
    command.arg(format!("-arch={card}")).args(["-v", "-o", "/dev/null"]).arg(ptx);
    let output = command.output().with_context(|| ptxas.display().to_string())?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{} does not assemble for {card}:\n{text}", ptx.display());
    Ok(usages(&text))
}

/// Reads ptxas' messages: `Compiling entry function 'NAME'`, then lines of numbers, each before its unit.
fn usages(text: &str) -> BTreeMap<String, Usage> {
    let mut usages = BTreeMap::<String, Usage>::new();
    let mut current = None;
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("entry function '") {
            let name = rest.split('\'').next().unwrap_or_default();
            current = Some(name.to_owned());
        }
        let Some(name) = &current else { continue };
        let usage = usages.entry(name.clone()).or_default();
        let number = |unit: &str| {
            let before = line.split_once(unit)?.0.trim_end();
            before.rsplit(|it: char| !it.is_ascii_digit()).next()?.parse::<u32>().ok()
        };
        usage.registers += number(" registers").unwrap_or(0);
        usage.stack += number(" bytes stack frame").unwrap_or(0);
        usage.spilled += number(" bytes spill stores").unwrap_or(0);
        usage.shared += number(" bytes smem").unwrap_or(0);
    }
    usages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_the_assembler_are_read() {
        let text = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_80'
ptxas info    : Function properties for first
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 29 registers, used 1 barriers, 16 bytes cumulative stack size, 8192 bytes smem, 448 bytes cmem[0]
ptxas info    : Compile time = 135.976 ms
ptxas info    : Compiling entry function 'second' for 'sm_80'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 255 registers, 400 bytes cmem[0]";
        let found: Vec<_> = usages(text)
            .into_iter()
            .map(|(name, it)| (name, it.registers, it.spilled, it.stack, it.shared))
            .collect();
        assert_eq!(found, [("first".into(), 29, 8, 16, 8192), ("second".into(), 255, 0, 0, 0)]);
    }
}
