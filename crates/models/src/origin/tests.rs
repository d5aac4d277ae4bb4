//! Identifying weights by tensor names, file name and SHA-256.

use expect_test::{Expect, expect};
use ops::Padding;

use super::{Convention, Given, IdentifiedBy, Normalisation, Origin, origins, table};
use crate::{BackboneConfig, EfficientNet, Interpolation, ResNet, Variant, Vgg, published};

fn efficientnet(variant: Variant) -> BackboneConfig {
    BackboneConfig::EfficientNet(EfficientNet { variant, ..EfficientNet::default() })
}

fn with(variant: Variant, padding: Option<Padding>, norm_eps: Option<f64>) -> BackboneConfig {
    let plain = EfficientNet::default();
    BackboneConfig::EfficientNet(EfficientNet { variant, padding, norm_eps, ..plain })
}

fn left_out(backbone: &BackboneConfig) -> Given<'_> {
    Given { backbone, normalisation: Normalisation::Unset }
}

fn found(library: &'static str, backbone: &BackboneConfig, called: &str) -> Convention {
    let given = left_out(backbone);
    Convention::among(library, given, &[called], "").expect("known weights")
}

#[test]
fn table_parses_and_contains_all_published_weights() {
    let text = include_str!("../origins.csv");
    assert_eq!(table().count(), text.lines().count() - 2);
    for it in published() {
        let of_timm = |origin: &Origin| origin.library == "timm" && origin.network == it.name;
        let origin = origins().find(of_timm).expect(it.name);
        assert_eq!((origin.tag, &origin.input), (it.tag, &it.input), "{}", it.name);
        let BackboneConfig::EfficientNet(net) = it.backbone else { continue };
        assert_eq!(origin.padding_eps, net.padding.zip(net.norm_eps), "{}", it.name);
    }
    // The resized sides of timm and torchvision are integers.
    assert!(origins().all(|it| it.input.resized() >= it.input.size[0]));
}

#[test]
fn library_determines_padding_and_norm_epsilon() {
    use Padding::{Same, Symmetric};
    use Variant::{B0, B1, B2, B3, B4, B5, B6, B7, Lite0, V2L, V2M, V2S};
    let pytorch = [B0, B1, B2, B3, B4, B5, B6, B7];
    let pytorch = pytorch.map(|it| ("efficientnet_pytorch", it, (Same, 1e-3), 0.485));
    let torchvision = [B0, B1, B2, B3, B4];
    let torchvision = torchvision.map(|it| ("torchvision", it, (Symmetric, 1e-5), 0.485));
    let others = [
        ("efficientnet_pytorch", Lite0, (Same, 1e-3), 0.5),
        ("torchvision", B5, (Symmetric, 1e-3), 0.485),
        ("torchvision", V2S, (Symmetric, 1e-3), 0.485),
        ("torchvision", V2M, (Symmetric, 1e-3), 0.485),
        ("torchvision", V2L, (Symmetric, 1e-3), 0.5),
        ("timm", V2S, (Same, 1e-3), 0.5),
    ];
    for (library, variant, padding_eps, mean) in
        pytorch.into_iter().chain(torchvision).chain(others)
    {
        let it = found(library, &efficientnet(variant), "best.pth").origin;
        let (want, got) = ((Some(padding_eps), mean), (it.padding_eps, it.input.mean[0]));
        assert_eq!(got, want, "{library} {variant:?}");
    }
}

#[test]
fn file_name_resolves_ambiguous_tensor_names() {
    let b0 = efficientnet(Variant::B0);
    for (called, name, identified_by) in [
        (
            "hf:timm/tf_efficientnet_b0.ap_in1k",
            "tf_efficientnet_b0.ap_in1k",
            IdentifiedBy::FileName,
        ),
        (
            "a/models--timm--efficientnet_b0.ra_in1k/b/model.safetensors",
            "efficientnet_b0.ra_in1k",
            IdentifiedBy::FileName,
        ),
        (
            "w/tf_efficientnet_b0_ap-f262efe1.pth",
            "tf_efficientnet_b0.ap_in1k",
            IdentifiedBy::FileName,
        ),
        ("tf_efficientnet_b0", "tf_efficientnet_b0.ns_jft_in1k", IdentifiedBy::NetworkName),
        (
            "my-tf_efficientnet_b0_faces.pth",
            "tf_efficientnet_b0.ns_jft_in1k",
            IdentifiedBy::NetworkName,
        ),
        ("efficientnet_b0_ra-3dd342df.pth", "efficientnet_b0.ra_in1k", IdentifiedBy::FileName),
        ("efficientnet_b0.ra_in1k-faces.pth", "efficientnet_b0.ra_in1k", IdentifiedBy::NetworkName),
        ("best.pth", "efficientnet_b0.ra_in1k", IdentifiedBy::TensorNames),
    ] {
        let it = found("timm", &b0, called);
        assert_eq!(
            (it.origin.name().as_str(), it.identified_by),
            (name, identified_by),
            "{called}"
        );
        let ambiguities = it.ambiguities(left_out(&b0));
        assert_eq!(
            ambiguities.is_empty(),
            identified_by == IdentifiedBy::FileName,
            "{called}: {ambiguities:?}"
        );
    }
    let adv = found("efficientnet_pytorch", &b0, "adv-efficientnet-b0-b64d5a18.pth");
    assert_eq!(adv.origin.input.mean, [0.5; 3]);
    // The download's name has no digits; some files are named with them.
    let lite0 = efficientnet(Variant::Lite0);
    for (called, identified_by) in [
        ("efficientnet-lite0.pth", IdentifiedBy::FileName),
        ("efficientnet-lite0-57934424.pth", IdentifiedBy::FileName),
        ("efficientnet-lite0-faces.pth", IdentifiedBy::TensorNames),
        ("efficientnet-lite0-가나다라마바사아.pth", IdentifiedBy::TensorNames),
    ] {
        assert_eq!(
            found("efficientnet_pytorch", &lite0, called).identified_by,
            identified_by,
            "{called}"
        );
    }
    let resnet = BackboneConfig::ResNet(ResNet { depth: 50, ..ResNet::default() });
    let it = found("torchvision and timm", &resnet, "resnet50-11ad3fa6.pth").origin;
    assert_eq!((it.name(), it.input.resized()), ("torchvision/resnet50.IMAGENET1K_V2".into(), 232));
    assert_eq!(it.input.interpolation, Interpolation::Bilinear);
    let it = found("torchvision and timm", &resnet, "resnet50.a1_in1k.safetensors").origin;
    assert_eq!(it.name(), "resnet50.a1_in1k");
}

#[test]
fn download_is_identified_by_sha256_under_any_name() {
    let b0 = efficientnet(Variant::B0);
    let of = |called: &str, sha256: &str| {
        let it = Convention::among("efficientnet_pytorch", left_out(&b0), &[called], sha256);
        it.map(|it| (it.origin.name(), it.identified_by)).expect("known weights")
    };
    let adv = "efficientnet_pytorch/efficientnet_b0.advprop".to_owned();
    let plain = "efficientnet_pytorch/efficientnet_b0.plain".to_owned();
    let sha256 = format!("b64d5a18{}", "0".repeat(56));
    assert_eq!(of("best.pth", &sha256), (adv.clone(), IdentifiedBy::Sha256));
    assert_eq!(of("efficientnet-b0-355c32eb.pth", &sha256), (adv, IdentifiedBy::Sha256));
    // A file that was saved again has a different SHA-256.
    let sha256 = "0".repeat(64);
    assert_eq!(
        of("efficientnet-b0-355c32eb.pth", &sha256),
        (plain.clone(), IdentifiedBy::FileName)
    );
    assert_eq!(of("best.pth", &sha256), (plain, IdentifiedBy::TensorNames));
}

#[test]
fn ambiguous_settings_stay_unchanged_and_are_reported() {
    let check = |library, backbone: &BackboneConfig, want: Expect| {
        let it = found(library, backbone, "best.pth");
        let mut filled = backbone.clone();
        assert_eq!(it.complete(&mut filled), Vec::<String>::new());
        // Unchanged from the settings' own defaults.
        assert_eq!(super::for_inference(&filled), super::for_inference(backbone));
        assert_eq!(it.contradictions(left_out(backbone)), Vec::<String>::new());
        want.assert_eq(&it.ambiguities(left_out(backbone)).join("\n"));
    };
    check(
        "timm",
        &efficientnet(Variant::B0),
        expect![[r#"
            timm uses the same tensor names for efficientnet_b0 and tf_efficientnet_b0, so the network of these weights is ambiguous: assuming the first, padding = "symmetric", norm_eps = 0.00001; for the other, set `model.backbone` to padding = "same", norm_eps = 0.001
            it is unknown which of timm's weights these are (efficientnet_b0.ra_in1k, tf_efficientnet_b0.ap_in1k, efficientnet_b0.ra4_e3600_r224_in1k; the library's own file name identifies them): assuming the preprocessing of efficientnet_b0.ra_in1k, normalisation imagenet; tf_efficientnet_b0.ap_in1k needs inception (0.5) (`augment.statistics`)"#]],
    );
    check(
        "timm",
        &efficientnet(Variant::Lite1),
        expect![[r#"
            timm uses the same tensor names for tf_efficientnet_lite1 and efficientnet_lite1, so the network of these weights is ambiguous: assuming the first, padding = "same", norm_eps = 0.001; for the other, set `model.backbone` to padding = "symmetric", norm_eps = 0.00001
            it is unknown which of timm's weights these are (tf_efficientnet_lite1.in1k, efficientnet_lite1; the library's own file name identifies them): assuming the preprocessing of tf_efficientnet_lite1.in1k, normalisation inception (0.5); efficientnet_lite1 needs imagenet (`augment.statistics`)"#]],
    );
    let resnet = BackboneConfig::ResNet(ResNet { depth: 18, ..ResNet::default() });
    check(
        "torchvision and timm",
        &resnet,
        expect![
            "it is unknown which of torchvision and timm's weights these are (resnet18.a1_in1k, resnet18.a3_in1k, resnet18.fb_ssl_yfcc100m_ft_in1k, ...; the library's own file name identifies them): assuming the preprocessing of resnet18.a1_in1k"
        ],
    );
    let vgg = BackboneConfig::Vgg(Vgg { depth: 11, batch_norm: false, ..Vgg::default() });
    check("torchvision", &vgg, expect![""]);
    // The settings select either of timm's two.
    for (padding, eps) in [(Padding::Same, 1e-3), (Padding::Symmetric, 1e-5)] {
        for variant in Variant::ALL {
            let given = with(variant, Some(padding), Some(eps));
            let it = found("timm", &given, "best.pth");
            assert_eq!(it.contradictions(left_out(&given)), Vec::<String>::new());
            assert_eq!(it.origin.padding_eps, Some((padding, eps)), "{variant:?}");
        }
    }
    // timm publishes B6 only as TensorFlow's port; the network of the default settings has no weights.
    let it = found("timm", &efficientnet(Variant::B6), "best.pth");
    assert_eq!(it.origin.network, "tf_efficientnet_b6");
}

#[test]
fn settings_that_contradict_weights_are_reported() {
    let mut unset = with(Variant::B0, None, None);
    let it = found("efficientnet_pytorch", &unset, "x");
    assert_eq!(it.contradictions(left_out(&unset)), Vec::<String>::new());
    assert_eq!(it.complete(&mut unset), ["padding = \"same\"", "norm_eps = 0.001"]);
    assert_eq!(unset, with(Variant::B0, Some(Padding::Same), Some(1e-3)));
    assert_eq!(it.complete(&mut unset), Vec::<String>::new());

    let check = |library, called: &str, given: Given<'_>, want: Expect| {
        let it = Convention::among(library, given, &[called], "").expect("known weights");
        want.assert_eq(&it.contradictions(given).join("\n"));
    };
    let wrong = with(Variant::B0, Some(Padding::Symmetric), Some(1e-5));
    check(
        "efficientnet_pytorch",
        "x",
        left_out(&wrong),
        expect![[r#"
            at `model.backbone.padding`: it is "symmetric", but the weights of `model.pretrained` were trained with "same" (identified as efficientnet_pytorch's by the tensor names): remove the setting to use theirs, or use other weights
            at `model.backbone.norm_eps`: it is 0.00001, but the weights of `model.pretrained` were trained with 0.001 (identified as efficientnet_pytorch's by the tensor names): remove the setting to use theirs, or use other weights"#]],
    );
    let wrong = with(Variant::B0, Some(Padding::Same), None);
    check(
        "torchvision",
        "x",
        left_out(&wrong),
        expect![[
            r#"at `model.backbone.padding`: it is "same", but the weights of `model.pretrained` were trained with "symmetric" (identified as torchvision's by the tensor names): remove the setting to use theirs, or use other weights"#
        ]],
    );
    // Neither of timm's two.
    let wrong = with(Variant::B0, Some(Padding::Same), Some(1e-5));
    check(
        "timm",
        "x",
        left_out(&wrong),
        expect![
            "at `model.backbone.norm_eps`: it is 0.00001, but the weights of `model.pretrained` were trained with 0.001 (identified as timm's by the tensor names): remove the setting to use theirs, or use other weights"
        ],
    );
    // For any width and depth.
    let BackboneConfig::EfficientNet(it) = with(Variant::B0, None, Some(1e-5)) else {
        unreachable!()
    };
    let narrow = BackboneConfig::EfficientNet(EfficientNet { width: 0.25, depth: 0.3, ..it });
    check(
        "efficientnet_pytorch",
        "x",
        left_out(&narrow),
        expect![
            "at `model.backbone.norm_eps`: it is 0.00001, but the weights of `model.pretrained` were trained with 0.001 (identified as efficientnet_pytorch's by the tensor names): remove the setting to use theirs, or use other weights"
        ],
    );
    // The normalisation depends on the weights, so it is known only for published ones.
    let resnet = BackboneConfig::ResNet(ResNet { depth: 18, ..ResNet::default() });
    let normalisation =
        |mean, std| Given { backbone: &resnet, normalisation: Normalisation::Given { mean, std } };
    let half = normalisation([0.5; 3], [0.5; 3]);
    check(
        "torchvision and timm",
        "resnet18-f37072fd.pth",
        half,
        expect![[
            r#"at `augment.statistics`: it is mean 0.5 0.5 0.5, std 0.5 0.5 0.5, but the weights of `model.pretrained` were trained with mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (identified as torchvision/resnet18.IMAGENET1K_V1 by the file name): remove the setting to use theirs, or use other weights, or set `{ kind = "data" }` to measure the statistics of the images"#
        ]],
    );
    check("torchvision and timm", "my-resnet18.pth", half, expect![""]);
    let near = normalisation([0.485, 0.456, 0.406], [0.2251; 3]);
    check("torchvision and timm", "resnet18-f37072fd.pth", near, expect![""]);
    let measured = Given { backbone: &resnet, normalisation: Normalisation::Measured };
    check("torchvision and timm", "resnet18-f37072fd.pth", measured, expect![""]);
    // Settings take precedence over a network's name in the file name.
    let same = with(Variant::B0, Some(Padding::Same), None);
    let it = found("timm", &same, "my_efficientnet_b0.pth");
    assert_eq!(it.origin.network, "tf_efficientnet_b0");
    assert_eq!(it.contradictions(left_out(&same)), Vec::<String>::new());
}
