//! Who is mixed with whom, and how often something is drawn.

use base::Rng;
use rand::{Rng as _, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};

use super::MixPlan;

/// For whom a draw counts: whether to mix, how much, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Per {
    /// All rows.
    Batch,
    /// The first row and the last, the second and the last but one, and so on; the middle one of an
    /// odd batch stays as it is.
    Pair,
    /// Each row by itself.
    Example,
}

/// Whose image is mixed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Partner {
    /// The batch in random order.
    Shuffled,
    /// The batch from the end to the beginning; the middle one of an odd batch is its own partner.
    Flipped,
}

/// The settings of a pairing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pairing {
    /// The probability to be mixed at all.
    pub(super) p: f64,
    pub(super) per: Per,
    pub(super) partner: Partner,
}

impl Pairing {
    /// The rows that are mixed now, each with its partner and what `draw` gave.
    ///
    /// Rows that were mixed before are left out.
    pub(super) fn draw<T: Copy>(
        &self,
        plan: &MixPlan,
        rng: &mut Rng,
        draw: impl Fn(&mut Rng) -> T,
    ) -> Vec<(usize, usize, T)> {
        let n = plan.rows.len();
        let mut partners: Vec<usize> = (0..n).collect();
        match self.partner {
            Partner::Shuffled => partners.shuffle(rng),
            Partner::Flipped => partners.reverse(),
        }
        let mut maybe = || (rng.random::<f64>() < self.p).then(|| draw(rng));
        let drawn: Vec<Option<T>> = match self.per {
            Per::Batch => vec![maybe(); n],
            Per::Example => (0..n).map(|_| maybe()).collect(),
            Per::Pair => {
                let half: Vec<Option<T>> = (0..n / 2).map(|_| maybe()).collect();
                let middle = (n % 2 == 1).then_some(None);
                half.iter().copied().chain(middle).chain(half.iter().rev().copied()).collect()
            }
        };
        let mixed = partners.into_iter().zip(drawn).enumerate();
        let mixed = mixed.filter_map(|(row, (partner, it))| it.map(|it| (row, partner, it)));
        mixed.filter(|&(row, _, _)| plan.is_free(row)).collect()
    }

    /// What is wrong with the settings, if anything is.
    pub(super) fn problem(&self) -> Option<String> {
        if self.per == Per::Pair && self.partner == Partner::Shuffled {
            return Some("`per = \"pair\"` goes with `partner = \"flipped\"`".to_owned());
        }
        probability_problem(self.p)
    }
}

/// What is wrong with the setting `p`, if anything is.
pub(super) fn probability_problem(p: f64) -> Option<String> {
    (!(0.0..=1.0).contains(&p)).then(|| format!("`p` is a probability from 0 to 1, not {p}"))
}

/// What is wrong with the setting `alpha`, if anything is.
pub(super) fn alpha_problem(alpha: f64) -> Option<String> {
    let range = 0.01..=1000.0;
    (!range.contains(&alpha)).then(|| format!("`alpha` is from 0.01 to 1000, not {alpha}"))
}

#[cfg(test)]
mod tests {
    use base::{Rng, Seed, mix::whole};
    use rand::Rng as _;

    use super::{MixPlan, Pairing, Partner, Per};

    fn draw(n: usize, p: f64, per: Per, partner: Partner) -> Vec<(usize, usize, f64)> {
        let plan = MixPlan { size: [4, 4], rows: whole(n), extras: vec![] };
        let draw = |rng: &mut Rng| rng.random::<f64>();
        Pairing { p, per, partner }.draw(&plan, &mut Seed(0).stream("mix"), draw)
    }

    #[test]
    fn a_draw_counts_for_all_for_two_or_for_one() {
        let drawn = |per| -> Vec<f64> {
            draw(5, 1.0, per, Partner::Flipped).into_iter().map(|it| it.2).collect()
        };
        let all = drawn(Per::Batch);
        assert!(all.len() == 5 && all.iter().all(|it| *it == all[0]), "{all:?}");
        let pairs = drawn(Per::Pair);
        assert!(pairs.len() == 4 && pairs[0] == pairs[3] && pairs[1] == pairs[2], "{pairs:?}");
        let each = drawn(Per::Example);
        assert!(each.len() == 5 && each.windows(2).all(|it| it[0] != it[1]), "{each:?}");
    }

    #[test]
    fn partners_are_the_flipped_batch_or_any_order_of_it() {
        let partners = |partner| -> Vec<usize> {
            draw(9, 1.0, Per::Batch, partner).into_iter().map(|it| it.1).collect()
        };
        assert_eq!(partners(Partner::Flipped), [8, 7, 6, 5, 4, 3, 2, 1, 0]);
        let mut shuffled = partners(Partner::Shuffled);
        assert!(!shuffled.is_sorted());
        shuffled.sort_unstable();
        assert_eq!(shuffled, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn some_are_left_as_they_are() {
        let n = draw(2000, 0.3, Per::Example, Partner::Shuffled).len();
        assert!((540..660).contains(&n), "{n} of 2000");
        assert_eq!(draw(2000, 0.0, Per::Example, Partner::Flipped), []);
    }
}
