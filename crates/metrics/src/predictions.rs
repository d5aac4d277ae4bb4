//! Predictions with true classes: of one image, and of many.

use base::{Task, task::Scope};

/// The prediction for one image, with its true class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction<'a> {
    /// The probabilities of the classes.
    pub probabilities: &'a [f64],
    /// The predicted class: the most probable, the first of equals.
    pub predicted: usize,
    /// The true class, by the task's own cut-offs.
    pub class: usize,
    /// The group in the image, as any number that identifies them.
    pub group: usize,
    /// The predicted number, such as an age, for heads that predict one.
    pub number: Option<f64>,
    /// The true number, where it is known.
    pub true_number: Option<f64>,
}

impl Prediction<'_> {
    /// Whether the predicted class is the true one.
    pub fn is_correct(&self) -> bool {
        self.class == self.predicted
    }
}

/// Projects predictions of joint classes onto one scope of the task.
pub struct Projection {
    scope: Scope,
    n_classes: usize,
    /// The class of each joint class.
    class_of: Vec<usize>,
    /// The marginal probabilities of the prediction projected last.
    marginal: Vec<f64>,
}

impl Projection {
    /// Creates the projection onto one scope.
    pub fn new(task: &Task, scope: Scope) -> Projection {
        let class_of = (0..task.n_classes()).map(|it| task.project(it, scope)).collect();
        let n_classes = task.n_classes_of(scope);
        Projection { scope, n_classes, class_of, marginal: vec![0.0; n_classes] }
    }

    /// Creates the projections onto every scope of a task: the joint classes, then each factor.
    pub fn all(task: &Task) -> Vec<Projection> {
        task.scopes().into_iter().map(|it| Projection::new(task, it)).collect()
    }

    /// The scope.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The number of classes of the scope.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Returns the prediction for this scope.
    ///
    /// Probabilities are summed. The predicted class is the level of the predicted joint class, since
    /// that is what is submitted: not always the most probable level.
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

/// Predictions for several images, in memory: for a batch or a small validation set.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// The task.
    pub task: Task,
    /// The probabilities of the joint classes for each image.
    pub probabilities: Vec<Vec<f64>>,
    /// The predicted class of each image: the most probable, the first of equals.
    pub predicted: Vec<usize>,
    /// The true joint class of each image, by the task's own cut-offs.
    pub classes: Vec<usize>,
    /// The group in each image, as any number that identifies them.
    pub groups: Vec<usize>,
    /// The predicted number of each image, such as an age, for heads that predict one.
    pub numbers: Option<Vec<f64>>,
    /// The true number of each image, where it is known.
    pub true_numbers: Vec<Option<f64>>,
}

impl Predictions {
    /// Creates the predictions of a head that predicts no number.
    pub fn new(
        task: Task,
        probabilities: Vec<Vec<f64>>,
        classes: Vec<usize>,
        groups: Vec<usize>,
    ) -> Predictions {
        let predicted = probabilities.iter().map(|p| argmax(p)).collect();
        let true_numbers = vec![None; classes.len()];
        let numbers = None;
        Predictions { task, probabilities, predicted, classes, groups, numbers, true_numbers }
    }

    /// Adds predicted and true numbers.
    pub fn with_numbers(
        self,
        numbers: Option<Vec<f64>>,
        true_numbers: Vec<Option<f64>>,
    ) -> Predictions {
        Predictions { numbers, true_numbers, ..self }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Iterates over the predictions for single images.
    pub fn iter(&self) -> impl Iterator<Item = Prediction<'_>> {
        (0..self.len()).map(|at| Prediction {
            probabilities: &self.probabilities[at],
            predicted: self.predicted[at],
            class: self.classes[at],
            group: self.groups[at],
            number: self.numbers.as_ref().map(|it| it[at]),
            true_number: self.true_numbers[at],
        })
    }

    /// Returns the predictions for one scope, as those of a task with that factor alone; see
    /// [`Projection::of`].
    pub fn project(&self, scope: Scope) -> Predictions {
        let Scope::Factor(idx) = scope else { return self.clone() };
        let mut projection = Projection::new(&self.task, scope);
        let mut projected = Predictions {
            task: Task { factors: vec![self.task.factors[idx].clone()], unit: self.task.unit },
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

/// Returns the index of the largest number; the first of equals.
pub fn argmax(p: &[f64]) -> usize {
    let mut best = 0;
    for (idx, x) in p.iter().enumerate() {
        if *x > p[best] {
            best = idx;
        }
    }
    best
}
