//! A left or right half of another image, full height, and half of its label.
//!
//! Cutmix that cuts no face and no mask line across, and so leaves what mask and gender are told by
//! on both sides. With `from` the half is an image's of a given level, drawn from all that are
//! trained on, and so what is rare is seen more often at the same time.
//!
//! After the winner of the mask competition of 2021, who has `side = "left"`, `take = "other"` and
//! `from = { factor = "age", level = ">=60" }` in the code; what was written about it says that the
//! same half gained more, which is the default here.
//! Of an odd width the halves are a pixel less than half, and the labels follow the area.

use base::{
    Length, Rng,
    mix::{Area, Layer},
};
use rand::{Rng as _, seq::IndexedRandom as _};
use serde::{Deserialize, Serialize};

use super::{
    Level, MixOp, MixPlan,
    pairing::{Pairing, Partner, Per},
};

/// `kind = "half_cutmix"`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HalfCutmix {
    /// The probability to be mixed.
    p: f64,
    /// Which half is another's.
    side: Side,
    /// Which half of the other it is.
    take: Take,
    /// For whom is drawn whether to mix, and a random side.
    per: Per,
    /// Whose image is mixed in, where `from` does not say.
    partner: Partner,
    /// Whose image is mixed in: any of this level that is trained on, drawn for each row.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Level>,
    /// When it ends.
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
    /// The half that lies where it is put.
    Same,
    /// The half that lies opposite.
    Other,
}

impl Default for HalfCutmix {
    /// The winner's, but for `from` and the other's half.
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
        // Where the half begins, and where the opposite one does.
        let columns = [0, width - width / 2];
        let pairs = self.pairing().draw(plan, rng, |rng| match self.side {
            Side::Left => 0,
            Side::Right => 1,
            Side::Random => rng.random_range(0..2),
        });
        for (row, partner, side) in pairs {
            let image = match pool.choose(rng) {
                Some(&example) => plan.invite(example),
                None => partner,
            };
            let area = Area { top: 0, left: columns[side], height, width: width / 2 };
            let from = match self.take {
                Take::Same => columns[side],
                Take::Other => columns[1 - side],
            };
            plan.lay(row, Layer { image, area, from: [0, from], share: 1.0 });
        }
    }

    fn until(&self) -> Option<Length> {
        self.until
    }

    fn from(&self) -> Option<&Level> {
        self.from.as_ref()
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

    /// The columns that a half of an image 9 wide is put to, and those that it is taken from.
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
    fn a_half_goes_where_it_was_or_opposite() {
        assert_eq!(columns(Side::Left, Take::Same), [(0, 0)]);
        assert_eq!(columns(Side::Left, Take::Other), [(0, 5)]);
        assert_eq!(columns(Side::Right, Take::Same), [(5, 5)]);
        assert_eq!(columns(Side::Right, Take::Other), [(5, 0)]);
        assert_eq!(columns(Side::Random, Take::Same), [(0, 0), (5, 5)]);
        assert_eq!(columns(Side::Random, Take::Other), [(0, 5), (5, 0)]);
    }

    #[test]
    fn extras_come_from_the_pool_and_after_the_batch() {
        let mut plan = MixPlan { size: [4, 4], rows: whole(3), extras: vec![] };
        HalfCutmix::default().apply(&mut plan, &[70, 71], &mut Seed(0).stream("mix"));
        assert_eq!(plan.extras.len(), 3);
        assert!(plan.extras.iter().all(|it| [70, 71].contains(it)), "{:?}", plan.extras);
        let images: Vec<usize> = plan.rows.iter().map(|it| it.over.unwrap().image).collect();
        assert_eq!(images, [3, 4, 5]);
    }
}
