//! Settings that pretrained weights determine: preprocessing, padding and norm epsilon.
//!
//! Without the file, they follow from the network in a config and from the weights that timm loads for it by
//! default. The file determines more: its tensor names identify the library, and so the padding, the epsilon
//! of the norms and the preprocessing (see [`Convention`]). Settings that a config leaves out are filled in
//! from there, so that the resolved config contains them; settings that contradict the file are an error.

use augment::{
    CenterCrop, Filter, Given, HorizontalFlip, RandomCrop, ResizeShorter, StatisticsConfig, Step,
    TransformConfig,
};
use base::config::{ConfigError, Layer};
use models::{
    Convention, Input, Interpolation, Normalisation, Published, WeightsError, WeightsFile,
};

use crate::experiment::{AugmentSection, Experiment};

/// Why settings and weights do not match.
#[derive(Debug, thiserror::Error)]
pub enum PretrainedError {
    /// The settings themselves are invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights cannot be compared with the network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Settings contradict the weights: for each its value, the value of the weights, and what to do.
    #[error("{}", listed(.0))]
    Contradicted(Vec<String>),
}

/// Formats problems as a list.
fn listed(problems: &[String]) -> String {
    match problems {
        [one] => one.clone(),
        many => {
            let n = many.len();
            format!("{n} settings contradict the weights:\n  {}", many.join("\n  "))
        }
    }
}

impl AugmentSection {
    /// Returns the preprocessing of published weights; in training with a random crop instead of the center
    /// crop, and a horizontal flip.
    pub(crate) fn of_input(input: &Input) -> AugmentSection {
        let Input { size, mean, std, .. } = *input;
        let filter = match input.interpolation {
            Interpolation::Bilinear => Filter::Bilinear,
            Interpolation::Bicubic => Filter::Bicubic,
        };
        let resize = ResizeShorter { size: input.resized(), filter };
        let resize = Step::from(TransformConfig::ResizeShorter(resize));
        let random = TransformConfig::RandomCrop(RandomCrop { size }).into();
        let flip = TransformConfig::HorizontalFlip(HorizontalFlip {}).into();
        let center = TransformConfig::CenterCrop(CenterCrop { size }).into();
        AugmentSection {
            train: vec![resize.clone(), random, flip],
            eval: vec![resize, center],
            statistics: StatisticsConfig::Given(Given { mean, std }),
            mix: Vec::new(),
        }
    }

    /// Returns these settings as a layer of a config.
    pub(crate) fn layer(&self) -> toml::Table {
        let section = toml::Value::try_from(self).expect("settings are TOML");
        toml::Table::from_iter([("augment".to_owned(), section)])
    }
}

impl Experiment {
    /// As [`Experiment::load`], with what the weights file determines: the preprocessing where the layers
    /// leave `[augment]` out, and the backbone's padding and norm epsilon where they leave these out. Also
    /// returns notes on what was filled in from the file, and what is ambiguous.
    ///
    /// - `called`: the names of the file: its path, and the name that the user gave.
    /// - `sha256`: the file's SHA-256, in lowercase hexadecimal digits.
    ///
    /// # Errors
    /// The first invalid layer, and where; or every setting that contradicts the weights.
    pub fn load_with(
        layers: &[Layer],
        file: &WeightsFile,
        called: &[&str],
        sha256: &str,
    ) -> Result<(Experiment, Vec<String>), PretrainedError> {
        let mut experiment = Experiment::load(layers)?;
        let given_normalisation = match experiment.augment.statistics.get().known() {
            _ if !layers.iter().any(|it| it.gives("augment.statistics")) => Normalisation::Unset,
            None => Normalisation::Measured,
            Some(it) => Normalisation::Given { mean: it.mean, std: it.std },
        };
        let backbone = experiment.model.backbone.clone();
        let given = models::Given { backbone: &backbone, normalisation: given_normalisation };
        // Weights that do not fit the network are an error when they are loaded into it.
        let Some(convention) = Convention::of(file, given, called, sha256)? else {
            let notes = experiment.notes_on_weights();
            return Ok((experiment, notes));
        };
        let problems = convention.contradictions(given);
        if !problems.is_empty() {
            return Err(PretrainedError::Contradicted(problems));
        }
        let mut notes = Vec::new();
        if convention.is_published {
            let origin = &convention.origin;
            experiment = Experiment::load_over(layers, origin.name(), &origin.input)?;
            notes = experiment.notes_on_images(&origin.name(), &origin.input);
        }
        let filled = convention.complete(&mut experiment.model.backbone);
        if !filled.is_empty() {
            let (name, by) = (convention.name(), convention.identified_by);
            let filled = filled.join(", ");
            notes.push(format!(
                "note: the weights are identified as {name} by {by}: the network has {filled}"
            ));
        }
        notes.extend(convention.ambiguities(given).iter().map(|it| format!("note: {it}")));
        Ok((experiment, notes))
    }

    /// Returns the published weights that the settings select, as far as the network determines them.
    pub(crate) fn published(&self) -> Option<Published> {
        let is_set = !self.model.pretrained.as_os_str().is_empty();
        Published::find(&self.model.backbone).filter(|_| is_set)
    }

    /// Returns notes that compare the preprocessing with that of the published weights, as far as the network
    /// determines them; empty without such weights.
    pub fn notes_on_weights(&self) -> Vec<String> {
        match self.published() {
            None => Vec::new(),
            Some(it) => self.notes_on_images(&it.full_name(), &it.input),
        }
    }

    /// Compares the preprocessing with that of weights: returns one line if they are equal, otherwise a note
    /// for each difference.
    fn notes_on_images(&self, name: &str, input: &Input) -> Vec<String> {
        let (theirs, ours) = (AugmentSection::of_input(input), &self.augment);
        let known = ours.statistics.get().known();
        let is_normed = known.is_some_and(|it| input.is_normalised_by(it.mean, it.std));
        if ours.eval == theirs.eval && is_normed {
            return vec![format!("preprocessing of {name}: {input}")];
        }
        let mut notes = Vec::new();
        if !is_normed {
            let list = |xs: [f64; 3]| xs.map(|x| x.to_string()).join(" ");
            let is = match known {
                Some(it) => format!("mean {}, std {}", list(it.mean), list(it.std)),
                None => "measured from the images".to_owned(),
            };
            notes.push(format!(
                "note: `augment.statistics` is {is}, but {name} was trained with mean {}, std {} (remove the \
                 setting to use these)",
                list(input.mean),
                list(input.std)
            ));
        }
        if ours.eval != theirs.eval {
            let ops = toml::Value::try_from(&theirs.eval).expect("transforms are TOML");
            notes.push(format!(
                "note: `augment.eval` differs from the preprocessing of {name}: eval = {ops}"
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use base::config::Layer;
    use candle::{DType, Device, Tensor};
    use expect_test::{Expect, expect};
    use models::{BackboneConfig, Format, Params, WeightsFile};

    use super::{AugmentSection, PretrainedError};
    use crate::experiment::Experiment;

    /// Returns a weights file with a library's tensor names for a network, all values 0.
    fn file_of(backbone: &BackboneConfig, library: &str) -> WeightsFile {
        let mut params = Params::blank();
        for stage in backbone.get().stages() {
            stage.build(params.builder()).unwrap();
        }
        let ours: Vec<String> = params.named().map(|it| it.0.to_owned()).collect();
        let mut namings = backbone.get().namings(&ours).into_iter();
        let naming = namings.find(|it| it.library == library).unwrap();
        let zero = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        let tensors = naming.backbone.into_iter().map(|(ours, theirs)| {
            let param = params.get(&ours).unwrap();
            (theirs, zero.broadcast_as(param.kind.file_dims(param.var.dims())).unwrap())
        });
        let (format, tensors) = (Format::Safetensors, tensors.collect());
        WeightsFile { format, n_bytes: 0, tensors, place: String::new(), ignored: Vec::new() }
    }

    /// - `model`: the settings of `[model]` next to `pretrained`, and other sections.
    fn load(
        model: &str,
        library: &str,
        called: &str,
    ) -> Result<(Experiment, Vec<String>), PretrainedError> {
        let text = format!("[model]\npretrained = \"{called}\"\n{model}");
        let layers = [Layer::from_toml("net.toml", &text).unwrap()];
        let backbone = Experiment::load(&layers).unwrap().model.backbone;
        Experiment::load_with(&layers, &file_of(&backbone, library), &[called], "")
    }

    /// Formats the settings that depend on weights, and the notes.
    fn summary(experiment: &Experiment, notes: &[String]) -> String {
        let AugmentSection { eval, statistics, .. } = &experiment.augment;
        let network = match &experiment.model.backbone {
            BackboneConfig::EfficientNet(it) => format!("{:?} {:?}\n", it.padding, it.norm_eps),
            _ => String::new(),
        };
        let statistics = toml::Value::try_from(statistics).unwrap();
        let eval = toml::Value::try_from(eval).unwrap();
        format!("{network}{eval}\n{statistics}\n{}", notes.join("\n"))
    }

    #[track_caller]
    fn check(model: &str, library: &str, called: &str, want: Expect) {
        let (experiment, notes) = load(model, library, called).unwrap();
        want.assert_eq(&summary(&experiment, &notes));
        // The resolved config contains what was filled in, and agrees with the weights.
        let layers = [Layer::from_toml("config.toml", &experiment.to_toml()).unwrap()];
        let file = file_of(&experiment.model.backbone, library);
        let again = Experiment::load_with(&layers, &file, &[called], "").unwrap().0;
        assert_eq!(again, experiment);
        assert_eq!(Experiment::load(&layers).unwrap(), experiment);
    }

    const B0: &str = r#"backbone = { kind = "efficientnet", variant = "b0" }"#;
    const B1: &str = r#"backbone = { kind = "efficientnet", variant = "b1" }"#;
    const RESNET: &str = r#"backbone = { kind = "resnet", depth = 18 }"#;

    #[test]
    fn file_determines_padding_norm_epsilon_and_preprocessing() {
        check(
            B0,
            "efficientnet_pytorch",
            "best.pth",
            expect![[r#"
                Some(Same) Some(0.001)
                [{ filter = "bicubic", kind = "resize_shorter", size = 224 }, { kind = "center_crop", size = [224, 224] }]
                { kind = "given", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }
                preprocessing of efficientnet_pytorch/efficientnet_b0.plain: 224x224, crop 1, bicubic, mean 0.485 0.456 0.406, std 0.229 0.224 0.225
                note: the weights are identified as efficientnet_pytorch's by the tensor names: the network has padding = "same", norm_eps = 0.001
                note: it is unknown which of efficientnet_pytorch's weights these are (efficientnet_pytorch/efficientnet_b0.plain, efficientnet_pytorch/efficientnet_b0.advprop; the library's own file name identifies them): assuming the preprocessing of efficientnet_pytorch/efficientnet_b0.plain, normalisation imagenet; efficientnet_pytorch/efficientnet_b0.advprop needs inception (0.5) (`augment.statistics`)"#]],
        );
        check(
            B0,
            "efficientnet_pytorch",
            "efficientnet-b0-355c32eb.pth",
            expect![[r#"
                Some(Same) Some(0.001)
                [{ filter = "bicubic", kind = "resize_shorter", size = 224 }, { kind = "center_crop", size = [224, 224] }]
                { kind = "given", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }
                preprocessing of efficientnet_pytorch/efficientnet_b0.plain: 224x224, crop 1, bicubic, mean 0.485 0.456 0.406, std 0.229 0.224 0.225
                note: the weights are identified as efficientnet_pytorch/efficientnet_b0.plain by the file name: the network has padding = "same", norm_eps = 0.001"#]],
        );
        check(
            B0,
            "timm",
            "tf_efficientnet_b0_ns-c0e6a31c.pth",
            expect![[r#"
                Some(Same) Some(0.001)
                [{ filter = "bicubic", kind = "resize_shorter", size = 256 }, { kind = "center_crop", size = [224, 224] }]
                { kind = "given", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }
                preprocessing of tf_efficientnet_b0.ns_jft_in1k: 224x224, crop 0.875, bicubic, mean 0.485 0.456 0.406, std 0.229 0.224 0.225
                note: the weights are identified as tf_efficientnet_b0.ns_jft_in1k by the file name: the network has padding = "same", norm_eps = 0.001"#]],
        );
        check(
            B0,
            "timm",
            "tf_efficientnet_b0_ap-f262efe1.pth",
            expect![[r#"
                Some(Same) Some(0.001)
                [{ filter = "bicubic", kind = "resize_shorter", size = 256 }, { kind = "center_crop", size = [224, 224] }]
                { kind = "given", mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }
                preprocessing of tf_efficientnet_b0.ap_in1k: 224x224, crop 0.875, bicubic, mean 0.5 0.5 0.5, std 0.5 0.5 0.5
                note: the weights are identified as tf_efficientnet_b0.ap_in1k by the file name: the network has padding = "same", norm_eps = 0.001"#]],
        );
        check(
            B0,
            "timm",
            "best.pth",
            expect![[r#"
                Some(Symmetric) Some(1e-5)
                [{ filter = "bicubic", kind = "resize_shorter", size = 256 }, { kind = "center_crop", size = [224, 224] }]
                { kind = "given", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }
                preprocessing of efficientnet_b0.ra_in1k: 224x224, crop 0.875, bicubic, mean 0.485 0.456 0.406, std 0.229 0.224 0.225
                note: timm uses the same tensor names for efficientnet_b0 and tf_efficientnet_b0, so the network of these weights is ambiguous: assuming the first, padding = "symmetric", norm_eps = 0.00001; for the other, set `model.backbone` to padding = "same", norm_eps = 0.001
                note: it is unknown which of timm's weights these are (efficientnet_b0.ra_in1k, tf_efficientnet_b0.ap_in1k, efficientnet_b0.ra4_e3600_r224_in1k; the library's own file name identifies them): assuming the preprocessing of efficientnet_b0.ra_in1k, normalisation imagenet; tf_efficientnet_b0.ap_in1k needs inception (0.5) (`augment.statistics`)"#]],
        );
        check(
            B1,
            "torchvision",
            "best.pth",
            expect![[r#"
                Some(Symmetric) Some(1e-5)
                [{ filter = "bilinear", kind = "resize_shorter", size = 255 }, { kind = "center_crop", size = [240, 240] }]
                { kind = "given", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }
                preprocessing of torchvision/efficientnet_b1.IMAGENET1K_V2: 240x240, crop 0.941176, bilinear, mean 0.485 0.456 0.406, std 0.229 0.224 0.225
                note: the weights are identified as torchvision's by the tensor names: the network has padding = "symmetric", norm_eps = 0.00001
                note: it is unknown which of torchvision's weights these are (torchvision/efficientnet_b1.IMAGENET1K_V2, torchvision/efficientnet_b1.IMAGENET1K_V1; the library's own file name identifies them): assuming the preprocessing of torchvision/efficientnet_b1.IMAGENET1K_V2"#]],
        );
        check(
            B1,
            "torchvision",
            "efficientnet_b1-c27df63c.pth",
            expect![[r#"
                Some(Symmetric) Some(1e-5)
                [{ filter = "bilinear", kind = "resize_shorter", size = 255 }, { kind = "center_crop", size = [240, 240] }]
                { kind = "given", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }
                preprocessing of torchvision/efficientnet_b1.IMAGENET1K_V2: 240x240, crop 0.941176, bilinear, mean 0.485 0.456 0.406, std 0.229 0.224 0.225
                note: the weights are identified as torchvision/efficientnet_b1.IMAGENET1K_V2 by the file name: the network has padding = "symmetric", norm_eps = 0.00001"#]],
        );
        let b5 = r#"backbone = { kind = "efficientnet", variant = "b5" }"#;
        check(
            b5,
            "torchvision",
            "best.pth",
            expect![[r#"
                Some(Symmetric) Some(0.001)
                [{ filter = "bicubic", kind = "resize_shorter", size = 456 }, { kind = "center_crop", size = [456, 456] }]
                { kind = "given", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }
                preprocessing of torchvision/efficientnet_b5.IMAGENET1K_V1: 456x456, crop 1, bicubic, mean 0.485 0.456 0.406, std 0.229 0.224 0.225
                note: the weights are identified as torchvision's by the tensor names: the network has padding = "symmetric", norm_eps = 0.001"#]],
        );
        let lite0 = r#"backbone = { kind = "efficientnet", variant = "lite0" }"#;
        check(
            lite0,
            "efficientnet_pytorch",
            "efficientnet-lite0-57934424.pth",
            expect![[r#"
                Some(Same) Some(0.001)
                [{ filter = "bicubic", kind = "resize_shorter", size = 256 }, { kind = "center_crop", size = [224, 224] }]
                { kind = "given", mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }
                preprocessing of efficientnet_pytorch/efficientnet_lite0.lite: 224x224, crop 0.875, bicubic, mean 0.5 0.5 0.5, std 0.5 0.5 0.5
                note: the weights are identified as efficientnet_pytorch/efficientnet_lite0.lite by the file name: the network has padding = "same", norm_eps = 0.001"#]],
        );
        check(
            RESNET,
            "torchvision and timm",
            "resnet18-f37072fd.pth",
            expect![[r#"
                [{ filter = "bilinear", kind = "resize_shorter", size = 256 }, { kind = "center_crop", size = [224, 224] }]
                { kind = "given", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }
                preprocessing of torchvision/resnet18.IMAGENET1K_V1: 224x224, crop 0.875, bilinear, mean 0.485 0.456 0.406, std 0.229 0.224 0.225"#]],
        );
        check(
            RESNET,
            "torchvision and timm",
            "best.pth",
            expect![[r#"
                [{ filter = "bicubic", kind = "resize_shorter", size = 235 }, { kind = "center_crop", size = [224, 224] }]
                { kind = "given", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }
                preprocessing of resnet18.a1_in1k: 224x224, crop 0.95, bicubic, mean 0.485 0.456 0.406, std 0.229 0.224 0.225
                note: it is unknown which of torchvision and timm's weights these are (resnet18.a1_in1k, resnet18.a3_in1k, resnet18.fb_ssl_yfcc100m_ft_in1k, ...; the library's own file name identifies them): assuming the preprocessing of resnet18.a1_in1k"#]],
        );
        // For an unpublished size, the library still determines the padding and the norm epsilon.
        let narrow =
            r#"backbone = { kind = "efficientnet", variant = "b0", width = 0.25, depth = 0.3 }"#;
        check(
            narrow,
            "efficientnet_pytorch",
            "best.pth",
            expect![[r#"
                Some(Same) Some(0.001)
                [{ kind = "center_crop", size = [88, 66] }]
                { kind = "imagenet" }
                note: the weights are identified as efficientnet_pytorch's by the tensor names: the network has padding = "same", norm_eps = 0.001"#]],
        );
    }

    #[test]
    fn explicit_settings_are_kept() {
        let given = r#"
            backbone = { kind = "efficientnet", variant = "b0", padding = "same", norm_eps = 1e-3 }
            [augment]
            eval = [{ kind = "resize", size = [40, 32] }]
            statistics = { kind = "data" }
        "#;
        check(
            given,
            "efficientnet_pytorch",
            "efficientnet-b0-355c32eb.pth",
            expect![[r#"
                Some(Same) Some(0.001)
                [{ filter = "bilinear", kind = "resize", size = [40, 32] }]
                { kind = "data" }
                note: `augment.statistics` is measured from the images, but efficientnet_pytorch/efficientnet_b0.plain was trained with mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (remove the setting to use these)
                note: `augment.eval` differs from the preprocessing of efficientnet_pytorch/efficientnet_b0.plain: eval = [{ filter = "bicubic", kind = "resize_shorter", size = 224 }, { kind = "center_crop", size = [224, 224] }]"#]],
        );
        // The normalisation of unidentified weights is unknown: they may be fine-tuned.
        let half = format!("{RESNET}\n[augment]\nstatistics = {{ kind = \"given\" }}");
        check(
            &half,
            "torchvision and timm",
            "best.pth",
            expect![[r#"
                [{ filter = "bicubic", kind = "resize_shorter", size = 235 }, { kind = "center_crop", size = [224, 224] }]
                { kind = "given", mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }
                note: `augment.statistics` is mean 0.5 0.5 0.5, std 0.5 0.5 0.5, but resnet18.a1_in1k was trained with mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (remove the setting to use these)
                note: it is unknown which of torchvision and timm's weights these are (resnet18.a1_in1k, resnet18.a3_in1k, resnet18.fb_ssl_yfcc100m_ft_in1k, ...; the library's own file name identifies them): assuming the preprocessing of resnet18.a1_in1k"#]],
        );
    }

    #[test]
    fn all_settings_that_contradict_weights_are_reported() {
        let check = |model: &str, library: &str, called: &str, want: Expect| {
            want.assert_eq(&load(model, library, called).unwrap_err().to_string());
        };
        let all = r#"
            backbone = { kind = "efficientnet", variant = "b0", padding = "symmetric", norm_eps = 1e-5 }
            [augment]
            statistics = { kind = "given" }
        "#;
        check(
            all,
            "efficientnet_pytorch",
            "efficientnet-b0-355c32eb.pth",
            expect![[r#"
                3 settings contradict the weights:
                  at `model.backbone.padding`: it is "symmetric", but the weights of `model.pretrained` were trained with "same" (identified as efficientnet_pytorch/efficientnet_b0.plain by the file name): remove the setting to use theirs, or use other weights
                  at `model.backbone.norm_eps`: it is 0.00001, but the weights of `model.pretrained` were trained with 0.001 (identified as efficientnet_pytorch/efficientnet_b0.plain by the file name): remove the setting to use theirs, or use other weights
                  at `augment.statistics`: it is mean 0.5 0.5 0.5, std 0.5 0.5 0.5, but the weights of `model.pretrained` were trained with mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (identified as efficientnet_pytorch/efficientnet_b0.plain by the file name): remove the setting to use theirs, or use other weights, or set `{ kind = "data" }` to measure the statistics of the images"#]],
        );
        let half = format!("{RESNET}\n[augment]\nstatistics = {{ kind = \"given\" }}");
        check(
            &half,
            "torchvision and timm",
            "resnet18-f37072fd.pth",
            expect![[
                r#"at `augment.statistics`: it is mean 0.5 0.5 0.5, std 0.5 0.5 0.5, but the weights of `model.pretrained` were trained with mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (identified as torchvision/resnet18.IMAGENET1K_V1 by the file name): remove the setting to use theirs, or use other weights, or set `{ kind = "data" }` to measure the statistics of the images"#
            ]],
        );
        let imagenet = format!("{B0}\n[augment]\nstatistics = {{ kind = \"imagenet\" }}");
        check(
            &imagenet,
            "timm",
            "tf_efficientnet_b0_ap-f262efe1.pth",
            expect![[
                r#"at `augment.statistics`: it is mean 0.485 0.456 0.406, std 0.229 0.224 0.225, but the weights of `model.pretrained` were trained with mean 0.5 0.5 0.5, std 0.5 0.5 0.5 (identified as tf_efficientnet_b0.ap_in1k by the file name): remove the setting to use theirs, or use other weights, or set `{ kind = "data" }` to measure the statistics of the images"#
            ]],
        );
    }
}
