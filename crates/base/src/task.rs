//! The classification task: joint classes, and the factors that they are a product of.
//!
//! class = Σ_f level_f · Π_{g > f} levels_g, the last factor varying fastest; for the mask
//! competition mask·6 + gender·3 + age.
//! Everything above this crate is written against [`Task`], never against the number 18.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::nearest::hint;

/// The joint classes of a data set, as a product of factors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The factors, slowest first. A plain multi-class task has one.
    pub factors: Vec<Factor>,
    /// What a group of images is, in words.
    #[serde(default)]
    pub unit: Unit,
}

/// What the images of a group have in common, for texts: splits keep groups whole, and intervals resample
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nothing: each image is its own group.
    Image,
    /// Whatever the data set's groups are.
    #[default]
    Group,
    /// The person that they show.
    Person,
}

impl Unit {
    /// The singular, for example `person`.
    pub fn one(self) -> &'static str {
        match self {
            Unit::Image => "image",
            Unit::Group => "group",
            Unit::Person => "person",
        }
    }

    /// The plural, for example `people`.
    pub fn many(self) -> &'static str {
        match self {
            Unit::Image => "images",
            Unit::Group => "groups",
            Unit::Person => "people",
        }
    }

    /// A number of them, for example `1 person` or `12 people`.
    pub fn count(self, n: usize) -> String {
        format!("{n} {}", if n == 1 { self.one() } else { self.many() })
    }

    /// A number of images and of their groups, for example `210 images of 30 people`.
    pub fn images_of(self, n_images: usize, n_groups: usize) -> String {
        let images = Unit::Image.count(n_images);
        match self {
            Unit::Image => images,
            Unit::Group | Unit::Person => format!("{images} of {}", self.count(n_groups)),
        }
    }
}

/// One attribute of an image to predict, with its levels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Factor {
    /// The name, for example `age`.
    pub name: String,
    /// The names of the levels, in order.
    pub levels: Vec<String>,
    /// For levels that are ranges of a number: the lower bound of each level after the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<f64>,
}

/// What a distribution ranges over: the joint classes, or the levels of one factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All factors at once: one probability per joint class.
    Joint,
    /// The factor with this index: one probability per level.
    Factor(usize),
}

/// The prediction of a head for one scope of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ScopePrediction {
    /// The scope of the prediction.
    pub scope: Scope,
    /// A distribution over the scope's classes.
    pub probabilities: Vec<f64>,
}

impl Factor {
    /// A factor whose levels are unordered names.
    pub fn new(name: &str, levels: &[&str]) -> Factor {
        let levels = levels.iter().map(|&it| it.to_owned()).collect();
        Factor { name: name.to_owned(), levels, cuts: Vec::new() }
    }

    /// Returns the integer nearest to `number` that lies in the range of `level`.
    pub fn nearest(&self, number: f64, level: usize) -> f64 {
        let begin = level.checked_sub(1).map_or(f64::NEG_INFINITY, |it| self.cuts[it]);
        let end = self.cuts.get(level).map_or(f64::INFINITY, |&it| it.ceil() - 1.0);
        number.max(begin.ceil()).min(end.max(begin))
    }

    /// A factor that bins a number into ranges; `cuts` are the lower bounds of levels 1, 2, ….
    pub fn ranges(name: &str, levels: &[&str], cuts: &[f64]) -> Factor {
        assert_eq!(levels.len(), cuts.len() + 1, "one cut between every two adjacent levels");
        Factor { cuts: cuts.to_vec(), ..Factor::new(name, levels) }
    }

    /// Whether the levels are ranges of a number.
    pub fn is_numeric(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// The level that `number` falls in, where `cuts` are the lower bounds of levels 1, 2, ….
    pub fn level_of(number: f64, cuts: &[f64]) -> usize {
        cuts.iter().filter(|&&cut| number >= cut).count()
    }
}

impl Task {
    /// The task of these factors, whose groups are just that.
    pub fn new(factors: Vec<Factor>) -> Task {
        Task { factors, unit: Unit::default() }
    }

    /// The competition's task: mask (worn, incorrect, not worn), gender, and age by 30 and 60, of people.
    pub fn mask_gender_age() -> Task {
        let factors = vec![
            Factor::new("mask", &["worn", "incorrect", "not worn"]),
            Factor::new("gender", &["male", "female"]),
            Factor::ranges("age", &["<30", "30-59", ">=60"], &[30.0, 60.0]),
        ];
        Task { factors, unit: Unit::Person }
    }

    /// The problem with a deserialized task, if any: every other function here requires a valid one.
    pub fn problem(&self) -> Option<String> {
        /// More classes than any data set has; the number fits a `usize` on any machine.
        const MOST: usize = 1 << 24;
        let of_levels = |it: &Factor| {
            let (name, n) = (&it.name, it.levels.len());
            let is_cut = it.cuts.iter().all(|it| it.is_finite())
                && it.cuts.windows(2).all(|it| it[0] < it[1])
                && (it.cuts.is_empty() || it.cuts.len() + 1 == n);
            let mut levels = HashSet::new();
            let twice = it.levels.iter().find(|it| !levels.insert(it.as_str()));
            match (n, is_cut) {
                (0, _) => Some(format!("the factor `{name}` has no levels")),
                _ if twice.is_some() => {
                    let twice = twice.map_or("", |it| it);
                    Some(format!("the factor `{name}` has the level `{twice}` twice"))
                }
                (_, false) => Some(format!(
                    "the factor `{name}` has {n} levels, which take {} rising cuts, not {:?}",
                    n - 1,
                    it.cuts
                )),
                _ => None,
            }
        };
        if self.factors.is_empty() {
            return Some("the task has no factors".to_owned());
        }
        let n = self.factors.iter().try_fold(1_usize, |n, it| n.checked_mul(it.levels.len()));
        self.factors.iter().find_map(of_levels).or_else(|| {
            n.is_none_or(|it| it > MOST).then(|| format!("the task has more than {MOST} classes"))
        })
    }

    /// The number of joint classes.
    pub fn n_classes(&self) -> usize {
        self.factors.iter().map(|it| it.levels.len()).product()
    }

    /// The number of classes of this scope.
    pub fn n_classes_of(&self, scope: Scope) -> usize {
        match scope {
            Scope::Joint => self.n_classes(),
            Scope::Factor(idx) => self.factors[idx].levels.len(),
        }
    }

    /// The indices of the numeric factors: those whose levels are ranges of a number.
    pub fn numeric(&self) -> impl Iterator<Item = usize> {
        (0..self.factors.len()).filter(|&it| self.factors[it].is_numeric())
    }

    /// The index of the numeric factor of this name; of the only one if the name is empty.
    ///
    /// # Errors
    /// No such factor; or an empty name where there are several, or none.
    pub fn numeric_named(&self, name: &str) -> Result<usize, String> {
        let is_meant = |idx: &usize| name.is_empty() || self.factors[*idx].name == name;
        let meant: Vec<usize> = self.numeric().filter(is_meant).collect();
        let names: Vec<&str> = self.numeric().map(|it| self.factors[it].name.as_str()).collect();
        match (meant.as_slice(), names.as_slice()) {
            ([idx], _) => Ok(*idx),
            (_, []) => Err("this data has no numeric factor".to_owned()),
            ([], _) => Err(format!("`{name}` is not a numeric factor: {}", hint(name, &names))),
            _ => Err(format!(
                "this data has several numeric factors: name one of: {}",
                names.join(", ")
            )),
        }
    }

    /// The joint class of the given levels, one per factor.
    pub fn class_of(&self, levels: &[usize]) -> usize {
        assert_eq!(levels.len(), self.factors.len(), "one level per factor");
        self.factors.iter().zip(levels).fold(0, |class, (factor, &level)| {
            assert!(level < factor.levels.len(), "{} has no level {level}", factor.name);
            class * factor.levels.len() + level
        })
    }

    /// Projects a joint class to its class in `scope`.
    pub fn project(&self, class: usize, scope: Scope) -> usize {
        match scope {
            Scope::Joint => class,
            Scope::Factor(idx) => {
                let faster: usize =
                    self.factors[idx + 1..].iter().map(|it| it.levels.len()).product();
                class / faster % self.factors[idx].levels.len()
            }
        }
    }

    /// The level of each factor for a joint class.
    pub fn levels_of(&self, class: usize) -> Vec<usize> {
        (0..self.factors.len()).map(|idx| self.project(class, Scope::Factor(idx))).collect()
    }

    /// The name of the scope: `joint`, or the factor's name.
    pub fn scope_name(&self, scope: Scope) -> &str {
        match scope {
            Scope::Joint => "joint",
            Scope::Factor(idx) => &self.factors[idx].name,
        }
    }

    /// The name of a class of the scope, for example `worn male <30`.
    pub fn class_name(&self, class: usize, scope: Scope) -> String {
        match scope {
            Scope::Factor(idx) => self.factors[idx].levels[class].clone(),
            Scope::Joint => {
                let levels = self.levels_of(class).into_iter().zip(&self.factors);
                levels.map(|(level, it)| it.levels[level].as_str()).collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// All class names of the scope, in order.
    pub fn class_names(&self, scope: Scope) -> Vec<String> {
        (0..self.n_classes_of(scope)).map(|it| self.class_name(it, scope)).collect()
    }

    /// The joint scope, then each factor's; a task of one factor has the joint scope only.
    pub fn scopes(&self) -> Vec<Scope> {
        let n_factors = if self.factors.len() == 1 { 0 } else { self.factors.len() };
        std::iter::once(Scope::Joint).chain((0..n_factors).map(Scope::Factor)).collect()
    }

    /// Marginalises a joint distribution: sums it over every factor outside `scope`.
    pub fn marginal(&self, joint: &[f64], scope: Scope) -> Vec<f64> {
        let mut sums = vec![0.0; self.n_classes_of(scope)];
        for (class, p) in joint.iter().enumerate() {
            sums[self.project(class, scope)] += p;
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::{Factor, Scope, Task, Unit};

    #[track_caller]
    fn check_close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} != {want:?}");
    }

    /// Two factors of two levels: class = a * 2 + b.
    fn two_by_two() -> Task {
        Task::new(vec![Factor::new("a", &["x", "y"]), Factor::new("b", &["0", "1"])])
    }

    #[test]
    fn the_competition_orders_its_classes_by_mask_gender_age() {
        let task = Task::mask_gender_age();
        assert_eq!(task.n_classes(), 18);
        for class in 0..18 {
            let (mask, gender, age) = (class / 6 % 3, class / 3 % 2, class % 3);
            assert_eq!(task.levels_of(class), [mask, gender, age]);
            assert_eq!(task.class_of(&[mask, gender, age]), class);
        }
        assert_eq!(task.class_name(11, Scope::Joint), "incorrect female >=60");
    }

    #[test]
    fn a_numeric_factor_is_found_by_name_or_as_the_only_one() {
        let mut task = Task::mask_gender_age();
        assert_eq!(task.numeric().collect::<Vec<_>>(), [2]);
        assert_eq!((task.numeric_named(""), task.numeric_named("age")), (Ok(2), Ok(2)));
        let err = task.numeric_named("mask").unwrap_err();
        assert_eq!(err, "`mask` is not a numeric factor: expected one of: age");
        task.factors[1] = Factor::ranges("height", &["<160", ">=160"], &[160.0]);
        assert_eq!(task.numeric_named("height"), Ok(1));
        let err = task.numeric_named("").unwrap_err();
        assert_eq!(err, "this data has several numeric factors: name one of: height, age");
        let err = two_by_two().numeric_named("").unwrap_err();
        assert_eq!(err, "this data has no numeric factor");
    }

    #[test]
    fn units_have_a_singular_and_a_plural() {
        let counts = [Unit::Image, Unit::Group, Unit::Person].map(|it| [it.count(1), it.count(12)]);
        let want = [["1 image", "12 images"], ["1 group", "12 groups"], ["1 person", "12 people"]];
        assert_eq!(counts, want.map(|it| it.map(str::to_owned)));
        assert_eq!(Unit::Person.images_of(7, 1), "7 images of 1 person");
        assert_eq!(Unit::Image.images_of(7, 7), "7 images");
    }

    #[test]
    fn an_age_on_the_cut_belongs_to_the_older_range() {
        let ages = [18.0, 29.0, 30.0, 59.0, 60.0, 90.0];
        assert_eq!(ages.map(|it| Factor::level_of(it, &[30.0, 60.0])), [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn the_nearest_age_of_another_range_is_at_its_edge() {
        let age = Factor::ranges("age", &["<30", "30-59", ">=60"], &[30.0, 60.0]);
        let nearest = |years, level| age.nearest(years, level);
        assert_eq!([nearest(35.0, 0), nearest(28.0, 1), nearest(80.0, 1)], [29.0, 30.0, 59.0]);
        assert_eq!([nearest(20.0, 2), nearest(45.0, 1), nearest(66.0, 2)], [60.0, 45.0, 66.0]);
    }

    #[test]
    fn a_marginal_sums_over_the_other_factors() {
        let task = two_by_two();
        check_close(&task.marginal(&[0.1, 0.2, 0.3, 0.4], Scope::Factor(0)), &[0.3, 0.7]);
        check_close(&task.marginal(&[0.1, 0.2, 0.3, 0.4], Scope::Factor(1)), &[0.4, 0.6]);
    }
}
