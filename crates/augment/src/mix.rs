//! Operations on a batch: mixed samples of two images, and random erasing. One file per operation.

mod cutmix;
mod half_cutmix;
mod mixup;
mod pairing;
mod random_erasing;

use base::{
    Length, Rng, Task, hint,
    mix::{Layer, MixedSample},
    task::Scope,
};
use serde::{Deserialize, Serialize};

pub(crate) use self::random_erasing::rectangle;

base::choice! {
    /// An entry of `[augment] mix`.
    pub enum MixOpConfig: dyn MixOp {
        /// Mixup: blend two images and their labels (Zhang et al., 2018).
        "mixup" => Mixup(mixup::Mixup),
        /// CutMix: paste a rectangle of another image, and mix the labels by area (Yun et al., 2019).
        "cutmix" => Cutmix(cutmix::Cutmix),
        /// Paste the left or right half of another image, from the batch or from a level of a factor
        /// (`from`).
        "half_cutmix" => HalfCutmix(half_cutmix::HalfCutmix),
        /// Erase a random rectangle after normalisation; the label stays (Zhong et al., 2017).
        "random_erasing" => RandomErasing(random_erasing::RandomErasing),
    }
}

/// An operation on the rows of a batch.
pub trait MixOp {
    /// Modifies the plan of a batch. All randomness comes from `rng`.
    ///
    /// - `pool`: the examples [`from`](Self::from) which it takes extra images.
    fn apply(&self, plan: &mut MixPlan, pool: &[usize], rng: &mut Rng);

    /// The length of training after which it is no longer applied; `None` for never.
    fn until(&self) -> Option<Length>;

    /// The images outside of the batch that it mixes in; `None` for the batch's own.
    fn from(&self) -> Option<Extras<'_>> {
        None
    }

    /// Returns what is wrong with the settings, if anything.
    fn problem(&self) -> Option<String>;
}

/// How the rows of a batch are composed.
#[derive(Clone, Debug, PartialEq)]
pub struct MixPlan {
    /// `[height, width]` of every image.
    pub size: [usize; 2],
    /// The rows, one for each image of the batch.
    pub rows: Vec<MixedSample>,
    /// Extra examples, whose images follow the batch's own.
    pub extras: Vec<usize>,
}

impl MixPlan {
    /// Whether a row is still a single image: no row is mixed twice.
    fn is_free(&self, row: usize) -> bool {
        self.rows[row].over.is_none()
    }

    /// Overlays a part of another image on a row.
    fn overlay(&mut self, row: usize, layer: Layer) {
        self.rows[row].over = Some(layer);
    }

    /// Adds an extra example to load, and returns the index of its image.
    fn add_extra(&mut self, example: usize) -> usize {
        self.extras.push(example);
        self.rows.len() + self.extras.len() - 1
    }
}

/// Images outside of the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extras<'a> {
    /// All training images.
    Any,
    /// The training images of a level.
    Level(&'a Level),
}

impl Extras<'_> {
    /// Returns their examples; each of `examples` is given with its joint class.
    ///
    /// # Errors
    /// If no example is of the level, or the task does not have it.
    pub(crate) fn pool(
        self,
        task: &Task,
        examples: &[(usize, usize)],
    ) -> Result<Vec<usize>, String> {
        match self {
            Extras::Any => Ok(examples.iter().map(|it| it.0).collect()),
            Extras::Level(it) => it.pool(task, examples),
        }
    }
}

/// A level of a factor: `{ factor = "age", level = ">=60" }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// The factor's name, or `joint` for the classes of all factors.
    pub factor: String,
    /// The name of the level or the joint class.
    pub level: String,
}

impl Level {
    /// Returns the scope, and the class in it.
    ///
    /// # Errors
    /// If the task does not have these names; the message lists those it has.
    fn find(&self, task: &Task) -> Result<(Scope, usize), String> {
        let factors = (0..task.factors.len()).map(Scope::Factor);
        let mut scopes = factors.chain([Scope::Joint]);
        let scope = scopes.clone().find(|&it| task.scope_name(it) == self.factor);
        let Some(scope) = scope else {
            let names: Vec<&str> = scopes.by_ref().map(|it| task.scope_name(it)).collect();
            let hint = hint(&self.factor, &names);
            return Err(format!("unknown factor `{}`: {hint}", self.factor));
        };
        let names = task.class_names(scope);
        let class = names.iter().position(|it| *it == self.level);
        class.map(|it| (scope, it)).ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let hint = hint(&self.level, &names);
            format!("`{}` has no level `{}`: {hint}", self.factor, self.level)
        })
    }

    /// Returns the examples of this level; each of `examples` is given with its joint class.
    ///
    /// # Errors
    /// If the task does not have these names, or no example is of this level.
    fn pool(&self, task: &Task, examples: &[(usize, usize)]) -> Result<Vec<usize>, String> {
        let (scope, level) = self.find(task)?;
        let is_of = |&&(_, class): &&(usize, usize)| task.project(class, scope) == level;
        let pool: Vec<usize> = examples.iter().filter(is_of).map(|it| it.0).collect();
        match pool.is_empty() {
            false => Ok(pool),
            true => Err(format!(
                "no training image is `{}` in `{}`: choose a level that occurs",
                self.level, self.factor
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Task;

    use super::Level;

    #[test]
    fn a_level_is_found_by_name() {
        let pool = |factor: &str, level: &str| {
            let level = Level { factor: factor.to_owned(), level: level.to_owned() };
            level.pool(&Task::mask_gender_age(), &[(7, 2), (8, 3), (9, 5)])
        };
        assert_eq!(pool("age", ">=60"), Ok(vec![7, 9]));
        assert_eq!(pool("joint", "worn female <30"), Ok(vec![8]));
        assert!(pool("hat", ">=60").unwrap_err().contains("one of: mask, gender, age, joint"));
        assert!(pool("aeg", ">=60").unwrap_err().ends_with("did you mean `age`?"));
        assert!(pool("age", "old").unwrap_err().contains("one of: <30, 30-59, >=60"));
        let none = pool("age", "30-59").unwrap_err();
        assert!(none.contains("`30-59` in `age`"), "{none}");
    }
}
