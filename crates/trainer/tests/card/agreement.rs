//! Ten steps of tiny networks, with dropped paths, mixed samples and erased areas.

use crate::harness::{CONVNEXT, EFFICIENTNET, RESNET, check_losses, losses, on_card};

const MIX: &str = "augment.mix=[{ kind = \"cutmix\", p = 0.5 }, { kind = \"mixup\", p = 0.5 }, \
                   { kind = \"random_erasing\", fill = \"pixel\" }]";

/// How far the first loss and the later ones may be from the CPU's, as a share. Steps enlarge the rounding of the first:
/// 4.1e-2 was seen in bf16, 2.3e-2 in f16, and 1e-6 in f32.
const BANDS: [(&str, f64, f64); 3] =
    [("off", 1e-5, 1e-4), ("bf16", 1e-2, 6e-2), ("f16", 1e-3, 6e-2)];

/// Ten steps in f32, bf16 and f16.
fn agrees(what: &str, network: &str) {
    let (want, _) = losses("cpu", &[network, MIX], 10);
    for (dtype, first, band) in BANDS {
        on_card(|device, _| {
            let amp = format!("amp.dtype={dtype}");
            // A first scale at which no step is skipped, as some are at PyTorch's: the CPU skips none.
            let scale = "amp.init_scale=256";
            let (got, _) = losses(device, &[network, MIX, &amp, scale], 10);
            check_losses(&format!("{what}, {dtype}"), &got[..1], &want[..1], first);
            check_losses(&format!("{what}, {dtype}"), &got, &want, band);
        });
    }
}

#[test]
fn an_efficientnet_agrees_with_the_cpu() {
    agrees("EfficientNet", EFFICIENTNET);
}

#[test]
fn a_resnet_agrees_with_the_cpu() {
    agrees("ResNet", RESNET);
}

#[test]
fn a_convnext_agrees_with_the_cpu() {
    agrees("ConvNeXt", CONVNEXT);
}

/// Several outputs, each with its copy of the last stage, in parts, with frozen layers.
#[test]
fn a_branched_network_with_frozen_layers_and_accumulation_agrees_with_the_cpu() {
    let sets = [
        "head.kind=branched",
        "train.accumulate=2",
        "train.freeze=[{ layers = \"stem..stage2\" }]",
        "groups={ no_decay = [\"norm\", \"bias\"], head_lr = 3.0, stage_lr = { kind = \"layer_decay\" } }",
    ];
    let (want, _) = losses("cpu", &sets, 4);
    on_card(|device, _| {
        let (got, _) = losses(device, &sets, 4);
        check_losses("branched", &got, &want, 1e-4);
    });
}
