//! What a bundle was trained on, as far as its folder or that of its run tells.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use base::{
    records::{Record, Records},
    table,
    task::Unit,
    text,
};
use trainer::{PRETRAINED, kfold::is_kfold};

use crate::runs::is_trained_on_valid;

/// The groups that a bundle was made with, by name.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct TrainedOn {
    /// Those that its models were trained on.
    pub(crate) groups: BTreeSet<String>,
    /// Those that an ensemble's weights, calibration, thresholds or prediction sets were fitted on.
    pub(crate) fitted: BTreeSet<String>,
    /// Those that its epochs were selected on: a score on them is slightly too good.
    pub(crate) selected: BTreeSet<String>,
}

/// The side of groups that an ensemble was fitted on.
const FITTED: &str = "fitted";
/// The side of groups that the epochs were selected on.
const SELECTED: &str = "valid";

/// The number of groups to name.
const SHOWN: usize = 5;

/// What to print where nothing is known of a bundle.
pub(crate) fn unknown(bundle: &Path) -> String {
    let bundle = bundle.display();
    format!("{bundle}: what it was trained on is unknown: these images may be among it")
}

/// The table of the groups and their sides, in the folder of a run or of an ensemble.
pub(crate) const FILE: &str = "split.csv";

impl TrainedOn {
    /// Reads it for the bundle in a folder, with what the bundle that its run continued from was trained on; `None` if
    /// nothing is known.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub(crate) fn of(bundle: &Path) -> anyhow::Result<Option<TrainedOn>> {
        let of_run = bundle.parent().filter(|_| bundle.ends_with("best"));
        let dirs = [Some(bundle), of_run];
        let Some(dir) = dirs.into_iter().flatten().find(|it| it.join(FILE).is_file()) else {
            return Ok(None);
        };
        let mut own = TrainedOn::of_dir(dir)?;
        if let Some(earlier) = TrainedOn::earlier(dir)? {
            own.add(earlier);
        }
        Ok(Some(own))
    }

    /// Reads what the bundle that a run, a fold or a cross-validation continued from was trained on; `None` if it
    /// continued from none, or nothing is known.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub(crate) fn earlier(run: &Path) -> anyhow::Result<Option<TrainedOn>> {
        earlier_of(run).map(|it| TrainedOn::of_dir(&it)).transpose()
    }

    /// Reads the table in a folder.
    fn of_dir(dir: &Path) -> anyhow::Result<TrainedOn> {
        let path = dir.join(FILE);
        let text = text::read(&path).with_context(|| path.display().to_string())?;
        let has_valid = is_trained_on_valid(dir);
        let is_trained_on = |side: &str| side == "train" || side == SELECTED && has_valid;
        let mut found = TrainedOn::default();
        for row in Records::exact(&text).rows() {
            let (Some(group), Some(side)) = (row.fields.get(0), row.fields.get(1)) else {
                continue;
            };
            if side == FITTED {
                found.fitted.insert(group.to_owned());
            } else if is_trained_on(side) {
                found.groups.insert(group.to_owned());
            } else if side == SELECTED {
                found.selected.insert(group.to_owned());
            }
        }
        Ok(found)
    }

    /// Returns those of some groups that the bundle was trained or fitted on.
    pub(crate) fn among<'a>(&self, groups: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
        groups.into_iter().filter(|it| self.contains(it)).collect()
    }

    /// Returns which of the groups of some images the bundle was trained or fitted on, as a problem, if any.
    pub(crate) fn problem<'a>(
        &self,
        bundle: &Path,
        groups: impl ExactSizeIterator<Item = &'a str> + Clone,
        unit: Unit,
    ) -> Option<String> {
        let of = unit.count(groups.len());
        let seen = |how: &str, known: &BTreeSet<String>| {
            let seen: Vec<String> = groups
                .clone()
                .filter(|it| known.contains(*it))
                .map(|it| format!("`{it}`"))
                .collect();
            let more = if seen.len() > SHOWN { ", ..." } else { "" };
            let (n_seen, shown) = (seen.len(), seen.get(..SHOWN).unwrap_or(&seen).join(", "));
            (n_seen > 0).then(|| format!("was {how} on {n_seen} of these {of}: {shown}{more}"))
        };
        let all = [seen("trained", &self.groups), seen("fitted", &self.fitted)];
        let all: Vec<String> = all.into_iter().flatten().collect();
        (!all.is_empty()).then(|| format!("{}: {}", bundle.display(), all.join("; ")))
    }

    /// Returns whether a group is among those that the bundle was trained or fitted on.
    pub(crate) fn contains(&self, group: &str) -> bool {
        self.groups.contains(group) || self.fitted.contains(group)
    }

    /// Adds what another bundle was trained on.
    pub(crate) fn add(&mut self, other: TrainedOn) {
        self.groups.extend(other.groups);
        self.fitted.extend(other.fitted);
        self.selected.extend(other.selected);
    }

    /// Formats the table.
    pub(crate) fn to_csv(&self) -> String {
        let trained = self.groups.iter().map(|it| [it.as_str(), "train"]);
        let fitted = self.fitted.iter().map(|it| [it.as_str(), FITTED]);
        let selected = self.selected.iter().map(|it| [it.as_str(), SELECTED]);
        table::text(["group", "side"], trained.chain(fitted).chain(selected))
    }
}

/// Returns the table of a run's data, of a bundle that is in its folder.
pub(crate) fn data_of(bundle: &Path) -> Option<PathBuf> {
    // An ensemble may be named `best` too.
    let is_of_run = |it: &&Path| bundle.ends_with("best") && it.join("config.toml").is_file();
    let path = bundle.parent().filter(is_of_run).map(|it| it.join("data.csv"));
    path.filter(|it| it.is_file())
}

/// Returns the hashes of the files that a run was trained on, as far as the table of its data has them.
///
/// # Errors
/// A table that cannot be read.
pub(crate) fn files(bundle: &Path) -> anyhow::Result<HashSet<u64>> {
    let Some(path) = data_of(bundle) else { return Ok(HashSet::new()) };
    let has_valid = path.parent().is_some_and(is_trained_on_valid);
    let text = text::read(&path).with_context(|| path.display().to_string())?;
    let table = Records::exact(&text);
    let Ok([hash, side]) = table.header().columns(["hash", "side"]) else {
        return Ok(HashSet::new());
    };
    let is_trained_on = |row: &Record| {
        row.fields.get(side).is_some_and(|it| it == "train" || it == SELECTED && has_valid)
    };
    let digits = |row: Record| u64::from_str_radix(row.fields.get(hash)?, 16).ok();
    Ok(table.rows().filter(is_trained_on).filter_map(digits).collect())
}

/// Returns the copy of the bundle that a run continued from, if its table of groups is known: in the run's folder, or
/// for a fold in that of the cross-validation.
fn earlier_of(run: &Path) -> Option<PathBuf> {
    let kfold = run.parent().filter(|it| is_kfold(it));
    let mut dirs = [Some(run), kfold].into_iter().flatten().map(|it| it.join(PRETRAINED));
    dirs.find(|it| it.join(FILE).is_file())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use base::task::Unit;

    use super::TrainedOn;

    #[test]
    fn groups_of_the_training_set_are_read_from_the_runs_folder() {
        let dir = tempfile::tempdir().unwrap();
        let best = dir.path().join("best");
        fs::create_dir(&best).unwrap();
        assert_eq!(TrainedOn::of(&best).unwrap(), None);
        let table = "group,side\n\"Kim, A\",train\nb,valid\nc,test\n";
        fs::write(dir.path().join("split.csv"), table).unwrap();
        let groups =
            || TrainedOn::of(&best).unwrap().unwrap().groups.into_iter().collect::<Vec<_>>();
        assert_eq!(groups(), ["Kim, A"]);
        assert_eq!(TrainedOn::of(&best).unwrap().unwrap().selected, ["b".to_owned()].into());
        fs::write(dir.path().join("report.toml"), "trained_on_valid = true\n").unwrap();
        assert_eq!(groups(), ["Kim, A", "b"]);

        let seen = TrainedOn::of(&best).unwrap().unwrap();
        let problem =
            |groups: &[&str]| seen.problem(Path::new("best"), groups.iter().copied(), Unit::Person);
        assert_eq!(problem(&["c", "d"]), None);
        let text = "best: was trained on 2 of these 3 people: `b`, `Kim, A`";
        assert_eq!(problem(&["b", "c", "Kim, A"]).as_deref(), Some(text));
        assert_eq!(seen.among(["d", "b"]), ["b"].into());

        // What the bundle that the run continued from was trained on counts too.
        let earlier = dir.path().join("pretrained");
        fs::create_dir(&earlier).unwrap();
        fs::write(earlier.join("split.csv"), "group,side\ne,train\n").unwrap();
        assert_eq!(groups(), ["Kim, A", "b", "e"]);
        fs::remove_dir_all(&earlier).unwrap();

        // An ensemble has its own.
        let mut all = TrainedOn::of(&best).unwrap().unwrap();
        let fitted = ["e".to_owned()].into();
        let selected = ["f".to_owned()].into();
        all.add(TrainedOn { groups: ["d".to_owned()].into(), fitted, selected });
        fs::write(best.join("split.csv"), all.to_csv()).unwrap();
        assert_eq!(groups(), ["Kim, A", "b", "d"]);
        let seen = TrainedOn::of(&best).unwrap().unwrap();
        assert_eq!(seen.selected, ["f".to_owned()].into());
        assert_eq!(seen.problem(Path::new("best"), ["f"].into_iter(), Unit::Person), None);
        let of = seen.problem(Path::new("best"), ["d", "e"].into_iter(), Unit::Person);
        let text =
            "best: was trained on 1 of these 2 people: `d`; was fitted on 1 of these 2 people: `e`";
        assert_eq!(of.as_deref(), Some(text));
    }
}
