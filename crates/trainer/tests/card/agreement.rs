//! Ten steps of tiny networks, as `maskfit device check` takes them: with dropped paths, mixed samples and erased areas.

use gpu::Storage;
use trainer::check::{Agreement, Bounds, CONVNEXT, EFFICIENTNET, Network, RESNET, take};

use crate::harness::{check_agreement, taken};

/// Ten steps. Each network and storage is a test, so that tests that run at the same time end at about the same time.
fn agrees(network: &Network, storage: Storage) {
    let want = take(network, &[], None).expect("finite losses");
    assert_eq!(want.losses.len(), 10);
    let worst = want.losses.iter().map(|it| (it - want.losses[0]).abs()).fold(0.0, f64::max);
    assert!(worst > 0.02 * want.losses[0], "the steps change nothing: {:?}", want.losses);
    let agreement = Agreement::between(&taken(network, &[], storage), &want);
    let what = format!("{}, {}", network.name, storage.name());
    check_agreement(&what, &agreement, &Bounds::of(storage));
}

#[test]
fn every_storage_is_tested() {
    assert_eq!(Storage::ALL, [Storage::F32, Storage::Bf16, Storage::F16]);
}

#[test]
fn an_efficientnet_in_f32_agrees_with_the_cpu() {
    agrees(&EFFICIENTNET, Storage::F32);
}

#[test]
fn an_efficientnet_in_bf16_agrees_with_the_cpu() {
    agrees(&EFFICIENTNET, Storage::Bf16);
}

#[test]
fn an_efficientnet_in_f16_agrees_with_the_cpu() {
    agrees(&EFFICIENTNET, Storage::F16);
}

#[test]
fn a_resnet_in_f32_agrees_with_the_cpu() {
    agrees(&RESNET, Storage::F32);
}

#[test]
fn a_resnet_in_bf16_agrees_with_the_cpu() {
    agrees(&RESNET, Storage::Bf16);
}

#[test]
fn a_resnet_in_f16_agrees_with_the_cpu() {
    agrees(&RESNET, Storage::F16);
}

#[test]
fn a_convnext_in_f32_agrees_with_the_cpu() {
    agrees(&CONVNEXT, Storage::F32);
}

#[test]
fn a_convnext_in_bf16_agrees_with_the_cpu() {
    agrees(&CONVNEXT, Storage::Bf16);
}

#[test]
fn a_convnext_in_f16_agrees_with_the_cpu() {
    agrees(&CONVNEXT, Storage::F16);
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
