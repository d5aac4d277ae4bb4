//! Predictions beside the truth.

use base::{Task, task::Scope};

/// Predictions beside the truth.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// What was asked.
    pub task: Task,
    /// A distribution over the joint classes for each picture.
    pub probabilities: Vec<Vec<f64>>,
    /// The class that each picture is taken for: the most probable, of equals the first.
    pub predicted: Vec<usize>,
    /// The true joint class of each picture, by the task's own cuts.
    pub classes: Vec<usize>,
    /// The person on each picture, as any numbers that tell people apart.
    pub people: Vec<usize>,
    /// For heads that say years: what they say of each picture.
    pub years: Option<Vec<f64>>,
    /// The true age in years of each picture's person, where it is known.
    pub ages: Vec<Option<f64>>,
}

impl Predictions {
    /// Predictions of a head that says no years.
    pub fn new(
        task: Task,
        probabilities: Vec<Vec<f64>>,
        classes: Vec<usize>,
        people: Vec<usize>,
    ) -> Predictions {
        let predicted = probabilities.iter().map(|p| argmax(p)).collect();
        let ages = vec![None; classes.len()];
        Predictions { task, probabilities, predicted, classes, people, years: None, ages }
    }

    /// The same, with what a head says of ages, and the true ones.
    pub fn with_years(self, years: Option<Vec<f64>>, ages: Vec<Option<f64>>) -> Predictions {
        Predictions { years, ages, ..self }
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// The answers to one question, as predictions of a task that asks nothing else.
    ///
    /// Probabilities are summed. What a picture is taken for is the level of the joint class that it
    /// is taken for, since that is what is submitted: not always the most probable level.
    pub fn project(&self, scope: Scope) -> Predictions {
        let Scope::Factor(idx) = scope else { return self.clone() };
        let project = |of: &[usize]| of.iter().map(|&it| self.task.project(it, scope)).collect();
        Predictions {
            task: Task { factors: vec![self.task.factors[idx].clone()] },
            probabilities: self
                .probabilities
                .iter()
                .map(|p| self.task.marginal(p, scope))
                .collect(),
            predicted: project(&self.predicted),
            classes: project(&self.classes),
            people: self.people.clone(),
            years: self.years.clone(),
            ages: self.ages.clone(),
        }
    }
}

/// The position of the largest number; of equals the first.
pub fn argmax(p: &[f64]) -> usize {
    let mut best = 0;
    for (idx, x) in p.iter().enumerate() {
        if *x > p[best] {
            best = idx;
        }
    }
    best
}
