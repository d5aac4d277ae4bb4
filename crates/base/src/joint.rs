//! From the predictions of several models to one joint distribution, where each may predict only some factors.
//!
//! A member that predicts every factor has a joint distribution of its own, p = Π_f p_f unless it predicts the
//! joint classes; these are averaged. A member for some factors adjusts the average: of its factors, each
//! marginal becomes the mean over all members that predict it, and the classes of a level are scaled in
//! proportion (one round of iterative proportional fitting, Deming & Stephan 1940).

use crate::{
    difference::of_factors,
    task::{Factor, Scope, ScopePrediction, Task},
};

/// The predictions of the members do not cover every factor, so there is no joint class.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "no member of the bundle predicts `{factor}`: add one with a joint head or a `{factor}` head"
)]
pub struct MissingFactor {
    /// The factor without a prediction.
    pub factor: String,
}

impl Task {
    /// Returns the task whose factors are those of all `tasks`, in the order in which they first appear.
    ///
    /// - `tasks`: each with the name of its model or data, for errors.
    ///
    /// # Errors
    /// Factors of the same name with different levels or cuts; or a product with too many classes.
    pub fn product<'a>(
        tasks: impl IntoIterator<Item = (&'a str, &'a Task)>,
    ) -> Result<Task, String> {
        let mut unit = None;
        let mut all: Vec<(&str, &Factor)> = Vec::new();
        for (name, task) in tasks {
            unit.get_or_insert(task.unit);
            for factor in &task.factors {
                match all.iter().find(|(_, it)| it.name == factor.name) {
                    None => all.push((name, factor)),
                    Some((_, known)) if *known == factor => {}
                    Some(known) => return Err(of_factors(*known, (name, factor))),
                }
            }
        }
        let factors = all.into_iter().map(|(_, it)| it.clone()).collect();
        let all = Task { factors, unit: unit.ok_or("there are no tasks")? };
        all.problem().map_or(Ok(all), Err)
    }

    /// Returns the position of each factor of `part`, by name.
    ///
    /// # Errors
    /// A factor that this task lacks, or has with other levels or cuts.
    pub fn places(&self, part: &Task) -> Result<Vec<usize>, String> {
        let place = |factor: &Factor| {
            let known = self.factors.iter().position(|it| it.name == factor.name);
            let known = known.ok_or_else(|| format!("there is no factor `{}`", factor.name))?;
            match self.factors[known] == *factor {
                true => Ok(known),
                false => {
                    Err(of_factors(("the bundle", &self.factors[known]), ("the member", factor)))
                }
            }
        };
        part.factors.iter().map(place).collect()
    }

    /// Returns a member's predictions in this task, from those in its own one, `part`.
    ///
    /// - `places`: the [places](Task::places) of its factors here.
    ///
    /// A joint distribution of only some factors becomes the marginal of each.
    pub fn place(
        &self,
        part: &Task,
        places: &[usize],
        predictions: Vec<ScopePrediction>,
    ) -> Vec<ScopePrediction> {
        if part.factors == self.factors {
            return predictions;
        }
        let placed = |idx: usize, probabilities| {
            let scope = Scope::Factor(places[idx]);
            ScopePrediction { scope, probabilities }
        };
        if let Some(joint) = predictions.iter().find(|it| it.scope == Scope::Joint) {
            let joint = &joint.probabilities;
            if places.len() < self.factors.len() {
                let marginal = |idx| placed(idx, part.marginal(joint, Scope::Factor(idx)));
                return (0..places.len()).map(marginal).collect();
            }
            let class = |class| {
                let levels = self.levels_of(class);
                let levels: Vec<usize> = places.iter().map(|&it| levels[it]).collect();
                joint[part.class_of(&levels)]
            };
            let probabilities = (0..self.n_classes()).map(class).collect();
            return vec![ScopePrediction { scope: Scope::Joint, probabilities }];
        }
        let of_factor = |it: ScopePrediction| match it.scope {
            Scope::Factor(idx) => placed(idx, it.probabilities),
            Scope::Joint => it,
        };
        predictions.into_iter().map(of_factor).collect()
    }

    /// Combines the predictions of the heads of one or several members for an image into one joint
    /// distribution.
    ///
    /// - `weights`: the weight of each member, 0 or more; empty for equal ones.
    ///
    /// A member that predicts the joint scope, or every factor, has a joint distribution of its own (the
    /// product over its factors); these are averaged.
    /// A member that predicts only some factors then adjusts that average: its predictions are averaged
    /// with every other member's marginal of the same factor, and each level is scaled by the ratio of
    /// the averaged marginal to the previous one.
    /// If no member is complete, the factors' averages are multiplied.
    ///
    /// # Errors
    /// [`MissingFactor`] if no member predicts some factor.
    pub fn join(
        &self,
        members: &[Vec<ScopePrediction>],
        weights: &[f64],
    ) -> Result<Vec<f64>, MissingFactor> {
        let weight = |member: usize| weights.get(member).copied();
        let (mut whole, mut part) = (Mean::default(), Vec::new());
        for (idx, member) in members.iter().enumerate() {
            match self.joint_of(member) {
                Some(joint) => whole.add(weight(idx), joint),
                None => part.push((weight(idx), member)),
            }
        }
        let base = whole.take();
        let mut joint = match &base {
            Some(base) if part.is_empty() => return Ok(base.clone()),
            Some(base) => base.clone(),
            None => vec![1.0; self.n_classes()],
        };
        for (idx, factor) in self.factors.iter().enumerate() {
            let scope = Scope::Factor(idx);
            let mut marginals = Mean::default();
            for (weight, it) in &whole.all {
                marginals.add(*weight, self.marginal(it, scope));
            }
            for (weight, member) in &part {
                let own = member.iter().filter(|it| it.scope == scope);
                own.for_each(|it| marginals.add(*weight, it.probabilities.clone()));
            }
            let Some(want) = marginals.take() else {
                return Err(MissingFactor { factor: factor.name.clone() });
            };
            let have = match &base {
                None => vec![1.0; want.len()],
                Some(base) => self.marginal(base, scope),
            };
            for (class, p) in joint.iter_mut().enumerate() {
                let level = self.project(class, scope);
                *p *= if have[level] > 0.0 { want[level] / have[level] } else { 0.0 };
            }
        }
        let sum: f64 = joint.iter().sum();
        match sum > 0.0 {
            true => joint.iter_mut().for_each(|p| *p /= sum),
            // The members contradict each other with certainty: fall back to the uniform distribution.
            false => joint.fill(1.0 / self.n_classes() as f64),
        }
        Ok(joint)
    }

    /// Returns the joint distribution of one member, if it predicts the joint scope or every factor.
    pub fn joint_of(&self, predictions: &[ScopePrediction]) -> Option<Vec<f64>> {
        if let Some(joint) = predictions.iter().find(|it| it.scope == Scope::Joint) {
            return Some(joint.probabilities.clone());
        }
        let of = |idx| predictions.iter().find(|it| it.scope == Scope::Factor(idx));
        let factors: Vec<&ScopePrediction> =
            (0..self.factors.len()).map(of).collect::<Option<_>>()?;
        let p = |class: usize, (idx, it): (usize, &&ScopePrediction)| {
            it.probabilities[self.project(class, Scope::Factor(idx))]
        };
        let product = |class| factors.iter().enumerate().map(|it| p(class, it)).product();
        Some((0..self.n_classes()).map(product).collect())
    }
}

/// The weighted mean of distributions over the same classes.
#[derive(Default)]
struct Mean {
    all: Vec<(Option<f64>, Vec<f64>)>,
}

impl Mean {
    /// - `weight`: `None` for equal weights.
    fn add(&mut self, weight: Option<f64>, distribution: Vec<f64>) {
        self.all.push((weight, distribution));
    }

    /// Returns the mean; `None` without a distribution of a weight above 0.
    fn take(&self) -> Option<Vec<f64>> {
        let mut mean = vec![0.0; self.all.first()?.1.len()];
        let total: f64 = self.all.iter().map(|it| it.0.unwrap_or(1.0)).sum();
        if total <= 0.0 {
            return None;
        }
        for (weight, distribution) in &self.all {
            for (sum, p) in mean.iter_mut().zip(distribution) {
                *sum += weight.map_or(*p, |it| it * p) / total;
            }
        }
        Some(mean)
    }
}

#[cfg(test)]
mod tests {
    use crate::task::{Factor, Scope, ScopePrediction, Task};

    #[track_caller]
    fn check_close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} != {want:?}");
    }

    fn factor(idx: usize, p: &[f64]) -> ScopePrediction {
        ScopePrediction { scope: Scope::Factor(idx), probabilities: p.to_vec() }
    }

    fn joint(p: &[f64]) -> ScopePrediction {
        ScopePrediction { scope: Scope::Joint, probabilities: p.to_vec() }
    }

    fn named(name: &str) -> Factor {
        let levels: [&str; 2] = if name == "a" { ["x", "y"] } else { ["0", "1"] };
        Factor::new(name, &levels)
    }

    /// Two factors of two levels: class = a * 2 + b.
    fn two_by_two() -> Task {
        Task::new(vec![named("a"), named("b")])
    }

    #[test]
    fn factors_of_one_member_multiply() {
        let member = vec![factor(0, &[0.25, 0.75]), factor(1, &[0.9, 0.1])];
        check_close(&two_by_two().join(&[member], &[]).unwrap(), &[0.225, 0.025, 0.675, 0.075]);
    }

    #[test]
    fn complete_members_are_averaged() {
        let a = vec![joint(&[1.0, 0.0, 0.0, 0.0])];
        let b = vec![factor(0, &[0.5, 0.5]), factor(1, &[0.5, 0.5])];
        let both = [a, b];
        check_close(&two_by_two().join(&both, &[]).unwrap(), &[0.625, 0.125, 0.125, 0.125]);
        // 3/4 of the first and 1/4 of the second: 0.75 + 0.0625 for the first class.
        let weighted = two_by_two().join(&both, &[3.0, 1.0]).unwrap();
        check_close(&weighted, &[0.8125, 0.0625, 0.0625, 0.0625]);
    }

    #[test]
    fn a_member_for_one_factor_adjusts_the_joint_distribution() {
        // The joint member predicts a = x with 0.5, the partial one with 0.9: 0.7 on average.
        let a = vec![joint(&[0.4, 0.1, 0.1, 0.4])];
        let b = vec![factor(0, &[0.9, 0.1])];
        let both = [a, b];
        check_close(&two_by_two().join(&both, &[]).unwrap(), &[0.56, 0.14, 0.06, 0.24]);
        // With three times the weight: 0.8.
        let weighted = two_by_two().join(&both, &[1.0, 3.0]).unwrap();
        check_close(&weighted, &[0.64, 0.16, 0.04, 0.16]);
    }

    #[test]
    fn members_for_one_factor_each_combine_to_a_joint_distribution() {
        let members = [vec![factor(1, &[0.9, 0.1])], vec![factor(0, &[0.25, 0.75])]];
        check_close(&two_by_two().join(&members, &[]).unwrap(), &[0.225, 0.025, 0.675, 0.075]);
        // Each is the only one for its factor, whatever its weight.
        let weighted = two_by_two().join(&members, &[0.2, 0.8]).unwrap();
        check_close(&weighted, &[0.225, 0.025, 0.675, 0.075]);
    }

    #[test]
    fn a_factor_without_a_prediction_is_an_error() {
        let err = two_by_two().join(&[vec![factor(0, &[0.5, 0.5])]], &[]).unwrap_err();
        assert_eq!(err.factor, "b");
        let members = [vec![factor(0, &[0.5, 0.5])], vec![factor(1, &[0.5, 0.5])]];
        let err = two_by_two().join(&members, &[0.0, 1.0]).unwrap_err();
        assert_eq!(err.factor, "a");
    }

    #[test]
    fn contradicting_members_still_give_a_distribution() {
        let a = vec![joint(&[1.0, 0.0, 0.0, 0.0])];
        let b = vec![factor(0, &[0.0, 1.0])];
        let p = two_by_two().join(&[a, b], &[]).unwrap();
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12 && p.iter().all(|it| it.is_finite()));
    }

    #[test]
    fn a_product_has_each_factor_once_in_the_order_of_appearance() {
        let one = |name: &str| Task::new(vec![named(name)]);
        let product =
            Task::product([("1", &one("b")), ("2", &two_by_two()), ("3", &one("c"))]).unwrap();
        let names: Vec<&str> = product.factors.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["b", "a", "c"]);
        assert_eq!(product.places(&two_by_two()), Ok(vec![1, 0]));
        assert_eq!(two_by_two().places(&product).unwrap_err(), "there is no factor `c`");
        let other = Task::new(vec![Factor::new("a", &["y", "x"])]);
        // `a` is of the second task, not of the first.
        let tasks = [("1", &one("b")), ("2", &two_by_two()), ("3", &other)];
        let err = Task::product(tasks).unwrap_err();
        assert!(err.ends_with("level 1 is `x` in 2, and `y` in 3"), "{err}");
        let err = two_by_two().places(&other).unwrap_err();
        assert!(err.ends_with("level 1 is `x` in the bundle, and `y` in the member"), "{err}");
        let large = |name: &str| {
            let levels: Vec<String> = (0..5000).map(|it| it.to_string()).collect();
            let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
            Task::new(vec![Factor::new(name, &levels)])
        };
        let err = Task::product([("1", &large("a")), ("2", &large("b"))]).unwrap_err();
        assert!(err.contains("more than"), "{err}");
    }

    #[test]
    fn predictions_of_another_task_are_placed_by_the_names_of_factors() {
        let task = two_by_two();
        let place = |part: &Task, it| task.place(part, &task.places(part).unwrap(), it);
        // One factor: its classes are the levels.
        let of_b = Task::new(vec![named("b")]);
        assert_eq!(place(&of_b, vec![joint(&[0.3, 0.7])]), [factor(1, &[0.3, 0.7])]);
        // The other order: class = b * 2 + a.
        let turned = Task::new(vec![named("b"), named("a")]);
        let got = place(&turned, vec![joint(&[0.1, 0.2, 0.3, 0.4])]);
        assert_eq!(got, [joint(&[0.1, 0.3, 0.2, 0.4])]);
        let got = place(&turned, vec![factor(0, &[0.3, 0.7]), factor(1, &[0.5, 0.5])]);
        assert_eq!(got, [factor(1, &[0.3, 0.7]), factor(0, &[0.5, 0.5])]);
        // Two factors of three: the marginals.
        let three = Task::new(vec![named("c"), named("a"), named("b")]);
        let places = three.places(&two_by_two()).unwrap();
        let got = three.place(&two_by_two(), &places, vec![joint(&[0.125, 0.125, 0.25, 0.5])]);
        assert_eq!(got, [factor(1, &[0.25, 0.75]), factor(2, &[0.375, 0.625])]);
    }
}
