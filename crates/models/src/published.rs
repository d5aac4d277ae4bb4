//! Networks by the names that timm gives them.

use ops::Padding;

use crate::{BackboneConfig, EfficientNet, ResNet, Variant, resnet::DEPTHS};

/// Every published network that can be built here, as timm builds it when nothing else is said.
pub fn published() -> Vec<(String, BackboneConfig)> {
    let efficientnet = |variant: Variant, padding, norm_eps| {
        let plain = EfficientNet { variant, padding, norm_eps, ..EfficientNet::default() };
        BackboneConfig::EfficientNet(EfficientNet { drop_path: 0.0, ..plain })
    };
    let names = |variant: Variant| {
        let name = match variant.name().strip_prefix("v2") {
            Some(size) => format!("efficientnetv2_{size}"),
            None => format!("efficientnet_{}", variant.name()),
        };
        let tensorflow = efficientnet(variant, Some(Padding::Same), Some(1e-3));
        let pytorch = efficientnet(variant, Some(Padding::Symmetric), Some(1e-5));
        [(format!("tf_{name}"), tensorflow), (name, pytorch)]
    };
    let resnet = |depth: usize| {
        let plain = ResNet { depth, ..ResNet::default() };
        (format!("resnet{depth}"), BackboneConfig::ResNet(plain))
    };
    let efficientnets = Variant::ALL.into_iter().flat_map(names);
    efficientnets.chain(DEPTHS.map(resnet)).collect()
}

#[cfg(test)]
mod tests {
    use super::published;

    #[test]
    fn no_name_stands_for_two_networks() {
        let mut names: Vec<String> = published().into_iter().map(|it| it.0).collect();
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(names.binary_search(&"tf_efficientnet_lite0".to_owned()).is_ok());
    }
}
