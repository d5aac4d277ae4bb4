//! The runs that there are, for errors about one that there is not.

use std::{cmp::Reverse, fs, path::Path};

use base::{names::listed, nearest};
use trainer::kfold::is_kfold;

/// Returns the runs and bundles that a missing folder may mean, as the end of an error: the one of a similar name, or
/// the newest ones. Empty if there are none.
///
/// - `runs`: the folder to look in, unless the missing one would be in another that exists.
pub(crate) fn instead_of(missing: &Path, runs: &Path) -> String {
    let dir = missing.parent().filter(|it| it.is_dir()).unwrap_or(runs);
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let is_run = |it: &Path| {
        is_kfold(it) || ["config.toml", "bundle.toml"].iter().any(|name| it.join(name).is_file())
    };
    let entries = entries.filter(|it| is_run(&it.path()));
    let mut found: Vec<_> = entries
        .map(|it| {
            let begun = it.metadata().and_then(|it| it.modified()).ok();
            (Reverse(begun), it.file_name().to_string_lossy().into_owned())
        })
        .collect();
    found.sort();
    let names = || found.iter().map(|it| it.1.as_str());
    let shown = |name: &str| dir.join(name).display().to_string();
    let meant = missing.file_name().and_then(|it| nearest(it.to_str()?, names()));
    if let Some(name) = meant {
        return format!(": did you mean {}?", shown(name));
    }
    let all = listed(names().map(shown));
    match found.len() {
        0 => String::new(),
        1 => format!(" (there is {all})"),
        _ => format!(" (there are {all})"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::instead_of;

    #[test]
    fn the_runs_of_a_folder_are_named_or_the_similar_one() {
        let dir = tempfile::tempdir().unwrap();
        let instead = |missing: &Path| {
            let text = instead_of(missing, &dir.path().join("runs"));
            text.replace(&format!("{}/", dir.path().display()), "")
        };
        assert_eq!(instead(Path::new("b")), "");
        for (name, file) in [("runs/first", "config.toml"), ("runs/x", "none.toml")] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join(file), "").unwrap();
        }
        assert_eq!(instead(Path::new("b")), " (there is runs/first)");
        assert_eq!(instead(Path::new("frist")), ": did you mean runs/first?");
        for n in 0..6 {
            fs::create_dir(dir.path().join(format!("runs/k{n}"))).unwrap();
            fs::write(dir.path().join(format!("runs/k{n}/config.toml")), "").unwrap();
        }
        let text = instead(Path::new("b"));
        assert!(text.ends_with(" and 2 more)") && text.matches("runs/").count() == 5, "{text}");
        // In a folder that exists, the runs there.
        for fold in ["other/folds/fold-0", "other/soup"] {
            fs::create_dir_all(dir.path().join(fold)).unwrap();
        }
        fs::write(dir.path().join("other/soup/bundle.toml"), "").unwrap();
        let text = instead(&dir.path().join("other/b"));
        assert!(text.contains("other/soup") && text.contains("other/folds"), "{text}");
        assert!(text.starts_with(" (there are "), "{text}");
    }
}
