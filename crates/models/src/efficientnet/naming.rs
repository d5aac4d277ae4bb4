//! The names of EfficientNet's parameters in other libraries; here they have timm's.

use super::plan::BlockPlan;
use crate::with_prefix;

/// Splits a name such as `blocks.2.0.se.conv_reduce.weight` into its block and the rest.
fn split_block<'a, 'b>(
    name: &'a str,
    plans: &'b [BlockPlan],
) -> Option<(usize, &'b BlockPlan, &'a str)> {
    let mut parts = name.strip_prefix("blocks.")?.splitn(3, '.');
    let stage: usize = parts.next()?.parse().ok()?;
    let idx: usize = parts.next()?.parse().ok()?;
    let position = plans.iter().position(|it| (it.stage, it.idx) == (stage, idx))?;
    Some((position, &plans[position], parts.next()?))
}

pub(super) fn torchvision_name(name: &str, plans: &[BlockPlan]) -> String {
    let Some((_, plan, rest)) = split_block(name, plans) else {
        let n_stages = plans.last().map_or(0, |it| it.stage + 1);
        return with_prefix(
            name,
            &[
                ("conv_stem", "features.0.0"),
                ("bn1", "features.0.1"),
                ("conv_head", &format!("features.{}.0", n_stages + 1)),
                ("bn2", &format!("features.{}.1", n_stages + 1)),
            ],
        );
    };
    let rest = if plan.is_fused {
        let renames = [
            ("conv", "0.0"),
            ("conv_exp", "0.0"),
            ("bn1", "0.1"),
            ("conv_pwl", "1.0"),
            ("bn2", "1.1"),
        ];
        with_prefix(rest, &renames)
    } else if plan.expand == 1 {
        let renames = [
            ("conv_dw", "0.0"),
            ("bn1", "0.1"),
            ("se.conv_reduce", "1.fc1"),
            ("se.conv_expand", "1.fc2"),
            ("conv_pw", "2.0"),
            ("bn2", "2.1"),
        ];
        with_prefix(rest, &renames)
    } else {
        let renames = [
            ("conv_pw", "0.0"),
            ("bn1", "0.1"),
            ("conv_dw", "1.0"),
            ("bn2", "1.1"),
            ("se.conv_reduce", "2.fc1"),
            ("se.conv_expand", "2.fc2"),
            ("conv_pwl", "3.0"),
            ("bn3", "3.1"),
        ];
        with_prefix(rest, &renames)
    };
    format!("features.{}.{}.block.{rest}", plan.stage + 1, plan.idx)
}

pub(super) fn efficientnet_pytorch_name(name: &str, plans: &[BlockPlan]) -> String {
    let Some((position, plan, rest)) = split_block(name, plans) else {
        let renames = [
            ("conv_stem", "_conv_stem"),
            ("bn1", "_bn0"),
            ("conv_head", "_conv_head"),
            ("bn2", "_bn1"),
        ];
        return with_prefix(name, &renames);
    };
    let se = [("se.conv_reduce", "_se_reduce"), ("se.conv_expand", "_se_expand")];
    let rest = if plan.expand == 1 {
        // The first block does not expand, but its norms are numbered as in blocks that do.
        let renames = [
            ("conv_dw", "_depthwise_conv"),
            ("bn1", "_bn1"),
            ("conv_pw", "_project_conv"),
            ("bn2", "_bn2"),
        ];
        with_prefix(&with_prefix(rest, &renames), &se)
    } else {
        let renames = [
            ("conv_pw", "_expand_conv"),
            ("bn1", "_bn0"),
            ("conv_dw", "_depthwise_conv"),
            ("bn2", "_bn1"),
            ("conv_pwl", "_project_conv"),
            ("bn3", "_bn2"),
        ];
        with_prefix(&with_prefix(rest, &renames), &se)
    };
    format!("_blocks.{position}.{rest}")
}
