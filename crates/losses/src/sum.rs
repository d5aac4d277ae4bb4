//! A weighted sum of several losses, each for all outputs of a head or for some of them.
//!
//! `[loss] kind = "sum"`,
//! `parts = [{ weight = 0.4, kind = "f1" }, { weight = 0.6, kind = "focal", on = ["age"] }]`.
//! Every output needs at least one part that applies to it, and every part at least one output; a part
//! skips outputs of forms that it does not apply to.

use base::Clock;
use candle::Result;
use ops::Output;
use serde::{Deserialize, Serialize, de::Error as _};

use crate::{
    Binding, HeadOutput, Loss, LossConfig, LossKind, LossTerms, Targets, f1::F1, focal::Focal,
};

/// `[loss] kind = "sum"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sum {
    /// The losses that are added.
    pub parts: Vec<Part>,
}

/// One of the losses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The weight of the loss; 1 if omitted.
    pub weight: f64,
    /// The outputs that it is computed of: names of factors, or `joint`; empty for all that it applies to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
    /// The loss, whose settings are in the same table as the two above.
    #[serde(flatten)]
    pub loss: LossConfig,
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Part, D::Error> {
        let mut table = base::choice::Table::deserialize(from)?;
        let weight = table.remove("weight").map_or(Ok(1.0), |it| it.try_into());
        let on = table.remove("on").map_or(Ok(Vec::new()), |it| it.try_into());
        let loss = table.try_into();
        Ok(Part {
            weight: weight.map_err(|it| D::Error::custom(format!("`weight`: {it}")))?,
            on: on.map_err(|it| D::Error::custom(format!("`on`: {it}")))?,
            loss: loss.map_err(D::Error::custom)?,
        })
    }
}

impl Default for Sum {
    /// The loss of the competition's sixth place in 2021.
    fn default() -> Sum {
        let part = |weight, loss| Part { weight, on: Vec::new(), loss };
        let focal = part(0.6, LossConfig::Focal(Focal::default()));
        Sum { parts: vec![part(0.4, LossConfig::F1(F1::default())), focal] }
    }
}

impl Part {
    /// Whether `on` includes an output.
    fn is_on(&self, output: &HeadOutput<'_>) -> bool {
        self.on.is_empty() || self.on.iter().any(|it| it == output.name())
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        if self.is_on(output) { self.loss.get().bind(output) } else { Ok(None) }
    }
}

impl LossKind for Sum {
    fn problem(&self) -> Option<String> {
        if self.parts.is_empty() {
            return Some("`parts` are empty: name at least one loss".to_owned());
        }
        self.parts.iter().enumerate().find_map(|(idx, part)| {
            let weight = part.weight;
            let weight = (!(weight > 0.0 && weight.is_finite()))
                .then(|| format!("`weight` is above 0, not {weight}"));
            let problem = weight.or_else(|| part.loss.get().problem());
            problem.map(|it| format!("`parts[{idx}]`: {it}"))
        })
    }

    fn accepts(&self) -> &'static str {
        "the outputs that its parts apply to"
    }

    fn bind(&self, output: &HeadOutput<'_>) -> Binding {
        let mut bound = Vec::new();
        for (idx, part) in self.parts.iter().enumerate() {
            let loss = part.bind(output).map_err(|it| format!("`parts[{idx}]`: {it}"))?;
            bound.extend(loss.map(|it| (part.weight, it)));
        }
        Ok((!bound.is_empty()).then(|| Box::new(Bound(bound)) as Box<dyn Loss>))
    }

    fn idle(&self, outputs: &[HeadOutput<'_>]) -> Option<String> {
        let exists = |name: &String| outputs.iter().any(|it| it.name() == name);
        for (idx, part) in self.parts.iter().enumerate() {
            if let Some(name) = part.on.iter().find(|name| !exists(name)) {
                let mut names: Vec<&str> = outputs.iter().map(HeadOutput::name).collect();
                names.dedup();
                return Some(format!(
                    "`parts[{idx}].on`: this head has no output `{name}`, but: {}",
                    names.join(", ")
                ));
            }
        }
        let is_idle = |part: &Part| outputs.iter().all(|it| matches!(part.bind(it), Ok(None)));
        let idx = self.parts.iter().position(is_idle)?;
        let part = &self.parts[idx];
        let predicted = outputs.iter().map(|it| format!("`{}` as {}", it.name(), it.form.name()));
        Some(format!(
            "`parts[{idx}]`: this head predicts {}, and `{}`{} applies to {}",
            predicted.collect::<Vec<_>>().join(", "),
            part.loss.kind(),
            if part.on.is_empty() { String::new() } else { format!(" on {}", part.on.join(", ")) },
            part.loss.get().accepts()
        ))
    }
}

struct Bound(Vec<(f64, Box<dyn Loss>)>);

impl Loss for Bound {
    fn compute(&self, output: &Output, targets: &Targets, clock: &Clock) -> Result<LossTerms> {
        let mut all = LossTerms::default();
        for (weight, loss) in &self.0 {
            all.add(loss.compute(output, targets, clock)?, *weight);
        }
        Ok(all)
    }
}
