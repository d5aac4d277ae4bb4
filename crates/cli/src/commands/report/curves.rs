//! The learning curves of a run, and of each fold of a cross-validation: their `epochs.csv`.

use std::path::Path;

use base::{records::Records, text};
use report::{Curve, CurvePoint, defined};
use trainer::kfold::finished_folds;

use super::found::{Found, Kind};

/// The columns that are shown; those of the joint classes are in every run.
const COLUMNS: [&str; 8] = [
    "step",
    "epoch",
    "train_loss",
    "joint_log_loss",
    "joint_macro_f1",
    "joint_accuracy",
    "score",
    "best",
];

/// Returns the curves; a table that cannot be read is a note.
pub(super) fn curves(found: &Found, notes: &mut Vec<String>) -> Vec<Curve> {
    let metric = found.experiment.as_ref().map_or("", |it| it.eval.best_by.kind());
    let metric = crate::phrases::metric(metric);
    let places = match found.kind {
        Kind::Run => vec![(String::new(), found.dir.clone())],
        Kind::Kfold => {
            let name = |dir: &Path| {
                let name = dir.file_name().unwrap_or_default().to_string_lossy();
                name.replace("fold-", "fold ")
            };
            finished_folds(&found.dir).into_iter().map(|it| (name(&it), it)).collect()
        }
        Kind::Ensemble | Kind::Soup | Kind::Evaluation => Vec::new(),
    };
    let mut curves = Vec::new();
    for (name, dir) in places {
        match points(&dir) {
            Ok(points) => curves.push(Curve { name, metric: metric.clone(), points }),
            Err(reason) => notes.push(format!("There is no learning curve: {reason}.")),
        }
    }
    curves
}

fn points(dir: &Path) -> Result<Vec<CurvePoint>, String> {
    let path = dir.join("epochs.csv");
    let text = text::read(&path).map_err(|err| format!("{}: {err}", path.display()))?;
    let table = Records::exact(&text);
    let header = table.header();
    let at = COLUMNS.map(|name| header.fields.iter().position(|it| it == name));
    if let Some(missing) = COLUMNS.iter().zip(at).find(|it| it.1.is_none()) {
        return Err(format!("{}: there is no column `{}`", path.display(), missing.0));
    }
    let point = |it: base::records::Record| {
        let cell = |idx: usize| at[idx].and_then(|it_at| it.fields.get(it_at));
        let number = |idx: usize| cell(idx)?.parse::<f64>().ok();
        Some(CurvePoint {
            step: cell(0)?.parse().ok()?,
            epoch: number(1)?,
            train_loss: number(2).and_then(defined),
            valid_loss: number(3).and_then(defined),
            macro_f1: number(4).and_then(defined),
            accuracy: number(5).and_then(defined),
            score: number(6).and_then(defined),
            is_best: cell(7) == Some("true"),
        })
    };
    Ok(table.rows().filter_map(point).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::points;

    #[test]
    fn points_are_read_by_the_names_of_their_columns() {
        let dir = tempfile::tempdir().unwrap();
        assert!(points(dir.path()).unwrap_err().contains("epochs.csv"));
        let table = "step,epoch,train_loss,score,best,joint_macro_f1,joint_accuracy,joint_log_loss,\"a,_b\"\n\
                     4,0.5,NaN,0.25,true,0.25,0.5,1.5,1\n8,1,0.75,inf,false,0.2,0.4,1.25,1\n";
        fs::write(dir.path().join("epochs.csv"), table).unwrap();
        let all = points(dir.path()).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].step, all[0].epoch, all[0].train_loss, all[0].valid_loss),
            (4, 0.5, None, Some(1.5))
        );
        assert_eq!(
            (all[0].macro_f1, all[0].accuracy, all[0].score),
            (Some(0.25), Some(0.5), Some(0.25))
        );
        assert!(all[0].is_best && !all[1].is_best && all[1].score.is_none());
        fs::write(dir.path().join("epochs.csv"), "step,epoch\n").unwrap();
        assert!(points(dir.path()).unwrap_err().contains("there is no column `train_loss`"));
    }
}
