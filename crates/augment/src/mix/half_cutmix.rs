//! CutMix with the left or right half of another image, at full height, and half of its label.
//!
//! Unlike CutMix it does not cut a face or the edge of a mask across, so both halves keep the features by
//! which mask and gender are recognised. With `from`, the half is from an image of a given level, sampled
//! from all training images, which also oversamples a rare level.
//!
//! After the winner of the mask competition of 2021, whose code has `side = "left"`, `take = "other"` and
//! `from = { factor = "age", level = ">=60" }`; the write-up reports that the same half (`take = "same"`)
//! improved more, which is the default here.
//! At an odd width, the halves are rounded down, and the labels follow the area.

use base::{
    Length, Rng,
    mix::{Area, Layer},
};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{
    Extras, Level, MixOp, MixPlan,
    pairing::{Pairing, Partner, Per},
};

/// `kind = "half_cutmix"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HalfCutmix {
    /// The probability of mixing.
    p: f64,
    /// Which half of the row is replaced.
    side: Side,
    /// Which half of the other image is taken.
    take: Take,
    /// Whether a random side, and whether to mix, is sampled per batch, pair or example.
    per: Per,
    /// The partner whose image is mixed in, without `from`.
    partner: Partner,
    /// Mix in a training image of this level, sampled for each row.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Level>,
    /// The length of training after which it is no longer applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Length>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Side {
    Left,
    Right,
    Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Take {
    /// The half at the position where it is pasted.
    Same,
    /// The opposite half.
    Other,
}

impl Default for HalfCutmix {
    /// The winner's settings, except for `from` and `take`.
    fn default() -> HalfCutmix {
        HalfCutmix {
            p: 1.0,
            side: Side::Left,
            take: Take::Same,
            per: Per::Batch,
            partner: Partner::Shuffled,
            from: None,
            until: None,
        }
    }
}

impl HalfCutmix {
    fn pairing(&self) -> Pairing {
        Pairing { p: self.p, per: self.per, partner: self.partner }
    }
}

impl MixOp for HalfCutmix {
    fn apply(&self, plan: &mut MixPlan, pool: &[usize], rng: &mut Rng) {
        let [height, width] = plan.size;
        // The first column of the left and of the right half.
        let columns = [0, width - width / 2];
        let pairs = self.pairing().sample(plan, pool, rng, |rng| match self.side {
            Side::Left => 0,
            Side::Right => 1,
            Side::Random => rng.random_range(0..2),
        });
        for (row, image, side) in pairs {
            let area = Area { top: 0, left: columns[side], height, width: width / 2 };
            let from = match self.take {
                Take::Same => columns[side],
                Take::Other => columns[1 - side],
            };
            plan.overlay(row, Layer { image, area, from: [0, from], share: 1.0 });
        }
    }

    fn until(&self) -> Option<Length> {
        self.until
    }

    fn from(&self) -> Option<Extras<'_>> {
        self.pairing().from(self.from.as_ref())
    }

    fn problem(&self) -> Option<String> {
        self.pairing().problem()
    }
}

#[cfg(test)]
mod tests {
    use base::{
        Seed,
        mix::{Area, whole},
    };

    use super::{HalfCutmix, MixOp as _, MixPlan, Side, Take};

    /// The columns to which halves of an image 9 wide are pasted, and those from which they are taken.
    fn columns(side: Side, take: Take) -> Vec<(usize, usize)> {
        let op = HalfCutmix { side, take, per: super::Per::Example, ..HalfCutmix::default() };
        let mut plan = MixPlan { size: [4, 9], rows: whole(40), extras: vec![] };
        op.apply(&mut plan, &[], &mut Seed(0).stream("mix"));
        let layers = plan.rows.iter().map(|it| it.over.unwrap());
        let columns = layers.map(|it| {
            let left = it.area.left;
            assert_eq!(it.area, Area { top: 0, left, height: 4, width: 4 });
            (left, it.from[1])
        });
        let mut columns: Vec<_> = columns.collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    #[test]
    fn a_half_is_pasted_at_its_own_or_the_opposite_side() {
        assert_eq!(columns(Side::Left, Take::Same), [(0, 0)]);
        assert_eq!(columns(Side::Left, Take::Other), [(0, 5)]);
        assert_eq!(columns(Side::Right, Take::Same), [(5, 5)]);
        assert_eq!(columns(Side::Right, Take::Other), [(5, 0)]);
        assert_eq!(columns(Side::Random, Take::Same), [(0, 0), (5, 5)]);
        assert_eq!(columns(Side::Random, Take::Other), [(0, 5), (5, 0)]);
    }

    #[test]
    fn extras_come_from_the_pool_and_follow_the_batch() {
        let mut plan = MixPlan { size: [4, 4], rows: whole(3), extras: vec![] };
        HalfCutmix::default().apply(&mut plan, &[70, 71], &mut Seed(0).stream("mix"));
        assert_eq!(plan.extras.len(), 3);
        assert!(plan.extras.iter().all(|it| [70, 71].contains(it)), "{:?}", plan.extras);
        let images: Vec<usize> = plan.rows.iter().map(|it| it.over.unwrap().image).collect();
        assert_eq!(images, [3, 4, 5]);
    }
}
