//! `cargo xtask scale`: time and memory of each step that grows with the data, at a million images.
//!
//! The images are hard links to 56 small ones, seven per group's folder; predictions and hashes are
//! synthetic, from `maskfit bench scale`. Each step is a separate process. Its peak memory is the kernel's
//! `VmHWM`, polled every 10 ms. With 1,000 classes there are fewer rows: a table of a million rows and 1,000
//! columns would have ten gigabytes.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

/// Time limit of a step, except for the first reading of all images.
const MOST_SECONDS: f64 = 60.0;
/// Memory limit of a step.
const MOST_MIB: f64 = 2048.0;
/// The seven images of a group.
const NAMES: [&str; 7] = ["incorrect_mask", "mask1", "mask2", "mask3", "mask4", "mask5", "normal"];
/// Number of generated groups. On common file systems a file has at most 65,000 hard links.
const N_GENERATED: usize = 8;
/// Number of runs to compare.
const N_RUNS: usize = 100;

/// Measures every step with about `n` images, and fails if one exceeds the limits.
pub(crate) fn scale(program: &Path, n: usize) -> anyhow::Result<()> {
    ensure!(n >= 10_000, "at least 10000 images are needed for a measurable time");
    let temporary = tempfile::Builder::new().prefix("maskfit-scale-").tempdir()?;
    let dir = temporary.path();
    let mut bench = Bench { program, dir, over: Vec::new() };
    let began = Instant::now();
    let n_images = make(&bench, n)?;
    println!("{n_images} images made in {:.0} s\n", began.elapsed().as_secs_f64());
    println!("{:<46} {:>9} {:>9}", "step", "seconds", "peak MiB");

    let step = |name: &str| ["bench", "scale", name].map(str::to_owned).to_vec();
    let of_data = |name: &str| [step(name), vec!["experiment.toml".to_owned()]].concat();
    let sized = |name: &str, sizes: &[usize]| {
        [step(name), sizes.iter().map(ToString::to_string).collect()].concat()
    };
    let check = ["data", "check", "experiment.toml"].map(str::to_owned).to_vec();
    bench.step("list", &of_data("list"))?;
    let seconds = bench.measure("check, first time", &check)?;
    println!("{:<46} {:>9.0} images/s", "", n_images as f64 / seconds);
    bench.step("check, again", &check)?;
    let reviewed = ["--set", "data.reviewed=[\"reviewed.csv\"]"].map(str::to_owned).to_vec();
    let many = format!("list, with {} reviewed labels", n / 10);
    bench.step(&many, &[of_data("list"), reviewed].concat())?;
    bench.step("list and split", &of_data("split"))?;
    bench.step("list, split and one epoch's plan", &of_data("plan"))?;
    for (n_classes, n) in [(18, n), (1000, n / 20)] {
        let of = format!("{n} images, {n_classes} classes");
        let table = [sized("table", &[n, n_classes]), vec!["table.csv".to_owned()]].concat();
        bench.step(&format!("predict's table: {of}"), &table)?;
        bench.step(&format!("evaluation: {of}"), &sized("evaluate", &[n, n_classes]))?;
    }
    for (n_classes, n) in [(18, n / 100), (1000, n / 1000)] {
        let runs = dir.join(format!("runs-{n_classes}"));
        let sizes = [N_RUNS, n, n_classes].map(|it| it.to_string());
        let make = [step("runs"), vec![runs.display().to_string()], sizes.to_vec()].concat();
        ensure!(bench.command(&make).status()?.success(), "cannot make the runs");
        let named = (0..N_RUNS).map(|it| runs.join(format!("run-{it:03}")).display().to_string());
        let compare = std::iter::once("compare".to_owned()).chain(named).collect::<Vec<_>>();
        bench.step(&format!("compare {N_RUNS} runs: {n} images, {n_classes} classes"), &compare)?;
    }
    bench.step(&format!("near-duplicates: {n} distinct hashes"), &sized("hashes", &[n]))?;
    let alike = [sized("hashes", &[n]), vec!["--alike".to_owned()]].concat();
    bench.step(&format!("near-duplicates: {n} similar hashes"), &alike)?;

    let over = bench.over;
    temporary.close().context("cannot remove the images")?;
    ensure!(
        over.is_empty(),
        "these exceed {MOST_SECONDS} s or {MOST_MIB} MiB: {}",
        over.join("; ")
    );
    println!("\nno step exceeds {MOST_SECONDS} s or {MOST_MIB} MiB");
    Ok(())
}

/// Runs and measures the steps.
struct Bench<'a> {
    program: &'a Path,
    dir: &'a Path,
    /// The steps that exceeded a limit.
    over: Vec<String>,
}

impl Bench<'_> {
    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(self.program);
        command.args(args).current_dir(self.dir).env("MASKFIT_CACHE", self.dir.join("cache"));
        command.stdout(Stdio::null());
        command
    }

    /// Runs a step, prints its time and memory, and notes whether it exceeds a limit.
    fn step(&mut self, name: &str, args: &[String]) -> anyhow::Result<()> {
        let seconds = self.measure(name, args)?;
        if seconds > MOST_SECONDS {
            self.over.push(format!("{name}: {seconds:.1} s"));
        }
        Ok(())
    }

    /// As [`step`](Self::step), without a time limit; returns the seconds.
    fn measure(&mut self, name: &str, args: &[String]) -> anyhow::Result<f64> {
        let began = Instant::now();
        let mut child = self.command(args).spawn().context("cannot start the program")?;
        let mut peak_kib = 0;
        let status = loop {
            peak_kib = peak_kib.max(peak(&child));
            if let Some(it) = child.try_wait()? {
                break it;
            }
            thread::sleep(Duration::from_millis(10));
        };
        let seconds = began.elapsed().as_secs_f64();
        let mib = peak_kib as f64 / 1024.0;
        ensure!(status.success(), "{name} failed: {status}");
        println!("{name:<46} {seconds:>9.1} {mib:>9.0}");
        if mib > MOST_MIB {
            self.over.push(format!("{name}: {mib:.0} MiB"));
        }
        Ok(seconds)
    }
}

/// Returns the peak memory of a process so far, in KiB; 0 if it has ended.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    line.and_then(|it| it.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Makes the images, the experiment and a reviewed table; returns the number of images.
fn make(bench: &Bench<'_>, n: usize) -> anyhow::Result<usize> {
    let dir = bench.dir;
    let generated = N_GENERATED.to_string();
    let generate = [
        "data",
        "synthetic-people",
        "generated",
        "--people",
        &generated,
        "--test",
        "0",
        "--size",
        "32x24",
    ];
    ensure!(bench.command(&generate).status()?.success(), "cannot generate the images");
    let mut originals: Vec<PathBuf> = fs::read_dir(dir.join("generated/train/images"))?
        .map(|it| it.map(|it| it.path()))
        .collect::<Result<_, _>>()?;
    originals.sort();
    let (root, n_groups) = (dir.join("data"), n / NAMES.len());
    let mut csv = "id,gender,race,age,path\n".to_owned();
    let mut reviewed = "group,image,factor,given,suggested,score,decision\n".to_owned();
    for group in 0..n_groups {
        let (gender, age) = (["male", "female"][group % 2], 18 + group % 50);
        let name = format!("{group:07}_{gender}_Drawn_{age}");
        let folder = root.join("images").join(&name);
        fs::create_dir_all(&folder)?;
        for file in NAMES {
            let file = format!("{file}.jpg");
            fs::hard_link(originals[group % N_GENERATED].join(&file), folder.join(&file))?;
        }
        csv += &format!("{group:07},{gender},Drawn,{age},{name}\n");
        if group % 10 == 0 {
            for file in NAMES {
                reviewed += &format!("{name},{name}/{file}.jpg,mask,worn,worn,0.1,weight 0.5\n");
            }
        }
    }
    fs::write(root.join("train.csv"), csv)?;
    fs::write(dir.join("reviewed.csv"), reviewed)?;
    let experiment = "[data]\nsource = { kind = \"mask_profiles\", root = \"data\" }\n\
                      [augment]\ntrain = [{ kind = \"random_crop\", size = [32, 24] }]\n\
                      eval = [{ kind = \"center_crop\", size = [32, 24] }]\n";
    fs::write(dir.join("experiment.toml"), experiment)?;
    Ok(n_groups * NAMES.len())
}
