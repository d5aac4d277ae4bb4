//! Ten steps of tiny networks, as `maskfit device check` takes them: with dropped paths, mixed samples and erased areas.

use gpu::Storage;
use trainer::check::{Agreement, Bounds, CONVNEXT, EFFICIENTNET, Network, RESNET, take};

use crate::harness::{check_agreement, taken};

/// Ten steps in f32, bf16 and f16.
fn agrees(network: &Network) {
    let want = take(network, &[], None).expect("finite losses");
    assert_eq!(want.losses.len(), 10);
    let worst = want.losses.iter().map(|it| (it - want.losses[0]).abs()).fold(0.0, f64::max);
    assert!(worst > 0.02 * want.losses[0], "the steps change nothing: {:?}", want.losses);
    for storage in Storage::ALL {
        let agreement = Agreement::between(&taken(network, &[], storage), &want);
        let what = format!("{}, {}", network.name, storage.name());
        check_agreement(&what, &agreement, &Bounds::of(storage));
    }
}

#[test]
fn an_efficientnet_agrees_with_the_cpu() {
    agrees(&EFFICIENTNET);
}

#[test]
fn a_resnet_agrees_with_the_cpu() {
    agrees(&RESNET);
}

#[test]
fn a_convnext_agrees_with_the_cpu() {
    agrees(&CONVNEXT);
}

/// Several outputs, each with its copy of the last stage, in parts, with frozen layers; the last batch of an epoch is
/// short, and its parts have two and three rows.
#[test]
fn a_branched_network_with_frozen_layers_and_accumulation_agrees_with_the_cpu() {
    let sets = [
        "head.kind=branched",
        "train.total=\"4 steps\"",
        "train.batch_size=8",
        "train.drop_last=false",
        "train.accumulate=2",
        "train.freeze=[{ layers = \"stem..stage2\" }]",
        "groups={ no_decay = [\"norm\", \"bias\"], head_lr = 3.0, stage_lr = { kind = \"layer_decay\" } }",
    ];
    let want = take(&EFFICIENTNET, &sets, None).expect("finite losses");
    let agreement = Agreement::between(&taken(&EFFICIENTNET, &sets, Storage::F32), &want);
    check_agreement("branched", &agreement, &Bounds::of(Storage::F32));
}
