//! Predictions beside the truth: of one image, and of many.

use base::{Task, task::Scope};

/// The prediction for one image beside the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction<'a> {
    /// A distribution over the classes.
    pub probabilities: &'a [f64],
    /// The class that is predicted: the most probable, of equals the first.
    pub predicted: usize,
    /// The true class, by the task's own cuts.
    pub class: usize,
    /// The person on the image, as any number that tells people apart.
    pub person: usize,
    /// For heads that predict years: what they predict.
    pub years: Option<f64>,
    /// The true age in years, where it is known.
    pub age: Option<f64>,
}

impl Prediction<'_> {
    /// Whether the true class is predicted.
    pub fn is_hit(&self) -> bool {
        self.class == self.predicted
    }
}

/// How predictions of joint classes answer one question of the task.
pub struct Projection {
    scope: Scope,
    n_classes: usize,
    /// The class of each joint class.
    class_of: Vec<usize>,
    /// Of the prediction that was projected last.
    marginal: Vec<f64>,
}

impl Projection {
    /// Onto one question.
    pub fn new(task: &Task, scope: Scope) -> Projection {
        let class_of = (0..task.n_classes()).map(|it| task.project(it, scope)).collect();
        let n_classes = task.n_classes_of(scope);
        Projection { scope, n_classes, class_of, marginal: vec![0.0; n_classes] }
    }

    /// Onto every question of a task: all factors together, then each.
    pub fn all(task: &Task) -> Vec<Projection> {
        task.scopes().into_iter().map(|it| Projection::new(task, it)).collect()
    }

    /// The question.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// How many classes it has.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The prediction for this question alone.
    ///
    /// Probabilities are summed. The predicted class is the level of the joint class that is predicted,
    /// since that is what is submitted: not always the most probable level.
    pub fn of<'a>(&'a mut self, it: &Prediction<'a>) -> Prediction<'a> {
        if self.scope == Scope::Joint {
            return *it;
        }
        self.marginal.fill(0.0);
        for (p, &class) in it.probabilities.iter().zip(&self.class_of) {
            self.marginal[class] += p;
        }
        Prediction {
            probabilities: &self.marginal,
            predicted: self.class_of[it.predicted],
            class: self.class_of[it.class],
            ..*it
        }
    }
}

/// Predictions for several images, in memory: for as many as a batch has, or a small validation set.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// What was asked.
    pub task: Task,
    /// A distribution over the joint classes for each image.
    pub probabilities: Vec<Vec<f64>>,
    /// The class that is predicted for each image: the most probable, of equals the first.
    pub predicted: Vec<usize>,
    /// The true joint class of each image, by the task's own cuts.
    pub classes: Vec<usize>,
    /// The person on each image, as any numbers that tell people apart.
    pub people: Vec<usize>,
    /// For heads that predict years: what they predict for each image.
    pub years: Option<Vec<f64>>,
    /// The true age in years of each image's person, where it is known.
    pub ages: Vec<Option<f64>>,
}

impl Predictions {
    /// Predictions of a head that predicts no years.
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

    /// The same, with what a head predicts of ages, and the true ones.
    pub fn with_years(self, years: Option<Vec<f64>>, ages: Vec<Option<f64>>) -> Predictions {
        Predictions { years, ages, ..self }
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Prediction<'_>> {
        (0..self.len()).map(|at| Prediction {
            probabilities: &self.probabilities[at],
            predicted: self.predicted[at],
            class: self.classes[at],
            person: self.people[at],
            years: self.years.as_ref().map(|it| it[at]),
            age: self.ages[at],
        })
    }

    /// The predictions for one question, as those of a task that asks nothing else; see
    /// [`Projection::of`].
    pub fn project(&self, scope: Scope) -> Predictions {
        let Scope::Factor(idx) = scope else { return self.clone() };
        let mut projection = Projection::new(&self.task, scope);
        let mut projected = Predictions {
            task: Task { factors: vec![self.task.factors[idx].clone()] },
            probabilities: Vec::new(),
            predicted: Vec::new(),
            classes: Vec::new(),
            ..self.clone()
        };
        for it in self.iter() {
            let it = projection.of(&it);
            projected.probabilities.push(it.probabilities.to_vec());
            projected.predicted.push(it.predicted);
            projected.classes.push(it.class);
        }
        projected
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
