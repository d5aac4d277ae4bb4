//! Operations on a batch: rows that are made of two images, and areas erased. One file an
//! operation.

mod cutmix;
mod half_cutmix;
mod mixup;
mod pairing;
mod random_erasing;

use base::{
    Length, Rng, Task,
    mix::{Layer, MixedSample},
    task::Scope,
};
use serde::{Deserialize, Serialize};

pub(crate) use self::random_erasing::rectangle;

base::choice! {
    /// An entry of `[augment] mix`.
    pub enum MixOpConfig: dyn MixOp {
        /// Two images blended, and their labels with them.
        "mixup" => Mixup(mixup::Mixup),
        /// A rectangle of another image, and so much of its label.
        "cutmix" => Cutmix(cutmix::Cutmix),
        /// A left or right half of another image: of the batch, or of a level of a factor (`from`).
        "half_cutmix" => HalfCutmix(half_cutmix::HalfCutmix),
        /// A rectangle hidden after normalisation; the label stays.
        "random_erasing" => RandomErasing(random_erasing::RandomErasing),
    }
}

/// A change to the rows of a batch.
pub trait MixOp {
    /// Changes the plan of a batch. All randomness comes from `rng`.
    ///
    /// - `pool`: the examples of the level that it takes images [`from`](Self::from).
    fn apply(&self, plan: &mut MixPlan, pool: &[usize], rng: &mut Rng);

    /// When it ends; without, never.
    fn until(&self) -> Option<Length>;

    /// Whose images it mixes in, where not the batch's own.
    fn from(&self) -> Option<&Level> {
        None
    }

    /// What is wrong with the settings, if anything is.
    fn problem(&self) -> Option<String>;
}

/// What the rows of a batch are to be made of.
#[derive(Clone, Debug, PartialEq)]
pub struct MixPlan {
    /// `[height, width]` of every image.
    pub size: [usize; 2],
    /// The rows, as many as the batch has images of its own.
    pub rows: Vec<MixedSample>,
    /// Examples whose images follow the batch's own.
    pub extras: Vec<usize>,
}

impl MixPlan {
    /// Whether a row is one image still: none is mixed twice.
    fn is_free(&self, row: usize) -> bool {
        self.rows[row].over.is_none()
    }

    /// Lays a part of another image over a row.
    fn lay(&mut self, row: usize, layer: Layer) {
        self.rows[row].over = Some(layer);
    }

    /// Has another example loaded, and returns the position of its image.
    fn invite(&mut self, example: usize) -> usize {
        self.extras.push(example);
        self.rows.len() + self.extras.len() - 1
    }
}

/// A level of a factor: `{ factor = "age", level = ">=60" }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// The factor's name, or `joint` for the classes of all factors.
    pub factor: String,
    /// The level's name, or the class's.
    pub level: String,
}

impl Level {
    /// The scope and the class in it that are meant.
    ///
    /// # Errors
    /// Names that the task does not have, and those that it has.
    fn find(&self, task: &Task) -> Result<(Scope, usize), String> {
        let factors = (0..task.factors.len()).map(Scope::Factor);
        let mut scopes = factors.chain([Scope::Joint]);
        let scope = scopes.clone().find(|&it| task.scope_name(it) == self.factor);
        let Some(scope) = scope else {
            let names = scopes.by_ref().map(|it| task.scope_name(it)).collect::<Vec<_>>();
            return Err(format!("there is no factor `{}`, but: {}", self.factor, names.join(", ")));
        };
        let names = task.class_names(scope);
        let class = names.iter().position(|it| *it == self.level);
        class.map(|it| (scope, it)).ok_or_else(|| {
            format!("`{}` has no level `{}`, but: {}", self.factor, self.level, names.join(", "))
        })
    }

    /// Those of some examples, each with its joint class, that are of this level.
    ///
    /// # Errors
    /// Names that the task does not have, or nobody.
    pub(crate) fn pool(
        &self,
        task: &Task,
        examples: &[(usize, usize)],
    ) -> Result<Vec<usize>, String> {
        let (scope, level) = self.find(task)?;
        let is_of = |&&(_, class): &&(usize, usize)| task.project(class, scope) == level;
        let pool: Vec<usize> = examples.iter().filter(is_of).map(|it| it.0).collect();
        match pool.is_empty() {
            false => Ok(pool),
            true => Err(format!(
                "no image that is trained on is `{}` in `{}`: choose a level that there is",
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
        assert!(pool("aeg", ">=60").unwrap_err().contains("but: mask, gender, age, joint"));
        assert!(pool("age", ">60").unwrap_err().contains("but: <30, 30-59, >=60"));
        let nobody = pool("age", "30-59").unwrap_err();
        assert!(nobody.contains("`30-59` in `age`"), "{nobody}");
    }
}
