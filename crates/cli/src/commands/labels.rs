//! `maskfit labels`

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context as _, bail};
use augment::decode;
use base::task::Unit;
use data::{Example, Review, Reviewed};
use infer::LabelledPredictions;
use metrics::{LabelIssue, LabelScore, argmax, label_issues};

use crate::{
    End,
    drawing::{CORRECT, Cell, GREY, INCORRECT, INK, Sheet, png, thumbnail},
    labelled_table::LabelledTable,
    output::{folder, new_file},
    preparation::images_of,
    runs,
    style::headed,
    terminal::Terminal,
    wrap::{columns, wrapped},
};

/// Number of labels to print.
const SHOWN: usize = 10;

pub(crate) fn labels(
    named: &Path,
    set: &[String],
    output: &Path,
    by: LabelScore,
    n_images: usize,
) -> anyhow::Result<End> {
    let output = folder(output)?;
    let (csv_path, sheet_path) = (output.join("labels.csv"), output.join("sheet.png"));
    if csv_path.exists() {
        bail!("{}: already exists, perhaps reviewed: choose a new folder", csv_path.display());
    }
    if sheet_path.exists() {
        bail!("{}: already exists: choose a new folder", sheet_path.display());
    }
    let terminal = Terminal::new();
    let table = LabelledTable::of(named, false)?;
    let labelled = LabelledPredictions::open(&table.path, &table.task)?;
    let experiment = runs::experiment_like(&runs::find(named)?, set)?;
    let manifest = images_of(&experiment, &terminal)?;
    let by_name: HashMap<&str, &Example> =
        manifest.examples.iter().map(|it| (it.name.as_str(), it)).collect();
    if let Some(absent) = labelled.images.iter().find(|it| !by_name.contains_key(it.as_str())) {
        bail!("`{absent}` is no longer in the data: restore the data of this run");
    }

    let issues = label_issues(&labelled.predictions, by);
    let errors: Vec<&LabelIssue> = issues.iter().filter(|it| it.is_error).collect();
    let review = Review { rows: errors.iter().map(|it| row(it, &labelled)).collect() };
    let cell = |(idx, (issue, row)): (usize, (&&LabelIssue, &Reviewed))| {
        // Of a group, the image with the lowest probability of the given label.
        let of_given = |&at: &usize| {
            let scope = base::task::Scope::Factor(issue.factor);
            let p = &labelled.predictions.probabilities[at];
            -labelled.predictions.task.marginal(p, scope)[issue.given]
        };
        let against: Vec<f64> = issue.images.iter().map(of_given).collect();
        let name = &labelled.images[issue.images[argmax(&against)]];
        let bytes = by_name[name.as_str()].content.bytes().ok();
        let image = bytes.and_then(|it| decode(&it, experiment.data.max_pixels).ok());
        Cell {
            image: image.as_ref().map(thumbnail),
            lines: vec![
                (format!("{}. {} {:.4}", idx + 1, row.factor, row.score), INK),
                (format!("label: {}", row.given), INCORRECT),
                (format!("predicted: {}", row.suggested), CORRECT),
                (row.group.clone(), GREY),
                (short(row).to_owned(), GREY),
            ],
        }
    };
    let cells = errors.iter().zip(&review.rows).take(n_images).enumerate().map(cell);
    let cells: Vec<Cell> = cells.collect();
    let n_shown = cells.len();
    let title = format!("{n_shown} of {} likely label errors", errors.len());
    let sheet = Sheet { title, cells, columns: Sheet::COLUMNS, together: 1 }.draw();
    fs::create_dir_all(output).with_context(|| output.display().to_string())?;
    new_file(&sheet_path, &png(&sheet))?;
    // The table says that the folder is complete.
    new_file(&csv_path, review.to_csv().as_bytes())
        .inspect_err(|_| drop(fs::remove_file(&sheet_path)))?;

    print_summary(&labelled, &issues);
    // Of images that are their own groups, the group's name is the image's.
    let group = match labelled.predictions.task.unit {
        Unit::Image => "group",
        unit => unit.one(),
    };
    let header = ["", group, "image", "factor", "label", "predicted", "score"];
    let mut rows = vec![header.map(str::to_owned)];
    for (idx, it) in review.rows.iter().take(SHOWN).enumerate() {
        rows.push([
            format!("{}.", idx + 1),
            it.group.clone(),
            short(it).to_owned(),
            it.factor.clone(),
            it.given.clone(),
            it.suggested.clone(),
            format!("{:.4}", it.score),
        ]);
    }
    if !errors.is_empty() {
        say!("\n{}", headed(&columns(&rows, &[true, false, false, false, false, false, true])));
    }
    say!("\nall likely errors, most likely first: {}", csv_path.display());
    say!("contact sheet of the first {n_shown}: {}", sheet_path.display());
    say!(
        "\nNo label was changed. To review, fill the column `decision` of labels.csv:\n  \
         fix          replace the label by that of `suggested`, which may be edited\n  \
         drop         exclude its images from training and validation\n  \
         weight 0.5   sample weight of its images in training; weight 0 excludes them\n  \
         keep         leave the label unchanged (the default)\n\
         Then train with --set data.reviewed='[\"{}\"]'",
        csv_path.display()
    );
    Ok(End::Done)
}

/// Prints the number of likely label errors of each factor.
fn print_summary(labelled: &LabelledPredictions, issues: &[LabelIssue]) {
    let unit = labelled.predictions.task.unit;
    say!(
        "{}, predicted by models that were not trained on them.",
        unit.images_of(labelled.images.len(), labelled.groups.len())
    );
    let rule = "Confident learning: a label is a likely error if another level reaches its threshold, the mean \
                predicted probability where that level is the label.";
    say!("{}", wrapped("", rule));
    for (idx, factor) in labelled.predictions.task.factors.iter().enumerate() {
        let own: Vec<&LabelIssue> = issues.iter().filter(|it| it.factor == idx).collect();
        let n_errors = own.iter().filter(|it| it.is_error).count();
        let n_groups = own.iter().filter(|it| it.is_of_group).count();
        let whose = match (n_groups, own.len() - n_groups) {
            (0, n) => format!("{n} images"),
            (n, 0) => format!("{} (predictions pooled per {})", unit.count(n), unit.one()),
            (groups, n) => {
                let groups = unit.count(groups);
                format!("{groups} (predictions pooled), and of {n} images of others")
            }
        };
        let text = format!("{}: {n_errors} likely errors among the labels of {whose}", factor.name);
        say!("{}", wrapped("  ", &text));
    }
}

/// Returns the name of an image without the prefix of its group.
fn short(row: &Reviewed) -> &str {
    row.image.strip_prefix(&row.group).unwrap_or(&row.image).trim_start_matches('/')
}

fn row(it: &LabelIssue, labelled: &LabelledPredictions) -> Reviewed {
    let factor = &labelled.predictions.task.factors[it.factor];
    Reviewed {
        line: 0,
        group: labelled.groups[it.group].clone(),
        image: match it.is_of_group {
            true => "all".to_owned(),
            false => labelled.images[it.images[0]].clone(),
        },
        factor: factor.name.clone(),
        given: factor.levels[it.given].clone(),
        suggested: factor.levels[it.suggested].clone(),
        score: it.score,
        decision: String::new(),
    }
}
