//! The files that a run leaves, and those of predictions, column by column.
//!
//! `tests/cli/files.rs` trains, and compares what is there with the page.

use super::{
    columns::{CLASSES, CONFUSIONS, Columns, DATA, EXPLAINED, PREDICTIONS, PSEUDO, TRAINED_ON},
    markdown::{NOTE, cell},
};

/// A file: its name, what it is, and the columns of a CSV. In names, `{...}` stands for any text; a column
/// with a `?` is missing in some runs.
type File = (&'static str, &'static str, Columns);

const RUN: &[File] = &[
    (
        "config.toml",
        "The resolved settings of all layers; training with this file repeats the run. Its first line has the format's number.",
        &[],
    ),
    (
        "config-until-{step}.toml",
        "The settings until that step, of a run that was resumed with other settings.",
        &[],
    ),
    (
        "split.csv",
        "The set of each group.",
        &[("group", "the group"), ("side", "`train`, `valid`, `test` or `left out`")],
    ),
    (
        "data.csv",
        "Every image with its labels, after label fixes and reviews. Its SHA-256 identifies the data, and is \
         kept in checkpoints.",
        DATA,
    ),
    (
        "data-until-{step}.csv",
        "The data until that step, of a run that was resumed with changed data.",
        DATA,
    ),
    (
        "steps.csv",
        "A row for each training step.",
        &[
            ("step", "steps done, from 1"),
            ("epoch", "epochs done, with a fraction"),
            ("loss", "training loss of the step's batch"),
            ("lr", "learning rate of the step"),
        ],
    ),
    (
        "epochs.csv",
        "A row for each evaluation on the validation set.",
        &[
            ("step", "steps done"),
            ("epoch", "epochs done, with a fraction"),
            ("train_loss", "mean training loss since the last evaluation"),
            ("score", "score by `eval.best_by`"),
            (
                "best",
                "`true` if this is the best evaluation of the phase so far, whose bundle is kept",
            ),
            ("{scope}_macro_f1", "macro F1, 0 to 1, of the joint classes and of each factor"),
            ("{scope}_accuracy", "accuracy, 0 to 1"),
            (
                "{scope}_log_loss",
                "mean negative logarithm of the probability of the true class, 0 or more",
            ),
        ],
    ),
    (
        "timing.csv",
        "Times of each evaluation and of the training before it; the only table that differs when a run is \
         repeated.",
        &[
            ("step", "steps done"),
            ("train_seconds", "seconds of training since the last evaluation"),
            ("images_per_second", "images trained on per second"),
            (
                "data_wait_share",
                "share of the training time that was spent waiting for images, 0 to 1",
            ),
            ("eval_seconds", "seconds of the evaluation"),
        ],
    ),
    ("valid.csv", "The best bundle's predictions of the validation set.", PREDICTIONS),
    ("valid_classes.csv", "Scores of each class on the validation set.", CLASSES),
    ("valid_confusions.csv", "Confusions on the validation set.", CONFUSIONS),
    (
        "test.csv",
        "The best bundle's predictions of the test set, where the source has one.",
        PREDICTIONS,
    ),
    ("test_classes.csv", "Scores of each class on the test set.", CLASSES),
    ("test_confusions.csv", "Confusions on the test set.", CONFUSIONS),
    (
        "report.toml",
        "The final scores, with 95 % intervals over groups; it is written last, and marks the run as finished. \
         `best_step` and `steps`; `ran_on`, what the steps ran on, whatever the settings ask for: `device` (`cpu`, or the \
         name of the card) and `precision` (`f32`, `bf16` or `f16`), one entry, or several in order where the run was \
         resumed on another device; `trained_on_valid = true` if a phase was trained on the validation set \
         too, which makes its scores meaningless; for each set, `[valid]` and `[test]`, the numbers of groups and images, the \
         macro F1 of the joint classes and its interval, and where the head predicts a number its mean \
         absolute error; `[valid.scores.SCOPE]` has every score of a scope, `[[valid.classes.SCOPE]]` of each class. \
         `[[valid.attributes.NAME]]` has for each value of an attribute, which the source keeps for reports, the numbers \
         of images and groups, macro F1 and accuracy over the joint classes, and their intervals, `macro_f1_interval` \
         and `accuracy_interval`, which are absent with one group. The ten most frequent values have rows, all others \
         one with `other_values`, their number. `[valid.gaps.NAME]` has the two values with the `lowest` and the \
         `highest` accuracy among those with intervals, the difference as `accuracy`, and `accuracy_interval`: resampled \
         independently, and without regard to the choice of the two.",
        &[],
    ),
    (
        "report.html",
        "The page of `maskfit report` on this run, made at its end unless `run.report = false`. It has the time and the \
         machine, so it differs when a run is repeated.",
        &[],
    ),
    (
        "estimate.toml",
        "What estimates the scores of a run of `train --all-data`: the name of the cross-validation, and the macro \
         F1 of its out-of-fold predictions with its interval. The report repeats it as `[estimate]`.",
        &[],
    ),
    ("lock", "Locked while a program works on the run; empty.", &[]),
    (
        "best/bundle.toml",
        "The bundle of the best evaluation: format version, task, how members are combined, calibrated and decided, \
         and for each member the network, the pipeline, the views with the transforms of training, and the file of \
         the weights with its SHA-256.",
        &[],
    ),
    (
        "best/weights-{member}-{tag}.safetensors",
        "The weights of a member of the bundle, with PyTorch's layouts and timm's names.",
        &[],
    ),
    (
        "pretrained/bundle.toml, pretrained/weights-{member}-{tag}.safetensors",
        "A copy of the bundle that the run continues from, where `model.pretrained` names one; the run's settings name \
         the copy.",
        &[],
    ),
    (
        "pretrained/split.csv",
        "The groups that this bundle was trained on, if they are known.",
        TRAINED_ON,
    ),
    (
        "pretrained/files.csv",
        "The files that this bundle was trained on, as far as they are known.",
        &[
            ("hash", "of the file's bytes (FNV-1a, 64 bits), in hexadecimal digits"),
            ("side", "as in `pretrained/split.csv`"),
        ],
    ),
    (
        "pretrained/origin.toml",
        "Where the run continues from: the folder of the bundle, and if they are known the number of groups that it was \
         `trained_on`, and how many of these the run is validated on (`of_validation`) and tested on (`of_test`): scores \
         there are too good.",
        &[],
    ),
    (
        "checkpoints/{step}.safetensors",
        "Everything that the next step depends on: weights, the optimizer's state, the average, the weights that a later \
         phase restores, and in the header the run's state, settings, the SHA-256 of `data.csv` and a CRC-32 of the \
         file. One that the clock or an interruption asked for is `{step}-interim.safetensors`, until there is a newer \
         one.",
        &[],
    ),
];

const TRACKERS: &[File] = &[
    (
        "metrics.csv",
        "Of the tracker `csv`: a row for each step; fields that a step has no value for are empty.",
        &[
            ("step", "steps done"),
            ("epoch", "epochs done, with a fraction"),
            ("loss", "training loss of the step's batch"),
            ("acc", "accuracy on the batch, before the step"),
            ("f1_score", "macro F1 on the batch, before the step"),
            ("learning_rate", "learning rate of the step"),
            (
                "val_{of}loss",
                "log loss on the validation set, of the joint classes (`val_loss`) and each factor (`val_age_loss`)",
            ),
            ("val_{of}acc", "accuracy on the validation set, likewise"),
            ("val_{of}f1_score", "macro F1 on the validation set, likewise"),
        ],
    ),
    ("metrics.jsonl", "Of the tracker `jsonl`: the same as an object for each step.", &[]),
    ("tensorboard/{events}", "Of the tracker `tensorboard`: scalars, images and histograms.", &[]),
    ("wandb/{file}", "Of the tracker `wandb`: an offline run, for `wandb sync`.", &[]),
    ("mlflow.toml", "Of the tracker `mlflow`: which run of the server it is.", &[]),
];

const KFOLD: &[File] = &[
    (
        "fold-{n}/{file}",
        "The run of each finished fold, from 0 through all repeats, with the files above.",
        &[],
    ),
    (
        "folds.csv",
        "What each fold holds out.",
        &[
            ("fold", "the fold, from 0 through all repeats"),
            ("repeat", "its repeat, from 0"),
            ("groups", "groups with images that it holds out"),
            ("images", "images that it holds out"),
            (
                "deviation",
                "largest deviation of a class from an equal share of its images, in images",
            ),
            ("class", "name of the class that deviates most"),
        ],
    ),
    (
        "oof.csv",
        "The out-of-fold predictions: of each image by the fold whose validation set it is in; the mean over repeats.",
        PREDICTIONS,
    ),
    (
        "oof-{repeat}.csv",
        "The out-of-fold predictions of a repeat, where there are several.",
        PREDICTIONS,
    ),
    ("oof_classes.csv", "Scores of each class, out of fold.", CLASSES),
    ("oof_confusions.csv", "Confusions, out of fold.", CONFUSIONS),
    (
        "report.toml",
        "The scores: `folds`, their `mean` and standard deviation `std`; `repeats`, the macro F1 of each repeat, where \
         there are several; `ran_on`, what the folds ran on, as in a run; `[joined]` of the out-of-fold predictions and \
         `[test]`, as in a run.",
        &[],
    ),
    ("config.toml, data.csv, lock", "As in a run.", &[]),
    (
        "test.csv, test_classes.csv, test_confusions.csv",
        "As in a run, of the mean of all folds' predictions.",
        &[],
    ),
    (
        "pretrained.{ending}",
        "The published weights that every fold starts from, where the settings name them by an absolute path.",
        &[],
    ),
    (
        "pretrained/bundle.toml, pretrained/weights-{member}-{tag}.safetensors, pretrained/split.csv, \
         pretrained/files.csv, pretrained/origin.toml",
        "As in a run: the bundle that every fold continues from. What is validated on is that of all folds.",
        &[],
    ),
    (
        "claims/fold-{n}.{token}",
        "While folds are trained: the heartbeat of the process that trains a fold; the highest token is in force.",
        &[],
    ),
    (
        "claims/{run}/{file}",
        "The run of a fold that is being trained, until it becomes `fold-{n}`.",
        &[],
    ),
];

const WRITTEN: &[File] = &[
    (
        "output.csv",
        "Of `maskfit submit`: a row for each test image, with the columns and the order of the sample file. \
         Without one, it has these.",
        &[
            ("ImageID", "id of the image: its name"),
            (
                "ans?",
                "of the kind `classes`: index of the predicted joint class, from 0; or its name",
            ),
            (
                "{class}?",
                "of the kind `probabilities`: predicted probability of each joint class, a column for each, \
                 named after it",
            ),
            (
                "{factor}?",
                "of the kind `factors`: name of the level of each factor, a column for each, named after it",
            ),
            (
                "{numeric factor}.number?",
                "of the kind `factors`: predicted number, with heads that predict one",
            ),
        ],
    ),
    (
        "probabilities.csv",
        "Of `maskfit predict`: a row for each image.",
        &[
            ("image", "path of the image, relative to `--images`"),
            (
                "predicted",
                "index of the predicted joint class: the most probable, unless thresholds were tuned",
            ),
            ("class", "name of that class"),
            (
                "set?",
                "with `--sets`: names of the classes that hold the true one, from the most probable on, \
                 separated by `;`; a name that contains a `;` or a quote is quoted as in CSV",
            ),
            (
                "{class}",
                "predicted probability of each joint class, a column for each, named after it",
            ),
        ],
    ),
    ("explain.csv", "Of `maskfit explain`: a row for each image.", EXPLAINED),
    ("pseudo.csv", "Of `maskfit pseudo`: a row for each image that was taken.", PSEUDO),
];

const ENSEMBLE: &[File] = &[
    (
        "bundle.toml",
        "The members, how they are combined, the calibration, the decision and the scores of conformal sets.",
        &[],
    ),
    ("weights-{member}-{tag}.safetensors", "The weights of a member.", &[]),
    (
        "oof.csv, test.csv",
        "The nested held-out predictions: of each image by what was fitted on other groups. `test.csv` instead with \
         `--fit-on test`. `compare` reads it.",
        PREDICTIONS,
    ),
    ("oof_classes.csv, test_classes.csv", "Scores of each class, nested.", CLASSES),
    ("oof_confusions.csv, test_confusions.csv", "Confusions, nested.", CONFUSIONS),
    (
        "reliability.csv",
        "How far the nested probabilities can be believed: a row for each class and bin of its probability; without \
         a class, of the confidence in the predicted class.",
        &[
            ("class", "name of the class; empty for the predicted class"),
            (
                "ece",
                "expected calibration error of the class: the mean gap between the last two columns",
            ),
            ("from", "lower edge of the bin"),
            ("to", "upper edge of the bin"),
            ("images", "number of images in the bin; bins without images have no row"),
            ("confidence", "mean probability of the class in the bin"),
            ("accuracy", "share of these images that are of the class"),
        ],
    ),
    (
        "split.csv",
        "The groups that a member was trained on, and those that were fitted on, so that `evaluate` can refuse them, \
         and those that an epoch was selected on, so that it can say so.",
        TRAINED_ON,
    ),
    (
        "files.csv",
        "The files that a member was trained on and so on, as far as the runs' `data.csv` have their hashes, so that \
         images are recognised under other names.",
        &[
            ("hash", "of the file's bytes (FNV-1a, 64 bits), in hexadecimal digits"),
            ("side", "as in `split.csv`"),
        ],
    ),
    (
        "report.toml",
        "What was `fit_on`, `notes`, `[[members]]` with the weight and the held-out scores of each run and what it \
         adds, the `correlation` of their errors, `[[steps]]` with the fitted and the nested scores of each step, `[[sets]]` with the \
         coverage of prediction sets, and `[nested]` with the final scores as in a run.",
        &[],
    ),
];

const EVALUATION: &[File] = &[
    (
        "test.csv, valid.csv",
        "The predictions of the images, `test.csv` for `--side all` too.",
        PREDICTIONS,
    ),
    ("test_classes.csv, valid_classes.csv", "Scores of each class.", CLASSES),
    ("test_confusions.csv, valid_confusions.csv", "Confusions.", CONFUSIONS),
    (
        "report.toml",
        "The models, the side, the task, and the scores as in a run: `[test]` or `[valid]`.",
        &[],
    ),
];

pub(super) fn page() -> String {
    let mut page = format!(
        "{NOTE}\n# Files of a run\n\nA run is a folder, `runs/NAME`.\nCSV files are quoted as in RFC 4180, in \
         UTF-8; files are written whole or not at all, but for tables of steps and evaluations, which grow.\nIn \
         names, `{{...}}` stands for any text; a column with `?` is missing in some runs.\n"
    );
    let sections = [
        ("Run", RUN),
        ("Trackers", TRACKERS),
        ("Cross-validation", KFOLD),
        ("Predictions", WRITTEN),
        ("Ensemble", ENSEMBLE),
        ("Evaluation", EVALUATION),
    ];
    for (title, files) in sections {
        page += &format!("\n## {title}\n");
        for (name, about, columns) in files {
            page += &format!("\n### `{name}`\n\n{about}\n");
            if !columns.is_empty() {
                page += "\n| column | meaning |\n| --- | --- |\n";
                page.extend(
                    columns.iter().map(|(name, it)| format!("| `{name}` | {} |\n", cell(it))),
                );
            }
        }
    }
    page
}
