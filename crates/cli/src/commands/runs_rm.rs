//! `maskfit runs rm`: removes runs.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use trainer::{Run, kfold::is_kfold};

use crate::{End, runs};

/// Removes runs, after asking.
pub(crate) fn remove(named: &[PathBuf], is_agreed: bool) -> anyhow::Result<End> {
    let mut all: Vec<Run> = Vec::new();
    for named in named {
        if named.as_os_str() == "latest" {
            bail!("latest: name the run that is to be removed");
        }
        let dir = runs::find(named)?;
        let shown = dir.display();
        if !dir.exists() {
            bail!("{shown}: there is no such folder: see `maskfit runs`");
        }
        if !is_run(&dir) {
            bail!("{shown}: this is not a run's folder: nothing is removed");
        }
        let whole = dir.canonicalize().with_context(|| shown.to_string())?;
        let is_fold = whole.file_name().is_some_and(|it| it.to_string_lossy().starts_with("fold-"));
        if is_fold && whole.parent().is_some_and(|it| it.join("config.toml").is_file()) {
            bail!("{shown}: this is a fold of a cross-validation: name the cross-validation");
        }
        if all.iter().all(|it| it.dir() != whole) {
            all.push(Run::open(&whole).map_err(|err| match err {
                trainer::RunError::Busy(_) => trainer::RunError::Busy(dir.clone()),
                other => other,
            })?);
        }
    }
    if !is_agreed && !agree(&all)? {
        status!("nothing is removed");
        return Ok(End::Done);
    }
    for run in all {
        let dir = run.dir().to_owned();
        run.remove()?;
        say!("removed: {}", dir.file_name().unwrap_or_default().to_string_lossy());
    }
    Ok(End::Done)
}

/// Returns whether a folder is a run's, perhaps of another version or with a damaged config: other programs
/// also write a `config.toml`.
fn is_run(dir: &Path) -> bool {
    let config = fs::read(dir.join("config.toml"));
    let is_ours = config.as_ref().is_ok_and(|it| it.starts_with(b"# maskfit run"));
    let has_steps = dir.join("steps.csv").is_file() || is_kfold(dir);
    dir.join("lock").is_file() && (is_ours || config.is_ok() && has_steps)
}

/// Asks whether to remove runs.
fn agree(runs: &[Run]) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("`runs rm` asks on a terminal, and there is none: confirm with `--yes`");
    }
    complain!("remove with all bundles and checkpoints:");
    runs.iter().for_each(|it| complain!("  {}", it.dir().display()));
    complain!("[y/N]");
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("cannot read the answer")?;
    Ok(["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
}
