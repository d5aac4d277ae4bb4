//! How a run was made: the data, the settings, versions and the machine.

use serde::{Deserialize, Serialize};

/// The data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataFacts {
    /// What a group is: `person`, `group` or `image`.
    pub unit: String,
    /// The same, of several.
    pub units: String,
    /// The training, validation and test sets.
    pub sets: Vec<SetFacts>,
    /// The images of each class in each set: the joint classes, then the levels of each factor. Of many classes the
    /// most and the least frequent.
    pub classes: Vec<ClassCounts>,
    /// The distribution of each number, such as the age.
    pub numbers: Vec<Histogram>,
    /// The most frequent sizes of images, in order.
    pub sizes: Vec<SizeCount>,
    /// The number of images with other sizes.
    pub n_other_sizes: usize,
    /// The number of images whose size was not read: of many images, those of some are.
    pub n_unmeasured: usize,
}

/// A set of images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SetFacts {
    /// `training set` and so on.
    pub name: String,
    /// The number of images.
    pub n_images: usize,
    /// The number of groups.
    pub n_groups: usize,
}

/// The images of the classes of a scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// `joint`, or the factor's name.
    pub name: String,
    /// The classes.
    pub rows: Vec<ClassCount>,
    /// The number of classes that are left out.
    pub n_left_out: usize,
}

/// The images of a class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassCount {
    /// The name.
    pub name: String,
    /// The number of images in each set, in the order of [`DataFacts::sets`].
    pub counts: Vec<usize>,
}

/// The distribution of a number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The factor.
    pub name: String,
    /// The lower limit of the first bin.
    pub low: f64,
    /// The width of a bin.
    pub width: f64,
    /// The number of images in each bin.
    pub counts: Vec<usize>,
    /// The limits between the factor's levels.
    pub cuts: Vec<f64>,
}

/// A size of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SizeCount {
    /// In pixels.
    pub height: usize,
    /// In pixels.
    pub width: usize,
    /// The number of images.
    pub n_images: usize,
}

/// How it was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The command that repeats it, under another name.
    pub command: String,
    /// The settings that differ from the defaults.
    pub changed: Vec<Setting>,
    /// All settings, as TOML; empty where there are none.
    pub settings: String,
    /// The program, its version and so on.
    pub versions: Vec<Fact>,
    /// The machine that the report was made on.
    pub machine: Vec<Fact>,
    /// The training: steps, best epoch, time.
    pub training: Vec<Fact>,
}

/// A setting that differs from its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its path, with dots.
    pub path: String,
    /// Its value, as TOML.
    pub value: String,
    /// The default, as TOML; empty where there is none.
    pub default: String,
}

/// A fact with its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}
