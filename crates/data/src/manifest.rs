//! The manifest of a data set: every image with its person, its labels and its permitted use.

use std::{borrow::Cow, fs, io, path::PathBuf, sync::Arc};

use base::{Task, task::Factor};

use crate::CacheDir;

/// All examples of a source, people and images sorted by name; of several sources, root by root.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The factors and classes.
    pub task: Task,
    /// The name of each person.
    pub people: Vec<String>,
    /// The images.
    pub examples: Vec<Example>,
    /// The people who may be held out, as listed before label fixes and reviews: people who have been
    /// dropped since are still split, so that nobody else changes sets.
    pub listed: Vec<Listed>,
    /// Remarks for the user that are not errors.
    pub notes: Vec<String>,
    /// The cache of what was computed for the images.
    pub cache: Option<CacheDir>,
}

/// A person who may be held out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The person's name.
    pub person: String,
    /// What splits are stratified by: for each factor, the level that all of the person's images share,
    /// or, if they differ, the number of levels.
    pub stratum: Vec<usize>,
}

impl Listed {
    /// Lists the people who have images that may be held out.
    ///
    /// - `people`: the name of each person.
    /// - `images`: the person and the class of each such image.
    pub fn of(
        task: &Task,
        people: &[String],
        images: impl Iterator<Item = (usize, usize)>,
    ) -> Vec<Listed> {
        let mut strata: Vec<Option<Vec<usize>>> = vec![None; people.len()];
        for (person, class) in images {
            let levels = task.levels_of(class);
            match &mut strata[person] {
                None => strata[person] = Some(levels),
                Some(stratum) => shared(task, stratum, &levels),
            }
        }
        let listed = people.iter().zip(strata);
        listed
            .filter_map(|(person, stratum)| {
                Some(Listed { person: person.clone(), stratum: stratum? })
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
    /// The position of its person in [`Manifest::people`].
    pub person: usize,
    /// Its joint class, by the task's own cuts.
    pub class: usize,
    /// The person's age in years, if the source contains ages.
    pub age: Option<f64>,
    /// What it may be used for.
    pub usage: Use,
    /// The sample weight in training: 1 by default, 0 to not train on it. Validation ignores it.
    pub weight: f32,
}

/// What an image may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Training or validation, as the split decides.
    Pool,
    /// Training only, unless its person is held out; never validation.
    Train,
    /// The test set: scores the finished model, never used for training or model selection.
    Test,
}

impl Use {
    /// Returns whether it may be trained on, at least in some fold.
    pub fn may_train(self) -> bool {
        match self {
            Use::Pool | Use::Train => true,
            Use::Test => false,
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
    pub fn new(task: Task, people: Vec<String>, examples: Vec<Example>) -> Manifest {
        let pool = examples.iter().filter(|it| it.usage == Use::Pool);
        let listed = Listed::of(&task, &people, pool.map(|it| (it.person, it.class)));
        Manifest { task, people, examples, listed, notes: Vec::new(), cache: None }
    }

    /// Returns the class of each example in training, where the ages may be cut differently than for
    /// evaluation.
    ///
    /// If `cuts` is empty, the task's own are used.
    ///
    /// # Errors
    /// Cuts for a task without a factor of ranges, too many or too few, or not increasing.
    pub fn training_classes(&self, cuts: &[f64]) -> Result<Vec<usize>, String> {
        let own = || self.examples.iter().map(|it| it.class);
        if cuts.is_empty() {
            return Ok(own().collect());
        }
        let Some(idx) = self.task.ranged() else {
            return Err("the data has no ages: leave `training_cuts` empty".to_owned());
        };
        let factor = &self.task.factors[idx];
        let is_increasing = cuts.windows(2).all(|it| it[0] < it[1]);
        if cuts.len() != factor.cuts.len() || !is_increasing {
            let n = factor.cuts.len();
            return Err(format!("`training_cuts` must be {n} increasing numbers, not {cuts:?}"));
        }
        let class = |example: &Example| {
            let Some(age) = example.age else { return example.class };
            let mut levels = self.task.levels_of(example.class);
            levels[idx] = Factor::level_of(age, cuts);
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

    /// A manifest of one person with a gender and an age, with a mask and without.
    fn one_person(gender: usize, age: f64) -> Manifest {
        let task = Task::mask_gender_age();
        let level = base::task::Factor::level_of(age, &[30.0, 60.0]);
        let example = |mask: usize| Example {
            name: format!("image {mask}"),
            content: Content::Memory([].into()),
            person: 0,
            class: task.class_of(&[mask, gender, level]),
            age: Some(age),
            usage: Use::Pool,
            weight: 1.0,
        };
        let examples = vec![example(0), example(2)];
        Manifest::new(task, vec!["a".to_owned()], examples)
    }

    #[test]
    fn training_cuts_change_the_training_classes() {
        let manifest = one_person(1, 59.0);
        assert_eq!(manifest.training_classes(&[]).unwrap(), [4, 16]);
        assert_eq!(manifest.training_classes(&[29.0, 59.0]).unwrap(), [5, 17]);
        assert!(manifest.training_classes(&[30.0]).unwrap_err().contains("2 increasing numbers"));
        assert!(manifest.training_classes(&[60.0, 30.0]).is_err());
    }

    #[test]
    fn a_stratum_has_the_levels_shared_by_all_images_of_a_person() {
        // The mask differs (represented by level 3); gender and age group are shared.
        assert_eq!(one_person(1, 59.0).listed[0].stratum, [3, 1, 1]);
    }
}
