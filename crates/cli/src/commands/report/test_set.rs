//! The test scores of a cross-validation, beside those of its out-of-fold predictions: of the folds' models one by one
//! (`test.csv` of each fold), and of the mean of their probabilities (`test.csv` of the cross-validation).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use base::Task;
use infer::{LabelledReader, Row};
use report::{RunReport, TestScores, TestSums, test_scores};
use trainer::kfold::finished_folds;

use super::found::{Found, Kind};

/// The images of all tables, which are the same in the same order.
#[derive(Default)]
struct Images {
    names: Vec<String>,
    /// The number of the group of each image.
    groups: Vec<usize>,
}

/// Adds the test scores to the report of a cross-validation whose data has a test set.
pub(super) fn add(run: &mut RunReport, found: &Found) {
    if found.kind != Kind::Kfold || found.is_test {
        return;
    }
    match scores(&found.dir, &found.task) {
        Ok(scores) => run.test = scores,
        Err(reason) => run.notes.push(format!("The test scores are left out: {reason}.")),
    }
}

fn scores(dir: &Path, task: &Task) -> Result<Option<TestScores>, String> {
    let file = |dir: &Path| Some(dir.join("test.csv")).filter(|it| it.is_file());
    let folds: Vec<PathBuf> = finished_folds(dir).iter().filter_map(|it| file(it)).collect();
    let mut images = None;
    let mut read = |path: &PathBuf| sums(path, task, &mut images);
    let folds = folds.iter().map(&mut read).collect::<Result<Vec<_>, String>>()?;
    let ensemble = file(dir).as_ref().map(read).transpose()?;
    Ok(test_scores(task, folds, ensemble))
}

/// Reads a table row by row.
///
/// - `images`: those of the first table, which sets them.
fn sums(path: &Path, task: &Task, images: &mut Option<Images>) -> Result<TestSums, String> {
    let mut reader = LabelledReader::open(path, task).map_err(|err| err.to_string())?;
    let (mut sums, mut row, mut at) = (TestSums::new(task), Row::default(), 0);
    let other = || format!("{}: it has other images than those of the first fold", path.display());
    let (mut own, mut number_of) = (Images::default(), HashMap::new());
    while reader.next(&mut row).map_err(|err| err.to_string())? {
        let group = match &*images {
            Some(first) if first.names.get(at) == Some(&row.image) => first.groups[at],
            Some(_) => return Err(other()),
            None => {
                let n = number_of.len();
                let group = *number_of.entry(row.group.clone()).or_insert(n);
                own.names.push(row.image.clone());
                own.groups.push(group);
                group
            }
        };
        sums.add(&row.prediction(group));
        at += 1;
    }
    match images {
        Some(first) if first.names.len() != at => Err(other()),
        Some(_) => Ok(sums),
        None => {
            *images = Some(own);
            Ok(sums)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base::{Task, task::Factor};

    use super::scores;

    #[test]
    fn tables_of_the_same_images_are_scored_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let task = Task::new(vec![Factor::new("a", &["x", "y"])]);
        let write = |folder: &str, rows: &[(&str, &str, usize)]| {
            let own = dir.path().join(folder);
            fs::create_dir_all(&own).unwrap();
            let row = |&(image, group, predicted): &(&str, &str, usize)| {
                format!("{image},{group},0,{predicted},{},{predicted}\n", 1 - predicted)
            };
            let rows: String = rows.iter().map(row).collect();
            fs::write(own.join("test.csv"), format!("image,group,truth,predicted,x,y\n{rows}"))
                .unwrap();
            fs::write(own.join("report.toml"), "").unwrap();
        };
        assert_eq!(scores(dir.path(), &task), Ok(None));
        let rows = [("1", "p", 0), ("2", "q", 1), ("3", "p", 0), ("4", "r", 0)];
        write("fold-0", &rows);
        write("fold-1", &rows.map(|it| (it.0, it.1, 0)));
        write("", &rows.map(|it| (it.0, it.1, 0)));
        let it = scores(dir.path(), &task).unwrap().unwrap();
        assert_eq!((it.n_images, it.n_groups, it.n_folds, it.has_ensemble), (4, 3, 2, true));
        assert_eq!(it.scopes[0].folds.accuracy.value, Some((0.75 + 1.0) / 2.0));
        assert_eq!(it.scopes[0].ensemble.accuracy.value, Some(1.0));
        // Another image, or fewer.
        for rows in [&[("9", "p", 0)][..], &rows[..3]] {
            write("fold-1", rows);
            let err = scores(dir.path(), &task).unwrap_err();
            assert!(err.ends_with("it has other images than those of the first fold"), "{err}");
        }
    }
}
