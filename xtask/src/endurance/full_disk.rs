//! `cargo xtask full-disk`: fills the disk that runs write to, and resumes them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context as _, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{bench::Bench, tally::Tally};

/// Runs experiments on a small file system, which is filled up to a few bytes at random moments.
pub(crate) fn full_disk(program: &Path, n_times: usize) -> anyhow::Result<()> {
    let Some(disk) = env::var_os(DISK).map(PathBuf::from) else {
        // In a separate mount namespace the file system is private, and disappears with this process.
        let disk = env::temp_dir().join(format!("maskfit-disk-{}", std::process::id()));
        fs::create_dir_all(&disk)?;
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c"]);
        command.arg("mount -t tmpfs -o size=64m tmpfs \"$1\" && exec \"$2\" full-disk \"$3\"");
        command.arg("sh").arg(&disk).arg(env::current_exe()?).arg(n_times.to_string());
        let status = command.env(DISK, &disk).status();
        drop(fs::remove_dir(&disk));
        ensure!(
            status.context("`unshare` is needed, to mount a small disk")?.success(),
            "the test failed"
        );
        return Ok(());
    };
    let bench = Bench::new(program, &disk)?;
    let began = Instant::now();
    let whole = bench.whole()?;
    let lasts = began.elapsed();
    let largest = whole.values().map(Vec::len).max().unwrap_or(0);
    fs::remove_dir_all(bench.place("whole"))?;
    let mut rng = StdRng::seed_from_u64(0);
    let mut tally = Tally::default();
    for idx in 0..n_times {
        let name = format!("full-{idx}");
        let ballast = disk.join("ballast");
        bench.begin(&name)?;
        // Often less than a page, sometimes nearly two files.
        let room = (2.0 * largest as f64 * rng.random::<f64>().powi(4)) as usize;
        let mut train = bench.train(&name);
        let child = train.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        thread::sleep(lasts.mul_f64(rng.random()));
        fill(&ballast, room)?;
        let output = child.wait_with_output()?;
        let steps = bench.steps(&name);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let n_errors = errors.lines().filter(|it| it.starts_with("error:")).count();
        fs::remove_file(&ballast)?;
        let what = match output.status.success() {
            true => format!("{room} bytes were enough"),
            false => format!("full after {steps} steps"),
        };
        println!("{what}: {}", errors.trim().lines().collect::<Vec<_>>().join(" | "));
        let is_clear = output.status.success() || n_errors == 1 && errors.contains("No space left");
        if !is_clear {
            tally.bad.push(format!("{what}, with unexpected errors: {errors}"));
        }
        let out = bench.resume_or_begin(&name)?;
        tally.note(&whole, &bench.files(&name)?, &what, &out);
        fs::remove_dir_all(bench.place(&name))?;
    }
    tally.finish(n_times)
}

/// The environment variable with the path of the small disk, set for the inner process.
const DISK: &str = "MASKFIT_FULL_DISK";

/// Fills the disk until about `room` bytes are left, up to the block size.
fn fill(ballast: &Path, room: usize) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(ballast)?;
    let block = vec![1; 4096];
    while file.write_all(&block).is_ok() {}
    let n = fs::metadata(ballast)?.len();
    file.set_len(n.saturating_sub(room as u64))?;
    Ok(())
}
