//! The manifest of a data set: every image with its group, its labels and its permitted use.

use std::{borrow::Cow, collections::BTreeMap, fs, io, path::PathBuf, sync::Arc};

use base::{Task, task::Factor};

use crate::{CacheDir, pseudo::PseudoLabels};

/// All examples of a source, groups and images sorted by name; of several sources, root by root.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The factors and classes.
    pub task: Task,
    /// The name of each group.
    pub groups: Vec<String>,
    /// The images.
    pub examples: Vec<Example>,
    /// The groups who may be held out, as listed before label fixes and reviews: groups who have been
    /// dropped since are still split, so that nobody else changes sets.
    pub listed: Vec<Listed>,
    /// What else is known about the images, for reports.
    pub attributes: Vec<Attribute>,
    /// Remarks for the user that are not errors.
    pub notes: Vec<String>,
    /// Which images have pseudo-labels.
    pub pseudo: PseudoLabels,
    /// The cache of what was computed for the images.
    pub cache: Option<CacheDir>,
}

/// A column that is kept for reports and never trained on, such as where an image was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The name.
    pub name: String,
    /// The different values, sorted; of several sources, those of the first come first.
    pub values: Vec<String>,
}

/// A group who may be held out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The group's name.
    pub group: String,
    /// What splits are stratified by: for each factor, the level that all of the group's images share,
    /// or, if they differ, the number of levels.
    pub stratum: Vec<usize>,
    /// How many of its images have each joint class, by class.
    pub counts: Vec<(usize, usize)>,
}

/// The number of images of some classes, by class.
type Counts = Vec<(usize, usize)>;

/// Adds `n` images of a class.
pub(crate) fn add(counts: &mut Counts, class: usize, n: usize) {
    match counts.binary_search_by_key(&class, |it| it.0) {
        Ok(at) => counts[at].1 += n,
        Err(at) => counts.insert(at, (class, n)),
    }
}

impl Listed {
    /// Lists the groups who have images that may be held out.
    ///
    /// - `groups`: the name of each group.
    /// - `images`: the group and the class of each such image.
    pub fn of(
        task: &Task,
        groups: &[String],
        images: impl Iterator<Item = (usize, usize)>,
    ) -> Vec<Listed> {
        let mut strata: Vec<Option<(Vec<usize>, Counts)>> = vec![None; groups.len()];
        for (group, class) in images {
            let levels = task.levels_of(class);
            match &mut strata[group] {
                None => strata[group] = Some((levels, vec![(class, 1)])),
                Some((stratum, counts)) => {
                    shared(task, stratum, &levels);
                    add(counts, class, 1);
                }
            }
        }
        let listed = groups.iter().zip(strata);
        listed
            .filter_map(|(group, of)| {
                let (stratum, counts) = of?;
                Some(Listed { group: group.clone(), stratum, counts })
            })
            .collect()
    }
}

/// Merges another stratum into one: levels that differ are replaced by an extra level, `factor.levels.len()`,
/// so that different strata stay distinct.
pub(crate) fn shared(task: &Task, stratum: &mut [usize], other: &[usize]) {
    for ((level, other), factor) in stratum.iter_mut().zip(other).zip(&task.factors) {
        if level != other {
            *level = factor.levels.len();
        }
    }
}

/// One image.
#[derive(Clone, Debug)]
pub struct Example {
    /// The image's name, for example `000001_female_Asian_45/mask1.jpg`.
    pub name: String,
    /// The encoded image.
    pub content: Content,
    /// The position of its group in [`Manifest::groups`].
    pub group: usize,
    /// Its joint class, by the task's own cuts.
    pub class: usize,
    /// For each factor the number that its level is the range of, such as an age: NaN where it is unknown or
    /// the factor has no cuts. Empty where no factor has any.
    pub numbers: Vec<f64>,
    /// For each attribute the position of its value in [`Attribute::values`].
    pub attributes: Vec<u32>,
    /// What it may be used for.
    pub usage: Use,
    /// The sample weight in training: 1 by default, 0 to not train on it. Validation ignores it.
    pub weight: f32,
    /// FNV-1a of the bytes of its file, from when the file was verified; `None` before, and for images that the
    /// program makes.
    pub hash: Option<u64>,
}

impl Example {
    /// Returns the number behind the level of a factor, if it is known.
    pub fn number(&self, factor: usize) -> Option<f64> {
        self.numbers.get(factor).copied().filter(|it| !it.is_nan())
    }

    /// Sets the number behind the level of a factor, of as many factors as the task has.
    pub(crate) fn set_number(&mut self, factor: usize, n_factors: usize, number: Option<f64>) {
        self.numbers.resize(n_factors, f64::NAN);
        self.numbers[factor] = number.unwrap_or(f64::NAN);
    }
}

/// What an image may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Training or validation, as the split decides.
    Pool,
    /// Training only, unless its group is held out; never validation.
    Train,
    /// The validation set, as the data itself states; images of the pool are then for training only.
    Valid,
    /// The test set: scores the finished model, never used for training or model selection.
    Test,
}

impl Use {
    /// Returns whether it may be trained on, at least in some fold.
    pub fn may_train(self) -> bool {
        match self {
            Use::Pool | Use::Train => true,
            Use::Valid | Use::Test => false,
        }
    }
}

/// The encoded bytes of an image.
#[derive(Clone, Debug)]
pub enum Content {
    /// In a file.
    File(PathBuf),
    /// In memory.
    Memory(Arc<[u8]>),
}

impl Content {
    /// Returns the bytes.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Content::File(path) => fs::read(path).map(Cow::Owned),
            Content::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
        }
    }
}

impl Manifest {
    /// Creates a manifest of images, without label fixes or reviews.
    pub fn new(task: Task, groups: Vec<String>, examples: Vec<Example>) -> Manifest {
        let pool = examples.iter().filter(|it| it.usage == Use::Pool);
        let listed = Listed::of(&task, &groups, pool.map(|it| (it.group, it.class)));
        let (attributes, notes) = (Vec::new(), Vec::new());
        let pseudo = PseudoLabels::default();
        Manifest { task, groups, examples, listed, attributes, notes, pseudo, cache: None }
    }

    /// Returns the class of each example in training, where numeric factors may be cut differently than for
    /// evaluation.
    ///
    /// - `cuts`: those of some factors, by name; the others, and empty ones, are the task's own.
    ///
    /// # Errors
    /// A factor that is not numeric, too many or too few cuts, or cuts that do not increase.
    pub fn training_classes(
        &self,
        cuts: &BTreeMap<String, Vec<f64>>,
    ) -> Result<Vec<usize>, String> {
        let cuts_of = |(name, cuts): (&String, &Vec<f64>)| {
            let idx = self.task.numeric_named(name)?;
            let n = self.task.factors[idx].cuts.len();
            let is_valid = cuts.iter().all(|it| it.is_finite()) && cuts.is_sorted_by(|a, b| a < b);
            match cuts.len() == n && is_valid {
                true => Ok((idx, cuts.clone())),
                false => Err(format!("`{name}` takes {n} increasing numbers, not {cuts:?}")),
            }
        };
        let given = cuts.iter().filter(|it| !it.1.is_empty());
        let cuts = given.map(cuts_of).collect::<Result<Vec<_>, String>>()?;
        if cuts.is_empty() {
            return Ok(self.examples.iter().map(|it| it.class).collect());
        }
        let class = |example: &Example| {
            let mut levels = self.task.levels_of(example.class);
            for (idx, cuts) in &cuts {
                if let Some(number) = example.number(*idx) {
                    levels[*idx] = Factor::level_of(number, cuts);
                }
            }
            self.task.class_of(&levels)
        };
        Ok(self.examples.iter().map(class).collect())
    }

    /// Returns the number of images of each joint class, among those that may be trained on.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.task.n_classes()];
        for example in self.examples.iter().filter(|it| it.usage.may_train()) {
            counts[example.class] += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use base::Task;

    use super::{Content, Example, Manifest, Use};

    /// A manifest of one group with a gender and an age, with a mask and without.
    fn one_group(gender: usize, age: f64) -> Manifest {
        let task = Task::mask_gender_age();
        let level = base::task::Factor::level_of(age, &[30.0, 60.0]);
        let example = |mask: usize| Example {
            name: format!("image {mask}"),
            content: Content::Memory([].into()),
            group: 0,
            class: task.class_of(&[mask, gender, level]),
            numbers: vec![f64::NAN, f64::NAN, age],
            attributes: Vec::new(),
            usage: Use::Pool,
            weight: 1.0,
            hash: None,
        };
        let examples = vec![example(0), example(2)];
        Manifest::new(task, vec!["a".to_owned()], examples)
    }

    #[test]
    fn training_cuts_change_the_training_classes() {
        let manifest = one_group(1, 59.0);
        let classes = |cuts: &[(&str, &[f64])]| {
            let cuts = cuts.iter().map(|&(name, it)| (name.to_owned(), it.to_vec()));
            manifest.training_classes(&cuts.collect())
        };
        assert_eq!(classes(&[]).unwrap(), [4, 16]);
        assert_eq!(classes(&[("age", &[])]).unwrap(), [4, 16]);
        assert_eq!(classes(&[("age", &[29.0, 59.0])]).unwrap(), [5, 17]);
        let err = classes(&[("age", &[30.0])]).unwrap_err();
        assert_eq!(err, "`age` takes 2 increasing numbers, not [30.0]");
        assert!(classes(&[("age", &[60.0, 30.0])]).is_err());
        let err = classes(&[("mask", &[1.0, 2.0])]).unwrap_err();
        assert_eq!(err, "`mask` is not a numeric factor: expected one of: age");
    }

    #[test]
    fn a_stratum_has_the_levels_shared_by_all_images_of_a_group() {
        // The mask differs (represented by level 3); gender and age group are shared.
        let listed = &one_group(1, 59.0).listed[0];
        assert_eq!(listed.stratum, [3, 1, 1]);
        // Worn is class 0*6 + 1*3 + 1, not worn 2*6 + 1*3 + 1.
        assert_eq!(listed.counts, [(4, 1), (16, 1)]);
    }
}
