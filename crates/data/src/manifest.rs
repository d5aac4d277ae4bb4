//! What there is to train on: every image, with its person, its labels and what it may be used for.

use std::{borrow::Cow, fs, io, path::PathBuf, sync::Arc};

use base::{Task, task::Factor};

use crate::Remembered;

/// All examples of a source, people and images in the order of their names; of several, root by root.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// What the classes mean.
    pub task: Task,
    /// What each person is called.
    pub people: Vec<String>,
    /// The images.
    pub examples: Vec<Example>,
    /// Who may be held out, as they were before label fixes and reviews touched them: people who have
    /// been dropped since are still split, so that nobody else moves.
    pub listed: Vec<Listed>,
    /// What a person should know of the data, though nothing is wrong.
    pub notes: Vec<String>,
    /// What remembers what was worked out of the images.
    pub memory: Option<Remembered>,
}

/// Somebody who may be held out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What they are called.
    pub person: String,
    /// What a split keeps in proportion: of each factor the level that all of the person's images
    /// share, or else the number of its levels.
    pub stratum: Vec<usize>,
}

impl Listed {
    /// The people who have images that may be held out.
    ///
    /// - `people`: what everybody is called.
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

/// Keeps of a stratum what another shares. A level that is not shared counts as one of its own, so that no
/// two strata merge.
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
    /// What it is called, for example `000001_female_Asian_45/mask1.jpg`.
    pub name: String,
    /// Where its bytes are.
    pub content: Content,
    /// The position of its person in [`Manifest::people`].
    pub person: usize,
    /// Its joint class, by the task's own cuts.
    pub class: usize,
    /// Its person's age in years, where the source knows ages.
    pub age: Option<f64>,
    /// What it may be used for.
    pub usage: Use,
    /// How much it counts in training: 1 as usual, 0 not at all. Validation heeds none.
    pub weight: f32,
}

/// What an image may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To train on, or to validate on, as the split says.
    Pool,
    /// To train on, unless its person is held out; never to validate on.
    Train,
    /// To score the finished model, and nothing else: never to train on, nor to choose a model by.
    Score,
}

impl Use {
    /// Whether it may be trained on, at least in some fold.
    pub fn may_train(self) -> bool {
        match self {
            Use::Pool | Use::Train => true,
            Use::Score => false,
        }
    }
}

/// Where the encoded bytes of an image are.
#[derive(Clone, Debug)]
pub enum Content {
    /// In a file.
    File(PathBuf),
    /// Here.
    Memory(Arc<[u8]>),
}

impl Content {
    /// The bytes.
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
    /// Images that nothing has been changed of yet.
    pub fn new(task: Task, people: Vec<String>, examples: Vec<Example>) -> Manifest {
        let pool = examples.iter().filter(|it| it.usage == Use::Pool);
        let listed = Listed::of(&task, &people, pool.map(|it| (it.person, it.class)));
        Manifest { task, people, examples, listed, notes: Vec::new(), memory: None }
    }

    /// The class of each example when the ages are cut elsewhere than for scoring.
    ///
    /// Without `cuts`, the task's own are used.
    ///
    /// # Errors
    /// Cuts for a task without a factor of ranges, too many or too few, or not rising.
    pub fn training_classes(&self, cuts: &[f64]) -> Result<Vec<usize>, String> {
        let own = || self.examples.iter().map(|it| it.class);
        if cuts.is_empty() {
            return Ok(own().collect());
        }
        let Some(idx) = self.task.ranged() else {
            return Err("this data has no ages to cut: leave `training_cuts` empty".to_owned());
        };
        let factor = &self.task.factors[idx];
        let is_rising = cuts.windows(2).all(|it| it[0] < it[1]);
        if cuts.len() != factor.cuts.len() || !is_rising {
            let n = factor.cuts.len();
            return Err(format!("`training_cuts` are {n} rising numbers, not {cuts:?}"));
        }
        let class = |example: &Example| {
            let Some(age) = example.age else { return example.class };
            let mut levels = self.task.levels_of(example.class);
            levels[idx] = Factor::level_of(age, cuts);
            self.task.class_of(&levels)
        };
        Ok(self.examples.iter().map(class).collect())
    }

    /// How many images each joint class has, among those that may be trained on.
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

    /// A manifest of one person, of a gender and age, with a mask and without.
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
    fn training_may_cut_ages_elsewhere() {
        let manifest = one_person(1, 59.0);
        assert_eq!(manifest.training_classes(&[]).unwrap(), [4, 16]);
        assert_eq!(manifest.training_classes(&[29.0, 59.0]).unwrap(), [5, 17]);
        assert!(manifest.training_classes(&[30.0]).unwrap_err().contains("2 rising numbers"));
        assert!(manifest.training_classes(&[60.0, 30.0]).is_err());
    }

    #[test]
    fn a_stratum_is_what_all_images_of_a_person_share() {
        // The mask differs (level 3 stands for that); gender and age group are shared.
        assert_eq!(one_person(1, 59.0).listed[0].stratum, [3, 1, 1]);
    }
}
