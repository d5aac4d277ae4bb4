//! The columns of the tables on the page of the files, where several files share them or there are many.

/// The columns of a CSV: each with its meaning.
pub(super) type Columns = &'static [(&'static str, &'static str)];

/// The predictions of a set, with the true labels.
pub(super) const PREDICTIONS: Columns = &[
    ("image", "path of the image, relative to its source; unique"),
    ("group", "the group, the unit of splits and of confidence intervals"),
    ("truth", "index of the true joint class, from 0"),
    ("predicted", "index of the predicted joint class: the most probable"),
    (
        "number?",
        "true number, such as an age, empty if unknown; only with a head that predicts one",
    ),
    ("predicted_number?", "predicted number; only with a head that predicts one"),
    ("{class}", "predicted probability of each joint class, a column for each, named after it"),
];

pub(super) const CLASSES: Columns = &[
    ("scope", "`joint`, or the factor that is scored"),
    ("class", "index of the class in its scope, from 0"),
    ("name", "name of the class"),
    ("precision", "share of the images predicted as this class that are of it, 0 to 1"),
    ("recall", "share of the images of this class that are predicted as it, 0 to 1"),
    ("f1", "harmonic mean of precision and recall, 0 to 1"),
    ("images", "number of images of this class"),
];

pub(super) const CONFUSIONS: Columns = &[
    ("scope", "`joint`, or the factor that is scored"),
    ("truth", "name of the true class"),
    ("predicted", "name of the class predicted instead"),
    ("images", "number of images; the most frequent confusion comes first"),
];

pub(super) const DATA: Columns = &[
    ("image", "path of the image, relative to its source; unique"),
    ("group", "the group"),
    ("class", "index of the joint class, from 0"),
    ("label", "name of the joint class"),
    (
        "{numeric factor}?",
        "number of each numeric factor, such as the age, a column for each, named after it; empty if unknown",
    ),
    ("hash", "FNV-1a (64 bits) of the bytes of the file; empty for images that the program makes"),
    ("weight", "sample weight, 1 unless a review or a fix sets it"),
    (
        "use",
        "set by the source and reviews: `pool` (split), `train` (trained on in every fold) or `test`; of \
         pseudo-labelled images `pseudo` and the first digits of the SHA-256 of their file",
    ),
    (
        "side",
        "set by the split: `train`, `valid`, `test` or `left out`; in a cross-validation `fold 0` and so on",
    ),
];

/// The table of explanations.
pub(super) const EXPLAINED: Columns = &[
    ("image", "path of the image in its folder; of several folders, the whole path"),
    ("file", "name of its PNG in the folder that is written"),
    ("fold?", "of a cross-validation: the fold whose model is explained"),
    ("truth?", "with `--side`: name of the true class or level"),
    ("target", "name of the class or level that is explained"),
    ("probability", "probability of the target by this model"),
    (
        "half_mass",
        "the smallest share of the pixels that holds half of the map's mass: near 0 for one spot, 0.5 for an even map; \
         empty for a map of zeros",
    ),
    ("on_area?", "with `--areas`: share of the map's mass on the area"),
    (
        "area?",
        "with `--areas`: share of the pixels in the area, which is that of a random map's mass",
    ),
    (
        "other_on_area?",
        "with `--areas`: share of the mass of the map of the image before on this area; empty for the first image",
    ),
];

/// The table of pseudo-labels.
pub(super) const PSEUDO: Columns = &[
    ("image", "path of the image, relative to `--images`"),
    ("group", "the group of the models' own data that it belongs to; empty if it belongs to none"),
    (
        "{factor}?",
        "hard labels: name of the level of each factor, a column for each, named after it",
    ),
    (
        "{class}?",
        "soft labels: probability of each joint class, a column for each, named after it; they sum to 1",
    ),
    ("confidence", "probability of the predicted class"),
    (
        "weight",
        "sample weight, 1 unless you change it; training multiplies it by `data.pseudo.weight`",
    ),
];

/// The groups that a bundle was trained on.
pub(super) const TRAINED_ON: Columns = &[
    ("group", "the group"),
    (
        "side",
        "`train`; `fitted` for those that an ensemble was fitted on; `valid` for those that an epoch was selected on",
    ),
];
