//! Applies one operation of a list.
//!
//! An operation is chosen with a probability proportional to its `p`, and then always applied. As
//! albumentations' `OneOf`.

use base::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{Transform, TransformConfig};
use crate::{Canvas, OpError, Step};

/// `kind = "one_of"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OneOf {
    /// The candidates; each one's `p` is its weight.
    pub steps: Vec<Step>,
}

impl Default for OneOf {
    /// Blur or noise.
    fn default() -> OneOf {
        let ops = [
            TransformConfig::GaussianBlur(Default::default()),
            TransformConfig::GaussianNoise(Default::default()),
        ];
        OneOf { steps: ops.map(Step::from).into() }
    }
}

impl Transform for OneOf {
    fn apply(&self, canvas: &mut Canvas<'_>, rng: &mut Rng) -> Result<(), OpError> {
        let all: f64 = self.steps.iter().map(|it| it.p).sum();
        let mut left = rng.random::<f64>() * all;
        let chosen = self.possible().find(|it| {
            left -= it.p;
            left < 0.0
        });
        // Rounding may leave a remainder after the last.
        let Some(step) = chosen.or_else(|| self.possible().last()) else { return Ok(()) };
        step.op.get().apply(canvas, rng).map_err(|err| named(step, err))
    }

    fn is_random(&self) -> bool {
        self.possible().count() > 1 || self.possible().any(|it| it.op.get().is_random())
    }

    fn size_after(&self, before: Option<[usize; 2]>) -> Option<[usize; 2]> {
        let mut sizes = self.possible().map(|it| it.op.get().size_after(before));
        let first = sizes.next()?;
        if sizes.all(|it| it == first) { first } else { None }
    }

    fn sizes_from(&self, size: [usize; 2]) -> Result<Vec<[usize; 2]>, OpError> {
        let mut sizes = Vec::new();
        for step in self.possible() {
            sizes.extend(step.op.get().sizes_from(size).map_err(|err| named(step, err))?);
        }
        Ok(sizes)
    }

    fn problem(&self) -> Option<String> {
        let problem = |it: &Step| Some(format!("`{}`: {}", it.op.kind(), it.problem()?));
        self.steps.iter().find_map(problem).or_else(|| {
            self.possible()
                .next()
                .is_none()
                .then(|| "`steps` has no operation with a `p` above 0: add at least one".to_owned())
        })
    }
}

impl OneOf {
    /// The operations that may be chosen.
    fn possible(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|it| it.p > 0.0)
    }
}

/// Adds the name of the operation to the error.
fn named(step: &Step, err: OpError) -> OpError {
    match err {
        OpError::Unfit(reason) => OpError::Unfit(format!("`{}`: {reason}", step.op.kind())),
        err => err,
    }
}

#[cfg(test)]
mod tests {
    use base::Seed;

    use super::{OneOf, Transform as _};
    use crate::Image;

    fn one_of(text: &str) -> OneOf {
        toml::from_str(&format!("steps = [{text}]")).unwrap()
    }

    #[test]
    fn operations_are_chosen_by_weight_and_always_applied() {
        let op = one_of(
            "{ kind = \"solarize\", threshold = 0.0, p = 0.1 }, { kind = \"posterize\", bits = 1, p = 0.3 }",
        );
        let mut rng = Seed(0).stream("test");
        let mut one = || {
            let image = Image::from_pixel(1, 1, image::Rgb([200; 3]));
            op.on(image, &mut rng).unwrap().into_raw()[0]
        };
        let values: Vec<u8> = (0..4000).map(|_| one()).collect();
        let inverted = values.iter().filter(|&&it| it == 55).count();
        assert!(values.iter().all(|it| [55, 128].contains(it)));
        assert!((900..1100).contains(&inverted), "{inverted}");
    }

    #[test]
    fn the_size_is_known_if_all_agree() {
        let flip = "{ kind = \"horizontal_flip\" }";
        let resize =
            "{ kind = \"resize\", size = [8, 9] }, { kind = \"random_crop\", size = [8, 9] }";
        assert_eq!(one_of(flip).size_after(Some([3, 4])), Some([3, 4]));
        assert_eq!(one_of(resize).size_after(None), Some([8, 9]));
        let both = format!("{flip}, {resize}");
        assert_eq!(one_of(&both).size_after(Some([3, 4])), None);
        assert_eq!(one_of(&both).size_after(Some([8, 9])), Some([8, 9]));
        assert!(!one_of(flip).is_random() && one_of(&both).is_random());
    }

    #[test]
    fn problems_name_the_nested_operation() {
        assert!(one_of("").problem().unwrap().contains("`steps`"));
        assert!(one_of("{ kind = \"invert\", p = 0.0 }").problem().is_some());
        let nested = one_of("{ kind = \"one_of\", steps = [{ kind = \"posterize\", bits = 0 }] }");
        let problem = nested.problem().unwrap();
        assert!(problem.starts_with("`one_of`: `posterize`: `bits`"), "{problem}");
        let text = toml::to_string(&nested).unwrap();
        assert_eq!(toml::from_str::<OneOf>(&text).unwrap(), nested, "{text}");
    }
}
