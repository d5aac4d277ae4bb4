//! Optimizers and clipping, a few steps each.

use trainer::OptimConfig;

use crate::harness::{check_losses, losses, on_card};

/// Compares some steps with the CPU's, in f32.
#[track_caller]
fn agrees(what: &str, sets: &[&str]) {
    let (want, _) = losses("cpu", sets, 4);
    let (plain, _) = losses("cpu", &sets[1..], 1);
    assert_eq!(want[0], plain[0], "{what}: the first loss is from before the first step");
    on_card(|device, _| {
        let (got, _) = losses(device, sets, 4);
        check_losses(what, &got, &want, 2e-4);
    });
}

#[test]
fn every_optimizer_agrees_with_the_cpu() {
    let kinds: Vec<&str> = OptimConfig::KINDS.iter().map(|it| it.0).collect();
    assert_eq!(kinds.len(), 7);
    for kind in kinds {
        let lr = match kind {
            "sgd" => 0.02,
            "lion" => 3e-4,
            _ => 3e-3,
        };
        let optim = format!("optim={{ kind = \"{kind}\", lr = {lr}, weight_decay = 0.1 }}");
        agrees(kind, &[&optim, "groups.no_decay=[\"norm\", \"bias\"]", "groups.head_lr=3.0"]);
    }
}

#[test]
fn every_kind_of_clipping_agrees_with_the_cpu() {
    let optim = "optim={ kind = \"sgd\", lr = 0.3, weight_decay = 0.0 }";
    let (unclipped, _) = losses("cpu", &[optim], 4);
    for clip in [
        "{ kind = \"norm\", max_norm = 0.5 }",
        "{ kind = \"value\", limit = 0.02 }",
        "{ kind = \"adaptive\", clip_factor = 0.05 }",
    ] {
        let clip = format!("train.clip={clip}");
        let (want, _) = losses("cpu", &[&clip, optim], 4);
        assert!((want[3] - unclipped[3]).abs() > 1e-2, "{clip}: it clips nothing: {want:?}");
        agrees(&clip, &[&clip, optim]);
    }
}
