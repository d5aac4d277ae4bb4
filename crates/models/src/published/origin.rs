//! Whose weights a file holds, and what they were made for.
//!
//! The names in a file say which library built the network that was trained, and the library says how
//! that pads, what its norms add to the variance, and how it prepares images. Where a library calls
//! the parameters of two networks the same (timm's own EfficientNets and its ports of TensorFlow's), or
//! publishes several weights of one, the file's name may tell them apart; what neither tells is a
//! doubt that is said.
//!
//! `origins.csv` is made by `tests/golden/weight_origins.py` from the libraries themselves.

use std::fmt;

use ops::Padding;

use super::{Input, Interpolation, published};
use crate::{BackboneConfig, EfficientNet, WeightsError, WeightsFile, published::for_inference};

/// One of the weights that a library publishes, or would, if it had trained the network.
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

/// What a config says of what weights say as well.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The network.
    pub backbone: &'a BackboneConfig,
    /// What colours are normalised with.
    pub colours: Colours,
}

/// What a config normalises colours with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colours {
    /// It leaves that out.
    LeftOut,
    /// What is measured of the images themselves.
    Measured,
    /// Numbers.
    Given {
        /// What becomes 0.
        mean: [f64; 3],
        /// What becomes 1 above the mean.
        std: [f64; 3],
    },
}

/// What tells which weights a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Its SHA-256, of which libraries put the beginning into the names of their downloads.
    BySha256,
    /// Its name, which is that of a library's download or of a place on the hub.
    ByFileName,
    /// The names of its tensors, which tell the library, and a network's name in what the file is called.
    ByMention,
    /// The names of its tensors alone.
    ByTensorNames,
}

/// What a file of weights says about the network and its images.
#[derive(Clone, Debug, PartialEq)]
pub struct Convention {
    /// Whose names the file has.
    pub library: &'static str,
    /// The weights that these are, or are taken for.
    pub origin: Origin,
    /// What tells that.
    pub told: Told,
    /// Whether the network has a published size. If not, only padding and norms are known.
    pub is_published: bool,
    /// What else they may be, where that makes a difference.
    others: Vec<Origin>,
}

/// Every line of the table, a library's default weights of a network before its others; then timm's
/// networks without weights, whose names a file may have all the same.
fn origins() -> impl Iterator<Item = Origin> {
    table().chain(published().into_iter().filter(|it| !it.is_trainable()).map(|it| {
        let nature = match it.backbone {
            BackboneConfig::EfficientNet(net) => net.padding.zip(net.norm_eps),
            _ => None,
        };
        let (network, tag) = (it.name, it.tag);
        Origin { library: "timm", network, tag, input: it.input, file: "", nature }
    }))
}

/// What libraries publish.
fn table() -> impl Iterator<Item = Origin> {
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
        match (self.library, self.tag) {
            ("timm", "untrained") => self.network.to_owned(),
            ("timm", tag) => format!("{}.{tag}", self.network),
            (library, tag) => format!("{library}/{}.{tag}", self.network),
        }
    }

    /// Whether a name is that of these weights' download, or of their place on the hub: as the library has
    /// it, whatever the ending. What is called `resnet18.a1_in1k-faces` was trained further.
    fn is_called(&self, name: &str) -> bool {
        let is = |full: &str| {
            name.strip_prefix(full).is_some_and(|rest| {
                let digits = rest.strip_prefix('-').and_then(|it| it.get(..8));
                let rest = if digits.is_some_and(is_hex) { &rest[9..] } else { rest };
                rest.is_empty() || rest.starts_with('.')
            })
        };
        (!self.file.is_empty() && is(self.file)) || is(&format!("{}.{}", self.network, self.tag))
    }

    /// Whether a SHA-256 is that of these weights' download, as far as its name says.
    fn has_sha256(&self, sha256: &str) -> bool {
        let digits = self.file.rsplit_once('-').map(|it| it.1);
        digits.filter(|it| it.len() == 8 && is_hex(it)).is_some_and(|it| sha256.starts_with(it))
    }

    /// Whether the settings that a config gives are these weights'.
    fn agrees(&self, it: &EfficientNet) -> bool {
        let Some((padding, eps)) = self.nature else { return true };
        it.padding.is_none_or(|it| it == padding) && it.norm_eps.is_none_or(|it| it == eps)
    }

    /// Whether numbers that a config gives are what these weights were normalised with.
    fn takes(&self, colours: Colours) -> bool {
        match colours {
            Colours::LeftOut | Colours::Measured => true,
            Colours::Given { mean, std } => self.input.is_normalised_by(mean, std),
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.chars().all(|it| it.is_ascii_hexdigit())
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

/// A config without what a file of weights decides, at the published size.
fn bare(backbone: &BackboneConfig) -> BackboneConfig {
    match for_inference(backbone) {
        BackboneConfig::EfficientNet(it) => BackboneConfig::EfficientNet(EfficientNet {
            padding: None,
            norm_eps: None,
            width: 1.0,
            depth: 1.0,
            ..it
        }),
        other => other,
    }
}

impl Convention {
    /// What a file says, if a library publishes this network and the names are its.
    ///
    /// - `called`: whatever the file is called: its path, and what was asked for.
    /// - `sha256`: of the whole file, in small hexadecimal digits.
    ///
    /// # Errors
    /// A tensor operation that fails.
    pub fn of(
        file: &WeightsFile,
        given: Given<'_>,
        called: &[&str],
        sha256: &str,
    ) -> Result<Option<Convention>, WeightsError> {
        let library = file.library(given.backbone)?;
        Ok(library.and_then(|it| Convention::among(it, given, called, sha256)))
    }

    /// - `library`: as a naming calls it.
    fn among(
        library: &'static str,
        given: Given<'_>,
        called: &[&str],
        sha256: &str,
    ) -> Option<Convention> {
        let asked = bare(given.backbone);
        let networks = published().into_iter().filter(|it| bare(&it.backbone) == asked);
        let networks: Vec<&str> = networks.map(|it| it.name).collect();
        let all = origins().filter(|it| networks.contains(&it.network));
        let mut all: Vec<Origin> = all.filter(|it| library.contains(it.library)).collect();
        let is_published = match given.backbone {
            BackboneConfig::EfficientNet(it) => it.width == 1.0 && it.depth == 1.0,
            _ => true,
        };
        let parts: Vec<&str> = called.iter().flat_map(|it| parts(it)).collect();
        let is_called = |it: &Origin| parts.iter().any(|part| it.is_called(part));
        // The library whose download it is comes before the one that knows of it.
        let first_of = |told: Told, is: &dyn Fn(&Origin) -> bool| {
            let found = all.iter().filter(|it| is(it));
            Some((found.max_by_key(|it| it.library == "torchvision")?.clone(), told))
        };
        let known = first_of(Told::BySha256, &|it| it.has_sha256(sha256))
            .or_else(|| first_of(Told::ByFileName, &is_called));
        if let Some((origin, told)) = known {
            return Some(Convention { library, origin, told, is_published, others: Vec::new() });
        }
        // Settings come before what the file's name only mentions, which may be anybody's name for it.
        if let BackboneConfig::EfficientNet(it) = given.backbone
            && all.iter().any(|origin| origin.agrees(it))
        {
            all.retain(|origin| origin.agrees(it));
        }
        let mentioned = |it: &&Origin| parts.iter().any(|part| mentions(part, it.network));
        let longest = all.iter().filter(mentioned).map(|it| it.network).max_by_key(|it| it.len());
        if let Some(network) = longest {
            all.retain(|it| it.network == network);
        }
        let told = if longest.is_some() { Told::ByMention } else { Told::ByTensorNames };
        let ours = match for_inference(given.backbone) {
            BackboneConfig::EfficientNet(it) => it.padding.zip(it.norm_eps),
            _ => None,
        };
        let origin = all.iter().find(|it| it.nature == ours).or(all.first())?.clone();
        let differs =
            |it: &Origin| it.nature != origin.nature || is_published && it.input != origin.input;
        let others: Vec<Origin> = all.iter().filter(|it| differs(it)).cloned().collect();
        Some(Convention { library, origin, told, is_published, others })
    }

    /// The other way that the network may pad and norm, where nothing tells which.
    fn other_nature(&self) -> Option<&Origin> {
        self.others.iter().find(|it| it.nature != self.origin.nature)
    }

    /// Whether these are weights that a library publishes, and not perhaps such as were trained further.
    fn is_known(&self) -> bool {
        matches!(self.told, Told::BySha256 | Told::ByFileName)
    }

    /// What the weights are, for people: a library's, or these of them.
    pub fn name(&self) -> String {
        match self.is_published && self.is_known() {
            true => self.origin.name(),
            false => format!("{}'s", self.library),
        }
    }

    /// Settings that contradict the weights: where, what both say, and what to do.
    ///
    /// Padding and norms are the library's, whose names the file has. Means and deviations are those
    /// of weights: whoever trained a network further may have taken others, so that these contradict
    /// only weights that are known to be published.
    pub fn contradictions(&self, given: Given<'_>) -> Vec<String> {
        let (who, told) = (self.name(), self.told);
        let wrong = |setting: &str, is: String, want: String, also: &str| {
            format!(
                "at `{setting}`: it is {is}, but the weights of `model.pretrained` were made with {want} (by \
                 {told} they are {who}): leave the setting out to have that, or take other weights{also}"
            )
        };
        let mut problems = Vec::new();
        if let (BackboneConfig::EfficientNet(it), Some((padding, eps))) =
            (given.backbone, self.origin.nature)
        {
            if let Some(is) = it.padding.filter(|it| *it != padding) {
                problems.push(wrong("model.backbone.padding", quoted(is), quoted(padding), ""));
            }
            if let Some(is) = it.norm_eps.filter(|it| *it != eps) {
                problems.push(wrong(
                    "model.backbone.norm_eps",
                    is.to_string(),
                    eps.to_string(),
                    "",
                ));
            }
        }
        if let Colours::Given { mean, std } = given.colours
            && self.is_known()
            && self.is_published
            && !self.origin.takes(given.colours)
        {
            let input = &self.origin.input;
            let is = colours(mean, std);
            let also = " (`{ kind = \"data\" }` takes what is measured of the images, on purpose)";
            problems.push(wrong("augment.statistics", is, colours(input.mean, input.std), also));
        }
        problems
    }

    /// Gives a backbone the settings that it leaves out, as the weights were made with; says which, where
    /// the file decides them.
    pub fn complete(&self, backbone: &mut BackboneConfig) -> Vec<String> {
        let (BackboneConfig::EfficientNet(it), Some((padding, eps))) =
            (backbone, self.origin.nature)
        else {
            return Vec::new();
        };
        let mut filled = Vec::new();
        if it.padding.is_none() {
            it.padding = Some(padding);
            filled.push(format!("padding = {}", quoted(padding)));
        }
        if it.norm_eps.is_none() {
            it.norm_eps = Some(eps);
            filled.push(format!("norm_eps = {eps}"));
        }
        match self.other_nature() {
            None => filled,
            Some(_) => Vec::new(),
        }
    }

    /// How the network pads and norms, as a config has it; empty where that is no setting.
    pub fn network(&self) -> String {
        settings(self.origin.nature)
    }

    /// What neither the file nor the settings tell, what is assumed, and what to do: in sentences.
    pub fn doubts(&self, given: Given<'_>) -> Vec<String> {
        let Convention { library, origin, others, .. } = self;
        let mut doubts = Vec::new();
        if let Some(other) = self.other_nature() {
            doubts.push(format!(
                "{library} calls the tensors of {} and {} the same, and nothing tells which network the \
                 weights are of: assumed is the first, {}; for the other set `model.backbone` to {}",
                origin.network,
                other.network,
                settings(origin.nature),
                settings(other.nature)
            ));
        }
        let mut rivals = others.iter().filter(|it| it.input != origin.input);
        if !self.is_published || rivals.clone().next().is_none() {
            return doubts;
        }
        let normed = |it: &Origin| (it.input.mean, it.input.std);
        let other = others.iter().find(|it| normed(it) != normed(origin));
        let colours = match other.filter(|_| given.colours == Colours::LeftOut) {
            Some(it) => format!(
                ", normalised by {}; {} would want {} (`augment.statistics`)",
                origin.input.colours(),
                it.name(),
                it.input.colours()
            ),
            None => String::new(),
        };
        let names: Vec<String> = rivals.by_ref().take(2).map(Origin::name).collect();
        let more = if rivals.next().is_some() { ", ..." } else { "" };
        doubts.push(format!(
            "nothing tells which of {library}'s weights these are ({}, {}{more}; a file called as the \
                 library calls it does): images are assumed to be as {} wants them{colours}",
            origin.name(),
            names.join(", "),
            origin.name()
        ));
        doubts
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Told::BySha256 => "the file's SHA-256",
            Told::ByFileName => "the file's name",
            Told::ByMention => "the names in the file and what it is called",
            Told::ByTensorNames => "the names in the file",
        })
    }
}

fn colours(mean: [f64; 3], std: [f64; 3]) -> String {
    let list = |xs: [f64; 3]| xs.map(|x| x.to_string()).join(" ");
    format!("mean {}, std {}", list(mean), list(std))
}

fn quoted(padding: Padding) -> String {
    match padding {
        Padding::Same => "\"same\"".to_owned(),
        Padding::Symmetric => "\"symmetric\"".to_owned(),
        Padding::Valid => "\"valid\"".to_owned(),
    }
}

/// As a config has them.
fn settings(nature: Option<(Padding, f64)>) -> String {
    nature.map_or(String::new(), |(padding, eps)| {
        format!("padding = {}, norm_eps = {eps}", quoted(padding))
    })
}

#[cfg(test)]
mod tests;
