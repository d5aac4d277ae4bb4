//! Optimizers and clipping, a few steps each.

use gpu::Storage;
use trainer::{
    OptimConfig,
    check::{Agreement, Bounds, EFFICIENTNET, Taken, take},
};

use crate::harness::{check_agreement, taken};

/// The steps of each.
const TOTAL: &str = "train.total=\"4 steps\"";

/// How far f32 may be from the CPU. Lion turns the rounding of a gradient that is almost 0 into a whole step.
const BOUNDS: Bounds = Bounds { first: 1e-5, loss: 2e-4, change: 1e-2 };

fn on_cpu(sets: &[&str]) -> Taken {
    take(&EFFICIENTNET, sets, None).expect("finite losses")
}

/// Compares some steps with the CPU's, in f32.
///
/// - `left_out`: a group of parameters that is not compared.
#[track_caller]
fn agrees(what: &str, sets: &[&str], want: &Taken, left_out: Option<&str>) {
    let mut agreement = Agreement::between(&taken(&EFFICIENTNET, sets, Storage::F32), want);
    agreement.changes.retain(|it| Some(it.group) != left_out);
    check_agreement(what, &agreement, &BOUNDS);
}

/// Checks that a setting changes what the steps change by more than [`BOUNDS`] allows, so that the comparison would
/// notice its absence.
#[track_caller]
fn matters(what: &str, with: &Taken, without: &Taken) {
    let change = Agreement::between(without, with).change();
    assert!(
        change > 5.0 * BOUNDS.change,
        "{what}: without it only {change:.1e} of the steps changes"
    );
}

#[test]
fn every_optimizer_agrees_with_the_cpu() {
    let kinds: Vec<&str> = OptimConfig::KINDS.iter().map(|it| it.0).collect();
    assert_eq!(kinds.len(), 7);
    for kind in kinds {
        let lr = match kind {
            // With larger steps, one that rounding turned changes the gradients of the next.
            "lion" => 1e-4,
            _ => 3e-3,
        };
        let optim =
            |decay| format!("optim={{ kind = \"{kind}\", lr = {lr}, weight_decay = {decay} }}");
        let (some, none) = (optim("1.0"), optim("0.0"));
        let sets =
            [some.as_str(), TOTAL, "groups.no_decay=[\"norm\", \"bias\"]", "groups.head_lr=3.0"];
        let want = on_cpu(&sets);
        matters(
            &format!("the weight decay of {kind}"),
            &want,
            &on_cpu(&[&none, TOTAL, sets[2], sets[3]]),
        );
        matters(&format!("`no_decay` of {kind}"), &want, &on_cpu(&[&some, TOTAL, sets[3]]));
        // A constant that a norm adds before a 1x1 convolution and another norm changes nothing: its gradient is
        // rounding, which all but SGD turn into a whole step.
        agrees(kind, &sets, &want, (kind != "sgd").then_some("norms"));
    }
}

#[test]
fn every_kind_of_clipping_agrees_with_the_cpu() {
    let optim = "optim={ kind = \"sgd\", lr = 0.05, weight_decay = 0.0 }";
    let unclipped = on_cpu(&[optim, TOTAL]);
    for clip in [
        "{ kind = \"norm\", max_norm = 0.5 }",
        "{ kind = \"value\", limit = 0.02 }",
        "{ kind = \"adaptive\", clip_factor = 0.05 }",
    ] {
        let clip = format!("train.clip={clip}");
        let sets = [clip.as_str(), optim, TOTAL];
        let want = on_cpu(&sets);
        matters(&clip, &want, &unclipped);
        agrees(&clip, &sets, &want, None);
    }
}
