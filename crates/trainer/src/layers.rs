//! Parts of a network by name, for settings.

use std::ops::RangeInclusive;

use models::{Kind, Param, Stage};

/// Some layers of a network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Layers {
    /// Every norm of the backbone.
    Norms,
    /// Indices of stages; the head's is the number of the backbone's.
    Stages(RangeInclusive<usize>),
}

impl Layers {
    /// Finds layers of the backbone: `backbone`, `norm`, a stage, or several, such as `stem..stage3`.
    ///
    /// - `stages`: the stages of the backbone.
    ///
    /// # Errors
    /// There are no such layers; the message lists the names.
    pub(crate) fn of_backbone(name: &str, stages: &[Stage<'_>]) -> Result<Layers, String> {
        Layers::find(name, stages, &["backbone", "norm"])
    }

    /// Finds layers of the network: the `head`, or layers of the backbone.
    ///
    /// # Errors
    /// There are no such layers; the message lists the names.
    pub(crate) fn of_network(name: &str, stages: &[Stage<'_>]) -> Result<Layers, String> {
        match name {
            "head" => Ok(Layers::Stages(stages.len()..=stages.len())),
            _ => Layers::find(name, stages, &["head", "backbone", "norm"]),
        }
    }

    fn find(name: &str, stages: &[Stage<'_>], others: &[&str]) -> Result<Layers, String> {
        let position = |name: &str| {
            stages.iter().position(|it| it.name == name).ok_or_else(|| {
                let names: Vec<&str> = stages.iter().map(|it| it.name.as_str()).collect();
                let others: Vec<String> = others.iter().map(|it| format!("`{it}`")).collect();
                format!(
                    "there is no `{name}`: use {}, or one of {}",
                    others.join(", "),
                    names.join(", ")
                )
            })
        };
        Ok(match name.split_once("..") {
            _ if name == "norm" => Layers::Norms,
            _ if name == "backbone" => Layers::Stages(0..=stages.len() - 1),
            None => {
                let at = position(name)?;
                Layers::Stages(at..=at)
            }
            Some((first, last)) => {
                let (from, to) = (position(first)?, position(last)?);
                if from > to {
                    return Err(format!("`{last}` comes before `{first}`"));
                }
                Layers::Stages(from..=to)
            }
        })
    }

    /// Returns whether a parameter or running statistic belongs to these layers.
    ///
    /// - `head`: the index of the head's stage.
    pub(crate) fn contain(&self, it: &Param, head: usize) -> bool {
        match self {
            Layers::Norms => it.stage < head && matches!(it.kind, Kind::Norm | Kind::Buffer),
            Layers::Stages(stages) => stages.contains(&it.stage),
        }
    }
}

#[cfg(test)]
mod tests {
    use models::{BackboneConfig, EfficientNet};

    use super::Layers;

    #[test]
    fn unknown_names_are_an_error_that_lists_the_known_ones() {
        let backbone = BackboneConfig::EfficientNet(EfficientNet::default());
        let stages = backbone.get().stages();
        let err = Layers::of_backbone("stem..stage9", &stages).unwrap_err();
        assert!(err.contains("stage9") && err.contains("stem, stage1"), "{err}");
        assert!(Layers::of_backbone("stage2..stem", &stages).unwrap_err().contains("before"));
        assert_eq!(Layers::of_backbone("neck", &stages), Ok(Layers::Stages(8..=8)));
        let err = Layers::of_backbone("head", &stages).unwrap_err();
        assert!(err.contains("no `head`: use `backbone`, `norm`, or one of stem"), "{err}");
        assert_eq!(Layers::of_network("head", &stages), Ok(Layers::Stages(9..=9)));
        let err = Layers::of_network("haed", &stages).unwrap_err();
        assert!(err.contains("no `haed`: use `head`, `backbone`"), "{err}");
    }
}
