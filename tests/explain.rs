//! Heat maps: the gradient of a feature map, every network and head, and networks whose map is known.

mod gradient;
mod squares;
mod zoo;

use std::rc::Rc;

use ::explain::Explainer;
use augment::{Pipeline, Statistics};
use base::Task;
use infer::{Bundle, Member};
use models::Model;

/// An explainer of a model, for images that are its input, in -1..1.
fn explainer(model: Model, task: &Task) -> Explainer {
    let statistics = Statistics { mean: [0.5; 3], std: [0.5; 3] };
    let pipeline = Pipeline { ops: Vec::new(), statistics, max_pixels: 1 << 20 };
    let member = Member::new(Rc::new(model), task.clone(), pipeline);
    Explainer::new(&Bundle::new(task.clone(), vec![member]), 0).expect("a member")
}
