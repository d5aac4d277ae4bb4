//! Whether ten steps on a card agree with those on the CPU, in their losses and in what they have changed.
//!
//! Losses show an error late and in part. Of the tiny EfficientNet on the CPU: a momentum of 0.8 for 0.9 moves the losses
//! of ten steps by 4.3 %, a missing weight decay by 0.6 %, a learning rate that is 5 % larger by 1.3 %, which bf16's
//! rounding could do as well. What the steps have changed shows them: of the weights, ‖d - d_cpu‖ / ‖d_cpu‖ is then 25 %,
//! 83 % and 7.5 %. So that is compared too, for each group of parameters and for the running statistics.
//!
//! The steps are those of SGD, whose changes are proportional to gradients: Adam divides a gradient that is nothing but
//! rounding by its own size. They are short, so that they do not enlarge rounding: at a learning rate of 0.02, 5 % more
//! is 44 %.

use std::collections::BTreeMap;

use gpu::{Device, Storage};
use models::{Kind, Model};

use super::settings::{Network, amp_of, experiment, plan};
use crate::{error::FitError, learner::Learner, loading::load_epoch, schedule::Rates};

/// Mixed samples and erased areas; a weight decay that changes weights as much as gradients do.
const SETS: [&str; 4] = [
    "train.total=\"10 steps\"",
    "augment.mix=[{ kind = \"cutmix\", p = 0.5 }, { kind = \"mixup\", p = 0.5 }, \
     { kind = \"random_erasing\", fill = \"pixel\" }]",
    "optim={ kind = \"sgd\", lr = 0.003, momentum = 0.9, weight_decay = 0.1 }",
    // A first scale at which no step is skipped, as some are at PyTorch's: the CPU skips none.
    "amp.init_scale=256",
];

/// What some steps of a network gave.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The loss of each step.
    pub losses: Vec<f64>,
    /// By group: what the steps have changed, of all its numbers.
    changes: BTreeMap<&'static str, Vec<f64>>,
}

/// How far steps on a card are from those on the CPU, each as a share of the CPU's.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// The first loss, which is from before the first step.
    pub first: f64,
    /// The loss that differs most.
    pub loss: f64,
    /// What the steps have changed in each group.
    pub changes: Vec<Change>,
}

/// What steps have changed in a group of parameters: `weights`, `biases` (and layer scales), `norms`, `statistics` (the
/// running statistics of norms).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The group.
    pub group: &'static str,
    /// ‖d - d_cpu‖ / ‖d_cpu‖.
    pub apart: f64,
}

/// The most that rounding explains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Of [`Agreement::first`].
    pub first: f64,
    /// Of [`Agreement::loss`].
    pub loss: f64,
    /// Of each of [`Agreement::changes`].
    pub change: f64,
}

/// The group of a parameter.
fn group(kind: Kind) -> &'static str {
    match kind {
        Kind::Matrix | Kind::Dense | Kind::Depthwise => "weights",
        Kind::Vector => "biases",
        Kind::Norm => "norms",
        Kind::Buffer => "statistics",
    }
}

/// The numbers of a model by group, as the host has them.
fn numbers(model: &Model) -> candle::Result<BTreeMap<&'static str, Vec<f64>>> {
    let mut all: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for (_, it) in model.params().named() {
        let numbers = it.var.as_tensor().flatten_all()?.to_vec1::<f32>()?;
        all.entry(group(it.kind)).or_default().extend(numbers.into_iter().map(f64::from));
    }
    Ok(all)
}

/// Takes the steps of a tiny run: ten, unless the settings say otherwise.
///
/// - `sets`: further settings, as `--set` takes them.
/// - `on`: a card, and how it stores activations; `None` for the CPU.
///
/// # Errors
/// A setting is invalid, a loss is not finite, the card has no room, or the driver fails.
pub fn take(
    network: &Network,
    sets: &[&str],
    on: Option<(&Device, Storage)>,
) -> Result<Taken, FitError> {
    let place = on.map_or("device=cpu", |(_, storage)| amp_of(storage));
    let sets: Vec<&str> = SETS.iter().chain(sets).copied().chain([place]).collect();
    let plan = plan(&experiment(network, &sets)?)?;
    if let Some((device, storage)) = on {
        plan.use_card(device, storage)?;
    }
    let mut learner = Learner::new(&plan, plan.model()?.0)?;
    let before = numbers(learner.model())?;
    let mut losses = Vec::new();
    let mut loader = load_epoch(&plan, 0);
    for step in 0..plan.epochs.total() {
        let batch = match loader.next() {
            Some(it) => it?,
            None => {
                loader = load_epoch(&plan, step);
                loader.next().expect("an epoch has a batch")?
            }
        };
        losses.push(learner.step(&plan, &batch, step, Rates::of(1.0))?.loss);
    }
    learner.engine().copy_back(learner.model())?;
    let mut changes = numbers(learner.model())?;
    for (group, before) in before {
        let after = changes.entry(group).or_default();
        after.iter_mut().zip(before).for_each(|(after, before)| *after -= before);
    }
    Ok(Taken { losses, changes })
}

impl Bounds {
    /// Those of a tiny network.
    pub fn of(storage: Storage) -> Bounds {
        match storage {
            Storage::F32 => Bounds { first: 1e-5, loss: 1e-4, change: 1e-3 },
            Storage::Bf16 => Bounds { first: 1e-2, loss: 6e-2, change: 0.2 },
            Storage::F16 => Bounds { first: 1e-3, loss: 3e-2, change: 0.05 },
        }
    }
}

impl Agreement {
    /// Compares steps on a card with those on the CPU.
    pub fn between(got: &Taken, want: &Taken) -> Agreement {
        let losses = got.losses.iter().zip(&want.losses);
        let apart: Vec<f64> = losses.map(|(got, want)| (got - want).abs() / want.abs()).collect();
        let change = |(&group, want): (&&'static str, &Vec<f64>)| {
            let none = Vec::new();
            let got = got.changes.get(group).unwrap_or(&none);
            let square = |it: f64| it * it;
            let error: f64 = got.iter().zip(want).map(|(got, want)| square(got - want)).sum();
            let whole: f64 = want.iter().copied().map(square).sum();
            let apart = match got.len() == want.len() {
                true if error == 0.0 => 0.0,
                true => (error / whole).sqrt(),
                false => f64::INFINITY,
            };
            Change { group, apart }
        };
        Agreement {
            first: apart.first().copied().unwrap_or(f64::NAN),
            loss: largest(apart),
            changes: want.changes.iter().map(change).collect(),
        }
    }

    /// The largest of all groups.
    pub fn change(&self) -> f64 {
        largest(self.changes.iter().map(|it| it.apart))
    }

    /// Returns what is further apart than rounding explains, a line for each.
    pub fn problems(&self, bounds: &Bounds) -> Vec<String> {
        let losses = [
            ("the first loss".to_owned(), self.first, bounds.first),
            ("a loss".to_owned(), self.loss, bounds.loss),
        ];
        let changes = self.changes.iter().map(|it| {
            (format!("what the steps have changed in the {}", it.group), it.apart, bounds.change)
        });
        let all = losses.into_iter().chain(changes);
        // A NaN is a problem.
        let beyond = all.filter(|(_, apart, most)| apart.is_nan() || apart > most);
        let line = |(what, apart, most): (String, f64, f64)| {
            format!("{what} is {apart:.1e} of the CPU's apart, at most {most:.0e} by rounding")
        };
        beyond.map(line).collect()
    }
}

/// The largest number; NaN if one is.
fn largest(all: impl IntoIterator<Item = f64>) -> f64 {
    let larger = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
    all.into_iter().fold(0.0, larger)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Agreement, Bounds, Taken};

    #[test]
    fn what_is_apart_is_found_in_losses_and_in_changes() {
        let taken = |losses: [f64; 2], weights: [f64; 2]| Taken {
            losses: losses.to_vec(),
            changes: BTreeMap::from([("weights", weights.to_vec())]),
        };
        let want = taken([2.0, 4.0], [3.0, 4.0]);
        let got = Agreement::between(&taken([2.0, 3.0], [3.0, 3.0]), &want);
        assert_eq!((got.first, got.loss, got.change()), (0.0, 0.25, 0.2));
        let bounds = |loss, change| Bounds { first: 0.0, loss, change };
        assert!(got.problems(&bounds(0.25, 0.2)).is_empty());
        let problems = got.problems(&bounds(0.2, 0.1));
        assert_eq!(
            problems,
            [
                "a loss is 2.5e-1 of the CPU's apart, at most 2e-1 by rounding",
                "what the steps have changed in the weights is 2.0e-1 of the CPU's apart, at most 1e-1 by rounding"
            ]
        );
        let nan = Agreement::between(&taken([2.0, f64::NAN], [f64::NAN, 4.0]), &want);
        assert_eq!(nan.problems(&bounds(1.0, 1.0)).len(), 2);
        assert!(nan.loss.is_nan() && nan.change().is_nan());
    }
}
