//! The folders of a cross-validation: `fold-0/` and so on, each the run of a finished fold.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The table of folds.
pub(crate) const FOLDS: &str = "folds.csv";

/// Returns the folder of a finished fold.
pub(crate) fn home(run: &Path, fold: usize) -> PathBuf {
    run.join(format!("fold-{fold}"))
}

/// Returns whether a fold is finished.
pub(crate) fn is_finished(run: &Path, fold: usize) -> bool {
    home(run, fold).join("report.toml").is_file()
}

/// Returns whether a folder is a cross-validation's, by its files.
pub fn is_kfold(dir: &Path) -> bool {
    dir.join(FOLDS).is_file() || dir.join("fold-0").is_dir()
}

/// Returns the folders of a cross-validation's finished folds, in their order.
pub fn finished_folds(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let number = |it: fs::DirEntry| -> Option<usize> {
        it.file_name().to_str()?.strip_prefix("fold-")?.parse().ok()
    };
    let mut folds: Vec<usize> = entries.filter_map(number).collect();
    folds.retain(|&it| is_finished(dir, it));
    folds.sort_unstable();
    folds.into_iter().map(|it| home(dir, it)).collect()
}
