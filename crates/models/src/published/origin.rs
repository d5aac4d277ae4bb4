//! Whose weights a file holds, and what they were made for.
//!
//! The names in a file say which library built the network that was trained, and the library says how
//! that pads, what its norms add to the variance, and how it prepares images. Where a library calls
//! the parameters of two networks the same (timm's own EfficientNets and its ports of TensorFlow's), or
//! publishes several weights of one, the file's name may tell them apart; what neither tells is a
//! doubt that is said.
//!
//! `origins.csv` is made by `tests/golden/weight_origins.py` from the libraries themselves.

use ops::Padding;

use super::{Input, Interpolation, published};
use crate::{BackboneConfig, EfficientNet, WeightsError, WeightsFile, published::for_inference};

/// One of the weights that a library publishes.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The library, as [`Naming`](crate::Naming) calls it.
    pub library: &'static str,
    /// timm's name of the architecture.
    pub network: &'static str,
    /// What tells these weights of it apart.
    pub tag: &'static str,
    /// What images they want.
    pub input: Input,
    /// The library's name of its download, without an ending; empty for none.
    file: &'static str,
    /// How it pads, and what its norms add; of an EfficientNet, where that is a setting.
    nature: Option<(Padding, f64)>,
}

/// What a file of weights says about the network and its images.
#[derive(Clone, Debug, PartialEq)]
pub struct Convention {
    /// The weights that these are, or are taken for.
    pub origin: Origin,
    /// What its names leave open, in sentences.
    pub doubts: Vec<String>,
}

/// Every line of the table, a library's default weights of a network before its others.
fn origins() -> impl Iterator<Item = Origin> {
    let lines = include_str!("origins.csv").lines().skip(2);
    lines.filter_map(|line| {
        let fields: Vec<&'static str> = line.split(',').collect();
        let &[library, network, tag, file, size, crop, interpolation, mean, std, padding, eps] =
            fields.as_slice()
        else {
            return None;
        };
        let three = |text: &str| {
            let numbers: Vec<f64> = text.split(' ').filter_map(|it| it.parse().ok()).collect();
            <[f64; 3]>::try_from(numbers).ok()
        };
        let interpolation = match interpolation {
            "bilinear" => Interpolation::Bilinear,
            "bicubic" => Interpolation::Bicubic,
            _ => return None,
        };
        let input = Input {
            size: [size.parse().ok()?; 2],
            crop: crop.parse().ok()?,
            interpolation,
            mean: three(mean)?,
            std: three(std)?,
        };
        let nature = match padding {
            "same" => Some((Padding::Same, eps.parse().ok()?)),
            "symmetric" => Some((Padding::Symmetric, eps.parse().ok()?)),
            _ => None,
        };
        Some(Origin { library, network, tag, input, file, nature })
    })
}

impl Origin {
    /// A name for people: `tf_efficientnet_b0.ns_jft_in1k`, `torchvision/efficientnet_b1.IMAGENET1K_V2`.
    pub fn name(&self) -> String {
        match self.library {
            "timm" => format!("{}.{}", self.network, self.tag),
            library => format!("{library}/{}.{}", self.network, self.tag),
        }
    }

    /// Whether a name is that of these weights' download, or of their place on the hub.
    fn is_called(&self, name: &str) -> bool {
        let begins = |with: &str| {
            let rest = name.strip_prefix(with);
            rest.is_some_and(|it| !it.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        (!self.file.is_empty() && begins(self.file))
            || begins(&format!("{}.{}", self.network, self.tag))
    }

    /// Whether the settings that a config gives are these weights'.
    fn agrees(&self, it: &EfficientNet) -> bool {
        let Some((padding, eps)) = self.nature else { return true };
        it.padding.is_none_or(|it| it == padding) && it.norm_eps.is_none_or(|it| it == eps)
    }
}

/// The parts of what a file is called that may be a library's names: file and folder names, also those
/// of the hub's cache (`models--timm--resnet18.a1_in1k`).
fn parts(called: &str) -> Vec<&str> {
    called
        .split(['/', '\\', ':'])
        .flat_map(|it| it.split("--"))
        .filter(|it| !it.is_empty())
        .collect()
}

/// Whether a name has a network's in it, as a word.
fn mentions(name: &str, network: &str) -> bool {
    name.match_indices(network).any(|(at, _)| {
        let is_word = |c: char| c.is_alphanumeric();
        !name[..at].ends_with(is_word) && !name[at + network.len()..].starts_with(is_word)
    })
}

/// A config without what a file of weights decides.
fn bare(backbone: &BackboneConfig) -> BackboneConfig {
    match for_inference(backbone) {
        BackboneConfig::EfficientNet(it) => {
            BackboneConfig::EfficientNet(EfficientNet { padding: None, norm_eps: None, ..it })
        }
        other => other,
    }
}

impl Convention {
    /// What a file says, if a library publishes this network and the names are its.
    ///
    /// - `called`: whatever the file is called: its path, and what was asked for.
    ///
    /// # Errors
    /// A tensor operation that fails.
    pub fn of(
        file: &WeightsFile,
        backbone: &BackboneConfig,
        called: &[&str],
    ) -> Result<Option<Convention>, WeightsError> {
        Ok(file.library(backbone)?.and_then(|it| Convention::among(it, backbone, called)))
    }

    /// - `library`: as a naming calls it.
    fn among(library: &str, backbone: &BackboneConfig, called: &[&str]) -> Option<Convention> {
        let asked = bare(backbone);
        let networks = published().into_iter().filter(|it| bare(&it.backbone) == asked);
        let networks: Vec<&str> = networks.map(|it| it.name).collect();
        let all = origins().filter(|it| networks.contains(&it.network));
        let mut all: Vec<Origin> = all.filter(|it| library.contains(it.library)).collect();
        let parts: Vec<&str> = called.iter().flat_map(|it| parts(it)).collect();
        // The library whose download it is comes before the one that knows of it.
        let is_called = |it: &&Origin| parts.iter().any(|part| it.is_called(part));
        let exact = all.iter().filter(is_called);
        if let Some(origin) = exact.max_by_key(|it| it.library == "torchvision") {
            return Some(Convention { origin: origin.clone(), doubts: Vec::new() });
        }
        let mentioned = |it: &Origin| parts.iter().any(|part| mentions(part, it.network));
        let longest =
            all.iter().filter(|it| mentioned(it)).map(|it| it.network).max_by_key(|it| it.len());
        if let Some(network) = longest {
            all.retain(|it| it.network == network);
        }
        if let BackboneConfig::EfficientNet(it) = backbone
            && all.iter().any(|origin| origin.agrees(it))
        {
            all.retain(|origin| origin.agrees(it));
        }
        let ours = match for_inference(backbone) {
            BackboneConfig::EfficientNet(it) => it.padding.zip(it.norm_eps),
            _ => None,
        };
        let origin = all.iter().find(|it| it.nature == ours).or(all.first())?.clone();
        let mut doubts = Vec::new();
        let others: Vec<&Origin> = all
            .iter()
            .filter(|it| it.nature != origin.nature || it.input != origin.input)
            .collect();
        if !others.is_empty() {
            let names: Vec<String> = others.iter().take(3).map(|it| it.name()).collect();
            let more = if others.len() > 3 { ", ..." } else { "" };
            doubts.push(format!(
                "neither the file's names nor its own tell which of {library}'s weights these are: they \
                 are taken for {}, and may be {}{more} (a file called as the library calls it tells)",
                origin.name(),
                names.join(", ")
            ));
        }
        let nature = others.iter().find(|it| it.nature != origin.nature).and_then(|it| it.nature);
        if let Some(nature) = nature {
            doubts.push(format!(
                "{library} calls the parameters of two networks the same: it is built with {}; if the \
                 weights are of the other, set `model.backbone` to {}",
                settings(origin.nature).join(", "),
                settings(Some(nature)).join(", ")
            ));
        }
        let colours = |it: &Origin| (it.input.mean, it.input.std);
        if let Some(other) = others.iter().find(|it| colours(it) != colours(&origin)) {
            doubts.push(format!(
                "images are normalised as {} wants them ({}), and {} wants {}: set \
                 `augment.statistics` if it is that",
                origin.name(),
                origin.input.colours(),
                other.name(),
                other.input.colours()
            ));
        }
        Some(Convention { origin, doubts })
    }

    /// Settings of a backbone that contradict the weights: where, and what to do.
    pub fn contradictions(&self, backbone: &BackboneConfig) -> Vec<String> {
        let (BackboneConfig::EfficientNet(it), Some((padding, eps))) =
            (backbone, self.origin.nature)
        else {
            return Vec::new();
        };
        let name = self.origin.name();
        let wrong = |setting: &str, is: String, want: String| {
            format!(
                "at `model.backbone.{setting}`: it is {is}, but the weights (by their names {name}) \
                 were made with {want}: set `model.backbone.{setting}={want}`, or leave it out"
            )
        };
        let is_padded = it.padding.filter(|it| *it != padding);
        let is_padded = is_padded.map(|it| wrong("padding", quoted(it), quoted(padding)));
        let is_normed = it.norm_eps.filter(|it| *it != eps);
        let is_normed = is_normed.map(|it| wrong("norm_eps", it.to_string(), eps.to_string()));
        is_padded.into_iter().chain(is_normed).collect()
    }

    /// Gives a backbone the settings that it leaves out, as the weights were made with, and says which.
    pub fn complete(&self, backbone: &mut BackboneConfig) -> Vec<String> {
        let (BackboneConfig::EfficientNet(it), Some(nature)) = (backbone, self.origin.nature)
        else {
            return Vec::new();
        };
        let [padding, norm_eps] = settings(Some(nature)).try_into().unwrap_or_default();
        let mut given = Vec::new();
        if it.padding.is_none() {
            it.padding = Some(nature.0);
            given.push(padding);
        }
        if it.norm_eps.is_none() {
            it.norm_eps = Some(nature.1);
            given.push(norm_eps);
        }
        given
    }
}

fn quoted(padding: Padding) -> String {
    match padding {
        Padding::Same => "\"same\"".to_owned(),
        Padding::Symmetric => "\"symmetric\"".to_owned(),
        Padding::Valid => "\"valid\"".to_owned(),
    }
}

/// As a config has them.
fn settings(nature: Option<(Padding, f64)>) -> Vec<String> {
    nature.map_or(Vec::new(), |(padding, eps)| {
        vec![format!("padding = {}", quoted(padding)), format!("norm_eps = {eps}")]
    })
}

#[cfg(test)]
mod tests {
    use ops::Padding;

    use super::{Convention, origins};
    use crate::{BackboneConfig, EfficientNet, Interpolation, ResNet, Variant, published};

    fn efficientnet(variant: Variant) -> BackboneConfig {
        BackboneConfig::EfficientNet(EfficientNet { variant, ..EfficientNet::default() })
    }

    fn found(library: &str, backbone: &BackboneConfig, called: &str) -> Convention {
        Convention::among(library, backbone, &[called]).expect("known weights")
    }

    #[test]
    fn the_table_is_read_whole_and_has_what_is_published() {
        let text = include_str!("origins.csv");
        assert_eq!(origins().count(), text.lines().count() - 2);
        for it in published().into_iter().filter(crate::Published::is_trainable) {
            let origin = origins().find(|origin| origin.network == it.name).expect(it.name);
            assert_eq!((origin.tag, &origin.input), (it.tag, &it.input), "{}", it.name);
            let BackboneConfig::EfficientNet(net) = it.backbone else { continue };
            assert_eq!(origin.nature, net.padding.zip(net.norm_eps), "{}", it.name);
        }
        // timm's resized sides and torchvision's are whole.
        assert!(origins().all(|it| it.input.resized() >= it.input.size[0]));
    }

    #[test]
    fn the_library_says_how_a_network_pads_and_norms() {
        use Padding::{Same, Symmetric};
        use Variant::{B0, B4, B5, B7, Lite0, V2L, V2M, V2S};
        for (library, variant, nature, mean) in [
            ("efficientnet_pytorch", B0, (Same, 1e-3), 0.485),
            ("efficientnet_pytorch", B4, (Same, 1e-3), 0.485),
            ("efficientnet_pytorch", B7, (Same, 1e-3), 0.485),
            ("efficientnet_pytorch", Lite0, (Same, 1e-3), 0.5),
            ("torchvision", B0, (Symmetric, 1e-5), 0.485),
            ("torchvision", Variant::B1, (Symmetric, 1e-5), 0.485),
            ("torchvision", B5, (Symmetric, 1e-3), 0.485),
            ("torchvision", V2S, (Symmetric, 1e-3), 0.485),
            ("torchvision", V2M, (Symmetric, 1e-3), 0.485),
            ("torchvision", V2L, (Symmetric, 1e-3), 0.5),
            ("timm", V2S, (Same, 1e-3), 0.5),
        ] {
            let it = found(library, &efficientnet(variant), "best.pth").origin;
            let (want, got) = ((Some(nature), mean), (it.nature, it.input.mean[0]));
            assert_eq!(got, want, "{library} {variant:?}");
        }
    }

    #[test]
    fn what_the_names_do_not_tell_the_files_name_may() {
        let b0 = efficientnet(Variant::B0);
        for (called, name) in [
            ("hf:timm/tf_efficientnet_b0.ap_in1k", "tf_efficientnet_b0.ap_in1k"),
            (
                "a/models--timm--efficientnet_b0.ra_in1k/b/model.safetensors",
                "efficientnet_b0.ra_in1k",
            ),
            ("w/tf_efficientnet_b0_ap-f262efe1.pth", "tf_efficientnet_b0.ap_in1k"),
            ("tf_efficientnet_b0", "tf_efficientnet_b0.ns_jft_in1k"),
            ("my-tf_efficientnet_b0_faces.pth", "tf_efficientnet_b0.ns_jft_in1k"),
            ("efficientnet_b0_ra-3dd342df.pth", "efficientnet_b0.ra_in1k"),
            ("best.pth", "efficientnet_b0.ra_in1k"),
        ] {
            let it = found("timm", &b0, called);
            assert_eq!(it.origin.name(), name, "{called}");
            let is_told =
                called.contains(".ap_") || called.contains("ra") || called.contains("f262");
            assert_eq!(it.doubts.is_empty(), is_told, "{called}: {:?}", it.doubts);
        }
        // Nothing tells, and both are said.
        let doubts = found("timm", &b0, "best.pth").doubts.join("\n");
        for want in
            ["tf_efficientnet_b0.ns_jft_in1k", "padding = \"same\", norm_eps = 0.001", "0.5"]
        {
            assert!(doubts.contains(want), "{doubts}");
        }
        let adv = found("efficientnet_pytorch", &b0, "adv-efficientnet-b0-b64d5a18.pth");
        assert_eq!(adv.origin.input.mean, [0.5; 3]);
        let resnet = BackboneConfig::ResNet(ResNet { depth: 50, ..ResNet::default() });
        let it = found("torchvision and timm", &resnet, "resnet50-11ad3fa6.pth").origin;
        assert_eq!(
            (it.name(), it.input.resized()),
            ("torchvision/resnet50.IMAGENET1K_V2".into(), 232)
        );
        assert_eq!(it.input.interpolation, Interpolation::Bilinear);
        let it = found("torchvision and timm", &resnet, "resnet50.a1_in1k.safetensors").origin;
        assert_eq!(it.name(), "resnet50.a1_in1k");
    }

    #[test]
    fn settings_are_held_to_the_weights() {
        let with = |padding, norm_eps| {
            BackboneConfig::EfficientNet(EfficientNet {
                padding,
                norm_eps,
                ..EfficientNet::default()
            })
        };
        let mut silent = with(None, None);
        let it = found("efficientnet_pytorch", &silent, "x");
        assert_eq!(it.contradictions(&silent), Vec::<String>::new());
        assert_eq!(it.complete(&mut silent), ["padding = \"same\"", "norm_eps = 0.001"]);
        assert_eq!(silent, with(Some(Padding::Same), Some(1e-3)));
        assert_eq!(it.complete(&mut silent), Vec::<String>::new());

        let wrong = with(Some(Padding::Symmetric), Some(1e-5));
        let problems = found("efficientnet_pytorch", &wrong, "x").contradictions(&wrong);
        assert_eq!(
            problems,
            [
                "at `model.backbone.padding`: it is \"symmetric\", but the weights (by their names \
                 efficientnet_pytorch/efficientnet_b0.plain) were made with \"same\": set \
                 `model.backbone.padding=\"same\"`, or leave it out",
                "at `model.backbone.norm_eps`: it is 0.00001, but the weights (by their names \
                 efficientnet_pytorch/efficientnet_b0.plain) were made with 0.001: set \
                 `model.backbone.norm_eps=0.001`, or leave it out",
            ]
        );
        // Where both are possible, the settings decide.
        let same = with(Some(Padding::Same), None);
        let it = found("timm", &same, "best.pth");
        assert_eq!(it.origin.network, "tf_efficientnet_b0");
        assert_eq!(it.contradictions(&same), Vec::<String>::new());
    }
}
